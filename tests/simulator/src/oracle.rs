//! What the simulator knows and its clients have to find out.

use bytes::Bytes;
use jiff::Timestamp;

/// An event as the simulator holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its uuid; empty if the event has none that can be read.
    pub uuid: String,
    /// The time it is positioned by when sorted by event time.
    pub timestamp: Timestamp,
    /// When it becomes visible to requests.
    pub visible_at: Timestamp,
    /// Exactly the bytes v2 answers contain. For generated events, v1 answers
    /// leave out the fields that only v2 has.
    pub bytes: Bytes,
}

/// An event to be injected.
///
/// The bytes are returned exactly as given: they need be no valid event, nor
/// even JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The item as it appears in pages.
    pub bytes: Bytes,
    /// The time it is positioned by; `None` takes the item's own `timestamp`
    /// or, if that cannot be read, the clock's.
    pub at: Option<Timestamp>,
    /// When it becomes visible; `None` is at once.
    pub visible_at: Option<Timestamp>,
}

impl Event {
    /// An event that is visible at once and positioned by its own timestamp.
    #[must_use]
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Self { bytes: bytes.into(), at: None, visible_at: None }
    }

    /// Positions the event at `time`, whatever it says itself.
    #[must_use]
    pub const fn at(mut self, time: Timestamp) -> Self {
        self.at = Some(time);
        self
    }

    /// Makes the event visible from `time` on.
    #[must_use]
    pub const fn visible_at(mut self, time: Timestamp) -> Self {
        self.visible_at = Some(time);
        self
    }
}
