//! One record of a page: read for its identity and its time, otherwise left as
//! it came.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use bytes::Bytes;
use jiff::Timestamp;
use jiff::fmt::temporal::DateTimeParser;
use ring::digest::{SHA256, digest};

use crate::partition::Day;
use crate::record::{Members, Record, has_separator, text};
use crate::vocabulary::{self, Field};

/// 128 bits of the SHA-256 of an event's `uuid`: its identity in the lake.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fingerprint(pub [u8; 16]);

/// A set of fingerprints.
pub type Fingerprints = HashSet<Fingerprint, BuildHasherDefault<FirstBytes>>;

/// Takes the first bytes of a fingerprint for its hash, as they are of one.
#[derive(Debug, Default)]
pub struct FirstBytes(u64);

impl Hasher for FirstBytes {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.first_chunk().map_or(0, |first| u64::from_be_bytes(*first));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Hash for Fingerprint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

impl Fingerprint {
    /// The fingerprint of `identity`.
    #[must_use]
    pub fn of(identity: &[u8]) -> Self {
        let mut first = [0; 16];
        first.copy_from_slice(&digest(&SHA256, identity).as_ref()[..16]);
        Self(first)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// An event, ready to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The line that stands for it in the lake, without the newline.
    pub line: Bytes,
    /// Its `timestamp`, to the nanosecond.
    pub time: Timestamp,
    /// Its identity.
    pub fingerprint: Fingerprint,
    /// The first few things in it that are not in the API's reference, such as
    /// "field `risk`" or "action `frobnicate`".
    pub unfamiliar: Vec<Box<str>>,
}

impl Event {
    /// The partition that the event belongs to.
    #[must_use]
    pub fn day(&self) -> Day {
        Day::of(self.time)
    }

    /// The event's `uuid`, if it has a usable one.
    #[must_use]
    pub fn uuid(&self) -> Option<String> {
        let uuid = Fields::read(&self.line)?.uuid?;
        Some(String::from_utf8_lossy(&uuid).into_owned())
    }

    /// Reads one record of a page.
    ///
    /// An object with a usable `timestamp` but no usable `uuid` is known by the
    /// fingerprint of its line.
    ///
    /// # Errors
    ///
    /// The reason why the record cannot stand in the lake.
    pub fn read(record: &Record) -> Result<Self, Defect> {
        let read = Self::of_line(record.bytes()).or_else(|| Self::of_line(&record.line()));
        read.unwrap_or(Err(Defect::NotAnObject))
    }

    /// `None` if `line` is no line or no object.
    fn of_line(line: &Bytes) -> Option<Result<Self, Defect>> {
        let Fields { uuid, time, unfamiliar } = Fields::read(line)?;
        let fingerprint = Fingerprint::of(uuid.as_deref().unwrap_or(line));
        Some(time.map(|time| Self { line: line.clone(), time, fingerprint, unfamiliar }))
    }

    /// Reads what may not be JSON, such as a line of the lake.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn parse(bytes: &Bytes) -> Result<Self, Defect> {
        Self::read(&Record::parse(bytes).map_err(|_| Defect::NotAnObject)?)
    }
}

/// Why a record cannot stand in the lake and goes to quarantine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Defect {
    /// The record is not a JSON object.
    NotAnObject,
    /// It has no `timestamp`.
    NoTimestamp,
    /// Its `timestamp` is not an RFC 3339 time between the years 0 and 9999.
    BadTimestamp,
}

impl Defect {
    /// Stable name, as the quarantined record carries it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotAnObject => "not_an_object",
            Self::NoTimestamp => "no_timestamp",
            Self::BadTimestamp => "bad_timestamp",
        }
    }
}

/// Unfamiliar things of an event that are told.
const MAX_UNFAMILIAR: usize = 4;

/// The two fields that are read, and the first few of all that are not known.
struct Fields<'a> {
    uuid: Option<Cow<'a, [u8]>>,
    time: Result<Timestamp, Defect>,
    unfamiliar: Vec<Box<str>>,
}

impl<'a> Fields<'a> {
    /// `None` if `line` is no line or no object. Where a key stands twice the last
    /// one counts, as it does for most readers.
    fn read(line: &'a [u8]) -> Option<Self> {
        let mut fields =
            Self { uuid: None, time: Err(Defect::NoTimestamp), unfamiliar: Vec::new() };
        let mut members = Members::of(line);
        for (key, value) in members.by_ref() {
            // A known name has no escapes.
            let field = vocabulary::field(&key[1..key.len() - 1]);
            let unfamiliar = match field.or_else(|| vocabulary::field(&text(key)?)) {
                Some(Field::Uuid) => {
                    fields.uuid = text(value).filter(|uuid| !uuid.is_empty());
                    None
                }
                Some(Field::Timestamp) => {
                    fields.time = time(value);
                    None
                }
                Some(Field::Listed(name, knows)) => match text(value) {
                    Some(word) => (!knows(&word)).then(|| named(name, &word)),
                    None => (value != b"null").then(|| format!("{name} that is no text").into()),
                },
                Some(Field::Free) => None,
                None => Some(named("field", &text(key).unwrap_or_default())),
            };
            if fields.unfamiliar.len() < MAX_UNFAMILIAR {
                fields.unfamiliar.extend(unfamiliar);
            }
        }
        (members.is_at_end() && !has_separator(line)).then_some(fields)
    }
}

/// `kind` with `word`, unless that could be more than a word: it goes to the log,
/// where no key, address or name of a person may stand.
fn named(kind: &str, word: &[u8]) -> Box<str> {
    let is_word = word.len() <= 32
        && word.first().is_some_and(u8::is_ascii_lowercase)
        && word.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
        && word.iter().filter(|byte| byte.is_ascii_digit()).count() <= 2;
    if is_word {
        format!("{kind} `{}`", String::from_utf8_lossy(word)).into()
    } else {
        format!("{kind} with an odd name").into()
    }
}

fn time(value: &[u8]) -> Result<Timestamp, Defect> {
    let text = text(value).ok_or(Defect::BadTimestamp)?;
    // `Timestamp` also reads the years before 0, which no partition can name.
    if !text.first().is_some_and(u8::is_ascii_digit) {
        return Err(Defect::BadTimestamp);
    }
    DateTimeParser::new().parse_timestamp(&text).map_err(|_| Defect::BadTimestamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(record: &str) -> Result<Event, Defect> {
        Event::parse(&Bytes::copy_from_slice(record.as_bytes()))
    }

    #[test]
    fn a_compact_event_is_not_copied() {
        let record = Bytes::from_static(
            br#"{"uuid":"A","timestamp":"2026-01-02T03:04:05.000000001Z","x":"a b \" c"}"#,
        );
        let event = Event::parse(&record).unwrap();
        assert_eq!(event.line.as_ptr(), record.as_ptr());
        assert_eq!(event.line.len(), record.len());
        assert_eq!(event.fingerprint, Fingerprint::of(b"A"));
        assert_eq!(event.time.subsec_nanosecond(), 1);
    }

    #[test]
    fn white_space_goes_and_separators_are_escaped() {
        let event = read(
            "{ \"uuid\" :\t\"A\\n\",\n \"timestamp\":\"2026-01-02T03:04:05+02:00\", \"n\": 1.50e+02, \"s\":\"a \u{2028}\u{2029}b\u{85} é\" }",
        )
        .unwrap();
        assert_eq!(
            std::str::from_utf8(&event.line).unwrap(),
            "{\"uuid\":\"A\\n\",\"timestamp\":\"2026-01-02T03:04:05+02:00\",\"n\":1.50e+02,\"s\":\"a \\u2028\\u2029b\\u0085 é\"}"
        );
        assert_eq!(event.day().to_string(), "2026-01-02");
        assert_eq!(event.fingerprint, Fingerprint::of(b"A\n"));
    }

    #[test]
    fn what_the_reference_lacks_is_named_if_it_is_a_word() {
        for (fields, expected) in [
            (
                r#""action":"reveal","category":null,"object_type":"gva","session":{"new":1}"#,
                &[][..],
            ),
            (r#""risk":{"score":1}"#, &["field `risk`"]),
            (r#""risk":1,"action":"frobnicate"#, &["field `risk`", "action `frobnicate`"]),
            (r#""type":"mfa_\u006fk"#, &[]),
            (
                r#""category":7,"action":"two words"#,
                &["category that is no text", "action with an odd name"],
            ),
            (
                r#""eyJhbGciOiJFUzI1NiIsInR5":1,"action":"A3-ABCDEF"#,
                &["field with an odd name", "action with an odd name"],
            ),
            (
                r#""action":"192.0.2.1","category":"jane.doe","type":"a1b2c3d4"#,
                &["action with an odd name", "category with an odd name", "type with an odd name"],
            ),
            (
                r#""a":1,"b":1,"c":1,"d":1,"e":1,"action":"view"#,
                &["field `a`", "field `b`", "field `c`", "field `d`"],
            ),
        ] {
            // The last text of each is closed here.
            let end = if fields.ends_with('}') { "" } else { "\"" };
            let record = format!(r#"{{"timestamp":"2026-01-02T03:04:05Z",{fields}{end}}}"#);
            let told: Vec<_> = read(&record).unwrap().unfamiliar;
            assert_eq!(told.iter().map(|thing| &**thing).collect::<Vec<_>>(), expected, "{fields}");
        }
    }

    #[test]
    fn defects_are_told_apart() {
        for (record, defect) in [
            ("null", Defect::NotAnObject),
            ("[]", Defect::NotAnObject),
            ("\"{}\"", Defect::NotAnObject),
            ("{}", Defect::NoTimestamp),
            (r#"{"timestamp":null}"#, Defect::BadTimestamp),
            (r#"{"timestamp":1700000000}"#, Defect::BadTimestamp),
            (r#"{"timestamp":"yesterday"}"#, Defect::BadTimestamp),
            (r#"{"timestamp":"2026-01-02T03:04:05"}"#, Defect::BadTimestamp),
            (r#"{"timestamp":"-000001-01-02T03:04:05Z"}"#, Defect::BadTimestamp),
            (r#"{"timestamp":"2026-13-02T03:04:05Z"}"#, Defect::BadTimestamp),
        ] {
            assert_eq!(read(record).unwrap_err(), defect, "{record}");
        }
    }

    #[test]
    fn an_event_without_a_usable_uuid_is_known_by_its_line() {
        for uuid in ["", r#""uuid":"","#, r#""uuid":7,"#, r#""uuid":null,"#] {
            let record = format!(r#"{{ {uuid}"timestamp":"2026-01-02T03:04:05Z"}}"#);
            let event = read(&record).unwrap();
            assert_eq!(event.fingerprint, Fingerprint::of(&event.line), "{record}");
            // Read back from the lake it is the same event.
            assert_eq!(Event::parse(&event.line).unwrap(), event);
        }
    }

    #[test]
    fn odd_keys_and_depth_do_not_hide_an_event() {
        let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
        let record = format!(
            r#"{{"\ud800":1,"uuid":"\ud800A","uuid":"B","timestamp":"2026-01-02T03:04:05Z","d":{deep}}}"#
        );
        assert_eq!(read(&record).unwrap().fingerprint, Fingerprint::of(b"B"));
    }
}
