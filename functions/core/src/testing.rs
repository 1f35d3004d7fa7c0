//! The ports in memory, faults to put in their way, and the contract that
//! every implementation of a port must meet.
//!
//! For tests only: nothing in [`contract`] returns an error where it can panic.

use std::fmt;

pub mod contract;
mod faulty;
pub mod hostile;
mod memory;

pub use faulty::{Call, Crashed, Fault, Faults, Faulty, Gate, is_crash};
pub use memory::{FixedTokens, MemoryArchive, MemoryCheckpoints};

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
