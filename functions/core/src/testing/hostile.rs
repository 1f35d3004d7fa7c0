//! What must hold of any bytes whatsoever. Fuzzers and property tests call
//! these; each panics if its claim does not hold.
#![expect(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a violated claim is a panic")]

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::checkpoint::Position;
use crate::event::Event;
use crate::events_api::{Page, message};
use crate::feed::AccountName;
use crate::newness::Marks;
use crate::record::{Members, Record, text};
use crate::token::Secret;

/// A page is split into records that are the very bytes received, or refused.
pub fn page(body: &[u8]) {
    let body = Bytes::copy_from_slice(body);
    let Ok(page) = Page::split(&body, Timestamp::UNIX_EPOCH) else { return };
    let range = body.as_ptr_range();
    for record in &page.items {
        assert!(range.contains(&record.bytes().as_ptr()), "a record is a copy");
        line(record.bytes());
    }
    assert!(!page.cursor.expose().is_empty());
}

/// A line of a record is one line, compact, of the same value, and the same
/// event when it is read back.
pub fn line(record: &[u8]) {
    let Ok(record) = Record::parse(&Bytes::copy_from_slice(record)) else { return };
    let line = record.line();
    let told = std::str::from_utf8(&line).unwrap();
    assert!(!told.contains(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']), "not one line");
    assert_eq!(Record::parse(&line).unwrap().line().as_ptr(), line.as_ptr(), "not compact");
    // A value too deep for a tree is compared by its text alone.
    if let Ok(value) = serde_json::from_slice::<Value>(record.bytes()) {
        assert_eq!(serde_json::from_slice::<Value>(&line).unwrap(), value);
        let read = |text: &[u8]| serde_json::from_slice::<Value>(text).unwrap();
        let members = Members::of(&line).map(|(key, value)| {
            (String::from_utf8(text(key).unwrap().into_owned()).unwrap(), read(value))
        });
        let members: Map<_, _> = members.collect();
        assert_eq!(value.as_object().cloned().unwrap_or_default(), members);
    }
    if let Ok(event) = Event::read(&record) {
        assert_eq!(event.line, line);
        assert_eq!(Event::parse(&event.line).unwrap(), event);
    }
}

/// A secret is read or refused, and never told.
pub fn secret(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let told = match Secret::new(text.to_owned()).accounts(&AccountName::default()) {
        Ok(accounts) => format!("{accounts:?}"),
        Err(error) => format!("{error} {error:?}"),
    };
    for part in text.split('.').filter(|part| part.len() > 40) {
        assert!(!told.contains(part), "the token is told");
    }
}

/// What a row stores is read back as it was, or refused.
pub fn row(bytes: &[u8]) {
    if let Some(marks) = Marks::decode(Timestamp::UNIX_EPOCH, 0, bytes) {
        assert_eq!(marks.encode_recent(), bytes);
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Some(position) = Position::decode(text)
    {
        assert_eq!(Position::decode(&position.encode()), Some(position));
    }
}

/// What is told of an error body is short, one line and without secrets.
pub fn error_body(body: &[u8]) {
    const SECRET: &str = "s3cret-token";
    let mut with_secret = body.to_vec();
    with_secret.extend_from_slice(SECRET.as_bytes());
    for body in [body, &with_secret] {
        let told = message(body, &[SECRET]);
        assert!(told.chars().count() <= 200 && !told.contains(char::is_control));
        assert!(!told.contains(SECRET), "a secret is told");
    }
}
