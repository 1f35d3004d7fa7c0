//! `oplake`: the collector from a shell.

mod args;
mod command;
mod journal;
mod output;
mod ports;

use std::process::ExitCode;

use clap::Parser;
use jiff::Timestamp;
use oplake_core::log::{Format, init};

use crate::args::{Cli, Command};

/// How a command ends that could not begin: wrong usage or configuration.
const MISUSED: u8 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    init(cli.log_level, Format::Plain);
    #[expect(clippy::disallowed_methods, reason = "the edge of the program")]
    let now = Timestamp::now();
    let ended = match cli.command {
        #[cfg(feature = "demo")]
        Command::Demo(args) => command::demo::run(args, now).await,
        Command::Collect(args) => command::collect::run(args, now).await,
        Command::Backfill(args) => command::backfill::run(args, now).await,
        Command::Verify(args) => command::verify::run(args, now).await,
        Command::Status(args) => command::status::run(&args, now).await,
        Command::Reset(args) => command::reset::run(args, now).await,
        Command::Check(args) => command::check::run(args, now).await,
        Command::Replay(args) => command::replay::run(args, now).await,
    };
    ended.unwrap_or_else(|error| {
        output::say(format_args!("error: {}", oplake_core::error::chain(error.as_ref())));
        ExitCode::from(MISUSED)
    })
}
