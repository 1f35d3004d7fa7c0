//! What a run did, for the caller, the log and the metrics.

use jiff::Timestamp;
use serde::Serialize;

use crate::events_api::Page;
use crate::feed::{AccountName, Feed, Stream};
use crate::lake::{Double, Unreadable};
use crate::window::Window;

/// How the collection of a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Everything that the API had is committed.
    Collected,
    /// The API had nothing new.
    Idle,
    /// There is more, which the next run collects.
    Partial,
    /// Another run collects this stream; it has everything that this one had.
    Superseded,
    /// The token was not issued for this feed.
    Skipped,
    /// The lake lacks events, or holds some twice.
    Damaged,
    /// There is no token yet.
    NoToken,
    /// See the error. What was committed before it stays.
    Failed,
}

impl Outcome {
    /// Stable name, as in logs and summaries.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Collected => "collected",
            Self::Idle => "idle",
            Self::Partial => "partial",
            Self::Superseded => "superseded",
            Self::Skipped => "skipped",
            Self::Damaged => "damaged",
            Self::NoToken => "no_token",
            Self::Failed => "failed",
        }
    }
}

/// An error as it leaves the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Stable name.
    pub code: &'static str,
    /// What is wrong and what to do.
    pub message: String,
}

/// What a run did with one stream.
#[derive(Debug, Clone, Serialize)]
pub struct StreamReport {
    /// The operator's name of the account.
    pub account: AccountName,
    /// The feed.
    pub feed: Feed,
    /// How it ended.
    pub outcome: Outcome,
    /// Events committed.
    pub events: u64,
    /// Objects published.
    pub objects: u64,
    /// Compressed bytes published.
    pub bytes: u64,
    /// Pages received.
    pub pages: u64,
    /// Milliseconds that the API took to answer with them, one after the other.
    pub wait_ms: u64,
    /// Events that were known already.
    pub duplicates: u64,
    /// Records put into quarantine.
    pub quarantined: u64,
    /// Events committed that lie more than ten minutes ahead of the API's clock.
    pub future_events: u64,
    /// Events committed with a field or an action that this version does not
    /// know.
    pub unfamiliar_events: u64,
    /// Events that the tail had missed, committed by re-reading a window.
    pub late_events: u64,
    /// What the API no longer keeps and nobody collected, found by this run.
    pub gap: Option<Window>,
    /// The stream is complete up to this time.
    pub complete_until: Option<Timestamp>,
    /// Seconds since then, at the start of the run for a stream that was not
    /// read to its end.
    pub lag_seconds: Option<i64>,
    /// What a verification found; `None` if this run was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub findings: Option<Findings>,
    /// Why it failed.
    pub error: Option<Failure>,
}

/// An event that the API has and the lake lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// Its `uuid`, if it has one.
    pub uuid: Option<String>,
    /// Its `timestamp`.
    pub time: Timestamp,
}

/// What is wrong with a window of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// Events of the API that were compared.
    pub compared: u64,
    /// Events that the lake lacks.
    pub missing: Vec<Missing>,
    /// Objects that hold events which another object holds too.
    pub double: Vec<Double>,
    /// Objects that cannot be read.
    pub unreadable: Vec<Unreadable>,
}

impl Findings {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.missing.is_empty() && self.double.is_empty() && self.unreadable.is_empty()
    }
}

impl StreamReport {
    pub(crate) fn new(stream: &Stream) -> Self {
        Self {
            account: stream.account.clone(),
            feed: stream.feed,
            outcome: Outcome::Failed,
            events: 0,
            objects: 0,
            bytes: 0,
            pages: 0,
            wait_ms: 0,
            duplicates: 0,
            quarantined: 0,
            future_events: 0,
            unfamiliar_events: 0,
            late_events: 0,
            gap: None,
            complete_until: None,
            lag_seconds: None,
            findings: None,
            error: None,
        }
    }

    pub(crate) fn note_page(&mut self, page: &Page) {
        self.pages += 1;
        self.wait_ms += u64::try_from(page.took.as_millis()).unwrap_or(u64::MAX);
    }

    /// The stream.
    #[must_use]
    pub fn stream(&self) -> Stream {
        Stream { account: self.account.clone(), feed: self.feed }
    }
}

/// What a run did.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// One for each stream, in order of account and feed.
    pub streams: Vec<StreamReport>,
    /// Days until the first token expires; `None` if none does.
    pub token_days_left: Option<i64>,
}

impl Report {
    /// The streams that failed.
    pub fn failures(&self) -> impl Iterator<Item = (&StreamReport, &Failure)> {
        self.streams.iter().filter_map(|stream| Some((stream, stream.error.as_ref()?)))
    }
}
