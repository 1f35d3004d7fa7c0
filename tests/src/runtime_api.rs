//! A Lambda Runtime API, and a function that runs on it.
//!
//! Deadlines are real: unlike with `cargo lambda watch`, a function can be
//! tested for what it does when its time is nearly up.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use axum::extract::{Path as PathParameters, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use rustix::process::Pid;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// What every function is told by its environment, beside its own settings.
const ENVIRONMENT: [(&str, &str); 6] = [
    ("AWS_LAMBDA_FUNCTION_NAME", "collector-under-test"),
    ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
    ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
    ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/collector-under-test"),
    ("AWS_LAMBDA_LOG_STREAM_NAME", "2026/11/20/[$LATEST]0"),
    ("AWS_REGION", "us-east-1"),
];

/// A failed invocation, as Lambda tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionError {
    /// `errorType`.
    pub error_type: String,
    /// `errorMessage`.
    pub message: String,
}

type Answer = Result<Value, FunctionError>;

/// A Runtime API for one function. It stops when it is dropped.
#[derive(Debug)]
pub struct RuntimeApi {
    address: String,
    invocations: mpsc::UnboundedSender<Invocation>,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    queue: tokio::sync::Mutex<mpsc::UnboundedReceiver<Invocation>>,
    /// By request id.
    waiting: Mutex<HashMap<String, oneshot::Sender<Answer>>>,
}

#[derive(Debug)]
struct Invocation {
    payload: Value,
    deadline: SystemTime,
    answer: oneshot::Sender<Answer>,
}

impl RuntimeApi {
    /// Starts one on a free port.
    pub async fn start() -> Self {
        let (invocations, queue) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared { queue: queue.into(), waiting: Mutex::default() });
        let runtime = Router::new()
            .route("/invocation/next", get(next))
            .route("/invocation/{id}/response", post(response))
            .route("/invocation/{id}/error", post(error))
            .route("/init/error", post(init_error));
        let app = Router::new().nest("/2018-06-01/runtime", runtime);
        let app = app.with_state(shared);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = tokio::spawn(async { axum::serve(listener, app).await.unwrap() });
        Self { address, invocations, server }
    }

    /// What `AWS_LAMBDA_RUNTIME_API` has to say.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Queues an invocation that has to end by `deadline`.
    fn invoke(&self, payload: Value, deadline: SystemTime) -> oneshot::Receiver<Answer> {
        let (answer, answered) = oneshot::channel();
        self.invocations.send(Invocation { payload, deadline, answer }).unwrap();
        answered
    }
}

impl Drop for RuntimeApi {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, HashMap<String, oneshot::Sender<Answer>>> {
        self.waiting.lock().unwrap()
    }

    fn answered(&self, id: &str, answer: Answer) -> StatusCode {
        let Some(waiting) = self.waiting().remove(id) else { return StatusCode::BAD_REQUEST };
        // Nobody waits for an answer that came after the deadline.
        drop(waiting.send(answer));
        StatusCode::ACCEPTED
    }
}

async fn next(State(shared): State<Arc<Shared>>) -> Response {
    let Some(invocation) = shared.queue.lock().await.recv().await else {
        return StatusCode::GONE.into_response();
    };
    let id = crate::stack::unique();
    shared.waiting().insert(id.clone(), invocation.answer);
    let deadline = invocation.deadline.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let arn = "arn:aws:lambda:us-east-1:000000000000:function:collector-under-test";
    let headers = [
        ("lambda-runtime-aws-request-id", id),
        ("lambda-runtime-deadline-ms", deadline.as_millis().to_string()),
        ("lambda-runtime-invoked-function-arn", arn.to_owned()),
        ("lambda-runtime-trace-id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700".to_owned()),
    ];
    (headers, Json(invocation.payload)).into_response()
}

async fn response(
    State(shared): State<Arc<Shared>>,
    PathParameters(id): PathParameters<String>,
    body: Bytes,
) -> StatusCode {
    shared.answered(&id, Ok(json(&body)))
}

async fn error(
    State(shared): State<Arc<Shared>>,
    PathParameters(id): PathParameters<String>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    if !headers.contains_key("lambda-runtime-function-error-type") {
        return StatusCode::BAD_REQUEST;
    }
    shared.answered(&id, Err(function_error(&body)))
}

async fn init_error(State(shared): State<Arc<Shared>>, body: Bytes) -> StatusCode {
    // The next invocation is answered so, for the function will not ask for it.
    if let Some(invocation) = shared.queue.lock().await.recv().await {
        drop(invocation.answer.send(Err(function_error(&body))));
    }
    StatusCode::ACCEPTED
}

/// The runtime of Rust sends no `Content-Type`.
fn json(body: &Bytes) -> Value {
    serde_json::from_slice(body).unwrap()
}

fn function_error(body: &Bytes) -> FunctionError {
    let body = json(body);
    let text = |name: &str| body[name].as_str().unwrap().to_owned();
    FunctionError { error_type: text("errorType"), message: text("errorMessage") }
}

/// A function's process, with a Runtime API of its own. It is killed when it
/// is dropped.
#[derive(Debug)]
pub struct Function {
    runtime: RuntimeApi,
    child: Child,
    stdout: JoinHandle<Vec<String>>,
    stderr: JoinHandle<Vec<String>>,
}

/// What a function wrote.
#[derive(Debug)]
pub struct Written {
    /// Lines of standard output.
    pub stdout: Vec<String>,
    /// Lines of standard error.
    pub stderr: Vec<String>,
}

impl Function {
    /// Starts `program` with `variables`, and what Lambda sets, for its whole
    /// environment.
    pub async fn start<K: AsRef<OsStr>, V: AsRef<OsStr>>(
        program: &Path,
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let runtime = RuntimeApi::start().await;
        let mut command = Command::new(program);
        command.env_clear().envs(ENVIRONMENT).envs(variables);
        command.env("AWS_LAMBDA_RUNTIME_API", runtime.address());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        let stdout = tokio::spawn(lines(child.stdout.take().unwrap()));
        let stderr = tokio::spawn(lines(child.stderr.take().unwrap()));
        Self { runtime, child, stdout, stderr }
    }

    /// Invokes the function and waits for its answer. As on Lambda, a function
    /// that has not answered after `timeout` is killed, and one that ends is
    /// no longer there.
    ///
    /// # Errors
    ///
    /// What the function fails with; `Sandbox.Timedout` or `Runtime.ExitError`.
    #[expect(clippy::disallowed_methods, reason = "a deadline is a time of day")]
    pub async fn invoke(&mut self, payload: Value, timeout: Duration) -> Answer {
        let answer = self.runtime.invoke(payload, SystemTime::now() + timeout);
        let failed = |error_type: &str, message: String| {
            Err(FunctionError { error_type: error_type.to_owned(), message })
        };
        tokio::select! {
            biased;
            answer = answer => answer.unwrap(),
            status = self.child.wait() => {
                failed("Runtime.ExitError", format!("the process has ended: {}", status.unwrap()))
            }
            () = tokio::time::sleep(timeout) => {
                self.child.kill().await.unwrap();
                failed("Sandbox.Timedout", format!("no answer within {timeout:?}"))
            }
        }
    }

    /// The process.
    #[must_use]
    pub fn process(&self) -> Pid {
        Pid::from_raw(self.child.id().unwrap().cast_signed()).unwrap()
    }

    /// Kills the process and returns what it has written.
    pub async fn stop(mut self) -> Written {
        self.child.kill().await.unwrap();
        Written { stdout: self.stdout.await.unwrap(), stderr: self.stderr.await.unwrap() }
    }
}

async fn lines(pipe: impl AsyncRead + Unpin) -> Vec<String> {
    let mut pipe = BufReader::new(pipe).lines();
    let mut lines = Vec::new();
    while let Some(line) = pipe.next_line().await.unwrap() {
        lines.push(line);
    }
    lines
}
