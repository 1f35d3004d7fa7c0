//! One module for each command.

pub(crate) mod backfill;
pub(crate) mod check;
pub(crate) mod collect;
#[cfg(feature = "demo")]
pub(crate) mod demo;
pub(crate) mod replay;
pub(crate) mod reset;
pub(crate) mod status;
pub(crate) mod verify;

use std::process::ExitCode;

use oplake_core::error::BoxError;

/// An error means that nothing was done: wrong usage or configuration.
pub(crate) type Ended = Result<ExitCode, BoxError>;
