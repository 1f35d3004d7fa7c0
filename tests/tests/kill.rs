//! `oplake collect`, killed and stopped at every step, in both stores. Whatever
//! happens to a process, the next one goes on, and no event is lost or doubled.
#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests")]

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead as _, BufReader, PipeReader, Read as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use events_api_simulator::{Counts, Options, Simulator};
use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use oplake_core::feed::Feed;
use oplake_tests::judge::{api, assert_holds, files};
use oplake_tests::random::Random;
use oplake_tests::stack::Stack;
use oplake_tests::{binaries, judge};
use rusqlite::Connection;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

/// Of the random moments, in every run the same.
const SEED: u64 = 0x6F70_6C61_6B65;

/// Kills at random moments; the first of them while the history is collected.
const KILLS: u32 = 20;
const KILLS_IN_HISTORY: u32 = 8;

/// Kills wanted in each phase, and rounds in which they have to succeed.
const CONFIRMED: usize = 3;
const ROUNDS: u32 = 40;

/// Time that passes at 1Password between two runs: events of two days or more.
const MEANWHILE: Duration = Duration::from_hours(20);

/// How far a commit of a batch has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Within the stage.
    Staging,
    /// Within the commit.
    Committing,
    /// Between the commit and the end of the publication.
    Publishing,
    /// Published, but the row still names what was staged.
    Published,
}

const PHASES: [Phase; 4] = [Phase::Staging, Phase::Committing, Phase::Publishing, Phase::Published];

impl Phase {
    fn of(name: &str) -> Option<Self> {
        let found = PHASES.into_iter().find(|phase| phase.to_string() == name);
        found.filter(|_| !name.is_empty())
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Staging => "staging",
            Self::Committing => "committing",
            Self::Publishing => "publishing",
            Self::Published => "published",
        })
    }
}

/// A line of the log that tells of a commit.
struct Step<'a> {
    stream: &'a str,
    phase: Phase,
    objects: u32,
}

impl<'a> Step<'a> {
    /// Reads e.g. ``DEBUG `main/item_usages`: staging objects.count=3``.
    fn read(line: &'a str) -> Option<Self> {
        let (stream, rest) = line.trim_start().strip_prefix("DEBUG `")?.split_once("`: ")?;
        let (phase, objects) = rest.split_once(" objects.count=")?;
        Some(Self { stream, phase: Phase::of(phase)?, objects: objects.trim_end().parse().ok()? })
    }

    fn is_in(&self, phase: Phase) -> bool {
        self.phase == phase && self.objects > 0
    }
}

/// The phase that each stream's batch is in when the log ends here.
fn phases(log: &str) -> BTreeMap<&str, Phase> {
    let mut phases = BTreeMap::new();
    for Step { stream, phase, objects } in log.lines().filter_map(Step::read) {
        match (objects, phase) {
            // At the end of a run the row is cleared by a commit of no objects;
            // before it is committed, the row is as the batch has left it.
            (0, Phase::Staging | Phase::Committing) => {}
            (0, _) => drop(phases.remove(stream)),
            _ => drop(phases.insert(stream, phase)),
        }
    }
    phases
}

/// A running `oplake collect`.
struct Process {
    child: Child,
    stderr: BufReader<PipeReader>,
    log: String,
}

impl Process {
    fn start(command: &mut Command) -> Self {
        let (reader, writer) = std::io::pipe().unwrap();
        let child = command.stdout(Stdio::null()).stderr(writer).spawn().unwrap();
        // The command would keep the pipe open.
        command.stderr(Stdio::null());
        Self { child, stderr: BufReader::new(reader), log: String::new() }
    }

    /// Reads on to a line that is `wanted`; `false` if none comes.
    fn reads(&mut self, wanted: impl Fn(&str) -> bool) -> bool {
        loop {
            let start = self.log.len();
            if self.stderr.read_line(&mut self.log).unwrap() == 0 {
                return false;
            }
            if wanted(&self.log[start..]) {
                return true;
            }
        }
    }

    /// Reads on to the `nth` line of a batch in `phase`.
    fn reaches(&mut self, phase: Phase, nth: u64) -> bool {
        (0..nth).all(|_| self.reads(|line| Step::read(line).is_some_and(|step| step.is_in(phase))))
    }

    /// Kills the process, if it still runs, and waits for its end. Returns
    /// whether it was killed, and what it had logged.
    fn kill(mut self) -> (bool, String) {
        self.child.kill().unwrap();
        let (status, log) = self.wait();
        assert!(status.signal() == Some(9) || status.success(), "{status}:\n{log}");
        (!status.success(), log)
    }

    fn wait(mut self) -> (ExitStatus, String) {
        // Nobody else has the pipe, so it ends with the process.
        self.stderr.read_to_string(&mut self.log).unwrap();
        (self.child.wait().unwrap(), self.log)
    }

    /// Stops the process, and returns once it stands still; `false` if it has
    /// ended before.
    fn stop(&self) -> bool {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::STOP).unwrap();
        let either = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(pid), either).unwrap().unwrap().stopped()
    }

    fn resume(&self) {
        kill_process(Pid::from_child(&self.child), Signal::CONT).unwrap();
    }

    /// What a stopped process has logged, all of it.
    fn logged(&mut self) -> &str {
        loop {
            if self.stderr.buffer().is_empty() {
                let mut pipe = [PollFd::new(self.stderr.get_ref(), PollFlags::IN)];
                if poll(&mut pipe, Some(&Timespec::default())).unwrap() == 0 {
                    return &self.log;
                }
            }
            assert_ne!(self.stderr.read_line(&mut self.log).unwrap(), 0, "it has ended");
        }
    }
}

/// Where a lake and its checkpoints are.
struct Store {
    archive: String,
    checkpoints: String,
    env: Vec<(String, String)>,
}

/// A company, and what goes on with its lake.
struct World {
    simulator: Simulator,
    store: Store,
    random: Random,
}

impl World {
    #[expect(clippy::disallowed_methods, reason = "the program reads the clock, so its test must")]
    async fn new(store: Store) -> Self {
        let simulator = Simulator::start(Options {
            now: Timestamp::now(),
            accounts: 1,
            events: Counts::of_total(6_000),
            days: 25,
            days_ahead: 75,
            latency: Duration::from_millis(5),
            ..Options::default()
        });
        Self { simulator: simulator.await.unwrap(), store, random: Random::new(SEED) }
    }

    fn command_on(&self, store: &Store) -> Command {
        let mut command = Command::new(binaries::oplake());
        for name in ["EXTRA_CA_FILE", "HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"] {
            command.env_remove(name);
        }
        command.env("NO_PROXY", "*").envs(store.env.iter().cloned());
        command.env("OP_EVENTS_API_TOKEN", self.simulator.token()).stdin(Stdio::null());
        command.args(["--log-level", "debug", "collect", "--api-url", &self.simulator.url()]);
        command.args(["--archive", &store.archive, "--checkpoints", &store.checkpoints]);
        command
    }

    fn start(&self) -> Process {
        Process::start(&mut self.command_on(&self.store))
    }

    /// Time passes, events come.
    fn go_on(&self) {
        self.simulator.clock().advance(MEANWHILE);
    }

    /// Runs to the end, undisturbed; returns how long it took.
    fn run_on(&self, store: &Store) -> Duration {
        let began = Instant::now();
        let (status, log) = Process::start(&mut self.command_on(store)).wait();
        assert!(status.success(), "{status}:\n{log}");
        began.elapsed()
    }

    fn run(&self) -> Duration {
        self.run_on(&self.store)
    }

    /// Kills `count` runs, each at a random moment of the time that one takes:
    /// `takes`, or as long as one that ended before it was killed.
    fn kill_at_random(&mut self, count: u32, mut takes: Duration, seen: &mut Seen) {
        let (mut killed, mut rounds) = (0, 0);
        while killed < count {
            rounds += 1;
            assert!(rounds <= 4 * count, "{killed} kills in {rounds} rounds");
            self.go_on();
            let process = self.start();
            let moment = self.random.until(takes);
            std::thread::sleep(moment);
            let (was_killed, log) = process.kill();
            if was_killed {
                killed += 1;
                seen.note(&log);
            } else {
                takes = moment;
            }
        }
    }

    /// Kills runs in each of the phases.
    fn kill_in_every_phase(&mut self) -> (Seen, u32) {
        let mut seen = Seen::default();
        for round in 1..=ROUNDS {
            let wanted = PHASES.into_iter().min_by_key(|phase| seen.in_phase(*phase)).unwrap();
            if seen.in_phase(wanted) >= CONFIRMED {
                return (seen, round - 1);
            }
            self.go_on();
            let mut process = self.start();
            // Of the first stream to get there, the second or the third; at
            // once, or a little further into the phase.
            process.reaches(wanted, 1 + self.random.below(3));
            if self.random.below(2) == 0 {
                std::thread::sleep(self.random.until(Duration::from_millis(2)));
            }
            let (was_killed, log) = process.kill();
            if was_killed {
                seen.note(&log);
            }
        }
        (seen, ROUNDS)
    }

    /// Stops a run within `phase`, lets another one run to its end, and then
    /// the first. Returns how many tries it took.
    async fn overtake_in(&mut self, phase: Phase, lock: Option<&Connection>) -> u32 {
        for attempt in 1..=ROUNDS {
            self.go_on();
            let mut first = self.start();
            // What SQLite has locked would stay so while the process stands
            // still: it is stopped while the file is ours.
            let mut came = phase == Phase::Publishing || first.reaches(Phase::Staging, 1);
            if phase == Phase::Publishing {
                came &= first.reaches(phase, 1);
                hold(lock, "BEGIN EXCLUSIVE");
            } else {
                hold(lock, "BEGIN EXCLUSIVE");
                came &= first.reaches(phase, 1);
            }
            let stands = first.stop();
            hold(lock, "ROLLBACK");
            let stands_there =
                came && stands && phases(first.logged()).values().any(|stood| *stood == phase);
            self.run();
            first.resume();
            let (status, log) = first.wait();
            assert!(status.success(), "{status}:\n{log}");
            self.assert_complete().await;
            if stands_there {
                return attempt;
            }
        }
        panic!("no run was stopped while {phase}");
    }

    /// Asserts that the lake holds exactly what is visible by now.
    async fn assert_complete(&self) {
        let objects = self.store.objects().await;
        let mut all = 0;
        for feed in Feed::ALL {
            let visible = self.simulator.visible(api(feed), self.simulator.clock().now());
            all += visible.len();
            assert_holds(&objects, "main", feed, visible.iter().map(|known| &known.bytes));
        }
        assert!(all > 1_000, "{all} events");
        assert_eq!(judge::lines(&objects).len(), 3);
    }

    /// All of it.
    async fn suffer(mut self, elsewhere: Store, lock: Option<PathBuf>) {
        let began = Instant::now();
        let takes = self.run_on(&elsewhere);
        let mut random = Seen::default();
        self.kill_at_random(KILLS_IN_HISTORY, takes, &mut random);
        self.run();
        self.go_on();
        let usual = self.run();
        self.assert_complete().await;
        self.kill_at_random(KILLS - KILLS_IN_HISTORY, usual, &mut random);
        println!("{KILLS} random kills in {:?}, runs took {takes:?}, {usual:?}", began.elapsed());
        println!("  of them: {random}");

        let (seen, rounds) = self.kill_in_every_phase();
        println!("kills by the log in {rounds} rounds: {seen}, {:?}", began.elapsed());
        assert!(PHASES.into_iter().all(|phase| seen.in_phase(phase) >= CONFIRMED), "{seen}");
        self.run();
        self.assert_complete().await;

        let lock = lock.map(|path| Connection::open(path).unwrap());
        for phase in [Phase::Committing, Phase::Publishing] {
            let attempts = self.overtake_in(phase, lock.as_ref()).await;
            println!("overtaken while {phase}: {attempts} attempts, {:?}", began.elapsed());
        }
        // Late, but as any other.
        self.go_on();
        self.run();
        self.assert_complete().await;
    }
}

fn hold(lock: Option<&Connection>, statement: &str) {
    if let Some(lock) = lock {
        lock.busy_timeout(Duration::from_secs(20)).unwrap();
        lock.execute_batch(statement).unwrap();
    }
}

/// The kills by the phases that they fell into; one may count for several
/// streams, and most count for none.
#[derive(Debug, Default)]
struct Seen(Vec<Vec<Phase>>);

impl Seen {
    fn note(&mut self, log: &str) {
        self.0.push(phases(log).into_values().collect());
    }

    fn in_phase(&self, phase: Phase) -> usize {
        self.0.iter().filter(|kill| kill.contains(&phase)).count()
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} kills", self.0.len())?;
        PHASES.iter().try_for_each(|phase| write!(f, ", {} {phase}", self.in_phase(*phase)))
    }
}

impl Store {
    /// Every published object, by key.
    async fn objects(&self) -> BTreeMap<String, Bytes> {
        let Some(bucket) = self.archive.strip_prefix("s3://") else {
            return files(self.archive.as_ref());
        };
        let s3 = Stack::get().await.s3();
        let page = s3.list_object_versions().bucket(bucket).send().await.unwrap();
        assert_ne!(page.is_truncated(), Some(true), "more objects than this test looks at");
        let objects: BTreeMap<_, _> = stream::iter(page.versions())
            .map(|version| async {
                let key = version.key().unwrap();
                let object = s3.get_object().bucket(bucket).key(key).send().await.unwrap();
                (key.to_owned(), object.body.collect().await.unwrap().into_bytes())
            })
            .buffer_unordered(8)
            .collect()
            .await;
        assert_eq!(page.versions().len(), objects.len(), "an object was written over");
        objects
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_and_sqlite_survive_kills() {
    let place = || {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let (archive, checkpoints) = (path("lake"), path("lake.sqlite"));
        (folder, Store { archive, checkpoints, env: Vec::new() })
    };
    let ((_kept, store), (_also, elsewhere)) = (place(), place());
    let lock = store.checkpoints.clone().into();
    World::new(store).await.suffer(elsewhere, Some(lock)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3_and_dynamodb_survive_kills() {
    let stack = Stack::get().await;
    let place = async || Store {
        archive: format!("s3://{}", stack.bucket().await),
        checkpoints: format!("dynamodb://{}", stack.table().await),
        env: stack.env(),
    };
    let (store, elsewhere) = (place().await, place().await);
    World::new(store).await.suffer(elsewhere, None).await;
}
