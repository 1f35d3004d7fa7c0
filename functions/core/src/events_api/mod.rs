//! The Events API: a client for its event feeds and its introspection.
//!
//! The facts about the API that this module rests on are 1Password's
//! documentation of version 2 of the event endpoints, unless a comment says
//! otherwise.

mod error;
mod page;
mod retry;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use backon::Retryable;
use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
pub use reqwest::Client as HttpClient;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, StatusCode, redirect};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use url::Url;

pub use self::error::{Endpoint, EventsApiError, message};
pub use self::page::{Page, PageError};
pub use self::retry::{Limiter, Pace};
use crate::checkpoint::{Cursor, Position};
use crate::error::BoxError;
use crate::feed::Feed;
use crate::token::Token;
use crate::window::Window;

/// Events asked for per request, the most that the API gives.
pub const PAGE_LIMIT: u32 = 1000;

/// Bytes of an answer that are read at most, after decompression. A full page
/// has about 600 KB.
const MAX_BODY: usize = 16 << 20;

/// Bytes of an error body that are looked at.
const MAX_ERROR_BODY: usize = 4 << 10;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const TOTAL_TIMEOUT: Duration = Duration::from_mins(1);

const USER_AGENT: &str = concat!("onepassword-events-lake/", env!("CARGO_PKG_VERSION"));

/// The HTTP client cannot be made. The operator can fix it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// The extra CA file cannot be read as PEM certificates.
    #[error("the CA file {} cannot be used", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// The TLS stack cannot be set up.
    #[error("the HTTP client cannot be set up")]
    Setup(#[source] BoxError),
}

/// Makes the client that all calls to the Events API share. It honours
/// `HTTPS_PROXY` and `NO_PROXY`, and trusts the certificates of `extra_ca`, a
/// PEM file, beside the system's.
///
/// # Errors
///
/// If `extra_ca` cannot be read or the system has no certificates.
pub fn http_client(extra_ca: Option<&Path>) -> Result<HttpClient, HttpError> {
    // Only the first call installs it; a later one finds it there.
    drop(rustls::crypto::ring::default_provider().install_default());
    let mut builder = HttpClient::builder()
        .user_agent(USER_AGENT)
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(TOTAL_TIMEOUT)
        // Following one could carry the token to another host.
        .redirect(redirect::Policy::none());
    if let Some(path) = extra_ca {
        let fail = |source: BoxError| HttpError::CaFile { path: path.to_owned(), source };
        let pem = std::fs::read(path).map_err(|error| fail(error.into()))?;
        let certificates =
            reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| fail(error.into()))?;
        if certificates.is_empty() {
            return Err(fail("it holds no PEM certificate".into()));
        }
        builder = builder.tls_certs_merge(certificates);
    }
    builder.build().map_err(|error| HttpError::Setup(error.into()))
}

/// What the API says of a token.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Introspection {
    /// The account that issued the token; absent on older servers.
    #[serde(default)]
    pub account_uuid: Option<String>,
}

/// The Events API as one token sees it.
#[derive(Debug, Clone)]
pub struct EventsApi {
    http: HttpClient,
    base: Url,
    token: Token,
    authorization: HeaderValue,
    limiter: Arc<Limiter>,
}

/// Which page to read.
#[derive(Debug, Clone, Copy)]
pub enum Request<'a> {
    /// The first from a time on, of at most so many events, as are all that
    /// follow it. Its cursors can be kept.
    From(Timestamp, u32),
    /// The first of a window. Its cursors end with the window, so they can
    /// never continue a tail.
    Window(Window),
    /// The one after the page that carried this cursor.
    After(&'a Cursor),
}

impl<'a> Request<'a> {
    /// The page at `position`, of at most `limit` events where that can be said.
    #[must_use]
    pub const fn at(position: &'a Position, limit: u32) -> Self {
        match position {
            Position::Start(time) => Self::From(*time, limit),
            Position::Cursor(cursor) => Self::After(cursor),
        }
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Body<'a> {
    Reset {
        limit: u32,
        start_time: Timestamp,
        #[serde(skip_serializing_if = "Option::is_none")]
        end_time: Option<Timestamp>,
    },
    Continue {
        cursor: &'a str,
    },
}

impl EventsApi {
    /// The API at `base` with `token`, spaced by `limiter`.
    ///
    /// # Errors
    ///
    /// If the token holds what no header can carry.
    pub fn new(
        http: HttpClient,
        base: Url,
        token: Token,
        limiter: Arc<Limiter>,
    ) -> Result<Self, HttpError> {
        let mut authorization = HeaderValue::try_from(format!("Bearer {}", token.expose()))
            .map_err(|error| HttpError::Setup(error.into()))?;
        authorization.set_sensitive(true);
        Ok(Self { http, base, token, authorization, limiter })
    }

    /// The token that the calls are made with.
    #[must_use]
    pub const fn token(&self) -> &Token {
        &self.token
    }

    /// Reads one page of `feed`, trying again until `deadline` where that may
    /// help.
    ///
    /// # Errors
    ///
    /// The last failure, or [`EventsApiError::OutOfTime`].
    pub async fn page(
        &self,
        feed: Feed,
        request: Request<'_>,
        deadline: Instant,
    ) -> Result<Page, EventsApiError> {
        let endpoint = Endpoint::Feed(feed);
        let (body, secret) = match request {
            Request::From(start_time, limit) => {
                (Body::Reset { limit, start_time, end_time: None }, "")
            }
            Request::Window(Window { from, to }) => {
                (Body::Reset { limit: PAGE_LIMIT, start_time: from, end_time: Some(to) }, "")
            }
            Request::After(cursor) => (Body::Continue { cursor: cursor.expose() }, cursor.expose()),
        };
        let body =
            Bytes::from(serde_json::to_vec(&body).map_err(|error| self.transport(error.into()))?);
        let secrets = [self.token.expose(), secret];
        let path = format!("api/v2/{}", feed.api_name());
        self.until_answered(endpoint, deadline, async || {
            let request = self
                .request(Method::POST, &path)?
                .header(CONTENT_TYPE, "application/json")
                .body(body.clone());
            let asked = Instant::now();
            let (date, body) = self.answer(endpoint, request, &secrets).await?;
            let took = asked.elapsed();
            let page = Page::split(&body, date);
            page.map(|page| Page { took, ..page })
                .map_err(|error| EventsApiError::page(endpoint, &body, error))
        })
        .await
    }

    /// Asks what the token is good for.
    ///
    /// # Errors
    ///
    /// As [`page`](Self::page).
    pub async fn introspect(&self, deadline: Instant) -> Result<Introspection, EventsApiError> {
        let endpoint = Endpoint::Introspect;
        self.until_answered(endpoint, deadline, async || {
            let request = self.request(Method::GET, "api/v2/auth/introspect")?;
            let (_, body) = self.answer(endpoint, request, &[self.token.expose()]).await?;
            serde_json::from_slice(&body).map_err(|error| {
                let at = PageError::Json { line: error.line(), column: error.column() };
                EventsApiError::page(endpoint, &body, at)
            })
        })
        .await
    }

    async fn until_answered<T, F: Future<Output = Result<T, EventsApiError>>>(
        &self,
        endpoint: Endpoint,
        deadline: Instant,
        attempt: impl FnMut() -> F,
    ) -> Result<T, EventsApiError> {
        let answered = attempt
            .retry(retry::policy())
            .sleep(tokio::time::sleep)
            .when(EventsApiError::is_retryable)
            .adjust(|error: &EventsApiError, wait| {
                // What the server asks for is waited for, plus the jittered
                // wait, so that not all who wait come back at once.
                let wait = wait? + error.retry_after().unwrap_or_default();
                (Instant::now() + wait < deadline).then_some(wait)
            })
            .notify(|error: &EventsApiError, wait| {
                tracing::warn!(
                    error.code = error.code(),
                    wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
                    "will ask again: {}",
                    crate::error::chain(error)
                );
            });
        match tokio::time::timeout_at(deadline, answered).await {
            Ok(answered) => answered,
            Err(_) => Err(EventsApiError::OutOfTime { endpoint }),
        }
    }

    fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, EventsApiError> {
        let url = self.base.join(path).map_err(|error| self.transport(error.into()))?;
        Ok(self.http.request(method, url).header(AUTHORIZATION, self.authorization.clone()))
    }

    /// Sends a request and returns the body of a 200 with the API's clock.
    async fn answer(
        &self,
        endpoint: Endpoint,
        request: RequestBuilder,
        secrets: &[&str],
    ) -> Result<(Timestamp, Bytes), EventsApiError> {
        self.limiter.ready().await;
        let mut response = request.send().await.map_err(|error| self.failed(error))?;
        let date = date(response.headers());
        let status = response.status();
        let limit = if status == StatusCode::OK { MAX_BODY } else { MAX_ERROR_BODY };
        // As announced, if at all: a page that grows is copied again and again.
        let announced = response.content_length().and_then(|length| usize::try_from(length).ok());
        let mut body = BytesMut::with_capacity(announced.unwrap_or(0).min(limit));
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failed(error))? {
            if body.len() + chunk.len() > limit {
                if status == StatusCode::OK {
                    return Err(EventsApiError::TooLarge { endpoint, limit });
                }
                break;
            }
            body.extend_from_slice(&chunk);
        }
        if status == StatusCode::OK {
            return Ok((date, body.freeze()));
        }
        let message = error::message(&body, secrets);
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = retry_after.and_then(|value| retry::retry_after(value, date));
        Err(match status.as_u16() {
            // 403 is not documented; integrators have met it in 401's place.
            status @ (401 | 403) => EventsApiError::Unauthorized { endpoint, status, message },
            400 => EventsApiError::Rejected { endpoint, message },
            status @ (404 | 300..=399) => {
                EventsApiError::WrongServer { host: self.host(), endpoint, status, message }
            }
            429 => EventsApiError::RateLimited {
                retry_after: retry_after.or_else(|| Some(retry::rest_of_minute(date))),
            },
            status => EventsApiError::Status { endpoint, status, message, retry_after },
        })
    }

    fn host(&self) -> String {
        self.base.authority().to_owned()
    }

    fn failed(&self, error: reqwest::Error) -> EventsApiError {
        self.transport(error.without_url().into())
    }

    fn transport(&self, source: BoxError) -> EventsApiError {
        EventsApiError::Transport { host: self.host(), source }
    }
}

/// The API's clock. Without a usable `Date` header, ours.
#[expect(clippy::disallowed_methods, reason = "stands in for the server's clock")]
fn date(headers: &HeaderMap) -> Timestamp {
    headers
        .get(DATE)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| httpdate::parse_http_date(text).ok())
        .and_then(|time| Timestamp::try_from(time).ok())
        .unwrap_or_else(Timestamp::now)
}
