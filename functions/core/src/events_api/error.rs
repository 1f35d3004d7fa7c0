//! What can go wrong between us and the Events API, by who can fix it.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use crate::error::BoxError;
use crate::events_api::page::PageError;
use crate::feed::Feed;

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// A page of a feed.
    Feed(Feed),
    /// What the token is good for.
    Introspect,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Feed(feed) => write!(f, "feed {feed}"),
            Self::Introspect => f.write_str("the token's introspection"),
        }
    }
}

/// A failed call to the Events API.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EventsApiError {
    /// 401 or 403: the operator has to look at the token.
    #[error(
        "the Events API refused the token for {endpoint} ({status}{}): it may be revoked, expired, of another \
         region, or lack this feed; issue a new one in 1Password under Integrations, Events Reporting", said(.message)
    )]
    Unauthorized {
        /// What was asked for.
        endpoint: Endpoint,
        /// 401 or 403.
        status: u16,
        /// What the API said, if anything.
        message: String,
    },
    /// 400: the request, most likely its cursor, is not accepted.
    #[error("the Events API rejected the request for {endpoint} (400{})", said(.message))]
    Rejected {
        /// What was asked for.
        endpoint: Endpoint,
        /// What the API said, if anything.
        message: String,
    },
    /// 404 or a redirect: this is not the account's Events API.
    #[error(
        "{host} does not serve {endpoint} ({status}{}): the URL is of another region or not an Events API, or the \
         token was not copied whole", said(.message)
    )]
    WrongServer {
        /// The host that was asked.
        host: String,
        /// What was asked for.
        endpoint: Endpoint,
        /// The status.
        status: u16,
        /// What the server said, if anything.
        message: String,
    },
    /// 429: the account's requests are used up for now.
    #[error("the Events API's rate limit is reached")]
    RateLimited {
        /// The wait that a `Retry-After` header asked for, else to the end of
        /// the API's minute.
        retry_after: Option<Duration>,
    },
    /// Any other status: the server's trouble.
    #[error("the Events API answered {status} for {endpoint}{}", said(.message))]
    Status {
        /// What was asked for.
        endpoint: Endpoint,
        /// The status.
        status: u16,
        /// What the server said, if anything.
        message: String,
        /// The wait that a `Retry-After` header asked for.
        retry_after: Option<Duration>,
    },
    /// A complete answer of 200 is not what it should be.
    #[error("the Events API answered {endpoint} with something else: {hint}")]
    Unexpected {
        /// What was asked for.
        endpoint: Endpoint,
        /// What it looks like.
        hint: &'static str,
        /// What is wrong with it.
        #[source]
        source: BoxError,
    },
    /// The answer is larger than any page should be.
    #[error("a page of {endpoint} is larger than {limit} bytes")]
    TooLarge {
        /// What was asked for.
        endpoint: Endpoint,
        /// The bound.
        limit: usize,
    },
    /// No complete answer was received.
    #[error(
        "the Events API at {host} cannot be reached: check the URL, DNS, the proxy and the way out"
    )]
    Transport {
        /// The host that was asked.
        host: String,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// The run's time is up.
    #[error("the run's time was up before the Events API answered {endpoint}")]
    OutOfTime {
        /// What was asked for.
        endpoint: Endpoint,
    },
}

/// `: message`, or nothing.
fn said(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

impl EventsApiError {
    pub(super) fn page(endpoint: Endpoint, body: &[u8], source: PageError) -> Self {
        let start = body.trim_ascii_start();
        let hint = if start.starts_with(b"<") {
            "it looks like HTML, as from a proxy or a sign-in page"
        } else if start.is_empty() {
            "it is empty"
        } else {
            "it may have been cut on its way"
        };
        Self::Unexpected { endpoint, hint, source: source.into() }
    }

    /// Whether the same request may succeed if it is sent again.
    ///
    /// A 200 that is no page counts: gateways and proxies answer so in an
    /// outage.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::RateLimited { .. } | Self::Transport { .. } | Self::Unexpected { .. } => true,
            Self::Status { status, .. } => *status >= 500 || *status == 408,
            Self::Unauthorized { .. }
            | Self::Rejected { .. }
            | Self::WrongServer { .. }
            | Self::TooLarge { .. }
            | Self::OutOfTime { .. } => false,
        }
    }

    /// The wait that the server asked for, or that its rate limit calls for.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after } | Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Stable name for metrics and for Lambda's `errorType`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unauthorized { .. } => "EventsApi.Unauthorized",
            Self::Rejected { .. } => "EventsApi.Rejected",
            Self::WrongServer { .. } => "EventsApi.WrongServer",
            Self::RateLimited { .. } => "EventsApi.RateLimited",
            Self::Status { .. } => "EventsApi.Status",
            Self::Unexpected { .. } => "EventsApi.Unexpected",
            Self::TooLarge { .. } => "EventsApi.TooLarge",
            Self::Transport { .. } => "EventsApi.Transport",
            Self::OutOfTime { .. } => "EventsApi.OutOfTime",
        }
    }
}

/// What an error body says, whatever its shape: `{"Error":{"Message":…}}`,
/// `{"status":…,"message":…}`, `{"error":…}`, or the first line of plain text.
/// `secrets` never pass.
#[must_use]
pub fn message(body: &[u8], secrets: &[&str]) -> String {
    #[derive(Deserialize)]
    struct Nested {
        #[serde(rename = "Message")]
        message: String,
    }
    #[derive(Deserialize)]
    struct Shapes {
        #[serde(rename = "Error")]
        nested: Option<Nested>,
        message: Option<String>,
        error: Option<String>,
    }
    let text = match serde_json::from_slice::<Shapes>(body) {
        Ok(Shapes { nested: Some(nested), .. }) => nested.message,
        Ok(Shapes { message: Some(message), .. }) => message,
        Ok(Shapes { error: Some(error), .. }) => error,
        _ if body.trim_ascii_start().starts_with(b"<") => "an HTML page".to_owned(),
        _ => String::from_utf8_lossy(body).lines().next().unwrap_or_default().to_owned(),
    };
    // Control characters go first: without them, parts may become a secret.
    let mut text: String = text.chars().filter(|c| !c.is_control()).collect();
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(secret, "REDACTED");
    }
    text.trim().chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_body_shape_is_understood() {
        for (body, said) in [
            (r#"{"Error":{"Message":"Bad Request"}}"#, "Bad Request"),
            (r#"{"status":401,"message":"Unauthorized access"}"#, "Unauthorized access"),
            (r#"{"error":"nope"}"#, "nope"),
            ("404 page not found\n", "404 page not found"),
            ("<!DOCTYPE html><html>…", "an HTML page"),
            ("{\"x\":1}", "{\"x\":1}"),
            ("", ""),
        ] {
            assert_eq!(message(body.as_bytes(), &[]), said);
        }
    }

    #[test]
    fn messages_are_short_one_line_and_without_secrets() {
        let body = format!("token s3cr3t is bad\u{7}{}", "x".repeat(500));
        let said = message(body.as_bytes(), &["s3cr3t", ""]);
        assert!(said.starts_with("token REDACTED is badxxx") && said.len() == 200, "{said}");
    }
}
