//! The whole of the core on ports in memory, under schedules of anything that
//! may happen to a stream.
//!
//! A schedule is drawn by proptest, lived in virtual time, and judged against
//! what the simulator has returned to any request. `OPLAKE_SCHEDULES` says how
//! many are drawn; `make soak` draws a million. A schedule that fails is made
//! as small as it gets and added to `regressions.jsonl`, which is lived first
//! each time.
//!
//! A schedule fixes what happens, not how the tasks of a process take turns, so
//! a failure may need some repetition to show again.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod schedule;
mod world;

use std::cell::RefCell;
use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Instant;

use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};

use crate::schedule::{Schedule, schedules};
use crate::world::Worker;

/// Schedules drawn unless `OPLAKE_SCHEDULES` says otherwise.
const SCHEDULES: u32 = 10_000;

/// Threads that live them.
const WORKERS: u32 = 2;

/// How often each regression is lived.
const REPETITIONS: u32 = 5;

const REGRESSIONS: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/simulation/regressions.jsonl");

#[test]
fn whatever_happens_nothing_is_lost_and_nothing_is_doubled() {
    let wanted = wanted();
    let (started, lived) = (Instant::now(), AtomicU32::new(0));
    let failures: Vec<String> = thread::scope(|scope| {
        let workers = (0..WORKERS)
            .map(|nth| {
                let lived = &lived;
                scope.spawn(move || {
                    draw(wanted / WORKERS + u32::from(nth < wanted % WORKERS), lived)
                })
            })
            .collect::<Vec<_>>();
        workers.into_iter().filter_map(|worker| worker.join().unwrap()).collect()
    });
    let seconds = started.elapsed().as_secs_f64();
    println!("{} schedules in {seconds:.1} s", lived.load(Ordering::Relaxed));
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn every_schedule_that_ever_failed_passes() {
    let mut worker = Worker::new();
    let kept = std::fs::read_to_string(REGRESSIONS).unwrap();
    for line in kept.lines().filter(|line| line.starts_with('{')) {
        let schedule: Schedule = serde_json::from_str(line).unwrap();
        for _ in 0..REPETITIONS {
            worker.live(&schedule).unwrap_or_else(|wrong| panic!("{wrong}\n{line}"));
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a setting of the suite, not of the programs")]
fn wanted() -> u32 {
    std::env::var("OPLAKE_SCHEDULES").map_or(SCHEDULES, |count| count.parse().unwrap())
}

/// Lives `count` schedules, and says what failed.
fn draw(count: u32, lived: &AtomicU32) -> Option<String> {
    let config = Config {
        cases: count,
        max_shrink_iters: 4_000,
        failure_persistence: None,
        ..Config::default()
    };
    let worker = RefCell::new(Worker::new());
    let live = |schedule: Schedule| {
        lived.fetch_add(1, Ordering::Relaxed);
        worker.borrow_mut().live(&schedule).map_err(TestCaseError::fail)
    };
    let (reason, schedule) = match TestRunner::new(config).run(&schedules(), live) {
        Ok(()) => return None,
        Err(TestError::Fail(reason, schedule)) => (reason, schedule),
        Err(error) => return Some(error.to_string()),
    };
    let json = serde_json::to_string(&schedule).unwrap();
    keep(&reason.to_string(), &json);
    Some(format!("{reason}\n{schedule:#?}\nadded to {REGRESSIONS}:\n{json}"))
}

/// Adds a schedule to those that failed.
fn keep(reason: &str, line: &str) {
    let reason: String = reason.lines().take(1).flat_map(str::chars).take(300).collect();
    let file = std::fs::OpenOptions::new().append(true).create(true).open(REGRESSIONS);
    file.unwrap().write_all(format!("# {reason}\n{line}\n").as_bytes()).unwrap();
}
