//! One record of a page: read for its identity and its time, otherwise left as
//! it came.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use jiff::Timestamp;
use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::partition::Day;
use crate::vocabulary;

/// 128 bits of the SHA-256 of an event's `uuid`: its identity in the lake.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 16]);

impl Fingerprint {
    /// The fingerprint of `identity`.
    #[must_use]
    pub fn of(identity: &[u8]) -> Self {
        let mut first = [0; 16];
        first.copy_from_slice(&Sha256::digest(identity)[..16]);
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
        let fields = Fields::read(&self.line).ok()?;
        Some(String::from_utf8_lossy(&fields.uuid?).into_owned())
    }

    /// Reads one record of a page.
    ///
    /// An object with a usable `timestamp` but no usable `uuid` is known by the
    /// fingerprint of its line.
    ///
    /// # Errors
    ///
    /// The reason why the record cannot stand in the lake.
    pub fn read(record: &Bytes) -> Result<Self, Defect> {
        let line = compact(record);
        let fields = Fields::read(&line)?;
        let fingerprint = Fingerprint::of(fields.uuid.as_deref().unwrap_or(&line));
        let time = fields.time?;
        Ok(Self { line, time, fingerprint, unfamiliar: fields.unfamiliar })
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
struct Fields {
    uuid: Option<Vec<u8>>,
    time: Result<Timestamp, Defect>,
    unfamiliar: Vec<Box<str>>,
}

impl Fields {
    fn read(line: &[u8]) -> Result<Self, Defect> {
        if line.first() != Some(&b'{') {
            return Err(Defect::NotAnObject);
        }
        serde_json::from_slice(line).map_err(|_| Defect::NotAnObject)
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            // Where a key stands twice the last one counts, as it does for most readers.
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields =
                    Fields { uuid: None, time: Err(Defect::NoTimestamp), unfamiliar: Vec::new() };
                while let Some(Key(key)) = map.next_key()? {
                    match &*key {
                        b"uuid" => {
                            fields.uuid = text(map.next_value()?).filter(|uuid| !uuid.is_empty());
                        }
                        b"timestamp" => fields.time = time(map.next_value()?),
                        name => {
                            let thing = if let Some(known) = vocabulary::values(name) {
                                unknown_value(name, map.next_value()?, known)
                            } else {
                                map.next_value::<IgnoredAny>()?;
                                unknown_field(name)
                            };
                            if fields.unfamiliar.len() < MAX_UNFAMILIAR {
                                fields.unfamiliar.extend(thing);
                            }
                        }
                    }
                }
                Ok(fields)
            }
        }

        deserializer.deserialize_map(Object)
    }
}

fn unknown_field(name: &[u8]) -> Option<Box<str>> {
    (!vocabulary::knows_field(name)).then(|| named("field", name))
}

/// `value` of the field `name`, unless it is one of `known` or null.
fn unknown_value(name: &[u8], value: &RawValue, known: &[&str]) -> Option<Box<str>> {
    let is_known = match value.get().as_bytes() {
        // None of the known ones needs an escape.
        [b'"', word @ .., b'"'] => vocabulary::is_one_of(word, known),
        other => other == b"null",
    };
    let name = std::str::from_utf8(name).unwrap_or_default();
    (!is_known).then(|| match text(value) {
        Some(word) => named(name, &word),
        None => format!("{name} that is no text").into(),
    })
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

/// A key as bytes: a lone surrogate in a key must not make the object unreadable.
struct Key<'de>(Cow<'de, [u8]>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl<'de> Visitor<'de> for Text {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_bytes<E: de::Error>(self, bytes: &'de [u8]) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(bytes)))
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(bytes.to_vec())))
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Key<'de>, E> {
                self.visit_borrowed_bytes(text.as_bytes())
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Key<'de>, E> {
                self.visit_bytes(text.as_bytes())
            }
        }

        deserializer.deserialize_bytes(Text)
    }
}

/// The string that `value` is, unescaped; `None` if it is something else.
fn text(value: &RawValue) -> Option<Vec<u8>> {
    let Key(text) = serde_json::from_str(value.get()).ok()?;
    Some(text.into_owned())
}

fn time(value: &RawValue) -> Result<Timestamp, Defect> {
    let text: Cow<'_, str> =
        serde_json::from_str::<Text<'_>>(value.get()).map_err(|_| Defect::BadTimestamp)?.0;
    // `Timestamp` also reads the years before 0, which no partition can name.
    if !text.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(Defect::BadTimestamp);
    }
    text.parse().map_err(|_| Defect::BadTimestamp)
}

/// A string, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// `record` as a line: without insignificant white space, and with the three
/// line separators that JSON allows raw inside strings escaped. Copies only if
/// something has to change.
#[must_use]
pub fn compact(record: &Bytes) -> Bytes {
    let bytes: &[u8] = record;
    if is_compact(bytes) {
        return record.clone();
    }
    let separators = !bytes.is_ascii();
    let mut line: Option<Vec<u8>> = None;
    // Everything before `kept` is in `line` already.
    let mut kept = 0;
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b' ' | b'\n' | b'\r' | b'\t' => {
                line.get_or_insert_default().extend_from_slice(&bytes[kept..at]);
                at += 1;
                kept = at;
            }
            b'"' => {
                let end = string_end(bytes, at);
                if separators {
                    while let Some((start, escape, len)) = separator(bytes, at, end) {
                        let line = line.get_or_insert_default();
                        line.extend_from_slice(&bytes[kept..start]);
                        line.extend_from_slice(escape);
                        kept = start + len;
                        at = kept;
                    }
                }
                at = end;
            }
            _ => at += 1,
        }
    }
    match line {
        None => record.clone(),
        Some(mut line) => {
            line.extend_from_slice(&bytes[kept..]);
            line.into()
        }
    }
}

/// Whether the JSON `bytes` surely are a line as they are: several times as fast
/// as a look at each token. JSON has control characters only outside strings,
/// and white space there has nothing, or more of it, or one of `{}[],:` on one
/// side.
#[expect(clippy::needless_bitwise_bool, reason = "without a branch, a vector at a time")]
fn is_compact(bytes: &[u8]) -> bool {
    let parts = |neighbour: Option<&u8>| neighbour.is_none_or(|byte| b" {}[],:".contains(byte));
    !bytes.iter().fold(false, |found, byte| found | (*byte < b' '))
        && memchr::memchr2(0xE2, 0xC2, bytes).is_none()
        && memchr::memchr_iter(b' ', bytes)
            .all(|at| at > 0 && !parts(bytes.get(at - 1)) && !parts(bytes.get(at + 1)))
}

/// The index after the closing quote of the string that starts at `start`.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(found) = memchr::memchr2(b'"', b'\\', bytes.get(at..).unwrap_or_default()) {
        at += found;
        if bytes[at] == b'"' {
            return at + 1;
        }
        at += 2;
    }
    bytes.len()
}

/// The first line separator between `from` and `to`: its index, its escape and
/// its length.
fn separator(bytes: &[u8], from: usize, to: usize) -> Option<(usize, &'static [u8], usize)> {
    let mut at = from;
    while let Some(found) = memchr::memchr2(0xE2, 0xC2, bytes.get(at..to)?) {
        at += found;
        match &bytes[at..to] {
            [0xC2, 0x85, ..] => return Some((at, b"\\u0085", 2)),
            [0xE2, 0x80, 0xA8, ..] => return Some((at, b"\\u2028", 3)),
            [0xE2, 0x80, 0xA9, ..] => return Some((at, b"\\u2029", 3)),
            _ => at += 1,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn read(record: &str) -> Result<Event, Defect> {
        Event::read(&Bytes::copy_from_slice(record.as_bytes()))
    }

    #[test]
    fn a_compact_event_is_not_copied() {
        let record = Bytes::from_static(
            br#"{"uuid":"A","timestamp":"2026-01-02T03:04:05.000000001Z","x":"a b \" c"}"#,
        );
        let event = Event::read(&record).unwrap();
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
            (r#""type":"mfa_\u006fk"#, &["type `mfa_ok`"]),
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
            assert_eq!(Event::read(&event.line).unwrap(), event);
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

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(|n| json!(n)),
            "[\\PC \u{85}\u{2028}\u{2029}\"\\\\\n]{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map("[a-z \u{2028}\"]{0,6}", inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn compaction_keeps_the_value_and_makes_one_line(value in values()) {
            let pretty = Bytes::from(serde_json::to_vec_pretty(&value).unwrap());
            let line = compact(&pretty);
            let read = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
            prop_assert_eq!(read(&line), read(&pretty));
            let text = std::str::from_utf8(&line).unwrap();
            let breaks = text.contains(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']);
            prop_assert!(!breaks);
            // What is compact stays as it is, byte for byte.
            prop_assert_eq!(compact(&line).as_ptr(), line.as_ptr());
            let plain = serde_json::to_string(&value).unwrap();
            if !plain.contains(['\u{85}', '\u{2028}', '\u{2029}']) {
                prop_assert_eq!(text, plain);
            }
        }
    }
}
