//! `oplake reset`

use std::process::ExitCode;

use jiff::Timestamp;
use oplake_core::checkpoint::{CheckpointStore, CommitId, Row};
use oplake_core::feed::Stream;
use oplake_core::newness::Marks;
use oplake_core::protocol::COMPLETION_MAY_TAKE;

use crate::MISUSED;
use crate::args::ResetArgs;
use crate::command::Ended;
use crate::output::say;
use crate::ports::{WithCheckpoints, location, with_existing_checkpoints};

pub(crate) async fn run(args: ResetArgs, now: Timestamp) -> Ended {
    let ca_file = args.ca_file.as_deref();
    let move_to = match &args.archive {
        Some(place) => Some(location(place, &args.prefix, ca_file, now).await?),
        None => None,
    };
    let table = args.checkpoints.checkpoints.clone();
    let ca_file = args.ca_file.clone();
    with_existing_checkpoints(&table, ca_file.as_deref(), Reset { args, move_to, now }).await
}

struct Reset {
    args: ResetArgs,
    move_to: Option<String>,
    now: Timestamp,
}

impl WithCheckpoints for Reset {
    async fn run(self, checkpoints: &impl CheckpointStore) -> Ended {
        let mut streams = checkpoints.streams().await?;
        streams.sort();
        streams.retain(|stream| {
            self.args.feeds.0.contains(&stream.feed)
                && self.args.account.as_ref().is_none_or(|account| *account == stream.account)
        });
        if streams.is_empty() {
            say(format_args!("no such stream has a checkpoint in {}", checkpoints.table()));
            return Ok(ExitCode::from(MISUSED));
        }
        let (mut changed, mut refused) = (false, false);
        for stream in &streams {
            let Some(row) = checkpoints.load(stream).await? else { continue };
            if self.is_being_published(&row) {
                refused = true;
                say(format_args!(
                    "error: {stream}: its last batch is being published, and would be written again: let \
                     `oplake collect` or the function run once more, or try again in a quarter of an hour"
                ));
                continue;
            }
            self.explain(stream, &row);
            if !self.args.yes {
                continue;
            }
            match &self.move_to {
                Some(archive) => {
                    checkpoints
                        .commit(stream, Some(&row.commit_id), &moved(&row, archive, self.now))
                        .await?;
                }
                None => checkpoints.remove(stream, &row.commit_id).await?,
            }
            changed = true;
        }
        say(match (changed, self.args.yes) {
            (true, _) => "done",
            (false, true) => "nothing was changed",
            (false, false) => "nothing was changed: add --yes to do it",
        });
        Ok(if refused { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

impl Reset {
    /// Whether a writer may be about to publish what the row names, which the
    /// lake would not show to the next one.
    fn is_being_published(&self, row: &Row) -> bool {
        let age = self.now.duration_since(row.updated_at);
        !row.staged.is_empty() && age <= COMPLETION_MAY_TAKE
    }

    fn explain(&self, stream: &Stream, row: &Row) {
        match &self.move_to {
            Some(archive) => say(format_args!(
                "{stream}: goes on where it is, in `{archive}` instead of `{}`. The objects must be there already: \
                 what that archive lacks and 1Password shows again would be written again",
                row.archive
            )),
            None => say(format_args!(
                "{stream}: its cursor is forgotten. The next collection reads it from its --since on and adds what \
                 the archive lacks; nothing is written twice"
            )),
        }
        if !row.staged.is_empty() {
            say(format_args!(
                "{stream}: its last batch of {} objects may not be published yet; it is read again",
                row.staged.len()
            ));
        }
    }
}

/// `row` in another archive: the lake there decides what is new, and a batch
/// that was staged in the old one is read again.
fn moved(row: &Row, archive: &str, now: Timestamp) -> Row {
    let mut moved = row.clone();
    moved.commit_id = CommitId::random();
    archive.clone_into(&mut moved.archive);
    if !moved.staged.is_empty() {
        moved.return_to(row.from.clone());
        moved.staged = Vec::new();
    }
    moved.marks = Marks::unknown_until(row.marks.high_water.max(now));
    moved.updated_at = now;
    moved
}
