//! The simulator's time, which tests set.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
// Stands still with tokio's clock where a test has paused it.
use tokio::time::Instant;

/// Whether the clock moves by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ClockMode {
    /// Stands still until it is set or advanced.
    #[default]
    Frozen,
    /// Runs on in real time from wherever it was last set.
    Running,
}

/// The time the whole simulator goes by. Clones show the same time.
#[derive(Debug, Clone)]
pub struct Clock(Arc<Mutex<Reading>>);

#[derive(Debug, Clone, Copy)]
struct Reading {
    at: Timestamp,
    since: Option<Instant>,
}

impl Clock {
    pub(crate) fn new(now: Timestamp, mode: ClockMode) -> Self {
        let since = (mode == ClockMode::Running).then(Instant::now);
        Self(Arc::new(Mutex::new(Reading { at: now, since })))
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let reading = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        later(reading.at, reading.since.map_or(Duration::ZERO, |since| since.elapsed()))
    }

    /// Sets the time, forwards or backwards.
    pub fn set(&self, now: Timestamp) {
        let mut reading = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reading.at = now;
        reading.since = reading.since.map(|_| Instant::now());
    }

    /// Moves the time forwards.
    pub fn advance(&self, by: Duration) {
        let mut reading = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reading.at = later(reading.at, by);
    }
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
    at.saturating_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frozen_clock_moves_only_when_told() {
        let start: Timestamp = "2026-11-20T12:00:00Z".parse().unwrap();
        let clock = Clock::new(start, ClockMode::Frozen);
        assert_eq!(clock.now(), start);

        clock.clone().advance(Duration::from_secs(90));

        assert_eq!(clock.now().to_string(), "2026-11-20T12:01:30Z");
    }
}
