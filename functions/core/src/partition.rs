//! Days and keys: where an event stands in the lake.
//!
//! ```text
//! <prefix><feed>/<yyyy-MM-dd>/<account>/<yyyyMMddTHHmmssZ>-<commit id>.json.gz
//! quarantine/<prefix><feed>/<account>/<sha256 of the record>.json.gz
//! ```
//!
//! The day is the UTC day of the events, the time in the name that of the
//! write. No `key=value` segments: not every consumer decodes `%3D`.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Serialize, Serializer};

use crate::checkpoint::CommitId;
use crate::feed::{NameError, Stream};

/// A UTC day: the partition of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(Date);

impl Day {
    /// The UTC day of `time`.
    #[must_use]
    pub fn of(time: Timestamp) -> Self {
        Self(TimeZone::UTC.to_datetime(time).date())
    }

    /// When the day begins.
    #[must_use]
    pub fn start(self) -> Timestamp {
        self.0.to_zoned(TimeZone::UTC).map_or(Timestamp::MIN, |midnight| midnight.timestamp())
    }

    /// When the next day begins.
    #[must_use]
    pub fn end(self) -> Timestamp {
        let next = self.0.tomorrow().and_then(|day| day.to_zoned(TimeZone::UTC));
        next.map_or(Timestamp::MAX, |midnight| midnight.timestamp())
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.0.year(), self.0.month(), self.0.day())
    }
}

impl FromStr for Day {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        // `Date` reads more than `yyyy-MM-dd`; only what we write is ours.
        let day = text.parse().map(Self).ok().filter(|day| day.to_string() == text);
        day.ok_or_else(|| NameError::new(text, "a day: use yyyy-MM-dd"))
    }
}

impl Serialize for Day {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What all keys of a lake start with; empty, or ends with `/`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Prefix(String);

impl Prefix {
    /// The prefix as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Prefix of every object of `feed`, whatever the account.
    #[must_use]
    pub fn feed(&self, feed: crate::feed::Feed) -> String {
        format!("{self}{feed}/")
    }

    /// Prefix of the objects of `stream` on `day`.
    #[must_use]
    pub fn day(&self, stream: &Stream, day: Day) -> String {
        format!("{self}{}/{day}/{}/", stream.feed, stream.account)
    }

    /// Key of the object that holds `stream`'s events of `day` committed as
    /// `commit`, written at `now`.
    ///
    /// ```
    /// # use oplake_core::{checkpoint::CommitId, feed::*, partition::*};
    /// let stream = Stream { account: AccountName::default(), feed: Feed::AuditEvents };
    /// let commit: CommitId = "0f1e2d3c4b5a69788796a5b4c3d2e1f0".parse()?;
    /// let key = Prefix::default().object(
    ///     &stream,
    ///     "2026-03-01".parse()?,
    ///     "2026-03-02T07:59:59.5Z".parse()?,
    ///     &commit,
    /// );
    /// assert_eq!(
    ///     key,
    ///     "onepassword/v1/audit_events/2026-03-01/main/20260302T075959Z-0f1e2d3c4b5a69788796a5b4c3d2e1f0.json.gz"
    /// );
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn object(&self, stream: &Stream, day: Day, now: Timestamp, commit: &CommitId) -> String {
        let at = TimeZone::UTC.to_datetime(now);
        format!(
            "{}{:04}{:02}{:02}T{:02}{:02}{:02}Z-{commit}.json.gz",
            self.day(stream, day),
            at.year(),
            at.month(),
            at.day(),
            at.hour(),
            at.minute(),
            at.second(),
        )
    }

    /// Key of the quarantined record of `stream` whose bytes have this SHA-256.
    #[must_use]
    pub fn quarantine(&self, stream: &Stream, sha256: &str) -> String {
        format!("quarantine/{self}{}/{}/{sha256}.json.gz", stream.feed, stream.account)
    }
}

impl Default for Prefix {
    fn default() -> Self {
        Self("onepassword/v1/".to_owned())
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Prefix {
    type Err = NameError;

    /// Accepts a prefix with or without the last `/`.
    fn from_str(text: &str) -> Result<Self, NameError> {
        // Words by which consumers pick a parser of their own for a key.
        const RESERVED: [&str; 5] =
            ["vpcflowlogs", "aws-waf-logs", "waflogs", "amazon_kinesis", "_cloudtrail"];
        let path = text.strip_suffix('/').unwrap_or(text);
        let segment = |segment: &str| {
            segment.starts_with(|c: char| c.is_ascii_alphanumeric())
                && segment
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
        };
        let lower = path.to_ascii_lowercase();
        if path.is_empty() && text.is_empty() {
            Ok(Self(String::new()))
        } else if path.len() <= 200
            && path.split('/').all(segment)
            && path.split('/').next() != Some("quarantine")
            && !RESERVED.iter().any(|word| lower.contains(word))
        {
            Ok(Self(format!("{path}/")))
        } else {
            Err(NameError::new(
                text,
                "a key prefix: use segments of letters, digits, `_`, `.` and `-` that start with a letter or digit, \
                 parted by `/`; `quarantine/` and words by which SIEMs pick a parser of their own \
                 (vpcflowlogs, waflogs, aws-waf-logs, amazon_kinesis, _CloudTrail) are reserved",
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_day_is_utc() {
        let time: Timestamp = "2026-03-01T01:30:00+02:00".parse().unwrap();
        assert_eq!(Day::of(time).to_string(), "2026-02-28");
    }

    #[test]
    fn prefixes_end_with_a_slash_and_hold_no_surprise() {
        assert_eq!("a/b-1".parse::<Prefix>().unwrap().as_str(), "a/b-1/");
        assert_eq!("a/".parse::<Prefix>().unwrap().as_str(), "a/");
        assert_eq!("".parse::<Prefix>().unwrap().as_str(), "");
        for bad in ["/", "/a", "a//b", "a b", "k=v", "../x", "a/.b", "quarantine", "x/waflogs"] {
            assert!(bad.parse::<Prefix>().is_err(), "{bad}");
        }
    }
}
