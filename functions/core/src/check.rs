//! Whether everything a collection needs is there, without collecting.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use tokio::time::Instant;
use url::Url;

use crate::error::{BoxError, chain};
use crate::events_api::{EventsApi, HttpClient, Limiter, Pace};
use crate::feed::{AccountName, Feed};
use crate::token::{Token, TokenError, TokenSource};

/// Days before a token's expiry from which on it is a warning.
const EXPIRES_SOON: i64 = 30;

/// What a check has found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub subject: String,
    /// How it is.
    pub grade: Grade,
    /// What was seen, and what to do about it.
    pub message: String,
}

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// As it has to be.
    Good,
    /// It will do, but should be otherwise; or it could not be seen.
    Warning,
    /// Nothing can be collected with it.
    Error,
}

impl Finding {
    /// What was seen of `subject`.
    #[must_use]
    pub fn new(subject: &str, grade: Grade, message: impl Into<String>) -> Self {
        Self { subject: subject.to_owned(), grade, message: message.into() }
    }
}

/// What [`tokens`] is told.
#[derive(Debug, Clone, Copy)]
pub struct TokenCheck<'a> {
    /// What the Events API is reached with.
    pub http: &'a HttpClient,
    /// Base URL of the Events API, unless the token tells.
    pub api_url: Option<&'a Url>,
    /// The account that a bare token is of.
    pub account: &'a AccountName,
    /// The feeds that are to be collected.
    pub feeds: &'a [Feed],
    /// The time.
    pub now: Timestamp,
    /// When the API has to have answered.
    pub deadline: Instant,
}

/// Looks at each token of `source`, and asks the API what it is good for.
pub async fn tokens<T: TokenSource>(source: &T, check: TokenCheck<'_>) -> Vec<Finding> {
    let secret = source.read().await.and_then(|secret| secret.accounts(check.account));
    let tokens = match secret {
        Ok(tokens) => tokens,
        Err(error) => {
            let missing = matches!(error, TokenError::Missing { .. });
            let grade = if missing { Grade::Warning } else { Grade::Error };
            return vec![Finding::new("token", grade, chain(&error))];
        }
    };
    let mut findings = Vec::new();
    let mut owners: BTreeMap<String, &AccountName> = BTreeMap::new();
    for (name, token) in &tokens {
        let subject = format!("token of `{name}`");
        let token = match token {
            Ok(token) => token,
            Err(error) => {
                findings.push(Finding::new(&subject, Grade::Error, chain(error)));
                continue;
            }
        };
        let (found, owner) = check.token(&subject, token).await;
        findings.extend(found);
        let Some(owner) = owner else { continue };
        if let Some(twin) = owners.get(&owner) {
            let message = format!("it is of the same 1Password account as that of `{twin}`");
            findings.push(Finding::new(&subject, Grade::Error, message));
        } else {
            owners.insert(owner, name);
        }
    }
    findings
}

impl TokenCheck<'_> {
    /// What is found of a token, and the account that it is of.
    async fn token(&self, subject: &str, token: &Token) -> (Vec<Finding>, Option<String>) {
        let mut owner = token.account_uuid().map(str::to_owned);
        let mut findings = vec![match self.ask(token).await {
            Ok((message, told)) => {
                owner = told.or(owner);
                Finding::new(subject, Grade::Good, message)
            }
            Err(error) => Finding::new(subject, Grade::Error, chain(error.as_ref())),
        }];
        for feed in self.feeds.iter().filter(|feed| !token.covers(**feed)) {
            let message = format!(
                "it was issued without the feature for `{feed}`, which is skipped: issue one with it"
            );
            findings.push(Finding::new(subject, Grade::Warning, message));
        }
        if let Some(at) = token.expires_at() {
            let days = at.duration_since(self.now).as_hours().div_euclid(24);
            if (0..=EXPIRES_SOON).contains(&days) {
                let message = format!("it expires in {days} days, at {at}: issue a new one");
                findings.push(Finding::new(subject, Grade::Warning, message));
            }
        }
        (findings, owner)
    }

    /// What the API says of a token, and the account that it is of.
    async fn ask(&self, token: &Token) -> Result<(String, Option<String>), BoxError> {
        token.check_expiry(self.now)?;
        let base = token.api_url(self.api_url)?;
        let host = base.authority().to_owned();
        let limiter = Limiter::new(Pace::Tail).into();
        let api = EventsApi::new(self.http.clone(), base, token.clone(), limiter)?;
        let told = api.introspect(self.deadline).await?;
        let message = match &told.account_uuid {
            Some(account) => format!("`{host}` accepts it, as one of account {account}"),
            None => format!("`{host}` accepts it"),
        };
        Ok((message, told.account_uuid))
    }
}
