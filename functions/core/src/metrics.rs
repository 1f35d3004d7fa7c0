//! Metrics of one run, as one line of CloudWatch's embedded metric format.
//!
//! Written by hand: it is one JSON object a run, and the crates for it bring a
//! writer, a queue and a dozen dependencies.
//!
//! Each metric is one series, billed every month, so there are ten at most and
//! one dimension. Figures per stream are fields of the log.

use std::io::{self, Write};

use jiff::Timestamp;
use serde_json::json;

use crate::report::{Outcome, Report, StreamReport};

/// Namespace of every metric of this application.
pub const NAMESPACE: &str = "OnePasswordEventsLake";

/// Writes the metrics of `report` as one line, stamped `now`; `function` is the
/// name of the Lambda function and the one dimension.
///
/// | metric | unit | meaning |
/// |---|---|---|
/// | `LagSeconds` | Seconds | of the stream that is furthest behind; absent if none has ever been complete |
/// | `FailedStreams` | Count | streams that failed |
/// | `Unauthorized` | Count | streams whose token was refused, has expired or is malformed |
/// | `NoToken` | Count | streams without a token |
/// | `RateLimited` | Count | streams that the API's rate limit stopped |
/// | `Quarantined` | Count | records put into quarantine |
/// | `FutureEvents` | Count | events more than ten minutes ahead of the API's clock |
/// | `UnfamiliarEvents` | Count | events with a field or an action that this version does not know |
/// | `GapSeconds` | Seconds | longest time that the API no longer keeps and nobody collected |
/// | `TokenDaysLeft` | Count | days until the first token expires; absent if none does |
///
/// `Events`, `Bytes` and `LateEvents`, what a resync found, are fields of the
/// line, for queries, and no metrics.
///
/// # Errors
///
/// Whatever `out` fails with.
pub fn write_emf(
    report: &Report,
    function: &str,
    now: Timestamp,
    mut out: impl Write,
) -> io::Result<()> {
    let streams = &report.streams;
    let sum = |value: fn(&StreamReport) -> u64| -> u64 { streams.iter().map(value).sum() };
    let failed =
        |code: &dyn Fn(&str) -> bool| report.failures().filter(|(_, f)| code(f.code)).count();
    let outcome =
        |wanted: Outcome| streams.iter().filter(|stream| stream.outcome == wanted).count();
    let mut values = json!({
        "FailedStreams": outcome(Outcome::Failed),
        "Unauthorized": failed(&|code| {
            matches!(code, "EventsApi.Unauthorized" | "Token.Expired" | "Token.Malformed")
        }),
        "NoToken": outcome(Outcome::NoToken),
        "RateLimited": failed(&|code| code == "EventsApi.RateLimited"),
        "Quarantined": sum(|stream| stream.quarantined),
        "FutureEvents": sum(|stream| stream.future_events),
        "UnfamiliarEvents": sum(|stream| stream.unfamiliar_events),
        "GapSeconds": streams.iter().filter_map(gap_seconds).max().unwrap_or(0),
    });
    if let Some(lag) = streams.iter().filter_map(|stream| stream.lag_seconds).max() {
        values["LagSeconds"] = lag.into();
    }
    if let Some(days) = report.token_days_left {
        values["TokenDaysLeft"] = days.into();
    }
    let names: Vec<_> = values.as_object().into_iter().flatten().map(|(name, _)| name).collect();
    let unit = |name: &str| match name {
        "LagSeconds" | "GapSeconds" => "Seconds",
        _ => "Count",
    };
    let metrics: Vec<_> =
        names.into_iter().map(|name| json!({ "Name": name, "Unit": unit(name) })).collect();
    values["_aws"] = json!({
        "Timestamp": now.as_millisecond(),
        "CloudWatchMetrics": [{
            "Namespace": NAMESPACE,
            "Dimensions": [["FunctionName"]],
            "Metrics": metrics,
        }],
    });
    values["FunctionName"] = function.into();
    values["Events"] = sum(|stream| stream.events).into();
    values["Bytes"] = sum(|stream| stream.bytes).into();
    values["LateEvents"] = sum(|stream| stream.late_events).into();
    writeln!(out, "{values}")
}

fn gap_seconds(stream: &StreamReport) -> Option<i64> {
    stream.gap.map(|gap| gap.to.duration_since(gap.from).as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::{AccountName, Feed, Stream};
    use crate::report::Failure;

    #[test]
    fn a_run_is_one_line_that_declares_each_of_its_metrics() {
        let stream = Stream { account: AccountName::default(), feed: Feed::ItemUsages };
        let mut good = StreamReport::new(&stream);
        (good.outcome, good.events, good.lag_seconds) = (Outcome::Collected, 42, Some(7));
        let mut bad = StreamReport::new(&stream);
        bad.error = Some(Failure { code: "EventsApi.Unauthorized", message: "no".to_owned() });
        let report = Report { streams: vec![good, bad], token_days_left: Some(3) };
        let mut out = Vec::new();
        let now = Timestamp::from_millisecond(1_700_000_000_000).unwrap();
        write_emf(&report, "collector", now, &mut out).unwrap();

        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.matches('\n').count(), 1);
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["Events"], 42);
        assert_eq!(line["LagSeconds"], 7);
        assert_eq!(line["Unauthorized"], 1);
        assert_eq!(line["TokenDaysLeft"], 3);
        let declared = line["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array().unwrap();
        assert!(declared.len() <= 10, "each series costs money");
        for metric in declared {
            assert!(line[metric["Name"].as_str().unwrap()].is_i64(), "{metric}");
        }
    }
}
