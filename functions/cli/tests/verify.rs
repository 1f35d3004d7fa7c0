//! `oplake verify` and `oplake backfill` on a lake that was damaged by hand.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use events_api_simulator::{Counts, Event, Feed, Options, Simulator};
use jiff::Timestamp;
use serde_json::Value;

struct World {
    simulator: Simulator,
    folder: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        #[expect(clippy::disallowed_methods, reason = "oplake goes by the real clock")]
        let now = Timestamp::now();
        let events = Counts::of_total(3_000);
        let options = Options { now, events, days: 5, accounts: 1, ..Options::default() };
        let simulator = Simulator::start(options).await.unwrap();
        Self { simulator, folder: tempfile::tempdir().unwrap() }
    }

    fn lake(&self) -> PathBuf {
        self.folder.path().join("lake")
    }

    async fn oplake(&self, command: &str, arguments: &[&str]) -> Output {
        let mut oplake = Command::new(env!("CARGO_BIN_EXE_oplake"));
        oplake.arg(command).arg("--archive").arg(self.lake());
        oplake.arg("--checkpoints").arg(self.folder.path().join("lake.sqlite"));
        oplake.arg("--api-url").arg(self.simulator.url()).args(arguments);
        oplake.env("OP_EVENTS_API_TOKEN", self.simulator.token());
        tokio::task::spawn_blocking(move || oplake.output().unwrap()).await.unwrap()
    }

    /// The objects of item usages, by key.
    fn objects(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.lake().join("onepassword/v1/item_usages")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { found.push(path) }
            }
        }
        found.sort();
        found
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn findings(output: &Output, feed: &str) -> Value {
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", text(&output.stderr)));
    let streams = report["streams"].as_array().unwrap();
    streams.iter().find(|stream| stream["feed"] == feed).unwrap()["findings"].clone()
}

fn key(path: &Path, root: &Path) -> String {
    path.strip_prefix(root).unwrap().to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_named_and_repaired() {
    let world = World::new().await;
    assert!(world.oplake("collect", &[]).await.status.success());
    let clean = world.oplake("verify", &["--from", "10d", "--json"]).await;
    assert!(clean.status.success(), "{}", text(&clean.stderr));

    let objects = world.objects();
    assert!(objects.len() >= 4, "{objects:?}");
    let deleted = fs::read(&objects[0]).unwrap();
    fs::remove_file(&objects[0]).unwrap();
    let copy = objects[1].with_file_name("zz-copy.json.gz");
    fs::copy(&objects[1], &copy).unwrap();
    let whole = fs::read(&objects[2]).unwrap();
    fs::write(&objects[2], &whole[..whole.len() / 2]).unwrap();

    let damaged = world.oplake("verify", &["--from", "10d", "--json"]).await;
    assert_eq!(damaged.status.code(), Some(1), "{}", text(&damaged.stderr));
    let found = findings(&damaged, "item_usages");
    assert_eq!(found["double"][0]["key"], key(&copy, &world.lake()));
    assert_eq!(found["double"][0]["whole"], true);
    assert_eq!(found["unreadable"][0]["key"], key(&objects[2], &world.lake()));
    let lines = |gzip: &[u8]| {
        use std::io::Read;
        let mut lines = String::new();
        flate2::read::GzDecoder::new(gzip).read_to_string(&mut lines).unwrap();
        lines.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let mut expected: Vec<String> = [lines(&deleted), lines(&whole)]
        .concat()
        .iter()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["uuid"].as_str().unwrap().to_owned()
        })
        .collect();
    expected.sort();
    let mut missing: Vec<_> = found["missing"].as_array().unwrap().iter().collect();
    missing.sort_by_key(|event| event["uuid"].as_str().unwrap().to_owned());
    let missing: Vec<_> = missing.iter().map(|event| event["uuid"].as_str().unwrap()).collect();
    assert_eq!(missing, expected);
    assert!(text(&damaged.stderr).contains("missing: event "), "{}", text(&damaged.stderr));

    let repaired = world.oplake("verify", &["--from", "10d", "--repair"]).await;
    assert!(repaired.status.success(), "{}", text(&repaired.stderr));
    let again = world.oplake("verify", &["--from", "10d", "--json"]).await;
    assert!(again.status.success(), "{}", text(&again.stderr));
    // Nothing was thrown away.
    for moved in [&copy, &objects[2]] {
        let kept = world.lake().join("quarantine").join(key(moved, &world.lake()));
        assert!(kept.is_file(), "{}", kept.display());
    }
    // The tail goes on as if nothing had been.
    let collected = world.oplake("collect", &["--json"]).await;
    let report: Value = serde_json::from_slice(&collected.stdout).unwrap();
    assert_eq!(report["streams"][1]["outcome"], "idle");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_adds_what_is_missing_once() {
    let world = World::new().await;
    assert!(world.oplake("collect", &[]).await.status.success());
    let late = world.simulator.clock().now() - jiff::SignedDuration::from_hours(70);
    let line = format!(r#"{{"uuid":"LATE","timestamp":"{late}"}}"#);
    world.simulator.push(Feed::AuditEvents, &Event::new(line));

    for expected in [1, 0] {
        let output = world.oplake("backfill", &["--from", "5d", "--json"]).await;
        assert!(output.status.success(), "{}", text(&output.stderr));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["streams"][2]["late_events"], expected, "{report}");
    }
    let empty = world.oplake("backfill", &["--from", "1d", "--to", "2d"]).await;
    assert_eq!(empty.status.code(), Some(2));
    assert!(text(&empty.stderr).contains("the window is empty"), "{}", text(&empty.stderr));
}
