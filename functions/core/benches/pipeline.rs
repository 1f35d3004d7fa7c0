//! How fast the pipeline is in memory, and how fast it could be at best.
//!
//! `cargo bench -p oplake-core --features testing`; with `-- --once`, the
//! pipeline alone and once, for tools that count instructions.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

use std::hint::black_box;
use std::io::Write;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, Throughput};
use events_api_simulator::{Counts, Feed, Options, Simulator};
use flate2::{Compression, GzBuilder};
use jiff::Timestamp;
use oplake_core::encode::Encoder;
use oplake_core::event::{Event, Fingerprint, Fingerprints};
use oplake_core::events_api::Page;
use oplake_core::newness::{Latest, Marks};
use oplake_core::record::Record;
use oplake_core::testing::pipeline;

/// Runs of the pipeline and its limit, in turn.
const PAIRS: usize = 11;

/// What `gzip` is given at once: the records of pages are small.
const CHUNK: usize = 64 * 1024;

/// The pages of a company with 2,000 events a day, by feed. The same in each run.
fn pages(days: u32) -> Vec<Vec<Bytes>> {
    let events = Counts::of_total(2_000 * days as usize);
    let options = Options { events, days, accounts: 1, ..Options::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let simulator = runtime.block_on(Simulator::start(options)).unwrap();
    let feeds = [Feed::SignInAttempts, Feed::ItemUsages, Feed::AuditEvents];
    let pages = feeds.map(|feed| {
        let events = simulator.visible(feed, now());
        let page = |events: &[events_api_simulator::Known]| {
            let items: Vec<_> = events.iter().map(|event| &event.bytes[..]).collect();
            let head = &br#"{"cursor":"eyJwIjoxfQ","has_more":true,"items":["#[..];
            Bytes::from([head, &items.join(&b','), b"]}"].concat())
        };
        events.chunks(1000).map(page).collect()
    });
    pages.into()
}

fn now() -> Timestamp {
    Options::default().now
}

fn whole(feeds: &[Vec<Bytes>]) -> (u64, usize) {
    let done = feeds.iter().map(|bodies| pipeline(bodies, now()).unwrap());
    done.fold((0, 0), |sum, done| (sum.0 + done.0, sum.1 + done.1))
}

fn split(feeds: &[Vec<Bytes>]) -> impl Iterator<Item = Record> {
    feeds.iter().flatten().flat_map(|body| Page::split(body, now()).unwrap().items)
}

/// Lines of `records`, compressed; their size.
fn gzip(records: impl Iterator<Item = Record>, level: u32) -> usize {
    let mut gzip = GzBuilder::new().write(Vec::new(), Compression::new(level));
    let mut held = Vec::with_capacity(2 * CHUNK);
    for record in records {
        held.extend_from_slice(record.bytes());
        held.push(b'\n');
        if held.len() >= CHUNK {
            gzip.write_all(&held).unwrap();
            held.clear();
        }
    }
    gzip.write_all(&held).unwrap();
    gzip.finish().unwrap().len()
}

/// Splitting and compressing alone: what no collector of these objects can do
/// without.
fn limit(feeds: &[Vec<Bytes>]) -> usize {
    gzip(split(feeds), 6)
}

fn steps(criterion: &mut Criterion, feeds: &[Vec<Bytes>]) {
    let records: Vec<_> = split(feeds).collect();
    let events: Vec<_> = records.iter().map(|record| Event::read(record).unwrap()).collect();
    let times: Vec<_> = events.iter().map(|event| event.time.to_string()).collect();
    let uuids: Vec<_> = events.iter().map(|event| event.uuid().unwrap()).collect();
    let bytes = feeds.iter().flatten().map(|body| body.len() as u64).sum();

    let mut group = criterion.benchmark_group("step");
    group.throughput(Throughput::Bytes(bytes));
    let mut step = |name: &str, run: &mut dyn FnMut()| {
        group.bench_function(name, |bencher| bencher.iter(&mut *run));
    };
    step("split a page", &mut || {
        black_box(split(feeds).count());
    });
    step("read the event", &mut || {
        for record in &records {
            drop(black_box(Event::read(record)));
        }
    });
    step("of that, its timestamp", &mut || {
        for time in &times {
            drop(black_box(time.parse::<Timestamp>()));
        }
    });
    step("of that, its fingerprint", &mut || {
        for uuid in &uuids {
            black_box(Fingerprint::of(uuid.as_bytes()));
        }
    });
    step("set of fingerprints", &mut || {
        let set: Fingerprints = events.iter().map(|event| event.fingerprint).collect();
        black_box(set);
    });
    step("judge and remember", &mut || {
        let (marks, mut latest) = (Marks::nothing(), Latest::default());
        for event in &events {
            black_box(marks.verdict(event.time, event.fingerprint));
            latest.note(event.time, event.fingerprint);
        }
        black_box(marks.after(&latest, now()));
    });
    step("encode", &mut || {
        let mut encoder = Encoder::new();
        for event in &events {
            encoder.line(&event.line).unwrap();
        }
        black_box(encoder.finish().unwrap());
    });
    step("the pipeline", &mut || {
        black_box(whole(feeds));
    });
    step("the limit", &mut || {
        black_box(limit(feeds));
    });
    group.finish();

    let mut group = criterion.benchmark_group("gzip");
    group.throughput(Throughput::Bytes(bytes));
    for level in [1, 4, 6, 9] {
        group.bench_function(level.to_string(), |bencher| {
            bencher.iter(|| black_box(gzip(records.iter().cloned(), level)));
        });
    }
    group.finish();
}

fn seconds(run: impl FnOnce()) -> f64 {
    let began = Instant::now();
    run();
    began.elapsed().as_secs_f64()
}

/// One line of JSON with what criterion does not measure: sizes, and the ratio
/// of pairs of runs.
fn summary(feeds: &[Vec<Bytes>]) {
    let mut ratios: Vec<f64> = (0..PAIRS)
        .map(|_| {
            let limit = seconds(|| {
                black_box(limit(feeds));
            });
            limit
                / seconds(|| {
                    black_box(whole(feeds));
                })
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    let records: Vec<_> = split(feeds).collect();
    let levels = [1, 4, 6, 9].map(|level| gzip(records.iter().cloned(), level));
    let (events, objects) = whole(feeds);
    let line = serde_json::json!({
        "events": events,
        "bytes": records.iter().map(|record| record.bytes().len() + 1).sum::<usize>(),
        "objects": objects,
        "gzip": { "1": levels[0], "4": levels[1], "6": levels[2], "9": levels[3] },
        "ratio": { "median": ratios[PAIRS / 2], "min": ratios[0], "max": ratios[PAIRS - 1] },
    });
    println!("{line}");
}

fn main() {
    let arguments: Vec<_> = std::env::args().collect();
    if arguments.iter().any(|argument| argument == "--once") {
        let done = whole(&pages(3));
        assert_eq!(done.0, 6_000);
        return;
    }
    let feeds = pages(30);
    let mut criterion = Criterion::default()
        .without_plots()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    steps(&mut criterion, &feeds);
    criterion.final_summary();
    summary(&feeds);
}
