//! When people work.

use jiff::tz::Offset;
use jiff::{Timestamp, ToSpan};

use super::nanosecond;
use crate::rng::Rng;

/// How much happens in each hour of a weekday, with a dip at lunch.
const WEEKDAY: [u64; 24] = [
    3, 2, 2, 2, 3, 6, 20, 90, 300, 460, 480, 420, 230, 290, 430, 440, 390, 260, 110, 60, 50, 40,
    20, 8,
];
/// And of a day at the weekend.
const WEEKEND: [u64; 24] =
    [2, 1, 1, 1, 1, 2, 3, 5, 9, 14, 18, 18, 14, 12, 13, 14, 13, 12, 11, 12, 12, 9, 6, 3];

const HOUR_NS: i64 = 3_600_000_000_000;

/// The span that events are spread over.
#[derive(Debug)]
pub(super) struct Calendar {
    start_ns: i64,
    hours: usize,
    /// For each UTC offset in use, the running total of the hours' weights.
    offices: Vec<(i8, Vec<u64>)>,
}

/// UTC offsets of the offices, in hours.
pub(super) const OFFSETS: [i8; 6] = [-8, -5, -3, 0, 1, 9];

impl Calendar {
    pub(super) fn new(now: Timestamp, days: u32, days_ahead: u32) -> Self {
        let hours = |days: u32| i64::from(days) * 24;
        // Some span there must be, for events to fall into.
        let (back, ahead) = (hours(days).max(i64::from(days_ahead == 0)), hours(days_ahead));
        let start = now.checked_sub(back.hours()).unwrap_or(Timestamp::MIN);
        let start_ns = i64::try_from(start.as_nanosecond()).unwrap_or_default();
        let hours = usize::try_from(back + ahead).unwrap_or_default();
        let offices = OFFSETS.map(|offset| {
            let mut total = 0;
            let mut next = start_ns;
            let totals = (0..hours).map(|_| {
                let local = Offset::constant(offset).to_datetime(nanosecond(next));
                next += HOUR_NS;
                // Saturday is 6, Sunday 7.
                let day =
                    if local.weekday().to_monday_one_offset() > 5 { WEEKEND } else { WEEKDAY };
                total += day[usize::from(local.hour().unsigned_abs())];
                total
            });
            (offset, totals.collect())
        });
        Self { start_ns, hours, offices: offices.into() }
    }

    /// A time at which someone at this UTC offset may be at work.
    pub(super) fn working_time(&self, offset: i8, rng: &mut Rng) -> i64 {
        let office = self.offices.iter().find(|(hours, _)| *hours == offset);
        let hour = office.map_or(0, |(_, totals)| {
            let drawn = rng.below(totals.last().copied().unwrap_or(1).max(1));
            totals.partition_point(|total| *total <= drawn)
        });
        self.within(hour, rng.below(HOUR_NS.unsigned_abs()))
    }

    /// A time at which a machine may be at work: any hour, and mostly when
    /// scheduled jobs start.
    pub(super) fn machine_time(&self, rng: &mut Rng) -> i64 {
        let hour = rng.index(self.hours);
        let of_hour = if rng.chance(600) { HOUR_NS / 40 } else { HOUR_NS };
        self.within(hour, rng.below(of_hour.unsigned_abs()))
    }

    /// The last nanosecond of the span.
    pub(super) fn last_ns(&self) -> i64 {
        self.within(self.hours, 0) - 1
    }

    fn within(&self, hour: usize, ns: u64) -> i64 {
        let hour = i64::try_from(hour).unwrap_or_default();
        self.start_ns + hour * HOUR_NS + i64::try_from(ns).unwrap_or_default()
    }
}
