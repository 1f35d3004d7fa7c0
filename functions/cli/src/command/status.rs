//! `oplake status`

use std::process::ExitCode;

use jiff::Timestamp;
use oplake_core::checkpoint::{CheckpointStore, Row};
use oplake_core::feed::{AccountName, Feed, Stream};
use oplake_core::window::Window;
use serde::Serialize;

use crate::args::StatusArgs;
use crate::command::Ended;
use crate::output::{age, count, print, say, table, time};
use crate::ports::{WithCheckpoints, with_existing_checkpoints};

pub(crate) async fn run(args: &StatusArgs, now: Timestamp) -> Ended {
    let status = Status { json: args.json, now };
    with_existing_checkpoints(&args.checkpoints.checkpoints, None, status).await
}

struct Status {
    json: bool,
    now: Timestamp,
}

/// A stream, as `--json` tells of it.
#[derive(Serialize)]
struct Told {
    account: AccountName,
    feed: Feed,
    archive: String,
    last_event: Option<Timestamp>,
    complete_until: Option<Timestamp>,
    lag_seconds: Option<i64>,
    staged_objects: u64,
    staged_events: u64,
    gaps: Vec<Window>,
    resync: Vec<Window>,
    updated_at: Timestamp,
}

impl Told {
    fn new(stream: Stream, row: Row, now: Timestamp) -> Self {
        let high_water = row.marks.high_water;
        Self {
            account: stream.account,
            feed: stream.feed,
            archive: row.archive,
            last_event: (high_water > Timestamp::UNIX_EPOCH).then_some(high_water),
            complete_until: row.complete_until,
            lag_seconds: row.complete_until.map(|until| now.duration_since(until).as_secs().max(0)),
            staged_objects: row.staged.len() as u64,
            staged_events: row.staged.iter().map(|staged| staged.events).sum(),
            gaps: row.gaps,
            resync: row.resync,
            updated_at: row.updated_at,
        }
    }
}

impl WithCheckpoints for Status {
    async fn run(self, checkpoints: &impl CheckpointStore) -> Ended {
        let mut streams = checkpoints.streams().await?;
        streams.sort();
        let mut told = Vec::new();
        for stream in streams {
            if let Some(row) = checkpoints.load(&stream).await? {
                told.push(Told::new(stream, row, self.now));
            }
        }
        if self.json {
            print(serde_json::to_string(&told)?)?;
            return Ok(ExitCode::SUCCESS);
        }
        if told.is_empty() {
            say(format_args!("no stream has been collected with {} yet", checkpoints.table()));
            return Ok(ExitCode::SUCCESS);
        }
        let rows = told.iter().map(|stream| {
            vec![
                stream.account.to_string(),
                stream.feed.to_string(),
                time(stream.last_event),
                time(stream.complete_until),
                age(stream.lag_seconds),
                stream.gaps.len().to_string(),
                match stream.staged_objects {
                    0 => "-".to_owned(),
                    objects => format!("{objects} objects, {} events", count(stream.staged_events)),
                },
            ]
        });
        let header = ["account", "feed", "last event", "complete until", "lag", "gaps", "staged"];
        print(table(&header, rows.collect(), 4))?;
        for stream in &told {
            for gap in &stream.gaps {
                print(format_args!(
                    "gap: {}/{}: nothing was collected from {} to {}",
                    stream.account, stream.feed, gap.from, gap.to
                ))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
