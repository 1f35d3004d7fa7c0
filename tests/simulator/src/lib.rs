//! A stand-in for the 1Password Events API, for tests, benchmarks and the demo.
//!
//! It speaks v1 and v2 of the API over plain HTTP: tokens, cursors, limits,
//! errors and data behave as documented or as seen in the field. The v3 beta is
//! left out, because its answers are not documented. Three things real services
//! lack make it a test tool: a clock that tests set, faults on demand, and an
//! oracle that knows which events became visible when.
//!
//! ```
//! use events_api_simulator::{Effect, Feed, Options, Rule, Simulator, When};
//!
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! let simulator = Simulator::start(Options::default()).await?;
//! simulator.faults().add(Rule::new(When::Nth(3), Effect::Reset).feed(Feed::ItemUsages));
//!
//! // Let the client under test collect from `simulator.url()` with
//! // `simulator.token()`, and compare with what there was to collect:
//! let expected = simulator.visible(Feed::ItemUsages, simulator.clock().now());
//! # assert_eq!(expected.len(), Options::default().events.item_usages);
//! # Ok::<(), std::io::Error>(())
//! # })?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! Choices where the real service is not documented: `end_time` is excluded,
//! bounds are compared as milliseconds, a cursor beats other fields sent with
//! it, a token of any audience is accepted, and faults come before
//! authentication.

mod answer;
mod clock;
mod control;
mod cursor;
mod data;
mod faults;
mod feed;
mod log;
mod options;
mod oracle;
mod page;
mod rate;
mod rng;
mod server;
mod simulator;
mod store;
mod token;
mod wire;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use crate::clock::{Clock, ClockMode};
pub use crate::faults::{Effect, Faults, Rule, When};
pub use crate::feed::Feed;
pub use crate::log::RequestRecord;
pub use crate::options::{Counts, ErrorStyle, HasMore, Options, RateLimit, RetryAfter, SortOrder};
pub use crate::oracle::{Event, Known};
pub use crate::simulator::{Account, Simulator};
pub use crate::token::{OLD_AUDIENCE, TokenSpec};

/// Every value behind a lock here is whole between statements, so a panic
/// elsewhere is no reason to stop.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
