//! `oplake demo`

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use events_api_simulator::{Counts, Options, Simulator};
use jiff::{SignedDuration, Timestamp};
use oplake_cli::folder::FolderArchive;
use oplake_cli::sqlite::SqliteCheckpoints;
use oplake_cli::tokens::ShellToken;
use oplake_core::archive::Archive as _;
use oplake_core::collect::{Ports, Settings, Task, collect};
use oplake_core::error::BoxError;
use oplake_core::events_api::http_client;
use oplake_core::feed::{AccountName, Feed, Stream};
use oplake_core::partition::{Day, Prefix};
use oplake_core::report::Report;
use tokio::time::Instant;

use crate::args::DemoArgs;
use crate::command::Ended;
use crate::output::{Watch, count, print, say, summary, table};

/// Days of history of the simulated company.
const DAYS: u32 = 7;

/// What happens between the first collection and the second.
const MEANWHILE: SignedDuration = SignedDuration::from_hours(6);

/// Tells a folder that a demo made from one that must not be touched.
const MARK: &str = ".oplake-demo";

const LONGEST_RUN: Duration = Duration::from_hours(1);

pub(crate) async fn run(args: DemoArgs, now: Timestamp) -> Ended {
    let out = &args.out;
    prepare(out)?;
    say(format_args!("simulating a company with {} events …", count(args.events.into())));
    let simulator = Simulator::start(Options {
        seed: args.seed,
        now: now - MEANWHILE,
        accounts: 1,
        events: Counts::of_total(args.events as usize),
        days: DAYS,
        days_ahead: 1,
        ..Options::default()
    })
    .await?;
    let archive = FolderArchive::open(out, Prefix::default(), now).await?;
    let checkpoints = SqliteCheckpoints::open(&out.join("checkpoints.sqlite")).await?;
    let tokens = ShellToken::from_variable(Some(simulator.token().to_owned()));
    let http = http_client(None)?;
    let ports =
        Ports { http: &http, tokens: &tokens, checkpoints: &checkpoints, archive: &archive };

    let mut reports = Vec::new();
    for (title, pass) in [
        ("collecting the history", SignedDuration::ZERO),
        ("six hours later: collecting what is new", MEANWHILE),
        ("at once again: nothing is new", SignedDuration::ZERO),
    ] {
        let at = simulator.clock().now() + pass;
        simulator.clock().set(at);
        let settings = Settings {
            feeds: Feed::ALL.to_vec(),
            start: at - SignedDuration::from_hours(24 * 120),
            api_url: Some(simulator.url().parse()?),
            prefix: Prefix::default(),
            account: AccountName::default(),
            not_before: Timestamp::MIN,
        };
        say(format_args!("\n{title}"));
        let watch = Watch::new(at - SignedDuration::from_hours(24 * i64::from(DAYS)), at);
        let began = Instant::now();
        let deadline = began + LONGEST_RUN;
        let report =
            collect(ports, &settings, Task::Tail, at, deadline, &|p| watch.update(p)).await;
        watch.clear();
        summary(&report);
        say(format_args!("took {:.2} s", began.elapsed().as_secs_f64()));
        reports.push(report);
    }

    let days = written(&archive).await?;
    print("\nwhat was written, by feed and day")?;
    print(by_day(&days))?;
    if let Some((key, line)) = first_line(&archive, &days).await? {
        print(format_args!("\nthe first line of {key}\n{line}"))?;
    }
    let events: u64 = reports.iter().flat_map(|report| &report.streams).map(|s| s.events).sum();
    let objects: usize = days.values().flatten().count();
    print(format_args!(
        "\n{} events in {} objects in {}. Look at them, with DuckDB for one:\n\n  \
         SELECT category, count(*) FROM read_json('{}/onepassword/v1/signin_attempts/*/*/*.json.gz')\n  \
         GROUP BY category ORDER BY 2 DESC;\n",
        count(events),
        count(objects as u64),
        out.display(),
        out.display(),
    ))?;
    Ok(if reports.iter().all(fine) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn fine(report: &Report) -> bool {
    report.failures().next().is_none()
}

/// Makes an empty folder at `out`, in place of an earlier demo's.
fn prepare(out: &Path) -> Result<(), BoxError> {
    let made_by_demo = out.join(MARK).exists();
    let empty = std::fs::read_dir(out).map_or(true, |mut entries| entries.next().is_none());
    if !made_by_demo && (!empty || out.is_file()) {
        let out = out.display();
        return Err(
            format!("{out} exists and was not made by a demo: choose another with --out").into()
        );
    }
    if made_by_demo {
        std::fs::remove_dir_all(out).map_err(|error| named(out, &error))?;
    }
    std::fs::create_dir_all(out).map_err(|error| named(out, &error))?;
    std::fs::write(out.join(MARK), "made by `oplake demo`, which replaces this folder\n")
        .map_err(|error| named(out, &error))
}

fn named(path: &Path, error: &std::io::Error) -> BoxError {
    format!("{} cannot be written: {error}", path.display()).into()
}

/// An object: its key, size and events.
struct Written {
    key: String,
    size: u64,
    events: u64,
}

async fn written(archive: &FolderArchive) -> Result<BTreeMap<(Day, Feed), Vec<Written>>, BoxError> {
    let mut days: BTreeMap<_, Vec<Written>> = BTreeMap::new();
    for feed in Feed::ALL {
        let stream = Stream { account: AccountName::default(), feed };
        for day in archive.days(feed).await? {
            for listed in archive.list(&stream, day).await? {
                let lines = text(&archive.read(&listed.key).await?)?;
                let events = lines.lines().count() as u64;
                let object = Written { key: listed.key, size: listed.size, events };
                days.entry((day, feed)).or_default().push(object);
            }
        }
    }
    Ok(days)
}

fn text(gzip: &[u8]) -> Result<String, BoxError> {
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(gzip).read_to_string(&mut text)?;
    Ok(text)
}

fn by_day(days: &BTreeMap<(Day, Feed), Vec<Written>>) -> comfy_table::Table {
    let rows = days.iter().map(|((day, feed), objects)| {
        vec![
            day.to_string(),
            feed.to_string(),
            count(objects.iter().map(|object| object.events).sum()),
            count(objects.len() as u64),
            count(objects.iter().map(|object| object.size).sum()),
        ]
    });
    table(&["day", "feed", "events", "objects", "bytes"], rows.collect(), 2)
}

async fn first_line(
    archive: &FolderArchive,
    days: &BTreeMap<(Day, Feed), Vec<Written>>,
) -> Result<Option<(String, String)>, BoxError> {
    let Some(object) = days.values().flatten().next() else { return Ok(None) };
    let lines = text(&archive.read(&object.key).await?)?;
    Ok(lines.lines().next().map(|line| (object.key.clone(), line.to_owned())))
}
