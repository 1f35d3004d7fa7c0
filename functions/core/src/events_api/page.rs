//! A page of events, split into its records and left otherwise as it came.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::checkpoint::Cursor;
use crate::record::Record;

/// One answer of an event endpoint.
#[derive(Debug, Clone)]
pub struct Page {
    /// The records.
    pub items: Vec<Record>,
    /// Where to go on.
    pub cursor: Cursor,
    /// Whether there may be more. If so, the next page can still be empty.
    pub has_more: bool,
    /// The API's clock when it answered.
    pub date: Timestamp,
    /// Time from the request to the end of the answer; zero if it was not asked for.
    pub took: Duration,
}

/// A body is not a page.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// It is not JSON, or JSON of another shape.
    #[error("not a page of events (line {line}, column {column})")]
    Json {
        /// Line of the fault, from 1.
        line: usize,
        /// Column of the fault, from 1.
        column: usize,
    },
    /// It has no cursor, so there would be no way on.
    #[error("a page without a cursor")]
    NoCursor,
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(default)]
    cursor: Option<String>,
    #[serde(default)]
    has_more: Option<bool>,
    #[serde(default, borrow)]
    items: Option<Vec<&'a RawValue>>,
}

impl Page {
    /// Splits `body`, received when the API's clock showed `date`.
    ///
    /// # Errors
    ///
    /// Never names what the body holds, only where it is at fault.
    pub fn split(body: &Bytes, date: Timestamp) -> Result<Self, PageError> {
        let parsed: Body<'_> = serde_json::from_slice(body)
            .map_err(|error| PageError::Json { line: error.line(), column: error.column() })?;
        let cursor =
            parsed.cursor.filter(|cursor| !cursor.is_empty()).ok_or(PageError::NoCursor)?;
        let items = parsed.items.unwrap_or_default();
        Ok(Self {
            items: items.into_iter().map(|item| Record::within(body, item)).collect(),
            cursor: Cursor::new(cursor),
            has_more: parsed.has_more.unwrap_or(false),
            date,
            took: Duration::ZERO,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(body: &'static str) -> Result<Page, PageError> {
        Page::split(&Bytes::from_static(body.as_bytes()), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn records_are_the_bytes_received() {
        let page = split(
            r#"{"cursor":"c\u0041","has_more":true,"items":[{"a": 1.0e0 } , null,"x",[1, 2]],"more":[{}]}"#,
        )
        .unwrap();
        let items: Vec<_> = page.items.iter().map(Record::bytes).collect();
        assert_eq!(items, [&br#"{"a": 1.0e0 }"#[..], b"null", b"\"x\"", b"[1, 2]"]);
        assert_eq!(page.cursor.expose(), "cA");
        assert!(page.has_more);
    }

    #[test]
    fn missing_and_null_items_are_an_empty_page() {
        for body in [r#"{"cursor":"c"}"#, r#"{"cursor":"c","items":null,"has_more":null}"#] {
            let page = split(body).unwrap();
            assert!(page.items.is_empty() && !page.has_more);
        }
    }

    #[test]
    fn a_page_needs_a_cursor() {
        for body in ["{}", r#"{"items":[]}"#, r#"{"cursor":null}"#, r#"{"cursor":""}"#] {
            assert!(matches!(split(body), Err(PageError::NoCursor)), "{body}");
        }
    }

    #[test]
    fn a_cut_body_is_told_by_its_place_only() {
        let error = split("{\"cursor\":\"secret\",\n\"items\":[{\"a\"").unwrap_err();
        assert_eq!(error.to_string(), "not a page of events (line 2, column 13)");
        assert!(split("<html>").is_err());
    }
}
