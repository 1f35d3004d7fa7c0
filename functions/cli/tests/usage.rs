//! What the program says to a person, and what it says to a shell: exit
//! status, standard output, standard error.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use events_api_simulator::{
    Counts, Effect, ErrorStyle, Feed as ApiFeed, Options, Rule, Simulator, TokenSpec, When,
};
use flate2::read::MultiGzDecoder;
use jiff::{SignedDuration, Timestamp};
use oplake_cli::sqlite::SqliteCheckpoints;
use oplake_core::archive::Staged;
use oplake_core::checkpoint::{CheckpointStore as _, CommitId};
use oplake_core::feed::{AccountName, Feed, Stream};
use serde_json::Value;
use tempfile::TempDir;

const TOKEN: &str = "OP_EVENTS_API_TOKEN";

/// A feed by its two names.
const FEEDS: [(&str, ApiFeed); 3] = [
    ("audit_events", ApiFeed::AuditEvents),
    ("item_usages", ApiFeed::ItemUsages),
    ("signin_attempts", ApiFeed::SignInAttempts),
];

/// The program, with nothing set that this process happens to have set.
fn oplake() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oplake"));
    for name in [
        TOKEN,
        "ALL_PROXY",
        "COLUMNS",
        "EVENTS_API_URL",
        "EXTRA_CA_FILE",
        "HTTPS_PROXY",
        "HTTP_PROXY",
        "LOG_LEVEL",
        "RUST_LOG",
        "http_proxy",
        "https_proxy",
    ] {
        command.env_remove(name);
    }
    command.env("NO_PROXY", "*").stdin(Stdio::null());
    command
}

/// A run that is over.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    #[track_caller]
    fn new(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    #[track_caller]
    fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// Asserts that it ended with status 2, saying all of `parts` on standard
    /// error and nothing on standard output.
    #[track_caller]
    fn ends_as_misuse(self, parts: &[&str]) {
        let ran = self.exits(2);
        assert_eq!(ran.out, "");
        ran.says(parts);
    }

    #[track_caller]
    fn says(&self, parts: &[&str]) {
        let said = one_line(&self.err);
        for part in parts {
            assert!(said.contains(part), "`{part}` is not in: {said}");
        }
    }

    /// The one JSON value on standard output.
    #[track_caller]
    fn json(&self) -> Value {
        assert_eq!(self.out.matches('\n').count(), 1, "{self:#?}");
        serde_json::from_str(&self.out).unwrap()
    }

    /// Events by feed, as `collect --json` tells of them.
    #[track_caller]
    fn events(&self) -> u64 {
        let report = self.json();
        let streams = report["streams"].as_array().unwrap();
        streams.iter().map(|stream| stream["events"].as_u64().unwrap()).sum()
    }
}

/// Help is wrapped to some width.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[expect(clippy::disallowed_methods, reason = "the program reads the clock, so its test must")]
fn now() -> Timestamp {
    Timestamp::now()
}

/// A company, and an empty folder.
struct Shell {
    folder: TempDir,
    simulator: Simulator,
}

impl Shell {
    async fn new() -> Self {
        let simulator = Simulator::start(Options {
            now: now(),
            events: Counts::of_total(600),
            days: 5,
            days_ahead: 1,
            ..Options::default()
        });
        Self { folder: tempfile::tempdir().unwrap(), simulator: simulator.await.unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn lake(&self) -> PathBuf {
        self.path("lake")
    }

    /// `collect` without archive and checkpoints.
    fn collect_with(&self, token: &str) -> Command {
        let mut command = oplake();
        command.env(TOKEN, token).args(["collect", "--api-url", &self.simulator.url()]);
        command
    }

    /// `collect` into `archive`.
    fn collect_into(&self, archive: &Path) -> Command {
        let mut command = self.collect_with(self.simulator.token());
        command.arg("--archive").arg(archive).arg("--checkpoints").arg(self.checkpoints());
        command
    }

    fn collect(&self) -> Command {
        self.collect_into(&self.lake())
    }

    fn checkpoints(&self) -> PathBuf {
        self.path("lake.sqlite")
    }

    /// Another command on the checkpoints.
    fn on_checkpoints(&self, command: &str) -> Command {
        let mut oplake = oplake();
        oplake.arg(command).arg("--checkpoints").arg(self.checkpoints());
        oplake
    }

    /// Whether the lake in `root` holds exactly what is visible of `feed`.
    #[track_caller]
    fn assert_holds(&self, root: &Path, feed: (&str, ApiFeed)) {
        let visible = self.simulator.visible(feed.1, self.simulator.clock().now());
        let mut visible: Vec<_> =
            visible.iter().map(|known| String::from_utf8(known.bytes.to_vec()).unwrap()).collect();
        visible.sort();
        let found = lines(root).remove(feed.0).unwrap_or_default();
        assert_eq!(found.len(), visible.len(), "{}", feed.0);
        assert!(found == visible, "{}: not what was served", feed.0);
    }

    #[track_caller]
    fn assert_complete(&self, root: &Path) {
        for feed in FEEDS {
            self.assert_holds(root, feed);
        }
    }

    fn refuse(&self, feed: ApiFeed) {
        let refuse = Effect::Status { status: 401, style: None, retry_after: None };
        self.simulator.faults().add(Rule::new(When::Always, refuse).feed(feed));
    }
}

/// Every line of the lake in `root`, by feed, sorted.
fn lines(root: &Path) -> BTreeMap<String, Vec<String>> {
    let mut lines = BTreeMap::<_, Vec<String>>::new();
    let prefix = root.join("onepassword/v1");
    for path in files(&prefix) {
        let feed = path.strip_prefix(&prefix).unwrap().iter().next().unwrap();
        let mut text = String::new();
        MultiGzDecoder::new(File::open(&path).unwrap()).read_to_string(&mut text).unwrap();
        let found = lines.entry(feed.to_str().unwrap().to_owned()).or_default();
        found.extend(text.lines().map(str::to_owned));
    }
    for lines in lines.values_mut() {
        lines.sort();
    }
    lines
}

/// Every file below `root`, if there is such a folder.
fn files(root: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(root) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// The commands that the help lists.
fn commands() -> BTreeSet<String> {
    let help = Ran::new(oplake().arg("--help")).exits(0).out;
    let list = help.split_once("Commands:\n").unwrap().1.split_once("\n\n").unwrap().0;
    let names = list.lines().map(|line| line.split_whitespace().next().unwrap().to_owned());
    names.filter(|name| name != "help").collect()
}

#[test]
fn help_shows_examples() {
    let mut commands = commands();
    for (command, examples) in [
        ("demo", &["oplake demo --events 200000 --out /tmp/lake"][..]),
        (
            "collect",
            &[
                "export OP_EVENTS_API_TOKEN=…",
                "oplake collect --archive lake --checkpoints lake.sqlite --since 30d",
                "--archive s3://my-lake --checkpoints dynamodb://my-checkpoints",
                "Exit status: 0 all streams are fine",
            ],
        ),
        (
            "status",
            &[
                "oplake status --checkpoints lake.sqlite",
                "oplake status --checkpoints dynamodb://my-checkpoints --json",
            ],
        ),
        (
            "backfill",
            &[
                "oplake backfill --archive lake --checkpoints lake.sqlite --from 14d",
                "--from 2026-03-01T00:00:00Z --to 2026-03-08T00:00:00Z --feeds audit_events",
            ],
        ),
        (
            "verify",
            &[
                "oplake verify --archive lake --checkpoints lake.sqlite --from 30d --repair",
                "Exit status: 0 the lake holds what 1Password has",
            ],
        ),
        (
            "reset",
            &[
                "oplake reset --checkpoints lake.sqlite --feeds audit_events",
                "oplake reset --checkpoints lake.sqlite --move --archive /new/lake",
            ],
        ),
        (
            "check",
            &["oplake check --stack-parameters parameters.json", "Exit status: 0 nothing is wrong"],
        ),
        (
            "replay",
            &[
                "--target https://sqs.eu-west-1.amazonaws.com/111122223333/my-queue --journal march.txt",
                "--target arn:aws:sns:eu-west-1:111122223333:my-topic",
                "Exit status: 0 all was sent",
            ],
        ),
    ] {
        let ran = Ran::new(oplake().args([command, "--help"])).exits(0);
        assert_eq!(ran.err, "");
        for example in examples.iter().chain(&["Examples:", "Usage: oplake"]) {
            assert!(ran.out.contains(example), "`{example}` is not in: {}", ran.out);
        }
        assert!(commands.remove(command), "{command}");
    }
    assert!(commands.is_empty(), "without examples here: {commands:?}");
    let version = Ran::new(oplake().arg("--version")).exits(0);
    assert_eq!(version.out, format!("oplake {}\n", env!("CARGO_PKG_VERSION")));
}

/// Every example of the help is a command line that is understood.
#[test]
fn examples_can_be_typed() {
    for command in commands() {
        let help = Ran::new(oplake().args([&command, "--help"])).exits(0).out.replace("\\\n", " ");
        let examples = help.split_once("Examples:").unwrap().1.lines().map(str::trim);
        let examples: Vec<_> = examples.filter(|line| line.starts_with("oplake ")).collect();
        assert!(examples.len() >= 2, "{help}");
        for example in examples {
            // Understood in full: the complaint is of the flag at the end alone.
            let words = example.split_whitespace().skip(1);
            let ran = Ran::new(oplake().args(words).arg("--not-a-flag"));
            ran.ends_as_misuse(&["unexpected argument '--not-a-flag'"]);
        }
    }
}

#[test]
fn a_wrong_command_line_is_explained() {
    Ran::new(oplake().arg("colect")).ends_as_misuse(&["'colect'", "'collect'"]);
    Ran::new(&mut oplake()).ends_as_misuse(&["collect", "status", "Usage: oplake"]);
    Ran::new(oplake().args(["demo", "--size", "5"])).ends_as_misuse(&["'--size'", "--help"]);
    Ran::new(oplake().args(["demo", "--events", "9"])).ends_as_misuse(&["'9'", "--events", "10.."]);
    Ran::new(oplake().args(["status", "--checkpoints", "x", "--log-level", "loud"]))
        .ends_as_misuse(&["'loud'", "--log-level"]);
    Ran::new(oplake().args(["collect", "--archive", "lake"]))
        .ends_as_misuse(&["required", "--checkpoints <FILE|dynamodb://TABLE>"]);
    Ran::new(oplake().args(["reset", "--checkpoints", "x", "--move"]))
        .ends_as_misuse(&["required", "--archive"]);
    Ran::new(oplake().args(["reset", "--checkpoints", "x", "--archive", "y"]))
        .ends_as_misuse(&["required", "--move"]);
}

#[test]
fn a_bad_value_is_named_with_what_to_use() {
    let folder = tempfile::tempdir().unwrap();
    for (flag, value, advice) in [
        (
            "--archive",
            "s3://b/x",
            "name the bucket only; what keys start with is given by --prefix",
        ),
        ("--archive", "gs://b", "use a folder or s3://BUCKET"),
        ("--archive", "", "name a folder or s3://BUCKET"),
        ("--checkpoints", "dynamodb://", "name the table: dynamodb://TABLE"),
        ("--checkpoints", "s3://b", "use a file or dynamodb://TABLE"),
        ("--feeds", "logins", "use signin_attempts, item_usages or audit_events"),
        ("--feeds", "audit_events,audit_events", "stands there twice"),
        ("--since", "yesterday", "use a time such as 2026-03-01T00:00:00Z or an age such as 36h"),
        ("--since", "2026-03-01", "use a time such as 2026-03-01T00:00:00Z"),
        ("--api-url", "http://example.com", "the token must travel over https"),
        ("--api-url", "https://events.1password.com/api", "a base URL without path"),
        ("--api-url", "events.1password.com", "such as https://events.1password.eu"),
        ("--prefix", "k=v", "is not a key prefix"),
        ("--account", "a/b", "use 1 to 64 letters, digits"),
    ] {
        let mut command = oplake();
        command.current_dir(folder.path()).env(TOKEN, "x").arg("collect");
        for (name, usual) in [("--archive", "lake"), ("--checkpoints", "lake.sqlite")] {
            if name != flag {
                command.args([name, usual]);
            }
        }
        Ran::new(command.args([flag, value])).ends_as_misuse(&[flag, value, advice]);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was made");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_bad_token_is_named_before_anything_is_made() {
    let shell = Shell::new().await;
    let good = shell.simulator.token();
    let expired = shell.simulator.mint(&TokenSpec {
        expires_at: Some(now() - SignedDuration::from_hours(1)),
        ..TokenSpec::default()
    });
    shell.simulator.clear_requests();
    let whole = "not a whole Events API token";
    let neither = "neither a bearer token nor a JSON object";
    for (token, parts) in [
        ("", &["there is no token", "OP_EVENTS_API_TOKEN", "Integrations, Events Reporting"][..]),
        ("  \n", &["there is no token", "OP_EVENTS_API_TOKEN"]),
        (&good[..good.len() / 2], &[whole, "copy it again, from the first to the last character"]),
        (&good[..good.len() - 2], &[whole, "84 of 86 characters", "copy it again"]),
        ("s3cret", &[whole, "it has 1 of 3 parts"]),
        (&expired, &["the token expired at", "issue a new one in 1Password"]),
        ("s3cret and more", &[neither, "white space"]),
        ("\"s3cret\"", &[neither, "quotes"]),
        ("{\"main\": s3cret}", &[neither, "line 1, column"]),
        ("{}", &[neither, "the object is empty"]),
        (
            "{\"a/b\": \"s3cret\"}",
            &[neither, "a name in it is not an account name: use 1 to 64 letters"],
        ),
    ] {
        let mut command = shell.collect_with(token);
        command.arg("--archive").arg(shell.lake()).arg("--checkpoints").arg(shell.checkpoints());
        let ran = Ran::new(&mut command);
        assert!(!ran.err.contains("s3cret") && !ran.err.contains("eyJ"), "{}", ran.err);
        ran.ends_as_misuse(parts);
    }
    let mut unset = shell.collect();
    unset.env_remove(TOKEN);
    Ran::new(&mut unset).ends_as_misuse(&["error: there is no token: set OP_EVENTS_API_TOKEN"]);
    // The simulator's own address is none of 1Password's.
    let mut unknown = oplake();
    unknown.env(TOKEN, good).args(["collect", "--archive"]).arg(shell.lake());
    Ran::new(unknown.arg("--checkpoints").arg(shell.checkpoints())).ends_as_misuse(&[
        "the token belongs to `127.0.0.1:",
        "not a known Events API host",
        "--api-url",
    ]);
    assert_eq!(shell.simulator.requests(), []);
    assert_eq!(fs::read_dir(shell.folder.path()).unwrap().count(), 0, "nothing was made");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_token_may_come_from_a_file() {
    let shell = Shell::new().await;
    let file = shell.path("token");
    let collect = |file: &Path| {
        let mut command = shell.collect();
        command.env_remove(TOKEN).arg("--token-file").arg(file);
        Ran::new(&mut command)
    };
    collect(&file).ends_as_misuse(&["missing or empty", file.to_str().unwrap(), TOKEN]);
    fs::write(&file, format!("{}\n", shell.simulator.token())).unwrap();
    collect(&file).exits(0);
    shell.assert_complete(&shell.lake());
    let mut both = shell.collect();
    Ran::new(both.args(["--token-file", "x", "--token-secret", "y"])).ends_as_misuse(&[
        "--token-file",
        "cannot be used with",
        "--token-secret",
    ]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_feed_that_the_token_lacks_is_skipped() {
    let shell = Shell::new().await;
    let feeds = vec![ApiFeed::AuditEvents];
    let token = shell.simulator.mint(&TokenSpec { feeds, ..TokenSpec::default() });
    let ran = Ran::new(shell.collect().env(TOKEN, token).arg("--json")).exits(0);
    let report = ran.json();
    let streams = report["streams"].as_array().unwrap();
    let outcomes: Vec<_> =
        streams.iter().map(|stream| (&stream["feed"], &stream["outcome"])).collect();
    assert_eq!(
        outcomes,
        [
            (&Value::from("signin_attempts"), &Value::from("skipped")),
            (&Value::from("item_usages"), &Value::from("skipped")),
            (&Value::from("audit_events"), &Value::from("collected")),
        ]
    );
    ran.says(&["signin_attempts skipped", "item_usages skipped", "audit_events collected"]);
    shell.assert_holds(&shell.lake(), FEEDS[0]);
    assert_eq!(lines(&shell.lake()).len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn places_that_cannot_be_used_are_named() {
    let shell = Shell::new().await;
    let file = shell.path("file");
    fs::write(&file, "no database, but long enough to be taken for one".repeat(9)).unwrap();
    let below = file.join("lake");
    Ran::new(&mut shell.collect_into(&below)).ends_as_misuse(&[
        "error: the archive",
        below.to_str().unwrap(),
        "choose a folder that this user may create or write to",
    ]);
    for (path, advice) in [
        (shell.path("missing/lake.sqlite"), "make its folder"),
        (file.clone(), "the file is no SQLite database; choose another file"),
        (shell.folder.path().to_owned(), "choose another file"),
    ] {
        let mut command = shell.collect_with(shell.simulator.token());
        command.arg("--archive").arg(shell.lake()).arg("--checkpoints").arg(&path);
        Ran::new(&mut command).ends_as_misuse(&["error: ", path.to_str().unwrap(), advice]);
        for name in ["status", "reset"] {
            let mut command = oplake();
            command.arg(name).arg("--checkpoints").arg(&path);
            // These two make nothing.
            let advice = if path.exists() { advice } else { "does not exist" };
            Ran::new(&mut command).ends_as_misuse(&["error: ", path.to_str().unwrap(), advice]);
        }
    }
    assert_eq!(shell.simulator.requests(), []);
    assert!(lines(&shell.lake()).is_empty());
    let ca = shell.path("ca.pem");
    let mut command = shell.collect();
    Ran::new(command.arg("--ca-file").arg(&ca)).ends_as_misuse(&["CA file", ca.to_str().unwrap()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_checkpoint_of_a_newer_version_is_refused_and_kept() {
    let shell = Shell::new().await;
    Ran::new(&mut shell.collect()).exits(0);
    let database = rusqlite::Connection::open(shell.checkpoints()).unwrap();
    database.execute("UPDATE checkpoints SET version = 2", []).unwrap();
    drop(database);
    let before = fs::read(shell.checkpoints()).unwrap();
    let lake = files(&shell.lake()).len();
    shell.simulator.clock().advance(Duration::from_hours(6));

    for mut command in
        [shell.collect(), shell.on_checkpoints("status"), shell.on_checkpoints("reset"), {
            let mut reset = shell.on_checkpoints("reset");
            reset.arg("--yes");
            reset
        }]
    {
        Ran::new(&mut command).ends_as_misuse(&[
            "main/",
            "has version 2",
            "upgrade it",
            "nothing was changed",
        ]);
    }
    assert!(fs::read(shell.checkpoints()).unwrap() == before, "the file was changed");
    assert_eq!(files(&shell.lake()).len(), lake);
}

/// A refused connection is tried again for a while, so only the first words
/// are waited for.
#[test]
fn an_unreachable_host_is_named_at_once() {
    let folder = tempfile::tempdir().unwrap();
    // Of a shape that passes; port 1 has no listener.
    let token = format!("eyJhbGciOiJFUzI1NiJ9.{}.{}", "e30", "A".repeat(86));
    let mut child = oplake()
        .current_dir(folder.path())
        .env(TOKEN, token)
        .args(["collect", "--archive", "lake", "--checkpoints", "lake.sqlite"])
        .args(["--api-url", "http://127.0.0.1:1", "--feeds", "audit_events"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    let line = said.next().unwrap().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    for part in [
        "will ask again",
        "the Events API at 127.0.0.1:1 cannot be reached: check the URL, DNS, the proxy",
        "Connection refused",
        "EventsApi.Transport",
    ] {
        assert!(line.contains(part), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_wrong_region_is_said_so() {
    let shell = Shell::new().await;
    let style = Some(ErrorStyle::Text);
    let missing = Effect::Status { status: 404, style, retry_after: None };
    shell.simulator.faults().add(Rule::new(When::Always, missing));
    let ran = Ran::new(&mut shell.collect());
    let host = shell.simulator.url().replace("http://", "");
    ran.ends_as_misuse(&[&host, "404", "the URL is of another region", "EventsApi.WrongServer"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_failing_feed_leaves_the_others_alone_and_is_told() {
    let shell = Shell::new().await;
    shell.refuse(ApiFeed::ItemUsages);
    let ran = Ran::new(shell.collect().arg("--json")).exits(1);
    ran.says(&[
        "error: main/item_usages: the Events API refused the token for feed item_usages (401",
        "issue a new one in 1Password",
        "(EventsApi.Unauthorized)",
        "signin_attempts collected",
        "audit_events collected",
    ]);
    let report = ran.json();
    assert_eq!(report["streams"][1]["error"]["code"], "EventsApi.Unauthorized");
    assert_eq!(report["streams"][1]["outcome"], "failed");
    shell.assert_holds(&shell.lake(), FEEDS[0]);
    shell.assert_holds(&shell.lake(), FEEDS[2]);
    assert!(!lines(&shell.lake()).contains_key("item_usages"));

    shell.simulator.faults().clear();
    Ran::new(&mut shell.collect()).exits(0);
    shell.assert_complete(&shell.lake());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn json_is_one_object_on_standard_output_and_the_summary_is_not() {
    let shell = Shell::new().await;
    let ran = Ran::new(shell.collect().args(["--json", "--log-level", "trace"])).exits(0);
    let report = ran.json();
    assert_eq!(report["streams"].as_array().unwrap().len(), 3);
    assert_eq!(report["token_days_left"], Value::Null);
    for stream in report["streams"].as_array().unwrap() {
        assert_eq!(stream["outcome"], "collected");
        assert!(stream["complete_until"].is_string() && stream["bytes"].as_u64().unwrap() > 0);
    }
    assert_eq!(ran.events(), 600 - not_yet(&shell));
    ran.says(&["account feed outcome events objects bytes pages complete until", "DEBUG"]);

    // Without --json nothing at all goes there.
    let ran = Ran::new(&mut shell.collect()).exits(0);
    assert_eq!(ran.out, "");
    ran.says(&["idle"]);
}

/// Events of the simulator that are still to come.
fn not_yet(shell: &Shell) -> u64 {
    let now = shell.simulator.clock().now();
    let visible = FEEDS.map(|(_, feed)| shell.simulator.visible(feed, now).len());
    600 - visible.iter().sum::<usize>() as u64
}

/// What the API says of the token, and what the token says of itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn check_names_what_is_wrong_with_a_token() {
    let shell = Shell::new().await;
    let check = |token: &str| {
        let mut command = oplake();
        command.env(TOKEN, token).args(["check", "--api-url", &shell.simulator.url()]);
        Ran::new(&mut command)
    };
    let mint = |spec: TokenSpec| shell.simulator.mint(&spec);
    let soon = now() + SignedDuration::from_hours(24 * 9 + 1);

    check(shell.simulator.token()).exits(0).says(&["good: token of `main`: ", "accepts it"]);
    let poor = mint(TokenSpec {
        feeds: vec![ApiFeed::AuditEvents],
        expires_at: Some(soon),
        ..TokenSpec::default()
    });
    check(&poor).exits(0).says(&[
        "good: token of `main`",
        "warning: token of `main`: it was issued without the feature for `signin_attempts`",
        "warning: token of `main`: it was issued without the feature for `item_usages`",
        "warning: token of `main`: it expires in 9 days",
    ]);
    let past = now() - SignedDuration::from_hours(1);
    let expired = mint(TokenSpec { expires_at: Some(past), ..TokenSpec::default() });
    check(&expired).exits(1).says(&["error: token of `main`: the token expired at"]);
    let unknown = mint(TokenSpec { account: 99, ..TokenSpec::default() });
    check(&unknown).exits(1).says(&["error: token of `main`: ", "401"]);
    check("half.a").exits(1).says(&["error: token: ", "it has 2 of 3 parts"]);
    Ran::new(oplake().arg("check")).exits(0).says(&["warning: token: there is no token"]);

    let token = shell.simulator.token();
    let twice = format!(r#"{{"one":"{token}","two":"{token}","three":"{poor}"}}"#);
    let ran = check(&twice).exits(1);
    ran.says(&["error: token of `two`: it is of the same 1Password account as that of `one`"]);
    assert_eq!(ran.err.matches("same 1Password account").count(), 2, "{}", ran.err);
    for secret in [token, &poor] {
        assert!(!ran.err.contains(secret), "{}", ran.err);
    }

    let mut json = oplake();
    json.env(TOKEN, token).args(["check", "--json", "--api-url", &shell.simulator.url()]);
    let ran = Ran::new(&mut json).exits(0);
    assert_eq!(ran.json()[0]["grade"], "good");
}

#[test]
fn check_takes_the_parameters_of_the_stack() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("parameters.json");
    let check = |text: &str| {
        fs::write(&path, text).unwrap();
        Ran::new(oplake().args(["check", "--stack-parameters"]).arg(&path))
    };
    check(r#"{"EventsApiUrl":"","RetentionDays":"0"}"#).exits(0).says(&["there is no token"]);
    check(r#"[{"ParameterKey":"LogLevel","ParameterValue":"INFO"}]"#).exits(0);
    check(r#"{"ObjectLock":"GOVERNANCE:30","RetentionDays":"30"}"#).exits(0);
    check(r#"{"ObjectLock":"GOVERNANCE:31","RetentionDays":"0"}"#).exits(0);
    for (text, complaint) in [
        ("", "this is no JSON object of texts"),
        (r#"{"RetentionDays":30}"#, "this is no JSON object of texts"),
        (r#"{"RetentionDays":"soon"}"#, "RetentionDays: `soon`: "),
        (r#"{"EventsApiUrl":"events"}"#, "EventsApiUrl: "),
        (
            r#"{"ObjectLock":"GOVERNANCE:31","RetentionDays":"30"}"#,
            "ObjectLock: `GOVERNANCE:31` locks objects for longer than RetentionDays, 30",
        ),
        (r#"{"KeyPrefix":"a b/"}"#, "KeyPrefix: `a b/`: "),
    ] {
        check(text).ends_as_misuse(&["parameters.json", complaint]);
    }
    Ran::new(oplake().args(["check", "--stack-parameters", "nowhere.json"]))
        .ends_as_misuse(&["nowhere.json"]);
    Ran::new(oplake().args(["check", "--archive", "lake"]))
        .ends_as_misuse(&["--archive lake: only a bucket is checked"]);
    Ran::new(oplake().args(["check", "--checkpoints", "lake.sqlite"]))
        .ends_as_misuse(&["--checkpoints lake.sqlite: only a table is checked"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_token_that_expires_soon_is_warned_of() {
    let shell = Shell::new().await;
    let expires_at = Some(now() + SignedDuration::from_hours(24 * 9 + 1));
    let token = shell.simulator.mint(&TokenSpec { expires_at, ..TokenSpec::default() });
    let ran = Ran::new(shell.collect().env(TOKEN, token).arg("--json")).exits(0);
    assert_eq!(ran.json()["token_days_left"], 9);
    ran.says(&["warning: a token expires in 9 days"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn status_tells_how_far_each_stream_is() {
    let shell = Shell::new().await;
    let status = |json: bool| {
        let mut status = shell.on_checkpoints("status");
        Ran::new(if json { status.arg("--json") } else { &mut status }).exits(0)
    };
    // Of a file that is empty.
    File::create(shell.checkpoints()).unwrap();
    assert_eq!(status(true).json(), Value::Array(Vec::new()));
    let ran = status(false);
    assert_eq!(ran.out, "");
    ran.says(&["no stream has been collected", shell.checkpoints().to_str().unwrap()]);

    Ran::new(&mut shell.collect()).exits(0);
    let ran = status(false);
    assert_eq!(ran.err, "");
    let table = one_line(&ran.out);
    assert!(table.contains("account feed last event complete until lag gaps staged"), "{table}");
    for (feed, _) in FEEDS {
        assert!(table.contains(&format!("main {feed} 20")), "{table}");
    }
    let told = status(true).json();
    let streams = told.as_array().unwrap();
    let lake = shell.lake().canonicalize().unwrap();
    assert_eq!(streams.len(), 3);
    for stream in streams {
        assert_eq!(stream["account"], "main");
        assert_eq!(stream["archive"], format!("{}/onepassword/v1/", lake.display()));
        assert!((0..600).contains(&stream["lag_seconds"].as_i64().unwrap()), "{stream}");
        assert_eq!(
            (&stream["staged_objects"], &stream["gaps"]),
            (&0.into(), &Vec::<Value>::new().into())
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn reset_says_what_will_happen_and_does_it_only_with_yes() {
    let shell = Shell::new().await;
    let mut reset = shell.on_checkpoints("reset");
    Ran::new(&mut reset).ends_as_misuse(&["does not exist"]);

    Ran::new(&mut shell.collect()).exits(0);
    let before = fs::read(shell.checkpoints()).unwrap();
    let mut reset = shell.on_checkpoints("reset");
    let ran = Ran::new(reset.args(["--feeds", "audit_events"])).exits(0);
    ran.says(&[
        "main/audit_events: its cursor is forgotten",
        "nothing is written twice",
        "nothing was changed: add --yes to do it",
    ]);
    assert!(!ran.err.contains("item_usages"), "{}", ran.err);
    assert!(fs::read(shell.checkpoints()).unwrap() == before, "the file was changed");

    let ran = Ran::new(reset.arg("--yes")).exits(0);
    ran.says(&["main/audit_events", "done"]);
    let status = Ran::new(shell.on_checkpoints("status").arg("--json")).exits(0).json();
    let feeds: Vec<_> = status.as_array().unwrap().iter().map(|told| &told["feed"]).collect();
    assert_eq!(feeds, ["signin_attempts", "item_usages"]);

    // Read anew from the start, and known.
    let ran = Ran::new(shell.collect().arg("--json")).exits(0);
    assert_eq!(ran.events(), 0);
    assert!(ran.json()["streams"][2]["duplicates"].as_u64().unwrap() > 0);
    shell.assert_complete(&shell.lake());
    shell.simulator.clock().advance(Duration::from_hours(12));
    Ran::new(&mut shell.collect()).exits(0);
    shell.assert_complete(&shell.lake());

    let mut reset = shell.on_checkpoints("reset");
    Ran::new(reset.args(["--account", "other", "--yes"])).ends_as_misuse(&["no such stream"]);
}

/// The lake does not show yet what another process is about to publish.
#[expect(clippy::disallowed_methods, reason = "the program goes by the real clock")]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn reset_waits_for_a_batch_that_is_being_published() {
    let shell = Shell::new().await;
    Ran::new(&mut shell.collect()).exits(0);
    let checkpoints = SqliteCheckpoints::open(&shell.checkpoints()).await.unwrap();
    let stream = Stream { account: AccountName::default(), feed: Feed::AuditEvents };
    for (age, exit) in [(SignedDuration::from_mins(1), 1), (SignedDuration::from_mins(20), 0)] {
        let mut row = checkpoints.load(&stream).await.unwrap().unwrap();
        let base = std::mem::replace(&mut row.commit_id, CommitId::random());
        row.updated_at = Timestamp::now() - age;
        row.staged = vec![Staged {
            key: "onepassword/v1/audit_events/2026-11-20/main/a.json.gz".to_owned(),
            upload_id: "an upload".to_owned(),
            etag: "an etag".to_owned(),
            crc32: 1,
            size: 1,
            events: 1,
        }];
        checkpoints.commit(&stream, Some(&base), &row).await.unwrap();

        let mut reset = shell.on_checkpoints("reset");
        let ran = Ran::new(reset.args(["--feeds", "audit_events", "--yes"])).exits(exit);
        let said = ["main/audit_events", "its last batch is being published"];
        assert_eq!(said.iter().all(|text| ran.err.contains(text)), exit == 1, "{}", ran.err);
        assert_eq!(checkpoints.load(&stream).await.unwrap().is_some(), exit == 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn moved_objects_are_gone_on_with() {
    let shell = Shell::new().await;
    Ran::new(&mut shell.collect()).exits(0);
    let (old, new) = (shell.lake(), shell.path("new"));
    let (old_name, new_name) =
        (old.canonicalize().unwrap().display().to_string(), new.display().to_string());

    // Where the objects are said to be, they must be.
    let mut reset = shell.on_checkpoints("reset");
    reset.args(["--move", "--yes", "--archive"]).arg(&new);
    Ran::new(&mut reset).ends_as_misuse(&[&new_name, "does not exist", "move the objects"]);
    assert!(!new.exists());

    fs::rename(&old, &new).unwrap();
    shell.simulator.clock().advance(Duration::from_hours(6));
    let ran = Ran::new(&mut shell.collect_into(&new));
    ran.ends_as_misuse(&[&old_name, &new_name, "oplake reset --move", "Checkpoint.OtherArchive"]);

    let mut reset = shell.on_checkpoints("reset");
    let before = fs::read(shell.checkpoints()).unwrap();
    let ran = Ran::new(reset.args(["--move", "--archive"]).arg(&new)).exits(0);
    ran.says(&["main/item_usages: goes on where it is, in", &old_name, &new_name, "add --yes"]);
    assert!(fs::read(shell.checkpoints()).unwrap() == before, "the file was changed");
    Ran::new(reset.arg("--yes")).exits(0).says(&["done"]);

    let ran = Ran::new(shell.collect_into(&new).arg("--json")).exits(0);
    assert!(ran.events() > 0);
    shell.assert_complete(&new);
    assert!(!old.exists(), "nothing goes there any more");
    // The other way round it is refused in the same way.
    Ran::new(&mut shell.collect()).ends_as_misuse(&[&old_name, &new_name, "oplake reset --move"]);
}

#[test]
fn the_demo_writes_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let demo = |out: &str| {
        Ran::new(
            oplake().current_dir(folder.path()).args(["demo", "--events", "500", "--out", out]),
        )
    };
    let ran = demo("lake").exits(0);
    ran.says(&[
        "simulating a company with 500 events",
        "collecting the history",
        "six hours later",
        "nothing is new",
    ]);
    let lake = folder.path().join("lake");
    let found = lines(&lake);
    let (events, objects) =
        (found.values().map(Vec::len).sum::<usize>(), files(&lake.join("onepassword")).len());
    assert!(events > 350, "of 500, some lie ahead: {events}");
    assert!(ran.out.contains(&format!("{events} events in {objects} objects in lake.")), "{ran:?}");
    let first = ran.out.split_once("the first line of ").unwrap().1;
    let (key, rest) = first.split_once('\n').unwrap();
    let feed = key.split('/').nth(2).unwrap();
    assert!(lake.join(key).is_file());
    assert!(found[feed].iter().any(|line| line == rest.lines().next().unwrap()));
    for (feed, _) in FEEDS {
        assert!(ran.out.contains(feed), "{}", ran.out);
    }

    // Its own folder it replaces, another it does not touch.
    let stray = lake.join("onepassword/stray");
    fs::write(&stray, "").unwrap();
    demo("lake").exits(0);
    assert!(!stray.exists());
    assert_eq!(lines(&lake).len(), 3);

    let foreign = folder.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("thesis.txt"), "years of work").unwrap();
    demo("foreign").ends_as_misuse(&["foreign exists and was not made by a demo", "--out"]);
    demo("foreign/thesis.txt").ends_as_misuse(&["was not made by a demo"]);
    assert_eq!(fs::read_to_string(foreign.join("thesis.txt")).unwrap(), "years of work");
    assert_eq!(fs::read_dir(&foreign).unwrap().count(), 1);
}
