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

mod account;
pub mod archive;
mod batch;
pub mod check;
pub mod checkpoint;
pub mod collect;
mod commit;
pub mod config;
pub mod encode;
pub mod error;
pub mod event;
pub mod events_api;
pub mod feed;
mod fetch;
pub mod lake;
pub mod log;
pub mod metrics;
pub mod newness;
pub mod partition;
pub mod protocol;
pub mod record;
pub mod report;
mod resync;
#[cfg(feature = "testing")]
pub mod testing;
pub mod token;
mod vocabulary;
pub mod window;
