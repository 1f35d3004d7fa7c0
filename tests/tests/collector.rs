//! The Lambda function as it is deployed: the real program on a Runtime API,
//! with the local stack for AWS and the simulator for 1Password.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_s3::types::ChecksumMode;
use bytes::Bytes;
use events_api_simulator::{
    Counts, Effect as ApiEffect, Event, Options, Rule, Simulator, TokenSpec, When,
};
use futures::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use oplake_core::feed::Feed;
use oplake_core::testing::Gate;
use oplake_tests::binaries;
use oplake_tests::judge::{api, assert_holds};
use oplake_tests::proxy::{CONFLICT, Effect, INTERNAL, NO_UPLOAD, Operation, Proxy, TAKEN};
use oplake_tests::runtime_api::{Function, FunctionError};
use oplake_tests::stack::{ACCOUNT, Stack, unique};
use serde_json::{Value, json};

/// Longer than any run takes that nothing hinders.
const LONG: Duration = Duration::from_mins(2);

/// A company, and a bucket, a table and a secret for its events.
struct World {
    simulator: Arc<Simulator>,
    stack: Stack,
    proxy: Proxy,
    bucket: String,
    table: String,
    secret: String,
    feeds: Vec<Feed>,
}

impl World {
    /// A company with `events` within the last `days`, in all feeds.
    async fn new(events: Counts, days: u32) -> Self {
        let options = Options { events, days, ..options() };
        Self::of(Simulator::start(options).await.unwrap().into(), &Feed::ALL).await
    }

    /// A place of its own for the events of `simulator`.
    async fn of(simulator: Arc<Simulator>, feeds: &[Feed]) -> Self {
        let stack = Stack::get().await;
        Self {
            bucket: stack.bucket().await,
            table: stack.table().await,
            secret: stack.secret(Some(simulator.token())).await,
            proxy: Proxy::start().await,
            feeds: feeds.to_vec(),
            simulator,
            stack,
        }
    }

    /// The function's settings.
    fn environment(&self) -> BTreeMap<String, String> {
        let feeds: Vec<_> = self.feeds.iter().map(|feed| feed.as_str()).collect();
        let settings = [
            ("TOKEN_SECRET_ARN", self.secret.clone()),
            ("ARCHIVE_BUCKET", self.bucket.clone()),
            ("BUCKET_OWNER", ACCOUNT.to_owned()),
            ("CHECKPOINT_TABLE", self.table.clone()),
            ("EVENTS_API_URL", self.simulator.url()),
            ("FEEDS", feeds.join(",")),
            ("AWS_ENDPOINT_URL", self.proxy.url().to_owned()),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value));
        self.stack.env().into_iter().chain(settings).collect()
    }

    async fn collector(&self) -> Function {
        Function::start(&binaries::collector(), self.environment()).await
    }

    /// One invocation of a new process that is set up otherwise by `changes`.
    async fn run_with(
        &self,
        changes: &[(&str, &str)],
        timeout: Duration,
    ) -> Result<Value, FunctionError> {
        let mut environment = self.environment();
        environment.extend(changes.iter().map(|(name, value)| ((*name).into(), (*value).into())));
        let mut function = Function::start(&binaries::collector(), environment).await;
        function.invoke(json!({}), timeout).await
    }

    async fn run(&self) -> Result<Value, FunctionError> {
        self.run_with(&[], LONG).await
    }

    /// Asserts that the bucket holds exactly what is visible by now, and no
    /// upload in flight; returns its objects.
    async fn assert_complete(&self) -> BTreeMap<String, Bytes> {
        let objects = self.stack.objects(&self.bucket).await;
        for feed in &self.feeds {
            let visible = self.simulator.visible(api(*feed), self.simulator.clock().now());
            assert_holds(&objects, "main", *feed, visible.iter().map(|known| &known.bytes));
        }
        assert_eq!(self.stack.uploads(&self.bucket).await, Vec::<String>::new());
        objects
    }

    async fn row(&self, feed: Feed) -> Option<BTreeMap<String, AttributeValue>> {
        let request = self.stack.dynamodb().get_item().table_name(&self.table);
        let request = request
            .key("account", AttributeValue::S("main".to_owned()))
            .key("feed", AttributeValue::S(feed.to_string()));
        let item = request.send().await.unwrap().item?;
        Some(item.into_iter().collect())
    }
}

/// One account and no events, now: the function goes by the real clock.
#[expect(clippy::disallowed_methods, reason = "the function goes by the real clock")]
fn options() -> Options {
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
    Options { now, accounts: 1, events: Counts::NONE, ..Options::default() }
}

/// A company whose events of `feed` make one object, or `days`.
async fn few_events(feed: Feed, days: i64) -> Arc<Simulator> {
    let options = options();
    let today = options.now;
    let simulator = Simulator::start(options).await.unwrap();
    for day in 1..=days {
        let time = today - SignedDuration::from_hours(24 * day);
        for n in 0..5 {
            let line = format!(r#"{{"uuid":"D{day}E{n}","timestamp":"{time}","n":1.0}}"#);
            simulator.push(api(feed), &Event::new(line));
        }
    }
    simulator.into()
}

fn stream_of(report: &Value, feed: Feed) -> &Value {
    let streams = report["streams"].as_array().unwrap();
    streams.iter().find(|stream| stream["feed"] == feed.as_str()).unwrap()
}

fn outcomes(report: &Value) -> Vec<&str> {
    let streams = report["streams"].as_array().unwrap();
    streams.iter().map(|stream| stream["outcome"].as_str().unwrap()).collect()
}

/// The one line of metrics among `lines`, all of which must be JSON objects as
/// CloudWatch reads them.
fn metrics(lines: &[String]) -> Value {
    let lines = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let (mut metrics, logs): (Vec<_>, Vec<_>) = lines.partition(|line| line.get("_aws").is_some());
    for line in logs {
        assert!(line["level"].is_string() && line["timestamp"].is_string(), "{line}");
    }
    assert_eq!(metrics.len(), 1);
    metrics.remove(0)
}

#[tokio::test]
async fn sixty_thousand_events_arrive_once_and_as_they_were_served() {
    let world = World::new(Counts::of_total(60_000), 30).await;
    let mut function = world.collector().await;

    let report = function.invoke(json!({}), LONG).await.unwrap();

    let objects = world.assert_complete().await;
    for feed in Feed::ALL {
        let of_feed = format!("onepassword/v1/{feed}/");
        let sizes = objects.iter().filter(|(key, _)| key.starts_with(&of_feed));
        let sizes: Vec<_> = sizes.map(|(_, body)| body.len()).collect();
        let events = world.simulator.oracle(api(feed)).len();
        let told = stream_of(&report, feed);
        for (name, expected) in [
            ("account", json!("main")),
            ("outcome", json!("collected")),
            ("events", json!(events)),
            ("objects", json!(sizes.len())),
            ("bytes", json!(sizes.iter().sum::<usize>())),
            ("pages", json!(events.div_ceil(1000))),
            ("duplicates", json!(0)),
            ("quarantined", json!(0)),
            ("future_events", json!(0)),
            ("complete_until", json!(world.simulator.clock().now())),
            ("lag_seconds", json!(0)),
            ("error", json!(null)),
        ] {
            assert_eq!(told[name], expected, "{feed}: {name}");
        }
    }
    assert_eq!(report["streams"].as_array().unwrap().len(), 3);

    stream::iter(&objects)
        .for_each_concurrent(4, async |(key, body)| assert_contract(&world, key, body).await)
        .await;

    let written = function.stop().await;
    assert_eq!(written.stderr, Vec::<String>::new());
    assert!(!written.stdout.iter().any(|line| line.contains(world.simulator.token())));
    let metrics = metrics(&written.stdout);
    assert_eq!(metrics["Events"], 60_000);
    assert_eq!(metrics["Bytes"], objects.values().map(Bytes::len).sum::<usize>());
    assert_eq!(metrics["FailedStreams"], 0);
    assert_eq!(metrics["FunctionName"], "collector-under-test");
    let declared = metrics["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array().unwrap();
    assert!(declared.len() <= 10, "{declared:?}");
}

/// What every consumer of the bucket may rely on, beside the lines.
async fn assert_contract(world: &World, key: &str, body: &Bytes) {
    let request = world.stack.s3().head_object().bucket(&world.bucket).key(key);
    let head = request.checksum_mode(ChecksumMode::Enabled).send().await.unwrap();
    assert_eq!(head.content_type(), Some("application/x-ndjson"), "{key}");
    assert_eq!(head.content_encoding(), None, "{key}");
    assert_eq!(head.content_length(), Some(i64::try_from(body.len()).unwrap()), "{key}");
    assert!(head.checksum_crc32().is_some(), "{key}");
    let metadata = head.metadata().unwrap();
    let commit = &metadata["oplake-commit"];
    assert!(key.ends_with(&format!("-{commit}.json.gz")), "{key} of commit {commit}");
    let lines = oplake_tests::judge::object_lines(key, body).len();
    assert_eq!(metadata["oplake-events"], lines.to_string(), "{key}");
}

#[tokio::test]
async fn an_idle_run_asks_three_times_reads_three_rows_and_writes_nothing() {
    let world = World::new(Counts::of_total(3_000), 5).await;
    let mut function = world.collector().await;
    function.invoke(json!({}), LONG).await.unwrap();
    let before = world.assert_complete().await;

    // Warm, when the secret is remembered, then cold.
    for secret in [None, Some((Operation::GetSecretValue, 1))] {
        world.proxy.reset();
        world.simulator.clear_requests();
        let report = function.invoke(json!({}), LONG).await.unwrap();

        assert_eq!(outcomes(&report), ["idle"; 3]);
        assert_eq!(world.simulator.requests().len(), 3, "one for each stream");
        let calls = [(Operation::GetItem, 3)].into_iter().chain(secret);
        assert_eq!(world.proxy.counts(), calls.collect());
        function = world.collector().await;
    }
    assert_eq!(world.assert_complete().await, before);
}

#[tokio::test]
async fn of_two_collectors_one_wins_each_stream_and_the_other_leaves_nothing() {
    let world = World::new(Counts::of_total(3_000), 5).await;
    // The rows exist, so that both start from the same commits.
    let refuse = ApiEffect::Status { status: 401, style: None, retry_after: None };
    world.simulator.faults().add(Rule::new(When::Always, refuse));
    world.run().await.unwrap_err();
    world.simulator.faults().clear();
    world.proxy.reset();

    let gate = Gate::new();
    world.proxy.on(Operation::PutItem, 1..=6, Effect::Hold(gate.clone()));
    let open = async {
        gate.reached(6).await;
        let staged = world.stack.uploads(&world.bucket).await;
        gate.open();
        staged.len()
    };
    let (one, two, staged) = tokio::join!(world.run(), world.run(), open);

    assert!(staged >= 6, "both had staged each stream: {staged}");
    let (one, two) = (one.unwrap(), two.unwrap());
    for feed in Feed::ALL {
        let mut outcomes =
            [&one, &two].map(|report| stream_of(report, feed)["outcome"].as_str().unwrap());
        outcomes.sort_unstable();
        assert_eq!(outcomes, ["collected", "superseded"], "{feed}");
    }
    world.assert_complete().await;
}

/// Collects a few events with `faults` on the calls of `operation`, in a run
/// and one more, and asserts that everything is there once. Returns what the
/// first run ended with.
async fn survive(
    simulator: &Arc<Simulator>,
    operation: Operation,
    faults: &[(RangeInclusive<u64>, Effect)],
) -> Result<(), String> {
    let world = World::of(simulator.clone(), &[Feed::SigninAttempts]).await;
    let mut function = world.collector().await;
    for (nth, effect) in faults {
        world.proxy.on(operation, nth.clone(), effect.clone());
    }
    let first = function.invoke(json!({}), LONG).await;
    let expected = faults.iter().map(|(nth, _)| nth.end() - nth.start() + 1).sum::<u64>();
    assert_eq!(world.proxy.struck(), expected, "{operation:?} {faults:?}: {first:?}");
    if first.is_ok() {
        world.assert_complete().await;
    }
    let second = function.invoke(json!({}), LONG).await.unwrap();
    assert!(["idle", "collected"].contains(&outcomes(&second)[0]), "{faults:?}: {second}");
    world.assert_complete().await;
    first.map(drop).map_err(|error| error.error_type)
}

/// Runs of three calls outlast the SDK's own attempts.
#[tokio::test]
async fn a_publication_with_any_answer_loses_nothing_and_doubles_nothing() {
    use Effect::{CutAfter, CutBefore, Deny, Refuse};
    let simulator = few_events(Feed::SigninAttempts, 1).await;
    let cases = [
        vec![(1..=1, Refuse(200, INTERNAL))],
        vec![(1..=3, Refuse(200, INTERNAL))],
        vec![(1..=3, Refuse(500, INTERNAL))],
        vec![(1..=2, Refuse(409, CONFLICT))],
        vec![(1..=1, Refuse(412, TAKEN))],
        vec![(1..=1, CutBefore)],
        vec![(1..=3, CutBefore)],
        vec![(1..=1, CutAfter)],
        vec![(1..=3, CutAfter)],
        vec![(1..=1, CutAfter), (2..=2, Refuse(412, TAKEN))],
        vec![(1..=1, CutAfter), (2..=2, Refuse(404, NO_UPLOAD))],
        vec![(1..=1, Deny(200, INTERNAL)), (2..=2, Refuse(404, NO_UPLOAD))],
        vec![(1..=1, Deny(404, NO_UPLOAD))],
        vec![(1..=1, Deny(412, TAKEN))],
        vec![(1..=3, Deny(500, INTERNAL))],
    ];
    stream::iter(cases)
        .for_each_concurrent(4, async |faults| {
            let first = survive(&simulator, Operation::CompleteMultipartUpload, &faults).await;
            assert_eq!(first, Ok(()), "{faults:?}");
        })
        .await;

    // Were it true, the upload might still be on its way to its key.
    let lie = [(1..=1, Refuse(404, NO_UPLOAD))];
    let first = survive(&simulator, Operation::CompleteMultipartUpload, &lie).await;
    assert_eq!(first, Err("Archive.UploadMissing".to_owned()));
}

#[tokio::test]
async fn a_commit_with_any_answer_loses_nothing_and_doubles_nothing() {
    const THROTTLED: &str =
        r#"{"__type":"com.amazonaws.dynamodb.v20120810#ThrottlingException","message":"m"}"#;
    const REFUSED: &str = r#"{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException","message":"m"}"#;
    use Effect::{CutAfter, CutBefore, Deny, Refuse};
    let simulator = few_events(Feed::SigninAttempts, 2).await;
    // Nothing is begun before the row is there; making it is tried again.
    let first = survive(&simulator, Operation::PutItem, &[(1..=3, CutBefore)]).await;
    assert_eq!(first, Ok(()));

    let fault = |nth: u64| {
        [
            vec![(nth..=nth, CutBefore)],
            vec![(nth..=nth + 2, CutBefore)],
            vec![(nth..=nth, CutAfter)],
            vec![(nth..=nth + 2, CutAfter)],
            vec![(nth..=nth, Deny(500, "{}"))],
            vec![(nth..=nth, Refuse(400, THROTTLED))],
            vec![(nth..=nth, Deny(400, REFUSED))],
        ]
    };
    // The row is made, the batch committed, the batch noted as published.
    let mut cases: Vec<_> = (1..=3).flat_map(fault).collect();
    cases.remove(1);
    stream::iter(cases)
        .for_each_concurrent(4, async |faults| {
            let first = survive(&simulator, Operation::PutItem, &faults).await;
            assert_eq!(first, Ok(()), "{faults:?}");
        })
        .await;
}

#[tokio::test]
async fn a_bad_day_of_s3_delays_only() {
    let world = World::of(few_events(Feed::ItemUsages, 20).await, &[Feed::ItemUsages]).await;
    let mut function = world.collector().await;
    for operation in [
        Operation::CreateMultipartUpload,
        Operation::UploadPart,
        Operation::CompleteMultipartUpload,
        Operation::HeadObject,
    ] {
        world.proxy.rule(move |call| {
            let effects = [
                Some(Effect::CutAfter),
                None,
                Some(Effect::Refuse(503, INTERNAL)),
                None,
                Some(Effect::CutBefore),
                None,
                Some(Effect::Delay(Duration::from_millis(50))),
            ];
            let nth = usize::try_from(call.nth).unwrap();
            (call.operation == operation).then(|| effects[nth % effects.len()].clone())?
        });
    }
    while world.proxy.struck() < 40 {
        // A run that fails is one that the next one mends.
        if let Err(failed) = function.invoke(json!({}), LONG).await {
            assert_eq!(failed.error_type, "Archive.Unavailable", "{failed:?}");
        }
    }
    world.proxy.reset();
    let last = function.invoke(json!({}), LONG).await.unwrap();
    assert!(["idle", "collected"].contains(&outcomes(&last)[0]), "{last}");

    let objects = world.stack.objects(&world.bucket).await;
    let visible = world.simulator.visible(api(Feed::ItemUsages), world.simulator.clock().now());
    assert_holds(&objects, "main", Feed::ItemUsages, visible.iter().map(|known| &known.bytes));
}

#[tokio::test]
async fn a_bad_set_up_is_one_clear_error_and_loses_nothing() {
    let simulator: Arc<_> = few_events(Feed::SigninAttempts, 2).await;
    let token = simulator.token();
    let stack = Stack::get().await;
    let truncated = stack.secret(Some(&token[..token.len() - 9])).await;
    let prose = stack.secret(Some("the token is on the fridge")).await;
    let half_json = stack.secret(Some("{\"main\": 1}")).await;
    let unknown = unique();
    let cases: [(&str, &str, &str, &[&str]); 7] = [
        (
            "ARCHIVE_BUCKET",
            &unknown,
            "Archive.Unusable",
            &["there is no such bucket: create it, or correct its name", &unknown],
        ),
        (
            "CHECKPOINT_TABLE",
            &unknown,
            "Checkpoint.Unusable",
            &["there is no such table", "create it with the partition key `account`", &unknown],
        ),
        (
            "TOKEN_SECRET_ARN",
            &unknown,
            "Token.Unusable",
            &["there is no such secret", "create it, or correct its name", &unknown],
        ),
        ("TOKEN_SECRET_ARN", &truncated, "Token.Malformed", &["copy it again"]),
        ("TOKEN_SECRET_ARN", &prose, "Token.Malformed", &["neither a bearer token nor a JSON"]),
        ("TOKEN_SECRET_ARN", &half_json, "Token.Malformed", &["neither a bearer token nor a JSON"]),
        // Nothing listens there.
        (
            "EVENTS_API_URL",
            "http://127.0.0.1:1",
            "EventsApi.Transport",
            &["127.0.0.1:1 cannot be reached: check the URL"],
        ),
    ];
    stream::iter(cases)
        .for_each_concurrent(4, async |(name, value, error_type, said)| {
            let world = World::of(simulator.clone(), &Feed::ALL).await;
            // Only the API is asked again until time is up.
            let timeout = if name == "EVENTS_API_URL" { Duration::from_secs(8) } else { LONG };
            let failed = world.run_with(&[(name, value)], timeout).await.unwrap_err();
            assert_eq!(failed.error_type, error_type, "{name}={value}: {failed:?}");
            for part in said {
                assert!(failed.message.contains(part), "{part}: {}", failed.message);
            }
            for feed in Feed::ALL {
                assert!(failed.message.contains(&format!("main/{feed}: ")), "{}", failed.message);
            }
            assert!(!failed.message.contains("fridge") && !failed.message.contains(&token[..40]));
            assert!(world.stack.objects(&world.bucket).await.is_empty());

            world.run().await.unwrap();
            world.assert_complete().await;
        })
        .await;
}

#[tokio::test]
async fn a_missing_permission_is_named_and_loses_nothing() {
    const S3: &str = "<Error><Code>AccessDenied</Code><Message>m</Message></Error>";
    const JSON: &str = r#"{"__type":"AccessDeniedException","message":"m"}"#;
    use Operation::{
        CompleteMultipartUpload, CreateMultipartUpload, GetItem, GetSecretValue, ListObjectsV2,
        PutItem, UploadPart,
    };
    let simulator = few_events(Feed::SigninAttempts, 2).await;
    let cases = [
        (GetSecretValue, 400, JSON, "Token.Unusable", "allow secretsmanager:GetSecretValue"),
        (GetItem, 400, JSON, "Checkpoint.Unusable", "allow dynamodb:GetItem and PutItem"),
        (PutItem, 400, JSON, "Checkpoint.Unusable", "allow dynamodb:GetItem and PutItem"),
        (ListObjectsV2, 403, S3, "Archive.Denied", "not allowed to list"),
        (CreateMultipartUpload, 403, S3, "Archive.Denied", "not allowed to start the upload of"),
        (UploadPart, 403, S3, "Archive.Denied", "not allowed to upload the part of"),
        (
            CompleteMultipartUpload,
            403,
            S3,
            "Archive.Denied",
            "not allowed to complete the upload of",
        ),
    ];
    stream::iter(cases)
        .for_each_concurrent(4, async |(operation, status, body, error_type, said)| {
            let world = World::of(simulator.clone(), &[Feed::SigninAttempts]).await;
            world.proxy.on(operation, 1..=u64::MAX, Effect::Refuse(status, body));

            let failed = world.run().await.unwrap_err();

            assert_eq!(failed.error_type, error_type, "{operation:?}: {failed:?}");
            assert!(failed.message.contains(said), "{operation:?}: {failed:?}");
            world.proxy.reset();
            world.run().await.unwrap();
            let visible = world.simulator.oracle(api(Feed::SigninAttempts));
            let objects = world.stack.objects(&world.bucket).await;
            let lines = visible.iter().map(|known| &known.bytes);
            assert_holds(&objects, "main", Feed::SigninAttempts, lines);
        })
        .await;
}

#[tokio::test]
async fn a_token_that_a_warm_function_remembers_and_the_api_refuses_is_read_again() {
    let world = World::new(Counts::of_total(300), 5).await;
    let mut function = world.collector().await;
    function.invoke(json!({}), LONG).await.unwrap();
    world.proxy.reset();
    let put = world.stack.secrets_manager().put_secret_value().secret_id(&world.secret);
    let token = world.simulator.mint(&TokenSpec::default());
    put.secret_string(token).send().await.unwrap();
    world.simulator.revoke(world.simulator.token());
    let report = function.invoke(json!({}), LONG).await.unwrap();
    assert_eq!(outcomes(&report), ["idle"; 3]);
    assert_eq!(world.proxy.counts()[&Operation::GetSecretValue], 1);
}

#[tokio::test]
async fn a_secret_without_a_value_is_no_failure_but_a_metric() {
    let world = World::new(Counts::of_total(300), 5).await;
    let mut environment = world.environment();
    let empty = world.stack.secret(None).await;
    environment.insert("TOKEN_SECRET_ARN".to_owned(), empty.clone());
    let mut function = Function::start(&binaries::collector(), environment).await;

    let report = function.invoke(json!({}), LONG).await.unwrap();

    assert_eq!(outcomes(&report), ["no_token"; 3]);
    let error = &stream_of(&report, Feed::AuditEvents)["error"];
    assert_eq!(error["code"], "Token.Missing");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains(&format!("put-secret-value --secret-id {empty}")), "{message}");

    // The same process finds the token that is put there.
    let put = world.stack.secrets_manager().put_secret_value().secret_id(&empty);
    put.secret_string(world.simulator.token()).send().await.unwrap();
    function.invoke(json!({}), LONG).await.unwrap();
    world.assert_complete().await;

    let lines = function.stop().await.stdout;
    let second = lines.iter().rposition(|line| line.contains("no_token")).unwrap();
    let last = lines.iter().position(|line| line.contains("_aws")).unwrap();
    assert!(last > second, "the metrics come after the log of the streams");
    assert_eq!(metrics(&lines[..=last])["NoToken"], 3);
    assert_eq!(metrics(&lines[last + 1..])["NoToken"], 0);
}

#[tokio::test]
async fn a_row_of_a_newer_version_is_refused_and_stays_as_it_is() {
    let world = World::new(Counts::of_total(300), 5).await;
    let request = world.stack.dynamodb().put_item().table_name(&world.table);
    let request = request
        .item("account", AttributeValue::S("main".to_owned()))
        .item("feed", AttributeValue::S("item_usages".to_owned()))
        .item("version", AttributeValue::N("1000".to_owned()))
        .item("invented_later", AttributeValue::Bool(true));
    request.send().await.unwrap();
    let before = world.row(Feed::ItemUsages).await;

    let failed = world.run().await.unwrap_err();

    assert_eq!(failed.error_type, "Checkpoint.Newer", "{failed:?}");
    assert!(failed.message.starts_with("main/item_usages: "), "{failed:?}");
    assert_eq!(world.row(Feed::ItemUsages).await, before);
    let objects = world.stack.objects(&world.bucket).await;
    assert!(!objects.is_empty());
    assert!(!objects.keys().any(|key| key.contains("item_usages")));
}

#[tokio::test]
async fn a_feed_that_fails_stops_no_other_and_fails_the_invocation() {
    let mut world = World::new(Counts::of_total(3_000), 5).await;
    let refuse = ApiEffect::Status { status: 401, style: None, retry_after: None };
    let refuse = Rule::new(When::Always, refuse).feed(api(Feed::ItemUsages));
    world.simulator.faults().add(refuse);
    let mut function = world.collector().await;

    let failed = function.invoke(json!({}), LONG).await.unwrap_err();

    assert_eq!(failed.error_type, "EventsApi.Unauthorized");
    assert!(failed.message.starts_with("main/item_usages: "), "{failed:?}");
    assert!(failed.message.contains("issue a new one in 1Password"), "{failed:?}");
    let reads = world.proxy.counts()[&Operation::GetSecretValue];
    assert_eq!(reads, 2, "the secret is read once more, in case the token was rotated");
    world.feeds = vec![Feed::SigninAttempts, Feed::AuditEvents];
    world.assert_complete().await;

    world.simulator.faults().clear();
    function.invoke(json!({}), LONG).await.unwrap();
    world.feeds = Feed::ALL.to_vec();
    world.assert_complete().await;
}

#[tokio::test]
async fn a_run_ends_before_its_deadline_and_the_next_goes_on() {
    let options = Options {
        events: Counts { item_usages: 20_000, ..Counts::NONE },
        days: 3,
        latency: Duration::from_millis(600),
        ..options()
    };
    let simulator = Simulator::start(options).await.unwrap();
    let world = World::of(simulator.into(), &[Feed::ItemUsages]).await;
    let mut function = world.collector().await;

    // A quarter of it is kept back for the commit; 20 pages take longer than the rest.
    let timeout = Duration::from_secs(12);
    let began = Instant::now();
    let report = function.invoke(json!({}), timeout).await.unwrap();
    assert!(began.elapsed() < timeout);
    let first = &report["streams"][0];
    assert_eq!(first["outcome"], "partial", "{first}");
    let committed = first["events"].as_u64().unwrap();
    assert!(committed > 0);
    let (pages, wait) = (first["pages"].as_u64().unwrap(), first["wait_ms"].as_u64().unwrap());
    assert!(wait >= 600 * pages, "{first}");

    let report = function.invoke(json!({}), LONG).await.unwrap();
    let second = &report["streams"][0];
    assert_eq!(second["outcome"], "collected", "{second}");
    assert_eq!(second["events"].as_u64(), Some(20_000 - committed));
    assert_eq!(second["duplicates"], 0, "it went on where the first ended");
    world.assert_complete().await;
    let panicked = function.stop().await.stderr;
    assert!(panicked.is_empty(), "{panicked:?}");
}
