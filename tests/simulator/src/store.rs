//! The events of one feed of one account.
//!
//! An event's bytes are stored once, in one buffer, and never changed: a page
//! is copied together from slices. What is visible is kept in the order the
//! API returns it; what is not yet waits apart, so that asking at the end of a
//! feed costs the same however much is still to come.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::ops::Range;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::options::SortOrder;
use crate::oracle::Known;

/// Where an event stands in its feed. No two events share a position: the
/// serial parts even those with the same time and uuid, so that hostile events
/// without one are neither lost nor repeated at the edge of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "(i64, String, u32)", from = "(i64, String, u32)")]
pub(crate) struct Position {
    pub(crate) ms: i64,
    pub(crate) tie: [u8; 26],
    pub(crate) serial: u32,
}

impl From<Position> for (i64, String, u32) {
    fn from(position: Position) -> Self {
        let tie = position.tie.iter().take_while(|&&byte| byte != 0);
        (position.ms, tie.map(|&byte| char::from(byte)).collect(), position.serial)
    }
}

impl From<(i64, String, u32)> for Position {
    fn from((ms, tie, serial): (i64, String, u32)) -> Self {
        Self { ms, tie: tie_breaker(&tie), serial }
    }
}

/// The first 26 bytes of `uuid`, padded with zeros.
fn tie_breaker(uuid: &str) -> [u8; 26] {
    let mut tie = [0; 26];
    for (to, from) in tie.iter_mut().zip(uuid.bytes()) {
        *to = if from.is_ascii_graphic() { from } else { b'?' };
    }
    tie
}

/// A part of an event that v1 answers leave out, relative to its start.
pub(crate) type Cut = Range<u16>;

/// An event on its way into a [`Store`].
#[derive(Debug)]
pub(crate) struct Incoming<'a> {
    pub(crate) uuid: &'a str,
    pub(crate) at: Timestamp,
    pub(crate) visible_at: Timestamp,
    /// In ascending order; empty ranges cut nothing.
    pub(crate) v2_only: [Cut; 2],
}

#[derive(Debug, Clone)]
struct Entry {
    position: Position,
    at: Timestamp,
    visible_at: Timestamp,
    start: usize,
    len: u32,
    v2_only: [Cut; 2],
}

/// Which events a request asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Query {
    /// Earliest time, included.
    pub(crate) start: Timestamp,
    /// Latest time, excluded.
    pub(crate) end: Option<Timestamp>,
    pub(crate) after: Option<Position>,
    pub(crate) limit: usize,
    /// How many events before the position to begin at, for the fault that
    /// resets a cursor.
    pub(crate) rewind: usize,
    pub(crate) now: Timestamp,
}

/// What a query found, as indices into the store.
#[derive(Debug)]
pub(crate) struct Selection {
    pub(crate) picks: Vec<usize>,
    /// Whether another event would follow.
    pub(crate) more: bool,
}

/// Which form of the events to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    V1,
    V2,
}

#[derive(Debug)]
pub(crate) struct Store {
    sort: SortOrder,
    bytes: Vec<u8>,
    /// In the order of their positions.
    visible: Vec<Entry>,
    /// Last to become visible first, once `settle` has run.
    waiting: Vec<Entry>,
    in_order: bool,
    /// By serial.
    returned: Vec<bool>,
}

impl Store {
    pub(crate) fn new(sort: SortOrder, events: usize, bytes: usize) -> Self {
        Self {
            sort,
            bytes: Vec::with_capacity(bytes),
            visible: Vec::new(),
            waiting: Vec::with_capacity(events),
            in_order: true,
            returned: Vec::with_capacity(events),
        }
    }

    /// The buffer's end, for [`add_written`](Self::add_written) to add.
    pub(crate) const fn writer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Adds an event whose bytes are given.
    pub(crate) fn add(&mut self, event: &Incoming<'_>, bytes: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.add_written(event, start);
    }

    /// Adds an event whose bytes have been written from `start` to the end of
    /// the buffer.
    pub(crate) fn add_written(&mut self, event: &Incoming<'_>, start: usize) {
        let ms = match self.sort {
            SortOrder::EventTime => event.at.as_millisecond(),
            SortOrder::InsertionTime => event.visible_at.as_millisecond(),
        };
        let serial = u32::try_from(self.returned.len()).unwrap_or(u32::MAX);
        self.returned.push(false);
        self.in_order = false;
        self.waiting.push(Entry {
            position: Position { ms, tie: tie_breaker(event.uuid), serial },
            at: event.at,
            visible_at: event.visible_at,
            start,
            len: u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX),
            v2_only: event.v2_only.clone(),
        });
    }

    /// Moves what has become visible by `now` to its place.
    pub(crate) fn settle(&mut self, now: Timestamp) {
        if !self.in_order {
            self.waiting.sort_by_key(|entry| Reverse(entry.visible_at));
            self.in_order = true;
        }
        let keep = self.waiting.partition_point(|entry| entry.visible_at > now);
        let Some(first) = self.waiting[keep..].iter().map(|entry| entry.position).min() else {
            return;
        };
        // Only what lies behind the first newcomer can be out of order.
        let tail = self.visible.partition_point(|entry| entry.position < first);
        self.visible.extend(self.waiting.drain(keep..).rev());
        self.visible[tail..].sort_by_key(|entry| entry.position);
    }

    pub(crate) fn select(&self, query: &Query) -> Selection {
        // The index knows milliseconds, so bounds are compared as such.
        let start = query.start.as_millisecond();
        let floor = self.visible.partition_point(|entry| entry.position.ms < start);
        let next = query.after.map_or(floor, |after| {
            self.visible.partition_point(|entry| entry.position <= after).max(floor)
        });
        let next = next.saturating_sub(query.rewind).max(floor);
        let end = query.end.map_or(i64::MAX, Timestamp::as_millisecond);

        let mut picks = Vec::with_capacity(query.limit.min(self.visible.len() - next));
        for (index, entry) in self.visible.iter().enumerate().skip(next) {
            if entry.position.ms >= end {
                break;
            }
            // A clock that was set back hides what it had shown.
            if entry.visible_at > query.now {
                continue;
            }
            if picks.len() == query.limit {
                return Selection { picks, more: true };
            }
            picks.push(index);
        }
        Selection { picks, more: false }
    }

    pub(crate) fn position(&self, pick: usize) -> Position {
        self.visible[pick].position
    }

    /// Writes the picked events, parted by commas.
    pub(crate) fn write_items(&self, picks: &[usize], version: Version, out: &mut Vec<u8>) {
        out.reserve(picks.iter().map(|&pick| self.visible[pick].len as usize + 1).sum());
        for (nth, &pick) in picks.iter().enumerate() {
            if nth > 0 {
                out.push(b',');
            }
            let entry = &self.visible[pick];
            let bytes = self.slice(entry);
            let mut from = 0;
            if version == Version::V1 {
                for cut in &entry.v2_only {
                    if !cut.is_empty() {
                        out.extend_from_slice(&bytes[from..usize::from(cut.start)]);
                        from = usize::from(cut.end);
                    }
                }
            }
            out.extend_from_slice(&bytes[from..]);
        }
    }

    pub(crate) fn mark_returned(&mut self, picks: &[usize]) {
        for &pick in picks {
            self.returned[self.visible[pick].position.serial as usize] = true;
        }
    }

    /// Every event that is or becomes visible, in the order of the API.
    pub(crate) fn known(&self) -> Vec<Known> {
        let mut entries: Vec<_> = self.visible.iter().chain(&self.waiting).collect();
        entries.sort_by_key(|entry| entry.position);
        entries.into_iter().map(|entry| self.describe(entry)).collect()
    }

    /// The events that were part of a complete answer, in the same order.
    pub(crate) fn returned(&self) -> Vec<Known> {
        let was_returned = |entry: &&Entry| self.returned[entry.position.serial as usize];
        self.visible.iter().filter(was_returned).map(|entry| self.describe(entry)).collect()
    }

    fn slice(&self, entry: &Entry) -> &[u8] {
        &self.bytes[entry.start..entry.start + entry.len as usize]
    }

    fn describe(&self, entry: &Entry) -> Known {
        let bytes = self.slice(entry);
        // Generated events begin with their uuid; others have to be parsed.
        let uuid = bytes.get(9..35).filter(|uuid| *uuid == entry.position.tie);
        let uuid = uuid.and_then(|uuid| str::from_utf8(uuid).ok()).map(str::to_owned);
        Known {
            uuid: uuid.unwrap_or_else(|| Head::of(bytes).uuid),
            timestamp: entry.at,
            visible_at: entry.visible_at,
            bytes: Bytes::copy_from_slice(bytes),
        }
    }
}

/// What an event says about itself, as far as it can be read.
#[derive(Debug, Default)]
pub(crate) struct Head {
    pub(crate) uuid: String,
    pub(crate) timestamp: Option<Timestamp>,
}

impl Head {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        // Raw values, so that one a stricter parser would refuse does not hide
        // the rest.
        let Ok(fields) = serde_json::from_slice::<HashMap<String, &RawValue>>(bytes) else {
            return Self::default();
        };
        let text = |key| serde_json::from_str::<String>(fields.get(key)?.get()).ok();
        Self {
            uuid: text("uuid").unwrap_or_default(),
            timestamp: text("timestamp").and_then(|text| text.parse().ok()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::new(second, 0).unwrap()
    }

    fn store(sort: SortOrder, events: &[(&str, i64, i64)]) -> Store {
        let mut store = Store::new(sort, 0, 0);
        for &(uuid, time, visible_at) in events {
            let event =
                Incoming { uuid, at: at(time), visible_at: at(visible_at), v2_only: [0..0, 0..0] };
            store.add(&event, uuid.as_bytes());
        }
        store
    }

    fn items(store: &mut Store, after: Option<Position>, now: i64) -> (String, Option<Position>) {
        store.settle(at(now));
        let query = Query { start: at(0), end: None, after, limit: 10, rewind: 0, now: at(now) };
        let picks = store.select(&query).picks;
        let mut out = Vec::new();
        store.write_items(&picks, Version::V2, &mut out);
        (String::from_utf8(out).unwrap(), picks.last().map(|&pick| store.position(pick)))
    }

    #[test]
    fn a_late_event_is_behind_a_cursor_sorted_by_event_time() {
        let events = [("a", 1, 1), ("late", 2, 9), ("c", 3, 3)];
        let mut store = store(SortOrder::EventTime, &events);

        let (first, position) = items(&mut store, None, 5);

        assert_eq!(first, "a,c");
        assert_eq!(items(&mut store, position, 10).0, "");
        assert_eq!(items(&mut store, None, 10).0, "a,late,c");
    }

    #[test]
    fn a_late_event_comes_last_sorted_by_insertion_time() {
        let events = [("a", 1, 1), ("late", 2, 9), ("c", 3, 3)];
        let mut store = store(SortOrder::InsertionTime, &events);

        let (first, position) = items(&mut store, None, 5);

        assert_eq!(first, "a,c");
        assert_eq!(items(&mut store, position, 10).0, "late");
    }

    #[test]
    fn events_without_a_uuid_at_one_time_keep_their_own_positions() {
        let mut store = store(SortOrder::EventTime, &[("", 1, 1), ("", 1, 1)]);
        store.settle(at(1));

        assert!(store.position(0) < store.position(1));
    }

    #[test]
    fn a_clock_set_back_hides_events_again() {
        let mut store = store(SortOrder::EventTime, &[("a", 1, 1), ("b", 2, 2)]);

        assert_eq!(items(&mut store, None, 2).0, "a,b");
        assert_eq!(items(&mut store, None, 1).0, "a");
    }
}
