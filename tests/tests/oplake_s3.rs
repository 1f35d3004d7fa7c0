//! The command line on AWS: `s3://`, `dynamodb://` and `--token-secret`.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::process::{Output, Stdio};
use std::time::Duration;

use aws_sdk_s3::types::{
    AbortIncompleteMultipartUpload, BucketLifecycleConfiguration, ExpirationStatus,
    LifecycleExpiration, LifecycleRule, LifecycleRuleFilter, PublicAccessBlockConfiguration,
};
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
