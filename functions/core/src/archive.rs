//! Where objects stand: the port, and its words.
//!
//! An object is staged (durable, invisible), then published (visible, final).
//! Between the two stands the checkpoint's commit: see [`crate::protocol`].

use std::future::Future;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::checkpoint::CommitId;
use crate::error::BoxError;
use crate::feed::{Feed, Stream};
use crate::partition::Day;

/// An encoded object that is to be staged.
#[derive(Debug, Clone)]
pub struct Object {
    /// Key of the object once published.
    pub key: String,
    /// The gzip member.
    pub body: Bytes,
    /// CRC-32 (ISO-HDLC) of `body`.
    pub crc32: u32,
    /// Events in the object.
    pub events: u64,
}

/// A staged object, as the checkpoint's row names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Staged {
    /// Key of the object once published.
    pub key: String,
    /// What names the staged bytes until then: S3's upload id, or a file name.
    pub upload_id: String,
    /// `ETag` of the one part; empty where the archive has none.
    pub etag: String,
    /// CRC-32 (ISO-HDLC) of the bytes.
    pub crc32: u32,
    /// Number of bytes.
    pub size: u64,
    /// Number of events.
    pub events: u64,
}

/// What an archive answered to a completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Completion {
    /// The object is published, by this call or an earlier one.
    Done,
    /// No such upload: it was completed before, or aborted, or has expired.
    NoUpload,
    /// The key is taken. Only a look tells by what.
    Taken,
}

/// What stands at the key of a staged object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Look {
    /// The object, with the commit's id and size.
    Published,
    /// Nothing: a listing of the full key returned nothing.
    Absent,
    /// Something else.
    Foreign,
}

/// A published object, as a listing tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its key.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
}

/// A call to the archive failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// The archive is not there, or is another's. The operator can fix it.
    #[error("the archive {location} cannot be used: {reason}")]
    Unusable {
        /// The archive, as [`Archive::location`] names it.
        location: String,
        /// What is wrong and what to do.
        reason: String,
        /// What the archive answered.
        #[source]
        source: BoxError,
    },
    /// A permission is missing. The operator can fix it.
    #[error("not allowed to {operation} `{key}` in the archive")]
    Denied {
        /// What was tried, e.g. `complete upload of`.
        operation: &'static str,
        /// The key or prefix.
        key: String,
        /// What the archive answered.
        #[source]
        source: BoxError,
    },
    /// The outcome is unknown: the call may or may not have taken effect.
    #[error("the archive did not {operation} `{key}`")]
    Unknown {
        /// What was tried.
        operation: &'static str,
        /// The key or prefix.
        key: String,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// A published object cannot be read back as what was written.
    #[error("the object `{key}` cannot be read")]
    Unreadable {
        /// Its key.
        key: String,
        /// Why.
        #[source]
        source: BoxError,
    },
}

impl ArchiveError {
    /// Whether the same call may succeed if it is made again.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Unknown { .. })
    }

    /// Stable name for metrics and for Lambda's `errorType`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unusable { .. } => "Archive.Unusable",
            Self::Denied { .. } => "Archive.Denied",
            Self::Unknown { .. } => "Archive.Unavailable",
            Self::Unreadable { .. } => "Archive.Unreadable",
        }
    }
}

/// Durable storage of immutable objects that are staged before they appear.
///
/// Reads see every write that was acknowledged before them.
pub trait Archive: Send + Sync {
    /// Identity of the archive: `s3://bucket/prefix` or a folder's path.
    fn location(&self) -> &str;

    /// Makes `object` durable without showing it, marked with `commit`.
    ///
    /// # Errors
    ///
    /// After [`ArchiveError::Unknown`] bytes may be left staged that nothing
    /// names; the archive's own expiry removes them.
    fn stage(
        &self,
        object: &Object,
        commit: &CommitId,
    ) -> impl Future<Output = Result<Staged, ArchiveError>> + Send;

    /// Makes a staged object appear at its key. Idempotent.
    ///
    /// # Errors
    ///
    /// After [`ArchiveError::Unknown`] only [`look`](Self::look) can tell.
    fn complete(
        &self,
        staged: &Staged,
    ) -> impl Future<Output = Result<Completion, ArchiveError>> + Send;

    /// Tells what stands at the key of `staged`, which `commit` staged.
    ///
    /// # Errors
    ///
    /// Any; a permission error is never [`Look::Absent`].
    fn look(
        &self,
        staged: &Staged,
        commit: &CommitId,
    ) -> impl Future<Output = Result<Look, ArchiveError>> + Send;

    /// Drops staged bytes. Not an error if there are none any more.
    ///
    /// # Errors
    ///
    /// Any; the bytes may then still be completed.
    fn abort(&self, staged: &Staged) -> impl Future<Output = Result<(), ArchiveError>> + Send;

    /// Writes `body` at `key`, outside the lake, unless something is there.
    ///
    /// # Errors
    ///
    /// Any but "exists", which is success.
    fn quarantine(
        &self,
        key: &str,
        body: Bytes,
    ) -> impl Future<Output = Result<(), ArchiveError>> + Send;

    /// Moves a published object out of the lake, to `quarantine/<key>`. Only an
    /// operator who repairs a damaged lake does this; the Lambda function is not
    /// allowed to.
    ///
    /// # Errors
    ///
    /// Any; the object may then stand in both places.
    fn set_aside(&self, key: &str) -> impl Future<Output = Result<(), ArchiveError>> + Send;

    /// The days on which the lake holds objects of `feed`, ascending. A day
    /// may hold objects of other accounts only.
    ///
    /// # Errors
    ///
    /// Any.
    fn days(&self, feed: Feed) -> impl Future<Output = Result<Vec<Day>, ArchiveError>> + Send;

    /// The published objects of `stream` on `day`.
    ///
    /// # Errors
    ///
    /// Any.
    fn list(
        &self,
        stream: &Stream,
        day: Day,
    ) -> impl Future<Output = Result<Vec<Listed>, ArchiveError>> + Send;

    /// The bytes of a published object.
    ///
    /// # Errors
    ///
    /// Any; an object that was listed but cannot be read is an error, never
    /// an absence.
    fn read(&self, key: &str) -> impl Future<Output = Result<Bytes, ArchiveError>> + Send;
}
