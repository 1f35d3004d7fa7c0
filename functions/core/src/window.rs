//! Spans of time.

use std::iter;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::partition::Day;

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

    /// What is before `at`, and the rest.
    #[must_use]
    pub fn cut(&self, at: Timestamp) -> [Self; 2] {
        [Self { to: self.to.min(at), ..*self }, Self { from: self.from.max(at), ..*self }]
    }

    /// What of it lies in `day`.
    #[must_use]
    pub fn within(&self, day: Day) -> Self {
        Self { from: self.from.max(day.start()), to: self.to.min(day.end()) }
    }

    /// So many parts of it, all as long, by time.
    pub fn parts(self, count: u8) -> impl Iterator<Item = Self> {
        let at = move |part: u8| {
            let length = self.to.duration_since(self.from) / i32::from(count) * i32::from(part);
            if part == count { self.to } else { self.from + length }
        };
        (0..count).map(move |part| Self { from: at(part), to: at(part + 1) })
    }

    /// Its parts in each UTC day, by time.
    pub fn days(self) -> impl Iterator<Item = Self> {
        let mut from = self.from;
        iter::from_fn(move || {
            let part = Self { from, ..self }.within(Day::of(from));
            from = part.to;
            (!part.is_empty()).then_some(part)
        })
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
    let around = |window: &Window| [window.cut(done.from)[0], window.cut(done.to)[1]];
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

        /// Nothing between two parts, nothing in both.
        #[test]
        fn parts_make_the_whole(from in 0_i64..500_000, length in 1_i64..500_000, count in 1_u8..9) {
            let whole = window((from, from + length));
            let days: Vec<_> = whole.days().collect();
            prop_assert!(days.iter().all(|part| Day::of(part.from).end() >= part.to));
            prop_assert!(days.windows(2).all(|pair| Day::of(pair[0].from) != Day::of(pair[1].from)));
            for parts in [days, whole.parts(count).collect()] {
                prop_assert_eq!(parts[0].from, whole.from);
                prop_assert_eq!(parts[parts.len() - 1].to, whole.to);
                prop_assert!(parts.windows(2).all(|pair| pair[0].to == pair[1].from));
            }
        }
    }
}
