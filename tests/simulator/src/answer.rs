//! Answers, and how they are made to fail on their way.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, DATE};
use axum::http::header::{LOCATION, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::stream;
use jiff::Timestamp;
use serde_json::json;

use crate::options::ErrorStyle;

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";

/// What a proxy or a captive portal answers instead of the service.
const HTML_PAGE: &str = "<!DOCTYPE html>\n<html><head><title>Sign in</title></head>\
    <body><h1>Sign in to continue</h1></body></html>\n";

const PROXY_TEXT: &str =
    "upstream connect error or disconnect/reset before headers. reset reason: overflow";

/// An answer before it is sent.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
    content_type: Option<&'static str>,
    retry_after: Option<String>,
    location: Option<String>,
    gzip: bool,
}

impl Answer {
    fn new(status: StatusCode, content_type: Option<&'static str>, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        Self { status, body, content_type, retry_after: None, location: None, gzip: false }
    }

    pub(crate) fn json(body: impl Into<Bytes>) -> Self {
        Self::new(StatusCode::OK, Some(JSON), body)
    }

    pub(crate) fn html() -> Self {
        Self::new(StatusCode::OK, Some(HTML), HTML_PAGE)
    }

    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, Some(TEXT), "404 page not found\n")
    }

    pub(crate) fn redirect(location: String) -> Self {
        let answer = Self::new(StatusCode::FOUND, None, "");
        Self { location: Some(location), ..answer }
    }

    pub(crate) fn error(status: StatusCode, style: ErrorStyle) -> Self {
        let message = match status {
            StatusCode::UNAUTHORIZED => "Unauthorized access",
            other => other.canonical_reason().unwrap_or("Error"),
        };
        match style {
            ErrorStyle::Nested => {
                let body = json!({ "Error": { "Message": message } });
                Self::new(status, Some(JSON), body.to_string())
            }
            ErrorStyle::Flat => {
                let body = json!({ "status": status.as_u16(), "message": message });
                Self::new(status, Some(JSON), body.to_string())
            }
            ErrorStyle::Text => Self::new(status, Some(TEXT), message),
            ErrorStyle::Proxy => Self::new(status, Some("text/plain"), PROXY_TEXT),
            ErrorStyle::Empty => Self::new(status, None, ""),
            ErrorStyle::Html => Self::new(status, Some(HTML), HTML_PAGE),
        }
    }

    pub(crate) fn retry_after(self, retry_after: Option<String>) -> Self {
        Self { retry_after, ..self }
    }

    /// Leaves only the first half of the body.
    pub(crate) fn truncate(&mut self) {
        self.body.truncate(self.body.len() / 2);
    }

    pub(crate) fn compress(&mut self) {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        let written = encoder.write_all(&self.body);
        // Writing to memory does not fail; if it did, plain is right too.
        if let (Ok(()), Ok(body)) = (written, encoder.finish()) {
            self.body = body.into();
            self.gzip = true;
        }
    }

    /// Makes the response, with its body sent as `delivery` says.
    pub(crate) fn send(self, now: Timestamp, delivery: Delivery) -> Response {
        let length = self.body.len();
        let body = match delivery {
            Delivery::Whole => Body::from(self.body),
            Delivery::Cut => cut(&self.body),
            Delivery::Slow(over) => slow(self.body, over),
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        let date = httpdate::fmt_http_date(SystemTime::from(now));
        let text = [(DATE, Some(date)), (RETRY_AFTER, self.retry_after), (LOCATION, self.location)];
        for (name, value) in text {
            // Header values that HTTP does not allow are left out.
            if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
                headers.insert(name, value);
            }
        }
        if let Some(content_type) = self.content_type {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        if self.gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }
}

/// How a body is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivery {
    Whole,
    /// Half of it, and then the connection closes.
    Cut,
    /// In pieces over this time.
    Slow(Duration),
}

fn cut(body: &Bytes) -> Body {
    let half = body.slice(..body.len() / 2);
    Body::from_stream(stream::unfold(Some(half), |half| async {
        if let Some(half) = half {
            Some((Ok(half), None))
        } else {
            // Lets the half be flushed before the error closes the connection.
            tokio::time::sleep(Duration::from_millis(5)).await;
            Some((Err(io::Error::from(io::ErrorKind::UnexpectedEof)), None))
        }
    }))
}

fn slow(body: Bytes, over: Duration) -> Body {
    const PIECES: u32 = 10;
    let size = (body.len() / PIECES as usize).max(1);
    Body::from_stream(stream::unfold(body, move |mut rest| async move {
        if rest.is_empty() {
            return None;
        }
        tokio::time::sleep(over / PIECES).await;
        let piece = rest.split_to(size.min(rest.len()));
        Some((Ok::<_, io::Error>(piece), rest))
    }))
}
