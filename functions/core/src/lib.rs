//! Collects 1Password events into a data lake: nothing lost, nothing twice,
//! nothing altered, never silent.
//!
//! Data flows one way:
//!
//! ```text
//! config -> token -> events_api -> event -> partition -> encode -> archive.stage
//!                                                                       |
//!    metrics <- archive.publish <------- checkpoint.commit <------------+
//! ```
//!
//! [`collect`] is the only module that knows every step. The archive, the
//! checkpoint store and the token source are ports: traits with an
//! implementation on AWS and one for a shell. How a batch is committed, and
//! what makes it safe, is told in [`protocol`].

pub mod archive;
pub mod checkpoint;
pub mod error;
pub mod event;
pub mod feed;
pub mod newness;
pub mod partition;
#[cfg(feature = "testing")]
pub mod testing;
pub mod token;
