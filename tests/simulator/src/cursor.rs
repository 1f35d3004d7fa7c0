//! Cursors: positions, not sessions.
//!
//! A cursor holds everything the next page depends on, so the server keeps
//! nothing and any cursor ever given out goes on working, after a restart too.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::feed::Feed;
use crate::store::Position;

/// The decoded form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cursor {
    #[serde(rename = "Feed")]
    pub(crate) feed: Feed,
    #[serde(rename = "Account")]
    pub(crate) account: String,
    #[serde(rename = "Limit")]
    pub(crate) limit: usize,
    #[serde(rename = "StartTime")]
    pub(crate) start: Timestamp,
    #[serde(rename = "EndTime", default, skip_serializing_if = "Option::is_none")]
    pub(crate) end: Option<Timestamp>,
    /// The last event returned; `None` before the first.
    #[serde(rename = "SearchAfter", default, skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<Position>,
    /// Tells apart cursors of one position, for the fault that moves a cursor
    /// over an empty page.
    #[serde(rename = "Turn", default, skip_serializing_if = "is_zero")]
    pub(crate) turn: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
const fn is_zero(turn: &u32) -> bool {
    *turn == 0
}

impl Cursor {
    pub(crate) fn encode(&self) -> String {
        // A struct of strings and numbers always serialises.
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    /// Reads a cursor; `None` if it is not one of ours.
    pub(crate) fn decode(text: &str) -> Option<Self> {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_round_trip_and_have_the_length_of_real_ones() {
        let cursor = Cursor {
            feed: Feed::AuditEvents,
            account: "J7ACCTX4QPZ2MWV5KHN3RBTDLE".to_owned(),
            limit: 1000,
            start: "2026-11-18T08:14:09Z".parse().unwrap(),
            end: None,
            after: Some(Position {
                ms: 1_795_176_000_000,
                tie: *b"K3TQ7WZB5VHMPJ2NRXG6DYLSAE",
                serial: 12345,
            }),
            turn: 0,
        };

        let text = cursor.encode();

        assert_eq!(Cursor::decode(&text), Some(cursor));
        assert!((150..=300).contains(&text.len()), "{}", text.len());
        assert_eq!(Cursor::decode("aGVsbG8hIGlzIGl0IG1lIHlvdSBhcmUgbG9va2luZyBmb3IK"), None);
    }
}
