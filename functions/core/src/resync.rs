//! A window of a stream again: what arrived after the tail had passed it, or
//! what the lake lacks.
//!
//! A chunk of the window at a time, at most a day, the events that the lake
//! holds are read, then those that the API has, and what is missing is
//! committed on the stream's row like any batch, the tail's cursor staying where
//! it is, as `from` is: should the uploads vanish, the row still lists the window.
//! Events that the tail has yet to reach are added too; it will know them.
//!
//! The pages of the next chunks are on their way meanwhile, so that latency does
//! not bound how fast a long window is read. Still there is one committer, and it
//! takes one chunk after the other.

use std::future::{Future, ready};
use std::sync::Arc;

use futures::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::archive::Archive;
use crate::batch::Batch;
use crate::checkpoint::{CheckpointError, CheckpointStore, Row};
use crate::collect::{Progress, StreamRun, read_page};
use crate::commit::{Committed, Committer};
use crate::error::CollectError;
use crate::event::{Event, Fingerprints};
use crate::events_api::{Page, Request};
use crate::fetch::{Fetcher, Next, Pages, while_fetching};
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

/// How often in a row a chunk is begun again because another writer committed.
const MAX_OVERTAKEN: u32 = 5;

/// Chunks whose pages are read at once.
const CHUNKS_AT_ONCE: usize = 3;

/// A chunk of about this many pages or more is read in parts.
const DENSE: i32 = 8;

/// The parts of such a chunk. Some are fuller than others, so there are more of
/// them than are read at once.
const PARTS: u8 = 6;

/// Parts that are read at once. All that is has to be held.
const PARTS_AT_ONCE: usize = 3;

/// How a chunk ended.
enum Reread {
    /// It is complete.
    Done,
    /// Another writer has committed: what the lake holds must be read again.
    Overtaken,
    /// The lake holds too many of its events to know them all at once: what is
    /// before this time has to be a chunk of its own.
    TooLarge(Timestamp),
    /// Time is up, or only empty pages came.
    Unfinished,
}

impl<'a: 'r, 'r, T: TokenSource, C: CheckpointStore, A: Archive> StreamRun<'a, 'r, T, C, A> {
    /// Reads `asked`, and what the row still lists, again.
    pub(crate) async fn resync(&mut self, asked: Window) -> Result<Outcome, CollectError> {
        if !self.account.covers(self.stream.feed) {
            return Ok(Outcome::Skipped);
        }
        let mut committer = self.open().await?;
        self.account.check(committer.row()).await?;
        let asked = Window {
            from: asked.from.max(self.settings.not_before),
            // What is ahead of time is the tail's.
            to: asked.to.min(after(self.now)),
        };
        let mut left = Left { windows: with(&[], asked), listed: Vec::new() };
        left.see(committer.row());
        if left.windows.iter().any(|window| window.to.duration_since(window.from) > WRITTEN_DOWN) {
            self.write_down(&mut committer, &mut left).await?;
        }
        let ended = self.reread_all(&mut committer, &mut left).await;
        let written = self.write_down(&mut committer, &mut left).await;
        ended?;
        written?;
        self.report.late_events = self.report.events;
        Ok(match (left.windows.is_empty(), self.report.events) {
            (false, _) => Outcome::Partial,
            (true, 0) => Outcome::Idle,
            (true, _) => Outcome::Collected,
        })
    }

    /// Reads `left`, chunk by chunk, and takes from it what is done.
    async fn reread_all(
        &mut self,
        committer: &mut Committer<'r, A, C>,
        left: &mut Left,
    ) -> Result<(), CollectError> {
        let mut overtaken = 0;
        let mut cut = Timestamp::MAX;
        while !left.windows.is_empty() {
            let parts = left.windows.iter().flat_map(|window| window.cut(cut));
            let (fetch, mut chunks) = self.fetch(parts.flat_map(Window::days).collect());
            let take = async {
                while let Some(mut chunk) = chunks.recv().await {
                    // What was read ahead has to be committed in time too.
                    if Instant::now() >= self.read_until {
                        return Ok(Reread::Unfinished);
                    }
                    match self.reread(committer, &mut chunk, left).await? {
                        Reread::Done => {
                            left.windows = without(&left.windows, chunk.window);
                            overtaken = 0;
                        }
                        ended => return Ok(ended),
                    }
                }
                Ok::<_, CollectError>(Reread::Done)
            };
            match while_fetching(fetch, take).await? {
                Reread::Overtaken if overtaken < MAX_OVERTAKEN => {
                    overtaken += 1;
                    committer.settle().await?;
                    left.see(committer.row());
                }
                Reread::TooLarge(until) => cut = until,
                Reread::Done | Reread::Overtaken | Reread::Unfinished => break,
            }
        }
        Ok(())
    }

    /// Takes the pages of `chunk`, a part of what is `left`, and commits what the
    /// lake lacks.
    async fn reread(
        &mut self,
        committer: &mut Committer<'r, A, C>,
        chunk: &mut Chunk,
        left: &mut Left,
    ) -> Result<Reread, CollectError> {
        let Chunk { window, pages } = chunk;
        let mut lake = Lake::new(self.ports.archive, self.stream);
        let day = Day::of(window.from);
        let mut scope = asked_for(*window).within(day);
        let held = lake.window(scope, &Fingerprints::default()).await?;
        if held.until < window.to {
            return Ok(Reread::TooLarge(held.until));
        }
        scope.to = held.until;
        let mut known = Arc::new(held.events);
        let mut batch = Batch::default();
        let mut api_now = self.now;
        loop {
            let page = match pages.next(self).await? {
                Next::Page(page) => Some(page),
                Next::End => None,
                Next::Unfinished => return Ok(Reread::Unfinished),
            };
            let complete = page.is_none();
            if let Some(page) = page {
                api_now = page.date;
                let judge = judge(scope, self.settings.not_before, known.clone());
                let undecided;
                (batch, undecided) = read_page(batch, page, judge).await?;
                for event in lake.without_known(undecided).await? {
                    batch.add(&event, api_now)?;
                }
            }
            (self.progress)(Progress {
                stream: self.stream,
                events: self.report.events + batch.events(),
                at: Some(if complete { window.to } else { window.from }),
            });
            if batch.has_too_many_bad_records() {
                self.quarantine(&batch).await?;
                return Err(CollectError::TooManyBadRecords);
            }
            if batch.is_full() || (complete && batch.events() > 0) {
                // The tail commits all the time, and hardly ever what is in the
                // batch: to read the chunk again each time would lead nowhere.
                if committer.refresh().await? {
                    lake = Lake::new(self.ports.archive, self.stream);
                    let held = lake.window(scope, batch.members()).await?;
                    let others = batch.days().filter(|other| *other != day);
                    if held.until < scope.to
                        || held.any_asked
                        || lake.holds_any(others, batch.members()).await?
                        // A window that was listed since is to be read from then on.
                        || committer.row().resync != left.listed
                    {
                        return Ok(Reread::Overtaken);
                    }
                    known = Arc::new(held.events);
                }
                let mut row = committer.row().clone();
                row.from = row.position();
                row.resync.clone_from(&left.windows);
                let (added, cut) = (batch.members().clone(), batch.is_cut());
                match self.commit(committer, batch, row, api_now, &mut lake).await? {
                    Committed::Done => left.see(committer.row()),
                    Committed::Overtaken | Committed::Superseded => return Ok(Reread::Overtaken),
                }
                // The rest of the page is still to be added.
                if cut {
                    return Ok(Reread::Overtaken);
                }
                Arc::make_mut(&mut known).extend(added);
                batch = Batch::default();
            } else if complete {
                self.quarantine(&batch).await?;
                self.report.duplicates += batch.duplicates();
                self.report.quarantined += batch.bad().len() as u64;
            }
            if complete {
                return Ok(Reread::Done);
            }
        }
    }

    /// Compares the lake with the API over `window`.
    pub(crate) async fn verify(&mut self, window: Window) -> Result<Outcome, CollectError> {
        if !self.account.covers(self.stream.feed) {
            return Ok(Outcome::Skipped);
        }
        let committer = self.open().await?;
        self.account.check(committer.row()).await?;
        let high_water = committer.row().marks.high_water;
        let from = window.from.max(self.settings.not_before);
        let window = Window { from, to: window.to.min(after(high_water)) };
        let mut findings = Findings::default();
        let (fetch, mut chunks) = self.fetch(window.days().collect());
        let compare = async {
            let mut lake = Lake::new(self.ports.archive, self.stream);
            while let Some(mut chunk) = chunks.recv().await {
                if !self.compare(&mut lake, &mut chunk, &mut findings).await? {
                    return Ok::<_, CollectError>(false);
                }
            }
            Ok(true)
        };
        let outcome = match (while_fetching(fetch, compare).await?, findings.is_clean()) {
            (false, _) => Outcome::Partial,
            (true, true) => Outcome::Idle,
            (true, false) => Outcome::Damaged,
        };
        self.report.findings = Some(findings);
        Ok(outcome)
    }

    /// Compares a chunk, a day or a part of one. `false` if it did not end.
    async fn compare(
        &mut self,
        lake: &mut Lake<'_, A>,
        chunk: &mut Chunk,
        findings: &mut Findings,
    ) -> Result<bool, CollectError> {
        let Chunk { window, pages } = chunk;
        let audit = lake.audit(Day::of(window.from)).await?;
        findings.double.extend(audit.double);
        findings.unreadable.extend(audit.unreadable);
        let mut seen = Fingerprints::default();
        loop {
            let page = match pages.next(self).await? {
                Next::Page(page) => page,
                Next::End => return Ok(true),
                Next::Unfinished => return Ok(false),
            };
            let events = page.items.iter().filter_map(|record| Event::read(record).ok());
            for event in events.filter(|event| window.contains(event.time)) {
                // The parts of a dense chunk overlap.
                if !seen.insert(event.fingerprint) {
                    continue;
                }
                findings.compared += 1;
                if !audit.holds.contains(&event.fingerprint) {
                    findings.missing.push(Missing { uuid: event.uuid(), time: event.time });
                }
            }
        }
    }

    /// Reads the pages of `chunks`, several at once, for whoever receives them
    /// in that order.
    fn fetch(
        &self,
        chunks: Vec<Window>,
    ) -> (impl Future<Output = ()> + use<'a, 'r, T, C, A>, mpsc::Receiver<Chunk>) {
        let (account, feed, read_until) = (self.account, self.stream.feed, self.read_until);
        let (sender, receiver) = mpsc::channel(CHUNKS_AT_ONCE);
        let fetch = async move {
            stream::iter(chunks)
                .then(async |window| {
                    let (fetcher, pages) = Fetcher::new(account, feed, read_until);
                    sender.send(Chunk { window, pages }).await.map(|()| (fetcher, window))
                })
                .map(async |wanted| {
                    // An error says that nobody is left to receive them.
                    if let Ok((fetcher, window)) = wanted {
                        fetcher.chunk(window).await;
                    }
                })
                .buffered(CHUNKS_AT_ONCE)
                .for_each(ready)
                .await;
        };
        (fetch, receiver)
    }

    /// Makes the row list `left`, and no object, all of them being published.
    async fn write_down(
        &self,
        committer: &mut Committer<'r, A, C>,
        left: &mut Left,
    ) -> Result<(), CollectError> {
        for _ in 0..=MAX_OVERTAKEN {
            left.see(committer.row());
            if committer.row().resync == left.windows && committer.row().staged.is_empty() {
                return Ok(());
            }
            let mut row = committer.row().clone();
            row.resync.clone_from(&left.windows);
            if self.write(committer, row).await? {
                left.see(committer.row());
                return Ok(());
            }
            committer.settle().await?;
        }
        Err(CheckpointError::Conflict { stream: self.stream.clone() }.into())
    }
}

/// What a resync has yet to read.
struct Left {
    windows: Vec<Window>,
    /// What the row listed when it was last seen.
    listed: Vec<Window>,
}

impl Left {
    /// Takes over what other resyncs have listed in `row` since it was last seen.
    /// What they have struck is read once more.
    fn see(&mut self, row: &Row) {
        for window in &row.resync {
            let seen = self.listed.iter();
            for new in seen.fold(vec![*window], |left, seen| without(&left, *seen)) {
                self.windows = with(&self.windows, new);
            }
        }
        self.listed.clone_from(&row.resync);
    }
}

impl<T: TokenSource> Fetcher<'_, T> {
    /// Sends the pages of `chunk`.
    async fn chunk(&self, chunk: Window) {
        let Some(first) = self.page(Request::Window(asked_for(chunk))).await else { return };
        let complete = if is_dense(&first, chunk) {
            let parts = stream::iter(chunk.parts(PARTS)).map(async |part| {
                self.rest(self.page(Request::Window(asked_for(part))).await, None).await
            });
            parts.buffer_unordered(PARTS_AT_ONCE).all(ready).await
        } else {
            self.rest(Some(first), None).await
        };
        if complete {
            self.end().await;
        }
    }
}

/// Whether `first`, the first page of `chunk`, shows so little of it that there
/// are many. Just a guess: how the API sorts is not documented.
fn is_dense(first: &Page, chunk: Window) -> bool {
    let last = first.items.last().and_then(|record| Event::read(record).ok());
    let length = chunk.to.duration_since(chunk.from) / DENSE;
    let start = Window { to: chunk.from + length, ..chunk };
    first.has_more && last.is_some_and(|last| start.contains(last.time))
}

/// A chunk and its pages, in any order.
struct Chunk {
    window: Window,
    pages: Pages,
}

/// Just after `time`.
fn after(time: Timestamp) -> Timestamp {
    time.checked_add(SignedDuration::from_nanos(1)).unwrap_or(time)
}

/// Whether an event is to be added, the lake holding `known` of `scope`.
fn judge(
    scope: Window,
    not_before: Timestamp,
    known: Arc<Fingerprints>,
) -> impl Fn(&Event) -> Verdict + Send + 'static {
    move |event| {
        if event.time < not_before {
            Verdict::Unwanted
        } else if known.contains(&event.fingerprint) {
            Verdict::Known
        } else if scope.contains(event.time) {
            Verdict::New
        } else {
            // If the API goes by the time of arrival, this request may be the
            // only one that finds it.
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
