//! The requests the simulator has answered.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde::Serialize;

use crate::feed::Feed;

/// A demo may run for days: beyond this many requests the oldest are dropped.
const CAPACITY: usize = 100_000;

/// A request and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RequestRecord {
    /// When it came, by the simulator's clock.
    pub at: Timestamp,
    /// The method.
    pub method: String,
    /// The path, with its query.
    pub path: String,
    /// The feed asked for, if the path is a feed's.
    pub feed: Option<Feed>,
    /// The `User-Agent` header.
    pub user_agent: Option<String>,
    /// The `Content-Type` header.
    pub content_type: Option<String>,
    /// The `Accept-Encoding` header.
    pub accept_encoding: Option<String>,
    /// The `jti` of its token, if that was valid.
    pub token_id: Option<String>,
    /// The body.
    pub body: String,
    /// The status answered; `None` if the connection was reset instead.
    pub status: Option<u16>,
    /// Number of items in the page answered.
    pub items: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Log(VecDeque<RequestRecord>);

impl Log {
    pub(crate) fn push(&mut self, record: RequestRecord) {
        if self.0.len() == CAPACITY {
            self.0.pop_front();
        }
        self.0.push_back(record);
    }

    pub(crate) fn records(&self) -> Vec<RequestRecord> {
        self.0.iter().cloned().collect()
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}
