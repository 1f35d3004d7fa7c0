//! How a simulator is set up.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::clock::ClockMode;
use crate::feed::Feed;

/// Everything that decides what a simulator serves and how.
///
/// The default serves two accounts with 3,000 events each, on a free port, with
/// a frozen clock and no rate limit.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Options {
    /// Where the generated data starts from. The same options with the same
    /// seed give the same bytes.
    pub seed: u64,
    /// Address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What the clock shows at the start, and where the history ends.
    pub now: Timestamp,
    /// Whether the clock then runs.
    pub clock: ClockMode,
    /// Number of accounts, each with a company, events and tokens of its own.
    pub accounts: usize,
    /// Events generated for each account.
    pub events: Counts,
    /// Days of history before `now` that the events are spread over.
    pub days: u32,
    /// Days after `now` that they are spread over too. Such events appear as
    /// the clock passes them.
    pub days_ahead: u32,
    /// Whether generated events arrive after they happened: most within
    /// seconds, item usages up to three days later. Otherwise each is visible
    /// from its own timestamp.
    pub late_arrivals: bool,
    /// What events are sorted, positioned and filtered by.
    pub sort: SortOrder,
    /// How `has_more` is worked out.
    pub has_more: HasMore,
    /// Events in a page at most, whatever is asked for.
    pub max_page: usize,
    /// Age in days from which events are no longer returned.
    pub retention_days: u32,
    /// Whether a cursor of another feed or account is refused with 400.
    pub bind_cursors: bool,
    /// Requests allowed per account; `None` allows any number.
    pub rate_limit: Option<RateLimit>,
    /// The `Retry-After` of a 429; `None` sends none, as the real service.
    pub retry_after: Option<RetryAfter>,
    /// Shape of error bodies; `None` is [`Nested`](ErrorStyle::Nested) on v1
    /// paths and [`Flat`](ErrorStyle::Flat) elsewhere.
    pub error_style: Option<ErrorStyle>,
    /// Real time waited before every answer.
    pub latency: Duration,
    /// Whether pages are compressed for clients that accept gzip.
    pub gzip: bool,
    /// Whether to keep the log of requests and of returned events. Benchmarks
    /// switch it off.
    pub record: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 1,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            now: Timestamp::constant(1_795_176_000, 0), // 2026-11-20T12:00:00Z
            clock: ClockMode::Frozen,
            accounts: 2,
            events: Counts::of_total(3000),
            days: 30,
            days_ahead: 0,
            late_arrivals: false,
            sort: SortOrder::EventTime,
            has_more: HasMore::Exact,
            max_page: 1000,
            retention_days: 120,
            bind_cursors: true,
            rate_limit: None,
            retry_after: None,
            error_style: None,
            latency: Duration::ZERO,
            gzip: false,
            record: true,
        }
    }
}

/// Events to generate, by feed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sign-in attempts.
    pub sign_in_attempts: usize,
    /// Item usages.
    pub item_usages: usize,
    /// Audit events.
    pub audit_events: usize,
}

impl Counts {
    /// No events: the test pushes its own.
    pub const NONE: Self = Self { sign_in_attempts: 0, item_usages: 0, audit_events: 0 };

    /// `total` events in the proportions of an ordinary company.
    #[must_use]
    pub const fn of_total(total: usize) -> Self {
        let sign_in_attempts = total * 18 / 100;
        let audit_events = total / 5;
        let item_usages = total - sign_in_attempts - audit_events;
        Self { sign_in_attempts, item_usages, audit_events }
    }

    /// The number of events of `feed`.
    #[must_use]
    pub const fn get(self, feed: Feed) -> usize {
        match feed {
            Feed::SignInAttempts => self.sign_in_attempts,
            Feed::ItemUsages => self.item_usages,
            Feed::AuditEvents => self.audit_events,
        }
    }
}

/// What a position in a feed is made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SortOrder {
    /// The event's own time. A late event lands behind cursors that have
    /// passed it, and they never see it.
    #[default]
    EventTime,
    /// The time the event became visible, which is also what `start_time` and
    /// `end_time` then mean. A late event comes last.
    InsertionTime,
}

/// How `has_more` is worked out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HasMore {
    /// True if an event would follow.
    #[default]
    Exact,
    /// True if the page is full, so that a stream which ends with a full page
    /// says true once too often.
    FullPage,
}

/// Requests allowed per account in fixed windows of the simulator's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests per minute.
    pub per_minute: u32,
    /// Requests per hour.
    pub per_hour: u32,
}

impl RateLimit {
    /// The documented limits: 600 a minute, 30,000 an hour.
    pub const DOCUMENTED: Self = Self { per_minute: 600, per_hour: 30_000 };
}

/// How a 429 says when to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryAfter {
    /// Seconds until the window resets.
    Seconds,
    /// The date at which it resets.
    HttpDate,
    /// A text that is neither.
    Garbage,
}

/// Shape of an error body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorStyle {
    /// `{"Error":{"Message":"…"}}`
    Nested,
    /// `{"status":400,"message":"…"}`
    Flat,
    /// The message as plain text.
    Text,
    /// What the proxy in front of the service says when it cannot reach it.
    Proxy,
    /// Nothing.
    Empty,
    /// A page for people.
    Html,
}
