//! `oplake check`

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use oplake_aws::check::{BucketCheck, bucket, secret, table};
use oplake_aws::sdk;
use oplake_core::check::{Finding, Grade, TokenCheck, tokens};
use oplake_core::config::parse_api_url;
use oplake_core::error::BoxError;
use oplake_core::events_api::http_client;
use serde::Deserialize;
use tokio::time::Instant;

use crate::args::{CheckArgs, Place, Table};
use crate::command::Ended;
use crate::output::{print, say};
use crate::ports::Tokens;

/// Time that the Events API has to answer.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn run(mut args: CheckArgs, now: Timestamp) -> Ended {
    if let Some(path) = args.stack_parameters.take() {
        let parameters = Parameters::read(&path)?;
        parameters.fill(&mut args).map_err(|reason| format!("{}: {reason}", path.display()))?;
    }
    let mut findings = of_aws(&args).await?;
    let ca_file = args.ca_file.as_deref();
    let source = Tokens::open(&args.source, ca_file).await?;
    let check = TokenCheck {
        http: &http_client(ca_file)?,
        api_url: args.source.api_url.as_ref(),
        account: &args.source.account,
        feeds: &args.source.feeds.0,
        now,
        deadline: Instant::now() + PATIENCE,
    };
    findings.extend(tokens(&source, check).await);
    if args.json {
        print(serde_json::to_string(&findings)?)?;
    }
    for Finding { subject, grade, message } in &findings {
        let grade = match grade {
            Grade::Good => "good",
            Grade::Warning => "warning",
            Grade::Error => "error",
        };
        say(format_args!("{grade}: {subject}: {message}"));
    }
    let wrong = findings.iter().any(|finding| finding.grade == Grade::Error);
    Ok(if wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What is found of the bucket, the table, the secret and the key, if they are
/// named.
async fn of_aws(args: &CheckArgs) -> Result<Vec<Finding>, BoxError> {
    let name = match &args.archive {
        Some(Place::Folder(folder)) => {
            return Err(format!("--archive {}: only a bucket is checked", folder.display()).into());
        }
        Some(Place::Bucket(name)) => Some(name),
        None => None,
    };
    let table_name = match &args.checkpoints {
        Some(Table::File(file)) => {
            return Err(format!("--checkpoints {}: only a table is checked", file.display()).into());
        }
        Some(Table::DynamoDb(name)) => Some(name),
        None => None,
    };
    let token_secret = args.source.token_secret.as_deref();
    let mut findings = Vec::new();
    if name.is_none() && table_name.is_none() && token_secret.is_none() {
        return Ok(findings);
    }
    let aws = sdk::load(args.ca_file.as_deref()).await?;
    if let Some(name) = name {
        let owner = args.bucket_owner.as_deref();
        let prefix = &args.prefix.clone().unwrap_or_default();
        let retention_days = args.retention_days;
        findings.extend(bucket(&aws, BucketCheck { name, prefix, owner, retention_days }).await);
    }
    if let Some(name) = table_name {
        findings.extend(table(&aws, name).await);
    }
    if let Some(id) = token_secret {
        findings.extend(secret(&aws, id).await);
    }
    if let Some(key) = &args.kms_key {
        findings.push(Finding::new(&format!("key `{key}`"), Grade::Warning, KEY_POLICY));
    }
    Ok(findings)
}

/// What a key's policy has to say, which only its administrators can look at.
const KEY_POLICY: &str = "\
its policy must leave permissions to the IAM policies of this account, as the default one does, or hold
  {\"Sid\": \"Collector\", \"Effect\": \"Allow\", \"Principal\": {\"AWS\": \"ARN of the function's role\"},
   \"Action\": [\"kms:Decrypt\", \"kms:GenerateDataKey\"], \"Resource\": \"*\"}";

/// Parameters of the stack by name.
struct Parameters(BTreeMap<String, String>);

impl Parameters {
    fn read(path: &Path) -> Result<Self, BoxError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Parameter {
            parameter_key: String,
            parameter_value: String,
        }
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum File {
            List(Vec<Parameter>),
            Object(BTreeMap<String, String>),
        }
        let named = |error: BoxError| format!("{}: {error}", path.display());
        let text = std::fs::read(path).map_err(|error| named(error.into()))?;
        // What does not fit may be anything: it is not quoted.
        let file: File = serde_json::from_slice(&text).map_err(|_| {
            named(
                "this is no JSON object of texts, nor a list of ParameterKey and ParameterValue"
                    .into(),
            )
        })?;
        Ok(Self(match file {
            File::Object(parameters) => parameters,
            File::List(list) => {
                list.into_iter().map(|one| (one.parameter_key, one.parameter_value)).collect()
            }
        }))
    }

    /// The parameter, read as what it has to be; `None` if it is empty.
    fn get<T: FromStr<Err: std::fmt::Display>>(&self, name: &str) -> Result<Option<T>, String> {
        let value = self.0.get(name).filter(|value| !value.is_empty());
        value
            .map(|value| value.parse().map_err(|error| format!("{name}: `{value}`: {error}")))
            .transpose()
    }

    /// Sets what was not given on the command line.
    fn fill(&self, args: &mut CheckArgs) -> Result<(), String> {
        fn or<T>(slot: &mut Option<T>, value: Option<T>) {
            if slot.is_none() {
                *slot = value;
            }
        }
        or(&mut args.archive, self.get("ExistingBucketName")?.map(Place::Bucket));
        or(&mut args.bucket_owner, self.get("BucketOwnerAccountId")?);
        or(&mut args.checkpoints, self.get("ExistingTableName")?.map(Table::DynamoDb));
        or(&mut args.kms_key, self.get("KmsKeyArn")?);
        or(&mut args.retention_days, self.get("RetentionDays")?.filter(|days| *days > 0));
        if let (Some(lock), Some(kept)) = (self.get::<String>("ObjectLock")?, args.retention_days)
            && let Some((_, days)) = lock.split_once(':')
            && days.parse::<i32>().is_ok_and(|days| days > kept)
        {
            return Err(format!(
                "ObjectLock: `{lock}` locks objects for longer than RetentionDays, {kept}, keeps them"
            ));
        }
        let url = self.get::<String>("EventsApiUrl")?.map(|url| parse_api_url(&url)).transpose();
        or(&mut args.source.api_url, url.map_err(|reason| format!("EventsApiUrl: {reason}"))?);
        if args.source.token_file.is_none() {
            or(&mut args.source.token_secret, self.get("TokenSecretArn")?);
        }
        or(&mut args.prefix, self.get("KeyPrefix")?);
        Ok(())
    }
}
