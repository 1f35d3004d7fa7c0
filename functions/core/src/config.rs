//! Settings of the Lambda function, read once from its environment.
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `TOKEN_SECRET_ARN` | ARN or name of the secret that holds the token or tokens | required |
//! | `ARCHIVE_BUCKET` | bucket of the lake | required |
//! | `BUCKET_OWNER` | account that must own the bucket, 12 digits | not checked |
//! | `KEY_PREFIX` | what all keys start with | `onepassword/v1/` |
//! | `CHECKPOINT_TABLE` | table of the checkpoints | required |
//! | `EVENTS_API_URL` | base URL of the Events API | the host that the token names |
//! | `FEEDS` | feeds to collect, parted by commas | all three |
//! | `LOOKBACK_DAYS` | how far back the first collection starts, 1 to 120 | 120 |
//! | `RETENTION_DAYS` | days after which the bucket expires objects: older events are not written | none |
//! | `EXCLUDE_BEFORE` | events before this time are not written: they were erased on purpose | none |
//! | `KMS_KEY_ARN` | key that encrypts the objects | the bucket's default |
//! | `EXTRA_CA_FILE` | PEM file of a further CA to trust | none |
//! | `LOG_LEVEL` | `TRACE`, `DEBUG`, `INFO`, `WARN` or `ERROR`, for our own lines | `INFO` |
//!
//! An empty variable counts as unset. The token is not here: it is read from
//! its secret in each run, so that a rotation takes effect without a
//! deployment.

use std::path::PathBuf;
use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};
use tracing::level_filters::LevelFilter;
use url::Url;

use crate::feed::Feed;
use crate::partition::Prefix;
use crate::token::check_url;

/// Days that the Events API keeps.
pub const API_RETENTION_DAYS: u32 = 120;

/// Everything that the function is told by its environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `TOKEN_SECRET_ARN`.
    pub token_secret: String,
    /// `ARCHIVE_BUCKET`.
    pub bucket: String,
    /// `BUCKET_OWNER`.
    pub bucket_owner: Option<String>,
    /// `KEY_PREFIX`.
    pub prefix: Prefix,
    /// `CHECKPOINT_TABLE`.
    pub table: String,
    /// `EVENTS_API_URL`.
    pub api_url: Option<Url>,
    /// `FEEDS`.
    pub feeds: Vec<Feed>,
    /// `LOOKBACK_DAYS`.
    pub lookback_days: u32,
    /// `RETENTION_DAYS`.
    pub retention_days: Option<u32>,
    /// `EXCLUDE_BEFORE`.
    pub exclude_before: Option<Timestamp>,
    /// `KMS_KEY_ARN`.
    pub kms_key: Option<String>,
    /// `EXTRA_CA_FILE`.
    pub extra_ca: Option<PathBuf>,
    /// `LOG_LEVEL`.
    pub log_level: LevelFilter,
}

/// A setting is missing or unusable. Always the operator's to fix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A required variable is unset or empty.
    #[error("{0} is not set")]
    Missing(&'static str),
    /// A variable has a value that it cannot have.
    #[error("{name} is `{value}`: {reason}")]
    Invalid {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it should be.
        reason: String,
    },
}

impl ConfigError {
    /// Stable name for Lambda's `errorType`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        "Config.Invalid"
    }
}

impl Config {
    /// Reads the settings that `get` finds by name.
    ///
    /// # Errors
    ///
    /// The first variable found missing or malformed.
    pub fn from_lookup(get: impl Fn(&'static str) -> Option<String>) -> Result<Self, ConfigError> {
        let set = |name| get(name).filter(|value| !value.is_empty());
        let required = |name| set(name).ok_or(ConfigError::Missing(name));
        Ok(Self {
            token_secret: required("TOKEN_SECRET_ARN").and_then(|secret| {
                check_secret_name(&secret).map_err(|reason| ConfigError::Invalid {
                    name: "TOKEN_SECRET_ARN",
                    value: "eyJ…".to_owned(),
                    reason: reason.to_owned(),
                })?;
                Ok(secret)
            })?,
            bucket: required("ARCHIVE_BUCKET")?,
            bucket_owner: read(set("BUCKET_OWNER"), "BUCKET_OWNER", |text| {
                let digits = text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit());
                digits.then(|| text.to_owned()).ok_or("use the 12 digits of an AWS account id")
            })?,
            prefix: read(set("KEY_PREFIX"), "KEY_PREFIX", Prefix::from_str)?.unwrap_or_default(),
            table: required("CHECKPOINT_TABLE")?,
            api_url: read(set("EVENTS_API_URL"), "EVENTS_API_URL", parse_api_url)?,
            feeds: read(set("FEEDS"), "FEEDS", parse_feeds)?.unwrap_or(Feed::ALL.to_vec()),
            lookback_days: read(set("LOOKBACK_DAYS"), "LOOKBACK_DAYS", |text| {
                let days = text.parse().ok().filter(|days| (1..=API_RETENTION_DAYS).contains(days));
                days.ok_or("use a whole number from 1 to 120")
            })?
            .unwrap_or(API_RETENTION_DAYS),
            retention_days: read(set("RETENTION_DAYS"), "RETENTION_DAYS", |text| {
                let days = text.parse().ok().filter(|days| (1..=36_500).contains(days));
                days.ok_or("use a whole number from 1 to 36500")
            })?,
            exclude_before: read(set("EXCLUDE_BEFORE"), "EXCLUDE_BEFORE", |text| {
                text.parse().map_err(|_| "use a time such as 2026-03-01T00:00:00Z")
            })?,
            kms_key: set("KMS_KEY_ARN"),
            extra_ca: set("EXTRA_CA_FILE").map(PathBuf::from),
            log_level: read(set("LOG_LEVEL"), "LOG_LEVEL", |text| {
                // `LevelFilter` also reads numbers and `OFF`.
                let named = ["trace", "debug", "info", "warn", "error"];
                let level =
                    named.contains(&text.to_ascii_lowercase().as_str()).then(|| text.parse());
                level.and_then(Result::ok).ok_or("use TRACE, DEBUG, INFO, WARN or ERROR")
            })?
            .unwrap_or(LevelFilter::INFO),
        })
    }
}

impl Config {
    /// The time before which events are not written, seen from `now`.
    #[must_use]
    pub fn not_before(&self, now: Timestamp) -> Timestamp {
        let retention = self.retention_days.map(|days| now - days_of(days));
        retention.max(self.exclude_before).unwrap_or(Timestamp::MIN)
    }
}

/// A number of days as a duration.
#[must_use]
pub const fn days_of(days: u32) -> SignedDuration {
    SignedDuration::from_hours(24 * days as i64)
}

fn read<T, E: ToString>(
    value: Option<String>,
    name: &'static str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<Option<T>, ConfigError> {
    let Some(value) = value else { return Ok(None) };
    match parse(&value) {
        Ok(parsed) => Ok(Some(parsed)),
        Err(reason) => Err(ConfigError::Invalid { name, reason: reason.to_string(), value }),
    }
}

/// Refuses a token where the name of a secret belongs: names are told in errors.
///
/// # Errors
///
/// What to do instead.
pub fn check_secret_name(name: &str) -> Result<(), &'static str> {
    if name.starts_with("eyJ") {
        Err(
            "this is a token, not the name of a secret: put it into the secret, and revoke it if others can see it here",
        )
    } else {
        Ok(())
    }
}

/// Reads a list of feeds, parted by commas, each at most once.
///
/// # Errors
///
/// What is wrong with it.
pub fn parse_feeds(text: &str) -> Result<Vec<Feed>, String> {
    let mut feeds = Vec::new();
    for name in text.split(',') {
        let feed = name.trim().parse::<Feed>().map_err(|error| error.to_string())?;
        if feeds.contains(&feed) {
            return Err(format!("`{feed}` stands there twice"));
        }
        feeds.push(feed);
    }
    Ok(feeds)
}

/// Reads a base URL that a token may be sent to.
///
/// # Errors
///
/// What is wrong with it.
pub fn parse_api_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text)
        .map_err(|error| format!("{error}; use a base URL such as https://events.1password.eu"))?;
    check_url(&url)?;
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A complete environment, with `changes` laid over it.
    fn parse(changes: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let base = [
            ("TOKEN_SECRET_ARN", "token"),
            ("ARCHIVE_BUCKET", "lake"),
            ("CHECKPOINT_TABLE", "rows"),
        ];
        Config::from_lookup(|name| {
            let found = changes.iter().chain(&base).find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn what_is_not_set_has_a_default() {
        let config = parse(&[("KEY_PREFIX", ""), ("EVENTS_API_URL", "")]).unwrap();
        assert_eq!(config.prefix, Prefix::default());
        assert_eq!(config.feeds, Feed::ALL);
        assert_eq!(config.lookback_days, 120);
        assert_eq!(config.log_level, LevelFilter::INFO);
        assert_eq!(config.api_url, None);
    }

    #[test]
    fn a_bad_value_is_an_error_that_names_the_variable() {
        for (name, value, said) in [
            ("ARCHIVE_BUCKET", "", "ARCHIVE_BUCKET is not set"),
            ("TOKEN_SECRET_ARN", "eyJhbGciOi", "TOKEN_SECRET_ARN is `eyJ…`: this is a token"),
            ("BUCKET_OWNER", "123", "BUCKET_OWNER is `123`: use the 12 digits"),
            ("KEY_PREFIX", "k=v/", "KEY_PREFIX is `k=v/`: `k=v/` is not a key prefix"),
            ("EVENTS_API_URL", "events", "EVENTS_API_URL is `events`: relative URL without a base"),
            ("EVENTS_API_URL", "http://events.1password.com", "https"),
            ("EVENTS_API_URL", "https://events.1password.com/api", "base URL without path"),
            ("FEEDS", "signin_attempts,logins", "`logins` is not a feed"),
            ("FEEDS", "audit_events,audit_events", "twice"),
            ("LOOKBACK_DAYS", "121", "LOOKBACK_DAYS is `121`: use a whole number from 1 to 120"),
            ("RETENTION_DAYS", "0", "RETENTION_DAYS is `0`"),
            ("EXCLUDE_BEFORE", "2026", "EXCLUDE_BEFORE is `2026`: use a time"),
            ("LOG_LEVEL", "loud", "LOG_LEVEL is `loud`: use TRACE"),
        ] {
            let error = parse(&[(name, value)]).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
