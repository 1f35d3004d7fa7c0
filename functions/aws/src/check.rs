//! Whether what a deployment uses is there and set up right.
//!
//! These calls need rights that the function has not: they are made by whoever
//! deploys it.

use aws_config::SdkConfig;
use aws_sdk_s3::types::{BucketVersioningStatus, ExpirationStatus, LifecycleRule};
use oplake_core::check::{Finding, Grade};
use oplake_core::partition::Prefix;

use crate::failure::{Failure, Kind};
use crate::s3::client;

/// What [`bucket`] is told.
#[derive(Debug, Clone, Copy)]
pub struct BucketCheck<'a> {
    /// The bucket.
    pub name: &'a str,
    /// What all keys start with.
    pub prefix: &'a Prefix,
    /// The AWS account that must own it.
    pub owner: Option<&'a str>,
    /// Age in days at which events are no longer wanted, if there is one.
    pub retention_days: Option<i32>,
}

/// Looks at a bucket for the lake.
pub async fn bucket(config: &SdkConfig, check: BucketCheck<'_>) -> Vec<Finding> {
    let s3 = client(config);
    let subject = format!("bucket `{}`", check.name);
    let (name, owner) = (check.name, check.owner.map(str::to_owned));
    let finding = |grade, message: String| Finding::new(&subject, grade, message);
    let warning = |message: &str| finding(Grade::Warning, message.to_owned());

    let head = s3.head_bucket().bucket(name).set_expected_bucket_owner(owner.clone()).send().await;
    let region = match head {
        Ok(head) => head.bucket_region,
        Err(error) => return vec![finding(Grade::Error, no_bucket(error.into()))],
    };
    let here = config.region().map(AsRef::as_ref);
    if let (Some(region), Some(here)) = (&region, here)
        && region != here
    {
        let message = format!("it is in {region}, and the function would be in {here}");
        return vec![finding(Grade::Error, message)];
    }
    let mut findings = vec![finding(Grade::Good, "it is there, in this region".to_owned())];
    if owner.is_none() {
        // The stack takes its own account for the owner, unless it is told.
        findings.extend(match s3.list_buckets().prefix(name).send().await {
            Ok(own) if own.buckets().iter().any(|bucket| bucket.name() == Some(name)) => None,
            Ok(_) => Some(finding(
                Grade::Error,
                "it belongs to another account: name that as BucketOwnerAccountId (BUCKET_OWNER)"
                    .to_owned(),
            )),
            Err(error) => Some(warning(&unseen("ListBuckets", error))),
        });
    }

    let versioning =
        s3.get_bucket_versioning().bucket(name).set_expected_bucket_owner(owner.clone());
    findings.extend(match versioning.send().await {
        Ok(told) if told.status == Some(BucketVersioningStatus::Enabled) => None,
        Ok(_) => Some(warning("it keeps no versions: an object that is deleted is gone")),
        Err(error) => Some(warning(&unseen("GetBucketVersioning", error))),
    });

    let lifecycle = s3.get_bucket_lifecycle_configuration().bucket(name);
    let lifecycle = lifecycle.set_expected_bucket_owner(owner.clone()).send().await;
    match if_set(lifecycle, "NoSuchLifecycleConfiguration") {
        Ok(told) => {
            let rules = told.and_then(|told| told.rules).unwrap_or_default();
            findings.extend(lifecycle_findings(&subject, &rules, check));
        }
        Err(failure) => {
            findings.push(warning(&unseen("GetLifecycleConfiguration", failure)));
        }
    }

    let access = s3.get_public_access_block().bucket(name);
    let access = access.set_expected_bucket_owner(owner.clone()).send().await;
    findings.extend(match if_set(access, "NoSuchPublicAccessBlockConfiguration") {
        Ok(told) => {
            let block = told.and_then(|told| told.public_access_block_configuration);
            let blocks_all = block.is_some_and(|block| {
                [
                    block.block_public_acls,
                    block.block_public_policy,
                    block.ignore_public_acls,
                    block.restrict_public_buckets,
                ] == [Some(true); 4]
            });
            (!blocks_all).then(|| warning("it does not block all public access"))
        }
        Err(failure) => Some(warning(&unseen("GetBucketPublicAccessBlock", failure))),
    });

    let told = s3.get_bucket_notification_configuration().bucket(name);
    findings.extend(match told.set_expected_bucket_owner(owner).send().await {
        Ok(told) => {
            let consumers = told.topic_configurations().len()
                + told.queue_configurations().len()
                + told.lambda_function_configurations().len()
                + usize::from(told.event_bridge_configuration.is_some());
            (consumers == 0).then(|| warning("it notifies nobody of new objects"))
        }
        Err(error) => Some(warning(&unseen("GetBucketNotification", error))),
    });
    findings
}

/// What was told of a setting; `None` if `absent`, the code of an error, says that
/// it is not set.
fn if_set<T, E>(told: Result<T, E>, absent: &str) -> Result<Option<T>, Failure>
where
    Failure: From<E>,
{
    match told.map_err(Failure::from) {
        Ok(told) => Ok(Some(told)),
        Err(failure) if failure.code() == absent => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// What the lifecycle rules do to the lake.
fn lifecycle_findings(
    subject: &str,
    rules: &[LifecycleRule],
    check: BucketCheck<'_>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let of_lake = |rule: &&LifecycleRule| {
        rule.status == ExpirationStatus::Enabled && touches(rule, check.prefix.as_str())
    };
    let rules: Vec<_> = rules.iter().filter(of_lake).collect();
    if !rules.iter().any(|rule| rule.abort_incomplete_multipart_upload.is_some()) {
        let message = "no rule aborts incomplete uploads: what a crashed run has staged stays, and \
                       costs; abort after 7 days";
        findings.push(Finding::new(subject, Grade::Warning, message));
    }
    let expiry = rules.iter().filter_map(|rule| rule.expiration.as_ref()?.days).min();
    if let Some(days) = expiry.filter(|days| check.retention_days.is_none_or(|kept| kept > *days)) {
        let message = format!(
            "its objects expire after {days} days, and a resync would write them again: set \
             RetentionDays (RETENTION_DAYS) to {days} or less"
        );
        findings.push(Finding::new(subject, Grade::Error, message));
    }
    if rules.iter().any(|rule| !rule.transitions().is_empty()) {
        let message = "a rule moves its objects to another storage class: Athena and a resync \
                       cannot read archived ones";
        findings.push(Finding::new(subject, Grade::Warning, message));
    }
    findings
}

/// Whether a rule may apply to keys that start with `prefix`.
fn touches(rule: &LifecycleRule, prefix: &str) -> bool {
    let filter = rule.filter.as_ref();
    let and = filter.and_then(|filter| filter.and.as_ref());
    #[expect(deprecated, reason = "older rules have it")]
    let own = rule.prefix.as_deref();
    let of_rule = own
        .or_else(|| filter.and_then(|filter| filter.prefix.as_deref()))
        .or_else(|| and.and_then(|and| and.prefix.as_deref()))
        .unwrap_or_default();
    prefix.starts_with(of_rule) || of_rule.starts_with(prefix)
}

/// Looks at a table for the checkpoints.
pub async fn table(config: &SdkConfig, name: &str) -> Vec<Finding> {
    let dynamodb = aws_sdk_dynamodb::Client::new(config);
    let subject = format!("table `{name}`");
    let finding = |grade, message: String| Finding::new(&subject, grade, message);
    let described = match dynamodb.describe_table().table_name(name).send().await {
        Ok(told) => told.table,
        Err(error) => {
            let failure = Failure::from(error);
            let message = match failure.code() {
                "ResourceNotFoundException" => {
                    "there is no such table in this account and region".to_owned()
                }
                _ => unseen("DescribeTable", failure),
            };
            return vec![finding(Grade::Error, message)];
        }
    };
    let Some(described) = described else {
        return vec![finding(Grade::Error, "AWS told nothing of it".to_owned())];
    };
    let key = described.key_schema().iter();
    let key: Vec<_> = key.map(|part| (part.attribute_name(), part.key_type().as_str())).collect();
    let mut findings = Vec::new();
    if key == [("account", "HASH"), ("feed", "RANGE")] {
        findings.push(finding(Grade::Good, "it is there, with the right key".to_owned()));
    } else {
        let message = "its key is not `account` and `feed`: it is no table of checkpoints";
        findings.push(finding(Grade::Error, message.to_owned()));
    }
    if described.deletion_protection_enabled != Some(true) {
        let message = "it can be deleted: protect it from deletion";
        findings.push(finding(Grade::Warning, message.to_owned()));
    }
    let backups = dynamodb.describe_continuous_backups().table_name(name).send().await;
    findings.extend(match backups {
        Ok(told) => {
            let recovery = told
                .continuous_backups_description
                .and_then(|told| told.point_in_time_recovery_description)
                .and_then(|told| told.point_in_time_recovery_status);
            let on = recovery.is_some_and(|status| status.as_str() == "ENABLED");
            let message = "point-in-time recovery is off";
            (!on).then(|| finding(Grade::Warning, message.to_owned()))
        }
        Err(error) => Some(finding(Grade::Warning, unseen("DescribeContinuousBackups", error))),
    });
    findings
}

/// Looks at the secret of the tokens, not at its value.
pub async fn secret(config: &SdkConfig, id: &str) -> Vec<Finding> {
    let secrets = aws_sdk_secretsmanager::Client::new(config);
    let subject = format!("secret `{id}`");
    let finding = |grade, message: String| vec![Finding::new(&subject, grade, message)];
    // arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME
    let named = id.starts_with("arn:").then(|| id.split(':').nth(3)).flatten();
    if let (Some(named), Some(here)) = (named, config.region().map(AsRef::as_ref))
        && named != here
    {
        let message = format!(
            "it is in {named}, and the function would be in {here}: name one of {here}, or replicate it"
        );
        return finding(Grade::Error, message);
    }
    match secrets.describe_secret().secret_id(id).send().await {
        Ok(told) if told.deleted_date.is_some() => {
            let message =
                "it is marked for deletion: restore it by `aws secretsmanager restore-secret`";
            finding(Grade::Error, message.to_owned())
        }
        Ok(told) => {
            let key = told.kms_key_id.map_or_else(String::new, |key| {
                format!("; the function needs kms:Decrypt on its key {key}")
            });
            finding(Grade::Good, format!("it is there{key}"))
        }
        Err(error) => {
            let failure = Failure::from(error);
            let message = match failure.code() {
                "ResourceNotFoundException" => {
                    "there is no such secret in this account and region".to_owned()
                }
                _ => unseen("DescribeSecret", failure),
            };
            finding(Grade::Error, message)
        }
    }
}

fn no_bucket(failure: Failure) -> String {
    match failure.kind {
        Kind::Answer { status: 404, .. } => "there is no such bucket".to_owned(),
        Kind::Answer { status: 403, .. } => {
            "it belongs to another account, or s3:ListBucket is not allowed on it".to_owned()
        }
        Kind::Answer { region: Some(region), .. } => {
            format!("it is in {region}: the function has to be there too")
        }
        _ => unseen("HeadBucket", failure),
    }
}

/// That a call failed, and why.
fn unseen(operation: &str, failure: impl Into<Failure>) -> String {
    let Failure { kind, source } = failure.into();
    let reason = match kind {
        Kind::Setup(reason) => reason,
        Kind::Answer { status: 403, .. } => "it is not allowed".to_owned(),
        Kind::Answer { code, .. } if code == "AccessDeniedException" => {
            "it is not allowed".to_owned()
        }
        _ => oplake_core::error::chain(source.as_ref()),
    };
    format!("it could not be looked at by {operation}: {reason}")
}
