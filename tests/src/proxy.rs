//! Between a process and the local stack: counts the calls to AWS, holds them,
//! cuts them, and answers what the stack never does.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use bytes::Bytes;
use oplake_core::testing::Gate;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::stack::ENDPOINT;

/// S3's answer when it fails, which may come with a 200.
pub const INTERNAL: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
    <Error><Code>InternalError</Code><Message>Please try again.</Message></Error>";

/// S3's answer to one of two conditional writes at once.
pub const CONFLICT: &str =
    "<Error><Code>ConditionalRequestConflict</Code><Message>m</Message></Error>";

/// S3's answer to a conditional write to a key that is taken.
pub const TAKEN: &str = "<Error><Code>PreconditionFailed</Code><Message>m</Message></Error>";

/// S3's answer to a completion of an upload that it does not know.
pub const NO_UPLOAD: &str = "<Error><Code>NoSuchUpload</Code><Message>m</Message></Error>";

/// A call to AWS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "AWS's names")]
pub enum Operation {
    GetItem,
    PutItem,
    GetSecretValue,
    CreateMultipartUpload,
    UploadPart,
    CompleteMultipartUpload,
    AbortMultipartUpload,
    PutObject,
    HeadObject,
    GetObject,
    ListObjectsV2,
    /// Any other.
    Other,
}

impl Operation {
    fn of(head: &Parts) -> Self {
        if let Some(target) = head.headers.get("x-amz-target") {
            let name = target.to_str().unwrap().rsplit('.').next();
            return match name {
                Some("GetItem") => Self::GetItem,
                Some("PutItem") => Self::PutItem,
                Some("GetSecretValue") => Self::GetSecretValue,
                _ => Self::Other,
            };
        }
        let query = head.uri.query().unwrap_or_default();
        let has =
            |wanted: &str| query.split('&').any(|pair| pair.split('=').next() == Some(wanted));
        let has_key = head.uri.path().trim_matches('/').contains('/');
        match head.method {
            Method::POST if has("uploads") => Self::CreateMultipartUpload,
            Method::PUT if has("partNumber") => Self::UploadPart,
            Method::POST if has("uploadId") => Self::CompleteMultipartUpload,
            Method::DELETE if has("uploadId") => Self::AbortMultipartUpload,
            Method::PUT if has_key => Self::PutObject,
            Method::HEAD if has_key => Self::HeadObject,
            Method::GET if has("list-type") => Self::ListObjectsV2,
            Method::GET if has_key && !has("uploadId") => Self::GetObject,
            _ => Self::Other,
        }
    }
}

/// One call, as a rule sees it.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// What is called.
    pub operation: Operation,
    /// Which call of the operation it is, from 1 on; a client's retries count.
    pub nth: u64,
    /// Path and query.
    pub target: &'a str,
}

/// What becomes of a call.
#[derive(Debug, Clone)]
pub enum Effect {
    /// It waits at the gate and then has its effect.
    Hold(Gate),
    /// It takes this much longer.
    Delay(Duration),
    /// The connection breaks before the call has an effect.
    CutBefore,
    /// The connection breaks once the call has its effect.
    CutAfter,
    /// It has no effect and is answered with this status and body.
    Refuse(u16, &'static str),
    /// It has its effect and is answered with this status and body.
    Deny(u16, &'static str),
}

type Rule = Box<dyn FnMut(&Call<'_>) -> Option<Effect> + Send>;

/// A proxy in front of the local stack. It stops when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    url: String,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

struct Shared {
    http: reqwest::Client,
    script: Mutex<Script>,
}

#[derive(Default)]
struct Script {
    rules: Vec<Rule>,
    counts: BTreeMap<Operation, u64>,
    struck: u64,
}

impl Proxy {
    /// Starts one on a free port.
    pub async fn start() -> Self {
        // Only the first call installs it; a later one finds it there.
        drop(rustls::crypto::ring::default_provider().install_default());
        let http = reqwest::Client::builder().no_gzip().no_proxy().build().unwrap();
        let shared = Arc::new(Shared { http, script: Mutex::default() });
        let app = Router::new().fallback(pass).with_state(Arc::clone(&shared));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async { axum::serve(listener, app).await.unwrap() });
        Self { url, shared, server }
    }

    /// What `AWS_ENDPOINT_URL` has to say.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Adds a rule. The first that has an effect on a call decides.
    pub fn rule(&self, rule: impl FnMut(&Call<'_>) -> Option<Effect> + Send + 'static) {
        self.shared.script().rules.push(Box::new(rule));
    }

    /// Lets `effect` befall the calls of `operation` with these numbers.
    pub fn on(&self, operation: Operation, nth: RangeInclusive<u64>, effect: Effect) {
        self.rule(move |call| {
            let matches = call.operation == operation && nth.contains(&call.nth);
            matches.then(|| effect.clone())
        });
    }

    /// Calls since the last [`reset`](Self::reset), by operation.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<Operation, u64> {
        self.shared.script().counts.clone()
    }

    /// Calls on which a rule had an effect since then.
    #[must_use]
    pub fn struck(&self) -> u64 {
        self.shared.script().struck
    }

    /// Removes the rules and starts counting anew.
    pub fn reset(&self) {
        *self.shared.script() = Script::default();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Shared {
    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    /// Counts the call and asks the rules.
    fn strike(&self, head: &Parts) -> Option<Effect> {
        let operation = Operation::of(head);
        let script = &mut *self.script();
        let count = script.counts.entry(operation).or_default();
        *count += 1;
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
        let call = Call { operation, nth: *count, target };
        let effect = script.rules.iter_mut().find_map(|rule| rule(&call));
        script.struck += u64::from(effect.is_some());
        effect
    }

    /// What the stack answers.
    async fn forward(&self, head: Parts, body: Bytes) -> Response {
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
        // The signature covers the path as it was sent, and the `Host` header.
        let request = self.http.request(head.method, format!("{ENDPOINT}{target}"));
        let answer = request.headers(end_to_end(head.headers)).body(body).send().await.unwrap();
        let mut response = Response::builder().status(answer.status());
        let length = answer.headers().get(CONTENT_LENGTH).cloned();
        response.headers_mut().unwrap().extend(end_to_end(answer.headers().clone()));
        let body = answer.bytes().await.unwrap();
        // The answer to a HEAD tells the length of what it does not send.
        if let (true, Some(length)) = (body.is_empty(), length) {
            response = response.header(CONTENT_LENGTH, length);
        }
        response.body(body.into()).unwrap()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

async fn pass(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let answer = |status, body: &'static str| {
        Response::builder().status(status).body(Body::from(body)).unwrap()
    };
    match shared.strike(&head) {
        None => {}
        Some(Effect::Hold(gate)) => gate.pass().await,
        Some(Effect::Delay(wait)) => tokio::time::sleep(wait).await,
        Some(Effect::CutBefore) => cut(),
        Some(Effect::CutAfter) => {
            shared.forward(head, body).await;
            cut();
        }
        Some(Effect::Refuse(status, text)) => return answer(status, text),
        Some(Effect::Deny(status, text)) => {
            shared.forward(head, body).await;
            return answer(status, text);
        }
    }
    shared.forward(head, body).await
}

/// Ends the task that serves the connection, which closes it unanswered.
fn cut() -> ! {
    resume_unwind(Box::new("the connection is cut"))
}

/// The headers that are not of one connection only.
fn end_to_end(mut headers: HeaderMap) -> HeaderMap {
    for name in [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING] {
        headers.remove(name);
    }
    headers
}
