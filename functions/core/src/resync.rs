//! A window of a stream again: what arrived after the tail had passed it, or
//! what the lake lacks.
//!
//! A chunk of the window at a time, at most a day, the events that the lake
//! holds are read, then those that the API has, and what is missing is
//! committed on the stream's row like any batch, the tail's cursor staying where
//! it is, as `from` is: should the uploads vanish, the row still lists the window.
//! Events that the tail has yet to reach are added too; it will know them.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::archive::Archive;
use crate::batch::Batch;
use crate::checkpoint::{CheckpointStore, Cursor};
use crate::collect::{MAX_EMPTY_PAGES, Progress, StreamRun, read_page};
use crate::commit::{Committed, Committer};
use crate::error::CollectError;
use crate::event::{Event, Fingerprint};
use crate::events_api::{Page, Request};
use crate::lake::Lake;
use crate::newness::Verdict;
use crate::partition::Day;
use crate::report::{Findings, Missing, Outcome};
use crate::token::TokenSource;
use crate::window::{Window, with, without};

/// A window longer than this is written down before it is begun, so that a run
/// that dies is taken up by the next one.
const WRITTEN_DOWN: SignedDuration = SignedDuration::from_hours(24);

/// How much more than the window is asked for on both sides: how the API rounds
/// and whether it includes the end is not documented.
const MARGIN: SignedDuration = SignedDuration::from_secs(1);

/// How often a chunk is begun again because another writer committed.
const MAX_OVERTAKEN: u32 = 5;

/// How a chunk ended.
enum Reread {
    /// It is complete up to this time.
    Done(Timestamp),
    /// Another writer has committed: what the lake holds must be read again.
    Overtaken,
    /// Time is up, or only empty pages came.
    Unfinished,
}

impl<'a: 'r, 'r, T: TokenSource, C: CheckpointStore, A: Archive> StreamRun<'a, 'r, T, C, A> {
    /// Reads `asked`, and what the row still lists, again.
    pub(crate) async fn resync(&mut self, asked: Window) -> Result<Outcome, CollectError> {
        if !self.account.covers(self.stream.feed) {
            return Ok(Outcome::Skipped);
        }
        let (mut committer, _) = self.open().await?;
        let asked = Window {
            from: asked.from.max(self.settings.not_before),
            // What is ahead of time is the tail's.
            to: asked.to.min(after(self.now)),
        };
        let mut left = with(&committer.row().resync, asked);
        if left.iter().any(|window| window.to.duration_since(window.from) > WRITTEN_DOWN) {
            self.write_down(&mut committer, &left).await?;
        }
        let mut overtaken = 0;
        let mut ended = Ok(());
        while let Some(first) = left.first().copied() {
            let chunk = Window { from: first.from, to: first.to.min(Day::of(first.from).end()) };
            match self.reread(&mut committer, chunk, &left).await {
                Ok(Reread::Done(until)) => left = without(&left, Window { to: until, ..chunk }),
                Ok(Reread::Overtaken) if overtaken < MAX_OVERTAKEN => {
                    overtaken += 1;
                    committer.settle().await?;
                }
                Ok(Reread::Overtaken | Reread::Unfinished) => break,
                Err(error) => {
                    ended = Err(error);
                    break;
                }
            }
        }
        self.write_down(&mut committer, &left).await?;
        ended?;
        self.report.late_events = self.report.events;
        Ok(match (left.is_empty(), self.report.events) {
            (false, _) => Outcome::Partial,
            (true, 0) => Outcome::Idle,
            (true, _) => Outcome::Collected,
        })
    }

    /// Reads `chunk`, a part of the first window of `left`, and commits what the
    /// lake lacks.
    async fn reread(
        &mut self,
        committer: &mut Committer<'r, A, C>,
        chunk: Window,
        left: &[Window],
    ) -> Result<Reread, CollectError> {
        let mut lake = Lake::new(self.ports.archive, self.stream);
        let (known, until) = lake.window(chunk).await?;
        let chunk = Window { to: until, ..chunk };
        let mut known = Arc::new(known);
        let mut batch = Batch::default();
        let mut pages = Pages::of(chunk);
        loop {
            let page = match pages.next(self).await? {
                Next::Page(page) => page,
                Next::End => return Ok(Reread::Done(until)),
                Next::Unfinished => return Ok(Reread::Unfinished),
            };
            let api_now = page.date;
            let judge = judge(chunk, self.settings.not_before, known.clone());
            let undecided;
            (batch, undecided) = read_page(batch, page, judge).await?;
            for event in lake.without_known(undecided).await? {
                batch.add(&event, api_now)?;
            }
            let complete = pages.complete && !batch.is_cut();
            (self.progress)(Progress {
                stream: self.stream,
                events: self.report.events + batch.events(),
                at: Some(if complete { until } else { chunk.from }),
            });
            if batch.has_too_many_bad_records() {
                self.quarantine(&batch).await?;
                return Err(CollectError::TooManyBadRecords);
            }
            if batch.is_full() || (complete && batch.events() > 0) {
                let mut row = committer.row().clone();
                row.from = row.position();
                row.resync = left.to_vec();
                let (added, cut) = (batch.members().clone(), batch.is_cut());
                match self.commit(committer, batch, row, api_now, &mut lake).await? {
                    // The rest of the page is still to be added.
                    Committed::Done if cut => return Ok(Reread::Overtaken),
                    Committed::Done => Arc::make_mut(&mut known).extend(added),
                    Committed::Overtaken | Committed::Superseded => return Ok(Reread::Overtaken),
                }
                batch = Batch::default();
            } else if complete {
                self.quarantine(&batch).await?;
                self.report.duplicates += batch.duplicates();
            }
        }
    }

    /// Compares the lake with the API over `window`.
    pub(crate) async fn verify(&mut self, window: Window) -> Result<Outcome, CollectError> {
        if !self.account.covers(self.stream.feed) {
            return Ok(Outcome::Skipped);
        }
        let (committer, _) = self.open().await?;
        let high_water = committer.row().marks.high_water;
        let from = window.from.max(self.settings.not_before);
        let mut left = Window { from, to: window.to.min(after(high_water)) };
        let mut lake = Lake::new(self.ports.archive, self.stream);
        let mut findings = Findings::default();
        while !left.is_empty() {
            let day = Day::of(left.from);
            let chunk = Window { to: left.to.min(day.end()), ..left };
            let audit = lake.audit(day).await?;
            findings.double.extend(audit.double);
            findings.unreadable.extend(audit.unreadable);
            let mut seen = HashSet::new();
            let mut pages = Pages::of(chunk);
            loop {
                let page = match pages.next(self).await? {
                    Next::Page(page) => page,
                    Next::End => break,
                    Next::Unfinished => {
                        self.report.findings = Some(findings);
                        return Ok(Outcome::Partial);
                    }
                };
                let events = page.items.iter().filter_map(|record| Event::read(record).ok());
                for event in events.filter(|event| chunk.contains(event.time)) {
                    findings.compared += u64::from(seen.insert(event.fingerprint));
                    if !audit.holds.contains(&event.fingerprint) {
                        findings.missing.push(Missing { uuid: event.uuid(), time: event.time });
                    }
                }
            }
            left.from = chunk.to;
        }
        let outcome = if findings.is_clean() { Outcome::Idle } else { Outcome::Damaged };
        self.report.findings = Some(findings);
        Ok(outcome)
    }

    /// Makes the row list `left`, and no object, all of them being published.
    async fn write_down(
        &self,
        committer: &mut Committer<'r, A, C>,
        left: &[Window],
    ) -> Result<(), CollectError> {
        if committer.row().resync == left && committer.row().staged.is_empty() {
            return Ok(());
        }
        let mut row = committer.row().clone();
        row.resync = left.to_vec();
        if !self.write(committer, row).await? {
            // The other writer has kept what the row listed; publish what it
            // names, and say it once more.
            committer.settle().await?;
            let mut row = committer.row().clone();
            row.resync = left.to_vec();
            self.write(committer, row).await?;
        }
        Ok(())
    }
}

/// The pages of a window.
struct Pages {
    window: Window,
    cursor: Option<Cursor>,
    empty_in_a_row: u32,
    /// Whether the last page was the last one.
    complete: bool,
}

enum Next {
    Page(Page),
    End,
    /// Time is up, or only empty pages came.
    Unfinished,
}

impl Pages {
    const fn of(window: Window) -> Self {
        Self { window, cursor: None, empty_in_a_row: 0, complete: false }
    }

    async fn next<T: TokenSource, C: CheckpointStore, A: Archive>(
        &mut self,
        run: &mut StreamRun<'_, '_, T, C, A>,
    ) -> Result<Next, CollectError> {
        if self.complete {
            return Ok(Next::End);
        }
        if Instant::now() >= run.read_until {
            return Ok(Next::Unfinished);
        }
        let cursor = self.cursor.as_ref();
        let request =
            cursor.map_or_else(|| Request::Window(asked_for(self.window)), Request::After);
        let page = match run.account.page(run.stream.feed, request).await {
            Err(error) if run.is_time_up(&error) => return Ok(Next::Unfinished),
            page => page?,
        };
        run.report.pages += 1;
        self.complete = !page.has_more;
        self.empty_in_a_row = if page.items.is_empty() { self.empty_in_a_row + 1 } else { 0 };
        let moved = self.cursor.as_ref() != Some(&page.cursor);
        let gets_on = !page.items.is_empty() || (moved && self.empty_in_a_row < MAX_EMPTY_PAGES);
        if !self.complete && !gets_on {
            return Ok(Next::Unfinished);
        }
        self.cursor = Some(page.cursor.clone());
        Ok(Next::Page(page))
    }
}

/// Just after `time`.
fn after(time: Timestamp) -> Timestamp {
    time.checked_add(SignedDuration::from_nanos(1)).unwrap_or(time)
}

/// Whether an event of the pages of `chunk`, of which the lake holds `known`, is
/// to be added.
fn judge(
    chunk: Window,
    not_before: Timestamp,
    known: Arc<HashSet<Fingerprint>>,
) -> impl Fn(&Event) -> Verdict + Send + 'static {
    let asked = asked_for(chunk);
    move |event| {
        if known.contains(&event.fingerprint) {
            Verdict::Known
        } else if chunk.contains(event.time) {
            Verdict::New
        } else if asked.contains(event.time) || event.time < not_before {
            // Of the margin: the chunk next to this one has it too.
            Verdict::Unwanted
        } else {
            // The API goes by the time of arrival: this request may be the only
            // one that finds it.
            Verdict::AskLake
        }
    }
}

/// What the API is asked for to get all of `window`.
fn asked_for(window: Window) -> Window {
    let Window { from, to } = window;
    Window {
        from: from.checked_sub(MARGIN).unwrap_or(from),
        to: to.checked_add(MARGIN).unwrap_or(to),
    }
}
