//! From a request's body to a page.

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use crate::cursor::Cursor;
use crate::faults::Effect;
use crate::feed::Feed;
use crate::options::{HasMore, Options};
use crate::store::{Query, Selection, Store, Version};

const DEFAULT_LIMIT: i64 = 100;
const MAX_LIMIT: i64 = 1000;
const DEFAULT_LOOKBACK: SignedDuration = SignedDuration::from_hours(1);

/// The body of a request for a page. A cursor beats whatever comes with it.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Body {
    cursor: Option<String>,
    limit: Option<i64>,
    start_time: Option<String>,
    end_time: Option<String>,
}

/// The request is malformed. The API does not say how.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadRequest;

/// Where a page is to begin.
#[derive(Debug)]
pub(crate) struct Place {
    cursor: Cursor,
    /// The cursor as it was sent, to be sent back as long as nothing follows.
    sent: Option<String>,
}

impl Body {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, BadRequest> {
        serde_json::from_slice(body).map_err(|_| BadRequest)
    }

    pub(crate) const fn has_cursor(&self) -> bool {
        self.cursor.is_some()
    }

    pub(crate) fn place(
        self,
        feed: Feed,
        account: &str,
        bind_cursors: bool,
        now: Timestamp,
    ) -> Result<Place, BadRequest> {
        if let Some(sent) = self.cursor {
            let cursor = Cursor::decode(&sent).ok_or(BadRequest)?;
            if bind_cursors && (cursor.feed != feed || cursor.account != account) {
                return Err(BadRequest);
            }
            return Ok(Place { cursor, sent: Some(sent) });
        }

        let limit = self.limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(BadRequest);
        }
        let time = |text: Option<String>| text.map(|text| rfc_3339(&text)).transpose();
        let end = time(self.end_time)?;
        let start = time(self.start_time)?.unwrap_or_else(|| {
            end.unwrap_or(now).checked_sub(DEFAULT_LOOKBACK).unwrap_or(Timestamp::MIN)
        });
        let cursor = Cursor {
            feed,
            account: account.to_owned(),
            limit: usize::try_from(limit).map_err(|_| BadRequest)?,
            start,
            end,
            after: None,
            turn: 0,
        };
        Ok(Place { cursor, sent: None })
    }
}

fn rfc_3339(text: &str) -> Result<Timestamp, BadRequest> {
    // The parser also takes other ISO 8601 forms, which the API refuses.
    let is_rfc_3339 = text.len() >= 20 && matches!(text.as_bytes()[10], b'T' | b't');
    if is_rfc_3339 { text.parse().map_err(|_| BadRequest) } else { Err(BadRequest) }
}

/// A page, ready to be sent.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) body: Vec<u8>,
    pub(crate) picks: Vec<usize>,
}

impl Page {
    /// Builds the page at `place`, distorted by `effect`.
    pub(crate) fn build(
        store: &Store,
        place: Place,
        version: Version,
        options: &Options,
        now: Timestamp,
        effect: Option<&Effect>,
    ) -> Self {
        let Place { mut cursor, sent } = place;
        let age = SignedDuration::from_hours(24 * i64::from(options.retention_days));
        let oldest = now.checked_sub(age).unwrap_or(Timestamp::MIN);
        let rewind = match effect {
            Some(Effect::Rewind(events)) => *events,
            _ => 0,
        };
        let limit = cursor.limit.min(options.max_page).max(1);
        let Selection { mut picks, more } = store.select(&Query {
            start: cursor.start.max(oldest),
            end: cursor.end,
            after: cursor.after,
            limit,
            rewind,
            now,
        });
        let mut has_more = match options.has_more {
            HasMore::Exact => more,
            HasMore::FullPage => picks.len() >= limit,
        };

        if let Some(Effect::EmptyPage { .. } | Effect::NullItems | Effect::NoItems) = effect {
            has_more = matches!(effect, Some(Effect::EmptyPage { .. })) || !picks.is_empty();
            picks.clear();
        }
        let moves = matches!(effect, Some(Effect::EmptyPage { moves: true }));
        if moves {
            cursor.turn += 1;
        }
        if let Some(&last) = picks.last() {
            cursor.after = Some(store.position(last));
        }
        let next = match sent {
            Some(sent) if picks.is_empty() && !moves => sent,
            _ => cursor.encode(),
        };
        if effect == Some(&Effect::DuplicateItem) {
            picks.extend(picks.last().copied());
        }

        let mut body = Vec::with_capacity(next.len() + 64);
        body.push(b'{');
        if effect != Some(&Effect::NoCursor) {
            body.extend_from_slice(b"\"cursor\":\"");
            body.extend_from_slice(next.as_bytes());
            body.extend_from_slice(b"\",");
        }
        if effect != Some(&Effect::NoHasMore) {
            body.extend_from_slice(if has_more {
                b"\"has_more\":true,"
            } else {
                b"\"has_more\":false,"
            });
        }
        match effect {
            Some(Effect::NoItems) => {
                body.pop();
            }
            Some(Effect::NullItems) => body.extend_from_slice(b"\"items\":null"),
            _ => {
                body.extend_from_slice(b"\"items\":[");
                store.write_items(&picks, version, &mut body);
                body.push(b']');
            }
        }
        body.push(b'}');
        Self { body, picks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(body: &str) -> Result<Place, BadRequest> {
        let now = "2026-11-20T12:00:00Z".parse().unwrap();
        Body::parse(body.as_bytes())?.place(Feed::AuditEvents, "A", true, now)
    }

    #[test]
    fn defaults_are_a_hundred_events_of_the_last_hour() {
        let cursor = place("{}").unwrap().cursor;
        assert_eq!(
            (cursor.limit, cursor.start.to_string().as_str()),
            (100, "2026-11-20T11:00:00Z")
        );

        let before = place(r#"{"end_time":"2026-11-18T08:00:00+01:00"}"#).unwrap().cursor;
        assert_eq!(before.start.to_string(), "2026-11-18T06:00:00Z");
    }

    #[test]
    fn malformed_bodies_are_refused() {
        for body in [
            "",
            "[1]",
            "{",
            r#"{"limit":0}"#,
            r#"{"limit":-1}"#,
            r#"{"limit":1001}"#,
            r#"{"limit":"100"}"#,
            r#"{"start_time":"yesterday"}"#,
            r#"{"start_time":"2026-11-18"}"#,
            r#"{"start_time":"2026-11-18 08:00:00Z"}"#,
            r#"{"end_time":"2026-13-18T08:00:00Z"}"#,
            r#"{"cursor":""}"#,
            r#"{"cursor":"aGVsbG8"}"#,
            r#"{"cursor":7}"#,
        ] {
            assert_eq!(place(body).unwrap_err(), BadRequest, "{body}");
        }
    }

    #[test]
    fn a_cursor_of_another_feed_is_refused_if_bound() {
        let now = "2026-11-20T12:00:00Z".parse().unwrap();
        let cursor = place("{}").unwrap().cursor.encode();
        let place = |feed, bound| {
            let body = Body { cursor: Some(cursor.clone()), limit: Some(7), ..Body::default() };
            body.place(feed, "A", bound, now).map(|place| place.cursor.limit)
        };

        assert_eq!(place(Feed::AuditEvents, true), Ok(100), "the cursor beats the limit");
        assert_eq!(place(Feed::ItemUsages, true), Err(BadRequest));
        assert_eq!(place(Feed::ItemUsages, false), Ok(100));
    }
}
