//! The simulator over real HTTP.

#![expect(clippy::unwrap_used, reason = "a failed test is how these report")]

use std::collections::BTreeSet;
use std::sync::Once;
use std::time::Duration;

use events_api_simulator::{
    Counts, Effect, ErrorStyle, Event, Feed, HasMore, Known, OLD_AUDIENCE, Options, RateLimit,
    RetryAfter, Rule, Simulator, SortOrder, TokenSpec, When,
};
use jiff::{SignedDuration, Timestamp};
use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use serde_json::{Value, json};

/// A client that follows nothing and retries nothing.
struct Client {
    http: reqwest::Client,
    url: String,
    token: String,
}

/// What came back.
struct Reply {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    fn uuids(&self) -> Vec<String> {
        let page = self.json();
        let items = page["items"].as_array().unwrap().iter();
        items.map(|item| item["uuid"].as_str().unwrap_or_default().to_owned()).collect()
    }

    fn cursor(&self) -> String {
        self.json()["cursor"].as_str().unwrap().to_owned()
    }
}

impl Client {
    fn of(simulator: &Simulator) -> Self {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| {
            rustls::crypto::ring::default_provider().install_default().unwrap();
        });
        let http = reqwest::Client::builder()
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .build()
            .unwrap();
        Self { http, url: simulator.url(), token: simulator.token().to_owned() }
    }

    fn with_token(mut self, token: impl Into<String>) -> Self {
        self.token = token.into();
        self
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> reqwest::Result<Reply> {
        let response = request.bearer_auth(&self.token).send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Reply { status, headers, text: response.text().await? })
    }

    async fn try_post(&self, path: &str, body: &str) -> reqwest::Result<Reply> {
        self.send(self.http.post(format!("{}{path}", self.url)).body(body.to_owned())).await
    }

    async fn post(&self, path: &str, body: &str) -> Reply {
        self.try_post(path, body).await.unwrap()
    }

    async fn get(&self, path: &str) -> Reply {
        self.send(self.http.get(format!("{}{path}", self.url))).await.unwrap()
    }

    async fn page(&self, feed: Feed, body: Value) -> Reply {
        let reply = self.post(&format!("/api/v2/{feed}"), &body.to_string()).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        reply
    }

    /// Pages from `first` until there is no more: uuids and the last cursor.
    async fn drain(&self, feed: Feed, first: Value) -> (Vec<String>, String) {
        let mut uuids = Vec::new();
        let mut body = first;
        loop {
            let page = self.page(feed, body).await;
            uuids.extend(page.uuids());
            let cursor = page.cursor();
            if page.json()["has_more"] == false {
                return (uuids, cursor);
            }
            body = json!({ "cursor": cursor });
        }
    }
}

const AUDIT: &str = "/api/v2/auditevents";

fn everything(limit: usize) -> Value {
    json!({ "limit": limit, "start_time": "2020-01-01T00:00:00Z" })
}

fn uuids(known: &[Known]) -> Vec<String> {
    known.iter().map(|known| known.uuid.clone()).collect()
}

fn event(uuid: &str, timestamp: Timestamp) -> Event {
    Event::new(format!(r#"{{"uuid":"{uuid}","timestamp":"{timestamp}"}}"#))
}

async fn start(options: Options) -> (Simulator, Client) {
    let simulator = Simulator::start(options).await.unwrap();
    let client = Client::of(&simulator);
    (simulator, client)
}

/// A simulator whose only events are those of its test.
async fn empty() -> (Simulator, Client) {
    start(Options { events: Counts::NONE, accounts: 1, ..Options::default() }).await
}

/// Pushes audit events named by number, a second apart, the last one second
/// before now.
fn push_numbered(simulator: &Simulator, count: i64) {
    let now = simulator.clock().now();
    for number in 0..count {
        let at = now - SignedDuration::from_secs(count - number);
        simulator.push(Feed::AuditEvents, &event(&number.to_string(), at));
    }
}

#[tokio::test]
async fn paging_returns_each_visible_event_once_in_any_order_and_size() {
    for sort in [SortOrder::EventTime, SortOrder::InsertionTime] {
        for has_more in [HasMore::Exact, HasMore::FullPage] {
            let options = Options {
                accounts: 1,
                events: Counts::of_total(1000),
                late_arrivals: true,
                days_ahead: 1,
                sort,
                has_more,
                ..Options::default()
            };
            let (simulator, client) = start(options).await;
            for feed in Feed::ALL {
                let visible = uuids(&simulator.visible(feed, simulator.clock().now()));
                assert!(visible.len() > 100);
                assert!(visible.len() < simulator.oracle(feed).len());
                for limit in [1000, 17, 100] {
                    let (seen, _) = client.drain(feed, everything(limit)).await;
                    assert_eq!(seen, visible, "{sort:?} {has_more:?} {feed} {limit}");
                }
                assert_eq!(uuids(&simulator.returned(feed)), visible);
            }
        }
    }
}

#[tokio::test]
async fn a_page_of_one_ends_too() {
    let (simulator, client) = empty().await;
    push_numbered(&simulator, 5);

    let (seen, _) = client.drain(Feed::AuditEvents, everything(1)).await;

    assert_eq!(seen, ["0", "1", "2", "3", "4"]);
}

#[tokio::test]
async fn a_full_last_page_says_there_is_more_only_in_that_mode() {
    for (has_more, expected) in [(HasMore::Exact, false), (HasMore::FullPage, true)] {
        let options = Options { events: Counts::NONE, has_more, ..Options::default() };
        let (simulator, client) = start(options).await;
        push_numbered(&simulator, 2);

        let page = client.page(Feed::AuditEvents, everything(2)).await;
        let after = client.page(Feed::AuditEvents, json!({ "cursor": page.cursor() })).await;

        assert_eq!(page.json()["has_more"], expected);
        assert_eq!(after.json()["has_more"], false);
        assert_eq!(after.uuids(), [""; 0]);
    }
}

#[tokio::test]
async fn the_last_cursor_stays_and_later_events_appear_through_it() {
    let (simulator, client) = empty().await;
    push_numbered(&simulator, 3);
    let (_, cursor) = client.drain(Feed::AuditEvents, everything(10)).await;

    let end = client.page(Feed::AuditEvents, json!({ "cursor": cursor })).await;
    assert_eq!(end.json(), json!({ "cursor": cursor, "has_more": false, "items": [] }));

    simulator.clock().advance(Duration::from_mins(1));
    simulator.push(Feed::AuditEvents, &event("next", simulator.clock().now()));
    let next = client.page(Feed::AuditEvents, json!({ "cursor": cursor })).await;
    assert_eq!(next.uuids(), ["next"]);
    assert_ne!(next.cursor(), cursor);
}

#[tokio::test]
async fn an_empty_feed_has_a_cursor_that_tails() {
    let (simulator, client) = empty().await;
    let first = client.page(Feed::AuditEvents, json!({})).await;
    assert_eq!(first.uuids(), [""; 0]);

    simulator.clock().advance(Duration::from_secs(5));
    simulator.push(Feed::AuditEvents, &event("one", simulator.clock().now()));

    let next = client.page(Feed::AuditEvents, json!({ "cursor": first.cursor() })).await;
    assert_eq!(next.uuids(), ["one"]);
}

#[tokio::test]
async fn a_page_asked_for_again_has_grown() {
    let (simulator, client) = empty().await;
    push_numbered(&simulator, 2);
    let body = json!({ "limit": 10, "start_time": "2026-11-01T00:00:00Z" });
    assert_eq!(client.page(Feed::AuditEvents, body.clone()).await.uuids().len(), 2);

    simulator.push(Feed::AuditEvents, &event("9", simulator.clock().now()));

    assert_eq!(client.page(Feed::AuditEvents, body).await.uuids(), ["0", "1", "9"]);
}

#[tokio::test]
async fn late_events_are_missed_or_come_last() {
    for (sort, expected) in [(SortOrder::EventTime, &[][..]), (SortOrder::InsertionTime, &["late"])]
    {
        let options = Options { events: Counts::NONE, sort, ..Options::default() };
        let (simulator, client) = start(options).await;
        let now = simulator.clock().now();
        let hour = SignedDuration::from_hours(1);
        let late = event("late", now - hour).visible_at(now + hour);
        simulator.push(Feed::ItemUsages, &event("early", now));
        simulator.push(Feed::ItemUsages, &late);
        let (seen, cursor) = client.drain(Feed::ItemUsages, everything(10)).await;
        assert_eq!(seen, ["early"]);

        simulator.clock().advance(Duration::from_hours(2));

        let (next, _) = client.drain(Feed::ItemUsages, json!({ "cursor": cursor })).await;
        assert_eq!(next, expected);
        assert_eq!(client.drain(Feed::ItemUsages, everything(10)).await.0.len(), 2);
    }
}

#[tokio::test]
async fn defaults_are_a_hundred_events_of_the_last_hour() {
    let (simulator, client) = empty().await;
    let now = simulator.clock().now();
    let hour = SignedDuration::from_hours(1);
    let before = event("before", now - hour - SignedDuration::from_millis(1));
    simulator.push(Feed::AuditEvents, &before);
    simulator.push(Feed::AuditEvents, &event("included", now - hour));
    push_numbered(&simulator, 120);

    let page = client.page(Feed::AuditEvents, json!({})).await;

    assert_eq!(page.uuids().len(), 100);
    assert_eq!(page.uuids()[0], "included");
    assert_eq!(page.json()["has_more"], true);
}

#[tokio::test]
async fn the_end_time_is_excluded_and_stays_in_the_cursor() {
    let (simulator, client) = empty().await;
    push_numbered(&simulator, 5);
    let end = simulator.clock().now() - SignedDuration::from_secs(2);
    let first = json!({ "limit": 2, "start_time": "2026-11-01T00:00:00Z", "end_time": end });

    let (seen, cursor) = client.drain(Feed::AuditEvents, first).await;
    assert_eq!(seen, ["0", "1", "2"]);

    simulator.clock().advance(Duration::from_mins(1));
    simulator.push(Feed::AuditEvents, &event("after", simulator.clock().now()));
    let (later, _) = client.drain(Feed::AuditEvents, json!({ "cursor": cursor })).await;
    assert_eq!(later, [""; 0]);
}

#[tokio::test]
async fn retention_leaves_out_old_events_without_a_word() {
    let (simulator, client) = empty().await;
    let now = simulator.clock().now();
    let days = |days: i64| SignedDuration::from_hours(24 * days);
    simulator.push(Feed::AuditEvents, &event("gone", now - days(121)));
    simulator.push(Feed::AuditEvents, &event("kept", now - days(119)));
    simulator.push(Feed::AuditEvents, &event("new", now));

    let page = client.page(Feed::AuditEvents, everything(1)).await;
    assert_eq!(page.uuids(), ["kept"]);

    // A cursor that was away too long goes on at the oldest that is left.
    simulator.clock().advance(Duration::from_hours(24 * 121));
    simulator.push(Feed::AuditEvents, &event("newest", simulator.clock().now()));
    let page = client.page(Feed::AuditEvents, json!({ "cursor": page.cursor() })).await;
    assert_eq!(page.uuids(), ["newest"]);
}

#[tokio::test]
async fn malformed_requests_are_answered_400_in_the_style_of_the_version() {
    let (simulator, client) = empty().await;
    let other = client.page(Feed::ItemUsages, json!({})).await.cursor();
    let other = json!({ "cursor": other }).to_string();
    for body in ["", "nonsense", r#"{"limit":1001}"#, r#"{"limit":0}"#, r#"{"cursor":"x"}"#, &other]
    {
        let v1 = client.post("/api/v1/auditevents", body).await;
        let v2 = client.post(AUDIT, body).await;

        assert_eq!((v1.status, v2.status), (400, 400), "{body}");
        assert_eq!(v1.text, r#"{"Error":{"Message":"Bad Request"}}"#);
        assert_eq!(v2.json(), json!({ "status": 400, "message": "Bad Request" }));
    }
    drop(simulator);
}

#[tokio::test]
async fn error_bodies_can_have_any_style() {
    for (style, body) in [
        (ErrorStyle::Text, "Bad Request"),
        (ErrorStyle::Empty, ""),
        (ErrorStyle::Nested, r#"{"Error":{"Message":"Bad Request"}}"#),
    ] {
        let options =
            Options { events: Counts::NONE, error_style: Some(style), ..Options::default() };
        let (_simulator, client) = start(options).await;
        assert_eq!(client.post(AUDIT, "").await.text, body);
    }
}

#[tokio::test]
async fn tokens_need_a_signature_a_scope_and_time_left() {
    let (simulator, client) = empty().await;
    let now = simulator.clock().now();
    let soon = now + SignedDuration::from_mins(1);
    let sign_ins = TokenSpec { feeds: vec![Feed::SignInAttempts], ..TokenSpec::default() };
    let expired = TokenSpec { expires_at: Some(now), ..TokenSpec::default() };
    let expiring = TokenSpec { expires_at: Some(soon), ..TokenSpec::default() };
    let stranger = TokenSpec { account: 9, ..TokenSpec::default() };
    let audience = Some(vec![OLD_AUDIENCE.to_owned()]);
    let old = TokenSpec { audience, ..TokenSpec::default() };
    let status = async |token: String| {
        Client::of(&simulator).with_token(token).post(AUDIT, "{}").await.status
    };

    assert_eq!(status(simulator.mint(&sign_ins)).await, 401);
    assert_eq!(status(simulator.mint(&expired)).await, 401);
    assert_eq!(status(simulator.mint(&stranger)).await, 401);
    assert_eq!(status(simulator.token()[..100].to_owned()).await, 401);
    assert_eq!(status(String::new()).await, 401);
    assert_eq!(status(simulator.mint(&old)).await, 200);

    let expiring = simulator.mint(&expiring);
    assert_eq!(status(expiring.clone()).await, 200);
    simulator.clock().advance(Duration::from_mins(1));
    assert_eq!(status(expiring).await, 401);

    simulator.revoke(simulator.token());
    let refused = client.post(AUDIT, "{}").await;
    assert_eq!(refused.status, 401);
    assert_eq!(refused.json(), json!({ "status": 401, "message": "Unauthorized access" }));
}

#[tokio::test]
async fn introspection_tells_what_a_token_is() {
    let (simulator, client) = empty().await;
    let spec = TokenSpec { feeds: vec![Feed::ItemUsages], ..TokenSpec::default() };
    let client = client.with_token(simulator.mint(&spec));

    let v1 = client.get("/api/auth/introspect").await.json();
    let v2 = client.get("/api/v2/auth/introspect").await.json();

    assert_eq!(v2["features"], json!(["itemusages"]));
    assert_eq!(v2["account_uuid"], simulator.account(0).unwrap().uuid());
    assert_eq!(v2["issued_at"], "2026-11-20T12:00:00Z");
    let in_v1 = json!({
        "UUID": v2["uuid"], "IssuedAt": v2["issued_at"], "Features": v2["features"],
    });
    assert_eq!(v1, in_v1);
}

#[tokio::test]
async fn unknown_paths_are_404_in_plain_text() {
    let (_simulator, client) = empty().await;
    for path in ["/", "/api/v1/introspect", "/api/v3/auditevents", "/api/v2/auditevents/"] {
        let reply = client.get(path).await;
        assert_eq!((reply.status, reply.text.as_str()), (404, "404 page not found\n"), "{path}");
        assert_eq!(reply.headers["content-type"], "text/plain; charset=utf-8");
    }
    assert_eq!(client.get(AUDIT).await.status, 405);
}

#[tokio::test]
async fn answers_are_dated_by_the_clock() {
    let (simulator, client) = empty().await;
    simulator.clock().set("2027-01-02T03:04:05Z".parse().unwrap());

    assert_eq!(client.get("/").await.headers["date"], "Sat, 02 Jan 2027 03:04:05 GMT");
    assert_eq!(
        client.page(Feed::AuditEvents, json!({})).await.headers["date"],
        "Sat, 02 Jan 2027 03:04:05 GMT"
    );
}

#[tokio::test]
async fn the_rate_limit_counts_by_account_and_window() {
    for (style, header) in [
        (None, None),
        (Some(RetryAfter::Seconds), Some("60")),
        (Some(RetryAfter::HttpDate), Some("Fri, 20 Nov 2026 12:01:00 GMT")),
        (Some(RetryAfter::Garbage), Some("in a moment")),
    ] {
        let (simulator, client) = start(Options {
            events: Counts::NONE,
            rate_limit: Some(RateLimit { per_minute: 2, per_hour: 100 }),
            retry_after: style,
            ..Options::default()
        })
        .await;
        let other = Client::of(&simulator).with_token(simulator.account(1).unwrap().token());
        assert_eq!(client.post(AUDIT, "{}").await.status, 200);
        assert_eq!(client.get("/api/v2/auth/introspect").await.status, 200);

        let refused = client.post("/api/v2/itemusages", "{}").await;

        assert_eq!(refused.status, 429);
        let retry_after = refused.headers.get("retry-after").map(|value| value.to_str().unwrap());
        assert_eq!(retry_after, header);
        assert_eq!(other.post(AUDIT, "{}").await.status, 200);
        simulator.clock().advance(Duration::from_mins(1));
        assert_eq!(client.post(AUDIT, "{}").await.status, 200);
    }
}

#[tokio::test]
async fn the_same_seed_gives_the_same_bytes_and_cursors() {
    let options = Options { events: Counts::of_total(500), ..Options::default() };
    let (_one, first) = start(options.clone()).await;
    let (_other, second) = start(options).await;

    for feed in Feed::ALL {
        let one = first.page(feed, everything(50)).await;
        assert_eq!(one.text, second.page(feed, everything(50)).await.text);
        // A cursor of one is as good with the other: nothing is kept.
        let next = json!({ "cursor": one.cursor() });
        let after = second.page(feed, next.clone()).await;
        assert_eq!(first.page(feed, next).await.text, after.text);
    }
}

#[tokio::test]
async fn accounts_have_events_and_cursors_of_their_own() {
    let (simulator, client) = start(Options::default()).await;
    let second = simulator.account(1).unwrap();
    let other = Client::of(&simulator).with_token(second.token());

    let (mine, cursor) = client.drain(Feed::AuditEvents, everything(1000)).await;
    let (theirs, _) = other.drain(Feed::AuditEvents, everything(1000)).await;

    assert_eq!(theirs, uuids(&second.oracle(Feed::AuditEvents)));
    let mine: BTreeSet<_> = mine.into_iter().collect();
    assert!(theirs.iter().all(|uuid| !mine.contains(uuid)));
    let body = json!({ "cursor": cursor }).to_string();
    assert_eq!(other.post(AUDIT, &body).await.status, 400);
    assert!(simulator.account(2).is_none());
}

#[tokio::test]
async fn v1_leaves_out_exactly_what_only_v2_has() {
    let (_simulator, client) = start(Options::default()).await;
    for feed in Feed::ALL {
        let body = everything(1000).to_string();
        let v1 = client.post(&format!("/api/v1/{feed}"), &body).await.json();
        let mut v2 = client.page(feed, everything(1000)).await.json();
        assert_ne!(v1["items"], v2["items"]);
        for item in v2["items"].as_array_mut().unwrap() {
            let item = item.as_object_mut().unwrap();
            for key in ["account_uuid", "actor_type", "actor_account_uuid"] {
                item.remove(key);
            }
            for user in ["user", "target_user", "actor_details"] {
                if let Some(user) = item.get_mut(user) {
                    let user = user.as_object_mut().unwrap();
                    user.retain(|key, _| ["uuid", "name", "email"].contains(&key.as_str()));
                }
            }
        }
        assert_eq!(v1["items"], v2["items"]);
    }
}

#[tokio::test]
async fn injected_bytes_come_back_unchanged() {
    let (simulator, client) = empty().await;
    let now = simulator.clock().now();
    let items = [
        "{ \"uuid\" : \"A\" ,\r\n\t\"timestamp\":\"not a time\" }",
        "{\"uuid\":\"N\",\"n\":1e400,\"n\":-0.0}",
        "[1, 2]",
        "null",
        "\"text with \u{2028} in it\"",
        "{\"uuid\":\"A\",\"timestamp\":\"9999-12-31T23:59:59.999999999Z\"}",
        "{\"uuid\":\"A\"}",
    ];
    for item in items {
        simulator.push(Feed::AuditEvents, &Event::new(item).at(now));
    }

    let mut seen = Vec::new();
    let mut body = everything(1);
    for _ in items {
        let page = client.page(Feed::AuditEvents, body).await;
        let (_, rest) = page.text.split_once("\"items\":[").unwrap();
        seen.push(rest.strip_suffix("]}").unwrap().to_owned());
        // Not every JSON parser reads these items.
        let (cursor, _) = page.text["{\"cursor\":\"".len()..].split_once('"').unwrap();
        body = json!({ "cursor": cursor });
    }

    seen.sort();
    let mut expected = items.map(str::to_owned);
    expected.sort();
    assert_eq!(seen, expected);
    let returned = uuids(&simulator.returned(Feed::AuditEvents));
    assert_eq!(returned, ["", "", "", "A", "A", "A", "N"]);
}

#[tokio::test]
async fn an_event_without_a_usable_time_is_positioned_by_the_clock() {
    let (simulator, client) = empty().await;
    simulator.push(Feed::AuditEvents, &Event::new("{\"uuid\":\"B\",\"timestamp\":null}"));
    let future = "{\"uuid\":\"F\",\"timestamp\":\"9999-12-31T00:00:00+00:00\"}";
    simulator.push(Feed::AuditEvents, &Event::new(future));

    assert_eq!(client.page(Feed::AuditEvents, json!({})).await.uuids(), ["B", "F"]);
    assert_eq!(simulator.oracle(Feed::AuditEvents)[0].timestamp, simulator.clock().now());
}

#[tokio::test]
async fn the_log_tells_what_was_asked_and_answered() {
    let (simulator, client) = empty().await;
    push_numbered(&simulator, 3);
    let request = client.http.post(format!("{}{AUDIT}", client.url)).body(r#"{"limit":2}"#);
    client.send(request.header("user-agent", "probe/1")).await.unwrap();
    client.get("/nowhere").await;

    let log = simulator.requests();

    assert_eq!(log.len(), 2);
    assert_eq!(log[0].method, "POST");
    assert_eq!(log[0].feed, Some(Feed::AuditEvents));
    assert_eq!(log[0].user_agent.as_deref(), Some("probe/1"));
    assert_eq!(log[0].body, r#"{"limit":2}"#);
    assert_eq!((log[0].status, log[0].items), (Some(200), 2));
    assert!(log[0].token_id.is_some());
    assert_eq!((log[1].path.as_str(), log[1].status), ("/nowhere", Some(404)));
    simulator.clear_requests();
    assert!(simulator.requests().is_empty());
}

#[tokio::test]
async fn status_faults_come_with_the_body_and_header_they_name() {
    let (simulator, client) = empty().await;
    let status = |status, style, retry_after: Option<&str>| {
        let retry_after = retry_after.map(str::to_owned);
        Rule::new(When::Next(1), Effect::Status { status, style, retry_after })
    };

    simulator.faults().add(status(503, Some(ErrorStyle::Proxy), None));
    let reply = client.post(AUDIT, "{}").await;
    assert_eq!(reply.status, 503);
    assert!(reply.text.starts_with("upstream connect error"));

    simulator.faults().add(status(429, None, Some("7")));
    let reply = client.post(AUDIT, "{}").await;
    assert_eq!((reply.status, &reply.headers["retry-after"]), (429, &"7".parse().unwrap()));
    assert_eq!(reply.json()["status"], 429);

    let moved = "https://elsewhere.example/".to_owned();
    simulator.faults().add(Rule::new(When::Next(1), Effect::Redirect(moved.clone())));
    let reply = client.post(AUDIT, "{}").await;
    assert_eq!((reply.status, &reply.headers["location"]), (302, &moved.parse().unwrap()));

    assert_eq!(client.post(AUDIT, "{}").await.status, 200);
}

#[tokio::test]
async fn broken_transports_break() {
    let (simulator, client) = empty().await;
    push_numbered(&simulator, 500);
    let body = everything(1000).to_string();
    let next = |effect| simulator.faults().add(Rule::new(When::Next(1), effect));

    next(Effect::Reset);
    let error = client.try_post(AUDIT, &body).await.err().unwrap();
    assert!(error.is_request() || error.is_connect(), "{error:?}");
    assert_eq!(simulator.requests()[0].status, None);

    next(Effect::CutBody);
    let response = client.http.post(format!("{}{AUDIT}", client.url)).body(body.clone());
    let mut response = response.bearer_auth(&client.token).send().await.unwrap();
    let announced = response.content_length().unwrap();
    let mut received = 0;
    let error = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => received += chunk.len() as u64,
            Ok(None) => panic!("the body ended well"),
            Err(error) => break error,
        }
    };
    assert_eq!(received, announced / 2, "{error:?}");

    next(Effect::TruncatedJson);
    let reply = client.post(AUDIT, &body).await;
    assert_eq!(reply.status, 200);
    assert!(serde_json::from_str::<Value>(&reply.text).is_err());
    assert!(simulator.returned(Feed::AuditEvents).is_empty());

    next(Effect::Html);
    let reply = client.post(AUDIT, &body).await;
    assert_eq!((reply.status, &reply.text[..9]), (200, "<!DOCTYPE"));

    next(Effect::SlowHeaders(Duration::from_millis(30)));
    let started = std::time::Instant::now();
    assert_eq!(client.post(AUDIT, &body).await.uuids().len(), 500);
    assert!(started.elapsed() >= Duration::from_millis(30));

    next(Effect::SlowBody(Duration::from_millis(50)));
    let started = std::time::Instant::now();
    assert_eq!(client.post(AUDIT, &body).await.uuids().len(), 500);
    assert!(started.elapsed() >= Duration::from_millis(50));
}

#[tokio::test]
async fn odd_pages_lose_nothing() {
    let (simulator, client) = empty().await;
    push_numbered(&simulator, 4);
    let first = client.page(Feed::AuditEvents, everything(2)).await;
    let cursor = first.cursor();
    let ask = async |effect| {
        simulator.faults().add(Rule::new(When::Next(1), effect).feed(Feed::AuditEvents));
        let body = json!({ "cursor": cursor }).to_string();
        client.post(AUDIT, &body).await
    };

    let stays = ask(Effect::EmptyPage { moves: false }).await.json();
    assert_eq!(stays, json!({ "cursor": cursor, "has_more": true, "items": [] }));

    let moved = ask(Effect::EmptyPage { moves: true }).await;
    assert_eq!((moved.uuids().len(), &moved.json()["has_more"]), (0, &json!(true)));
    assert_ne!(moved.cursor(), cursor);
    let after = client.page(Feed::AuditEvents, json!({ "cursor": moved.cursor() })).await;
    assert_eq!(after.uuids(), ["2", "3"]);

    let null = ask(Effect::NullItems).await.json();
    assert_eq!(null, json!({ "cursor": cursor, "has_more": true, "items": null }));
    let missing = ask(Effect::NoItems).await.json();
    assert_eq!(missing, json!({ "cursor": cursor, "has_more": true }));

    let page = ask(Effect::NoCursor).await;
    assert_eq!((page.uuids().len(), page.json().get("cursor")), (2, None));
    let page = ask(Effect::NoHasMore).await;
    assert_eq!((page.uuids().len(), page.json().get("has_more")), (2, None));

    assert_eq!(ask(Effect::BadCursor).await.status, 400);
    assert_eq!(ask(Effect::DuplicateItem).await.uuids(), ["2", "3", "3"]);
    let again = ask(Effect::Rewind(1)).await;
    assert_eq!(again.uuids(), ["1", "2"]);
    let rest = client.page(Feed::AuditEvents, json!({ "cursor": again.cursor() })).await;
    assert_eq!(rest.uuids(), ["3"]);
}

#[tokio::test]
async fn pages_are_compressed_if_both_sides_want_it() {
    let options = Options { gzip: true, ..Options::default() };
    let (_simulator, client) = start(options).await;
    let plain = |name: &'static str| {
        let request = client.http.post(format!("{}{AUDIT}", client.url));
        request.body(everything(100).to_string()).header("accept-encoding", name)
    };

    // The client takes the length away with the encoding it undoes.
    let compressed = client
        .send(client.http.post(format!("{}{AUDIT}", client.url)).body(everything(100).to_string()))
        .await
        .unwrap();
    let identity = client.send(plain("identity")).await.unwrap();

    assert!(!compressed.headers.contains_key("content-length"));
    assert!(identity.headers.contains_key("content-length"));
    assert_eq!(compressed.text, identity.text);
}

#[tokio::test]
async fn the_control_plane_does_what_the_library_does() {
    let (simulator, client) = empty().await;
    let post = async |path: &str, body: Value| {
        let request = client.http.post(format!("{}/_sim/{path}", client.url));
        let request = request.header("content-type", "application/json").body(body.to_string());
        client.send(request).await.unwrap()
    };

    let item = r#"{ "uuid":"X" }"#;
    let pushed = post("events", json!({ "feed": "auditevents", "item": item })).await;
    assert_eq!(pushed.status, 204, "{}", pushed.text);
    let known = client.get("/_sim/oracle?feed=auditevents").await.json();
    assert_eq!((&known[0]["uuid"], &known[0]["item"]), (&json!("X"), &json!(item)));
    let returned = client.get("/_sim/oracle?feed=auditevents&returned=true").await.json();
    assert_eq!(returned, json!([]));

    let now = post("clock", json!({ "advance_seconds": 60 })).await.json();
    assert_eq!(now["now"], "2026-11-20T12:01:00Z");
    assert_eq!(simulator.clock().now().to_string(), "2026-11-20T12:01:00Z");

    let rule = json!([{ "when": "always", "effect": { "status": { "status": 500 } } }]);
    assert_eq!(post("faults", rule).await.status, 204);
    assert_eq!(client.post(AUDIT, "{}").await.status, 500);
    let cleared = client.send(client.http.delete(format!("{}/_sim/faults", client.url))).await;
    assert_eq!(cleared.unwrap().status, 204);
    assert_eq!(client.post(AUDIT, "{}").await.uuids(), ["X"]);

    let minted = post("token", json!({ "feeds": ["itemusages"] })).await.json();
    let token = minted["token"].as_str().unwrap();
    let other = Client::of(&simulator).with_token(token);
    assert_eq!(other.post("/api/v2/itemusages", "{}").await.status, 200);
    assert_eq!(post("revoke", json!({ "token": token })).await.status, 204);
    assert_eq!(other.post("/api/v2/itemusages", "{}").await.status, 401);

    let log = client.get("/_sim/requests").await.json();
    assert_eq!(log.as_array().unwrap().len(), 4);
    let wrong = post("clock", json!({ "set": "yesterday" })).await;
    assert_eq!(wrong.status, 400);
    assert!(wrong.json()["error"].as_str().unwrap().contains("set"));
    assert_eq!(client.get("/_sim/oracle?feed=auditevents&account=9").await.status, 400);
}

#[tokio::test]
async fn after_a_shutdown_the_port_is_free() {
    let (simulator, client) = empty().await;
    let listen = simulator.url()["http://".len()..].parse().unwrap();
    client.post(AUDIT, "{}").await;
    drop(client);

    simulator.shutdown().await;

    let (_again, client) =
        start(Options { events: Counts::NONE, listen, ..Options::default() }).await;
    assert_eq!(client.post(AUDIT, "{}").await.status, 200);
}
