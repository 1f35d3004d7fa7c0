//! What every implementation of a port must do, as tests over the port.
//!
//! Each function is a claim that panics where it does not hold; `all` makes
//! every claim of a port. Each uses streams, days and keys that no other call
//! uses, so a store that holds other things can be tested too. They leave what
//! they wrote.

#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "claims are tests: a panic is their answer"
)]

pub mod archive;
pub mod checkpoints;
pub mod tokens;

use crate::checkpoint::CommitId;
use crate::feed::{Feed, Stream};

/// A stream of `feed` that nobody else uses.
fn fresh_stream(feed: Feed) -> Stream {
    Stream { account: format!("c{}", CommitId::random()).parse().unwrap(), feed }
}
