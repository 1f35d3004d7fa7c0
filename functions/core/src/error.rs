//! How errors are told.

use std::error::Error;
use std::fmt::Write as _;

/// Boxed cause of an error.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// An error and all its causes on one line, outermost first, parted by `: `.
///
/// Every `Display` of this project names one layer only; this prints the chain
/// once, where the error is handled.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let layer = cause.to_string();
        // Libraries often repeat their cause in their own words.
        if !text.ends_with(&layer) {
            // Writing to a `String` cannot fail.
            write!(text, ": {layer}").ok();
        }
        source = cause.source();
    }
    text
}
