//! The main job: every stream from where it was committed to the end of what
//! the API has, or a window of every stream again.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::{Instant, timeout_at};
use url::Url;

use crate::account::{Access, Account};
use crate::archive::Archive;
use crate::batch::{Batch, FUTURE};
use crate::checkpoint::{CheckpointStore, CommitId, Position, Row};
use crate::commit::{Committed, Committer};
use crate::config::{API_RETENTION_DAYS, days_of};
use crate::error::{CollectError, chain};
use crate::event::Event;
use crate::events_api::{EventsApiError, HttpClient, PAGE_LIMIT, Pace, Page, Request};
use crate::feed::{AccountName, Feed, Stream};
use crate::fetch::{Fetcher, Next, Pages, while_fetching};
use crate::lake::Lake;
use crate::log::OUTCOME;
use crate::newness::{Marks, Verdict};
use crate::partition::Prefix;
use crate::report::{Failure, Outcome, Report, StreamReport};
use crate::token::{TokenError, TokenSource, Tokens};
use crate::window::{Window, with};

/// Streams that are collected at once.
const CONCURRENT_STREAMS: usize = 4;

/// How old `complete_until` may become before an idle run writes it.
const IDLE_WRITE: SignedDuration = SignedDuration::from_hours(6);

/// How far before the last event a stream restarts whose cursor leads nowhere.
const RESTART_OVERLAP: SignedDuration = SignedDuration::from_hours(1);

/// Time kept back for the last commit, unless a quarter of the run is less.
const COMMIT_RESERVE: Duration = Duration::from_secs(30);

/// Time kept back to report what did not end in time, unless an eighth of the
/// run is less.
const REPORT_RESERVE: Duration = Duration::from_secs(2);

/// The ports that a run works on.
#[derive(Debug)]
pub struct Ports<'a, T, C, A> {
    /// What the Events API is reached with: see [`http_client`](crate::events_api::http_client).
    pub http: &'a HttpClient,
    /// Where the tokens come from.
    pub tokens: &'a T,
    /// Where the streams' rows are.
    pub checkpoints: &'a C,
    /// Where the objects go.
    pub archive: &'a A,
}

impl<T, C, A> Clone for Ports<'_, T, C, A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, C, A> Copy for Ports<'_, T, C, A> {}

/// What a run does with each stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Read on from where the stream was committed.
    Tail,
    /// Read a window again, slowly, and add what the tail has missed. What an
    /// earlier run left unfinished is finished too.
    Resync(Window),
    /// The same, as fast as leaves the tail its share.
    Backfill(Window),
    /// Compare the lake with the API over a window, and change nothing.
    Verify(Window),
}

/// What a run is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The feeds to collect.
    pub feeds: Vec<Feed>,
    /// Where the first collection of a stream starts.
    pub start: Timestamp,
    /// Base URL of the Events API, unless the token tells.
    pub api_url: Option<Url>,
    /// What all keys start with.
    pub prefix: Prefix,
    /// The account that a bare token is of.
    pub account: AccountName,
    /// Events before this time are not committed: they have been expired or
    /// erased on purpose.
    pub not_before: Timestamp,
}

/// How far a stream has been read.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// The stream.
    pub stream: &'a Stream,
    /// Events received so far in this run.
    pub events: u64,
    /// Time of the last event received.
    pub at: Option<Timestamp>,
}

/// Does `task` once with every stream of every account. `now` is the time,
/// `deadline` when the run has to be over, `progress` is told of every page.
///
/// A failing stream never stops another: its error is in the report.
pub async fn collect<T: TokenSource, C: CheckpointStore, A: Archive>(
    ports: Ports<'_, T, C, A>,
    settings: &Settings,
    task: Task,
    now: Timestamp,
    deadline: Instant,
    progress: &(dyn Fn(Progress<'_>) + Sync),
) -> Report {
    let began = Instant::now();
    let left = deadline.saturating_duration_since(began);
    let read_until = deadline - COMMIT_RESERVE.min(left / 4);
    // To be cut off here is to crash, which loses nothing, but says so.
    let give_up = deadline - REPORT_RESERVE.min(left / 8);
    let tokens = match timeout_at(give_up, ports.tokens.read()).await {
        Ok(secret) => secret.and_then(|secret| secret.accounts(&settings.account)),
        Err(_) => return refuse_all(settings, &CollectError::OutOfTime),
    };
    let tokens = match tokens {
        Ok(tokens) => tokens,
        Err(error) => return refuse_all(settings, &error.into()),
    };
    let url = settings.api_url.as_ref();
    let met = Mutex::new(BTreeMap::new());
    let pace = match task {
        Task::Tail => Pace::Tail,
        Task::Resync(_) => Pace::Resync,
        Task::Backfill(_) | Task::Verify(_) => Pace::Backfill,
    };
    let http = ports.http.clone();
    let access = Access { tokens: ports.tokens, http, url, met, deadline: read_until, pace };
    let twins = twins(&tokens);
    let accounts: Vec<_> = tokens
        .into_iter()
        .map(|(name, token)| {
            let account = match twins.get(&name).cloned() {
                Some(twin) => Err(CollectError::SameAccount { first: name.clone(), second: twin }),
                None => token
                    .map_err(CollectError::from)
                    .and_then(|token| Account::new(name.clone(), token, &access, now)),
            };
            (name, account)
        })
        .collect();
    let streams = accounts.iter().flat_map(|(name, account)| {
        settings
            .feeds
            .iter()
            .map(move |feed| (Stream { account: name.clone(), feed: *feed }, account))
    });
    let mut reports: Vec<_> = stream::iter(streams)
        .map(|(stream, account)| async move {
            let mut report = StreamReport::new(&stream);
            let account = match account {
                Ok(account) => account,
                Err(error) => {
                    fail(&mut report, error);
                    return report;
                }
            };
            let mut run = StreamRun {
                ports,
                settings,
                account,
                stream: &stream,
                now,
                began,
                read_until,
                deadline,
                progress,
                report: &mut report,
            };
            let work = async {
                match task {
                    Task::Tail => run.tail().await,
                    Task::Resync(window) | Task::Backfill(window) => run.resync(window).await,
                    Task::Verify(window) => run.verify(window).await,
                }
            };
            match timeout_at(give_up, work).await.unwrap_or(Err(CollectError::OutOfTime)) {
                Ok(outcome) => run.report.outcome = outcome,
                Err(error) => fail(run.report, &error),
            }
            log(&report);
            report
        })
        .buffer_unordered(CONCURRENT_STREAMS)
        .collect()
        .await;
    reports.sort_by_key(StreamReport::stream);
    let accounts = accounts.iter().filter_map(|(_, account)| account.as_ref().ok());
    let token_days_left = accounts.filter_map(|account| account.token_days_left(now)).min();
    Report { streams: reports, token_days_left }
}

/// Names whose tokens tell that they are of one 1Password account, each with
/// another such name. None of them is collected: which one had been before is
/// not for a run to guess.
fn twins(tokens: &Tokens) -> BTreeMap<AccountName, AccountName> {
    let owner = |name: &AccountName| tokens.get(name)?.as_ref().ok()?.account_uuid();
    let twin = |name: &AccountName| {
        let same = |other: &&AccountName| *other != name && owner(other) == owner(name);
        owner(name).and_then(|_| tokens.keys().find(same))
    };
    tokens.keys().filter_map(|name| Some((name.clone(), twin(name)?.clone()))).collect()
}

/// The report of a run that could not start.
fn refuse_all(settings: &Settings, error: &CollectError) -> Report {
    let streams = settings.feeds.iter().map(|feed| {
        let mut report =
            StreamReport::new(&Stream { account: settings.account.clone(), feed: *feed });
        fail(&mut report, error);
        log(&report);
        report
    });
    Report { streams: streams.collect(), token_days_left: None }
}

fn fail(report: &mut StreamReport, error: &CollectError) {
    report.outcome = match error {
        CollectError::Token(TokenError::Missing { .. }) => Outcome::NoToken,
        _ => Outcome::Failed,
    };
    report.error = Some(Failure { code: error.code(), message: chain(error) });
}

fn log(report: &StreamReport) {
    let (stream, outcome) = (report.stream(), report.outcome.as_str());
    if let Some(error) = &report.error {
        tracing::error!(
            target: OUTCOME,
            {
                account.name = %stream.account,
                feed.name = %stream.feed,
                outcome,
                error.code = error.code,
                events.count = report.events,
            },
            "`{stream}` failed: {}",
            error.message
        );
    } else {
        tracing::info!(
            target: OUTCOME,
            {
                account.name = %stream.account,
                feed.name = %stream.feed,
                outcome,
                events.count = report.events,
                objects.count = report.objects,
                objects.size_bytes = report.bytes,
                pages.count = report.pages,
                pages.wait_ms = report.wait_ms,
                duplicates.count = report.duplicates,
                late_events.count = report.late_events,
                quarantined.count = report.quarantined,
                lag_seconds = report.lag_seconds,
            },
            "`{stream}`: {outcome}, {} events",
            report.events
        );
    }
}

/// One stream in a run.
pub(crate) struct StreamRun<'a, 'r, T, C, A> {
    pub(crate) ports: Ports<'a, T, C, A>,
    pub(crate) settings: &'a Settings,
    pub(crate) account: &'a Account<'a, T>,
    pub(crate) stream: &'r Stream,
    pub(crate) now: Timestamp,
    /// When that was.
    pub(crate) began: Instant,
    /// When reading has to end, so that there is time to commit.
    pub(crate) read_until: Instant,
    pub(crate) deadline: Instant,
    pub(crate) progress: &'a (dyn Fn(Progress<'_>) + Sync),
    pub(crate) report: &'r mut StreamReport,
}

/// Where a stream is being read.
struct Reader {
    /// What was received ends here.
    position: Position,
    /// The latest position that may be committed: no cursor that a future
    /// event has carried ahead.
    safe: Position,
    /// Events that a page may have, where a request can say so.
    limit: u32,
    /// Whether the stream was begun anew because its cursor was rejected.
    rejected: bool,
}

impl Reader {
    fn at(position: Position) -> Self {
        Self { safe: position.clone(), position, limit: PAGE_LIMIT, rejected: false }
    }
}

/// Why a batch was the last of its run.
enum End {
    /// The API had no more at this time.
    Complete(Timestamp),
    /// Time is up, or only empty pages came.
    More,
    /// Reading failed.
    Failed(CollectError),
}

impl<'a: 'r, 'r, T: TokenSource, C: CheckpointStore, A: Archive> StreamRun<'a, 'r, T, C, A> {
    /// The stream's row, everything that it names being published.
    pub(crate) async fn open(&mut self) -> Result<Committer<'r, A, C>, CollectError> {
        let Ports { checkpoints, archive, .. } = self.ports;
        let (start, now) = (self.settings.start, self.now);
        let stream = self.stream;
        let mut committer =
            Committer::open(archive, checkpoints, stream, start, now, self.deadline).await?;
        self.note_completeness(committer.row());
        committer.settle().await?;
        Ok(committer)
    }

    /// Collects the stream to its end, batch by batch.
    async fn tail(&mut self) -> Result<Outcome, CollectError> {
        if !self.account.covers(self.stream.feed) {
            return Ok(Outcome::Skipped);
        }
        let mut committer = self.open().await?;
        let mut reader = Reader::at(committer.row().position());
        let mut lake = Lake::new(self.ports.archive, self.stream);
        loop {
            let token = self.account.token_id();
            let (fetch, mut pages) = self.fetch_from(&reader);
            let take = async {
                let owner = self.account.check(committer.row()).await?;
                // The first pages are on their way meanwhile. What an unchecked token
                // has brought, if it was rotated since, must not be taken.
                if self.account.token_id() != token {
                    return Ok(None);
                }
                self.take(&mut committer, &mut reader, &mut pages, &mut lake, owner.as_ref()).await
            };
            if let Some(outcome) = while_fetching(fetch, take).await? {
                return Ok(outcome);
            }
        }
    }

    /// Asks for the pages from where `reader` is on.
    fn fetch_from(
        &self,
        reader: &Reader,
    ) -> (impl Future<Output = ()> + use<'a, 'r, T, C, A>, Pages) {
        let (fetcher, pages) = Fetcher::new(self.account, self.stream.feed, self.read_until);
        let (position, limit) = (reader.position.clone(), reader.limit);
        let fetch = async move {
            let first = fetcher.page(Request::at(&position, limit)).await;
            if fetcher.rest(first, position.cursor().cloned()).await {
                fetcher.end().await;
            }
        };
        (fetch, pages)
    }

    /// Commits `pages`, batch by batch. `None` if pages have to be asked for anew,
    /// from where `reader` is by then.
    async fn take(
        &mut self,
        committer: &mut Committer<'r, A, C>,
        reader: &mut Reader,
        pages: &mut Pages,
        lake: &mut Lake<'r, A>,
        owner: Option<&String>,
    ) -> Result<Option<Outcome>, CollectError> {
        loop {
            let (batch, end) = self.read(reader, pages, &committer.row().marks, lake).await?;
            let cut = batch.as_ref().is_some_and(|(batch, _)| batch.is_cut());
            if let Some((batch, api_now)) = batch {
                let mut row = committer.row().clone();
                row.from = row.position();
                row.cursor = reader.safe.cursor().cloned();
                row.account_uuid = owner.cloned();
                row.token_id = Some(self.account.token_id());
                self.note_gap(&mut row, api_now);
                if let Some(End::Complete(at)) = &end {
                    row.complete_until = row.complete_until.max(Some(*at));
                }
                if batch.events() > 0 || is_worth_a_write(&row, committer.row()) {
                    match self.commit(committer, batch, row, api_now, lake).await? {
                        Committed::Done => {}
                        Committed::Superseded => return Ok(Some(Outcome::Superseded)),
                        Committed::Overtaken => {
                            committer.settle().await?;
                            *lake = Lake::new(self.ports.archive, self.stream);
                            let rejected = reader.rejected;
                            *reader = Reader { rejected, ..Reader::at(committer.row().position()) };
                            return Ok(None);
                        }
                    }
                } else {
                    self.quarantine(&batch).await?;
                    self.report.duplicates += batch.duplicates();
                    self.report.quarantined += batch.bad().len() as u64;
                }
            }
            let Some(end) = end else {
                // What was left out of the batch is received once more.
                if cut {
                    return Ok(None);
                }
                continue;
            };
            if let Some(limit) = restart_with(&end, reader) {
                let rejected = limit == reader.limit;
                tracing::warn!(
                    "`{}` cannot go on from its cursor: restarting from a time",
                    self.stream
                );
                let mut row = committer.row().clone();
                row.return_to(self.restart_position(&row));
                if !self.write(committer, row).await? {
                    return Ok(Some(Outcome::Superseded));
                }
                *reader = Reader {
                    limit,
                    rejected: reader.rejected || rejected,
                    ..Reader::at(committer.row().position())
                };
                return Ok(None);
            }
            self.clear_staged(committer).await?;
            self.note_completeness(committer.row());
            return match end {
                End::Failed(error) => Err(error),
                End::More => Ok(Some(Outcome::Partial)),
                End::Complete(at) => {
                    self.report.complete_until = self.report.complete_until.max(Some(at));
                    self.report.lag_seconds = Some(0);
                    let idle = self.report.events == 0;
                    Ok(Some(if idle { Outcome::Idle } else { Outcome::Collected }))
                }
            };
        }
    }

    /// Takes one batch of `pages`. Without a page there is no batch.
    async fn read(
        &mut self,
        reader: &mut Reader,
        pages: &mut Pages,
        marks: &Marks,
        lake: &mut Lake<'_, A>,
    ) -> Result<(Option<(Batch, Timestamp)>, Option<End>), CollectError> {
        let marks = Arc::new(marks.clone());
        let mut batch = Batch::default();
        let mut api_now = None;
        loop {
            let page = match pages.next(self).await {
                Ok(Next::Page(page)) => page,
                ended => {
                    let end = ended.map_or_else(End::Failed, |_| End::More);
                    return Ok((api_now.map(|now| (batch, now)), Some(end)));
                }
            };
            let date = page.date;
            api_now = Some(date);
            let after = Position::Cursor(page.cursor.clone());
            let end = (!page.has_more).then_some(End::Complete(date));
            let last = page.items.last().and_then(|record| Event::read(record).ok());
            let last = last.map(|event| event.time);

            let (marks, not_before) = (marks.clone(), self.settings.not_before);
            let judge = move |event: &Event| {
                if event.time < not_before {
                    Verdict::Unwanted
                } else {
                    marks.verdict(event.time, event.fingerprint)
                }
            };
            let undecided: Vec<Event>;
            (batch, undecided) = read_page(batch, page, judge).await?;
            if !undecided.is_empty() {
                let asked = undecided.len();
                let new = lake.without_known(undecided).await?;
                for _ in new.len()..asked {
                    batch.skip_duplicate();
                }
                for event in new {
                    batch.add(&event, date)?;
                }
            }
            (self.progress)(Progress {
                stream: self.stream,
                events: self.report.events + batch.events(),
                at: last,
            });
            if batch.has_too_many_bad_records() {
                self.quarantine(&batch).await?;
                return Err(CollectError::TooManyBadRecords);
            }
            if batch.is_cut() {
                return Ok((Some((batch, date)), None));
            }
            // Sorted by event time, a page that ends in the future leads past
            // everything that comes until then. Sorted otherwise, a later page
            // ends in the present.
            // An empty page leaves open where it leads.
            let leads_to_the_present = last
                .map_or(reader.safe == reader.position, |last| last.duration_since(date) <= FUTURE);
            if leads_to_the_present {
                reader.safe = after.clone();
            }
            reader.position = after;
            if end.is_some() || batch.is_full() {
                return Ok((Some((batch, date)), end));
            }
        }
    }

    /// Commits `batch` with `row`, which says all but what the batch holds.
    pub(crate) async fn commit(
        &mut self,
        committer: &mut Committer<'_, A, C>,
        batch: Batch,
        mut row: Row,
        api_now: Timestamp,
        lake: &mut Lake<'_, A>,
    ) -> Result<Committed, CollectError> {
        self.quarantine(&batch).await?;
        let (events, duplicates, future) = (batch.events(), batch.duplicates(), batch.future());
        let unfamiliar = batch.unfamiliar();
        let things = batch.unfamiliar_things();
        let quarantined = batch.bad().len() as u64;
        let commit_id = CommitId::random();
        let (prefix, stream, id) =
            (self.settings.prefix.clone(), self.stream.clone(), commit_id.clone());
        let sealed = spawn_blocking(move || batch.seal(&prefix, &stream, api_now, &id));
        let sealed = joined(sealed.await)?;
        // A page may have waited for its turn: others go by the age of a commit.
        row.updated_at = api_now.max(self.now + self.began.elapsed());
        row.marks = row.marks.after(&sealed.latest, api_now);
        let (days, objects): (Vec<_>, Vec<_>) = sealed.objects.into_iter().unzip();
        let ended = committer.commit(commit_id, &objects, row).await?;
        if ended == Committed::Done {
            lake.forget(days);
            self.report.events += events;
            self.report.duplicates += duplicates;
            self.report.future_events += future;
            self.report.unfamiliar_events += unfamiliar;
            if unfamiliar > 0 {
                tracing::warn!(
                    "`{}` has what is not known to this version, in {unfamiliar} of its events: {things}",
                    self.stream
                );
            }
            self.report.quarantined += quarantined;
            self.report.objects += objects.len() as u64;
            self.report.bytes += objects.iter().map(|object| object.body.len() as u64).sum::<u64>();
        }
        Ok(ended)
    }

    pub(crate) async fn quarantine(&self, batch: &Batch) -> Result<(), CollectError> {
        for record in batch.bad() {
            let key = self.settings.prefix.quarantine(self.stream, &record.sha256());
            tracing::warn!("a record of `{}` goes to quarantine: `{key}`", self.stream);
            self.ports.archive.quarantine(&key, record.encode()?).await?;
        }
        Ok(())
    }

    /// Notes in the row that its objects are published, so that an idle run
    /// need not look.
    async fn clear_staged(&self, committer: &mut Committer<'_, A, C>) -> Result<(), CollectError> {
        if committer.row().staged.is_empty() {
            return Ok(());
        }
        let row = committer.row().clone();
        self.write(committer, row).await?;
        Ok(())
    }

    /// Commits `row` without objects. `false` if another writer has moved on.
    pub(crate) async fn write(
        &self,
        committer: &mut Committer<'_, A, C>,
        row: Row,
    ) -> Result<bool, CollectError> {
        let ended = committer.commit(CommitId::random(), &[], row).await?;
        Ok(ended == Committed::Done)
    }

    /// Whether a request failed only because the run has used up its time. One
    /// that got nowhere at all has failed.
    pub(crate) fn is_time_up(&self, error: &CollectError) -> bool {
        let out_of_time =
            matches!(error, CollectError::EventsApi(EventsApiError::OutOfTime { .. }));
        out_of_time && self.report.pages > 0
    }

    /// Notes what the API has dropped since the stream was last complete.
    fn note_gap(&mut self, row: &mut Row, api_now: Timestamp) {
        let to = api_now - days_of(API_RETENTION_DAYS);
        let Some(from) = row.complete_until else { return };
        if from < to {
            let gap = Window { from, to };
            tracing::error!(
                "nothing was collected of `{}` from {from} to {to}, and 1Password keeps it no longer",
                self.stream
            );
            row.gaps = with(&row.gaps, gap);
            row.complete_until = Some(to);
            self.report.gap = Some(gap);
        }
    }

    /// Where a stream starts anew whose cursor leads nowhere: where it is if it
    /// has no cursor, else before the last event and before what is known
    /// complete. (A cursor stands behind the last event, which may be long ago.)
    fn restart_position(&self, row: &Row) -> Position {
        if row.cursor.is_none() {
            return row.from.clone();
        }
        let known = row.complete_until.map(|until| until.min(row.marks.high_water));
        let start = known.and_then(|known| known.checked_sub(RESTART_OVERLAP).ok());
        Position::Start(start.unwrap_or(self.settings.start))
    }

    fn note_completeness(&mut self, row: &Row) {
        self.report.complete_until = row.complete_until;
        self.report.lag_seconds =
            row.complete_until.map(|until| self.now.duration_since(until).as_secs().max(0));
    }
}

/// Whether an idle run has to be written down.
fn is_worth_a_write(row: &Row, before: &Row) -> bool {
    let stale = match (row.complete_until, before.complete_until) {
        (Some(now), Some(before)) => now.duration_since(before) >= IDLE_WRITE,
        (now, before) => now != before,
    };
    stale
        || row.gaps != before.gaps
        || row.position() != before.position()
        || row.token_id != before.token_id
        || row.account_uuid != before.account_uuid
}

/// The page limit to restart with after a failure that a restart may mend: a
/// cursor that is rejected, once a run, or a page too large to hold. A cursor
/// carries its limit, so a smaller one needs a restart.
fn restart_with(end: &End, reader: &Reader) -> Option<u32> {
    let End::Failed(CollectError::EventsApi(error)) = end else { return None };
    let has_cursor = reader.position.cursor().is_some();
    match error {
        EventsApiError::Rejected { .. } if has_cursor && !reader.rejected => Some(reader.limit),
        EventsApiError::TooLarge { .. } => (reader.limit > 1).then_some(reader.limit / 10),
        _ => None,
    }
}

/// Adds `page` to `batch` where it may block.
pub(crate) async fn read_page(
    mut batch: Batch,
    page: Page,
    judge: impl Fn(&Event) -> Verdict + Send + 'static,
) -> std::io::Result<(Batch, Vec<Event>)> {
    let read = move || batch.add_page(&page, judge).map(|undecided| (batch, undecided));
    joined(spawn_blocking(read).await)
}

/// A panic on another thread goes on here.
fn joined<T>(joined: Result<T, JoinError>) -> T {
    joined.unwrap_or_else(|error| resume_unwind(error.into_panic()))
}
