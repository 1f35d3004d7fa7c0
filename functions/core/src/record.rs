//! One record of a page as the JSON text that it is: made a line without being
//! built anew, and read for the members of its object without being parsed again.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::value::RawValue;

/// The bytes of one JSON value, as they were received. That they are JSON has
/// been checked, which is what lets the rest of this module look for a few signs
/// and skip all else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record(Bytes);

impl Record {
    /// Checks that `bytes` are a JSON value, apart from white space around it.
    ///
    /// # Errors
    ///
    /// If they are not.
    pub fn parse(bytes: &Bytes) -> Result<Self, serde_json::Error> {
        Ok(Self::within(bytes, serde_json::from_slice(bytes)?))
    }

    /// The part of `bytes` that serde has found to be `value`.
    pub(crate) fn within(bytes: &Bytes, value: &RawValue) -> Self {
        Self(bytes.slice_ref(value.get().as_bytes()))
    }

    /// The bytes received.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// The record as a line: without insignificant white space, and with the
    /// three line separators that JSON allows raw inside strings escaped. Copies
    /// only if something has to change.
    #[must_use]
    pub fn line(&self) -> Bytes {
        let bytes: &[u8] = &self.0;
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
                    let end = at + string_len(&bytes[at..]);
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
            None => self.0.clone(),
            Some(mut line) => {
                line.extend_from_slice(&bytes[kept..]);
                line.into()
            }
        }
    }
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

/// Whether a line separator stands in the JSON `text`.
pub(crate) fn has_separator(text: &[u8]) -> bool {
    separator(text, 0, text.len()).is_some()
}

/// The members of the object that a JSON text is: the text of each key and of its
/// value. Ends at insignificant white space, and before all else that is no object.
pub(crate) struct Members<'a> {
    rest: &'a [u8],
}

impl<'a> Members<'a> {
    pub(crate) const fn of(text: &'a [u8]) -> Self {
        Self { rest: text }
    }

    /// Whether those were all members: the text was without white space.
    pub(crate) fn is_at_end(&self) -> bool {
        matches!(self.rest, b"}" | b"{}")
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (b'{' | b',', member) = self.rest.split_first()? else { return None };
        let (key, value) = member.split_at_checked(string_len(member))?;
        let value = value.strip_prefix(b":").filter(|_| key.starts_with(b"\""))?;
        let (value, rest) = value.split_at_checked(value_len(value)?)?;
        self.rest = rest;
        Some((key, value))
    }
}

/// The string that the JSON `value` is, unescaped; `None` if it is something else.
pub(crate) fn text(value: &[u8]) -> Option<Cow<'_, [u8]>> {
    let inside = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if memchr::memchr(b'\\', inside).is_none() {
        return Some(Cow::Borrowed(inside));
    }
    // As bytes: a lone surrogate must not make the event unreadable.
    let unescaped: Bytes = serde_json::from_slice(value).ok()?;
    Some(Cow::Owned(unescaped.into()))
}

/// Length of the string that `text` starts with, quotes included.
fn string_len(text: &[u8]) -> usize {
    let mut at = 1;
    while let Some(found) = quote_or_escape(text.get(at..).unwrap_or_default()) {
        at += found;
        if text[at] == b'"' {
            return at + 1;
        }
        at += 2;
    }
    text.len()
}

/// Where the first quote or backslash is. Most strings are shorter than what a
/// vector of `memchr` is worth: eight bytes at a time take two thirds of its time.
fn quote_or_escape(text: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 255;
    // The lowest byte whose top bit this sets is 0; others may be none.
    let zero = |word: u64| word.wrapping_sub(ONES) & !word & (ONES << 7);
    let (words, rest) = text.as_chunks();
    for (n, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let found = zero(word ^ (ONES * u64::from(b'"'))) | zero(word ^ (ONES * u64::from(b'\\')));
        if found != 0 {
            return Some(8 * n + found.trailing_zeros() as usize / 8);
        }
    }
    let found = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
    Some(8 * words.len() + found)
}

/// Length of the value that `text` starts with; `None` if there is white space in it.
fn value_len(text: &[u8]) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = 0;
    loop {
        match text.get(at)? {
            b'"' => at += string_len(&text[at..]),
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b',' | b'}' | b']' if depth == 0 => return Some(at),
            b'}' | b']' => {
                depth -= 1;
                at += 1;
            }
            b' ' | b'\t' | b'\n' | b'\r' => return None,
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use proptest::prelude::*;
    use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
    use serde_json::{Value, json};

    use super::*;

    fn record(text: &str) -> Record {
        Record::parse(&Bytes::copy_from_slice(text.as_bytes())).unwrap()
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

    /// The members of a JSON object by serde's reading, their values as text.
    #[derive(Debug, PartialEq)]
    struct Parsed(Vec<(Vec<u8>, String)>);

    impl<'de> Deserialize<'de> for Parsed {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Object;

            impl<'de> Visitor<'de> for Object {
                type Value = Parsed;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("a JSON object")
                }

                fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parsed, A::Error> {
                    let mut members = Vec::new();
                    while let Some((key, value)) = map.next_entry::<Bytes, &RawValue>()? {
                        members.push((key.into(), value.get().to_owned()));
                    }
                    Ok(Parsed(members))
                }
            }

            deserializer.deserialize_map(Object)
        }
    }

    /// What is skipped over is what serde reads.
    fn assert_reads_as_serde(line: &[u8]) {
        let expected = serde_json::from_slice(line).unwrap_or(Parsed(Vec::new()));
        let mut members = Members::of(line);
        let found = members.by_ref().map(|(key, value)| {
            (text(key).unwrap().into_owned(), String::from_utf8(value.to_vec()).unwrap())
        });
        assert_eq!(Parsed(found.collect()), expected, "{}", String::from_utf8_lossy(line));
        assert_eq!(members.is_at_end(), line.starts_with(b"{"));
    }

    #[test]
    fn members_are_those_that_serde_finds() {
        for line in [
            "{}",
            "[]",
            "[{\"a\":1}]",
            "\"{\\\"a\\\":1}\"",
            "-1.5e-7",
            r#"{"":""}"#,
            r#"{"a":1,"a":2}"#,
            r#"{"a":-0.0,"b":true,"c":null,"d":[],"e":{}}"#,
            r#"{"a":"}","b":"{[","c":",:","d":"\\","e":"\"}"}"#,
            r#"{"\"":"\\\"","\\":{"\"}":["]",{"}":[[{}],"\\"]}]},"z":[1,[2,{"a":3}],4]}"#,
            r#"{"\ud800":1,"\u0061":"\ud83d\ude00","é":"é\u00e9"}"#,
        ] {
            assert_reads_as_serde(record(line).bytes());
        }
    }

    #[test]
    fn white_space_is_noticed_outside_strings() {
        for (text, is_line) in [
            (r#"{" a ":" b ","c":[{"d":" "}]}"#, true),
            ("{ }", false),
            (r#"{ "a":1}"#, false),
            (r#"{ "":1}"#, false),
            (r#"{"a" :1}"#, false),
            (r#"{"a": 1}"#, false),
            (r#"{"a":1 }"#, false),
            (r#"{"a":1, "b":2}"#, false),
            (r#"{"a":[1, 2],"b":3}"#, false),
            ("{\"a\":{\"b\":\n[]},\"c\":3}", false),
            ("{\"a\":[\t],\"b\":3}", false),
            ("{\"a\":{\r},\"b\":3}", false),
        ] {
            let mut members = Members::of(text.as_bytes());
            members.by_ref().for_each(drop);
            assert_eq!(members.is_at_end(), is_line, "{text}");
            assert_eq!(record(text).line() == *record(text).bytes(), is_line, "{text}");
        }
    }

    #[test]
    fn no_bytes_are_read_past_their_end() {
        let line = br#"{"\"a\\":{"b":["c",{"d":"e\""}]},"f":-1,"g":"h"}"#;
        for end in 0..line.len() {
            assert!(Members::of(&line[..end]).count() <= 3);
        }
        for odd in ["", "{", "{\"", "{\"a", "{\"a\"", "{\"a\":", "{\"a\":\"\\", ",", "}", "{,:"] {
            assert!(Members::of(odd.as_bytes()).count() <= 1, "{odd}");
        }
    }

    #[test]
    fn a_record_is_json_and_nothing_else() {
        for text in ["", "{", "{\"a\":1}}", "{\"a\" 1}", "nul", "\"\n\"", "1 2", "{'a':1}"] {
            assert!(Record::parse(&Bytes::from_static(text.as_bytes())).is_err(), "{text}");
        }
        assert!(Record::parse(&Bytes::from_static(b"\"\xff\"")).is_err());
        assert_eq!(record(" \n{} ").bytes(), "{}");
    }

    proptest! {
        #[test]
        fn quotes_and_escapes_are_found_among_any_bytes(
            bytes in prop::collection::vec(
                // The bytes beside them, and those that differ in the top bit, are like them.
                prop_oneof![1 => Just(b'"'), 1 => Just(b'\\'), 4 => b'!'..=b'#', 4 => b'['..=b']', 9 => any::<u8>()],
                0..40,
            ),
        ) {
            for from in 0..bytes.len() {
                let bytes = &bytes[from..];
                prop_assert_eq!(quote_or_escape(bytes), memchr::memchr2(b'"', b'\\', bytes));
            }
        }

        #[test]
        fn members_of_any_line_are_those_that_serde_finds(value in values()) {
            let pretty = record(&serde_json::to_string_pretty(&value).unwrap());
            assert_reads_as_serde(&pretty.line());
            let mut members = Members::of(pretty.bytes());
            members.by_ref().for_each(drop);
            let is_line = value.is_object() && *pretty.bytes() == value.to_string();
            prop_assert_eq!(members.is_at_end(), is_line);
        }

        #[test]
        fn compaction_keeps_the_value_and_makes_one_line(value in values()) {
            let pretty = record(&serde_json::to_string_pretty(&value).unwrap());
            let line = pretty.line();
            let read = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
            prop_assert_eq!(read(&line), read(pretty.bytes()));
            let text = std::str::from_utf8(&line).unwrap();
            let breaks = text.contains(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']);
            prop_assert!(!breaks);
            // What is compact stays as it is, byte for byte.
            prop_assert_eq!(Record::parse(&line).unwrap().line().as_ptr(), line.as_ptr());
            let plain = serde_json::to_string(&value).unwrap();
            if !plain.contains(['\u{85}', '\u{2028}', '\u{2029}']) {
                prop_assert_eq!(text, plain);
            }
        }
    }
}
