//! Spans of time.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The time from `from` on, until before `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Window {
    /// Start, included.
    pub from: Timestamp,
    /// End, excluded.
    pub to: Timestamp,
}

impl Window {
    /// Whether no time lies in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.from >= self.to
    }

    /// Whether `time` lies in it.
    #[must_use]
    pub fn contains(&self, time: Timestamp) -> bool {
        (self.from..self.to).contains(&time)
    }
}

/// `windows` and `added`, as windows that do not touch, by time.
#[must_use]
pub fn with(windows: &[Window], added: Window) -> Vec<Window> {
    let mut all: Vec<_> = windows.iter().copied().chain([added]).collect();
    all.retain(|window| !window.is_empty());
    all.sort_unstable();
    let mut merged: Vec<Window> = Vec::new();
    for window in all {
        match merged.last_mut() {
            Some(last) if window.from <= last.to => last.to = last.to.max(window.to),
            _ => merged.push(window),
        }
    }
    merged
}

/// What is left of `windows` without `done`, by time.
#[must_use]
pub fn without(windows: &[Window], done: Window) -> Vec<Window> {
    let around = |window: &Window| {
        [
            Window { from: window.from, to: window.to.min(done.from) },
            Window { from: window.from.max(done.to), to: window.to },
        ]
    };
    let mut left: Vec<_> =
        if done.is_empty() { windows.to_vec() } else { windows.iter().flat_map(around).collect() };
    left.retain(|window| !window.is_empty());
    left
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn window((from, to): (i64, i64)) -> Window {
        let time = |second| Timestamp::from_second(second).unwrap();
        Window { from: time(from), to: time(to) }
    }

    fn seconds(windows: &[Window]) -> Vec<i64> {
        windows.iter().flat_map(|w| w.from.as_second()..w.to.as_second()).collect()
    }

    proptest! {
        /// Against sets of seconds.
        #[test]
        fn windows_are_sets_of_times(
            windows in prop::collection::vec((0_i64..30, 0_i64..30), 0..6),
            done in (0_i64..30, 0_i64..30),
        ) {
            let mut set = std::collections::BTreeSet::new();
            let mut merged = Vec::new();
            for pair in &windows {
                set.extend(pair.0..pair.1);
                merged = with(&merged, window(*pair));
            }
            prop_assert_eq!(seconds(&merged), set.iter().copied().collect::<Vec<_>>());
            prop_assert!(merged.windows(2).all(|pair| pair[0].to < pair[1].from), "they touch");
            set.retain(|second| !(done.0..done.1).contains(second));
            prop_assert_eq!(seconds(&without(&merged, window(done))), set.into_iter().collect::<Vec<_>>());
        }
    }
}
