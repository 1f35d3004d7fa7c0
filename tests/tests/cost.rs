//! What a run asks of AWS, counted on the local stack, and what it writes. The
//! costs in docs/cost.md go by the same `tests/cost/counts.json`.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use events_api_simulator::{Counts, Event, Options, Simulator, TokenSpec};
use jiff::{SignedDuration, Timestamp};
use oplake_core::encode::Encoder;
use oplake_core::feed::Feed;
use oplake_core::newness::MAX_RECENT;
use oplake_core::partition::Day;
use oplake_core::window::Window;
use oplake_tests::binaries;
use oplake_tests::judge::api;
use oplake_tests::proxy::{Effect, Operation, Proxy};
use oplake_tests::runtime_api::Function;
use oplake_tests::stack::{ACCOUNT, Stack};
use serde_json::{Value, json};

/// Longer than any run takes.
const LONG: Duration = Duration::from_mins(2);

/// Bytes vary by a few digits.
const TOLERANCE: f64 = 0.03;

type Calls = BTreeMap<String, u64>;

/// The numbers that the costs are calculated with.
struct Published(Value);

impl Published {
    fn read() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/cost/counts.json");
        Self(serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
    }

    /// The calls of so many of each.
    fn calls<const N: usize>(&self, of: [(&str, usize); N]) -> Calls {
        let mut calls = Calls::new();
        for (name, number) in of {
            for (operation, each) in self.0["requests"][name].as_object().unwrap() {
                let number = u64::try_from(number).unwrap();
                *calls.entry(operation.clone()).or_default() += number * each.as_u64().unwrap();
            }
        }
        calls.retain(|_, number| *number > 0);
        calls
    }

    #[expect(clippy::cast_precision_loss, reason = "some thousand bytes")]
    fn assert_bytes(&self, pointer: &str, seen: usize) {
        let published = self.0.pointer(pointer).unwrap().as_f64().unwrap();
        let off = (seen as f64 - published).abs() / published;
        assert!(off < TOLERANCE, "{pointer} of counts.json is {seen}, not {published}");
    }
}

/// A second of the function's clock, such that neither it nor what is six hours
/// before it comes to another day within the test.
#[expect(clippy::disallowed_methods, reason = "the function goes by the real clock")]
async fn now_within_a_day() -> Timestamp {
    loop {
        let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
        let lasts = |time: Timestamp| Day::of(time) == Day::of(time + LONG);
        if lasts(now) && lasts(now - SignedDuration::from_hours(6)) {
            return now;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// A company whose events lie where the test has put them, and a collector.
struct World {
    simulator: Simulator,
    now: Timestamp,
    stack: Stack,
    proxy: Proxy,
    bucket: String,
    table: String,
    function: Function,
}

impl World {
    async fn new() -> Self {
        let now = now_within_a_day().await;
        let options = Options { now, accounts: 1, events: Counts::NONE, ..Options::default() };
        let simulator = Simulator::start(options).await.unwrap();
        let (stack, proxy) = (Stack::get().await, Proxy::start().await);
        let (bucket, table) = (stack.bucket().await, stack.table().await);
        // One that expires, as this is a metric too.
        let expires_at = Some(now + SignedDuration::from_hours(24 * 90));
        let token = simulator.mint(&TokenSpec { expires_at, ..TokenSpec::default() });
        let settings = [
            ("TOKEN_SECRET_ARN", stack.secret(Some(&token)).await),
            ("ARCHIVE_BUCKET", bucket.clone()),
            ("BUCKET_OWNER", ACCOUNT.to_owned()),
            ("CHECKPOINT_TABLE", table.clone()),
            ("EVENTS_API_URL", simulator.url()),
            ("AWS_ENDPOINT_URL", proxy.url().to_owned()),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value));
        let environment = stack.env().into_iter().chain(settings);
        let function = Function::start(&binaries::collector(), environment).await;
        Self { simulator, now, stack, proxy, bucket, table, function }
    }

    /// So many events of `feed`, a millisecond apart, from `time` on.
    fn push(&self, feed: Feed, time: Timestamp, events: i64) {
        for n in 0..events {
            let time = time + SignedDuration::from_millis(n);
            let line = format!(r#"{{"uuid":"{feed}{time}","timestamp":"{time}"}}"#);
            self.simulator.push(api(feed), &Event::new(line));
        }
    }

    /// The calls of an invocation, and whether it went well.
    async fn invoke(&mut self, input: Value) -> (Calls, bool) {
        let answer = self.function.invoke(input, LONG).await;
        let counts = self.proxy.counts().into_iter();
        let calls = counts.map(|(operation, number)| (format!("{operation:?}"), number));
        let calls = calls.collect();
        self.proxy.reset();
        (calls, answer.is_ok())
    }

    /// The number of objects, by feed and day.
    async fn objects(&self) -> BTreeMap<(Feed, Day), usize> {
        let mut objects = BTreeMap::new();
        for key in self.stack.objects(&self.bucket).await.keys() {
            let [_, _, feed, day, ..] = key.split('/').collect::<Vec<_>>()[..] else { continue };
            *objects.entry((feed.parse().unwrap(), day.parse().unwrap())).or_default() += 1;
        }
        objects
    }

    /// Bytes of the row of `feed`, as DynamoDB bills them, and of what it
    /// stages.
    async fn row(&self, feed: Feed) -> (usize, usize) {
        let request = self.stack.dynamodb().get_item().table_name(&self.table);
        let request = request
            .key("account", AttributeValue::S("main".to_owned()))
            .key("feed", AttributeValue::S(feed.to_string()));
        let item = request.send().await.unwrap().item.unwrap();
        let recent = item["recent"].as_b().unwrap().as_ref().len();
        assert_eq!(recent, MAX_RECENT * 24, "the row remembers as much as it may");
        (billed(&AttributeValue::M(item.clone())) - 3, billed(&item["staged"]) - 3)
    }
}

/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html>
fn billed(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::N(number) => number.len().div_ceil(2) + 1,
        AttributeValue::B(bytes) => bytes.as_ref().len(),
        AttributeValue::L(list) => 3 + list.iter().map(|value| 1 + billed(value)).sum::<usize>(),
        AttributeValue::M(map) => {
            3 + map.iter().map(|(name, value)| name.len() + billed(value)).sum::<usize>()
        }
        _ => 1,
    }
}

fn is_metrics(line: &str) -> bool {
    line.contains("\"_aws\"")
}

/// The bytes of the lines that each run has written, its metrics being the last.
fn log_bytes(lines: &[String]) -> Vec<usize> {
    // The stack computes another checksum than the one that was asked for, at
    // which the SDK wonders.
    let lines = lines.iter().filter(|line| !line.contains("aws_sdk_s3::http_response_checksum"));
    let lines: Vec<_> = lines.collect();
    let runs = lines.split_inclusive(|line| is_metrics(line));
    runs.map(|run| run.iter().map(|line| line.len()).sum()).collect()
}

/// What a resync of `window` reads when it finds nothing: chunks, days that
/// hold objects, objects.
fn reads(
    world: &World,
    objects: &BTreeMap<(Feed, Day), usize>,
    window: Window,
) -> [(&'static str, usize); 3] {
    let margin = SignedDuration::from_secs(1);
    let (mut chunks, mut days, mut read) = (0, 0, 0);
    for feed in Feed::ALL {
        let times: Vec<_> = world.simulator.oracle(api(feed)).iter().map(|e| e.timestamp).collect();
        for chunk in window.days() {
            chunks += 1;
            let asked = Window { from: chunk.from - margin, to: chunk.to + margin };
            // An event just over midnight has its day read as well.
            let over = times.iter().filter(|time| asked.contains(**time)).map(|at| Day::of(*at));
            let looked: BTreeSet<_> = over.chain([Day::of(chunk.from)]).collect();
            for found in looked.iter().filter_map(|day| objects.get(&(feed, *day))) {
                days += 1;
                read += found;
            }
        }
    }
    [("chunk", chunks), ("day", days), ("object_read", read)]
}

#[tokio::test]
async fn a_run_asks_and_writes_what_the_costs_are_calculated_with() {
    let published = Published::read();
    let mut world = World::new().await;
    let now = world.now;
    let day = |back: i64| Day::of(now - SignedDuration::from_hours(24 * back)).start();
    let noon = |back| day(back) + SignedDuration::from_hours(12);
    let [signins, items, audit] = Feed::ALL;

    // A history of one batch, of two (each page holds ten days), and of one.
    (1..=2).for_each(|back| world.push(signins, noon(back), 400));
    (2..=41).for_each(|back| world.push(items, noon(back), 100));
    (3..=5).for_each(|back| world.push(audit, noon(back), 300));
    let (calls, _) = world.invoke(json!({})).await;
    let expected = [
        ("secret", 1),
        ("stream", 3),
        ("new_stream", 3),
        ("object", 2 + 40 + 3),
        ("batch", 4),
        ("stream_with_events", 3),
    ];
    assert_eq!(calls, published.calls(expected), "the first run");

    let (calls, _) = world.invoke(json!({})).await;
    assert_eq!(calls, published.calls([("stream", 3)]), "an idle run");

    // New events of one, two and three days.
    world.push(signins, now, 1);
    world.push(items, day(1) + SignedDuration::from_hours(18), 1);
    world.push(items, now, 1);
    world.push(audit, noon(2), 1);
    world.push(audit, day(1), 1);
    world.push(audit, now, 1);
    let (calls, _) = world.invoke(json!({})).await;
    let expected = [("stream", 3), ("object", 1 + 2 + 3), ("batch", 3), ("stream_with_events", 3)];
    assert_eq!(calls, published.calls(expected), "a run with new events");
    let (row, nothing) = world.row(signins).await;
    assert_eq!(nothing, 0);
    published.assert_bytes("/row_bytes", row);

    let objects = world.objects().await;
    for (hours, long_resync) in [(6, 0), (72, 3)] {
        let from = now - SignedDuration::from_hours(hours);
        let [chunk, day, read] = reads(&world, &objects, Window { from, to: now });
        let (calls, _) = world.invoke(json!({ "resync": { "hours": hours } })).await;
        let expected = [("stream", 3), ("long_resync", long_resync), chunk, day, read];
        assert_eq!(calls, published.calls(expected), "a resync of {hours} hours");
    }
    assert_eq!(world.objects().await, objects, "the resyncs found nothing");

    world.simulator.clock().advance(Duration::from_hours(6));
    let (calls, _) = world.invoke(json!({})).await;
    let expected = [("stream", 3), ("six_idle_hours", 3)];
    assert_eq!(calls, published.calls(expected), "an idle run after six idle hours");

    // A row as it is between commit and publication.
    let denied = "<Error><Code>AccessDenied</Code><Message>m</Message></Error>";
    world.push(signins, world.simulator.clock().now(), 1);
    world.proxy.on(Operation::CompleteMultipartUpload, 1..=u64::MAX, Effect::Refuse(403, denied));
    let (_, went_well) = world.invoke(json!({})).await;
    assert!(!went_well);
    let (_, staged) = world.row(signins).await;
    published.assert_bytes("/staged_bytes", staged);

    let lines = world.function.stop().await.stdout;
    let metrics: Value =
        serde_json::from_str(lines.iter().find(|line| is_metrics(line)).unwrap()).unwrap();
    let metrics = metrics["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array().unwrap().len();
    assert_eq!(json!(metrics), published.0["metrics"]);
    let log = log_bytes(&lines);
    let [_, idle, collected, resync, ..] = log[..] else { panic!("{log:?}") };
    for (run, bytes) in [("idle", idle), ("collected", collected), ("resync", resync)] {
        published.assert_bytes(&format!("/log_bytes/{run}"), bytes);
    }
}

/// By feed, what an object of so many events has.
#[tokio::test]
async fn objects_are_as_large_as_the_costs_are_calculated_with() {
    let published = Published::read();
    let events = Counts::of_total(60_000);
    let options = Options { accounts: 1, events, days: 1, ..Options::default() };
    let simulator = Simulator::start(options).await.unwrap();
    for feed in Feed::ALL {
        let events = simulator.oracle(api(feed));
        let sizes = published.0["object_bytes"][feed.as_str()].as_object().unwrap();
        for events_each in sizes.keys() {
            // Of those that differ much, the mean of some.
            let objects: Vec<_> =
                events.chunks_exact(events_each.parse().unwrap()).take(20).collect();
            let sizes = objects.iter().map(|events| {
                let mut object = Encoder::new();
                events.iter().for_each(|event| object.line(&event.bytes).unwrap());
                object.finish().unwrap().body.len()
            });
            let mean = sizes.sum::<usize>() / objects.len();
            published.assert_bytes(&format!("/object_bytes/{feed}/{events_each}"), mean);
        }
    }
}
