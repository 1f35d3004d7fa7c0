//! What the suites share: see `tests/` for the suites themselves.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "tests answer by panics"
)]

pub mod binaries;
pub mod judge;
pub mod proxy;
pub mod random;
pub mod runtime_api;
pub mod stack;
