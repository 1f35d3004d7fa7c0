//! One invocation.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use lambda_runtime::Diagnostic;
use oplake_aws::{DynamoDbCheckpoints, S3Archive, SdkConfig, SecretsManagerTokens, sdk};
use oplake_core::collect::{Ports, Settings, collect};
use oplake_core::config::{Config, ConfigError, days_of};
use oplake_core::error::chain;
use oplake_core::events_api::{HttpClient, http_client};
use oplake_core::feed::AccountName;
use oplake_core::metrics::write_emf;
use oplake_core::report::{Outcome, Report};
use serde_json::Value;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::input;
use crate::secret::WarmSecret;

/// The function's state across warm invocations.
pub(crate) struct Collector {
    config: Result<Config, ConfigError>,
    function: String,
    // Made with the first invocation: the first poll need not wait for them.
    aws: OnceCell<SdkConfig>,
    http: OnceCell<HttpClient>,
    secret: WarmSecret,
}

/// Why an invocation failed. Alarms and log queries match the `errorType`.
pub(crate) struct Failed {
    code: &'static str,
    message: String,
}

// The runtime logs it.
impl std::fmt::Debug for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl From<Failed> for Diagnostic {
    fn from(Failed { code, message }: Failed) -> Self {
        Self { error_type: code.to_owned(), error_message: message }
    }
}

impl Collector {
    pub(crate) fn new(config: Result<Config, ConfigError>, function: String) -> Self {
        let (aws, http) = (OnceCell::new(), OnceCell::new());
        Self { config, function, aws, http, secret: WarmSecret::default() }
    }

    /// Does what `input` asks for with every stream until `deadline`. If one
    /// failed, the others have been committed before the invocation fails.
    pub(crate) async fn invoke(
        &self,
        input: Value,
        deadline: SystemTime,
    ) -> Result<Report, Failed> {
        let config = self.config.as_ref().map_err(|error| refuse(error.code(), error))?;
        let aws = self.aws.get_or_try_init(async || sdk::load(config.extra_ca.as_deref()).await);
        let aws = aws.await.map_err(|error| refuse("Config.Invalid", &error))?;
        let http = self.http.get_or_try_init(async || http_client(config.extra_ca.as_deref()));
        let http = http.await.map_err(|error| refuse("Config.Http", &error))?;

        let checkpoints = DynamoDbCheckpoints::new(aws, config.table.clone());
        let archive = S3Archive::new(aws, config.bucket.clone(), config.prefix.clone())
            .expected_owner(config.bucket_owner.clone())
            .kms_key(config.kms_key.clone());
        #[expect(clippy::disallowed_methods, reason = "the edge of the program")]
        let (now, clock) = (Timestamp::now(), SystemTime::now());
        let tokens = SecretsManagerTokens::new(aws, config.token_secret.clone());
        let tokens = self.secret.tokens(tokens, now);
        let task = input::read(input, now).map_err(|error| refuse("Input.Invalid", &error))?;
        let left = deadline.duration_since(clock).unwrap_or(Duration::ZERO);
        let settings = Settings {
            feeds: config.feeds.clone(),
            start: now - days_of(config.lookback_days),
            api_url: config.api_url.clone(),
            prefix: config.prefix.clone(),
            account: AccountName::default(),
            not_before: config.not_before(now),
        };
        let ports = Ports { http, tokens: &tokens, checkpoints: &checkpoints, archive: &archive };
        let deadline = Instant::now() + left;
        let report = collect(ports, &settings, task, now, deadline, &|_| ()).await;
        let expires = report.token_days_left.is_some_and(|days| days <= 0);
        if expires || report.failures().next().is_some() {
            self.secret.forget();
        }
        if let Err(error) = write_emf(&report, &self.function, now, std::io::stdout().lock()) {
            tracing::error!("the metrics were not written: {error}");
        }
        outcome(report)
    }
}

/// The invocation's answer to `report`. That there is no token yet is no
/// failure of the function: its metric says it.
fn outcome(report: Report) -> Result<Report, Failed> {
    let failed: Vec<_> = report
        .failures()
        .filter(|(stream, _)| stream.outcome == Outcome::Failed)
        .map(|(stream, failure)| {
            (failure.code, format!("{}: {}", stream.stream(), failure.message))
        })
        .collect();
    match failed.first() {
        None => Ok(report),
        Some((code, _)) => {
            let messages: Vec<_> = failed.iter().map(|(_, message)| message.as_str()).collect();
            Err(Failed { code, message: messages.join("; ") })
        }
    }
}

fn refuse(code: &'static str, error: &dyn std::error::Error) -> Failed {
    let message = chain(error);
    tracing::error!(error.code = code, "the function is not set up: {message}");
    Failed { code, message }
}
