//! Timestamps, as varied as the API writes them.

use jiff::Timestamp;
use jiff::tz::Offset;

use super::nanosecond;
use crate::rng::Rng;

/// A time and its text.
#[derive(Debug, Clone)]
pub(super) struct Stamp {
    ns: i64,
    text: [u8; 40],
    len: usize,
}

impl Stamp {
    /// Takes `ns` down to a random precision and writes it.
    pub(super) fn draw(ns: i64, rng: &mut Rng) -> Self {
        let digits: u32 = match rng.below(100) {
            0..55 => 9,
            55..70 => 3,
            70..80 => 6,
            80..90 => 0,
            other => u32::try_from(other - 90).unwrap_or_default(),
        };
        let unit = 10_i64.pow(9 - digits);
        let ns = ns - ns.rem_euclid(unit);
        let hours = if rng.chance(10) { *rng.pick(&[-3_i8, -8, 1, 2, 9]) } else { 0 };
        Self::new(ns, hours)
    }

    fn new(ns: i64, offset_hours: i8) -> Self {
        let mut stamp = Self { ns, text: [0; 40], len: 0 };
        let local = Offset::constant(offset_hours).to_datetime(nanosecond(ns));
        stamp.number(u32::from(local.year().unsigned_abs()), 4);
        stamp.part(b'-', local.month());
        stamp.part(b'-', local.day());
        stamp.part(b'T', local.hour());
        stamp.part(b':', local.minute());
        stamp.part(b':', local.second());
        let fraction = local.subsec_nanosecond().unsigned_abs();
        if fraction > 0 {
            stamp.push(b'.');
            stamp.number(fraction, 9);
            // The service's encoder drops trailing zeros.
            while stamp.text[stamp.len - 1] == b'0' {
                stamp.len -= 1;
            }
        }
        if offset_hours == 0 {
            stamp.push(b'Z');
        } else {
            let sign = if offset_hours < 0 { b'-' } else { b'+' };
            stamp.part(sign, offset_hours.abs());
            stamp.part(b':', 0);
        }
        stamp
    }

    pub(super) const fn ns(&self) -> i64 {
        self.ns
    }

    pub(super) fn timestamp(&self) -> Timestamp {
        nanosecond(self.ns)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.text[..self.len]
    }

    const fn push(&mut self, byte: u8) {
        self.text[self.len] = byte;
        self.len += 1;
    }

    fn part(&mut self, separator: u8, value: i8) {
        self.push(separator);
        self.number(u32::from(value.unsigned_abs()), 2);
    }

    fn number(&mut self, mut value: u32, digits: usize) {
        for place in (self.len..self.len + digits).rev() {
            self.text[place] = b"0123456789"[(value % 10) as usize];
            value /= 10;
        }
        self.len += digits;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailing_zeros_are_dropped_and_offsets_keep_the_instant() {
        let text = |text: &str, hours| {
            let at: Timestamp = text.parse().unwrap();
            let stamp = Stamp::new(i64::try_from(at.as_nanosecond()).unwrap(), hours);
            String::from_utf8(stamp.as_bytes().to_vec()).unwrap()
        };

        assert_eq!(text("2026-11-18T08:15:41Z", 0), "2026-11-18T08:15:41Z");
        assert_eq!(text("2026-11-18T08:15:41.200Z", 0), "2026-11-18T08:15:41.2Z");
        assert_eq!(
            text("2026-11-18T01:15:41.000000512Z", -3),
            "2026-11-17T22:15:41.000000512-03:00"
        );
    }
}
