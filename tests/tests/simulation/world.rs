//! A stream, the API it is collected from, and the judge.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use events_api_simulator::{
    Account, Counts, Effect, ErrorStyle, Event, Options, Rule, Simulator, SortOrder,
    When as Requests,
};
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use oplake_core::archive::Archive;
use oplake_core::checkpoint::{CheckpointStore, Row};
use oplake_core::collect::{Ports, Settings, Task, collect};
use oplake_core::events_api::{HttpClient, http_client};
use oplake_core::feed::{AccountName, Feed, Stream};
use oplake_core::partition::{Day, Prefix};
use oplake_core::report::{Outcome, Report, StreamReport};
use oplake_core::testing::{
    Fault, Faults, Faulty, FixedTokens, Gate, MemoryArchive, MemoryCheckpoints,
};
use oplake_core::window::Window;
use oplake_tests::judge::{api, lines, object_lines};
use tokio::runtime::Runtime;
use tokio::time::Instant;

use crate::schedule::{
    ApiFault, ApiTrouble, PortFault, Push, Runner, Schedule, Shape, Step, When, Within, Work,
};

/// When each schedule begins.
const START: Timestamp = Timestamp::constant(1_795_176_000, 0); // 2026-11-20T12:00:00Z

/// Accounts of one simulator. Each feed of each serves one schedule.
const ACCOUNTS: usize = 100;

/// Events in a small page.
const SMALL: usize = 3;

/// Requests of one process that are no cause for alarm.
const REQUESTS: usize = 60;

/// What went wrong.
pub(crate) type Verdict = Result<(), String>;

/// A thread that lives schedule after schedule. Its time stands still while
/// anything can be done, and skips all waits.
pub(crate) struct Worker {
    runtime: Runtime,
    http: HttpClient,
    sites: [Option<Site>; 4],
}

/// A simulator and what of it is used up.
struct Site {
    simulator: Simulator,
    account: usize,
    /// The feeds of the account that no schedule has used.
    fresh: Vec<Feed>,
    token: String,
}

impl Site {
    async fn new(schedule: &Schedule) -> Self {
        let options = Options {
            now: START,
            accounts: ACCOUNTS,
            events: Counts::NONE,
            sort: if schedule.by_arrival { SortOrder::InsertionTime } else { SortOrder::EventTime },
            max_page: if schedule.small_pages { SMALL } else { 1000 },
            ..Options::default()
        };
        let simulator = Simulator::start(options).await.unwrap();
        let token = simulator.token().to_owned();
        Self { simulator, account: 0, fresh: Feed::ALL.to_vec(), token }
    }

    /// A feed that nothing was ever in; `None` if there is none left.
    fn feed(&mut self) -> Option<Feed> {
        if self.fresh.is_empty() {
            self.account += 1;
            self.token = self.simulator.account(self.account)?.token();
            self.fresh = Feed::ALL.to_vec();
        }
        self.fresh.pop()
    }
}

impl Worker {
    pub(crate) fn new() -> Self {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true).build().unwrap();
        Self { runtime, http: http_client(None).unwrap(), sites: [const { None }; 4] }
    }

    /// Lives `schedule`, and judges what came of it.
    pub(crate) fn live(&mut self, schedule: &Schedule) -> Verdict {
        let site = &mut self.sites
            [usize::from(schedule.by_arrival) + 2 * usize::from(schedule.small_pages)];
        let feed = site.as_mut().and_then(Site::feed);
        let (site, feed) = match (site, feed) {
            (Some(site), Some(feed)) => (site, feed),
            (site, _) => {
                let mut new = self.runtime.block_on(Site::new(schedule));
                let feed = new.feed().unwrap();
                (site.insert(new), feed)
            }
        };
        site.simulator.faults().clear();
        site.simulator.clock().set(START);
        let mut world = World {
            http: &self.http,
            tokens: FixedTokens::new(&site.token),
            site,
            feed,
            recent_start: schedule.recent_start,
            archive: MemoryArchive::default(),
            checkpoints: MemoryCheckpoints::default(),
            backup: None,
            tables: 0,
            pushed: Vec::new(),
            published: BTreeMap::new(),
            earliest: START,
        };
        self.runtime.block_on(world.live(schedule))
    }
}

/// An event that the API has, or will have.
struct Pushed {
    /// The bytes that the API sends.
    wire: String,
    /// The line that stands for it in the lake; `None` if none can.
    line: Option<String>,
    /// Events of the same identity stand in the lake once.
    identity: String,
    uuid: String,
    time: Timestamp,
}

struct World<'a> {
    http: &'a HttpClient,
    site: &'a mut Site,
    feed: Feed,
    recent_start: bool,
    tokens: FixedTokens,
    archive: MemoryArchive,
    checkpoints: MemoryCheckpoints,
    backup: Option<Row>,
    tables: u32,
    pushed: Vec<Pushed>,
    /// The objects as last seen.
    published: BTreeMap<String, Bytes>,
    /// The earliest time of an event.
    earliest: Timestamp,
}

impl World<'_> {
    fn now(&self) -> Timestamp {
        self.site.simulator.clock().now()
    }

    fn api(&self) -> Account<'_> {
        self.site.simulator.account(self.site.account).unwrap()
    }

    fn pass(&self, seconds: i64) {
        self.site.simulator.clock().advance(Duration::from_secs(seconds.unsigned_abs()));
    }

    async fn live(&mut self, schedule: &Schedule) -> Verdict {
        for (nth, step) in schedule.steps.iter().enumerate() {
            self.step(step).await.map_err(|wrong| format!("step {nth}: {wrong}"))?;
        }
        self.settle(schedule).await.map_err(|wrong| format!("in the end: {wrong}"))
    }

    async fn step(&mut self, step: &Step) -> Verdict {
        // No two steps at one instant, so that what arrives later comes later.
        self.site.simulator.clock().advance(Duration::from_millis(1));
        match step {
            Step::Push(push) => self.push(*push),
            Step::Burst { days, until } => {
                for day in 0..*days {
                    let seconds = (until - day) * 24 * 3600;
                    let (shape, at) = (Shape::Plain, Within::Start);
                    self.push(Push { shape, seconds, at, hidden: 0 });
                }
            }
            Step::Pass(seconds) => self.pass(*seconds),
            Step::Api(fault) => self.trouble(*fault),
            Step::Run { runners, apart } => self.run(runners, *apart).await?,
            Step::CompleteLate => self.complete_late().await,
            Step::ExpireUploads => {
                self.pass(8 * 24 * 3600);
                self.archive.expire_uploads();
            }
            Step::DeleteRow => {
                if let Some(row) = self.row() {
                    self.checkpoints.remove(&self.stream(), &row.commit_id).await.unwrap();
                }
            }
            Step::BackUp => self.backup = self.row(),
            Step::Restore => {
                if let Some(row) = self.backup.clone() {
                    self.tables += 1;
                    self.checkpoints = MemoryCheckpoints::new(&format!("restored-{}", self.tables));
                    self.checkpoints.put(&self.stream(), row);
                }
            }
            Step::RotateToken => {
                let token = self.api().token();
                self.site.simulator.revoke(&self.site.token);
                self.tokens.replace(&token);
                self.site.token = token;
            }
        }
        self.nothing_has_changed()
    }

    fn stream(&self) -> Stream {
        Stream { account: AccountName::default(), feed: self.feed }
    }

    fn row(&self) -> Option<Row> {
        self.checkpoints.rows().remove(&self.stream())
    }

    fn push(&mut self, push: Push) {
        let now = self.now();
        let second = now.checked_add(SignedDuration::from_secs(push.seconds)).unwrap();
        let day_end = Day::of(second).end();
        let time = match push.at {
            Within::Start => second,
            Within::Odd => second + SignedDuration::from_nanos(1_500_001),
            Within::End => second + SignedDuration::from_nanos(999_999_999),
            Within::DayStart => day_end - SignedDuration::from_hours(24),
            Within::DayEnd => day_end - SignedDuration::from_nanos(1),
        };
        // Where the API places a record without a time is not for us to know; in
        // the future it would hide all that comes until then.
        let time = if matches!(push.shape, Shape::Bad(_)) { time.min(now) } else { time };
        let n = self.pushed.len();
        let again = match push.shape {
            Shape::Again { of, .. } if n > 0 => {
                let earlier = &self.pushed[of % n];
                earlier.line.is_some().then_some(earlier)
            }
            _ => None,
        };
        let plain = |uuid: String, time: Timestamp| {
            let line = format!(r#"{{"uuid":"{uuid}","timestamp":"{time}","n":{n}.0}}"#);
            let (wire, identity) = (line.clone(), uuid.clone());
            Pushed { wire, line: Some(line), identity, uuid, time }
        };
        let pushed = match (push.shape, again) {
            (Shape::Again { whole: true, .. }, Some(earlier)) => Pushed {
                wire: earlier.wire.clone(),
                line: earlier.line.clone(),
                identity: earlier.identity.clone(),
                uuid: earlier.uuid.clone(),
                time: earlier.time,
            },
            (Shape::Again { .. }, Some(earlier)) if !earlier.uuid.is_empty() => {
                plain(earlier.uuid.clone(), earlier.time)
            }
            (Shape::Spaced, _) => {
                let line = format!(r#"{{"uuid":"S{n}","timestamp":"{time}","s":" \"a b"}}"#);
                let wire = line.replace(':', " :\t").replace(",\"", " ,\n\"");
                let wire = wire.replace(&time.to_string().replace(':', " :\t"), &time.to_string());
                let uuid = format!("S{n}");
                Pushed { wire, line: Some(line), identity: uuid.clone(), uuid, time }
            }
            (Shape::WithoutUuid, _) => {
                let line = format!(r#"{{"timestamp":"{time}","kind":"anonymous"}}"#);
                Pushed {
                    wire: line.clone(),
                    identity: line.clone(),
                    line: Some(line),
                    uuid: String::new(),
                    time,
                }
            }
            (Shape::Bad(kind), _) => {
                let wire = match kind {
                    0 => "null".to_owned(),
                    1 => format!(r#"{{"uuid":"B{n}"}}"#),
                    2 => format!(r#"{{"uuid":"B{n}","timestamp":"soon"}}"#),
                    _ => format!("[{n}]"),
                };
                Pushed { identity: wire.clone(), wire, line: None, uuid: String::new(), time }
            }
            _ => plain(format!("E{n}"), time),
        };
        let visible_at = now.checked_add(SignedDuration::from_secs(push.hidden)).unwrap();
        let event = Event::new(pushed.wire.clone()).at(pushed.time).visible_at(visible_at);
        self.api().push(api(self.feed), &event);
        self.earliest = self.earliest.min(pushed.time);
        self.pushed.push(pushed);
    }

    fn trouble(&self, fault: ApiFault) {
        let status = |status, retry_after: Option<&str>| Effect::Status {
            status,
            style: (status == 503).then_some(ErrorStyle::Proxy),
            retry_after: retry_after.map(str::to_owned),
        };
        let effect = match fault.what {
            ApiTrouble::Status(code) => status(code, None),
            ApiTrouble::ComeBack => status(429, Some("3")),
            ApiTrouble::Reset => Effect::Reset,
            ApiTrouble::Cut => Effect::CutBody,
            ApiTrouble::Html => Effect::Html,
            ApiTrouble::Truncated => Effect::TruncatedJson,
            ApiTrouble::Slow => Effect::SlowHeaders(Duration::from_secs(90)),
            ApiTrouble::Empty { moves } => Effect::EmptyPage { moves },
            ApiTrouble::NullItems => Effect::NullItems,
            ApiTrouble::NoItems => Effect::NoItems,
            ApiTrouble::NoCursor => Effect::NoCursor,
            ApiTrouble::NoHasMore => Effect::NoHasMore,
            ApiTrouble::RejectCursor | ApiTrouble::RejectCursorTwice => Effect::BadCursor,
            ApiTrouble::Rewind(events) => Effect::Rewind(events),
            ApiTrouble::Twice => Effect::DuplicateItem,
        };
        let faults = self.site.simulator.faults();
        faults.add(Rule::new(Requests::Nth(fault.after + 1), effect.clone()).feed(api(self.feed)));
        if fault.what == ApiTrouble::RejectCursorTwice {
            faults.add(Rule::new(Requests::Nth(fault.after + 2), effect).feed(api(self.feed)));
        }
    }

    /// Of what the row names, all that is staged appears.
    async fn complete_late(&self) {
        for staged in self.row().map(|row| row.staged).unwrap_or_default() {
            self.archive.complete(&staged).await.unwrap();
        }
    }

    async fn run(&mut self, runners: &[Runner], apart: i64) -> Verdict {
        self.site.simulator.clear_requests();
        let mut gates = Vec::new();
        let processes = runners.iter().map(|runner| {
            let faults = Faults::default();
            for (when, fault) in &runner.faults {
                strike(&faults, *when, (*fault).into());
            }
            for when in &runner.held {
                let gate = Gate::new();
                strike(&faults, *when, Fault::Hold(gate.clone()));
                gates.push(gate);
            }
            let archive = Faulty::new(self.archive.clone(), &faults);
            let checkpoints = Faulty::new(self.checkpoints.clone(), &faults);
            (archive, checkpoints, faults, runner)
        });
        let processes: Vec<_> = processes.collect();
        let this = &*self;
        let runs = processes.iter().map(|(archive, checkpoints, _, runner)| {
            let seconds = if runner.hurried { 2 } else { 240 };
            let last = |hours| Window {
                from: this.now() - SignedDuration::from_hours(hours),
                to: this.now(),
            };
            let task = match runner.task {
                Work::Tail => Task::Tail,
                Work::Resync(hours) => Task::Resync(last(hours)),
                Work::Backfill(hours) => Task::Backfill(last(hours)),
            };
            this.work(archive, checkpoints, task, seconds)
        });
        // Time passes only when all wait, so each gate is opened when nothing
        // else can be done.
        let release = async {
            for gate in gates.iter().rev() {
                tokio::time::sleep(Duration::from_millis(1)).await;
                this.pass(apart);
                gate.open();
            }
        };
        let (reports, ()) = tokio::join!(join_all(runs), release);
        for ((_, _, faults, runner), report) in processes.iter().zip(&reports) {
            Self::is_possible(runner, faults, report)?;
        }
        let requests = self.site.simulator.requests().len();
        let days: i64 = runners.iter().map(|runner| days_of(runner.task)).sum();
        let pages = self.pushed.len() / SMALL + usize::try_from(days).unwrap();
        let bound = (REQUESTS + 10 * pages) * runners.len();
        if requests > bound {
            return Err(format!("{requests} requests"));
        }
        Ok(())
    }

    async fn work(
        &self,
        archive: &impl Archive,
        checkpoints: &impl CheckpointStore,
        task: Task,
        seconds: u64,
    ) -> Report {
        let ports = Ports { http: self.http, tokens: &self.tokens, checkpoints, archive };
        let look_back = if self.recent_start { 1 } else { 24 * 120 };
        let settings = Settings {
            feeds: vec![self.feed],
            start: self.now() - SignedDuration::from_hours(look_back),
            api_url: Some(self.site.simulator.url().parse().unwrap()),
            prefix: Prefix::default(),
            account: AccountName::default(),
            not_before: Timestamp::MIN,
        };
        let deadline = Instant::now() + Duration::from_secs(seconds);
        collect(ports, &settings, task, self.now(), deadline, &|_| ()).await
    }

    /// Whether no process ended as none may, and none was denied without a cause.
    fn is_possible(runner: &Runner, faults: &Faults, report: &Report) -> Verdict {
        let stream = only(report);
        let blamed = stream.error.as_ref().map(|error| error.code);
        let fault = |wanted: &[PortFault]| {
            runner.faults.iter().any(|(_, fault)| wanted.contains(fault)) || faults.is_crashed()
        };
        match blamed {
            // What no fault of these schedules may lead to.
            Some(code @ ("Archive.KeyTaken" | "Archive.Unreadable" | "Checkpoint.Corrupt")) => {
                Err(format!("{code}: {stream:?}"))
            }
            Some(code @ ("Archive.Denied" | "Checkpoint.Unusable"))
                if !fault(&[PortFault::Deny]) =>
            {
                Err(format!("{code} without a cause: {stream:?}"))
            }
            _ => Ok(()),
        }
    }

    /// What was published stays as it is.
    fn nothing_has_changed(&mut self) -> Verdict {
        let objects = self.archive.objects();
        for (key, body) in &self.published {
            match objects.get(key) {
                None => return Err(format!("{key} has vanished")),
                Some(now) if now != body => return Err(format!("{key} has changed")),
                Some(_) => {}
            }
        }
        self.published = objects;
        Ok(())
    }

    /// Everything is well again: the lake becomes complete.
    async fn settle(&mut self, schedule: &Schedule) -> Verdict {
        self.site.simulator.faults().clear();
        self.pass(20 * 60);
        let report = self.undisturbed(Task::Tail).await?;
        let outcome = only(&report).outcome;
        if !matches!(outcome, Outcome::Collected | Outcome::Idle) {
            return Err(format!("the tail is {outcome:?}"));
        }
        self.nothing_has_changed()?;
        if schedule.is_of_the_tail_alone() {
            let (lines, bad) = self.lake();
            self.holds_all_returned(&lines, &bad)
                .map_err(|wrong| format!("after the tail: {wrong}"))?;
        }
        let window = Window {
            from: self.earliest - SignedDuration::from_hours(1),
            to: self.now() + SignedDuration::from_secs(1),
        };
        let report = self.undisturbed(Task::Resync(window)).await?;
        let outcome = only(&report).outcome;
        if !matches!(outcome, Outcome::Collected | Outcome::Idle) {
            return Err(format!("the resync is {outcome:?}"));
        }
        self.nothing_has_changed()?;
        // What is complete stays so.
        let steady = self.undisturbed(Task::Tail).await?;
        if only(&steady).outcome != Outcome::Idle || self.archive.objects() != self.published {
            return Err(format!("the last run was not idle: {steady:?}"));
        }
        let row = self.row().ok_or("there is no row")?;
        if !row.staged.is_empty() || !row.resync.is_empty() {
            return Err(format!("work is left: {row:?}"));
        }
        self.is_complete()
    }

    async fn undisturbed(&self, task: Task) -> Result<Report, String> {
        self.site.simulator.clear_requests();
        let report = self.work(&self.archive, &self.checkpoints, task, 600).await;
        if report.failures().count() > 0 {
            return Err(format!("an undisturbed run failed: {report:?}"));
        }
        let days = match task {
            Task::Resync(window) => window.to.duration_since(window.from).as_hours() / 24 + 3,
            _ => 1,
        };
        let requests = self.site.simulator.requests().len();
        // A day that looks full is asked for in four parts, having been asked for
        // in one.
        if requests > usize::try_from(days).unwrap() + 2 * (self.pushed.len() / SMALL) + 10 {
            return Err(format!("{requests} requests of an undisturbed run over {days} days"));
        }
        Ok(report)
    }

    /// The lines in the lake and the records in quarantine.
    fn lake(&self) -> (Vec<String>, BTreeSet<String>) {
        let name = (AccountName::default(), self.feed);
        let found = lines(&self.archive.objects()).remove(&name).unwrap_or_default();
        let bad = self.archive.quarantined().into_iter().flat_map(|(key, body)| {
            let lines = object_lines(&key, &body);
            lines.into_iter().map(|line| {
                let line = text(&line);
                let (_, record) = line.split_once(r#","record":"#).unwrap();
                record.strip_suffix('}').unwrap().to_owned()
            })
        });
        (found.iter().map(text).collect(), bad.collect())
    }

    /// Each event that the API has returned is there.
    fn holds_all_returned(&self, lines: &[String], bad: &BTreeSet<String>) -> Verdict {
        let held: BTreeSet<&str> = lines.iter().filter_map(|line| self.identity(line)).collect();
        let returned = self.api().returned(api(self.feed));
        for wire in returned.iter().map(|known| text(&known.bytes)) {
            let event = self.pushed.iter().find(|event| event.wire == wire).unwrap();
            let is_there = match event.line {
                Some(_) => held.contains(event.identity.as_str()),
                None => bad.contains(&wire),
            };
            if !is_there {
                return Err(format!("{wire} is missing"));
            }
        }
        Ok(())
    }

    /// The identity of the event that `line` stands for.
    fn identity(&self, line: &str) -> Option<&str> {
        let event = self.pushed.iter().find(|event| event.line.as_deref() == Some(line))?;
        Some(&event.identity)
    }

    /// The lake holds what the API has returned, and has now, each event once
    /// and as it was sent, and nothing else.
    fn is_complete(&self) -> Verdict {
        let (lines, bad) = self.lake();
        let visible: BTreeSet<_> = self
            .api()
            .visible(api(self.feed), self.now())
            .iter()
            .map(|known| text(&known.bytes))
            .collect();
        let returned: BTreeSet<_> =
            self.api().returned(api(self.feed)).iter().map(|known| text(&known.bytes)).collect();
        if let Some(never) = visible.difference(&returned).next() {
            return Err(format!("{never} was never asked for"));
        }
        self.holds_all_returned(&lines, &bad)?;
        let mut seen = BTreeSet::new();
        for line in &lines {
            let identity = self.identity(line).ok_or_else(|| format!("{line} was never sent"))?;
            if !seen.insert(identity) {
                return Err(format!("{line} is there twice"));
            }
            let of_line = |event: &&Pushed| event.line.as_deref() == Some(line);
            if !self.pushed.iter().filter(of_line).any(|event| returned.contains(&event.wire)) {
                return Err(format!("{line} was never returned"));
            }
        }
        match bad.iter().find(|record| !returned.contains(*record)) {
            Some(record) => Err(format!("{record} is in quarantine, and was never returned")),
            None => Ok(()),
        }
    }
}

fn strike(faults: &Faults, when: When, fault: Fault) {
    match when {
        When::Step(step) => faults.on_step(step, fault),
        When::Call(call, nth) => faults.on(call.into(), nth, fault),
    }
}

const fn days_of(work: Work) -> i64 {
    match work {
        Work::Tail => 0,
        Work::Resync(hours) | Work::Backfill(hours) => hours / 24 + 2,
    }
}

fn only(report: &Report) -> &StreamReport {
    let [stream] = &report.streams[..] else { panic!("{report:?}") };
    stream
}

fn text(bytes: &Bytes) -> String {
    std::str::from_utf8(bytes).unwrap().to_owned()
}
