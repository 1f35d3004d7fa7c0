//! Real processes on the local stack while everything goes wrong at once: they
//! work beside each other, are killed and stopped at random, and what lies
//! between them and AWS cuts, delays and falsifies answers, as the Events API
//! does too. Whatever came of it, one undisturbed run makes the lake complete,
//! and no object ever changes.
//!
//! `OPLAKE_ROUNDS` says how many rounds, `OPLAKE_SEED` which; `make chaos` does
//! 200.
#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::pin::pin;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use events_api_simulator::{Counts, Effect as ApiEffect, Options, Rule, Simulator, When};
use futures::future::{Either, join_all, select};
use jiff::{SignedDuration, Timestamp};
use oplake_core::feed::Feed;
use oplake_tests::binaries;
use oplake_tests::judge::{api, assert_holds};
use oplake_tests::proxy::{CONFLICT, Call, Effect, INTERNAL, NO_UPLOAD, Operation, Proxy, TAKEN};
use oplake_tests::random::Random;
use oplake_tests::runtime_api::Function;
use oplake_tests::stack::{ACCOUNT, Stack};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

const ROUNDS: u64 = 20;
const SEED: u64 = 0x0063_6861_6F73;

/// Rounds after which the lake must be complete.
const JUDGED_AFTER: u64 = 5;

/// How long ago it all begins, and so how much time the rounds can use up.
const AGO: SignedDuration = SignedDuration::from_hours(24 * 100);

/// Longer than a process needs, whatever it meets.
const LONG: Duration = Duration::from_mins(2);

/// Within this time of its start a process is struck.
const SOON: Duration = Duration::from_millis(900);

/// Of this many calls to AWS, one goes wrong; of completions, one of three.
const ONE_IN: u64 = 14;

/// What becomes of a process.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Lives,
    IsKilled(Duration),
    Stands(Duration, Duration),
}

/// What happened, and how often.
#[derive(Debug, Clone, Default)]
struct Tally(Arc<Mutex<BTreeMap<String, u64>>>);

impl Tally {
    fn note(&self, what: impl Into<String>) {
        *self.0.lock().unwrap().entry(what.into()).or_default() += 1;
    }

    fn of(&self, part: &str) -> u64 {
        let all = self.0.lock().unwrap();
        all.iter().filter(|(what, _)| what.contains(part)).map(|(_, count)| count).sum()
    }

    fn table(&self) -> String {
        let mut table = String::new();
        for (what, count) in self.0.lock().unwrap().iter() {
            writeln!(table, "{count:>8} {what}").unwrap();
        }
        table
    }
}

struct World {
    simulator: Simulator,
    stack: Stack,
    proxy: Proxy,
    bucket: String,
    table: String,
    secret: String,
    random: Random,
    tally: Tally,
    /// The objects as last seen.
    published: BTreeMap<String, Bytes>,
}

impl World {
    #[expect(
        clippy::disallowed_methods,
        reason = "the programs read the clock, so must their test"
    )]
    async fn new(seed: u64) -> Self {
        let options = Options {
            seed,
            now: Timestamp::now() - AGO,
            accounts: 1,
            events: Counts::of_total(20_000),
            days: 15,
            days_ahead: 100,
            ..Options::default()
        };
        let simulator = Simulator::start(options).await.unwrap();
        let stack = Stack::get().await;
        Self {
            bucket: stack.bucket().await,
            table: stack.table().await,
            secret: stack.secret(Some(simulator.token())).await,
            proxy: Proxy::start().await,
            random: Random::new(seed),
            tally: Tally::default(),
            published: BTreeMap::new(),
            simulator,
            stack,
        }
    }

    fn now(&self) -> Timestamp {
        self.simulator.clock().now()
    }

    /// Of the calls to AWS, some go wrong.
    fn upset_aws(&mut self) {
        let (mut random, tally) = (Random::new(self.random.any()), self.tally.clone());
        self.proxy.rule(move |call: &Call<'_>| {
            let completes = call.operation == Operation::CompleteMultipartUpload;
            if random.below(if completes { 3 } else { ONE_IN }) > 0 {
                return None;
            }
            let delay = Duration::from_millis(random.below(700));
            let mut effects = vec![
                ("cut before", Effect::CutBefore),
                ("cut after", Effect::CutAfter),
                ("delayed", Effect::Delay(delay)),
                ("503", Effect::Refuse(503, "")),
                ("500 after it was done", Effect::Deny(500, "")),
            ];
            if completes {
                effects.extend([
                    ("no upload", Effect::Refuse(404, NO_UPLOAD)),
                    ("no upload after it was done", Effect::Deny(404, NO_UPLOAD)),
                    ("conflict", Effect::Refuse(409, CONFLICT)),
                    ("taken after it was done", Effect::Deny(412, TAKEN)),
                    ("200 with an error", Effect::Refuse(200, INTERNAL)),
                    ("200 with an error after it was done", Effect::Deny(200, INTERNAL)),
                ]);
            }
            let (name, effect) = random.of(&effects);
            tally.note(format!("{:?}: {name}", call.operation));
            Some(effect)
        });
    }

    /// Of the requests to the Events API, some go wrong.
    fn upset_api(&mut self) {
        let status = |status| ApiEffect::Status { status, style: None, retry_after: None };
        let effects = [
            status(500),
            status(503),
            ApiEffect::Reset,
            ApiEffect::CutBody,
            ApiEffect::TruncatedJson,
            ApiEffect::SlowHeaders(Duration::from_millis(300)),
            ApiEffect::EmptyPage { moves: true },
            ApiEffect::NullItems,
            ApiEffect::BadCursor,
            ApiEffect::Rewind(7),
            ApiEffect::DuplicateItem,
        ];
        for _ in 0..self.random.below(3) {
            let effect = self.random.of(&effects);
            self.tally.note(format!("Events API: a tenth is {effect:?}"));
            self.simulator.faults().add(Rule::new(When::Chance(0.1), effect));
        }
    }

    fn fate(&mut self) -> Fate {
        match self.random.below(4) {
            0 => Fate::Lives,
            1 => Fate::Stands(self.random.until(SOON), self.random.until(2 * SOON)),
            _ => Fate::IsKilled(self.random.until(SOON)),
        }
    }

    /// A window of some days, up to now.
    fn window(&mut self) -> (Timestamp, Timestamp) {
        let hours = 1 + self.random.below(100).cast_signed();
        (self.now() - SignedDuration::from_hours(hours), self.now())
    }

    /// Several processes at once; all have ended when this does.
    async fn round(&mut self) {
        let hours = 1 + self.random.below(20);
        self.simulator.clock().advance(Duration::from_hours(hours));
        self.upset_aws();
        self.upset_api();
        let work: Vec<_> = (0..=self.random.below(3))
            .map(|_| {
                let window = (self.random.below(3) == 0).then(|| self.window());
                (self.random.below(2) == 0, window, self.fate())
            })
            .collect();
        let this = &*self;
        join_all(work.into_iter().map(|(shell, window, fate)| async move {
            let program = if shell { "oplake" } else { "the function" };
            let what = if window.is_some() { "backfills" } else { "collects" };
            let ended = if shell {
                this.shell(this.proxy.url(), window, fate).await
            } else {
                this.function(window, fate).await
            };
            this.tally.note(format!("{program} {what}: {ended}"));
        }))
        .await;
        self.proxy.reset();
        self.simulator.faults().clear();
    }

    /// Runs `oplake`, and says how it ended.
    async fn shell(
        &self,
        aws: &str,
        window: Option<(Timestamp, Timestamp)>,
        fate: Fate,
    ) -> &'static str {
        let mut command = Command::new(binaries::oplake());
        command.env_clear().envs(self.stack.env()).env("AWS_ENDPOINT_URL", aws);
        command.env("OP_EVENTS_API_TOKEN", self.simulator.token());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        match window {
            None => command.arg("collect"),
            Some((from, to)) => {
                command.args(["backfill", "--from", &from.to_string(), "--to", &to.to_string()])
            }
        };
        command.args(["--api-url", &self.simulator.url()]);
        command.args(["--archive", &format!("s3://{}", self.bucket)]);
        command.args(["--checkpoints", &format!("dynamodb://{}", self.table)]);
        let child = command.kill_on_drop(true).spawn().unwrap();
        let process = Pid::from_raw(child.id().unwrap().cast_signed()).unwrap();
        let ended = timeout(LONG, child.wait_with_output());
        let output = beside(ended, suffer(process, fate)).await.expect("it hangs").unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        match (output.status.code(), output.status.signal()) {
            (Some(0), _) => "succeeds",
            (Some(1), _) => "fails",
            (_, Some(9)) => "is killed",
            _ => panic!("{}: {text}", output.status),
        }
    }

    /// Invokes the function, and says how that ended.
    async fn function(&self, window: Option<(Timestamp, Timestamp)>, fate: Fate) -> &'static str {
        let settings = [
            ("TOKEN_SECRET_ARN", self.secret.clone()),
            ("ARCHIVE_BUCKET", self.bucket.clone()),
            ("BUCKET_OWNER", ACCOUNT.to_owned()),
            ("CHECKPOINT_TABLE", self.table.clone()),
            ("EVENTS_API_URL", self.simulator.url()),
            ("AWS_ENDPOINT_URL", self.proxy.url().to_owned()),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value));
        let environment: BTreeMap<_, _> = self.stack.env().into_iter().chain(settings).collect();
        let mut function = Function::start(&binaries::collector(), environment).await;
        let process = function.process();
        let input = match window {
            None => json!({}),
            Some((from, to)) => json!({"backfill": {"from": from, "to": to}}),
        };
        let answer = beside(function.invoke(input, LONG), suffer(process, fate)).await;
        let ended = match &answer {
            Ok(_) => "succeeds",
            Err(error) if error.error_type == "Runtime.ExitError" => "is killed",
            Err(error) => {
                assert_ne!(error.error_type, "Sandbox.Timedout", "it hangs");
                "fails"
            }
        };
        let written = function.stop().await;
        let panic = written.stdout.iter().chain(&written.stderr).find(|l| l.contains("panicked"));
        assert_eq!(panic, None);
        assert!(ended != "is killed" || matches!(fate, Fate::IsKilled(_)), "{answer:?}");
        ended
    }

    /// Nothing goes wrong, once; then the lake holds exactly what is visible,
    /// and all that it held.
    async fn assert_recovers(&mut self) {
        let aws = oplake_tests::stack::ENDPOINT;
        assert_eq!(self.shell(aws, None, Fate::Lives).await, "succeeds");
        let objects = self.stack.objects(&self.bucket).await;
        for (key, body) in &self.published {
            assert!(objects.get(key) == Some(body), "{key} has changed or vanished");
        }
        for feed in Feed::ALL {
            let visible = self.simulator.visible(api(feed), self.now());
            assert_holds(&objects, "main", feed, visible.iter().map(|known| &known.bytes));
        }
        self.published = objects;
    }
}

/// Waits for `process`, `fate` taking its course as long as that runs.
async fn beside<T>(process: impl Future<Output = T>, fate: impl Future<Output = ()>) -> T {
    match select(pin!(process), pin!(fate)).await {
        Either::Left((ended, _)) => ended,
        Either::Right(((), process)) => process.await,
    }
}

async fn suffer(process: Pid, fate: Fate) {
    // One that has just ended has nothing to suffer.
    let signal = |signal| kill_process(process, signal).ok();
    match fate {
        Fate::Lives => {}
        Fate::IsKilled(after) => {
            sleep(after).await;
            signal(Signal::KILL);
        }
        Fate::Stands(after, time) => {
            sleep(after).await;
            signal(Signal::STOP);
            sleep(time).await;
            signal(Signal::CONT);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a setting of the suite, not of the programs")]
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_goes_wrong_one_good_run_makes_the_lake_complete() {
    let (rounds, seed) = (setting("OPLAKE_ROUNDS", ROUNDS), setting("OPLAKE_SEED", SEED));
    assert!(12 * rounds <= 24 * 100, "the API's clock would overtake the programs'");
    let began = Instant::now();
    let mut world = World::new(seed).await;
    for round in 1..=rounds {
        world.round().await;
        if round % JUDGED_AFTER == 0 || round == rounds {
            world.assert_recovers().await;
            println!("{round} rounds, {} objects, {:?}", world.published.len(), began.elapsed());
        }
    }
    println!("seed {seed}\n{}", world.tally.table());
    for wanted in ["is killed", "succeeds", "CompleteMultipartUpload", "PutItem", "Events API"] {
        assert!(world.tally.of(wanted) > 0, "{wanted} never happened");
    }
}
