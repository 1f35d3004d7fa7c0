//! The open batch: what has been read since the last commit.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use ring::digest::{SHA256, digest};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::archive::Object;
use crate::checkpoint::CommitId;
use crate::encode::Encoder;
use crate::event::{Defect, Event, Fingerprints};
use crate::events_api::Page;
use crate::feed::Stream;
use crate::newness::{Latest, Verdict};
use crate::partition::{Day, Prefix};
use crate::record::Record;

/// A batch closes at this many compressed bytes,
const MAX_COMPRESSED: usize = 8 << 20;
/// this many bytes as received,
const MAX_RAW: usize = 64 << 20;
/// this many events
const MAX_EVENTS: u64 = 100_000;
/// or this many partitions, looked at after each page.
const MAX_PARTITIONS: usize = 16;
/// Within a page, a batch takes no event of a further partition: the row that
/// names the objects must stay small.
const HARD_MAX_PARTITIONS: usize = 128;
/// Records that may be quarantined before the stream stops: more is no bad
/// record but a new schema.
const MAX_BAD_RECORDS: usize = 100;

/// Unfamiliar things of a batch that are named.
const MAX_NAMED: usize = 10;

/// An event so far ahead of the API's clock makes a cursor that would skip
/// everything until then.
pub(crate) const FUTURE: SignedDuration = SignedDuration::from_mins(10);

/// A record on its way to quarantine.
#[derive(Debug, Clone)]
pub(crate) struct BadRecord {
    record: Record,
    defect: Defect,
}

impl BadRecord {
    /// SHA-256 of the record's bytes, in hexadecimal: its name in quarantine.
    pub(crate) fn sha256(&self) -> String {
        let digest = digest(&SHA256, self.record.bytes());
        digest.as_ref().iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
    }

    /// The object that keeps the record with its reason, one gzip line.
    pub(crate) fn encode(&self) -> io::Result<Bytes> {
        #[derive(Serialize)]
        struct Quarantined<'a> {
            reason: &'static str,
            record: &'a RawValue,
        }
        let record = serde_json::from_slice(self.record.bytes())?;
        let line = serde_json::to_vec(&Quarantined { reason: self.defect.as_str(), record })?;
        let mut encoder = Encoder::new();
        encoder.line(&line)?;
        Ok(encoder.finish()?.body)
    }
}

/// Consecutive events of a stream that will be committed together.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    partitions: BTreeMap<Day, Encoder>,
    members: Fingerprints,
    latest: Latest,
    bad: Vec<BadRecord>,
    raw_bytes: usize,
    compressed: usize,
    events: u64,
    duplicates: u64,
    future: u64,
    unfamiliar: u64,
    unfamiliar_things: BTreeSet<Box<str>>,
    cut: bool,
}

impl Batch {
    /// Adds the events of `page` that `judge` finds new, and returns those that
    /// only the lake can judge.
    ///
    /// # Errors
    ///
    /// None in practice: all happens in memory.
    pub(crate) fn add_page(
        &mut self,
        page: &Page,
        judge: impl Fn(&Event) -> Verdict,
    ) -> io::Result<Vec<Event>> {
        let mut undecided = Vec::new();
        for record in &page.items {
            self.raw_bytes += record.bytes().len();
            match Event::read(record) {
                Err(defect) => self.bad.push(BadRecord { record: record.clone(), defect }),
                Ok(event) => match judge(&event) {
                    Verdict::New => self.add(&event, page.date)?,
                    Verdict::Known => self.duplicates += 1,
                    Verdict::AskLake => undecided.push(event),
                    Verdict::Unwanted => {}
                },
            }
        }
        Ok(undecided)
    }

    /// Adds an event that has not been committed, unless the batch has it. `now`
    /// is the API's clock.
    ///
    /// # Errors
    ///
    /// None in practice: all happens in memory.
    pub(crate) fn add(&mut self, event: &Event, now: Timestamp) -> io::Result<()> {
        let day = event.day();
        if self.partitions.len() >= HARD_MAX_PARTITIONS && !self.partitions.contains_key(&day) {
            self.cut = true;
            return Ok(());
        }
        if !self.members.insert(event.fingerprint) {
            self.duplicates += 1;
            return Ok(());
        }
        let partition = self.partitions.entry(day).or_default();
        let before = partition.size();
        partition.line(&event.line)?;
        self.compressed = self.compressed - before + partition.size();
        self.latest.note(event.time, event.fingerprint);
        self.events += 1;
        if event.time.duration_since(now) > FUTURE {
            self.future += 1;
        }
        self.unfamiliar += u64::from(!event.unfamiliar.is_empty());
        for thing in &event.unfamiliar {
            if self.unfamiliar_things.len() < MAX_NAMED && !self.unfamiliar_things.contains(thing) {
                self.unfamiliar_things.insert(thing.clone());
            }
        }
        Ok(())
    }

    /// Counts an event that the lake turned out to hold.
    pub(crate) const fn skip_duplicate(&mut self) {
        self.duplicates += 1;
    }

    /// Whether the batch has to be committed before another page is added.
    pub(crate) fn is_full(&self) -> bool {
        self.cut
            || self.compressed >= MAX_COMPRESSED
            || self.raw_bytes >= MAX_RAW
            || self.events >= MAX_EVENTS
            || self.partitions.len() >= MAX_PARTITIONS
    }

    /// Whether events of the last page were left out, so that its cursor must
    /// not be kept: the page is read again after the commit.
    pub(crate) const fn is_cut(&self) -> bool {
        self.cut
    }

    /// Whether the records that were quarantined are too many for one batch.
    pub(crate) const fn has_too_many_bad_records(&self) -> bool {
        self.bad.len() > MAX_BAD_RECORDS
    }

    /// Events that will be committed.
    pub(crate) const fn events(&self) -> u64 {
        self.events
    }

    /// Events that were known already.
    pub(crate) const fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// Events that lie more than ten minutes ahead of the API's clock.
    pub(crate) const fn future(&self) -> u64 {
        self.future
    }

    /// Events that hold something unfamiliar,
    pub(crate) const fn unfamiliar(&self) -> u64 {
        self.unfamiliar
    }

    /// and what that is, the first ten of it.
    pub(crate) fn unfamiliar_things(&self) -> String {
        let mut things: Vec<_> = self.unfamiliar_things.iter().map(|thing| &**thing).collect();
        if things.len() == MAX_NAMED {
            things.push("perhaps more");
        }
        things.join(", ")
    }

    /// The events that will be committed, by their fingerprints.
    pub(crate) const fn members(&self) -> &Fingerprints {
        &self.members
    }

    /// The days that they are of.
    pub(crate) fn days(&self) -> impl Iterator<Item = Day> {
        self.partitions.keys().copied()
    }

    /// Records for quarantine.
    pub(crate) fn bad(&self) -> &[BadRecord] {
        &self.bad
    }

    /// Closes the batch: the objects to stage under `commit`, and the events
    /// to remember.
    ///
    /// # Errors
    ///
    /// None in practice: all happens in memory.
    pub(crate) fn seal(
        self,
        prefix: &Prefix,
        stream: &Stream,
        now: Timestamp,
        commit: &CommitId,
    ) -> io::Result<Sealed> {
        let objects = self.partitions.into_iter().map(|(day, encoder)| {
            let encoded = encoder.finish()?;
            let key = prefix.object(stream, day, now, commit);
            Ok((
                day,
                Object { key, body: encoded.body, crc32: encoded.crc32, events: encoded.events },
            ))
        });
        Ok(Sealed { objects: objects.collect::<io::Result<_>>()?, latest: self.latest })
    }
}

/// A closed batch.
#[derive(Debug)]
pub(crate) struct Sealed {
    /// One object a partition.
    pub(crate) objects: Vec<(Day, Object)>,
    /// The events that the row will remember.
    pub(crate) latest: Latest,
}
