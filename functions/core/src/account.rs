//! One 1Password account during a run: its token, and who it belongs to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use tokio::sync::{Mutex as AsyncMutex, OnceCell};
use tokio::time::Instant;
use url::Url;

use crate::checkpoint::Row;
use crate::error::CollectError;
use crate::events_api::{EventsApi, EventsApiError, HttpClient, Limiter, Pace, Page, Request};
use crate::feed::{AccountName, Feed};
use crate::token::{Token, TokenSource};

/// What the accounts of a run share.
pub(crate) struct Access<'a, T> {
    /// Where tokens come from.
    pub(crate) tokens: &'a T,
    /// The connection pool.
    pub(crate) http: HttpClient,
    /// The operator's base URL, if it is not to be read off the token.
    pub(crate) url: Option<&'a Url>,
    /// The accounts met so far, by 1Password's id.
    pub(crate) met: Mutex<BTreeMap<String, AccountName>>,
    /// When requests have to be over.
    pub(crate) deadline: Instant,
    /// How fast each account is asked.
    pub(crate) pace: Pace,
}

/// An account that is being collected. Its streams share the token, the rate
/// limit and what the API said of the token.
pub(crate) struct Account<'a, T> {
    name: AccountName,
    access: &'a Access<'a, T>,
    limiter: Arc<Limiter>,
    api: Mutex<Arc<EventsApi>>,
    owner: OnceCell<Result<Option<String>, Arc<CollectError>>>,
    read_again: AsyncMutex<bool>,
}

impl<'a, T: TokenSource> Account<'a, T> {
    pub(crate) fn new(
        name: AccountName,
        token: Token,
        access: &'a Access<'a, T>,
        now: Timestamp,
    ) -> Result<Self, CollectError> {
        token.check_expiry(now)?;
        let limiter = Arc::new(Limiter::new(access.pace));
        let base = token.api_url(access.url)?;
        let api = EventsApi::new(access.http.clone(), base, token, limiter.clone())?;
        Ok(Self {
            name,
            access,
            limiter,
            api: Mutex::new(Arc::new(api)),
            owner: OnceCell::new(),
            read_again: AsyncMutex::new(false),
        })
    }

    fn api(&self) -> Arc<EventsApi> {
        self.api.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells the token in use from others.
    pub(crate) fn token_id(&self) -> String {
        self.api().token().id()
    }

    /// Whether the token was issued for `feed`.
    pub(crate) fn covers(&self, feed: Feed) -> bool {
        self.api().token().covers(feed)
    }

    /// Reads a page; if the token is refused, with the token that the secret
    /// holds by then.
    pub(crate) async fn page(
        &self,
        feed: Feed,
        request: Request<'_>,
    ) -> Result<Page, CollectError> {
        let api = self.api();
        match api.page(feed, request, self.access.deadline).await {
            Err(refused @ EventsApiError::Unauthorized { .. }) => match self.rotate(&api).await? {
                Some(api) => Ok(api.page(feed, request, self.access.deadline).await?),
                None => Err(refused.into()),
            },
            answered => Ok(answered?),
        }
    }

    /// The 1Password account that `row` and the token belong to, asking the API
    /// only about a token that the row does not know. `None` if it does not
    /// tell.
    ///
    /// # Errors
    ///
    /// If it is another account than the row's, or one that another name
    /// stands for.
    pub(crate) async fn check(&self, row: &Row) -> Result<Option<String>, CollectError> {
        let owner = if row.token_id.as_ref() == Some(&self.token_id()) {
            row.account_uuid.clone()
        } else {
            // A failure is kept too: three streams that each wait for an answer
            // that does not come would wait one after the other.
            let ask = async || self.introspect().await.map_err(Arc::new);
            let asked = match self.owner.get_or_init(ask).await {
                Ok(asked) => asked,
                Err(error) => return Err(CollectError::Introspection(error.clone())),
            };
            match (&row.account_uuid, asked) {
                (Some(row), Some(token)) if row != token => {
                    return Err(self.other_account(row, token));
                }
                (row, asked) => asked.clone().or_else(|| row.clone()),
            }
        };
        if let Some(owner) = &owner {
            let mut met = self.access.met.lock().unwrap_or_else(PoisonError::into_inner);
            let first = met.entry(owner.clone()).or_insert_with(|| self.name.clone());
            if *first != self.name {
                let (first, second) = (first.clone(), self.name.clone());
                return Err(CollectError::SameAccount { first, second });
            }
        }
        Ok(owner)
    }

    /// Whom the token in use belongs to.
    async fn introspect(&self) -> Result<Option<String>, CollectError> {
        loop {
            let api = self.api();
            let answered = api.introspect(self.access.deadline).await;
            if let Err(refused @ EventsApiError::Unauthorized { .. }) = answered {
                self.rotate(&api).await?.ok_or(refused)?;
            } else if Arc::ptr_eq(&api, &self.api()) {
                return Ok(answered?.account_uuid);
            }
            // Else pages were refused meanwhile, and so the token is another one.
        }
    }

    /// Reads the secret again, once a run, after `refused` was. `None` if it
    /// holds no other token.
    async fn rotate(
        &self,
        refused: &Arc<EventsApi>,
    ) -> Result<Option<Arc<EventsApi>>, CollectError> {
        let mut read_again = self.read_again.lock().await;
        let current = self.api();
        if !Arc::ptr_eq(&current, refused) {
            return Ok(Some(current));
        }
        if *read_again {
            return Ok(None);
        }
        let rotated = self.rotated(refused).await;
        // Not before: whoever reads ahead may be dropped while it waits.
        *read_again = true;
        rotated
    }

    async fn rotated(&self, refused: &EventsApi) -> Result<Option<Arc<EventsApi>>, CollectError> {
        let Some(token) = self.access.tokens.read().await?.accounts(&self.name)?.remove(&self.name)
        else {
            return Ok(None);
        };
        let token = token?;
        if token == *refused.token() {
            return Ok(None);
        }
        tracing::info!(
            "the token of account `{}` was rotated: going on with the new one",
            self.name
        );
        let base = token.api_url(self.access.url)?;
        let api = EventsApi::new(self.access.http.clone(), base, token, self.limiter.clone())?;
        if let Some(before) = self.owner() {
            let told = api.introspect(self.access.deadline).await?;
            if let Some(after) = told.account_uuid.filter(|after| *after != before) {
                return Err(self.other_account(&before, &after));
            }
        }
        let api = Arc::new(api);
        *self.api.lock().unwrap_or_else(PoisonError::into_inner) = api.clone();
        Ok(Some(api))
    }

    /// Who the token in use was found to belong to.
    fn owner(&self) -> Option<String> {
        let met = self.access.met.lock().unwrap_or_else(PoisonError::into_inner);
        let met = met.iter().find(|(_, name)| **name == self.name).map(|(owner, _)| owner.clone());
        met.or_else(|| self.owner.get()?.as_ref().ok()?.clone())
    }

    fn other_account(&self, row: &str, token: &str) -> CollectError {
        let account = self.name.clone();
        CollectError::OtherAccount { account, row: row.to_owned(), token: token.to_owned() }
    }

    /// Days until the token expires; `None` if it never does.
    pub(crate) fn token_days_left(&self, now: Timestamp) -> Option<i64> {
        let at = self.api().token().expires_at()?;
        Some(at.duration_since(now).as_hours().div_euclid(24))
    }
}
