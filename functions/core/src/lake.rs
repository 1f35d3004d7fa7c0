//! What the lake already holds, where the checkpoint cannot tell.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, BufRead, BufReader};

use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use serde::Serialize;

use crate::archive::{Archive, ArchiveError, Listed};
use crate::error::chain;
use crate::event::{Event, Fingerprint, Fingerprints};
use crate::feed::Stream;
use crate::partition::Day;
use crate::window::Window;

/// Fingerprints kept in memory at most, over all days of a run: 16 to 32 MiB.
const MAX_KEPT: usize = 500_000;

/// Objects read at once.
const READERS: usize = 8;

/// The events of one stream that the lake holds, read day by day on demand.
///
/// What was read stays true as long as all commits to the stream are one's
/// own: the compare-and-swap on the row sees to that. One's own are told by
/// [`forget`](Self::forget).
#[derive(Debug)]
pub struct Lake<'a, A> {
    archive: &'a A,
    stream: &'a Stream,
    days: Option<BTreeSet<Day>>,
    known: HashMap<Day, Fingerprints>,
}

impl<'a, A: Archive> Lake<'a, A> {
    /// A view of the objects of `stream`; nothing is read yet.
    pub fn new(archive: &'a A, stream: &'a Stream) -> Self {
        Self { archive, stream, days: None, known: HashMap::new() }
    }

    /// Those of `events` that the lake does not hold.
    ///
    /// # Errors
    ///
    /// Any of the archive's. An object that cannot be read is never taken for
    /// one that holds nothing.
    pub async fn without_known(&mut self, events: Vec<Event>) -> Result<Vec<Event>, ArchiveError> {
        let mut by_day: HashMap<Day, Vec<Event>> = HashMap::new();
        for event in events {
            by_day.entry(event.day()).or_default().push(event);
        }
        let mut unknown = Vec::new();
        for (day, events) in by_day {
            if !self.days().await?.contains(&day) {
                unknown.extend(events);
                continue;
            }
            if !self.known.contains_key(&day) {
                self.learn(day).await?;
            }
            if let Some(known) = self.known.get(&day) {
                unknown.extend(events.into_iter().filter(|e| !known.contains(&e.fingerprint)));
            } else {
                // The day is too large to keep: look for these events only.
                let mut candidates: Fingerprints = events.iter().map(|e| e.fingerprint).collect();
                self.scan(day, |event| {
                    candidates.remove(&event.fingerprint);
                })
                .await?;
                unknown.extend(events.into_iter().filter(|e| candidates.contains(&e.fingerprint)));
            }
        }
        Ok(unknown)
    }

    /// Whether it holds any of `events`, which are of `days`.
    ///
    /// # Errors
    ///
    /// Any of the archive's.
    pub async fn holds_any(
        &mut self,
        days: impl IntoIterator<Item = Day>,
        events: &Fingerprints,
    ) -> Result<bool, ArchiveError> {
        let mut found = false;
        for day in days {
            if self.days().await?.contains(&day) {
                self.scan(day, |event| found |= events.contains(&event.fingerprint)).await?;
            }
        }
        Ok(found)
    }

    /// The events of `window`, which lies in one day, and whether that day holds
    /// any of `asked`.
    ///
    /// # Errors
    ///
    /// Any of the archive's.
    pub async fn window(
        &mut self,
        window: Window,
        asked: &Fingerprints,
    ) -> Result<Held, ArchiveError> {
        let day = Day::of(window.from);
        let mut kept = Kept { until: window.to, events: Vec::new() };
        let mut any_asked = false;
        if self.days().await?.contains(&day) {
            self.scan(day, |event| {
                any_asked |= asked.contains(&event.fingerprint);
                if event.time >= window.from {
                    kept.add(event.time, event.fingerprint, MAX_KEPT);
                }
            })
            .await?;
        }
        let events = kept.events.into_iter().map(|(_, event)| event).collect();
        Ok(Held { events, until: kept.until, any_asked })
    }

    /// What the objects of `day` hold, and what is wrong with them.
    ///
    /// # Errors
    ///
    /// Any of the archive's but [`ArchiveError::Unreadable`], which is a finding.
    pub async fn audit(&mut self, day: Day) -> Result<Audit, ArchiveError> {
        let mut audit = Audit::default();
        if !self.days().await?.contains(&day) {
            return Ok(audit);
        }
        let mut listed = self.archive.list(self.stream, day).await?;
        listed.sort_by(|one, other| one.key.cmp(&other.key));
        // One after the other: of two objects that hold the same, the first in
        // order of their keys is the one that counts.
        for Listed { key, .. } in listed {
            let mut events = Vec::new();
            let read = match self.archive.read(&key).await {
                Ok(body) => read_events(&body, &mut |event| events.push(event.fingerprint))
                    .map_err(|source| source.to_string()),
                Err(error @ ArchiveError::Unreadable { .. }) => Err(chain(&error)),
                Err(error) => return Err(error),
            };
            if let Err(reason) = read {
                audit.unreadable.push(Unreadable { key, reason });
                continue;
            }
            let all = events.len() as u64;
            let repeated =
                events.into_iter().filter(|event| !audit.holds.insert(*event)).count() as u64;
            if repeated > 0 {
                audit.double.push(Double { key, repeated, whole: repeated == all });
            }
        }
        Ok(audit)
    }

    /// Must be told of the days that a commit of one's own has written to.
    pub fn forget(&mut self, written: impl IntoIterator<Item = Day>) {
        for day in written {
            self.known.remove(&day);
            if let Some(days) = &mut self.days {
                days.insert(day);
            }
        }
    }

    /// Whether no day holds an object of the feed.
    ///
    /// # Errors
    ///
    /// Any of the archive's.
    pub async fn is_empty(&mut self) -> Result<bool, ArchiveError> {
        Ok(self.days().await?.is_empty())
    }

    /// A time after which the lake holds no event of the stream, not before
    /// `now`.
    ///
    /// # Errors
    ///
    /// Any of the archive's.
    pub async fn latest(&mut self, now: Timestamp) -> Result<Timestamp, ArchiveError> {
        let mut latest = now;
        let from = Day::of(now);
        let days: Vec<Day> = self.days().await?.range(from..).copied().collect();
        for day in days {
            self.scan(day, |event| latest = latest.max(event.time)).await?;
        }
        Ok(latest)
    }

    async fn days(&mut self) -> Result<&BTreeSet<Day>, ArchiveError> {
        let days = match self.days.take() {
            Some(days) => days,
            None => self.archive.days(self.stream.feed).await?.into_iter().collect(),
        };
        Ok(self.days.insert(days))
    }

    /// Reads the fingerprints of `day`, unless they are too many to keep.
    async fn learn(&mut self, day: Day) -> Result<(), ArchiveError> {
        let mut found = Fingerprints::default();
        self.scan(day, |event| {
            if found.len() <= MAX_KEPT {
                found.insert(event.fingerprint);
            }
        })
        .await?;
        if found.len() > MAX_KEPT {
            return Ok(());
        }
        let kept: usize = self.known.values().map(Fingerprints::len).sum();
        if kept + found.len() > MAX_KEPT {
            self.known.clear();
        }
        self.known.insert(day, found);
        Ok(())
    }

    /// Reads every event of `day`.
    async fn scan(&self, day: Day, mut visit: impl FnMut(Event)) -> Result<(), ArchiveError> {
        let listed = self.archive.list(self.stream, day).await?;
        let mut bodies = stream::iter(listed)
            .map(|Listed { key, .. }| async {
                let body = self.archive.read(&key).await?;
                Ok::<_, ArchiveError>((key, body))
            })
            .buffer_unordered(READERS);
        while let Some((key, body)) = bodies.try_next().await? {
            read_events(&body, &mut visit)
                .map_err(|source| ArchiveError::Unreadable { key, source: source.into() })?;
        }
        Ok(())
    }
}

/// What the objects of a day hold.
#[derive(Debug, Default)]
pub struct Audit {
    /// Its events.
    pub holds: Fingerprints,
    /// Objects that cannot be read.
    pub unreadable: Vec<Unreadable>,
    /// Objects that hold events of other objects.
    pub double: Vec<Double>,
}

/// What the lake holds of a window.
#[derive(Debug)]
pub struct Held {
    /// The events,
    pub events: Fingerprints,
    /// up to this time: the end of the window, or before it if they are too many
    /// to keep at once.
    pub until: Timestamp,
    /// Whether the day holds any of those that were asked for.
    pub any_asked: bool,
}

/// An object that cannot be read as what was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unreadable {
    /// Its key.
    pub key: String,
    /// Why.
    pub reason: String,
}

/// An object that holds events which an object before it holds too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Double {
    /// Its key.
    pub key: String,
    /// Number of such events.
    pub repeated: u64,
    /// Whether it holds nothing else.
    pub whole: bool,
}

/// The events before a time that moves forward when they become too many.
struct Kept {
    until: Timestamp,
    events: Vec<(Timestamp, Fingerprint)>,
}

impl Kept {
    fn add(&mut self, time: Timestamp, event: Fingerprint, most: usize) {
        if time >= self.until {
            return;
        }
        self.events.push((time, event));
        if self.events.len() > most {
            self.events.sort_unstable();
            let first = self.events[0].0;
            // Events of one instant can't be parted.
            let parted = self.events.partition_point(|(time, _)| *time == first);
            if let Some((middle, _)) = self.events.get(parted.max(self.events.len() / 2)).copied() {
                self.until = middle;
                self.events.retain(|(time, _)| *time < middle);
            }
        }
    }
}

/// Visits the events of an object.
fn read_events(body: &[u8], visit: &mut impl FnMut(Event)) -> io::Result<()> {
    let mut lines = BufReader::with_capacity(64 * 1024, MultiGzDecoder::new(body));
    let mut line = Vec::new();
    loop {
        line.clear();
        if lines.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if line.pop() != Some(b'\n') {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the last line is cut"));
        }
        let event = Event::parse(&Bytes::copy_from_slice(&line)).map_err(|defect| {
            let reason = format!("it holds a line that is no event ({})", defect.as_str());
            io::Error::new(io::ErrorKind::InvalidData, reason)
        })?;
        visit(event);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever is dropped, what is left is all there is before `until`.
        #[test]
        fn what_is_kept_is_complete_up_to_its_end(
            times in prop::collection::vec(0_i64..50, 0..200),
            most in 4_usize..40,
        ) {
            let time = |second| Timestamp::from_second(second).unwrap();
            let mut kept = Kept { until: time(60), events: Vec::new() };
            for (n, second) in times.iter().enumerate() {
                kept.add(time(*second), Fingerprint::of(&n.to_be_bytes()), most);
            }
            let expected = times.iter().filter(|second| time(**second) < kept.until).count();
            prop_assert_eq!(kept.events.len(), expected);
            let first = times.iter().min().copied().unwrap_or(0);
            prop_assert!(kept.until > time(first), "it gets on");
        }
    }
}
