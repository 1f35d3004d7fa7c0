//! How errors are told.

use std::error::Error;
use std::fmt::Write as _;
use std::sync::Arc;

use crate::archive::ArchiveError;
use crate::checkpoint::CheckpointError;
use crate::events_api::{EventsApiError, HttpError};
use crate::feed::{AccountName, Stream};
use crate::token::TokenError;

/// Boxed cause of an error.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// An error and all its causes on one line, outermost first, parted by `: `.
///
/// Every `Display` of this project names one layer only; this prints the chain
/// once, where the error is handled.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let layer = cause.to_string();
        // Libraries often repeat their cause in their own words.
        if !text.ends_with(&layer) {
            // Writing to a `String` cannot fail.
            write!(text, ": {layer}").ok();
        }
        source = cause.source();
    }
    text
}

/// Why a stream could not be collected. What was committed before stays.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollectError {
    /// The token cannot be used.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The Events API did not give what was asked for.
    #[error(transparent)]
    EventsApi(#[from] EventsApiError),
    /// The Events API did not tell whose the token is. Asked once a run for all
    /// streams of an account.
    #[error(transparent)]
    Introspection(Arc<Self>),
    /// The archive failed.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The checkpoint store failed.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The HTTP client cannot be made.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The stream's checkpoint belongs to another archive.
    #[error(
        "the checkpoint of {stream} belongs to the archive `{row}`, not to `{here}`: set the archive back, or, if \
         the objects were moved, run `oplake reset --move`"
    )]
    OtherArchive {
        /// The stream.
        stream: Stream,
        /// The archive in the row.
        row: String,
        /// The archive of this run.
        here: String,
    },
    /// The token belongs to another 1Password account than the checkpoint.
    #[error(
        "the token of account `{account}` belongs to the 1Password account {token}, its checkpoint to {row}: put the \
         right token back, or give the new account a name of its own"
    )]
    OtherAccount {
        /// The operator's name of the account.
        account: AccountName,
        /// The 1Password account in the row.
        row: String,
        /// The 1Password account of the token.
        token: String,
    },
    /// Two names stand for one 1Password account.
    #[error(
        "the accounts `{first}` and `{second}` have tokens of one 1Password account, whose events would stand in the \
         lake twice: remove one of them"
    )]
    SameAccount {
        /// One name.
        first: AccountName,
        /// The other name.
        second: AccountName,
    },
    /// The stream's row was deleted while it was being collected.
    #[error(
        "the checkpoint of {stream} was removed during the run: it starts again with the next one"
    )]
    RowRemoved {
        /// The stream.
        stream: Stream,
    },
    /// Another object stands where a committed one belongs.
    #[error("another object stands at `{key}`: nothing was overwritten; move it away")]
    KeyTaken {
        /// The key.
        key: String,
    },
    /// A committed object has not appeared, but still may.
    #[error(
        "the upload of `{key}` is missing but may still appear: the next runs look again for 15 minutes"
    )]
    UploadMissing {
        /// The key.
        key: String,
    },
    /// So many records are unusable that the feed must have changed.
    #[error(
        "more than 100 records of one batch have no usable timestamp or are no JSON objects: the feed's format may \
         have changed; nothing of the batch was committed, the records are in quarantine"
    )]
    TooManyBadRecords,
    /// The run's time was up before the stream's last call was answered.
    #[error(
        "the run's time was up before the archive, the checkpoint table or the secret answered: nothing is lost, the \
         next run goes on; if it happens again, look at the health of AWS and the network"
    )]
    OutOfTime,
    /// Encoding failed, which memory does not.
    #[error("the batch cannot be encoded")]
    Encode(#[from] std::io::Error),
}

impl CollectError {
    /// Stable name for metrics and for Lambda's `errorType`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Token(error) => error.code(),
            Self::EventsApi(error) => error.code(),
            Self::Introspection(error) => error.code(),
            Self::Archive(error) => error.code(),
            Self::Checkpoint(error) => error.code(),
            Self::Http(_) => "Config.Http",
            Self::OtherArchive { .. } => "Checkpoint.OtherArchive",
            Self::OtherAccount { .. } => "Token.OtherAccount",
            Self::SameAccount { .. } => "Token.SameAccount",
            Self::RowRemoved { .. } => "Checkpoint.Removed",
            Self::KeyTaken { .. } => "Archive.KeyTaken",
            Self::UploadMissing { .. } => "Archive.UploadMissing",
            Self::TooManyBadRecords => "Events.TooManyBadRecords",
            Self::OutOfTime => "Run.OutOfTime",
            Self::Encode(_) => "Internal.Encode",
        }
    }
}
