//! `oplake collect`

use std::process::ExitCode;
use std::time::Duration;

use jiff::Timestamp;
use oplake_core::archive::Archive;
use oplake_core::checkpoint::CheckpointStore;
use oplake_core::collect::{Ports, Settings, Task, collect};
use oplake_core::report::{Failure, Report};
use oplake_core::token::TokenSource;
use tokio::time::Instant;

use crate::MISUSED;
use crate::args::CollectArgs;
use crate::command::Ended;
use crate::output::{Watch, print, summary};
use crate::ports::{Tokens, WithLake, with_lake};

/// A run from a shell has no deadline but must have an end.
const LONGEST_RUN: Duration = Duration::from_secs(30 * 24 * 3600);

pub(crate) async fn run(args: CollectArgs, now: Timestamp) -> Ended {
    let tokens = Tokens::open(&args).await?;
    // A bad token is named before anything is made.
    for token in tokens.read().await?.accounts(&args.account)?.into_values() {
        let token = token?;
        token.check_expiry(now)?;
        token.api_url(args.api_url.as_ref())?;
    }
    let settings = Settings {
        feeds: args.feeds.0.clone(),
        start: args.since.seen_from(now),
        api_url: args.api_url.clone(),
        extra_ca: args.archive.ca_file.clone(),
        prefix: args.archive.prefix.clone(),
        account: args.account.clone(),
        not_before: Timestamp::MIN,
    };
    let collection = Collection { settings: &settings, tokens: &tokens, json: args.json, now };
    with_lake(&args.checkpoints.checkpoints, &args.archive, now, collection).await
}

struct Collection<'a> {
    settings: &'a Settings,
    tokens: &'a Tokens,
    json: bool,
    now: Timestamp,
}

impl WithLake for Collection<'_> {
    async fn run(self, checkpoints: &impl CheckpointStore, archive: &impl Archive) -> Ended {
        let Self { settings, tokens, json, now } = self;
        let watch = Watch::new(settings.start, now);
        let ports = Ports { tokens, checkpoints, archive };
        let deadline = Instant::now() + LONGEST_RUN;
        let report =
            collect(ports, settings, Task::Tail, now, deadline, &|progress| watch.update(progress))
                .await;
        watch.clear();
        summary(&report);
        if json {
            print(serde_json::to_string(&report)?)?;
        }
        Ok(exit_code(&report))
    }
}

fn exit_code(report: &Report) -> ExitCode {
    let failures = || report.failures().map(|(_, failure)| failure);
    if failures().next().is_none() {
        ExitCode::SUCCESS
    } else if failures().count() == report.streams.len() && failures().all(is_configuration) {
        ExitCode::from(MISUSED)
    } else {
        ExitCode::FAILURE
    }
}

/// Whether a failure tells of settings that cannot work.
fn is_configuration(failure: &Failure) -> bool {
    matches!(
        failure.code,
        "Archive.Unusable"
            | "Checkpoint.Unusable"
            | "Checkpoint.OtherArchive"
            | "Checkpoint.Newer"
            | "Config.Http"
            | "EventsApi.WrongServer"
            | "Token.Missing"
            | "Token.Malformed"
            | "Token.UnknownHost"
            | "Token.Unusable"
    )
}
