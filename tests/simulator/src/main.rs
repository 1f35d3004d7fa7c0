//! The simulator as a program of its own.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use events_api_simulator::{
    ClockMode, Counts, HasMore, Options, RateLimit, RetryAfter, Simulator, SortOrder,
};
use jiff::Timestamp;
use serde_json::json;

const EXAMPLES: &str = "\
Examples:
  events-api-simulator --events 60000 --days 30
  events-api-simulator --listen 127.0.0.1:8080 --seed 7 --late-arrivals --days-ahead 1
  events-api-simulator --now 2026-11-20T12:00:00Z --frozen --no-rate-limit

The first line on standard output is JSON with `url`, `token` and `accounts`.

Control plane (JSON, no token needed):
  GET    /_sim/token      a token of the first account
  POST   /_sim/token      {\"account\":1,\"feeds\":[\"auditevents\"],\"expires_at\":\"2026-12-01T00:00:00Z\"}
  POST   /_sim/revoke     {\"token\":\"…\"}
  POST   /_sim/clock      {\"set\":\"2026-11-20T12:00:00Z\"} or {\"advance_seconds\":3600}
  POST   /_sim/faults     [{\"feed\":\"itemusages\",\"when\":{\"next\":3},\"effect\":{\"status\":{\"status\":503}}}]
  DELETE /_sim/faults
  POST   /_sim/events     {\"feed\":\"auditevents\",\"item\":\"{\\\"uuid\\\":…}\",\"visible_at\":\"…\"}
  GET    /_sim/oracle     ?feed=auditevents&by=2026-11-20T12:00:00Z&returned=true
  GET    /_sim/requests   and DELETE";

/// A stand-in for the 1Password Events API that runs until Ctrl-C.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
struct Arguments {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Seed of the generated data; the same seed gives the same bytes.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Number of accounts.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=100))]
    accounts: u16,
    /// Events of each account, all feeds together.
    #[arg(long, default_value_t = 60_000, value_name = "N")]
    events: usize,
    /// Days of history they are spread over.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(0..=3650))]
    days: u32,
    /// Days of the future they are spread over too.
    #[arg(long, default_value_t = 0, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(0..=3650))]
    days_ahead: u32,
    /// Let events arrive after they happened.
    #[arg(long)]
    late_arrivals: bool,
    /// What the clock shows at the start (RFC 3339); the current time if left out.
    #[arg(long, value_name = "TIME")]
    now: Option<Timestamp>,
    /// Keep the clock still until the control plane moves it.
    #[arg(long)]
    frozen: bool,
    /// What events are sorted and positioned by.
    #[arg(long, value_enum, default_value_t = Sort::EventTime)]
    sort: Sort,
    /// Say that there is more after every full page.
    #[arg(long)]
    eager_has_more: bool,
    /// Allow any number of requests, instead of 600 a minute and 30,000 an hour.
    #[arg(long)]
    no_rate_limit: bool,
    /// Send `Retry-After`, in seconds, with a 429.
    #[arg(long)]
    retry_after: bool,
    /// Wait before every answer.
    #[arg(long, default_value_t = 0, value_name = "MS")]
    latency_ms: u64,
    /// Compress pages for clients that accept gzip.
    #[arg(long)]
    gzip: bool,
    /// Keep no log of requests and returned events.
    #[arg(long)]
    no_record: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Sort {
    EventTime,
    InsertionTime,
}

impl Arguments {
    fn options(self) -> Options {
        Options {
            seed: self.seed,
            listen: self.listen,
            now: self.now.unwrap_or_else(current_time),
            clock: if self.frozen { ClockMode::Frozen } else { ClockMode::Running },
            accounts: self.accounts.into(),
            events: Counts::of_total(self.events),
            days: self.days,
            days_ahead: self.days_ahead,
            late_arrivals: self.late_arrivals,
            sort: match self.sort {
                Sort::EventTime => SortOrder::EventTime,
                Sort::InsertionTime => SortOrder::InsertionTime,
            },
            has_more: if self.eager_has_more { HasMore::FullPage } else { HasMore::Exact },
            rate_limit: (!self.no_rate_limit).then_some(RateLimit::DOCUMENTED),
            retry_after: self.retry_after.then_some(RetryAfter::Seconds),
            latency: Duration::from_millis(self.latency_ms),
            gzip: self.gzip,
            record: !self.no_record,
            ..Options::default()
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the edge of the program reads the clock")]
fn current_time() -> Timestamp {
    Timestamp::now()
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse().options()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // With standard error closed too there is nobody left to tell.
            drop(writeln!(io::stderr(), "events-api-simulator: {message}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> Result<(), String> {
    let listen = options.listen;
    let simulator = Simulator::start(options)
        .await
        .map_err(|error| format!("cannot listen on {listen}: {error}"))?;
    let accounts: Vec<_> = (0..)
        .map_while(|index| simulator.account(index))
        .map(|account| json!({ "uuid": account.uuid(), "token": account.token() }))
        .collect();
    let line = json!({ "url": simulator.url(), "token": simulator.token(), "accounts": accounts });
    writeln!(io::stdout(), "{line}").map_err(|error| format!("cannot write: {error}"))?;
    tokio::signal::ctrl_c().await.map_err(|error| format!("cannot wait for Ctrl-C: {error}"))?;
    simulator.shutdown().await;
    Ok(())
}
