//! From a request to its answer.

use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use axum::body::{Body as HttpBody, Bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderName, USER_AGENT};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use jiff::Timestamp;
use serde_json::json;

use crate::answer::{Answer, Delivery};
use crate::clock::Clock;
use crate::faults::{Effect, Faults};
use crate::feed::Feed;
use crate::lock;
use crate::log::{Log, RequestRecord};
use crate::options::{ErrorStyle, Options, RetryAfter};
use crate::page::{Body, Page};
use crate::rate::Quota;
use crate::store::{Store, Version};
use crate::token::{Claims, TokenSpec, Tokens};
use crate::wire::Link;

const MAX_BODY_BYTES: usize = 1 << 20;

/// All there is to a running simulator.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: Options,
    /// `127.0.0.1:PORT`, the audience of its tokens.
    pub(crate) host: String,
    pub(crate) clock: Clock,
    pub(crate) faults: Faults,
    pub(crate) tokens: Tokens,
    pub(crate) accounts: Vec<Account>,
    pub(crate) quota: Mutex<Quota>,
    pub(crate) log: Mutex<Log>,
}

#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) uuid: String,
    pub(crate) integration: String,
    /// By feed.
    pub(crate) stores: [Mutex<Store>; 3],
}

impl Shared {
    pub(crate) fn mint(&self, spec: &TokenSpec) -> String {
        let account = self.accounts.get(spec.account);
        let uuid = account.map_or("ANOTHERACCOUNTANOTHERACCOU", |account| &account.uuid);
        let integration = account.map_or(uuid, |account| &account.integration);
        let (uuid, integration) = (uuid.to_owned(), integration.to_owned());
        self.tokens.mint(spec, uuid, integration, &self.host, self.clock.now())
    }
}

/// What a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Introspect(Version),
    Events(Version, Feed),
    Unknown,
}

impl Route {
    fn of(path: &str) -> Self {
        let route = match path {
            "/api/auth/introspect" => Some(Self::Introspect(Version::V1)),
            "/api/v2/auth/introspect" => Some(Self::Introspect(Version::V2)),
            _ => {
                let v1 = path.strip_prefix("/api/v1/").map(|name| (Version::V1, name));
                let v2 = path.strip_prefix("/api/v2/").map(|name| (Version::V2, name));
                let named =
                    v1.or(v2).and_then(|(version, name)| Some((version, Feed::parse(name)?)));
                named.map(|(version, feed)| Self::Events(version, feed))
            }
        };
        route.unwrap_or(Self::Unknown)
    }

    const fn feed(self) -> Option<Feed> {
        match self {
            Self::Events(_, feed) => Some(feed),
            _ => None,
        }
    }

    fn method(self) -> Option<Method> {
        match self {
            Self::Introspect(_) => Some(Method::GET),
            Self::Events(..) => Some(Method::POST),
            Self::Unknown => None,
        }
    }

    const fn error_style(self) -> ErrorStyle {
        match self {
            Self::Introspect(Version::V1) | Self::Events(Version::V1, _) => ErrorStyle::Nested,
            _ => ErrorStyle::Flat,
        }
    }
}

/// An answer and what the log says about it.
#[derive(Debug)]
struct Handled {
    answer: Answer,
    token_id: Option<String>,
    items: usize,
}

impl Handled {
    const fn anonymous(answer: Answer) -> Self {
        Self { answer, token_id: None, items: 0 }
    }
}

/// Answers any request but those to the control plane.
pub(crate) async fn serve(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(link): ConnectInfo<Link>,
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    // A body that breaks off or is too long is as malformed as an empty one.
    let body = axum::body::to_bytes(body, MAX_BODY_BYTES).await.unwrap_or_default();
    if !shared.options.latency.is_zero() {
        tokio::time::sleep(shared.options.latency).await;
    }

    let route = Route::of(head.uri.path());
    let request = Body::parse(&body);
    let has_cursor = request.as_ref().is_ok_and(Body::has_cursor);
    let effect = shared.faults.strike(head.uri.path(), route.feed(), has_cursor);
    if let Some(Effect::SlowHeaders(by)) = &effect {
        tokio::time::sleep(*by).await;
    }

    let now = shared.clock.now();
    let style = shared.options.error_style.unwrap_or_else(|| route.error_style());
    let Handled { mut answer, token_id, items } = match &effect {
        Some(Effect::Reset) => {
            record(&shared, &head, &body, now, None, &Handled::anonymous(Answer::json("")));
            link.reset();
            return Response::new(HttpBody::empty());
        }
        Some(Effect::Status { status, style: of_fault, retry_after }) => {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let answer = Answer::error(status, of_fault.unwrap_or(style));
            Handled::anonymous(answer.retry_after(retry_after.clone()))
        }
        Some(Effect::Redirect(to)) => Handled::anonymous(Answer::redirect(to.clone())),
        Some(Effect::Html) => Handled::anonymous(Answer::html()),
        _ => shared.handle(&head, route, request.ok(), style, effect.as_ref(), now),
    };

    let mut delivery = Delivery::Whole;
    match effect {
        Some(Effect::CutBody) => delivery = Delivery::Cut,
        Some(Effect::SlowBody(over)) => delivery = Delivery::Slow(over),
        Some(Effect::TruncatedJson) => answer.truncate(),
        _ => {}
    }
    if shared.options.gzip && header(&head, &ACCEPT_ENCODING).is_some_and(|is| is.contains("gzip"))
    {
        answer.compress();
    }
    let handled = Handled { answer, token_id, items };
    record(&shared, &head, &body, now, Some(handled.answer.status), &handled);
    handled.answer.send(now, delivery)
}

impl Shared {
    fn handle(
        &self,
        head: &Parts,
        route: Route,
        request: Option<Body>,
        style: ErrorStyle,
        effect: Option<&Effect>,
        now: Timestamp,
    ) -> Handled {
        let Some(method) = route.method() else {
            return Handled::anonymous(Answer::not_found());
        };
        if head.method != method {
            let status = StatusCode::METHOD_NOT_ALLOWED;
            return Handled::anonymous(Answer::error(status, ErrorStyle::Empty));
        }
        let Some((claims, index)) = self.authorize(head, route, now) else {
            return Handled::anonymous(Answer::error(StatusCode::UNAUTHORIZED, style));
        };
        let token_id = Some(claims.jti.clone());
        let plain = |answer| Handled { answer, token_id: token_id.clone(), items: 0 };

        if let Some(limit) = self.options.rate_limit
            && let Err(resets) = lock(&self.quota).take(index, limit, now)
        {
            let answer = Answer::error(StatusCode::TOO_MANY_REQUESTS, style);
            return plain(answer.retry_after(self.retry_after(resets, now)));
        }
        let account = &self.accounts[index];
        let Route::Events(version, feed) = route else {
            return plain(introspection(route, &claims));
        };

        let bind = self.options.bind_cursors;
        let place = request.map(|request| request.place(feed, &account.uuid, bind, now));
        let (Some(Ok(place)), false) = (place, effect == Some(&Effect::BadCursor)) else {
            return plain(Answer::error(StatusCode::BAD_REQUEST, style));
        };
        let mut store = lock(&account.stores[feed.index()]);
        store.settle(now);
        let page = Page::build(&store, place, version, &self.options, now, effect);
        let is_whole = !matches!(effect, Some(Effect::CutBody | Effect::TruncatedJson));
        if self.options.record && is_whole {
            store.mark_returned(&page.picks);
        }
        Handled { answer: Answer::json(page.body), token_id, items: page.picks.len() }
    }

    /// The claims of a valid token and the index of its account.
    fn authorize(
        &self,
        head: &Parts,
        route: Route,
        now: Timestamp,
    ) -> Option<(Arc<Claims>, usize)> {
        let token = header(head, &AUTHORIZATION)?.strip_prefix("Bearer ")?;
        let claims = self.tokens.verify(token, now)?;
        if route.feed().is_some_and(|feed| !claims.allows(feed)) {
            return None;
        }
        let index = self.accounts.iter().position(|account| account.uuid == claims.account)?;
        Some((claims, index))
    }

    fn retry_after(&self, resets: Timestamp, now: Timestamp) -> Option<String> {
        self.options.retry_after.map(|style| match style {
            RetryAfter::Seconds => (resets.as_second() - now.as_second()).max(1).to_string(),
            RetryAfter::HttpDate => httpdate::fmt_http_date(SystemTime::from(resets)),
            RetryAfter::Garbage => "in a moment".to_owned(),
        })
    }
}

fn introspection(route: Route, claims: &Claims) -> Answer {
    let Claims { account, features, iat, sub, .. } = claims;
    let issued_at = Timestamp::from_second(*iat).unwrap_or_default();
    let body = if route == Route::Introspect(Version::V1) {
        json!({ "UUID": sub, "IssuedAt": issued_at, "Features": features })
    } else {
        json!({
            "uuid": sub,
            "issued_at": issued_at,
            "features": features,
            "account_uuid": account,
        })
    };
    Answer::json(body.to_string())
}

fn header<'a>(head: &'a Parts, name: &HeaderName) -> Option<&'a str> {
    head.headers.get(name)?.to_str().ok()
}

fn record(
    shared: &Shared,
    head: &Parts,
    body: &Bytes,
    now: Timestamp,
    status: Option<StatusCode>,
    handled: &Handled,
) {
    if !shared.options.record {
        return;
    }
    let text = |name| header(head, name).map(str::to_owned);
    let record = RequestRecord {
        at: now,
        method: head.method.to_string(),
        path: head.uri.to_string(),
        feed: Route::of(head.uri.path()).feed(),
        user_agent: text(&USER_AGENT),
        content_type: text(&CONTENT_TYPE),
        accept_encoding: text(&ACCEPT_ENCODING),
        token_id: handled.token_id.clone(),
        body: String::from_utf8_lossy(body).into_owned(),
        status: status.map(|status| status.as_u16()),
        items: handled.items,
    };
    lock(&shared.log).push(record);
}
