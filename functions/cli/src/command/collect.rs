//! `oplake collect`, and what the commands that talk to 1Password share.

use std::process::ExitCode;
use std::time::Duration;

use jiff::Timestamp;
use oplake_core::archive::Archive;
use oplake_core::checkpoint::CheckpointStore;
use oplake_core::collect::{Ports, Settings, Task, collect};
use oplake_core::config::{API_RETENTION_DAYS, days_of};
use oplake_core::error::BoxError;
use oplake_core::events_api::{HttpClient, http_client};
use oplake_core::report::{Failure, Outcome, Report};
use oplake_core::token::TokenSource;
use tokio::time::Instant;

use crate::MISUSED;
use crate::args::{CollectArgs, PortArgs};
use crate::command::Ended;
use crate::output::{Watch, print, summary};
use crate::ports::{Tokens, WithLake, with_lake};

/// A run from a shell has no deadline but must have an end.
const LONGEST_RUN: Duration = Duration::from_hours(24 * 30);

pub(crate) async fn run(args: CollectArgs, now: Timestamp) -> Ended {
    let mut source = Source::open(&args.ports, now).await?;
    source.settings.start = args.since.seen_from(now);
    let collection = Run { source, task: Task::Tail, json: args.json };
    with_lake(&args.ports, now, collection).await
}

/// Where events come from, and how they are written.
pub(crate) struct Source {
    pub(crate) settings: Settings,
    pub(crate) http: HttpClient,
    pub(crate) tokens: Tokens,
    pub(crate) now: Timestamp,
}

impl Source {
    /// Names a bad token before anything is made.
    pub(crate) async fn open(
        PortArgs { source: args, archive, .. }: &PortArgs,
        now: Timestamp,
    ) -> Result<Self, BoxError> {
        let tokens = Tokens::open(args, archive.ca_file.as_deref()).await?;
        for token in tokens.read().await?.accounts(&args.account)?.into_values() {
            let token = token?;
            token.check_expiry(now)?;
            token.api_url(args.api_url.as_ref())?;
        }
        let settings = Settings {
            feeds: args.feeds.0.clone(),
            start: now - days_of(API_RETENTION_DAYS),
            api_url: args.api_url.clone(),
            prefix: archive.prefix.clone(),
            account: args.account.clone(),
            not_before: Timestamp::MIN,
        };
        let http = http_client(archive.ca_file.as_deref())?;
        Ok(Self { settings, http, tokens, now })
    }

    /// Does `task`, showing how far it is.
    pub(crate) async fn work(
        &self,
        task: Task,
        checkpoints: &impl CheckpointStore,
        archive: &impl Archive,
    ) -> Report {
        let (start, end) = match task {
            Task::Tail => (self.settings.start, self.now),
            Task::Resync(window) | Task::Backfill(window) | Task::Verify(window) => {
                (window.from, window.to)
            }
        };
        let watch = Watch::new(start, end);
        let ports = Ports { http: &self.http, tokens: &self.tokens, checkpoints, archive };
        let deadline = Instant::now() + LONGEST_RUN;
        let show = |progress: oplake_core::collect::Progress<'_>| watch.update(progress);
        let report = collect(ports, &self.settings, task, self.now, deadline, &show).await;
        watch.clear();
        report
    }
}

/// One task, and its summary.
pub(crate) struct Run {
    pub(crate) source: Source,
    pub(crate) task: Task,
    pub(crate) json: bool,
}

impl WithLake for Run {
    async fn run(self, checkpoints: &impl CheckpointStore, archive: &impl Archive) -> Ended {
        let report = self.source.work(self.task, checkpoints, archive).await;
        summary(&report);
        if self.json {
            print(serde_json::to_string(&report)?)?;
        }
        Ok(exit_code(&report))
    }
}

pub(crate) fn exit_code(report: &Report) -> ExitCode {
    let failures = || report.failures().map(|(_, failure)| failure);
    let damaged = report.streams.iter().any(|stream| stream.outcome == Outcome::Damaged);
    if failures().next().is_none() {
        if damaged { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    } else if report.streams.iter().all(|s| s.error.is_some() || s.outcome == Outcome::Skipped)
        && failures().all(is_configuration)
    {
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
