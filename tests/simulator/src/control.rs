//! The control plane, for tests in other processes.
//!
//! What a test does through [`Simulator`](crate::Simulator) it can do here in
//! JSON. Nothing here needs a token: a simulator is for loopback only.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::faults::Rule;
use crate::feed::Feed;
use crate::lock;
use crate::oracle::{Event, Known};
use crate::server::Shared;
use crate::token::TokenSpec;

pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/_sim/token", get(default_token).post(mint))
        .route("/_sim/revoke", post(revoke))
        .route("/_sim/clock", get(clock).post(set_clock))
        .route("/_sim/faults", post(add_faults).delete(clear_faults))
        .route("/_sim/events", post(push))
        .route("/_sim/oracle", get(oracle))
        .route("/_sim/requests", get(requests).delete(clear_requests))
}

type Input<T> = Result<Json<T>, JsonRejection>;

/// Says what is wrong with a body that does not parse.
struct Refused(String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (StatusCode::BAD_REQUEST, Json(json!({ "error": self.0 }))).into_response()
    }
}

impl From<JsonRejection> for Refused {
    fn from(rejection: JsonRejection) -> Self {
        Self(rejection.body_text())
    }
}

impl Shared {
    /// Adds `event` to a feed; `None` if there is no such account.
    pub(crate) fn push(&self, account: usize, feed: Feed, event: &Event) -> Option<()> {
        let head = crate::store::Head::of(&event.bytes);
        let now = self.clock.now();
        let incoming = crate::store::Incoming {
            uuid: &head.uuid,
            at: event.at.or(head.timestamp).unwrap_or(now),
            visible_at: event.visible_at.unwrap_or(now),
            v2_only: [0..0, 0..0],
        };
        let account = self.accounts.get(account)?;
        lock(&account.stores[feed.index()]).add(&incoming, &event.bytes);
        Some(())
    }
}

async fn default_token(State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(json!({ "token": shared.mint(&TokenSpec::default()) }))
}

async fn mint(
    State(shared): State<Arc<Shared>>,
    spec: Input<TokenSpec>,
) -> Result<Json<Value>, Refused> {
    Ok(Json(json!({ "token": shared.mint(&spec?.0) })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Revocation {
    token: String,
}

async fn revoke(
    State(shared): State<Arc<Shared>>,
    revocation: Input<Revocation>,
) -> Result<StatusCode, Refused> {
    shared.tokens.revoke(&revocation?.0.token);
    Ok(StatusCode::NO_CONTENT)
}

async fn clock(State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(json!({ "now": shared.clock.now() }))
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum ClockChange {
    Set(Timestamp),
    AdvanceSeconds(u64),
}

async fn set_clock(
    State(shared): State<Arc<Shared>>,
    change: Input<ClockChange>,
) -> Result<Json<Value>, Refused> {
    match change?.0 {
        ClockChange::Set(now) => shared.clock.set(now),
        ClockChange::AdvanceSeconds(by) => shared.clock.advance(Duration::from_secs(by)),
    }
    Ok(Json(json!({ "now": shared.clock.now() })))
}

async fn add_faults(
    State(shared): State<Arc<Shared>>,
    rules: Input<Vec<Rule>>,
) -> Result<StatusCode, Refused> {
    for rule in rules?.0 {
        shared.faults.add(rule);
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn clear_faults(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared.faults.clear();
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Injection {
    #[serde(default)]
    account: usize,
    feed: Feed,
    /// The item's exact text.
    item: String,
    at: Option<Timestamp>,
    visible_at: Option<Timestamp>,
}

async fn push(
    State(shared): State<Arc<Shared>>,
    injection: Input<Injection>,
) -> Result<StatusCode, Refused> {
    let Injection { account, feed, item, at, visible_at } = injection?.0;
    let event = Event { bytes: item.into(), at, visible_at };
    shared.push(account, feed, &event).ok_or_else(|| no_account(account))?;
    Ok(StatusCode::NO_CONTENT)
}

fn no_account(index: usize) -> Refused {
    Refused(format!("there is no account {index}"))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    #[serde(default)]
    account: usize,
    feed: Feed,
    /// Leaves out what becomes visible later.
    by: Option<Timestamp>,
    /// Only what has been returned.
    #[serde(default)]
    returned: bool,
}

async fn oracle(
    State(shared): State<Arc<Shared>>,
    question: Result<Query<Question>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Vec<Value>>, Refused> {
    let Query(question) = question.map_err(|rejection| Refused(rejection.body_text()))?;
    let account = shared.accounts.get(question.account);
    let account = account.ok_or_else(|| no_account(question.account))?;
    let store = lock(&account.stores[question.feed.index()]);
    let known = if question.returned { store.returned() } else { store.known() };
    drop(store);
    let visible = |known: &Known| question.by.is_none_or(|by| known.visible_at <= by);
    let describe = |known: Known| {
        json!({
            "uuid": known.uuid,
            "timestamp": known.timestamp,
            "visible_at": known.visible_at,
            "item": String::from_utf8_lossy(&known.bytes),
        })
    };
    Ok(Json(known.into_iter().filter(visible).map(describe).collect()))
}

async fn requests(State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(json!(lock(&shared.log).records()))
}

async fn clear_requests(State(shared): State<Arc<Shared>>) -> StatusCode {
    lock(&shared.log).clear();
    StatusCode::NO_CONTENT
}
