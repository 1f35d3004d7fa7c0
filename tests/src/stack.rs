//! The local stack: `MiniStack`, a stand-in for AWS on 127.0.0.1:4566.
//!
//! Every test makes buckets, tables and secrets of its own, so tests need no
//! order and no clean-up: the stack keeps everything in memory, and
//! `tests/stack/stop` forgets it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use aws_config::{Region, SdkConfig};
use aws_sdk_dynamodb::config::Credentials;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use bytes::Bytes;
use futures::{StreamExt, stream};
use oplake_core::checkpoint::CommitId;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Where the stack answers.
pub const ENDPOINT: &str = "http://127.0.0.1:4566";

/// The account that owns everything that is made with the stack's credentials.
pub const ACCOUNT: &str = "000000000000";

const ADDRESS: &str = "127.0.0.1:4566";
const REGION: &str = "us-east-1";
/// Access key and secret of the account's root, both.
const ROOT: &str = "test";

/// The running local stack.
#[derive(Debug, Clone)]
pub struct Stack {
    config: SdkConfig,
}

impl Stack {
    /// The stack that is running, or one that is installed and started now.
    pub async fn get() -> Self {
        if !answers().await {
            start();
        }
        let loader = oplake_aws::sdk::loader(None).unwrap().endpoint_url(ENDPOINT);
        let loader = loader.credentials_provider(Credentials::new(ROOT, ROOT, None, None, "stack"));
        Self { config: loader.region(Region::new(REGION)).use_fips(false).load().await }
    }

    /// The configuration that reaches the stack as its account's root.
    #[must_use]
    pub const fn config(&self) -> &SdkConfig {
        &self.config
    }

    /// The variables by which another process reaches the stack, whatever this
    /// one's environment says.
    #[must_use]
    pub fn env(&self) -> Vec<(String, String)> {
        let variables = [
            ("AWS_ENDPOINT_URL", ENDPOINT),
            ("AWS_REGION", REGION),
            ("AWS_ACCESS_KEY_ID", ROOT),
            ("AWS_SECRET_ACCESS_KEY", ROOT),
            ("AWS_SESSION_TOKEN", ""),
            ("AWS_CONFIG_FILE", "/dev/null"),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("NO_PROXY", "127.0.0.1,localhost"),
        ];
        variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    /// A client of S3.
    #[must_use]
    pub fn s3(&self) -> aws_sdk_s3::Client {
        let config = aws_sdk_s3::config::Builder::from(&self.config).force_path_style(true);
        aws_sdk_s3::Client::from_conf(config.build())
    }

    /// A client of `DynamoDB`.
    #[must_use]
    pub fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        aws_sdk_dynamodb::Client::new(&self.config)
    }

    /// A client of Secrets Manager.
    #[must_use]
    pub fn secrets_manager(&self) -> aws_sdk_secretsmanager::Client {
        aws_sdk_secretsmanager::Client::new(&self.config)
    }

    /// Makes a versioned bucket; returns its name.
    pub async fn bucket(&self) -> String {
        let (s3, name) = (self.s3(), unique());
        s3.create_bucket().bucket(&name).send().await.unwrap();
        let versioning =
            VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
        let request = s3.put_bucket_versioning().bucket(&name);
        request.versioning_configuration(versioning).send().await.unwrap();
        name
    }

    /// The objects of `bucket`, by key.
    pub async fn objects(&self, bucket: &str) -> BTreeMap<String, Bytes> {
        let s3 = self.s3();
        let mut pages = s3.list_objects_v2().bucket(bucket).into_paginator().send();
        let mut keys = Vec::new();
        while let Some(page) = pages.next().await {
            let objects = page.unwrap().contents.unwrap_or_default();
            keys.extend(objects.into_iter().map(|object| object.key.unwrap()));
        }
        let read = stream::iter(keys).map(|key| async {
            let object = s3.get_object().bucket(bucket).key(&key).send().await.unwrap();
            (key, object.body.collect().await.unwrap().into_bytes())
        });
        read.buffer_unordered(4).collect().await
    }

    /// The keys of the uploads to `bucket` that are neither completed nor
    /// aborted.
    pub async fn uploads(&self, bucket: &str) -> Vec<String> {
        let answer = self.s3().list_multipart_uploads().bucket(bucket).send().await.unwrap();
        answer.uploads().iter().map(|upload| upload.key().unwrap().to_owned()).collect()
    }

    /// Makes a table of checkpoints; returns its name.
    pub async fn table(&self) -> String {
        let name = unique();
        let attribute = |name: &str| {
            let attribute = AttributeDefinition::builder().attribute_name(name);
            attribute.attribute_type(ScalarAttributeType::S).build().unwrap()
        };
        let key = |name: &str, kind| {
            KeySchemaElement::builder().attribute_name(name).key_type(kind).build().unwrap()
        };
        let request = self.dynamodb().create_table().table_name(&name);
        let request = request
            .attribute_definitions(attribute("account"))
            .attribute_definitions(attribute("feed"))
            .key_schema(key("account", KeyType::Hash))
            .key_schema(key("feed", KeyType::Range))
            .billing_mode(BillingMode::PayPerRequest);
        request.send().await.unwrap();
        name
    }

    /// Makes a secret, with or without a value; returns its name.
    pub async fn secret(&self, value: Option<&str>) -> String {
        let name = unique();
        let request = self.secrets_manager().create_secret().name(&name);
        request.set_secret_string(value.map(str::to_owned)).send().await.unwrap();
        name
    }
}

/// A name that nothing else has.
#[must_use]
pub fn unique() -> String {
    format!("test-{}", CommitId::random())
}

async fn answers() -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(ADDRESS).await?;
        stream.write_all(b"GET /_ministack/health HTTP/1.0\r\n\r\n").await?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await?;
        std::io::Result::Ok(answer.ends_with(b" 200"))
    };
    ask.await.unwrap_or(false)
}

/// Starts the stack, once for all processes that find none.
fn start() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    fs::create_dir_all(root.join(".stack")).unwrap();
    // Freed when it is closed, at the latest by the end of the process.
    let lock = File::create(root.join(".stack/lock")).unwrap();
    lock.lock().unwrap();
    let status = Command::new(root.join("tests/stack/start")).status().unwrap();
    assert!(status.success(), "tests/stack/start: {status}");
}
