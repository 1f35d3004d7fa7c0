//! The request quota.

use std::collections::HashMap;

use jiff::Timestamp;

use crate::options::RateLimit;

/// Requests counted per account in the current minute and hour. Windows are
/// fixed: they begin with the clock's minute and hour.
#[derive(Debug, Default)]
pub(crate) struct Quota(HashMap<usize, [Window; 2]>);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Window {
    start: i64,
    requests: u32,
}

impl Quota {
    /// Counts a request.
    ///
    /// # Errors
    ///
    /// When the window that is used up resets. Such a request is not counted.
    pub(crate) fn take(
        &mut self,
        account: usize,
        limit: RateLimit,
        now: Timestamp,
    ) -> Result<(), Timestamp> {
        let second = now.as_second();
        let windows = self.0.entry(account).or_default();
        let limits = [(60, limit.per_minute), (3600, limit.per_hour)];
        for (window, (length, _)) in windows.iter_mut().zip(limits) {
            let start = second - second.rem_euclid(length);
            if window.start != start {
                *window = Window { start, requests: 0 };
            }
        }
        // The longer window decides when both are used up.
        for (window, (length, limit)) in windows.iter().zip(limits).rev() {
            if window.requests >= limit {
                return Err(Timestamp::new(window.start + length, 0).unwrap_or(now));
            }
        }
        for window in windows {
            window.requests += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_window_resets_with_its_clock() {
        let mut quota = Quota::default();
        let limit = RateLimit { per_minute: 2, per_hour: 3 };
        let at = |second| Timestamp::new(second, 0).unwrap();

        assert_eq!(quota.take(0, limit, at(7)), Ok(()));
        assert_eq!(quota.take(0, limit, at(8)), Ok(()));
        assert_eq!(quota.take(0, limit, at(59)), Err(at(60)));
        assert_eq!(quota.take(1, limit, at(59)), Ok(()), "another account");
        assert_eq!(quota.take(0, limit, at(60)), Ok(()));
        assert_eq!(quota.take(0, limit, at(61)), Err(at(3600)));
        assert_eq!(quota.take(0, limit, at(3600)), Ok(()));
    }
}
