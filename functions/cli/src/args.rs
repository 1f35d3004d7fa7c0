//! The command line.
#![expect(clippy::doc_markdown, reason = "doc comments are what --help prints")]

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand};
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};
use oplake_aws::notifications::{Address, Shape};
use oplake_core::config::{API_RETENTION_DAYS, parse_api_url, parse_feeds};
use oplake_core::feed::{AccountName, Feed};
use oplake_core::partition::{Day, Prefix};
use tracing::level_filters::LevelFilter;
use url::Url;

/// Collects 1Password events into a data lake: nothing lost, nothing twice,
/// nothing altered, never silent.
#[derive(Debug, Parser)]
#[command(name = "oplake", version, max_term_width = 100, propagate_version = true)]
pub(crate) struct Cli {
    /// Least severe of our own log lines: trace, debug, info, warn or error
    #[arg(long, global = true, default_value = "warn", value_name = "LEVEL", env = "LOG_LEVEL")]
    pub(crate) log_level: LevelFilter,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[cfg(feature = "demo")]
    Demo(DemoArgs),
    Collect(CollectArgs),
    Backfill(BackfillArgs),
    Verify(VerifyArgs),
    Status(StatusArgs),
    Reset(ResetArgs),
    Check(CheckArgs),
    Replay(ReplayArgs),
}

const DEMO_EXAMPLES: &str = "\
Examples:
  oplake demo
  oplake demo --events 200000 --out /tmp/lake";

/// Collect a simulated company's events into a folder: no account, no network
///
/// Starts a simulator of the Events API in this process and collects three
/// times: the history, what happened since, and nothing new.
#[cfg(feature = "demo")]
#[derive(Debug, Args)]
#[command(after_help = DEMO_EXAMPLES)]
pub(crate) struct DemoArgs {
    /// Folder to write to; it is replaced if an earlier demo made it
    #[arg(long, value_name = "DIR", default_value = "demo-lake")]
    pub(crate) out: PathBuf,
    /// Events to simulate
    #[arg(long, value_name = "N", default_value_t = 60_000,
          value_parser = clap::value_parser!(u32).range(10..=5_000_000))]
    pub(crate) events: u32,
    /// Seed of the simulated company
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub(crate) seed: u64,
}

const COLLECT_EXAMPLES: &str = "\
Examples:
  # Into a folder, starting 30 days ago; run it again for what is new
  export OP_EVENTS_API_TOKEN=…
  oplake collect --archive lake --checkpoints lake.sqlite --since 30d

  # Into a bucket
  oplake collect --archive s3://my-lake --checkpoints dynamodb://my-checkpoints \\
      --token-secret onepassword/events-api-token

Exit status: 0 all streams are fine, 1 a stream failed (the others are committed),
2 wrong usage or configuration.";

/// Collect what is new, once
#[derive(Debug, Args)]
#[command(after_help = COLLECT_EXAMPLES)]
pub(crate) struct CollectArgs {
    #[command(flatten)]
    pub(crate) ports: PortArgs,
    /// Where a stream starts that was never collected: a time, or an age such as 36h or 120d, all
    /// that 1Password keeps
    #[arg(long, value_name = "TIME", default_value = "120d")]
    pub(crate) since: Since,
    /// Print the summary as one JSON object on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

const BACKFILL_EXAMPLES: &str = "\
Examples:
  oplake backfill --archive lake --checkpoints lake.sqlite --from 14d
  oplake backfill --archive s3://my-lake --checkpoints dynamodb://my-checkpoints \\
      --from 2026-03-01T00:00:00Z --to 2026-03-08T00:00:00Z --feeds audit_events

Doing it again adds nothing. What an interrupted run left is finished by the next one.";

/// Read a window again and add what the lake lacks
#[derive(Debug, Args)]
#[command(after_help = BACKFILL_EXAMPLES)]
pub(crate) struct BackfillArgs {
    #[command(flatten)]
    pub(crate) ports: PortArgs,
    #[command(flatten)]
    pub(crate) window: WindowArgs,
    /// Print the summary as one JSON object on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

const VERIFY_EXAMPLES: &str = "\
Examples:
  oplake verify --archive lake --checkpoints lake.sqlite --from 30d
  oplake verify --archive lake --checkpoints lake.sqlite --from 30d --repair

Exit status: 0 the lake holds what 1Password has, 1 it does not or a stream failed,
2 wrong usage or configuration.";

/// Compare the lake with what 1Password still has
///
/// Names the events that the lake lacks, the objects that hold events twice and
/// those that cannot be read.
#[derive(Debug, Args)]
#[command(after_help = VERIFY_EXAMPLES)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub(crate) ports: PortArgs,
    #[command(flatten)]
    pub(crate) window: WindowArgs,
    /// Move objects that cannot be read, or that only repeat others, to `quarantine/`, add what is
    /// missing, and verify again
    #[arg(long)]
    pub(crate) repair: bool,
    /// Print the findings as one JSON object on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

const STATUS_EXAMPLES: &str = "\
Examples:
  oplake status --checkpoints lake.sqlite
  oplake status --checkpoints dynamodb://my-checkpoints --json";

/// Show how far each stream has been collected
#[derive(Debug, Args)]
#[command(after_help = STATUS_EXAMPLES)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) checkpoints: CheckpointArgs,
    /// Print one JSON array on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

const RESET_EXAMPLES: &str = "\
Examples:
  # Start a stream anew: the next run reads it from --since, and adds what the lake lacks
  oplake reset --checkpoints lake.sqlite --feeds audit_events

  # The objects were moved to another folder or bucket
  oplake reset --checkpoints lake.sqlite --move --archive /new/lake";

/// Forget where streams were, or move them to another archive
///
/// Says what will happen and does it only with --yes.
#[derive(Debug, Args)]
#[command(after_help = RESET_EXAMPLES)]
pub(crate) struct ResetArgs {
    #[command(flatten)]
    pub(crate) checkpoints: CheckpointArgs,
    /// Only the streams of this account
    #[arg(long, value_name = "NAME")]
    pub(crate) account: Option<AccountName>,
    /// Only these feeds, parted by commas
    #[arg(long, value_name = "LIST", value_parser = feeds, default_value = "signin_attempts,item_usages,audit_events")]
    pub(crate) feeds: Feeds,
    /// Keep the cursor and go on in the archive given by --archive, to which the objects were moved
    #[arg(long = "move", requires = "archive")]
    pub(crate) move_to: bool,
    /// The archive to move to: a folder, or s3://BUCKET
    #[arg(long, value_name = "DIR|s3://BUCKET", requires = "move_to")]
    pub(crate) archive: Option<Place>,
    /// What all keys of that archive start with
    #[arg(long, value_name = "P", default_value_t)]
    pub(crate) prefix: Prefix,
    /// PEM file of a further CA to trust
    #[arg(long, value_name = "FILE", env = "EXTRA_CA_FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Do it
    #[arg(long)]
    pub(crate) yes: bool,
}

const CHECK_EXAMPLES: &str = "\
Examples:
  # Is the token good, and for what?
  export OP_EVENTS_API_TOKEN=…
  oplake check

  # Before a deployment: what its parameters name
  oplake check --stack-parameters parameters.json

  # After it
  oplake check --archive s3://my-lake --checkpoints dynamodb://my-checkpoints \\
      --token-secret onepassword/events-api-token

Exit status: 0 nothing is wrong, 1 something would keep events from being collected,
2 wrong usage.";

/// Look at what a collection needs, and say what is wrong with it
///
/// Looks at the token (and asks 1Password about it), the secret, the bucket and
/// the table, as far as they are named. Reads no events and changes nothing.
#[derive(Debug, Args)]
#[command(after_help = CHECK_EXAMPLES)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// Where the objects go: s3://BUCKET
    #[arg(long, value_name = "s3://BUCKET")]
    pub(crate) archive: Option<Place>,
    /// What all keys start with
    #[arg(long, value_name = "P")]
    pub(crate) prefix: Option<Prefix>,
    /// AWS account that owns the bucket, if it is not the one of the credentials
    #[arg(long, value_name = "ACCOUNT")]
    pub(crate) bucket_owner: Option<String>,
    /// KMS key of the bucket or the secret: say what its policy has to allow
    #[arg(long, value_name = "ARN")]
    pub(crate) kms_key: Option<String>,
    /// Where each stream's checkpoint is kept: dynamodb://TABLE
    #[arg(long, value_name = "dynamodb://TABLE")]
    pub(crate) checkpoints: Option<Table>,
    /// Age at which events are no longer wanted, in days
    #[arg(long, value_name = "DAYS")]
    pub(crate) retention_days: Option<i32>,
    /// Take what is not given here from the parameters of the stack: a JSON file, an object or as CloudFormation's
    #[arg(long, value_name = "FILE")]
    pub(crate) stack_parameters: Option<PathBuf>,
    /// PEM file of a further CA to trust, for 1Password and AWS
    #[arg(long, value_name = "FILE", env = "EXTRA_CA_FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Print the findings as JSON to standard output
    #[arg(long)]
    pub(crate) json: bool,
}

const REPLAY_EXAMPLES: &str = "\
Examples:
  # The history of one feed, to a queue that a SIEM reads
  oplake replay --archive s3://my-lake --feeds audit_events --from 2026-03-01 --to 2026-03-31 \\
      --target https://sqs.eu-west-1.amazonaws.com/111122223333/my-queue --journal march.txt

  # What all feeds would be
  oplake replay --archive s3://my-lake --from 2026-03-01 --to 2026-03-31 --dry-run \\
      --target arn:aws:sns:eu-west-1:111122223333:my-topic

The journal names what was sent: the same command again sends the rest. A crash, or an answer
that is lost, may repeat ten messages.

Exit status: 0 all was sent, 1 it ended before that, 2 wrong usage or configuration.";

/// Tell a queue or a topic of objects that are there already
///
/// Sends what S3 told when the objects came, for a SIEM that was attached later
/// or that has lost events. A topic tells all its subscribers.
#[derive(Debug, Args)]
#[command(after_help = REPLAY_EXAMPLES)]
pub(crate) struct ReplayArgs {
    /// Where the objects are
    #[arg(long, value_name = "s3://BUCKET")]
    pub(crate) archive: Place,
    /// What all keys start with
    #[arg(long, value_name = "P", default_value_t)]
    pub(crate) prefix: Prefix,
    /// AWS account that must own the bucket
    #[arg(long, value_name = "ACCOUNT")]
    pub(crate) bucket_owner: Option<String>,
    /// Feeds, parted by commas
    #[arg(long, value_name = "LIST", value_parser = feeds, default_value = "signin_attempts,item_usages,audit_events")]
    pub(crate) feeds: Feeds,
    /// First day of the events, in UTC
    #[arg(long, value_name = "yyyy-MM-dd")]
    pub(crate) from: Day,
    /// Last day of the events
    #[arg(long, value_name = "yyyy-MM-dd")]
    pub(crate) to: Day,
    /// Only objects that were written before this time, or that are older than this age: of
    /// later ones the topic has told
    #[arg(long, value_name = "TIME")]
    pub(crate) written_before: Option<Since>,
    /// The queue or the topic
    #[arg(long, value_name = "QUEUE URL|TOPIC ARN")]
    pub(crate) target: Address,
    /// How messages stand in the queue, if its subscription does not tell
    #[arg(long, value_name = "raw|sns", value_parser = shape)]
    pub(crate) shape: Option<Shape>,
    /// File that notes what was sent; made if it is not there
    #[arg(long, value_name = "FILE", required_unless_present = "dry_run")]
    pub(crate) journal: Option<PathBuf>,
    /// Show what would be sent, and send nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// PEM file of a further CA to trust
    #[arg(long, value_name = "FILE", env = "EXTRA_CA_FILE")]
    pub(crate) ca_file: Option<PathBuf>,
}

fn shape(text: &str) -> Result<Shape, String> {
    match text {
        "raw" => Ok(Shape::Raw),
        "sns" => Ok(Shape::Sns),
        _ => Err("use raw or sns".to_owned()),
    }
}

/// Where events come from, and where they go.
#[derive(Debug, Args)]
pub(crate) struct PortArgs {
    #[command(flatten)]
    pub(crate) archive: ArchiveArgs,
    #[command(flatten)]
    pub(crate) checkpoints: CheckpointArgs,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct SourceArgs {
    /// Name of the account that a bare token is of
    #[arg(long, value_name = "NAME", default_value = "main")]
    pub(crate) account: AccountName,
    /// Feeds, parted by commas
    #[arg(long, value_name = "LIST", value_parser = feeds, default_value = "signin_attempts,item_usages,audit_events")]
    pub(crate) feeds: Feeds,
    /// Base URL of the Events API, if it is not the one that the token names
    #[arg(long, value_name = "URL", value_parser = parse_api_url, env = "EVENTS_API_URL")]
    pub(crate) api_url: Option<Url>,
    /// Read the token from this secret of AWS Secrets Manager, not from `OP_EVENTS_API_TOKEN`
    #[arg(long, value_name = "ARN")]
    pub(crate) token_secret: Option<String>,
    /// Read the token from this file, not from `OP_EVENTS_API_TOKEN`
    #[arg(long, value_name = "FILE", conflicts_with = "token_secret")]
    pub(crate) token_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct WindowArgs {
    /// Start of the window: a time, or an age such as 36h or 120d
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Since,
    /// End of the window, now if not given
    #[arg(long, value_name = "TIME")]
    pub(crate) to: Option<Since>,
}

#[derive(Debug, Args)]
pub(crate) struct ArchiveArgs {
    /// Where the objects go: a folder, or s3://BUCKET
    #[arg(long, value_name = "DIR|s3://BUCKET")]
    pub(crate) archive: Place,
    /// What all keys start with
    #[arg(long, value_name = "P", default_value_t)]
    pub(crate) prefix: Prefix,
    /// AWS account that must own the bucket
    #[arg(long, value_name = "ACCOUNT")]
    pub(crate) bucket_owner: Option<String>,
    /// KMS key that encrypts the objects, if not the bucket's default
    #[arg(long, value_name = "ARN")]
    pub(crate) kms_key: Option<String>,
    /// PEM file of a further CA to trust, for 1Password and AWS
    #[arg(long, value_name = "FILE", env = "EXTRA_CA_FILE")]
    pub(crate) ca_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct CheckpointArgs {
    /// Where each stream's checkpoint is kept: a file, or dynamodb://TABLE
    #[arg(long, value_name = "FILE|dynamodb://TABLE")]
    pub(crate) checkpoints: Table,
}

/// A folder or a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Folder(PathBuf),
    Bucket(String),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once("://") {
            Some(("s3", bucket)) => {
                let bucket = bucket.strip_suffix('/').unwrap_or(bucket);
                if bucket.is_empty() {
                    Err("name the bucket: s3://BUCKET".to_owned())
                } else if bucket.contains('/') {
                    Err("name the bucket only; what keys start with is given by --prefix"
                        .to_owned())
                } else {
                    Ok(Self::Bucket(bucket.to_owned()))
                }
            }
            Some((scheme, _)) => {
                Err(format!("`{scheme}://` is not known; use a folder or s3://BUCKET"))
            }
            None if text.is_empty() => Err("name a folder or s3://BUCKET".to_owned()),
            None => Ok(Self::Folder(text.into())),
        }
    }
}

/// A file or a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Table {
    File(PathBuf),
    DynamoDb(String),
}

impl FromStr for Table {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once("://") {
            Some(("dynamodb", table)) if !table.is_empty() && !table.contains('/') => {
                Ok(Self::DynamoDb(table.to_owned()))
            }
            Some(("dynamodb", _)) => Err("name the table: dynamodb://TABLE".to_owned()),
            Some((scheme, _)) => {
                Err(format!("`{scheme}://` is not known; use a file or dynamodb://TABLE"))
            }
            None if text.is_empty() => Err("name a file or dynamodb://TABLE".to_owned()),
            None => Ok(Self::File(text.into())),
        }
    }
}

/// A list of feeds. (A `Vec` would have clap expect many values.)
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Feeds(pub(crate) Vec<Feed>);

fn feeds(text: &str) -> Result<Feeds, String> {
    parse_feeds(text).map(Feeds)
}

/// A time, or an age.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Since {
    At(Timestamp),
    Ago(SignedDuration),
}

impl Since {
    /// The time, seen from `now`.
    pub(crate) fn seen_from(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(time) => time,
            Self::Ago(age) => now - age,
        }
    }
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let hint = format!(
            "use a time such as 2026-03-01T00:00:00Z or an age such as 36h or {API_RETENTION_DAYS}d"
        );
        if let Ok(time) = text.parse() {
            return Ok(Self::At(time));
        }
        let span = text.parse::<Span>().map_err(|_| hint.clone())?;
        let age =
            span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| hint.clone())?;
        let most = SignedDuration::from_hours(24 * 365 * 10);
        if age.is_positive() && age <= most { Ok(Self::Ago(age)) } else { Err(hint) }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn places_and_tables_are_told_apart() {
        assert_eq!("lake".parse(), Ok(Place::Folder("lake".into())));
        assert_eq!("s3://lake/".parse(), Ok(Place::Bucket("lake".to_owned())));
        assert_eq!("a.sqlite".parse(), Ok(Table::File("a.sqlite".into())));
        assert_eq!("dynamodb://t".parse(), Ok(Table::DynamoDb("t".to_owned())));
        for bad in ["", "s3://", "s3://lake/prefix", "gs://lake"] {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
        for bad in ["", "dynamodb://", "dynamodb://a/b", "s3://x"] {
            assert!(bad.parse::<Table>().is_err(), "{bad}");
        }
    }

    #[test]
    fn since_is_a_time_or_an_age() {
        let now: Timestamp = "2026-11-21T00:00:00Z".parse().unwrap();
        let since = |text: &str| Ok::<_, String>(text.parse::<Since>()?.seen_from(now).to_string());
        assert_eq!(since("2d").unwrap(), "2026-11-19T00:00:00Z");
        assert_eq!(since("36h").unwrap(), "2026-11-19T12:00:00Z");
        assert_eq!(since("2026-01-01T00:00:00+01:00").unwrap(), "2025-12-31T23:00:00Z");
        for bad in ["", "yesterday", "-2d", "2026-01-01", "1000y"] {
            assert!(since(bad).unwrap_err().contains("120d"), "{bad}");
        }
    }
}
