//! `oplake verify`

use jiff::Timestamp;
use oplake_core::archive::Archive;
use oplake_core::checkpoint::CheckpointStore;
use oplake_core::collect::Task;
use oplake_core::report::{Findings, Report, StreamReport};
use oplake_core::window::Window;

use crate::args::VerifyArgs;
use crate::command::Ended;
use crate::command::backfill::window;
use crate::command::collect::{Source, exit_code};
use crate::output::{count, print, say, summary};
use crate::ports::{WithLake, with_lake};

/// Findings of one kind that are named one by one; `--json` names all.
const NAMED: usize = 20;

pub(crate) async fn run(args: VerifyArgs, now: Timestamp) -> Ended {
    let window = window(&args.window, now)?;
    let source = Source::open(&args.ports, now).await?;
    let verification = Verification { source, window, repair: args.repair, json: args.json };
    with_lake(&args.ports, now, verification).await
}

struct Verification {
    source: Source,
    window: Window,
    repair: bool,
    json: bool,
}

impl WithLake for Verification {
    async fn run(self, checkpoints: &impl CheckpointStore, archive: &impl Archive) -> Ended {
        let verify = Task::Verify(self.window);
        let mut report = self.source.work(verify, checkpoints, archive).await;
        tell(&report);
        if self.repair && findings(&report).any(|(_, findings)| !findings.is_clean()) {
            for (_, findings) in findings(&report) {
                // What an object holds that others hold too can go; what one
                // holds that nobody can read is asked for again.
                let repeated = findings.double.iter().filter(|double| double.whole);
                let repeated = repeated.map(|double| &double.key);
                let unreadable = findings.unreadable.iter().map(|unreadable| &unreadable.key);
                for key in repeated.chain(unreadable) {
                    say(format_args!("moving `{key}` to `quarantine/{key}`"));
                    archive.set_aside(key).await?;
                }
            }
            say("adding what is missing");
            let backfill = Task::Backfill(self.window);
            summary(&self.source.work(backfill, checkpoints, archive).await);
            say("verifying again");
            report = self.source.work(verify, checkpoints, archive).await;
            tell(&report);
        }
        if self.json {
            print(serde_json::to_string(&report)?)?;
        }
        Ok(exit_code(&report))
    }
}

fn findings(report: &Report) -> impl Iterator<Item = (&StreamReport, &Findings)> {
    report.streams.iter().filter_map(|stream| Some((stream, stream.findings.as_ref()?)))
}

/// Says what was found.
fn tell(report: &Report) {
    for (stream, findings) in findings(report) {
        let stream = stream.stream();
        say(format_args!(
            "{stream}: {} events compared: {}",
            count(findings.compared),
            if findings.is_clean() {
                "nothing missing, nothing twice"
            } else {
                "the lake is damaged"
            }
        ));
        list(&findings.missing, |missing| {
            let uuid = missing.uuid.as_deref().unwrap_or("without uuid");
            format!("missing: event {uuid} of {}", missing.time)
        });
        list(&findings.double, |double| {
            let rest = if double.whole { "nothing else" } else { "other events too" };
            format!("double: `{}` repeats {} events and holds {rest}", double.key, double.repeated)
        });
        list(&findings.unreadable, |unreadable| {
            format!("unreadable: `{}`: {}", unreadable.key, unreadable.reason)
        });
    }
    for (stream, failure) in report.failures() {
        say(format_args!("error: {}: {} ({})", stream.stream(), failure.message, failure.code));
    }
}

fn list<T>(found: &[T], line: impl Fn(&T) -> String) {
    for one in found.iter().take(NAMED) {
        say(format_args!("  {}", line(one)));
    }
    if found.len() > NAMED {
        say(format_args!("  … and {} more", count((found.len() - NAMED) as u64)));
    }
}
