//! Which events are new.
//!
//! The API may show an event more than once: at page edges, after a return to
//! an older position, or because it was delivered twice. [`Marks`] tell the
//! known ones without a look at the lake, under one invariant:
//!
//! > every committed event whose time is `recent_from` or later is in `recent`.
//!
//! So from `recent_from` on, `recent` decides; before it, the objects of the
//! event's day do. Marks that are not known to hold (a new row over a lake that
//! may not be empty, a restored row, a return to `from`) are replaced by
//! [`Marks::unknown_until`], which sends every question to the lake.

use jiff::Timestamp;

use crate::event::Fingerprint;

/// Fingerprints kept in a row at most. The API shows known events again at the
/// edge of a page, rarely further back, and each kilobyte of a row costs a
/// write unit with every commit.
pub const MAX_RECENT: usize = 500;

/// Bytes of one entry of `recent` in storage: 8 of time, 16 of fingerprint.
const ENTRY: usize = 24;

/// What the marks say of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The event has not been committed.
    New,
    /// The event has been committed.
    Known,
    /// Only the objects of the event's day can tell.
    AskLake,
    /// The event is not to be committed, known or not.
    Unwanted,
}

/// What has been committed to a stream.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Marks {
    /// The latest event time committed, but never later than the API's clock
    /// was then. It never moves back.
    pub high_water: Timestamp,
    /// Milliseconds since 1970 from which on `recent` is complete.
    recent_from: i64,
    /// Time in milliseconds and fingerprint of each event, by time.
    recent: Vec<(i64, Fingerprint)>,
}

impl Marks {
    /// Marks of a stream to which nothing has ever been committed.
    #[must_use]
    pub const fn nothing() -> Self {
        Self { high_water: Timestamp::UNIX_EPOCH, recent_from: i64::MIN, recent: Vec::new() }
    }

    /// Marks of a stream of which only this is known: no event later than
    /// `latest` has been committed.
    #[must_use]
    pub fn unknown_until(latest: Timestamp) -> Self {
        let recent_from = latest.as_millisecond().saturating_add(1);
        Self { high_water: latest, recent_from, recent: Vec::new() }
    }

    /// Whether an event has been committed.
    #[must_use]
    pub fn verdict(&self, time: Timestamp, fingerprint: Fingerprint) -> Verdict {
        let time = time.as_millisecond();
        if time < self.recent_from {
            return Verdict::AskLake;
        }
        let start = self.recent.partition_point(|(at, _)| *at < time);
        let same_time = self.recent[start..].iter().take_while(|(at, _)| *at == time);
        if same_time.map(|(_, known)| known).any(|known| *known == fingerprint) {
            Verdict::Known
        } else {
            Verdict::New
        }
    }

    /// The marks after the events of `batch` are committed, the API's clock
    /// showing `api_now`.
    #[must_use]
    pub fn after(&self, batch: &Latest, api_now: Timestamp) -> Self {
        let mut recent = self.recent.clone();
        recent.extend(batch.kept.iter().copied().filter(|(at, _)| *at >= self.recent_from));
        let high_water = self.high_water.max(batch.last.unwrap_or(self.high_water).min(api_now));
        let mut marks = Self { high_water, recent_from: self.recent_from, recent };
        marks.trim();
        // `recent` must not claim to be complete where the batch has dropped some.
        if let Some(dropped) = batch.dropped {
            marks.forget_before(dropped + 1);
        }
        marks
    }

    fn trim(&mut self) {
        self.recent.sort_unstable();
        if self.recent.len() > MAX_RECENT {
            let (last_dropped, _) = self.recent[self.recent.len() - MAX_RECENT - 1];
            self.forget_before(last_dropped + 1);
        }
    }

    fn forget_before(&mut self, from: i64) {
        if from > self.recent_from {
            self.recent_from = from;
            self.recent.retain(|(at, _)| *at >= from);
        }
    }

    /// Milliseconds since 1970 from which on `recent` is complete, as the row
    /// stores it.
    #[must_use]
    pub const fn recent_from(&self) -> i64 {
        self.recent_from
    }

    /// `recent` as the row stores it: 24 bytes an entry.
    #[must_use]
    pub fn encode_recent(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.recent.len() * ENTRY);
        for (at, fingerprint) in &self.recent {
            bytes.extend_from_slice(&at.to_be_bytes());
            bytes.extend_from_slice(&fingerprint.0);
        }
        bytes
    }

    /// Reads the three attributes back; `None` if `recent` is malformed.
    #[must_use]
    pub fn decode(high_water: Timestamp, recent_from: i64, recent: &[u8]) -> Option<Self> {
        let (entries, rest) = recent.as_chunks::<ENTRY>();
        if !rest.is_empty() {
            return None;
        }
        let recent = entries.iter().map(|entry| {
            let (mut at, mut fingerprint) = ([0; 8], [0; 16]);
            at.copy_from_slice(&entry[..8]);
            fingerprint.copy_from_slice(&entry[8..]);
            (i64::from_be_bytes(at), Fingerprint(fingerprint))
        });
        let recent: Vec<_> = recent.collect();
        recent.is_sorted().then_some(Self { high_water, recent_from, recent })
    }
}

/// The latest events of a batch, as many as a row can keep or some more.
#[derive(Debug, Clone, Default)]
pub struct Latest {
    kept: Vec<(i64, Fingerprint)>,
    last: Option<Timestamp>,
    /// No event that was dropped is later than this, in milliseconds since 1970.
    dropped: Option<i64>,
}

impl Latest {
    /// Notes an event of the batch, which it has not noted before.
    pub fn note(&mut self, time: Timestamp, fingerprint: Fingerprint) {
        self.last = self.last.max(Some(time));
        self.kept.push((time.as_millisecond(), fingerprint));
        // Seldom, as it looks at all of them.
        if self.kept.len() >= 2 * MAX_RECENT {
            let more = self.kept.len() - MAX_RECENT;
            let (_, oldest_kept, _) = self.kept.select_nth_unstable(more);
            self.dropped = self.dropped.max(Some(oldest_kept.0));
            self.kept.drain(..more);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn event(at: i64, id: u8) -> (Timestamp, Fingerprint) {
        (Timestamp::from_millisecond(at).unwrap(), Fingerprint([id; 16]))
    }

    #[test]
    fn marks_survive_storage() {
        let mut latest = Latest::default();
        for n in 0..200 {
            let (time, fingerprint) = event(1_700_000_000_000 + i64::from(n / 3), n);
            latest.note(time, fingerprint);
        }
        let marks = Marks::nothing().after(&latest, Timestamp::MAX);
        let stored = marks.encode_recent();
        let read = Marks::decode(marks.high_water, marks.recent_from(), &stored).unwrap();
        assert_eq!(read, marks);
        assert_eq!(Marks::decode(marks.high_water, 0, &stored[1..]), None);
    }

    #[test]
    fn high_water_is_never_ahead_of_the_api() {
        let now = Timestamp::from_millisecond(5_000).unwrap();
        let mut latest = Latest::default();
        latest.note(Timestamp::from_millisecond(9_000).unwrap(), Fingerprint([1; 16]));
        let marks = Marks::nothing().after(&latest, now);
        assert_eq!(marks.high_water, now);
        assert_eq!(marks.after(&Latest::default(), now).high_water, now);
    }

    proptest! {
        /// Against the set of all committed events: what the marks claim to
        /// know is true, whatever was committed in whatever order.
        #[test]
        fn verdicts_are_true(
            batches in prop::collection::vec(
                // Many events in few milliseconds overflow `recent`, and a batch too.
                prop::collection::vec((0_i64..40, any::<u16>()), 0..2_500), 1..4),
            questions in prop::collection::vec((0_i64..40, any::<u16>()), 50),
            forget in any::<bool>(),
        ) {
            let fingerprint = |id: u16| {
                let mut bytes = [0; 16];
                bytes[..2].copy_from_slice(&id.to_be_bytes());
                Fingerprint(bytes)
            };
            let time = |at: i64| Timestamp::from_millisecond(at).unwrap();
            let mut marks = Marks::nothing();
            // An event has one time: the first that was committed with its id.
            let mut committed: BTreeMap<u16, i64> = BTreeMap::new();
            for (n, batch) in batches.iter().enumerate() {
                if forget && n == 1 {
                    let latest = committed.values().max().copied().unwrap_or(0);
                    marks = Marks::unknown_until(time(latest));
                }
                let mut latest = Latest::default();
                for (at, id) in batch {
                    if !committed.contains_key(id) {
                        committed.insert(*id, *at);
                        latest.note(time(*at), fingerprint(*id));
                    }
                }
                marks = marks.after(&latest, Timestamp::MAX);
                prop_assert!(marks.recent.len() <= MAX_RECENT);
            }
            let committed_ones = committed.iter().map(|(id, at)| (*at, *id));
            for (at, id) in questions.into_iter().chain(committed_ones) {
                let known = committed.get(&id) == Some(&at);
                match marks.verdict(time(at), fingerprint(id)) {
                    Verdict::New => prop_assert!(!known),
                    Verdict::Known => prop_assert!(known),
                    Verdict::AskLake => {}
                    Verdict::Unwanted => unreachable!(),
                }
            }
        }
    }
}
