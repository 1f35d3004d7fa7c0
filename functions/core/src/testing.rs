//! The ports in memory, faults to put in their way, and the contract that
//! every implementation of a port must meet.
//!
//! For tests only: nothing in [`contract`] returns an error where it can panic.

use std::fmt;
use std::mem::take;

use bytes::Bytes;
use jiff::Timestamp;

use crate::batch::Batch;
use crate::checkpoint::CommitId;
use crate::error::BoxError;
use crate::events_api::Page;
use crate::feed::{AccountName, Feed, Stream};
use crate::newness::Marks;
use crate::partition::Prefix;

pub mod contract;
mod faulty;
pub mod hostile;
mod memory;

pub use faulty::{Call, Crashed, Fault, Faults, Faulty, Gate, is_crash};
pub use memory::{FixedTokens, MemoryArchive, MemoryCheckpoints};

/// Takes pages of a stream that was never collected through all that a run does
/// to them in memory, from the bodies received to the objects to be staged.
/// Returns the events and the bytes in those.
///
/// # Errors
///
/// If a body is not a page.
#[inline(never)] // Instructions are counted within it.
pub fn pipeline(bodies: &[Bytes], now: Timestamp) -> Result<(u64, usize), BoxError> {
    let stream = Stream { account: AccountName::default(), feed: Feed::AuditEvents };
    let (prefix, mut marks, mut batch) = (Prefix::default(), Marks::nothing(), Batch::default());
    let (mut events, mut bytes) = (0, 0);
    for (n, body) in bodies.iter().enumerate() {
        let page = Page::split(body, now)?;
        batch.add_page(&page, |event| marks.verdict(event.time, event.fingerprint))?;
        if batch.is_full() || n + 1 == bodies.len() {
            let sealed = take(&mut batch).seal(&prefix, &stream, now, &CommitId::random())?;
            marks = marks.after(&sealed.latest, now);
            for (_, object) in sealed.objects {
                events += object.events;
                bytes += object.body.len();
            }
        }
    }
    Ok((events, bytes))
}

/// One operation of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// `Archive::stage`.
    Stage,
    /// `Archive::complete`.
    Complete,
    /// `Archive::look`.
    Look,
    /// `Archive::abort`.
    Abort,
    /// `Archive::quarantine`.
    Quarantine,
    /// `Archive::set_aside`.
    SetAside,
    /// `Archive::days`.
    Days,
    /// `Archive::list`.
    List,
    /// `Archive::read`.
    Read,
    /// `CheckpointStore::load`.
    Load,
    /// `CheckpointStore::commit`.
    Commit,
    /// `CheckpointStore::remove`.
    Remove,
    /// `CheckpointStore::streams`.
    Streams,
    /// `TokenSource::read`.
    ReadToken,
}

impl Operation {
    /// Name of the method.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stage => "stage",
            Self::Complete => "complete",
            Self::Look => "look",
            Self::Abort => "abort",
            Self::Quarantine => "quarantine",
            Self::SetAside => "set aside",
            Self::Days => "days",
            Self::List => "list",
            Self::Read | Self::ReadToken => "read",
            Self::Load => "load",
            Self::Commit => "commit",
            Self::Remove => "remove",
            Self::Streams => "streams",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
