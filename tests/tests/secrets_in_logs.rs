//! At every log level, and whatever goes wrong, the programs print no token, no
//! cursor and nothing out of an event.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use events_api_simulator::{
    Counts, Effect, ErrorStyle, Event, Feed as ApiFeed, Options, Rule, Simulator, When,
};
use jiff::{SignedDuration, Timestamp};
use oplake_tests::binaries;
use oplake_tests::runtime_api::Function;
use oplake_tests::stack::Stack;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Length of a piece of a secret that must not be told either.
const PIECE: usize = 20;

/// What a record says that is no event.
const BAD_MAIL: &str = "quarantined.person@acme.example";
const BAD_NAME: &str = "Quarantined Person";

/// An API that tells whoever asks what they have sent. Its first answers are of
/// a kind that is asked for again.
struct Echo {
    url: String,
    asked: Arc<AtomicUsize>,
}

#[derive(Clone)]
struct Answering {
    status: StatusCode,
    asked: Arc<AtomicUsize>,
}

impl Echo {
    /// Starts one that ends up with answering `status`.
    async fn start(status: StatusCode) -> Self {
        let asked = Arc::new(AtomicUsize::new(0));
        let state = Answering { status, asked: Arc::clone(&asked) };
        let app = Router::new().fallback(echo).with_state(state);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async { axum::serve(listener, app).await.unwrap() });
        Self { url, asked }
    }
}

async fn echo(
    State(Answering { status, asked }): State<Answering>,
    uri: Uri,
    headers: HeaderMap,
    body: String,
) -> Response {
    let status = match asked.fetch_add(1, Ordering::SeqCst) {
        0 => StatusCode::INTERNAL_SERVER_ERROR,
        1 => StatusCode::OK,
        2 => StatusCode::BAD_GATEWAY,
        _ => status,
    };
    let authorization = headers[AUTHORIZATION].to_str().unwrap();
    let said = format!("what is {authorization} of you? And {body}?");
    if uri.path().contains("itemusages") {
        (status, said).into_response()
    } else if uri.path().contains("auditevents") {
        (status, json!({ "Error": { "Message": said } }).to_string()).into_response()
    } else {
        let said = json!({ "status": status.as_u16(), "message": said });
        (status, said.to_string()).into_response()
    }
}

/// A company with trouble.
struct World {
    simulator: Simulator,
    /// All that the programs have printed.
    told: String,
}

impl World {
    #[expect(clippy::disallowed_methods, reason = "the program reads the clock, so its test must")]
    async fn new() -> Self {
        let now = Timestamp::now();
        let simulator = Simulator::start(Options {
            now,
            accounts: 1,
            events: Counts::of_total(3_000),
            days: 6,
            days_ahead: 1,
            ..Options::default()
        });
        let simulator = simulator.await.unwrap();
        for record in [
            json!({ "uuid": "B", "timestamp": "soon", "email": BAD_MAIL, "name": BAD_NAME }),
            json!(format!("{BAD_NAME} <{BAD_MAIL}>")),
            json!({ "timestamp": BAD_NAME, "cursor": BAD_MAIL }),
        ] {
            let event = Event::new(record.to_string()).at(now - SignedDuration::from_hours(20));
            simulator.push(ApiFeed::SignInAttempts, &event);
        }
        Self { simulator, told: String::new() }
    }

    /// Lets `feed` be treated badly; a wait between two tries is a second or so.
    fn fault(&self, feed: ApiFeed, when: When, effect: Effect) {
        self.simulator.faults().add(Rule::new(when, effect).feed(feed));
    }

    /// Everything that passes: a reset, a 429, a page that is cut, ...
    fn passing_faults(&self) {
        let status = |status, style, retry_after: Option<&str>| Effect::Status {
            status,
            style,
            retry_after: retry_after.map(str::to_owned),
        };
        self.fault(ApiFeed::SignInAttempts, When::Nth(1), Effect::CutBody);
        self.fault(ApiFeed::SignInAttempts, When::Nth(2), Effect::TruncatedJson);
        self.fault(ApiFeed::ItemUsages, When::Nth(1), status(429, None, Some("1")));
        self.fault(ApiFeed::ItemUsages, When::Nth(3), Effect::Reset);
        self.fault(ApiFeed::ItemUsages, When::Nth(4), Effect::NoCursor);
        self.fault(ApiFeed::AuditEvents, When::Nth(1), Effect::Reset);
        self.fault(ApiFeed::AuditEvents, When::Nth(2), status(503, Some(ErrorStyle::Html), None));
    }

    /// What does not pass: 401 for one feed, 400 for another's cursor.
    fn final_faults(&self) {
        let status = |status| Effect::Status { status, style: None, retry_after: None };
        self.simulator.faults().clear();
        self.fault(ApiFeed::SignInAttempts, When::Always, status(401));
        self.fault(ApiFeed::ItemUsages, When::Next(2), Effect::BadCursor);
        self.fault(ApiFeed::AuditEvents, When::Always, status(400));
    }

    fn go_on(&self) {
        self.simulator.clock().advance(Duration::from_hours(6));
    }

    /// Runs `oplake` with everything switched on that makes it tell more.
    fn oplake(&mut self, args: &[&str], env: &[(String, String)], code: i32) {
        let mut command = Command::new(binaries::oplake());
        for name in ["EXTRA_CA_FILE", "HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"] {
            command.env_remove(name);
        }
        command.env("NO_PROXY", "*").env("RUST_LOG", "trace").env("RUST_BACKTRACE", "full");
        command.env("OP_EVENTS_API_TOKEN", self.simulator.token()).envs(env.iter().cloned());
        let output = command.args(["--log-level", "trace"]).args(args).stdin(Stdio::null());
        let output = output.output().unwrap();
        let told = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        let told = told.concat();
        self.told.push_str(&told);
        // Not before it is known to tell nothing: a failure is printed.
        self.assert_discreet();
        assert_eq!(output.status.code(), Some(code), "{args:?}:\n{told}");
    }

    /// Cursors that the simulator has handed out, as far as they came back.
    fn cursors(&self) -> BTreeSet<String> {
        let requests = self.simulator.requests();
        let bodies = requests.iter().filter(|request| !request.body.is_empty());
        let bodies = bodies.map(|request| serde_json::from_str::<Value>(&request.body).unwrap());
        bodies.filter_map(|body| body["cursor"].as_str().map(str::to_owned)).collect()
    }

    /// E-mail addresses and people's names in the events.
    fn personal(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::from([BAD_MAIL.to_owned(), BAD_NAME.to_owned()]);
        for feed in [ApiFeed::SignInAttempts, ApiFeed::ItemUsages, ApiFeed::AuditEvents] {
            for known in self.simulator.oracle(feed) {
                collect_texts(&serde_json::from_slice(&known.bytes).unwrap(), &mut found);
            }
        }
        found
    }

    /// Asserts that nothing was told that must not be.
    fn assert_discreet(&self) {
        // None of the secrets may be in the message of a failure either.
        let token = pieces(self.simulator.token());
        assert!(token.len() > 200, "{} pieces", token.len());
        for (nth, piece) in token.iter().enumerate() {
            assert!(!self.told.contains(piece), "the token is told, from character {nth}");
        }
        for cursor in self.cursors() {
            let told = pieces(&cursor).into_iter().any(|piece| self.told.contains(piece));
            assert!(!told, "a cursor is told");
        }
        for text in self.personal() {
            assert!(!self.told.contains(&text), "`{text}` is told");
        }
    }

    /// Asserts that there was something to hide, and that much was told.
    fn assert_told(&self, parts: &[&str]) {
        assert!(self.cursors().len() > 3, "{} cursors", self.cursors().len());
        let personal = self.personal();
        assert!(personal.iter().filter(|text| text.contains('@')).count() > 50);
        assert!(personal.iter().filter(|text| !text.contains('@')).count() > 50);
        for part in parts {
            assert!(self.told.contains(part), "`{part}` is not in:\n{}", self.told);
        }
    }
}

fn collect<'a>(url: &'a str, places: &[&'a str]) -> Vec<&'a str> {
    [&["collect", "--json", "--api-url", url], places].concat()
}

/// Every run of characters of a secret that tells too much of it.
fn pieces(secret: &str) -> Vec<&str> {
    assert!(secret.is_ascii() && secret.len() >= PIECE);
    (0..=secret.len() - PIECE).map(|start| &secret[start..start + PIECE]).collect()
}

/// Finds the addresses, and the names of people: those of machines are words
/// such as `staging`.
fn collect_texts(json: &Value, found: &mut BTreeSet<String>) {
    match json {
        Value::Array(items) => items.iter().for_each(|item| collect_texts(item, found)),
        Value::Object(fields) => {
            let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
            found.extend(text("email").filter(|email| email.contains('@')));
            if fields.contains_key("email") {
                found.extend(text("name").filter(|name| name.contains(' ')));
            }
            fields.values().for_each(|value| collect_texts(value, found));
        }
        _ => {}
    }
}

/// What the faults must have made the program say.
const FAULTS: [&str; 6] = [
    "EventsApi.RateLimited",
    "EventsApi.Transport",
    "EventsApi.Unexpected",
    "EventsApi.Unauthorized",
    "EventsApi.Rejected",
    "goes to quarantine",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oplake_with_a_folder_tells_no_secret() {
    let mut world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (lake, checkpoints) = (path("lake"), path("lake.sqlite"));
    let url = world.simulator.url();
    let places = ["--archive", &lake, "--checkpoints", &checkpoints];
    world.passing_faults();
    world.oplake(&collect(&url, &places), &[], 0);
    world.final_faults();
    world.go_on();
    world.oplake(&collect(&url, &places), &[], 1);
    world.simulator.faults().clear();
    world.oplake(&collect(&url, &places), &[], 0);

    // What is sent comes back; a cursor too, since there is one by now.
    for (status, code) in [
        (StatusCode::UNAUTHORIZED, 1),
        (StatusCode::BAD_REQUEST, 1),
        (StatusCode::FORBIDDEN, 1),
        (StatusCode::NOT_FOUND, 2),
        (StatusCode::FOUND, 2),
    ] {
        let echo = Echo::start(status).await;
        world.oplake(&collect(&echo.url, &places), &[], code);
        assert!(echo.asked.load(Ordering::SeqCst) >= 6);
    }
    let told = [&FAULTS[..], &["Bearer REDACTED of you", r#"{"cursor":"REDACTED"}"#]].concat();
    world.assert_told(&told);
    world.assert_told(&["DEBUG `main/item_usages`: staging", "EventsApi.WrongServer", "rejected"]);

    // A row that cannot be read is named by its attribute alone.
    world.oplake(&collect(&url, &places), &[], 0);
    world.oplake(&["status", "--json", "--checkpoints", &checkpoints], &[], 0);
    world.oplake(&["reset", "--checkpoints", &checkpoints], &[], 0);
    let database = rusqlite::Connection::open(&checkpoints).unwrap();
    database.execute("UPDATE checkpoints SET \"from\" = cursor, staged = cursor", []).unwrap();
    drop(database);
    world.oplake(&collect(&url, &places), &[], 1);
    world.oplake(&["status", "--checkpoints", &checkpoints], &[], 2);
    world.assert_told(&["Checkpoint.Corrupt", "attribute `from`"]);
    // A secret that is nearly one.
    let token = world.simulator.token().to_owned();
    for broken in [
        token[..token.len() - 1].to_owned(),
        token[..token.len() / 2].to_owned(),
        format!("Bearer {token}"),
        format!("{{\"main\": {token}}}"),
        format!("{{\"{token}\": \"{token}\"}}"),
        format!("{{\"main\": [\"{token}\"]}}"),
        token.replace('.', "_"),
    ] {
        world.oplake(&collect(&url, &places), &[("OP_EVENTS_API_TOKEN".to_owned(), broken)], 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oplake_with_aws_tells_no_secret() {
    let mut world = World::new().await;
    let stack = Stack::get().await;
    let (lake, table) =
        (format!("s3://{}", stack.bucket().await), format!("dynamodb://{}", stack.table().await));
    let secret = stack.secret(Some(world.simulator.token())).await;
    let (url, env) = (world.simulator.url(), stack.env());
    let places = ["--archive", &lake, "--checkpoints", &table, "--token-secret", &secret];
    world.passing_faults();
    world.oplake(&collect(&url, &places), &env, 0);
    world.final_faults();
    world.go_on();
    world.oplake(&collect(&url, &places), &env, 1);
    let echo = Echo::start(StatusCode::UNAUTHORIZED).await;
    world.oplake(&collect(&echo.url, &places), &env, 1);
    world.simulator.faults().clear();
    world.oplake(&collect(&url, &places), &env, 0);
    world.oplake(&["status", "--checkpoints", &table], &env, 0);
    world.assert_told(&FAULTS);
    world.assert_told(&["DEBUG `main/item_usages`: staging", "Bearer REDACTED of you"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_collector_tells_no_secret() {
    let mut world = World::new().await;
    let stack = Stack::get().await;
    let secret = stack.secret(Some(world.simulator.token())).await;
    let (bucket, table) = (stack.bucket().await, stack.table().await);
    let echo = Echo::start(StatusCode::UNAUTHORIZED).await;
    let url = world.simulator.url();
    for (url, faults) in [(&url, 1), (&url, 2), (&echo.url, 0), (&url, 0)] {
        world.simulator.faults().clear();
        match faults {
            1 => world.passing_faults(),
            2 => world.final_faults(),
            _ => {}
        }
        world.go_on();
        let settings = [
            ("TOKEN_SECRET_ARN", secret.as_str()),
            ("ARCHIVE_BUCKET", &bucket),
            ("CHECKPOINT_TABLE", &table),
            ("EVENTS_API_URL", url),
            ("LOG_LEVEL", "TRACE"),
            ("RUST_LOG", "trace"),
            ("AWS_LAMBDA_LOG_LEVEL", "TRACE"),
            ("RUST_BACKTRACE", "full"),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let variables = stack.env().into_iter().chain(settings);
        let mut function = Function::start(&binaries::collector(), variables).await;
        let answer = function.invoke(json!({}), Duration::from_mins(1)).await;
        let written = function.stop().await;
        // The answer is printed by Lambda and kept by who invokes.
        let printed = [written.stdout, written.stderr, vec![format!("{answer:?}")]].concat();
        world.told.push_str(&printed.join("\n"));
        world.assert_discreet();
        assert_eq!(answer.is_err(), faults == 2 || *url == echo.url, "{printed:#?}");
    }
    world.assert_told(&FAULTS);
    world.assert_told(&["DEBUG", "`main/item_usages`: staging", "Bearer REDACTED of you"]);
}
