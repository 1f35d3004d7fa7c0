//! Pages of a feed, asked for ahead of whoever takes them, so that neither
//! compressing nor committing keeps the API waiting.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::{Either, select};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::account::Account;
use crate::archive::Archive;
use crate::checkpoint::{CheckpointStore, Cursor};
use crate::collect::StreamRun;
use crate::error::CollectError;
use crate::events_api::{EventsApiError, Page, Request};
use crate::feed::Feed;
use crate::token::TokenSource;

/// Empty pages in a row after which a run leaves the rest to the next one.
const MAX_EMPTY_PAGES: u32 = 5;

/// Asks for pages and sends them, until time is up or nobody receives them.
pub(crate) struct Fetcher<'a, T> {
    account: &'a Account<'a, T>,
    feed: Feed,
    read_until: Instant,
    /// An error ends the pages, `None` says that all were sent.
    pages: mpsc::Sender<Result<Option<Page>, CollectError>>,
    /// Whether a rejected cursor was sent a second time.
    asked_again: AtomicBool,
}

impl<'a, T: TokenSource> Fetcher<'a, T> {
    /// With the pages that it sends: one waits there, one more in its hands.
    pub(crate) fn new(
        account: &'a Account<'a, T>,
        feed: Feed,
        read_until: Instant,
    ) -> (Self, Pages) {
        let (pages, fetched) = mpsc::channel(1);
        let asked_again = AtomicBool::new(false);
        (Self { account, feed, read_until, pages, asked_again }, Pages(fetched))
    }

    /// Says that all pages were sent.
    pub(crate) async fn end(&self) {
        // Nobody there to receive it is as good.
        drop(self.pages.send(Ok(None)).await);
    }

    /// Sends `page`, which was asked for by `cursor`, and those that follow.
    /// Whether the last one was sent.
    pub(crate) async fn rest(&self, mut page: Option<Page>, mut cursor: Option<Cursor>) -> bool {
        let mut empty_in_a_row = 0;
        while let Some(this) = page {
            let (has_more, next) = (this.has_more, this.cursor.clone());
            empty_in_a_row = if this.items.is_empty() { empty_in_a_row + 1 } else { 0 };
            let stuck = empty_in_a_row >= MAX_EMPTY_PAGES
                || (empty_in_a_row > 0 && cursor.as_ref() == Some(&next));
            if self.pages.send(Ok(Some(this))).await.is_err() || (has_more && stuck) {
                return false;
            }
            if !has_more {
                return true;
            }
            page = self.page(Request::After(&next)).await;
            cursor = Some(next);
        }
        false
    }

    /// A page; `None` if there is no time for it or it cannot be had, which is
    /// told to the receiver.
    pub(crate) async fn page(&self, request: Request<'_>) -> Option<Page> {
        loop {
            if Instant::now() >= self.read_until {
                return None;
            }
            match self.account.page(self.feed, request).await {
                Ok(page) => return Some(page),
                Err(CollectError::EventsApi(EventsApiError::Rejected { .. }))
                    if matches!(request, Request::After(_))
                        && !self.asked_again.swap(true, Ordering::Relaxed) => {}
                Err(error) => {
                    drop(self.pages.send(Err(error)).await);
                    return None;
                }
            }
        }
    }
}

/// The pages that a [`Fetcher`] sends.
pub(crate) struct Pages(mpsc::Receiver<Result<Option<Page>, CollectError>>);

/// What comes next.
pub(crate) enum Next {
    /// A page.
    Page(Page),
    /// Nothing: all pages were received.
    End,
    /// Nothing: time is up, or only empty pages came.
    Unfinished,
}

impl Pages {
    /// The next page, noted in the run's report.
    pub(crate) async fn next<T: TokenSource, C: CheckpointStore, A: Archive>(
        &mut self,
        run: &mut StreamRun<'_, '_, T, C, A>,
    ) -> Result<Next, CollectError> {
        match self.0.recv().await {
            Some(Ok(Some(page))) => {
                run.report.note_page(&page);
                Ok(Next::Page(page))
            }
            Some(Ok(None)) => Ok(Next::End),
            Some(Err(error)) if !run.is_time_up(&error) => Err(error),
            Some(Err(_)) | None => Ok(Next::Unfinished),
        }
    }
}

/// Does `work` to its end, and `fetch` as long as that takes.
pub(crate) async fn while_fetching<R>(
    fetch: impl Future<Output = ()>,
    work: impl Future<Output = R>,
) -> R {
    match select(pin!(work), pin!(fetch)).await {
        Either::Left((done, _)) => done,
        Either::Right(((), work)) => work.await,
    }
}
