//! The whole of the core against the simulator, on ports in memory.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::time::Duration;

use bytes::Bytes;
use events_api_simulator::{
    Counts, Effect, ErrorStyle, Event, Feed as ApiFeed, HasMore, Options, Rule, Simulator,
    SortOrder, TokenSpec, When,
};
use futures::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use oplake_core::archive::Archive;
use oplake_core::checkpoint::{CheckpointStore, CommitId, Position};
use oplake_core::collect::{Ports, Settings, Task, collect};
use oplake_core::events_api::{HttpClient, http_client};
use oplake_core::feed::{AccountName, Feed, Stream};
use oplake_core::partition::{Day, Prefix};
use oplake_core::report::{Outcome, Report, StreamReport};
use oplake_core::testing::{
    Fault, Faults, Faulty, FixedTokens, Gate, MemoryArchive, MemoryCheckpoints, Operation,
};
use oplake_core::token::{Secret, TokenError, TokenSource};
use oplake_core::window::Window;
use oplake_tests::judge::{api, assert_holds, object_lines};
use tokio::time::Instant;

/// A company, and a place for its events.
struct World {
    http: HttpClient,
    simulator: Simulator,
    tokens: FixedTokens,
    archive: MemoryArchive,
    checkpoints: MemoryCheckpoints,
    feeds: Vec<Feed>,
    run_for: Duration,
}

impl World {
    async fn new(options: Options) -> Self {
        let simulator = Simulator::start(options).await.unwrap();
        let tokens = FixedTokens::new(simulator.token());
        Self {
            http: http_client(None).unwrap(),
            simulator,
            tokens,
            archive: MemoryArchive::default(),
            checkpoints: MemoryCheckpoints::default(),
            feeds: Feed::ALL.to_vec(),
            run_for: Duration::from_mins(4),
        }
    }

    /// No events but those that the test pushes, all sign-in attempts.
    async fn empty() -> Self {
        let options = Options { events: Counts::NONE, ..Options::default() };
        let mut world = Self::new(options).await;
        world.feeds = vec![Feed::SigninAttempts];
        world
    }

    fn now(&self) -> Timestamp {
        self.simulator.clock().now()
    }

    fn settings(&self) -> Settings {
        Settings {
            feeds: self.feeds.clone(),
            start: self.now() - SignedDuration::from_hours(24 * 120),
            api_url: Some(self.simulator.url().parse().unwrap()),
            prefix: Prefix::default(),
            account: AccountName::default(),
            not_before: Timestamp::MIN,
        }
    }

    async fn run_on(&self, archive: &impl Archive, checkpoints: &impl CheckpointStore) -> Report {
        self.work_on(archive, checkpoints, Task::Tail).await
    }

    async fn work_on(
        &self,
        archive: &impl Archive,
        checkpoints: &impl CheckpointStore,
        task: Task,
    ) -> Report {
        let ports = Ports { http: &self.http, tokens: &self.tokens, checkpoints, archive };
        let deadline = Instant::now() + self.run_for;
        collect(ports, &self.settings(), task, self.now(), deadline, &|_| ()).await
    }

    async fn run(&self) -> Report {
        self.run_on(&self.archive, &self.checkpoints).await
    }

    async fn run_with_tokens(&self, tokens: &impl TokenSource) -> Report {
        let Self { http, checkpoints, archive, .. } = self;
        let ports = Ports { http, tokens, checkpoints, archive };
        let deadline = Instant::now() + self.run_for;
        collect(ports, &self.settings(), Task::Tail, self.now(), deadline, &|_| ()).await
    }

    /// A process whose calls meet `faults`.
    async fn run_with(&self, faults: &Faults) -> Report {
        self.work_with(faults, Task::Tail).await
    }

    async fn work_with(&self, faults: &Faults, task: Task) -> Report {
        let archive = Faulty::new(self.archive.clone(), faults);
        let checkpoints = Faulty::new(self.checkpoints.clone(), faults);
        self.work_on(&archive, &checkpoints, task).await
    }

    /// Re-reads the last `hours`.
    async fn resync(&self, hours: i64) -> Report {
        let from = self.now() - SignedDuration::from_hours(hours);
        let task = Task::Resync(Window { from, to: self.now() });
        self.work_on(&self.archive, &self.checkpoints, task).await
    }

    fn push(&self, id: &str, time: &str) -> Bytes {
        let line = Bytes::from(format!(r#"{{"uuid":"{id}","timestamp":"{time}","n":1.0}}"#));
        self.simulator.push(ApiFeed::SignInAttempts, &Event::new(line.clone()));
        line
    }

    /// Asserts that the lake holds exactly what is visible by now.
    fn assert_complete(&self) {
        let objects = self.archive.objects();
        for feed in &self.feeds {
            let visible = self.simulator.visible(api(*feed), self.now());
            assert_holds(&objects, "main", *feed, visible.iter().map(|known| &known.bytes));
        }
    }

    fn stream(&self) -> Stream {
        Stream { account: AccountName::default(), feed: self.feeds[0] }
    }
}

const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

fn only(report: &Report) -> &StreamReport {
    let [stream] = &report.streams[..] else { panic!("{report:?}") };
    stream
}

fn outcomes(report: &Report) -> Vec<Outcome> {
    report.streams.iter().map(|stream| stream.outcome).collect()
}

/// The code of the only stream's error.
fn code(report: &Report) -> &'static str {
    let error = only(report).error.as_ref();
    error.unwrap_or_else(|| panic!("no failure: {report:?}")).code
}

#[tokio::test]
async fn the_history_then_what_is_new_then_nothing() {
    let world = World::new(Options {
        events: Counts::of_total(9_000),
        days_ahead: 1,
        has_more: HasMore::FullPage,
        ..Options::default()
    })
    .await;

    let report = world.run().await;
    assert_eq!(outcomes(&report), [Outcome::Collected; 3]);
    world.assert_complete();

    world.simulator.clock().advance(minutes(300));
    let report = world.run().await;
    assert_eq!(outcomes(&report), [Outcome::Collected; 3]);
    world.assert_complete();
    assert_eq!(report.streams.iter().map(|s| s.duplicates).sum::<u64>(), 0);

    // An idle stream: one request, one read of its row, nothing else.
    world.simulator.clear_requests();
    let faults = Faults::default();
    let report = world.run_with(&faults).await;
    assert_eq!(outcomes(&report), [Outcome::Idle; 3]);
    assert_eq!(world.simulator.requests().len(), 3);
    assert_eq!((faults.calls(Operation::Load), faults.steps()), (3, 3));
    assert!(report.streams.iter().all(|stream| stream.lag_seconds == Some(0)));
}

#[tokio::test]
async fn requests_are_what_the_api_documents() {
    let world = World::new(Options { events: Counts::of_total(3_000), ..Options::default() }).await;
    world.run().await;
    world.simulator.clock().advance(minutes(5));
    world.run().await;

    let requests = world.simulator.requests();
    let (introspections, pages): (Vec<_>, Vec<_>) =
        requests.iter().partition(|request| request.path == "/api/v2/auth/introspect");
    assert_eq!(introspections.len(), 1, "asked once for a token, not again in the second run");
    let start = world.now() - SignedDuration::from_hours(24 * 120) - SignedDuration::from_mins(5);
    for feed in Feed::ALL {
        let path = format!("/api/v2/{}", feed.api_name());
        let bodies: Vec<_> =
            pages.iter().filter(|page| page.path == path).map(|page| page.body.as_str()).collect();
        assert_eq!(bodies[0], format!(r#"{{"limit":1000,"start_time":"{start}"}}"#));
        for body in &bodies[1..] {
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            let keys: Vec<_> = body.as_object().unwrap().keys().collect();
            assert_eq!(keys, ["cursor"]);
        }
    }
    for request in &requests {
        assert_eq!(request.accept_encoding.as_deref(), Some("gzip"));
        let agent = request.user_agent.as_deref().unwrap();
        assert!(agent.starts_with("onepassword-events-lake/"), "{agent}");
    }
    assert!(pages.iter().all(|page| page.content_type.as_deref() == Some("application/json")));
}

/// The process dies at each call in turn, before or after the call has its
/// effect, and is started again.
#[tokio::test]
async fn a_crash_at_any_step_loses_nothing_and_doubles_nothing() {
    let options = || Options {
        events: Counts { item_usages: 1_100, ..Counts::NONE },
        accounts: 1,
        days: 20,
        ..Options::default()
    };
    let world = async || {
        let mut world = World::new(options()).await;
        world.feeds = vec![Feed::ItemUsages];
        world
    };
    let faults = Faults::default();
    world().await.run_with(&faults).await;
    let steps = faults.steps();
    assert!(steps > 40, "several batches of many objects: {steps}");
    let faults = [Fault::CrashBefore, Fault::CrashAfter, Fault::LoseAnswer, Fault::Fail];
    let cases = (1..=steps).flat_map(|step| faults.iter().map(move |fault| (step, fault)));
    stream::iter(cases)
        .for_each_concurrent(16, async |(step, fault)| {
            let world = world().await;
            let faults = Faults::default();
            faults.on_step(step, fault.clone());
            world.run_with(&faults).await;
            let report = world.run().await;
            assert_eq!(report.failures().count(), 0, "{step} {fault:?}: {report:?}");
            world.assert_complete();
        })
        .await;
}

#[tokio::test]
async fn vanished_uploads_are_read_again_and_only_they() {
    for lost in [1, 2, 99] {
        let mut world = World::empty().await;
        for day in 10..14 {
            world.push(&format!("E{day}"), &format!("2026-11-{day}T10:00:00Z"));
        }
        // Publish some, then die; the rest of the uploads expires.
        let faults = Faults::default();
        faults.on(Operation::Complete, lost, Fault::CrashBefore);
        faults.on(Operation::Commit, 3, Fault::CrashBefore);
        world.run_with(&faults).await;
        world.archive.expire_uploads();
        // The page grows meanwhile.
        world.push("E14", "2026-11-14T10:00:00Z");
        world.push("E10b", "2026-11-10T10:00:01Z");

        if lost < 99 {
            let report = world.run().await;
            assert_eq!(code(&report), "Archive.UploadMissing", "it may still appear");
        }
        world.simulator.clock().advance(minutes(20));
        let report = world.run().await;
        assert_eq!(report.failures().count(), 0, "{report:?}");
        if lost < 99 {
            world.assert_complete();
        }
        world.feeds.truncate(1);
    }
}

#[tokio::test]
async fn a_completion_that_arrives_late_is_no_loss() {
    let world = World::empty().await;
    world.push("A", "2026-11-10T10:00:00Z");
    let faults = Faults::default();
    faults.on(Operation::Complete, 1, Fault::CrashBefore);
    world.run_with(&faults).await;
    // The dead process's completion takes effect just before the next look.
    let staged = world.archive.uploads().remove(0);
    world.archive.complete(&staged).await.unwrap();

    let report = world.run().await;
    assert_eq!(only(&report).events, 0);
    world.assert_complete();
}

#[tokio::test]
async fn a_row_made_anew_over_a_full_lake_adds_nothing() {
    let world = World::new(Options {
        events: Counts::of_total(3_000),
        days_ahead: 1,
        ..Options::default()
    })
    .await;
    world.run().await;
    let before = world.archive.objects();
    for stream in world.checkpoints.streams().await.unwrap() {
        let row = world.checkpoints.load(&stream).await.unwrap().unwrap();
        world.checkpoints.remove(&stream, &row.commit_id).await.unwrap();
    }

    let report = world.run().await;
    assert_eq!(outcomes(&report), [Outcome::Idle; 3]);
    assert_eq!(world.archive.objects(), before);

    world.simulator.clock().advance(minutes(420));
    world.run().await;
    world.assert_complete();
}

#[tokio::test]
async fn a_row_of_another_archive_is_refused() {
    let world = World::empty().await;
    world.push("A", "2026-11-10T10:00:00Z");
    world.run().await;

    let other = MemoryArchive::new("elsewhere", Prefix::default());
    let report = world.run_on(&other, &world.checkpoints).await;

    assert_eq!(code(&report), "Checkpoint.OtherArchive");
    let message = &only(&report).error.as_ref().unwrap().message;
    for part in ["memory://lake/", "memory://elsewhere/", "oplake reset --move"] {
        assert!(message.contains(part), "{message}");
    }
    assert!(other.objects().is_empty());
}

/// A table restored from a backup: its rows are old, the lake is not.
#[tokio::test]
async fn a_restored_row_is_adopted_and_adds_nothing_twice() {
    let world = World::new(Options {
        events: Counts::of_total(3_000),
        days_ahead: 2,
        ..Options::default()
    })
    .await;
    world.run().await;
    let backup = world.checkpoints.rows();
    world.simulator.clock().advance(minutes(1440));
    world.run().await;
    world.assert_complete();

    let restored = MemoryCheckpoints::new("restored");
    for (stream, row) in backup {
        restored.put(&stream, row);
    }
    world.simulator.clock().advance(minutes(60));
    let report = world.run_on(&world.archive, &restored).await;
    assert_eq!(report.failures().count(), 0, "{report:?}");
    world.assert_complete();
}

/// Two processes read the same pages and are held before their commits.
#[tokio::test]
async fn of_two_collectors_one_wins_and_the_other_leaves_nothing() {
    let world = World::empty().await;
    for n in 0..50 {
        world.push(&format!("E{n}"), &format!("2026-11-1{}T10:00:00Z", n % 5));
    }
    // The row exists, so that both start from one commit.
    world.simulator.faults().add(Rule::new(
        When::Always,
        Effect::Status { status: 401, style: None, retry_after: None },
    ));
    world.run().await;
    world.simulator.faults().clear();

    let gate = Gate::new();
    let (one, two) = (Faults::default(), Faults::default());
    one.on(Operation::Commit, 1, Fault::Hold(gate.clone()));
    two.on(Operation::Commit, 1, Fault::Hold(gate.clone()));
    let open = async {
        gate.reached(2).await;
        gate.open();
    };
    let (one, two, ()) = tokio::join!(world.run_with(&one), world.run_with(&two), open);

    let mut outcomes = [only(&one).outcome, only(&two).outcome];
    outcomes.sort_by_key(|outcome| *outcome == Outcome::Superseded);
    assert_eq!(outcomes, [Outcome::Collected, Outcome::Superseded]);
    world.assert_complete();
    assert_eq!(world.archive.uploads(), []);
}

#[tokio::test]
async fn bad_records_go_to_quarantine_and_the_page_goes_on() {
    let world = World::empty().await;
    let at: Timestamp = "2026-11-10T10:00:00Z".parse().unwrap();
    let push = |bytes: &'static str| {
        let event = Event::new(bytes).at(at);
        world.simulator.push(ApiFeed::SignInAttempts, &event);
    };
    push("null");
    push(r#"{"uuid":"B1"}"#);
    push(r#"{"uuid":"B2","timestamp":"soon"}"#);
    push("{ \"timestamp\" : \"2026-11-10T10:00:00.5Z\", \"x\": \"a\u{2028}b\" }");
    let good = world.push("A", "2026-11-10T11:00:00.123456789+02:00");

    let report = world.run().await;
    assert_eq!(report.failures().count(), 0, "{report:?}");
    assert_eq!((only(&report).events, only(&report).quarantined), (2, 3));
    let compact = Bytes::from("{\"timestamp\":\"2026-11-10T10:00:00.5Z\",\"x\":\"a\\u2028b\"}");
    assert_holds(&world.archive.objects(), "main", Feed::SigninAttempts, [&good, &compact]);

    let mut kept = Vec::new();
    for (key, body) in world.archive.quarantined() {
        assert!(key.starts_with("quarantine/onepassword/v1/signin_attempts/main/"), "{key}");
        kept.extend(object_lines(&key, &body));
    }
    kept.sort();
    assert_eq!(
        kept,
        [
            r#"{"reason":"bad_timestamp","record":{"uuid":"B2","timestamp":"soon"}}"#,
            r#"{"reason":"no_timestamp","record":{"uuid":"B1"}}"#,
            r#"{"reason":"not_an_object","record":null}"#,
        ]
    );
}

/// Neither an event nor a moved cursor calls for a commit, and yet the record
/// must not be dropped.
#[tokio::test]
async fn a_bad_record_on_an_idle_page_is_kept_too() {
    let world = World::empty().await;
    world.push("FUTURE", "2031-01-01T00:00:00Z");
    world.run().await;
    let at: Timestamp = "2026-11-10T10:00:00Z".parse().unwrap();
    let bad = Event::new(r#"{"uuid":"B"}"#).at(at);
    world.simulator.push(ApiFeed::SignInAttempts, &bad);
    // The page ends in the future, so its cursor is not kept.
    let report = world.run().await;
    assert_eq!((only(&report).outcome, only(&report).quarantined), (Outcome::Idle, 1));
    assert_eq!(world.archive.quarantined().len(), 1);
}

#[tokio::test]
async fn a_changed_schema_stops_the_stream_and_loses_nothing() {
    let world = World::empty().await;
    world.push("A", "2026-11-10T09:00:00Z");
    let at: Timestamp = "2026-11-10T10:00:00Z".parse().unwrap();
    for n in 0..101 {
        let event = Event::new(format!(r#"{{"id":{n}}}"#)).at(at);
        world.simulator.push(ApiFeed::SignInAttempts, &event);
    }
    let report = world.run().await;
    assert_eq!(code(&report), "Events.TooManyBadRecords");
    assert!(world.archive.objects().is_empty());
    assert_eq!(world.archive.quarantined().len(), 101);
}

#[tokio::test]
async fn events_without_uuid_and_repeated_ones_stand_once() {
    let world = World::empty().await;
    let nameless = Bytes::from(r#"{"timestamp":"2026-11-10T10:00:00Z","who":"x"}"#);
    for _ in 0..2 {
        world.simulator.push(ApiFeed::SignInAttempts, &Event::new(nameless.clone()));
    }
    let one = world.push("A", "2026-11-10T10:00:00Z");
    world.push("A", "2026-11-10T10:00:00Z");
    let faults = world.simulator.faults();
    faults.add(Rule::new(When::Always, Effect::DuplicateItem).feed(ApiFeed::SignInAttempts));
    let report = world.run().await;
    assert_eq!(only(&report).events, 2);
    assert!(only(&report).duplicates >= 2);

    // Shown again by a later page, they are known.
    faults.clear();
    faults.add(Rule::new(When::Nth(1), Effect::Rewind(4)).feed(ApiFeed::SignInAttempts));
    let later = world.push("B", "2026-11-11T10:00:00Z");
    let report = world.run().await;
    assert_eq!(only(&report).events, 1);
    let objects = world.archive.objects();
    assert_holds(&objects, "main", Feed::SigninAttempts, [&nameless, &one, &later]);
}

#[tokio::test]
async fn empty_pages_end_a_run_but_not_the_stream() {
    let world = World::empty().await;
    world.push("A", "2026-11-10T10:00:00Z");
    let empty = Rule::new(When::Next(12), Effect::EmptyPage { moves: true });
    world.simulator.faults().add(empty.feed(ApiFeed::SignInAttempts));

    let mut runs = 0;
    while world.archive.objects().is_empty() {
        runs += 1;
        assert!(runs <= 3, "12 empty pages stop the stream");
        let report = world.run().await;
        assert_eq!(report.failures().count(), 0);
        let row = world.checkpoints.load(&world.stream()).await.unwrap().unwrap();
        assert!(matches!(row.position(), Position::Cursor(_)), "the moved cursor is kept");
    }
    assert_eq!(runs, 3);
    world.assert_complete();

    // A cursor that does not move ends a run at once.
    world.simulator.clear_requests();
    let stuck = Rule::new(When::Always, Effect::EmptyPage { moves: false });
    world.simulator.faults().add(stuck.feed(ApiFeed::SignInAttempts));
    let report = world.run().await;
    assert_eq!(only(&report).outcome, Outcome::Partial);
    assert_eq!(world.simulator.requests().len(), 1);
}

#[tokio::test]
async fn pages_of_every_shape_are_understood() {
    let world = World::empty().await;
    world.push("A", "2026-11-10T10:00:00Z");
    for effect in [Effect::NullItems, Effect::NoItems] {
        world.simulator.faults().add(Rule::new(When::Nth(1), effect).feed(ApiFeed::SignInAttempts));
        world.run().await;
        world.simulator.faults().clear();
    }
    let no_has_more = Rule::new(When::Nth(1), Effect::NoHasMore).feed(ApiFeed::SignInAttempts);
    world.simulator.faults().add(no_has_more);
    let report = world.run().await;
    assert_eq!(report.failures().count(), 0, "{report:?}");
    world.assert_complete();
}

#[tokio::test]
async fn what_passes_is_tried_again() {
    let mut world =
        World::new(Options { events: Counts::of_total(4_000), ..Options::default() }).await;
    world.feeds = vec![Feed::ItemUsages];
    let status = |status, style, retry_after: Option<&str>| Effect::Status {
        status,
        style,
        retry_after: retry_after.map(str::to_owned),
    };
    for (n, effect) in [
        (1, status(500, None, None)),
        (3, status(503, Some(ErrorStyle::Text), None)),
        (4, Effect::Reset),
        (6, Effect::CutBody),
        (7, Effect::Html),
        (8, Effect::TruncatedJson),
        (10, Effect::NoCursor),
        (12, status(429, None, Some("1"))),
        (13, status(502, Some(ErrorStyle::Html), None)),
    ] {
        let rule = Rule::new(When::Nth(n), effect).feed(ApiFeed::ItemUsages);
        world.simulator.faults().add(rule);
    }
    let report = world.run().await;
    assert_eq!(outcomes(&report), [Outcome::Collected], "{report:?}");
    world.assert_complete();
}

#[tokio::test]
async fn what_is_final_is_named_by_its_likely_cause() {
    let world = World::empty().await;
    world.push("A", "2026-11-10T10:00:00Z");
    let status = |status, style| Effect::Status { status, style, retry_after: None };
    for (effect, code_wanted, said) in [
        (status(401, None), "EventsApi.Unauthorized", "issue a new one in 1Password"),
        (status(403, Some(ErrorStyle::Empty)), "EventsApi.Unauthorized", "403"),
        (status(404, Some(ErrorStyle::Text)), "EventsApi.WrongServer", "another region"),
        (status(400, Some(ErrorStyle::Nested)), "EventsApi.Rejected", "400"),
        (
            Effect::Redirect("http://127.0.0.1:9/elsewhere".to_owned()),
            "EventsApi.WrongServer",
            "not an Events API",
        ),
    ] {
        let rule = Rule::new(When::Always, effect).path("signinattempts");
        world.simulator.faults().add(rule);
        world.simulator.clear_requests();
        let report = world.run().await;
        assert_eq!(code(&report), code_wanted);
        let message = &only(&report).error.as_ref().unwrap().message;
        assert!(message.contains(said), "{message}");
        let asked = world.simulator.requests();
        assert!(asked.len() <= 2, "a final answer is not asked for again: {}", asked.len());
        world.simulator.faults().clear();
    }
    // Nothing of this has cost an event.
    world.run().await;
    world.assert_complete();
}

#[tokio::test]
async fn a_failing_stream_leaves_the_others_alone() {
    let world = World::new(Options { events: Counts::of_total(3_000), ..Options::default() }).await;
    let refuse = Effect::Status { status: 401, style: None, retry_after: None };
    world.simulator.faults().add(Rule::new(When::Always, refuse).feed(ApiFeed::ItemUsages));
    let report = world.run().await;
    assert_eq!(outcomes(&report), [Outcome::Collected, Outcome::Failed, Outcome::Collected]);

    world.simulator.faults().clear();
    world.run().await;
    world.assert_complete();
}

#[tokio::test]
async fn a_rotated_token_goes_on_from_the_same_cursor() {
    let world = World::empty().await;
    world.push("A", "2026-11-10T10:00:00Z");
    world.run().await;
    // Rotated between runs: introspected once, the cursor goes on.
    let second = world.simulator.mint(&TokenSpec::default());
    world.simulator.revoke(world.simulator.token());
    world.tokens.replace(&second);
    world.push("B", "2026-11-10T11:00:00Z");
    assert_eq!(only(&world.run().await).events, 1);
    world.assert_complete();

    // Rotated during a run: the secret is read again on 401.
    let third = world.simulator.mint(&TokenSpec::default());
    world.simulator.revoke(&second);
    world.push("C", "2026-11-10T12:00:00Z");
    let tokens = Rotating { old: second.clone(), new: third, reads: 0.into() };
    let report = world.run_with_tokens(&tokens).await;
    assert_eq!(only(&report).events, 1, "{report:?}");
    world.assert_complete();
}

/// A secret that is rotated after it was read first.
struct Rotating {
    old: String,
    new: String,
    reads: std::sync::atomic::AtomicU64,
}

impl TokenSource for Rotating {
    async fn read(&self) -> Result<Secret, TokenError> {
        let first = self.reads.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
        let text = if first { &self.old } else { &self.new };
        Ok(Secret::new(text.clone()))
    }
}

#[tokio::test]
async fn a_token_of_another_account_never_continues_a_foreign_cursor() {
    let world = World::empty().await;
    world.push("A", "2026-11-10T10:00:00Z");
    world.run().await;
    let before = world.checkpoints.rows();

    let other = world.simulator.account(1).unwrap();
    world.tokens.replace(&other.token());
    let report = world.run().await;
    assert_eq!(code(&report), "Token.OtherAccount");
    let message = &only(&report).error.as_ref().unwrap().message;
    let own = world.simulator.account(0).unwrap();
    assert!(message.contains(own.uuid()) && message.contains(other.uuid()), "{message}");
    assert_eq!(world.checkpoints.rows(), before);
}

/// The first page is asked for before it is known whose the token is.
#[tokio::test]
async fn a_token_of_another_account_that_comes_meanwhile_is_found_out() {
    let world = World::empty().await;
    world.push("A", "2026-11-10T10:00:00Z");
    world.run().await;
    let before = world.checkpoints.rows();
    let objects = world.archive.objects();

    let other = world.simulator.account(1).unwrap();
    let event = Event::new(r#"{"uuid":"B","timestamp":"2026-11-10T11:00:00Z"}"#);
    other.push(ApiFeed::SignInAttempts, &event);
    let second = world.simulator.mint(&TokenSpec::default());
    let tokens = Rotating { old: second, new: other.token(), reads: 0.into() };
    let slow = Effect::SlowHeaders(Duration::from_millis(500));
    let refused = Effect::Status { status: 401, style: None, retry_after: None };
    world.simulator.faults().add(Rule::new(When::Nth(1), slow).path("introspect"));
    world.simulator.faults().add(Rule::new(When::Nth(1), refused).feed(ApiFeed::SignInAttempts));
    let report = world.run_with_tokens(&tokens).await;
    assert_eq!(code(&report), "Token.OtherAccount");
    assert_eq!(world.checkpoints.rows(), before);
    assert_eq!(world.archive.objects(), objects);
}

/// As before, but the other account's token comes first, and its page is there when
/// it turns out to be revoked.
#[tokio::test]
async fn a_page_of_another_account_is_not_taken_for_ones_own() {
    let world = World::empty().await;
    world.push("A", "2026-11-10T10:00:00Z");
    let other = world.simulator.account(1).unwrap();
    let event = Event::new(r#"{"uuid":"B","timestamp":"2026-11-10T11:00:00Z"}"#);
    other.push(ApiFeed::SignInAttempts, &event);
    let own = world.simulator.token().to_owned();
    let tokens = Rotating { old: other.token(), new: own, reads: 0.into() };
    let refused = Effect::Status { status: 401, style: None, retry_after: None };
    world.simulator.faults().add(Rule::new(When::Nth(1), refused).path("introspect"));
    let report = world.run_with_tokens(&tokens).await;
    assert_eq!(outcomes(&report), [Outcome::Collected], "{report:?}");
    world.assert_complete();
}

#[tokio::test]
async fn accounts_of_one_secret_are_apart() {
    let mut world =
        World::new(Options { events: Counts::of_total(2_000), ..Options::default() }).await;
    world.feeds = vec![Feed::AuditEvents];
    let (one, two) = (world.simulator.account(0).unwrap(), world.simulator.account(1).unwrap());
    let secret = serde_json::json!({
        "acme": one.token(), "acme-eu": two.token(), "broken": "abc",
    });
    world.tokens.replace(&secret.to_string());

    let report = world.run().await;
    let codes: Vec<_> = report
        .streams
        .iter()
        .map(|stream| (stream.account.as_str(), stream.error.as_ref().map(|error| error.code)))
        .collect();
    let malformed = Some("Token.Malformed");
    assert_eq!(codes, [("acme", None), ("acme-eu", None), ("broken", malformed)]);
    let objects = world.archive.objects();
    for (name, account) in [("acme", one), ("acme-eu", two)] {
        let known = account.visible(ApiFeed::AuditEvents, world.now());
        assert_holds(&objects, name, Feed::AuditEvents, known.iter().map(|known| &known.bytes));
    }
}

/// Collected under both names, each event would stand in the lake twice.
#[tokio::test]
async fn two_names_of_one_account_are_refused() {
    let world = World::empty().await;
    world.push("A", "2026-11-10T10:00:00Z");
    let account = world.simulator.account(0).unwrap();
    let secret = serde_json::json!({ "acme": account.token(), "twin": account.token() });
    world.tokens.replace(&secret.to_string());
    let report = world.run().await;
    assert_eq!(outcomes(&report), [Outcome::Failed; 2]);
    assert!(report.failures().all(|(_, failure)| failure.code == "Token.SameAccount"));
    assert!(world.archive.objects().is_empty());
}

#[tokio::test]
async fn bad_tokens_are_named_before_a_request() {
    let world = World::empty().await;
    let good = world.simulator.token().to_owned();
    let expired = world.simulator.mint(&TokenSpec {
        expires_at: Some(world.now() - SignedDuration::from_hours(1)),
        ..TokenSpec::default()
    });
    let unscoped = world
        .simulator
        .mint(&TokenSpec { feeds: vec![ApiFeed::AuditEvents], ..TokenSpec::default() });
    world.simulator.clear_requests();
    for (secret, wanted) in [
        (String::new(), "Token.Malformed"),
        ("{\"main\":".to_owned(), "Token.Malformed"),
        ("[1]".to_owned(), "Token.Malformed"),
        ("{}".to_owned(), "Token.Malformed"),
        (good[..good.len() / 2].to_owned(), "Token.Malformed"),
        (good[..good.len() - 3].to_owned(), "Token.Malformed"),
        (expired, "Token.Expired"),
    ] {
        world.tokens.replace(&secret);
        let report = world.run().await;
        assert_eq!(code(&report), wanted, "{report:?}");
        if secret.len() > 20 {
            assert!(!format!("{report:?}").contains(&secret[..20]), "the token is told");
        }
    }
    world.tokens.replace(&unscoped);
    assert_eq!(only(&world.run().await).outcome, Outcome::Skipped);
    assert_eq!(world.simulator.requests(), []);
}

#[tokio::test]
async fn a_token_is_sent_to_no_unknown_host() {
    let world = World::empty().await;
    let mut settings = world.settings();
    settings.api_url = None;
    let ports = Ports {
        http: &world.http,
        tokens: &world.tokens,
        checkpoints: &world.checkpoints,
        archive: &world.archive,
    };
    let deadline = Instant::now() + world.run_for;
    let report = collect(ports, &settings, Task::Tail, world.now(), deadline, &|_| ()).await;
    assert_eq!(code(&report), "Token.UnknownHost");
    assert_eq!(world.simulator.requests(), []);
}

#[tokio::test]
async fn a_rejected_cursor_restarts_from_a_time_and_adds_only_what_is_new() {
    let mut world = World::new(Options {
        events: Counts::of_total(4_000),
        days_ahead: 1,
        ..Options::default()
    })
    .await;
    world.feeds = vec![Feed::ItemUsages];
    world.run().await;
    world.simulator.clock().advance(minutes(180));
    let reject = Rule::new(When::Next(2), Effect::BadCursor).feed(ApiFeed::ItemUsages);
    world.simulator.faults().add(reject);
    let report = world.run().await;
    assert_eq!(outcomes(&report), [Outcome::Collected], "{report:?}");
    world.assert_complete();
}

/// 1,000 events of 20 KB are more than a page may have.
#[tokio::test]
async fn a_page_too_large_to_hold_is_asked_for_in_parts() {
    let world = World::empty().await;
    world.push("A", "2026-11-01T10:00:00Z");
    world.run().await;
    let filler = "x".repeat(20_000);
    let start: Timestamp = "2026-11-20T10:00:00Z".parse().unwrap();
    for n in 0..1_000 {
        let time = start + SignedDuration::from_secs(n);
        let line = format!(r#"{{"uuid":"L{n}","timestamp":"{time}","filler":"{filler}"}}"#);
        world.simulator.push(ApiFeed::SignInAttempts, &Event::new(line));
    }
    let report = world.run().await;
    assert_eq!(outcomes(&report), [Outcome::Collected], "{report:?}");
    world.assert_complete();
    world.push("B", "2026-11-20T11:00:00Z");
    assert_eq!(only(&world.run().await).events, 1);
    world.assert_complete();
}

#[tokio::test]
async fn what_is_new_is_counted_once() {
    let world = World::empty().await;
    for line in [
        r#"{"uuid":"B","timestamp":"2026-11-20T10:00:00Z","risk":1}"#,
        r#"{"uuid":"C","timestamp":"2026-11-20T10:00:01Z","type":"guessed"}"#,
        r#"{"uuid":"D","timestamp":"2026-11-20T10:00:02Z","type":"mfa_ok"}"#,
    ] {
        world.simulator.push(ApiFeed::SignInAttempts, &Event::new(line.to_owned()));
    }
    let report = world.run().await;
    let stream = only(&report);
    assert_eq!((stream.events, stream.unfamiliar_events), (3, 2));
    // Only once: what is known already is not told again.
    assert_eq!(only(&world.run().await).unfamiliar_events, 0);
    world.assert_complete();
}

/// Sorted by event time, a cursor behind a future event skips everything until
/// then.
#[tokio::test]
async fn an_event_from_the_future_does_not_blind_the_stream() {
    let world = World::empty().await;
    world.push("A", "2026-11-20T10:00:00Z");
    world.push("F", "2026-11-20T18:00:00Z");
    world.push("FF", "2031-01-01T00:00:00Z");
    assert_eq!(only(&world.run().await).future_events, 2);
    for hour in 12..16 {
        world.push(&format!("B{hour}"), &format!("2026-11-20T{hour}:00:01Z"));
        world.simulator.clock().advance(minutes(60));
        let report = world.run().await;
        assert_eq!(only(&report).events, 1, "{hour}");
        world.assert_complete();
    }
    // The future comes.
    world.simulator.clock().advance(minutes(1440));
    world.push("C", "2026-11-21T15:00:00Z");
    assert_eq!(only(&world.run().await).events, 1);
    world.assert_complete();
}

#[tokio::test]
async fn a_future_event_among_others_does_not_hold_up_a_stream_by_insertion() {
    let mut world = World::new(Options {
        events: Counts::NONE,
        sort: SortOrder::InsertionTime,
        ..Options::default()
    })
    .await;
    world.feeds = vec![Feed::SigninAttempts];
    let push = |n: i64, time: String| {
        let line = Bytes::from(format!(r#"{{"uuid":"{n}","timestamp":"{time}"}}"#));
        let visible = world.now() - SignedDuration::from_secs(10_000 - n);
        let event = Event::new(line).visible_at(visible);
        world.simulator.push(ApiFeed::SignInAttempts, &event);
    };
    for n in 0..2_500 {
        push(
            n,
            if n == 999 {
                "2031-01-01T00:00:00Z".to_owned()
            } else {
                "2026-11-19T00:00:00Z".to_owned()
            },
        );
    }
    world.run().await;
    world.assert_complete();
    world.simulator.clear_requests();
    world.run().await;
    assert_eq!(world.simulator.requests().len(), 1, "the cursor moved past the future event");
}

/// One page may hold events of more days than one commit should name.
#[tokio::test]
async fn a_page_over_many_days_is_committed_in_parts() {
    // Where there are more pages, the next ones wait while one is cut.
    for max_page in [1000, 200, 140] {
        let mut world =
            World::new(Options { events: Counts::NONE, max_page, ..Options::default() }).await;
        world.feeds = vec![Feed::SigninAttempts];
        let first: Timestamp = "2026-07-25T06:00:00Z".parse().unwrap();
        // 290 days, most of them ahead of the clock, as broken clients send them.
        for day in 0..290 {
            let time = first + SignedDuration::from_hours(24 * day);
            world.push(&format!("E{day}"), &time.to_string());
        }
        let report = world.run().await;
        assert_eq!(report.failures().count(), 0, "{report:?}");
        assert_eq!(only(&report).events, 290);
        world.assert_complete();
        world.run().await;
        world.assert_complete();
    }
}

#[tokio::test]
async fn a_run_ends_before_its_deadline_on_a_committed_batch() {
    let mut world = World::new(Options {
        events: Counts::of_total(20_000),
        latency: Duration::from_millis(300),
        ..Options::default()
    })
    .await;
    world.feeds = vec![Feed::ItemUsages];
    world.run_for = Duration::from_secs(2);
    let began = Instant::now();
    let report = world.run().await;
    assert_eq!(outcomes(&report), [Outcome::Partial], "{report:?}");
    assert!(began.elapsed() < world.run_for);
    let committed = only(&report).events;
    assert!(committed > 0);

    world.run_for = Duration::from_mins(1);
    let report = world.run().await;
    assert_eq!(outcomes(&report), [Outcome::Collected]);
    assert_eq!(only(&report).duplicates, 0, "it went on where it was");
    world.assert_complete();
}

#[tokio::test]
async fn a_resync_adds_what_arrived_late_and_only_that() {
    let world = World::new(Options {
        events: Counts::of_total(6_000),
        days: 6,
        days_ahead: 2,
        late_arrivals: true,
        ..Options::default()
    })
    .await;
    let mut late = 0;
    for _ in 0..8 {
        world.run().await;
        world.simulator.clock().advance(minutes(6 * 60));
    }
    world.run().await;
    let report = world.resync(24 * 9).await;
    assert_eq!(report.failures().count(), 0, "{report:?}");
    late += report.streams.iter().map(|stream| stream.late_events).sum::<u64>();
    assert!(late > 0, "nothing was late");
    world.assert_complete();

    // The same again adds nothing, and leaves nothing to do.
    let objects = world.archive.objects();
    let report = world.resync(24 * 9).await;
    assert_eq!(outcomes(&report), [Outcome::Idle; 3]);
    assert_eq!(world.archive.objects(), objects);
    assert!(world.checkpoints.rows().values().all(|row| row.resync.is_empty()));

    // The tail goes on where it was.
    world.simulator.clock().advance(minutes(60));
    let report = world.run().await;
    assert_eq!(report.streams.iter().map(|s| s.duplicates).sum::<u64>(), 0);
}

#[tokio::test]
async fn a_resync_that_runs_out_of_time_is_finished_by_the_next() {
    let mut world = World::new(Options {
        events: Counts { item_usages: 4_000, ..Counts::NONE },
        latency: Duration::from_millis(40),
        ..Options::default()
    })
    .await;
    world.feeds = vec![Feed::ItemUsages];
    world.run().await;
    // Late ones on each day.
    for day in 22..32 {
        let time = format!("2026-10-{day}T10:00:00Z");
        let line = format!(r#"{{"uuid":"L{day}","timestamp":"{time}"}}"#);
        world.simulator.push(ApiFeed::ItemUsages, &Event::new(line));
    }
    world.run_for = Duration::from_millis(700);
    let report = world.resync(24 * 40).await;
    assert_eq!(only(&report).outcome, Outcome::Partial, "{report:?}");
    world.run_for = Duration::from_mins(1);
    // The next one asks for less, and does both.
    let report = world.resync(1).await;
    assert_eq!(report.failures().count(), 0, "{report:?}");
    world.assert_complete();
    assert!(world.checkpoints.rows().values().all(|row| row.resync.is_empty()));
}

/// A crash at each step of a resync, then the tail and another resync.
#[tokio::test]
async fn a_crash_in_a_resync_loses_nothing_and_doubles_nothing() {
    let world = async || {
        let world = World::empty().await;
        for day in 10..14 {
            for n in 0..3 {
                world.push(&format!("E{day}-{n}"), &format!("2026-11-{day}T1{n}:00:00Z"));
            }
        }
        world.run().await;
        for day in 9..13 {
            world.push(&format!("L{day}"), &format!("2026-11-{day:02}T11:30:00Z"));
        }
        world
    };
    let window = |world: &World| {
        let from = "2026-11-08T00:00:00Z".parse().unwrap();
        Task::Resync(Window { from, to: world.now() })
    };
    let steps = {
        let world = world().await;
        let faults = Faults::default();
        world.work_with(&faults, window(&world)).await;
        world.assert_complete();
        faults.steps()
    };
    assert!(steps > 20, "{steps}");
    let faults = [Fault::CrashBefore, Fault::CrashAfter, Fault::LoseAnswer, Fault::Fail];
    let cases = (1..=steps).flat_map(|step| faults.iter().map(move |fault| (step, fault)));
    stream::iter(cases)
        .for_each_concurrent(16, async |(step, fault)| {
            let world = world().await;
            let faults = Faults::default();
            faults.on_step(step, fault.clone());
            world.work_with(&faults, window(&world)).await;
            if step % 2 == 0 {
                // What was staged may have vanished by the next run.
                world.archive.expire_uploads();
                world.simulator.clock().advance(minutes(20));
            }
            let report = world.run().await;
            assert_eq!(report.failures().count(), 0, "{step} {fault:?}: {report:?}");
            let report = world.resync(24 * 14).await;
            assert_eq!(report.failures().count(), 0, "{step} {fault:?}: {report:?}");
            world.assert_complete();
        })
        .await;
}

/// Each commits while the other holds what it has read.
#[tokio::test]
async fn tail_and_resync_beside_each_other_add_each_event_once() {
    for resync_first in [true, false] {
        let world = World::empty().await;
        world.push("A", "2026-11-18T10:00:00Z");
        world.push("C", "2026-11-19T10:00:00Z");
        world.run().await;
        world.push("B", "2026-11-18T11:00:00Z");
        world.push("D", "2026-11-19T11:00:00Z");
        // The tail is led back, so that both find B and D new.
        let rewind = Rule::new(When::Nth(1), Effect::Rewind(4)).feed(ApiFeed::SignInAttempts);
        let gates = (Gate::new(), Gate::new());
        let (one, two) = (Faults::default(), Faults::default());
        one.on(Operation::Commit, 1, Fault::Hold(gates.0.clone()));
        two.on(Operation::Commit, 1, Fault::Hold(gates.1.clone()));
        let from = "2026-11-18T00:00:00Z".parse().unwrap();
        let window = Task::Resync(Window { from, to: "2026-11-19T00:00:00Z".parse().unwrap() });
        world.simulator.faults().add(rewind);
        let order = async {
            gates.0.reached(1).await;
            gates.1.reached(1).await;
            let (first, second) =
                if resync_first { (&gates.1, &gates.0) } else { (&gates.0, &gates.1) };
            first.open();
            tokio::time::sleep(Duration::from_millis(200)).await;
            second.open();
        };
        let (tail, resync, ()) =
            tokio::join!(world.run_with(&one), world.work_with(&two, window), order);
        assert_eq!(tail.failures().count() + resync.failures().count(), 0, "{tail:?} {resync:?}");
        world.run().await;
        world.assert_complete();
        assert_eq!(world.archive.uploads(), []);
    }
}

/// The tail commits when the resync has read all there is: only if it was the same
/// is there anything to read again.
#[tokio::test]
async fn a_resync_goes_on_after_a_commit_of_something_else() {
    for (same, lists) in [(true, false), (false, false), (false, true)] {
        let world = World::empty().await;
        world.push("A", "2026-11-18T10:00:00Z");
        world.push("C", "2026-11-19T10:00:00Z");
        world.run().await;
        world.push("B", "2026-11-18T11:00:00Z");
        let (faults, gate) = (Faults::default(), Gate::new());
        faults.on(Operation::Load, 2, Fault::Hold(gate.clone()));
        let from = "2026-11-18T00:00:00Z".parse().unwrap();
        let day = Window { from, to: "2026-11-19T00:00:00Z".parse().unwrap() };
        let tail = async {
            gate.reached(1).await;
            let asked = world.simulator.requests().len();
            if same {
                let rewind = Rule::new(When::Nth(1), Effect::Rewind(4));
                world.simulator.faults().add(rewind.feed(ApiFeed::SignInAttempts));
            } else {
                world.push("D", "2026-11-19T11:00:00Z");
            }
            let tail = world.run().await;
            assert_eq!(only(&tail).events, 1);
            if lists {
                // Another resync wants the day, and dies.
                let mut row = world.checkpoints.rows().remove(&world.stream()).unwrap();
                let base = std::mem::replace(&mut row.commit_id, CommitId::random());
                (row.staged, row.resync) = (Vec::new(), vec![day]);
                world.checkpoints.commit(&world.stream(), Some(&base), &row).await.unwrap();
            }
            gate.open();
            asked + usize::try_from(only(&tail).pages).unwrap()
        };
        let (resync, asked) = tokio::join!(world.work_with(&faults, Task::Resync(day)), tail);
        assert_eq!(only(&resync).events, u64::from(!same), "{resync:?}");
        assert_eq!(world.simulator.requests().len() > asked, same || lists, "pages read again");
        assert!(world.checkpoints.rows().values().all(|row| row.resync.is_empty()));
        world.assert_complete();
    }
}

/// Its parts overlap by a second on both sides.
#[tokio::test]
async fn an_event_between_the_parts_of_a_crowded_day_is_one() {
    let options = Options { events: Counts::NONE, max_page: 3, ..Options::default() };
    let mut world = World::new(options).await;
    world.feeds = vec![Feed::SigninAttempts];
    for n in 0..9 {
        world.push(&format!("E{n}"), &format!("2026-11-18T00:00:0{n}Z"));
    }
    world.push("last", "2026-11-19T10:00:00Z");
    world.run().await;
    world.push("between", "2026-11-18T08:00:00.3Z");
    let day = "2026-11-18".parse::<Day>().unwrap();
    let window = Window { from: day.start(), to: day.end() };

    let report = world.work_on(&world.archive, &world.checkpoints, Task::Verify(window)).await;
    let findings = only(&report).findings.as_ref().unwrap();
    assert_eq!((findings.compared, findings.missing.len()), (10, 1), "{findings:?}");

    for events in [1, 0] {
        let task = Task::Backfill(window);
        let report = world.work_on(&world.archive, &world.checkpoints, task).await;
        assert_eq!(only(&report).events, events);
        world.assert_complete();
    }
}

/// The last to come before it lists a window.
#[tokio::test]
async fn a_resync_that_is_overtaken_to_its_end_leaves_what_others_have_listed() {
    let world = World::empty().await;
    world.push("A", "2026-11-20T11:30:00Z");
    world.run().await;
    world.push("late", "2026-11-20T11:20:00Z");
    let time = |text: &str| text.parse().unwrap();
    let listed = Window { from: time("2026-11-10T00:00:00Z"), to: time("2026-11-12T00:00:00Z") };
    let faults = Faults::default();
    let gates: Vec<_> = (0..6).map(|_| Gate::new()).collect();
    for (nth, gate) in (1..).zip(&gates) {
        faults.on(Operation::Commit, nth, Fault::Hold(gate.clone()));
    }
    let others = async {
        for (nth, gate) in gates.iter().enumerate() {
            gate.reached(1).await;
            let mut row = world.checkpoints.rows().remove(&world.stream()).unwrap();
            let base = std::mem::replace(&mut row.commit_id, CommitId::random());
            if nth + 1 == gates.len() {
                row.resync = vec![listed];
            }
            world.checkpoints.commit(&world.stream(), Some(&base), &row).await.unwrap();
            gate.open();
        }
    };
    let last_hour = Window { from: time("2026-11-20T11:00:00Z"), to: world.now() };
    let (report, ()) = tokio::join!(world.work_with(&faults, Task::Resync(last_hour)), others);

    assert_eq!(only(&report).outcome, Outcome::Partial);
    let row = world.checkpoints.rows().remove(&world.stream()).unwrap();
    assert_eq!(row.resync, [listed, last_hour]);
    world.resync(1).await;
    world.assert_complete();
}

/// Sorted by arrival, only the next day's request shows it, at its very edge.
#[tokio::test]
async fn a_backfill_finds_an_event_that_arrived_just_after_its_day() {
    let options =
        Options { events: Counts::NONE, sort: SortOrder::InsertionTime, ..Options::default() };
    let mut world = World::new(options).await;
    world.feeds = vec![Feed::SigninAttempts];
    let line = r#"{"uuid":"E","timestamp":"2026-11-18T23:59:59.5Z"}"#;
    let event = Event::new(line).visible_at("2026-11-19T00:00:03Z".parse().unwrap());
    world.simulator.push(ApiFeed::SignInAttempts, &event);
    let window = Window { from: "2026-11-17T00:00:00Z".parse().unwrap(), to: world.now() };
    for events in [1, 0] {
        let report =
            world.work_on(&world.archive, &world.checkpoints, Task::Backfill(window)).await;
        assert_eq!(only(&report).events, events);
        world.assert_complete();
    }
}

/// One that is overtaken when it ends writes what the row lists, which the other
/// has added to.
#[tokio::test]
async fn a_resync_leaves_the_windows_that_another_has_begun() {
    let world = World::empty().await;
    world.push("A", "2026-11-19T10:00:00Z");
    // The row goes on naming what is published.
    let faults = Faults::default();
    faults.on(Operation::Commit, 3, Fault::CrashBefore);
    world.run_with(&faults).await;
    let last =
        |hours| Window { from: world.now() - SignedDuration::from_hours(hours), to: world.now() };

    let (ending, dying, gate) = (Faults::default(), Faults::default(), Gate::new());
    ending.on(Operation::Commit, 1, Fault::Hold(gate.clone()));
    dying.on(Operation::Commit, 1, Fault::CrashAfter);
    let meanwhile = async {
        gate.reached(1).await;
        world.push("late", "2026-11-18T10:00:00Z");
        world.work_with(&dying, Task::Backfill(last(24 * 10))).await;
        assert!(dying.is_crashed());
        gate.open();
    };
    let (report, ()) = tokio::join!(world.work_with(&ending, Task::Resync(last(1))), meanwhile);
    assert_eq!(report.failures().count(), 0, "{report:?}");

    world.resync(1).await;
    world.assert_complete();
    assert!(world.checkpoints.rows().values().all(|row| row.resync.is_empty()));
}

#[tokio::test]
async fn what_was_expired_or_erased_never_comes_back() {
    let world = World::empty().await;
    world.push("old", "2026-11-01T10:00:00Z");
    let new = world.push("new", "2026-11-15T10:00:00Z");
    let mut settings = world.settings();
    settings.not_before = "2026-11-10T00:00:00Z".parse().unwrap();
    let window = Window { from: "2026-10-01T00:00:00Z".parse().unwrap(), to: world.now() };
    let ports = Ports {
        http: &world.http,
        tokens: &world.tokens,
        checkpoints: &world.checkpoints,
        archive: &world.archive,
    };
    for task in [Task::Tail, Task::Resync(window), Task::Backfill(window)] {
        let deadline = Instant::now() + world.run_for;
        let report = collect(ports, &settings, task, world.now(), deadline, &|_| ()).await;
        assert_eq!(report.failures().count(), 0, "{report:?}");
        assert_holds(&world.archive.objects(), "main", Feed::SigninAttempts, [&new]);
    }
}

#[tokio::test]
async fn a_gap_is_told_once_and_a_quiet_stream_has_none() {
    let world = World::empty().await;
    world.push("A", "2026-11-18T10:00:00Z");
    world.run().await;
    // Quiet, but collected.
    for _ in 0..13 {
        world.simulator.clock().advance(minutes(10 * 24 * 60));
        let report = world.run().await;
        assert_eq!(only(&report).gap, None);
    }
    // Not collected for 150 days: 30 are lost.
    world.simulator.clock().advance(minutes(150 * 24 * 60));
    let gap = only(&world.run().await).gap.unwrap();
    assert_eq!(gap.to.duration_since(gap.from), SignedDuration::from_hours(30 * 24));
    let row = world.checkpoints.load(&world.stream()).await.unwrap().unwrap();
    assert_eq!(row.gaps, [gap]);
    assert_eq!(only(&world.run().await).gap, None);
}
