//! Days on which the Events API is ill or slow, lived in virtual time by the
//! schedule of a deployed function: what is due arrives, nothing arrives twice,
//! and no run asks more often than it may.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::ops::Deref;
use std::time::Duration;

use events_api_simulator::{
    ClockMode, Counts, Effect, ErrorStyle, Options, RateLimit, RetryAfter, Rule, Simulator, When,
};
use jiff::{SignedDuration, Timestamp};
use oplake_core::collect::{Ports, Settings, Task, collect};
use oplake_core::events_api::{HttpClient, http_client};
use oplake_core::feed::{AccountName, Feed};
use oplake_core::partition::Prefix;
use oplake_core::report::{Outcome, Report};
use oplake_core::testing::{FixedTokens, MemoryArchive, MemoryCheckpoints};
use oplake_core::window::Window;
use oplake_tests::judge::{api, assert_holds};
use tokio::time::{Instant, sleep_until};

/// How often the function is invoked.
const EVERY: Duration = Duration::from_mins(5);

/// Time that an invocation has.
const TIMEOUT: Duration = Duration::from_mins(4);

/// Requests that a run makes at most when none is answered well: six more after
/// the first, for each of three streams and for the token.
const IN_VAIN: usize = 4 * 7;

/// A company whose clock runs with tokio's, which stands still while anything
/// can be done.
struct World {
    http: HttpClient,
    simulator: Simulator,
    tokens: FixedTokens,
    archive: MemoryArchive,
    checkpoints: MemoryCheckpoints,
    /// How far back the tail starts.
    lookback: SignedDuration,
}

/// A run of the past.
struct Run {
    report: Report,
    requests: usize,
}

impl Deref for Run {
    type Target = Report;

    fn deref(&self) -> &Report {
        &self.report
    }
}

impl Run {
    fn outcomes(&self) -> Vec<Outcome> {
        self.streams.iter().map(|stream| stream.outcome).collect()
    }

    fn codes(&self) -> Vec<&str> {
        self.failures().map(|(_, failure)| failure.code).collect()
    }

    fn lag(&self) -> Duration {
        let lags = self.streams.iter().map(|stream| stream.lag_seconds.unwrap());
        Duration::from_secs(lags.max().unwrap().unsigned_abs())
    }
}

impl World {
    async fn new(options: Options) -> Self {
        let options = Options { accounts: 1, clock: ClockMode::Running, ..options };
        let simulator = Simulator::start(options).await.unwrap();
        Self {
            http: http_client(None).unwrap(),
            tokens: FixedTokens::new(simulator.token()),
            simulator,
            archive: MemoryArchive::default(),
            checkpoints: MemoryCheckpoints::default(),
            lookback: SignedDuration::from_hours(24 * 119),
        }
    }

    /// Whose history is collected, and whose events keep coming.
    async fn in_operation() -> Self {
        let events = Counts::of_total(20_000);
        let world = Self::new(Options { events, days: 1, days_ahead: 1, ..Options::default() });
        let world = world.await;
        assert_eq!(world.run().await.outcomes(), [Outcome::Collected; 3]);
        world
    }

    fn now(&self) -> Timestamp {
        self.simulator.clock().now()
    }

    async fn run(&self) -> Run {
        self.work(Task::Tail, TIMEOUT).await
    }

    async fn work(&self, task: Task, timeout: Duration) -> Run {
        let settings = Settings {
            feeds: Feed::ALL.to_vec(),
            start: self.now() - self.lookback,
            api_url: Some(self.simulator.url().parse().unwrap()),
            prefix: Prefix::default(),
            account: AccountName::default(),
            not_before: Timestamp::MIN,
        };
        let Self { http, tokens, checkpoints, archive, .. } = self;
        let ports = Ports { http, tokens, checkpoints, archive };
        let before = self.simulator.requests().len();
        let deadline = Instant::now() + timeout;
        let report = collect(ports, &settings, task, self.now(), deadline, &|_| ()).await;
        assert!(Instant::now() <= deadline, "a run outlives its invocation");
        Run { report, requests: self.simulator.requests().len() - before }
    }

    /// The runs of `time`, as the schedule starts them.
    async fn go_on_for(&self, time: Duration) -> Vec<Run> {
        let start = Instant::now();
        let mut runs = Vec::new();
        while start.elapsed() < time {
            let next = Instant::now() + EVERY;
            runs.push(self.run().await);
            sleep_until(next).await;
        }
        runs
    }

    fn fails(&self, effect: Effect, when: When) {
        self.simulator.faults().add(Rule::new(when, effect));
    }

    /// Statuses and times of all answers, in order.
    fn answers(&self) -> Vec<(Timestamp, u16)> {
        let requests = self.simulator.requests();
        requests.iter().filter_map(|request| Some((request.at, request.status?))).collect()
    }

    fn count(&self, status: u16) -> usize {
        self.answers().into_iter().filter(|(_, answered)| *answered == status).count()
    }

    /// Asserts that the lake holds exactly what was visible at `time`.
    fn assert_complete(&self, time: Timestamp) {
        let objects = self.archive.objects();
        for feed in Feed::ALL {
            let visible = self.simulator.visible(api(feed), time);
            assert_holds(&objects, "main", feed, visible.iter().map(|known| &known.bytes));
        }
    }

    /// All is well again: one run catches up.
    async fn recover(&self) {
        self.simulator.faults().clear();
        let time = self.now();
        let run = self.run().await;
        assert_eq!(run.codes(), [""; 0]);
        assert!(run.lag() < Duration::from_mins(1), "{:?}", run.lag());
        self.assert_complete(time);
    }
}

const fn status(status: u16, style: ErrorStyle) -> Effect {
    Effect::Status { status, style: Some(style), retry_after: None }
}

#[tokio::test(start_paused = true)]
async fn a_fifth_of_all_requests_failing_for_13_minutes_holds_up_nothing() {
    let world = backlog(1_000, RateLimit::DOCUMENTED, None).await;
    world.fails(status(500, ErrorStyle::Flat), When::Chance(0.2));

    let runs = world.go_on_for(Duration::from_mins(13)).await;

    let failed = world.count(500);
    assert!(failed > 150, "{failed} requests have failed");
    // A page fails for good with a chance of one in 78,000.
    let stopped = runs.iter().map(|run| run.codes().len()).sum::<usize>();
    assert!(stopped <= 1, "{stopped} streams have failed");
    let requests: usize = runs.iter().map(|run| run.requests).sum();
    assert!(requests <= 1_020 + failed, "{requests} requests");
    world.recover().await;
}

#[tokio::test(start_paused = true)]
async fn forty_minutes_of_503_cost_lag_and_nothing_else() {
    let world = World::in_operation().await;
    world.fails(status(503, ErrorStyle::Proxy), When::Always);

    let runs = world.go_on_for(Duration::from_mins(40)).await;

    assert_eq!(runs.len(), 8);
    for run in &runs {
        assert_eq!(run.outcomes(), [Outcome::Failed; 3]);
        assert_eq!(run.codes(), ["EventsApi.Status"; 3]);
        assert!(run.requests <= IN_VAIN, "{} requests", run.requests);
    }
    assert!(runs[7].lag() > Duration::from_mins(30), "{:?}", runs[7].lag());
    world.recover().await;
}

#[tokio::test(start_paused = true)]
async fn an_hour_of_slow_answers_is_collected_through() {
    let world = World::in_operation().await;
    world.fails(Effect::SlowHeaders(Duration::from_secs(25)), When::Always);

    for run in world.go_on_for(Duration::from_hours(1)).await {
        assert_eq!(run.codes(), [""; 0]);
        assert!(run.lag() < EVERY, "{:?}", run.lag());
    }
    world.recover().await;
}

#[tokio::test(start_paused = true)]
async fn an_hour_without_answers_ends_each_run_in_time() {
    let world = World::in_operation().await;
    world.fails(Effect::SlowHeaders(Duration::from_mins(10)), When::Always);

    for run in world.go_on_for(Duration::from_hours(1)).await {
        assert_eq!(run.outcomes(), [Outcome::Failed; 3]);
        assert!(run.requests <= IN_VAIN, "{} requests", run.requests);
    }
    world.recover().await;
}

/// A backlog in pages of ten, and what is allowed of it.
async fn backlog(pages: usize, limit: RateLimit, retry_after: Option<RetryAfter>) -> World {
    World::new(Options {
        events: Counts::of_total(10 * pages),
        days: 110,
        max_page: 10,
        rate_limit: Some(limit),
        retry_after,
        ..Options::default()
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_backlog_is_collected_within_the_documented_limits() {
    let world = backlog(4_000, RateLimit::DOCUMENTED, None).await;

    let runs = world.go_on_for(Duration::from_mins(15)).await;

    assert!(runs[0].outcomes().contains(&Outcome::Partial), "{:?}", runs[0].outcomes());
    assert_eq!(world.count(429), 0);
    world.assert_complete(world.now());
}

#[tokio::test(start_paused = true)]
async fn smaller_limits_slow_a_backlog_down_and_lose_nothing() {
    for retry_after in [None, Some(RetryAfter::Seconds), Some(RetryAfter::HttpDate)] {
        let limit = RateLimit { per_minute: 60, per_hour: 400 };
        let world = backlog(1_000, limit, retry_after).await;

        let runs = world.go_on_for(Duration::from_hours(4)).await;

        let refused = world.count(429);
        assert!(refused > 0, "{retry_after:?}");
        for run in &runs {
            assert!(run.requests <= 4 * 60 + IN_VAIN, "{retry_after:?}: {}", run.requests);
        }
        // Whoever was refused waits for the end of the window, if he knows it.
        let answers = world.answers();
        let mut minutes: Vec<_> =
            answers.iter().filter(|(_, s)| *s == 429).map(|(at, _)| at.as_second() / 60).collect();
        minutes.dedup();
        assert!(refused <= 8 * minutes.len(), "{refused} in {} minutes", minutes.len());
        world.assert_complete(world.now());
    }
}

#[tokio::test(start_paused = true)]
async fn a_backfill_uses_its_share_of_the_limit_for_an_hour_and_leaves_the_tail_its_own() {
    const HOUR: Duration = Duration::from_hours(1);
    let world = World {
        lookback: SignedDuration::ZERO,
        ..World::new(Options {
            events: Counts::of_total(125_000),
            days: 110,
            days_ahead: 1,
            max_page: 5,
            rate_limit: Some(RateLimit::DOCUMENTED),
            ..Options::default()
        })
        .await
    };
    world.fails(Effect::SlowHeaders(Duration::from_millis(400)), When::Always);
    let (start, began) = (world.now(), Instant::now());
    let all = Window { from: start - SignedDuration::from_hours(24 * 119), to: start };

    let backfill = async {
        let run = world.work(Task::Backfill(all), Duration::from_hours(10)).await;
        assert_eq!(run.outcomes(), [Outcome::Collected; 3]);
        began.elapsed()
    };
    let tail = async {
        loop {
            let next = Instant::now() + EVERY;
            let run = world.run().await;
            assert_eq!(run.codes(), [""; 0]);
            assert!(run.lag() < Duration::from_mins(1), "{:?}", run.lag());
            sleep_until(next).await;
        }
    };
    let took = tokio::select! {
        took = backfill => took,
        () = tail => unreachable!("the tail goes on for ever"),
    };

    assert_eq!(world.count(429), 0);
    assert!(took > HOUR, "{took:?}");
    // A few of them are the tail's: of 12 runs, three each and the pages of an hour.
    let hour = start + HOUR;
    let requests = world.answers().iter().filter(|(at, _)| *at < hour).count();
    assert!(requests > 400 * 60 * 9 / 10 + 12 * 3 + 60, "{requests} in an hour");
    world.recover().await;
}
