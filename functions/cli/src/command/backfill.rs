//! `oplake backfill`

use jiff::Timestamp;
use oplake_core::collect::Task;
use oplake_core::error::BoxError;
use oplake_core::window::Window;

use crate::args::{BackfillArgs, WindowArgs};
use crate::command::Ended;
use crate::command::collect::{Run, Source};
use crate::ports::with_lake;

pub(crate) async fn run(args: BackfillArgs, now: Timestamp) -> Ended {
    let task = Task::Backfill(window(&args.window, now)?);
    let source = Source::open(&args.ports, now).await?;
    let backfill = Run { source, task, json: args.json };
    with_lake(&args.ports, now, backfill).await
}

/// The window that a command line names, seen from `now`.
pub(crate) fn window(args: &WindowArgs, now: Timestamp) -> Result<Window, BoxError> {
    let from = args.from.seen_from(now);
    let to = args.to.map_or(now, |to| to.seen_from(now));
    let window = Window { from, to };
    if window.is_empty() {
        return Err(format!("the window is empty: --from {from} is not before --to {to}").into());
    }
    Ok(window)
}
