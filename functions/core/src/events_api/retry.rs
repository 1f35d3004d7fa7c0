//! When to send a request, and when to send it again.

use std::num::NonZeroU32;
use std::time::Duration;

use backon::ExponentialBuilder;
use governor::clock::{Clock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use jiff::Timestamp;
use tokio::time::Instant;

/// How fast an account is asked. The API's limits are 600 requests in a minute
/// and 30,000 in an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// 120 at once, then 480 a minute: at most 600 in any minute and 28,920 in any
    /// hour, so one limiter serves both limits.
    Tail,
    /// 20 at once, then 120 a minute: at most 140 in any minute, so that re-reading
    /// never starves the tail.
    Resync,
    /// 20 at once, then 380 a minute: at most 400 in any minute, which leaves the
    /// tail 100 of the 500 that the hour's limit allows.
    Backfill,
}

impl Pace {
    /// Requests sent before the limiter begins to space them, and requests a
    /// minute from then on.
    fn quota(self) -> (NonZeroU32, NonZeroU32) {
        let (burst, per_minute) = match self {
            Self::Tail => (120, 480),
            Self::Resync => (20, 120),
            Self::Backfill => (20, 380),
        };
        let at_least_one = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        (at_least_one(burst), at_least_one(per_minute))
    }
}

/// Requests of one account, spaced. Shared by all its streams.
#[derive(Debug)]
pub struct Limiter(RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<TokioInstant>>);

impl Limiter {
    /// A limiter that has not been used.
    #[must_use]
    pub fn new(pace: Pace) -> Self {
        let (burst, per_minute) = pace.quota();
        let quota = Quota::per_minute(per_minute).allow_burst(burst);
        Self(RateLimiter::direct_with_clock(quota, TokioClock))
    }

    /// Waits until a request may be sent.
    pub async fn ready(&self) {
        while let Err(not_until) = self.0.check() {
            tokio::time::sleep(not_until.wait_time_from(TokioClock.now())).await;
        }
    }
}

/// tokio's clock, which tests can pause.
#[derive(Debug, Clone)]
struct TokioClock;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct TokioInstant(Instant);

impl Clock for TokioClock {
    type Instant = TokioInstant;

    fn now(&self) -> TokioInstant {
        TokioInstant(Instant::now())
    }
}

impl Reference for TokioInstant {
    fn duration_since(&self, earlier: Self) -> Nanos {
        self.0.saturating_duration_since(earlier.0).into()
    }

    fn saturating_sub(&self, duration: Nanos) -> Self {
        Self(self.0.checked_sub(duration.into()).unwrap_or(self.0))
    }
}

impl std::ops::Add<Nanos> for TokioInstant {
    type Output = Self;

    fn add(self, duration: Nanos) -> Self {
        Self(self.0 + Duration::from(duration))
    }
}

/// Attempts for one request, and the waits between them.
pub(super) fn policy() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(500))
        .with_max_delay(Duration::from_secs(15))
        .with_max_times(6)
        .with_jitter()
}

/// The wait after a 429 without `Retry-After`: until the API's minute is over,
/// as its shorter window is one of a minute.
pub(super) fn rest_of_minute(api_now: Timestamp) -> Duration {
    let second = u64::try_from(api_now.as_second().rem_euclid(60)).unwrap_or(0);
    Duration::from_secs(60 - second)
}

/// The wait that a `Retry-After` header asks for: seconds or an HTTP date.
#[must_use]
pub(super) fn retry_after(header: &str, api_now: Timestamp) -> Option<Duration> {
    let header = header.trim();
    if let Ok(seconds) = header.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = Timestamp::try_from(httpdate::parse_http_date(header).ok()?).ok()?;
    Some(at.duration_since(api_now).try_into().unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests in the busiest minute and hour of two hours at full speed.
    async fn busiest(pace: Pace) -> (usize, usize) {
        let limiter = Limiter::new(pace);
        let start = Instant::now();
        let mut sent = Vec::new();
        while start.elapsed() < Duration::from_hours(2) {
            limiter.ready().await;
            sent.push(start.elapsed());
        }
        let busiest = |window: Duration| {
            let in_window = |(n, at): (usize, &Duration)| {
                sent.partition_point(|later| *later < *at + window) - n
            };
            sent.iter().enumerate().map(in_window).max().unwrap()
        };
        (busiest(Duration::from_mins(1)), busiest(Duration::from_hours(1)))
    }

    #[tokio::test(start_paused = true)]
    async fn no_minute_and_no_hour_sees_too_many_requests() {
        let (minute, hour) = busiest(Pace::Tail).await;
        assert!(minute <= 600 && hour <= 30_000, "{minute} {hour}");
        assert!(hour > 28_000, "the quota is wasted: {hour}");
        let (minute, _) = busiest(Pace::Resync).await;
        assert!(minute <= 150, "{minute}");
        let (minute, hour) = busiest(Pace::Backfill).await;
        assert!(minute <= 400 && hour <= 24_000, "{minute} {hour}");
        assert!(hour > 22_500, "the quota is wasted: {hour}");
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_or_nothing() {
        let now: Timestamp = "2026-11-21T08:00:30Z".parse().unwrap();
        assert_eq!(retry_after("7", now), Some(Duration::from_secs(7)));
        let date = "Sat, 21 Nov 2026 08:01:00 GMT";
        assert_eq!(retry_after(date, now), Some(Duration::from_secs(30)));
        assert_eq!(retry_after("Sat, 21 Nov 2026 07:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", now), None);
        assert_eq!(rest_of_minute(now), Duration::from_secs(30));
    }
}
