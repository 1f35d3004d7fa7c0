//! What people see: tables, progress, plain lines.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use indicatif::{
    HumanCount, HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle,
};
use jiff::Timestamp;
use oplake_core::collect::Progress;
use oplake_core::feed::Stream;
use oplake_core::report::Report;

/// Writes a line to standard error. Nobody there to read it is no failure.
pub(crate) fn say(line: impl fmt::Display) {
    drop(writeln!(io::stderr().lock(), "{line}"));
}

/// Writes a line to standard output.
pub(crate) fn print(line: impl fmt::Display) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{line}")
}

/// A table without lines, the columns from `numbers` on aligned right.
pub(crate) fn table(header: &[&str], rows: Vec<Vec<String>>, numbers: usize) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header);
    table.add_rows(rows);
    for column in table.column_iter_mut().skip(numbers) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// A number with its thousands parted.
pub(crate) fn count(number: u64) -> String {
    HumanCount(number).to_string()
}

/// A time to the second.
pub(crate) fn time(time: Option<Timestamp>) -> String {
    time.map_or_else(
        || "-".to_owned(),
        |time| time.round(jiff::Unit::Second).unwrap_or(time).to_string(),
    )
}

/// A span of seconds in its two largest units.
pub(crate) fn age(seconds: Option<i64>) -> String {
    let Some(seconds) = seconds else { return "-".to_owned() };
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

/// The summary of a run, for people.
pub(crate) fn summary(report: &Report) {
    let rows = report.streams.iter().map(|stream| {
        vec![
            stream.account.to_string(),
            stream.feed.to_string(),
            stream.outcome.as_str().to_owned(),
            count(stream.events),
            count(stream.objects),
            count(stream.bytes),
            count(stream.pages),
            time(stream.complete_until),
        ]
    });
    let header =
        ["account", "feed", "outcome", "events", "objects", "bytes", "pages", "complete until"];
    say(table(&header, rows.collect(), 3));
    for stream in &report.streams {
        for (number, what) in [
            (stream.quarantined, "records went to quarantine"),
            (stream.future_events, "events are dated in the future"),
        ] {
            if number > 0 {
                say(format_args!("warning: {}: {} {what}", stream.stream(), count(number)));
            }
        }
        if let Some(error) = &stream.error {
            say(format_args!("error: {}: {} ({})", stream.stream(), error.message, error.code));
        }
    }
    if let Some(days) = report.token_days_left.filter(|days| *days <= 30) {
        say(format_args!("warning: a token expires in {days} days"));
    }
}

/// Shows how far each stream has been read, between `start` and `now`: bars on
/// a terminal, a line every few seconds otherwise.
pub(crate) struct Watch {
    start: Timestamp,
    now: Timestamp,
    bars: Option<MultiProgress>,
    streams: Mutex<HashMap<Stream, Shown>>,
}

struct Shown {
    bar: ProgressBar,
    since: Instant,
    at: Instant,
}

/// Where nobody sees a bar, progress is a line every so often.
pub(crate) const LINE_EVERY: Duration = Duration::from_secs(5);

impl Watch {
    pub(crate) fn new(start: Timestamp, now: Timestamp) -> Self {
        let bars = io::stderr().is_terminal().then(MultiProgress::new);
        Self { start, now, bars, streams: Mutex::default() }
    }

    /// Shows `progress`.
    pub(crate) fn update(&self, progress: Progress<'_>) {
        let done = |time: Timestamp| {
            let seconds = time.min(self.now).duration_since(self.start).as_secs();
            u64::try_from(seconds).unwrap_or(0)
        };
        // Before the first event nobody knows where the stream is.
        let Some(at) = progress.at else { return };
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = streams.entry(progress.stream.clone()).or_insert_with(|| {
            // Where the stream was before is no speed of this run.
            let bar = ProgressBar::new(done(self.now).max(1));
            let bar = bar.with_position(done(at));
            let style = "{prefix:28} {bar:30} {percent:>3}% {msg}, {eta} left";
            bar.set_style(
                ProgressStyle::with_template(style)
                    .unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            bar.set_prefix(progress.stream.to_string());
            bar.set_draw_target(ProgressDrawTarget::hidden());
            let bar = match &self.bars {
                Some(bars) => bars.add(bar),
                None => bar,
            };
            let now = Instant::now();
            Shown { bar, since: now, at: now }
        });
        shown.bar.set_position(done(at));
        let seconds = shown.since.elapsed().as_secs().max(1);
        let events =
            format!("{} events, {}/s", count(progress.events), count(progress.events / seconds));
        shown.bar.set_message(events.clone());
        if self.bars.is_none() && shown.at.elapsed() >= LINE_EVERY {
            shown.at = Instant::now();
            say(format_args!(
                "{}: {events}, read up to {}, {} left",
                progress.stream,
                time(progress.at),
                HumanDuration(shown.bar.eta())
            ));
        }
    }

    /// Removes the bars.
    pub(crate) fn clear(&self) {
        if let Some(bars) = &self.bars {
            drop(bars.clear());
        }
    }
}
