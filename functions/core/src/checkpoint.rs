//! A stream's committed state: the row, and the port that holds it.
//!
//! A row moves only by compare-and-swap on its `commit_id`: a writer names the
//! id it loaded, and loses if another has committed since. That swap is the
//! commit point of a batch. What was staged before it is invisible; publishing
//! it afterwards is idempotent, so a writer that dies in between is finished by
//! the next one.
//!
//! The staged objects are part of the row because a cursor is not a snapshot:
//! asked again, the API may answer it with a longer page.

use std::fmt;
use std::future::Future;
use std::str::FromStr;

use crate::archive::Staged;
use crate::error::BoxError;
use crate::feed::{NameError, Stream};
use crate::newness::Marks;
use crate::window::Window;
use jiff::Timestamp;

/// Version of the row's layout that this program writes and reads.
pub const ROW_VERSION: u32 = 1;

/// Identity of one commit: 128 random bits as 32 hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CommitId(String);

impl CommitId {
    /// A new id, from the operating system's random numbers.
    ///
    /// # Panics
    ///
    /// If the operating system has none.
    #[must_use]
    #[expect(
        clippy::expect_used,
        reason = "without random numbers nothing can be committed safely"
    )]
    pub fn random() -> Self {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).expect("the operating system has random numbers");
        Self(format!("{:032x}", u128::from_be_bytes(bytes)))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for CommitId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::new(text, "a commit id: 32 hexadecimal digits"))
        }
    }
}

/// An opaque position in a feed, as the Events API gave it. Never printed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Cursor(String);

impl Cursor {
    /// Wraps the API's `cursor`.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The text to send back.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cursor({} bytes)", self.0.len())
    }
}

/// Where a stream is read from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Position {
    /// From this time on, with a reset cursor.
    Start(Timestamp),
    /// From the end of the page that carried this cursor.
    Cursor(Cursor),
}

/// The tag that tells the two kinds of [`Position`] apart in storage.
const START: &str = "start_time:";
const CURSOR: &str = "cursor:";

impl Position {
    /// The cursor to go on from, if it is one.
    #[must_use]
    pub const fn cursor(&self) -> Option<&Cursor> {
        match self {
            Self::Start(_) => None,
            Self::Cursor(cursor) => Some(cursor),
        }
    }

    /// The position as the row stores it.
    #[must_use]
    pub fn encode(&self) -> String {
        match self {
            Self::Start(time) => format!("{START}{time}"),
            Self::Cursor(cursor) => format!("{CURSOR}{}", cursor.expose()),
        }
    }

    /// Reads what [`encode`](Self::encode) wrote; `None` if it is neither.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        if let Some(cursor) = text.strip_prefix(CURSOR) {
            Some(Self::Cursor(Cursor::new(cursor.to_owned())))
        } else {
            text.strip_prefix(START)?.parse().ok().map(Self::Start)
        }
    }
}

/// A stream's committed state.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Row {
    /// The commit that wrote this state.
    pub commit_id: CommitId,
    /// Identity of the table the row was written to: a row found in another
    /// table was restored from a backup.
    pub table: String,
    /// Identity of the archive the row belongs to.
    pub archive: String,
    /// The 1Password account that the token belonged to, if the API told.
    pub account_uuid: Option<String>,
    /// The token that was last checked against `account_uuid`.
    pub token_id: Option<String>,
    /// Where the next batch starts; `None` until the tail has a cursor, which
    /// then starts at `from`.
    pub cursor: Option<Cursor>,
    /// Where the last batch started: where to return to if its uploads vanish.
    pub from: Position,
    /// Objects of the last batch, unless they are known to be published.
    pub staged: Vec<Staged>,
    /// What has been committed, for telling new events from known ones.
    pub marks: Marks,
    /// The stream is complete up to this time, by the API's clock.
    pub complete_until: Option<Timestamp>,
    /// Windows whose events the API no longer keeps and nobody collected.
    pub gaps: Vec<Window>,
    /// Windows that are still to be read again.
    pub resync: Vec<Window>,
    /// When the row was written, by the writer's clock.
    pub updated_at: Timestamp,
}

impl Row {
    /// Where the next batch starts.
    #[must_use]
    pub fn position(&self) -> Position {
        self.cursor.clone().map_or_else(|| self.from.clone(), Position::Cursor)
    }

    /// Makes `position` the start of the next batch, and of a return to it.
    pub fn return_to(&mut self, position: Position) {
        self.cursor = position.cursor().cloned();
        self.from = position;
    }
}

/// A checkpoint could not be read or moved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The row is not at the commit that was expected: another writer has
    /// committed, or a retry of this very commit found it made.
    #[error("the checkpoint of {stream} has moved on")]
    Conflict {
        /// The stream.
        stream: Stream,
    },
    /// The table is missing or closed to us. The operator can fix it.
    #[error("the checkpoint table {table} cannot be used: {reason}")]
    Unusable {
        /// The table.
        table: String,
        /// What is wrong and what to do.
        reason: String,
        /// What the store answered.
        #[source]
        source: BoxError,
    },
    /// The row was written by a newer version of this program.
    #[error(
        "the checkpoint of {stream} has version {found}, this program knows up to {ROW_VERSION}: \
         upgrade it, nothing was changed"
    )]
    Newer {
        /// The stream.
        stream: Stream,
        /// The row's version.
        found: u32,
    },
    /// The row is not one that this program writes.
    #[error(
        "the checkpoint of {stream} cannot be read: attribute `{attribute}` is missing or malformed"
    )]
    Corrupt {
        /// The stream.
        stream: Stream,
        /// The attribute at fault.
        attribute: &'static str,
    },
    /// The outcome is unknown; only a load can tell.
    #[error("the checkpoint table {table} did not answer")]
    Unknown {
        /// The table.
        table: String,
        /// Why.
        #[source]
        source: BoxError,
    },
}

impl CheckpointError {
    /// Whether the same call may succeed if it is made again.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Unknown { .. })
    }

    /// Stable name for metrics and for Lambda's `errorType`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Conflict { .. } => "Checkpoint.Conflict",
            Self::Unusable { .. } => "Checkpoint.Unusable",
            Self::Newer { .. } => "Checkpoint.Newer",
            Self::Corrupt { .. } => "Checkpoint.Corrupt",
            Self::Unknown { .. } => "Checkpoint.Unavailable",
        }
    }
}

/// Durable, strongly consistent storage of one row per stream.
pub trait CheckpointStore: Send + Sync {
    /// Identity of the table: `dynamodb://TABLE`, or a file's path.
    fn table(&self) -> &str;

    /// The last committed row; `None` if the stream has none.
    ///
    /// # Errors
    ///
    /// Any but [`CheckpointError::Conflict`].
    fn load(
        &self,
        stream: &Stream,
    ) -> impl Future<Output = Result<Option<Row>, CheckpointError>> + Send;

    /// Replaces the row whose `commit_id` is `expected` (`None`: there is no
    /// row) by `row`.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Conflict`] if the stored id is another one. After
    /// [`CheckpointError::Unknown`], only [`load`](Self::load) can tell.
    fn commit(
        &self,
        stream: &Stream,
        expected: Option<&CommitId>,
        row: &Row,
    ) -> impl Future<Output = Result<(), CheckpointError>> + Send;

    /// Removes the row whose `commit_id` is `expected`.
    ///
    /// # Errors
    ///
    /// As [`commit`](Self::commit).
    fn remove(
        &self,
        stream: &Stream,
        expected: &CommitId,
    ) -> impl Future<Output = Result<(), CheckpointError>> + Send;

    /// The streams that have a row, in no order.
    ///
    /// # Errors
    ///
    /// Any but [`CheckpointError::Conflict`].
    fn streams(&self) -> impl Future<Output = Result<Vec<Stream>, CheckpointError>> + Send;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_round_trip_and_are_not_printed() {
        for position in [
            Position::Start("2026-03-01T07:59:59.000000001Z".parse().unwrap()),
            Position::Cursor(Cursor::new("start_time:s3cret".to_owned())),
        ] {
            assert_eq!(Position::decode(&position.encode()), Some(position.clone()));
            assert!(!format!("{position:?}").contains("s3cret"));
        }
        assert_eq!(Position::decode("s3cret"), None);
    }
}
