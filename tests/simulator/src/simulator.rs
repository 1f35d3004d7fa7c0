//! The simulator as its owner sees it.

use std::future::IntoFuture;
use std::io;
use std::sync::{Arc, Mutex};

use axum::Router;
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::control;
use crate::data::{self, Generated};
use crate::faults::Faults;
use crate::feed::Feed;
use crate::lock;
use crate::log::RequestRecord;
use crate::options::Options;
use crate::oracle::{Event, Known};
use crate::rate::Quota;
use crate::server::{self, Shared};
use crate::token::{TokenSpec, Tokens};
use crate::wire::{Link, Wire};

/// A running Events API. It stops when it is dropped.
///
/// Where no account is named, the first one is meant.
#[derive(Debug)]
pub struct Simulator {
    shared: Arc<Shared>,
    token: String,
    stop: Option<oneshot::Sender<()>>,
    server: Option<JoinHandle<()>>,
}

impl Simulator {
    /// Generates the data and serves it within the current Tokio runtime.
    ///
    /// # Errors
    ///
    /// If the address cannot be listened on.
    pub async fn start(options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind(options.listen).await?;
        let host = listener.local_addr()?.to_string();
        let tokens = Tokens::new(options.seed).map_err(io::Error::other)?;
        let accounts = (0..options.accounts)
            .map(|index| {
                let Generated { uuid, integration, stores } = data::generate(index, &options);
                server::Account { uuid, integration, stores: stores.map(Mutex::new) }
            })
            .collect();
        let shared = Arc::new(Shared {
            host,
            clock: Clock::new(options.now, options.clock),
            faults: Faults::new(options.seed),
            tokens,
            accounts,
            quota: Mutex::new(Quota::default()),
            log: Mutex::default(),
            options,
        });
        let token = shared.mint(&TokenSpec::default());

        let routes: Router<Arc<Shared>> = control::routes().fallback(server::serve);
        let service =
            routes.with_state(Arc::clone(&shared)).into_make_service_with_connect_info::<Link>();
        let (stop, stopped) = oneshot::channel();
        let server = axum::serve(Wire(listener), service).with_graceful_shutdown(async {
            // Dropped or sent, it is the end.
            drop(stopped.await);
        });
        let server = tokio::spawn(async {
            // Neither accepting nor serving reports an error.
            drop(server.into_future().await);
        });
        Ok(Self { shared, token, stop: Some(stop), server: Some(server) })
    }

    /// Base URL, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.shared.host)
    }

    /// A token with every scope that never expires.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Mints a token, issued now. Each has an id of its own.
    #[must_use]
    pub fn mint(&self, spec: &TokenSpec) -> String {
        self.shared.mint(spec)
    }

    /// Makes a token invalid from now on.
    pub fn revoke(&self, token: &str) {
        self.shared.tokens.revoke(token);
    }

    /// The clock that everything goes by.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// What is made to go wrong.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// The account of this index; `None` if there are not so many.
    #[must_use]
    pub fn account(&self, index: usize) -> Option<Account<'_>> {
        (index < self.shared.accounts.len()).then_some(Account { shared: &self.shared, index })
    }

    /// Adds an event. See [`Account::push`].
    pub fn push(&self, feed: Feed, event: &Event) {
        self.with_first(|account| account.push(feed, event));
    }

    /// See [`Account::oracle`].
    #[must_use]
    pub fn oracle(&self, feed: Feed) -> Vec<Known> {
        self.with_first(|account| account.oracle(feed))
    }

    /// See [`Account::visible`].
    #[must_use]
    pub fn visible(&self, feed: Feed, by: Timestamp) -> Vec<Known> {
        self.with_first(|account| account.visible(feed, by))
    }

    /// See [`Account::returned`].
    #[must_use]
    pub fn returned(&self, feed: Feed) -> Vec<Known> {
        self.with_first(|account| account.returned(feed))
    }

    /// The requests so far, oldest first, at most the last 100,000. Those to
    /// the control plane are not among them.
    #[must_use]
    pub fn requests(&self) -> Vec<RequestRecord> {
        lock(&self.shared.log).records()
    }

    /// Empties the log of requests.
    pub fn clear_requests(&self) {
        lock(&self.shared.log).clear();
    }

    /// Stops, and returns once open requests are answered and the port is free.
    pub async fn shutdown(mut self) {
        drop(self.stop.take());
        if let Some(server) = self.server.take() {
            drop(server.await);
        }
    }

    /// With no account at all there is nothing to add to and nothing to see.
    fn with_first<T: Default>(&self, ask: impl FnOnce(Account<'_>) -> T) -> T {
        self.account(0).map(ask).unwrap_or_default()
    }
}

/// One account of a simulator.
#[derive(Debug, Clone, Copy)]
pub struct Account<'a> {
    shared: &'a Shared,
    index: usize,
}

impl Account<'_> {
    /// The account's uuid.
    #[must_use]
    pub fn uuid(&self) -> &str {
        &self.shared.accounts[self.index].uuid
    }

    /// Mints a token of this account with every scope that never expires.
    #[must_use]
    pub fn token(&self) -> String {
        self.shared.mint(&TokenSpec { account: self.index, ..TokenSpec::default() })
    }

    /// Adds an event.
    pub fn push(&self, feed: Feed, event: &Event) {
        self.shared.push(self.index, feed, event);
    }

    /// Every event that is or becomes visible, in the order the API returns
    /// them.
    #[must_use]
    pub fn oracle(&self, feed: Feed) -> Vec<Known> {
        lock(&self.shared.accounts[self.index].stores[feed.index()]).known()
    }

    /// Those of them that are visible at `by`.
    #[must_use]
    pub fn visible(&self, feed: Feed, by: Timestamp) -> Vec<Known> {
        let mut known = self.oracle(feed);
        known.retain(|known| known.visible_at <= by);
        known
    }

    /// The events that were in a page sent whole, each once, in the order of
    /// the API. Empty if [`Options::record`] is off.
    #[must_use]
    pub fn returned(&self, feed: Feed) -> Vec<Known> {
        lock(&self.shared.accounts[self.index].stores[feed.index()]).returned()
    }
}
