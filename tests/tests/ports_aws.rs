//! The ports on AWS meet the contract of every port, on the local stack; and
//! what only the ports on AWS promise.

#![expect(clippy::unwrap_used, reason = "tests answer by panics")]

use aws_config::SdkConfig;
use aws_sdk_s3::types::{ChecksumMode, ServerSideEncryption};
use bytes::Bytes;
use oplake_aws::{DynamoDbCheckpoints, S3Archive, SecretsManagerTokens};
use oplake_core::archive::{Archive, Completion, Object};
use oplake_core::checkpoint::{CheckpointError, CheckpointStore, CommitId};
use oplake_core::error::chain;
use oplake_core::feed::{Feed, Stream};
use oplake_core::partition::Prefix;
use oplake_core::testing::contract;
use oplake_core::token::{Secret, TokenSource};
use oplake_tests::stack::{Stack, unique};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

fn stream() -> Stream {
    Stream { account: "main".parse().unwrap(), feed: Feed::AuditEvents }
}

/// An archive in a new bucket, and the bucket's name.
async fn archive(stack: &Stack) -> (S3Archive, String) {
    let bucket = stack.bucket().await;
    (S3Archive::new(stack.config(), bucket.clone(), Prefix::default()), bucket)
}

#[tokio::test]
async fn s3_meets_the_contract() {
    let stack = Stack::get().await;
    let (archive, bucket) = archive(&stack).await;
    contract::archive::all(&archive, &Prefix::default()).await;

    // An archive may have the bucket for itself.
    let root: Prefix = "".parse().unwrap();
    let archive = S3Archive::new(stack.config(), bucket, root.clone());
    contract::archive::all(&archive, &root).await;
}

#[tokio::test]
async fn dynamodb_meets_the_contract() {
    let stack = Stack::get().await;
    let checkpoints = DynamoDbCheckpoints::new(stack.config(), stack.table().await);
    contract::checkpoints::all(&checkpoints).await;
}

#[tokio::test]
async fn secrets_manager_meets_the_contract() {
    let stack = Stack::get().await;
    let secret = stack.secret(Some("a token")).await;
    let tokens = SecretsManagerTokens::new(stack.config(), secret);
    contract::tokens::all(&tokens, &Secret::new("a token".to_owned())).await;
}

#[tokio::test]
async fn an_object_says_what_it_is() {
    let stack = Stack::get().await;
    let (archive, bucket) = archive(&stack).await;
    let commit = CommitId::random();
    let object = contract::archive::object("onepassword/v1/k.json.gz", b"body");
    let object = Object { events: 7, ..object };

    let staged = archive.stage(&object, &commit).await.unwrap();

    let list = stack.s3().list_objects_v2().bucket(&bucket).send().await.unwrap();
    assert_eq!(list.key_count(), Some(0));

    assert_eq!(archive.complete(&staged).await.unwrap(), Completion::Done);

    let request = stack.s3().head_object().bucket(&bucket).key(&object.key);
    let head = request.checksum_mode(ChecksumMode::Enabled).send().await.unwrap();
    assert_eq!(head.content_type(), Some("application/x-ndjson"));
    assert_eq!(head.content_encoding(), None);
    assert_eq!(head.content_length(), Some(4));
    assert!(head.checksum_crc32().is_some());
    let metadata = head.metadata().unwrap();
    assert_eq!(metadata["oplake-commit"], commit.as_str());
    assert_eq!(metadata["oplake-events"], "7");
}

#[tokio::test]
async fn an_object_is_encrypted_with_the_key_it_was_given() {
    let stack = Stack::get().await;
    let (archive, bucket) = archive(&stack).await;
    let key = "arn:aws:kms:us-east-1:000000000000:key/11111111-2222-3333-4444-555555555555";
    let archive = archive.kms_key(Some(key.to_owned()));
    let object = contract::archive::object("onepassword/v1/k.json.gz", b"body");

    let staged = archive.stage(&object, &CommitId::random()).await.unwrap();
    archive.complete(&staged).await.unwrap();
    archive.quarantine("quarantine/q", Bytes::from_static(b"record")).await.unwrap();

    for key_of_object in [object.key.as_str(), "quarantine/q"] {
        let request = stack.s3().head_object().bucket(&bucket).key(key_of_object);
        let head = request.send().await.unwrap();
        assert_eq!(head.server_side_encryption(), Some(&ServerSideEncryption::AwsKms));
        assert_eq!(head.ssekms_key_id(), Some(key));
    }
}

#[tokio::test]
async fn a_missing_bucket_is_named() {
    let stack = Stack::get().await;
    let bucket = unique();
    let archive = S3Archive::new(stack.config(), bucket.clone(), Prefix::default());
    let commit = CommitId::random();
    let object = contract::archive::object("onepassword/v1/k.json.gz", b"body");

    for error in [
        archive.stage(&object, &commit).await.unwrap_err(),
        archive.days(Feed::AuditEvents).await.unwrap_err(),
        archive.read("k").await.unwrap_err(),
    ] {
        assert_eq!(
            error.to_string(),
            format!(
                "the archive s3://{bucket}/onepassword/v1/ cannot be used: \
                 there is no such bucket: create it, or correct its name"
            )
        );
        assert!(chain(&error).contains("AWS answered 404 NoSuchBucket"), "{}", chain(&error));
    }
}

#[tokio::test]
async fn a_missing_table_is_named() {
    let stack = Stack::get().await;
    let table = unique();
    let checkpoints = DynamoDbCheckpoints::new(stack.config(), table.clone());

    for error in [
        checkpoints.load(&stream()).await.unwrap_err(),
        checkpoints.remove(&stream(), &CommitId::random()).await.unwrap_err(),
        checkpoints.streams().await.unwrap_err(),
    ] {
        let CheckpointError::Unusable { table: named, reason, .. } = error else {
            panic!("{error:?}")
        };
        assert_eq!(named, format!("dynamodb://{table}"));
        assert!(reason.starts_with("there is no such table"), "{reason}");
    }
}

#[tokio::test]
async fn a_secret_that_is_missing_empty_or_deleted_is_told_apart() {
    let stack = Stack::get().await;
    let read = |name: String| {
        let tokens = SecretsManagerTokens::new(stack.config(), name);
        async move { tokens.read().await.unwrap_err() }
    };

    let error = read(unique()).await;
    assert_eq!(error.code(), "Token.Unusable");
    assert!(error.to_string().contains("there is no such secret"), "{error}");

    let empty = stack.secret(None).await;
    let error = read(empty.clone()).await;
    assert_eq!(error.code(), "Token.Missing");
    let command = format!("put-secret-value --secret-id {empty}");
    assert!(error.to_string().contains(&command), "{error}");

    let deleted = stack.secret(Some("a token")).await;
    stack.secrets_manager().delete_secret().secret_id(&deleted).send().await.unwrap();
    let error = read(deleted).await;
    assert_eq!(error.code(), "Token.Unusable");
    assert!(error.to_string().contains("restore-secret"), "{error}");
}

#[tokio::test]
async fn credentials_that_are_not_known_are_told() {
    let stack = Stack::get().await;
    let (bucket, table, secret) =
        (stack.bucket().await, stack.table().await, stack.secret(Some("a token")).await);
    let nobody = aws_sdk_s3::config::Credentials::new("AKIANOBODY", "none", None, None, "test");
    let provider = aws_sdk_s3::config::SharedCredentialsProvider::new(nobody);
    let config: SdkConfig =
        stack.config().clone().into_builder().credentials_provider(provider).build();

    let archive = S3Archive::new(&config, bucket, Prefix::default());
    let error = archive.days(Feed::AuditEvents).await.unwrap_err();
    assert_eq!(error.code(), "Archive.Unusable", "{error:?}");
    let checkpoints = DynamoDbCheckpoints::new(&config, table);
    let error = checkpoints.load(&stream()).await.unwrap_err();
    assert_eq!(error.code(), "Checkpoint.Unusable", "{error:?}");
    let error = SecretsManagerTokens::new(&config, secret).read().await.unwrap_err();
    assert_eq!(error.code(), "Token.Unusable", "{error:?}");
}

/// Starts the ignored test `name` of this file in a process of its own, with
/// `variables` for its whole environment.
fn child(name: &str, variables: &[(&str, &str)]) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args([name, "--exact", "--ignored"]).env_clear().envs(variables.iter().copied());
    child.kill_on_drop(true).spawn().unwrap()
}

#[tokio::test]
async fn the_endpoint_of_the_environment_is_used() {
    let stack = Stack::get().await;
    let secret = stack.secret(Some("a token")).await;
    let variables = stack.env();
    let variables = variables.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let variables: Vec<_> = variables.chain([("TEST_SECRET", secret.as_str())]).collect();

    let status = child("process::reads_the_secret", &variables).wait().await.unwrap();

    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn the_proxy_and_the_fips_endpoint_of_the_environment_are_used() {
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", proxy.local_addr().unwrap());
    let variables = [
        ("HTTPS_PROXY", url.as_str()),
        ("AWS_USE_FIPS_ENDPOINT", "true"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("TEST_SECRET", "s"),
    ];

    let _child = child("process::reads_the_secret", &variables);

    let (mut stream, _) = proxy.accept().await.unwrap();
    let expected = b"CONNECT secretsmanager-fips.us-east-1.amazonaws.com:443 HTTP/1.1";
    let mut line = vec![0; expected.len()];
    stream.read_exact(&mut line).await.unwrap();
    assert_eq!(String::from_utf8(line).unwrap().as_bytes(), expected);
}

/// Run by [`child`] alone.
mod process {
    use super::*;

    #[tokio::test]
    #[ignore = "needs the environment that a parent sets"]
    #[expect(clippy::disallowed_methods, reason = "the parent has no other way to tell")]
    async fn reads_the_secret() {
        let config = oplake_aws::sdk::load(None).await.unwrap();
        let tokens = SecretsManagerTokens::new(&config, std::env::var("TEST_SECRET").unwrap());
        assert_eq!(tokens.read().await.unwrap(), Secret::new("a token".to_owned()));
    }
}
