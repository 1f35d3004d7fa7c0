//! The command line on AWS: `s3://`, `dynamodb://` and `--token-secret`.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::process::{Output, Stdio};
use std::time::Duration;

use aws_sdk_s3::types::{
    AbortIncompleteMultipartUpload, BucketLifecycleConfiguration, ExpirationStatus,
    LifecycleExpiration, LifecycleRule, LifecycleRuleFilter, PublicAccessBlockConfiguration,
};
use aws_sdk_sqs::types::QueueAttributeName;
use events_api_simulator::{Counts, Effect, Event, Options, Rule, Simulator, When};
use jiff::{SignedDuration, Timestamp};
use oplake_core::feed::Feed;
use oplake_tests::binaries;
use oplake_tests::judge::{api, assert_holds};
use oplake_tests::runtime_api::Function;
use oplake_tests::stack::{ACCOUNT, Stack, unique};
use serde_json::{Value, json};
use tokio::process::Command;

/// A company, and a bucket, a table and a secret for its events.
struct World {
    simulator: Simulator,
    stack: Stack,
    bucket: String,
    table: String,
    secret: String,
}

impl World {
    #[expect(clippy::disallowed_methods, reason = "programs go by the real clock")]
    async fn new() -> Self {
        let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
        let events = Counts::of_total(2_000);
        let options = Options { now, events, accounts: 1, days: 4, ..Options::default() };
        let simulator = Simulator::start(options).await.unwrap();
        let stack = Stack::get().await;
        let (bucket, table) = (stack.bucket().await, stack.table().await);
        let secret = stack.secret(Some(simulator.token())).await;
        Self { simulator, stack, bucket, table, secret }
    }

    /// Runs `oplake` with `arguments` and, beside the way to the stack,
    /// `variables` for its environment.
    async fn oplake(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        let mut command = Command::new(binaries::oplake());
        command.args(arguments).env_clear().envs(self.stack.env()).envs(variables.iter().copied());
        command.stdin(Stdio::null()).kill_on_drop(true).output().await.unwrap()
    }

    /// `oplake collect` to `bucket` and `table`, with the token in the variable.
    async fn collect(&self, bucket: &str, table: &str) -> Output {
        let (archive, checkpoints) = (format!("s3://{bucket}"), format!("dynamodb://{table}"));
        let url = self.simulator.url();
        let arguments = [
            ["collect", "--json"],
            ["--archive", &archive],
            ["--checkpoints", &checkpoints],
            ["--api-url", &url],
        ];
        let token = [("OP_EVENTS_API_TOKEN", self.simulator.token())];
        self.oplake(arguments.as_flattened(), &token).await
    }

    async fn assert_complete(&self, feeds: &[Feed]) {
        let objects = self.stack.objects(&self.bucket).await;
        for feed in feeds {
            let visible = self.simulator.visible(api(*feed), self.simulator.clock().now());
            assert_holds(&objects, "main", *feed, visible.iter().map(|known| &known.bytes));
        }
        assert_eq!(self.stack.uploads(&self.bucket).await, Vec::<String>::new());
    }
}

fn outcomes(report: &Value) -> Vec<&str> {
    let streams = report["streams"].as_array().unwrap();
    streams.iter().map(|stream| stream["outcome"].as_str().unwrap()).collect()
}

/// The JSON that a command printed, if it ended well.
fn printed(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn errors(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[tokio::test]
async fn a_shell_and_the_function_go_on_from_one_row() {
    let world = World::new().await;
    let (archive, checkpoints) =
        (format!("s3://{}", world.bucket), format!("dynamodb://{}", world.table));
    let url = world.simulator.url();

    let report = printed(&world.collect(&world.bucket, &world.table).await);
    assert_eq!(outcomes(&report), ["collected"; 3]);
    world.assert_complete(&Feed::ALL).await;

    let arguments = [
        ["collect", "--json"],
        ["--archive", &archive],
        ["--checkpoints", &checkpoints],
        ["--token-secret", &world.secret],
        ["--bucket-owner", ACCOUNT],
    ];
    let variables = [("EVENTS_API_URL", url.as_str())];
    let with_secret = || world.oplake(arguments.as_flattened(), &variables);
    assert_eq!(outcomes(&printed(&with_secret().await)), ["idle"; 3]);

    let arguments = ["status", "--json", "--checkpoints", &checkpoints];
    let status = printed(&world.oplake(&arguments, &[]).await);
    let streams = status.as_array().unwrap();
    let feeds: Vec<_> = streams.iter().map(|stream| stream["feed"].as_str().unwrap()).collect();
    assert_eq!(feeds, Feed::ALL.map(Feed::as_str));
    for stream in streams {
        assert_eq!(stream["account"], "main");
        assert_eq!(stream["archive"], format!("{archive}/onepassword/v1/"));
        assert_eq!(stream["complete_until"], json!(world.simulator.clock().now()));
        assert_eq!((&stream["staged_objects"], &stream["gaps"]), (&json!(0), &json!([])));
    }

    let settings = [
        ("TOKEN_SECRET_ARN", &world.secret),
        ("ARCHIVE_BUCKET", &world.bucket),
        ("CHECKPOINT_TABLE", &world.table),
        ("EVENTS_API_URL", &url),
    ];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.clone()));
    let environment = world.stack.env().into_iter().chain(settings);
    let mut function = Function::start(&binaries::collector(), environment).await;
    let report = function.invoke(json!({}), Duration::from_mins(1)).await.unwrap();
    assert_eq!(outcomes(&report), ["idle"; 3]);

    // What the function collects, the shell has not to collect again.
    world.simulator.clock().advance(Duration::from_mins(1));
    let time = world.simulator.clock().now() - SignedDuration::from_secs(1);
    let line = format!(r#"{{"uuid":"NEW","timestamp":"{time}"}}"#);
    world.simulator.push(api(Feed::AuditEvents), &Event::new(line));
    let report = function.invoke(json!({}), Duration::from_mins(1)).await.unwrap();
    assert_eq!(outcomes(&report), ["idle", "idle", "collected"]);
    assert_eq!(outcomes(&printed(&with_secret().await)), ["idle"; 3]);
    world.assert_complete(&Feed::ALL).await;
}

#[tokio::test]
async fn what_is_not_there_is_named_and_a_matter_of_configuration() {
    let world = World::new().await;
    let unknown = unique();

    let output = world.collect(&unknown, &world.table).await;
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = format!(
        "the archive s3://{unknown}/onepassword/v1/ cannot be used: there is no such bucket: create it, or correct \
         its name"
    );
    assert!(errors(&output).contains(&said), "{output:?}");

    let output = world.collect(&world.bucket, &unknown).await;
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said =
        format!("the checkpoint table dynamodb://{unknown} cannot be used: there is no such table");
    assert!(errors(&output).contains(&said), "{output:?}");

    let checkpoints = format!("dynamodb://{unknown}");
    let output = world.oplake(&["status", "--checkpoints", &checkpoints], &[]).await;
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(errors(&output).contains("there is no such table"), "{output:?}");

    printed(&world.collect(&world.bucket, &world.table).await);
    world.assert_complete(&Feed::ALL).await;
}

#[tokio::test]
async fn one_feed_that_fails_is_a_failure_and_the_others_are_collected() {
    let world = World::new().await;
    let refuse = Effect::Status { status: 401, style: None, retry_after: None };
    world.simulator.faults().add(Rule::new(When::Always, refuse).feed(api(Feed::ItemUsages)));

    let output = world.collect(&world.bucket, &world.table).await;

    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(outcomes(&report), ["collected", "failed", "collected"]);
    assert!(errors(&output).contains("error: main/item_usages: "), "{output:?}");
    world.assert_complete(&[Feed::SigninAttempts, Feed::AuditEvents]).await;
}

/// The bucket, the table and the secret, as they are and as they should be.
#[tokio::test]
async fn check_names_what_is_wrong_with_what_a_deployment_uses() {
    let world = World::new().await;
    let s3 = world.stack.s3();
    let check = async |more: &[&str]| {
        let archive = format!("s3://{}", world.bucket);
        let checkpoints = format!("dynamodb://{}", world.table);
        let url = world.simulator.url();
        let arguments = [
            ["check", "--json"],
            ["--archive", &archive],
            ["--checkpoints", &checkpoints],
            ["--token-secret", &world.secret],
            ["--api-url", &url],
        ];
        let arguments: Vec<_> = arguments.as_flattened().iter().chain(more).copied().collect();
        let output = world.oplake(&arguments, &[]).await;
        let found: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        let told = |finding: &Value| {
            let text = |name: &str| finding[name].as_str().unwrap().to_owned();
            format!("{} {}: {}", text("grade"), text("subject"), text("message"))
        };
        (output.status.code(), found.iter().map(told).collect::<Vec<_>>().join("\n"))
    };

    let block_access = async |block: bool| {
        let access = PublicAccessBlockConfiguration::builder()
            .block_public_acls(block)
            .block_public_policy(block)
            .ignore_public_acls(block)
            .restrict_public_buckets(block);
        let request = s3.put_public_access_block().bucket(&world.bucket);
        request.public_access_block_configuration(access.build()).send().await.unwrap();
    };

    // New buckets block it.
    block_access(false).await;
    let (status, found) = check(&[]).await;
    assert_eq!(status, Some(0), "{found}");
    for expected in [
        format!("good bucket `{}`: it is there, in this region", world.bucket),
        "no rule aborts incomplete uploads".to_owned(),
        "it does not block all public access".to_owned(),
        "it notifies nobody of new objects".to_owned(),
        format!("good table `{}`: it is there, with the right key", world.table),
        "point-in-time recovery is off".to_owned(),
        "it can be deleted: protect it from deletion".to_owned(),
        format!("good secret `{}`: it is there", world.secret),
        "good token of `main`".to_owned(),
    ] {
        assert!(found.contains(&expected), "`{expected}` is not in:\n{found}");
    }
    assert!(!found.contains("versions"), "{found}");

    let rule = LifecycleRule::builder()
        .id("all")
        .filter(LifecycleRuleFilter::builder().prefix("").build())
        .status(ExpirationStatus::Enabled)
        .expiration(LifecycleExpiration::builder().days(30).build())
        .abort_incomplete_multipart_upload(
            AbortIncompleteMultipartUpload::builder().days_after_initiation(7).build(),
        );
    let rules = BucketLifecycleConfiguration::builder().rules(rule.build().unwrap());
    let request = s3.put_bucket_lifecycle_configuration().bucket(&world.bucket);
    request.lifecycle_configuration(rules.build().unwrap()).send().await.unwrap();
    block_access(true).await;

    let (status, found) = check(&[]).await;
    assert_eq!(status, Some(1), "{found}");
    assert!(found.contains("its objects expire after 30 days, and a resync would"), "{found}");
    for mended in ["incomplete uploads", "public access"] {
        assert!(!found.contains(mended), "{found}");
    }
    assert_eq!(check(&["--retention-days", "31"]).await.0, Some(1));
    let (status, found) = check(&["--retention-days", "30"]).await;
    assert_eq!(status, Some(0), "{found}");
    let (status, found) = check(&["--prefix", "else/where/", "--kms-key", "arn:aws:kms:k"]).await;
    assert_eq!(status, Some(1), "the rule is of all prefixes: {found}");
    assert!(found.contains("warning key `arn:aws:kms:k`: its policy must"), "{found}");

    // What is not there, or elsewhere.
    let elsewhere = "arn:aws:secretsmanager:eu-west-1:000000000000:secret:token-abcdef";
    for (flag, value, complaint) in [
        ("--archive", format!("s3://{}", unique()), "there is no such bucket"),
        ("--checkpoints", format!("dynamodb://{}", unique()), "there is no such table"),
        ("--token-secret", unique(), "there is no such secret"),
        (
            "--token-secret",
            elsewhere.to_owned(),
            "it is in eu-west-1, and the function would be in us-east-1",
        ),
    ] {
        let output = world.oplake(&["check", flag, &value], &[]).await;
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(errors(&output).contains(complaint), "{complaint}: {output:?}");
    }
}

/// A queue that a topic fills with what its filter lets through.
struct Consumer {
    sqs: aws_sdk_sqs::Client,
    topic: String,
    url: String,
}

impl Consumer {
    /// Subscribes to keys below `prefix`, or to all. (This stack's topics look
    /// into no array of a message: with a filter, nothing comes by them.)
    async fn new(world: &World, prefix: Option<&str>, is_raw: bool) -> Self {
        let sqs = aws_sdk_sqs::Client::new(world.stack.config());
        let sns = aws_sdk_sns::Client::new(world.stack.config());
        let topic = sns.create_topic().name(unique()).send().await.unwrap().topic_arn.unwrap();
        let url = sqs.create_queue().queue_name(unique()).send().await.unwrap().queue_url.unwrap();
        let asked = sqs.get_queue_attributes().queue_url(&url);
        let told = asked.attribute_names(QueueAttributeName::QueueArn).send().await.unwrap();
        let arn = told.attributes.unwrap().remove(&QueueAttributeName::QueueArn).unwrap();
        let policy = json!({ "Version": "2012-10-17", "Statement": [{
            "Effect": "Allow",
            "Principal": { "Service": "sns.amazonaws.com" },
            "Action": "sqs:SendMessage",
            "Resource": arn,
            "Condition": { "ArnEquals": { "aws:SourceArn": topic } },
        }]});
        let set = sqs.set_queue_attributes().queue_url(&url);
        set.attributes(QueueAttributeName::Policy, policy.to_string()).send().await.unwrap();
        let subscribe = sns.subscribe().topic_arn(&topic).protocol("sqs").endpoint(&arn);
        let mut subscribe = subscribe.attributes("RawMessageDelivery", is_raw.to_string());
        if let Some(prefix) = prefix {
            let key = json!([{ "prefix": prefix }]);
            let filter = json!({ "Records": { "s3": { "object": { "key": key } } } });
            subscribe = subscribe
                .attributes("FilterPolicyScope", "MessageBody")
                .attributes("FilterPolicy", filter.to_string());
        }
        subscribe.send().await.unwrap();
        Self { sqs, topic, url }
    }

    /// Takes every message.
    async fn take(&self) -> Vec<Value> {
        let mut taken = Vec::new();
        loop {
            let asked = self.sqs.receive_message().queue_url(&self.url).max_number_of_messages(10);
            let messages = asked.send().await.unwrap().messages.unwrap_or_default();
            if messages.is_empty() {
                return taken;
            }
            for message in messages {
                let handle = message.receipt_handle.unwrap();
                let delete = self.sqs.delete_message().queue_url(&self.url);
                delete.receipt_handle(handle).send().await.unwrap();
                taken.push(serde_json::from_str(&message.body.unwrap()).unwrap());
            }
        }
    }

    /// Takes every message and returns the keys that they tell of, sorted.
    async fn take_keys(&self) -> Vec<String> {
        let messages = self.take().await;
        let keys = messages.iter().map(|message| {
            message["Records"][0]["s3"]["object"]["key"].as_str().unwrap().to_owned()
        });
        let mut keys: Vec<_> = keys.collect();
        keys.sort();
        keys
    }
}

impl World {
    /// `oplake replay` of the whole lake to `target`, with further arguments.
    async fn replay(&self, target: &str, arguments: &[&str]) -> Output {
        let archive = format!("s3://{}", self.bucket);
        let day = |days: i64| {
            let time = self.simulator.clock().now() - SignedDuration::from_hours(24 * days);
            time.to_string()[..10].to_owned()
        };
        let (from, to) = (day(10), day(-1));
        let own = [["--archive", &archive], ["--from", &from], ["--to", &to], ["--target", target]];
        let all = [&["replay"], own.as_flattened(), arguments].concat();
        self.oplake(&all, &[]).await
    }

    /// The keys of `feed`, sorted.
    async fn keys(&self, feed: Feed) -> Vec<String> {
        let objects = self.stack.objects(&self.bucket).await;
        let of_feed = format!("onepassword/v1/{feed}/");
        objects.into_keys().filter(|key| key.starts_with(&of_feed)).collect()
    }
}

#[tokio::test]
async fn a_queue_is_told_of_the_objects_of_its_feed_once() {
    let world = World::new().await;
    printed(&world.collect(&world.bucket, &world.table).await);
    let expected = world.keys(Feed::AuditEvents).await;
    assert!(expected.len() >= 3, "{expected:?}");
    let consumer = Consumer::new(&world, Some("onepassword/v1/audit_events/"), true).await;
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let journal_path = journal.to_str().unwrap();
    let audit = ["--feeds", "audit_events", "--journal", journal_path];

    // What is for other queues is refused, and nothing is sent.
    let other = world.replay(&consumer.url, &["--journal", journal_path]).await;
    assert_eq!(other.status.code(), Some(2), "{other:?}");
    let told = errors(&other);
    assert!(told.contains("does not take signin_attempts: use --feeds audit_events"), "{told}");
    let dry = world.replay(&consumer.url, &[&audit[..], &["--dry-run"]].concat()).await;
    assert_eq!(dry.status.code(), Some(0), "{dry:?}");
    assert!(errors(&dry).contains("nothing was sent"), "{}", errors(&dry));
    assert!(!journal.exists());
    assert_eq!(consumer.take().await, Vec::<Value>::new());

    let sent = world.replay(&consumer.url, &audit).await;
    assert_eq!(sent.status.code(), Some(0), "{sent:?}");
    let messages = consumer.take().await;
    let objects = world.stack.objects(&world.bucket).await;
    let mut keys = Vec::new();
    for message in &messages {
        let record = &message["Records"][0];
        assert_eq!(message["Records"].as_array().unwrap().len(), 1);
        assert_eq!(record["eventSource"], "aws:s3");
        assert_eq!(record["eventName"], "ObjectCreated:CompleteMultipartUpload");
        assert_eq!(record["awsRegion"], "us-east-1");
        let s3 = &record["s3"];
        assert_eq!(s3["bucket"]["name"], json!(world.bucket));
        assert_eq!(s3["bucket"]["arn"], json!(format!("arn:aws:s3:::{}", world.bucket)));
        let key = s3["object"]["key"].as_str().unwrap();
        assert_eq!(s3["object"]["size"], json!(objects[key].len()));
        let head = world.stack.s3().head_object().bucket(&world.bucket).key(key).send();
        let etag = head.await.unwrap().e_tag.unwrap();
        assert_eq!(s3["object"]["eTag"].as_str(), Some(etag.trim_matches('"')));
        keys.push(key.to_owned());
    }
    keys.sort();
    assert_eq!(keys, expected);

    // One day of them, and of that what was written before the collection.
    let day = &expected[1]["onepassword/v1/audit_events/".len()..][..10];
    let of_day = expected.iter().filter(|key| key.contains(&format!("/{day}/"))).count();
    let (archive, other) = (format!("s3://{}", world.bucket), folder.path().join("day"));
    let mut arguments = vec!["replay", "--archive", &archive, "--from", day, "--to", day];
    arguments.extend(["--target", &consumer.url, "--feeds", "audit_events", "--journal"]);
    arguments.push(other.to_str().unwrap());
    let early = [&arguments[..], &["--written-before", "1h"]].concat();
    for (arguments, sent) in [(&early, 0), (&arguments, of_day)] {
        let ended = world.oplake(arguments, &[]).await;
        assert_eq!(ended.status.code(), Some(0), "{ended:?}");
        let keys = consumer.take_keys().await;
        assert_eq!(keys.len(), sent);
        assert!(keys.iter().all(|key| key.contains(day)), "{keys:?}");
    }

    // Once more: nothing is left. Another target: not with this journal.
    let again = world.replay(&consumer.url, &audit).await;
    assert_eq!(again.status.code(), Some(0), "{again:?}");
    assert_eq!(consumer.take().await, Vec::<Value>::new());
    let topic = world.replay(&consumer.topic, &audit).await;
    assert_eq!(topic.status.code(), Some(2), "{topic:?}");
    assert!(errors(&topic).contains("give another one"), "{}", errors(&topic));
}

#[tokio::test]
async fn a_replay_goes_on_where_a_crash_ended_it() {
    let world = World::new().await;
    printed(&world.collect(&world.bucket, &world.table).await);
    let expected = world.keys(Feed::ItemUsages).await;
    let consumer = Consumer::new(&world, Some("onepassword/v1/item_usages/"), true).await;
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    // Two were noted; the third line was being written.
    let (noted, left) = expected.split_at(2);
    let cut = &left[0][..left[0].len() / 2];
    let about = format!("s3://{}/onepassword/v1/ to {}", world.bucket, consumer.url);
    std::fs::write(&journal, format!("{about}\n{}\n{cut}", noted.join("\n"))).unwrap();
    let arguments = ["--feeds", "item_usages", "--journal", journal.to_str().unwrap()];
    let sent = world.replay(&consumer.url, &arguments).await;
    assert_eq!(sent.status.code(), Some(0), "{sent:?}");
    assert_eq!(consumer.take_keys().await, left);
    let written = std::fs::read_to_string(&journal).unwrap();
    let mut lines: Vec<_> = written.lines().skip(1).collect();
    lines.sort_unstable();
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn a_topic_tells_its_subscribers_and_an_envelope_is_as_subscribed() {
    let world = World::new().await;
    printed(&world.collect(&world.bucket, &world.table).await);
    let expected = world.keys(Feed::SigninAttempts).await;
    let folder = tempfile::tempdir().unwrap();
    let journal = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();

    let raw = Consumer::new(&world, None, true).await;
    let arguments = ["--feeds", "signin_attempts", "--journal", &journal("topic")];
    let sent = world.replay(&raw.topic, &arguments).await;
    assert_eq!(sent.status.code(), Some(0), "{sent:?}");
    assert_eq!(raw.take_keys().await, expected);

    let prefix = Some("onepassword/v1/signin_attempts/");
    let wrapped = Consumer::new(&world, prefix, false).await;
    let arguments = ["--feeds", "signin_attempts", "--journal", &journal("queue")];
    let sent = world.replay(&wrapped.url, &arguments).await;
    assert_eq!(sent.status.code(), Some(0), "{sent:?}");
    let messages = wrapped.take().await;
    assert_eq!(messages.len(), expected.len());
    for message in messages {
        assert_eq!(message["Type"], "Notification");
        assert_eq!(message["TopicArn"], json!(wrapped.topic));
        let inner: Value = serde_json::from_str(message["Message"].as_str().unwrap()).unwrap();
        assert_eq!(inner["Records"][0]["eventSource"], "aws:s3");
    }
}

#[tokio::test]
async fn a_replay_that_cannot_be_says_why() {
    let world = World::new().await;
    let queue = "http://127.0.0.1:4566/000000000000/there-is-none";
    for (target, arguments, expected) in [
        (queue, &["--journal", "unused"][..], "there is none of this name in the region"),
        (queue, &[], "--journal <FILE>"),
        ("somewhere", &["--dry-run"], "use the URL of an SQS queue or the ARN of an SNS topic"),
        (queue, &["--dry-run", "--shape", "wrapped"], "use raw or sns"),
    ] {
        let ended = world.replay(target, arguments).await;
        assert_eq!(ended.status.code(), Some(2), "{arguments:?}: {ended:?}");
        assert!(errors(&ended).contains(expected), "{}", errors(&ended));
    }
    assert!(!std::path::Path::new("unused").exists());
}
