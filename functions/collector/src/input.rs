//! What an invocation is asked to do.
//!
//! ```json
//! {}
//! {"resync": {"hours": 6}}
//! {"resync": {"days": 3}}
//! {"backfill": {"from": "2026-03-01T00:00:00Z", "to": "2026-03-08T00:00:00Z"}}
//! ```

use jiff::{SignedDuration, Timestamp};
use oplake_core::collect::Task;
use oplake_core::window::Window;
use serde::Deserialize;
use serde_json::Value;

/// The input is none of the above.
#[derive(Debug, thiserror::Error)]
#[error(
    "the input is none that this function knows; use {{}}, {{\"resync\":{{\"hours\":6}}}}, \
     {{\"resync\":{{\"days\":3}}}} or {{\"backfill\":{{\"from\":TIME,\"to\":TIME}}}}"
)]
pub(crate) struct InputError(#[source] serde_json::Error);

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Asked {
    Resync(Back),
    Backfill(Window),
}

/// How far back, from now.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Back {
    Hours(u32),
    Days(u32),
}

/// What `input` asks for at `now`. Nothing is a collection.
pub(crate) fn read(input: Value, now: Timestamp) -> Result<Task, InputError> {
    if input.is_null() || input.as_object().is_some_and(serde_json::Map::is_empty) {
        return Ok(Task::Tail);
    }
    let back = |hours: i64| {
        Task::Resync(Window { from: now - SignedDuration::from_hours(hours), to: now })
    };
    Ok(match serde_json::from_value(input).map_err(InputError)? {
        Asked::Resync(Back::Hours(hours)) => back(hours.min(24 * 36_500).into()),
        Asked::Resync(Back::Days(days)) => back(24 * i64::from(days.min(36_500))),
        Asked::Backfill(window) => Task::Backfill(window),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_asked_for_is_understood_or_refused() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let task = |input| read(input, now);
        assert_eq!(task(json!({})).unwrap(), Task::Tail);
        assert_eq!(task(Value::Null).unwrap(), Task::Tail);
        let from = "2026-11-21T06:00:00Z".parse().unwrap();
        let resync = Task::Resync(Window { from, to: now });
        assert_eq!(task(json!({"resync": {"hours": 6}})).unwrap(), resync);
        let days = task(json!({"resync": {"days": 3}})).unwrap();
        let from = "2026-11-18T12:00:00Z".parse().unwrap();
        assert_eq!(days, Task::Resync(Window { from, to: now }));
        let window = json!({"from": "2026-11-18T12:00:00Z", "to": "2026-11-21T12:00:00Z"});
        let backfill = task(json!({ "backfill": window })).unwrap();
        assert_eq!(backfill, Task::Backfill(Window { from, to: now }));
        for bad in [json!({"resync": {"weeks": 1}}), json!({"detail": {}}), json!([]), json!("x")] {
            let error = task(bad).unwrap_err().to_string();
            assert!(error.contains(r#"{"resync":{"hours":6}}"#), "{error}");
        }
    }
}
