//! `oplake replay`

use std::collections::{BTreeSet, HashSet};
use std::process::ExitCode;
use std::time::Instant;

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use jiff::Timestamp;
use oplake_aws::notifications::{Address, BATCH, Lake, Sender, Shape, Subscription, in_envelope};
use oplake_aws::sdk;
use oplake_core::checkpoint::CommitId;
use oplake_core::error::{BoxError, chain};
use oplake_core::feed::Feed;

use crate::args::{Place, ReplayArgs};
use crate::command::Ended;
use crate::journal::Journal;
use crate::output::{LINE_EVERY, count, say, table};

pub(crate) async fn run(args: ReplayArgs, now: Timestamp) -> Ended {
    let Place::Bucket(bucket) = args.archive else {
        return Err("--archive: only objects of a bucket can be told of: s3://BUCKET".into());
    };
    if args.from > args.to {
        return Err(format!("--from {} is after --to {}", args.from, args.to).into());
    }
    let about = format!("s3://{bucket}/{} to {}", args.prefix, args.target);
    let aws = sdk::load(args.ca_file.as_deref()).await?;
    let lake = Lake::open(&aws, bucket, args.prefix, args.bucket_owner).await?;
    let sender = Sender::new(&aws, args.target.clone());
    let subscription = sender.subscription().await?;
    refuse_other_feeds(&lake, &args.feeds.0, subscription.as_ref())?;
    let writer = Writer::new(&args.target, args.shape, subscription)?;

    // Without a journal it is a dry run: the command line says so.
    let (journal, sent) = match &args.journal {
        None => (None, HashSet::new()),
        Some(path) if args.dry_run => (None, Journal::peek(path, &about)?),
        Some(path) => {
            let (journal, sent) = Journal::open(path, &about)?;
            (Some(journal), sent)
        }
    };
    let before = args.written_before.map_or(Timestamp::MAX, |time| time.seen_from(now));
    let mut objects = Vec::new();
    let mut rows = Vec::new();
    for feed in args.feeds.0 {
        let mut found = lake.objects(feed, args.from, args.to).await?;
        found.retain(|object| object.modified < before);
        let all = found.len();
        found.retain(|object| !sent.contains(&object.key));
        let bytes = found.iter().map(|object| object.size).sum();
        rows.push(vec![
            feed.to_string(),
            count(found.len() as u64),
            HumanBytes(bytes).to_string(),
            count((all - found.len()) as u64),
        ]);
        objects.append(&mut found);
    }
    say(table(&["feed", "objects", "size", "sent before"], rows, 1));
    let Some(mut journal) = journal else {
        say(format_args!("nothing was sent: without --dry-run, {} is told of them", args.target));
        return Ok(ExitCode::SUCCESS);
    };
    let bar = ProgressBar::new(objects.len() as u64);
    let style = "{bar:30} {pos}/{len} objects, {per_sec}, {eta} left";
    bar.set_style(
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let mut told = Instant::now();
    for batch in objects.chunks(BATCH) {
        let messages: Vec<_> =
            batch.iter().map(|object| writer.write(lake.notification(object), now)).collect();
        let mut taken = BTreeSet::new();
        let ended = sender.send(&messages, &mut taken).await;
        let keys = taken.iter().filter_map(|index| Some(batch.get(*index)?.key.as_str()));
        let noted = journal.note(keys);
        bar.inc(taken.len() as u64);
        if bar.is_hidden() && told.elapsed() >= LINE_EVERY {
            told = Instant::now();
            say(format_args!(
                "{} of {} objects",
                count(bar.position()),
                count(objects.len() as u64)
            ));
        }
        let failed = ended.err().map(|error| chain(&error));
        if let Some(error) = failed.or_else(|| noted.err().map(|error| error.to_string())) {
            bar.finish_and_clear();
            let left = objects.len() as u64 - bar.position();
            say(format_args!("error: {error}"));
            say(format_args!(
                "{} sent, {} not: the same command again sends the rest",
                count(bar.position()),
                count(left)
            ));
            return Ok(ExitCode::FAILURE);
        }
    }
    bar.finish_and_clear();
    say(format_args!("told {} of {} objects", args.target, count(objects.len() as u64)));
    Ok(ExitCode::SUCCESS)
}

/// A queue that is for one feed must not get another: its reader would take it
/// for the wrong one.
fn refuse_other_feeds(
    lake: &Lake,
    feeds: &[Feed],
    subscription: Option<&Subscription>,
) -> Result<(), BoxError> {
    let takes = |feed: &&Feed| {
        subscription.is_none_or(|subscription| subscription.takes(&lake.of_feed(**feed)))
    };
    let Some(other) = feeds.iter().find(|feed| !takes(feed)) else { return Ok(()) };
    let own: Vec<_> = Feed::ALL.iter().filter(takes).map(|feed| feed.as_str()).collect();
    Err(if own.is_empty() {
        format!("the queue takes no feed below `{}`: is --prefix right?", lake.of_feed(*other))
    } else {
        format!("the queue does not take {other}: use --feeds {}", own.join(","))
    }
    .into())
}

/// Gives notifications the shape that their reader expects.
enum Writer {
    Raw,
    /// From this topic.
    Sns(String),
}

impl Writer {
    fn new(
        target: &Address,
        shape: Option<Shape>,
        subscription: Option<Subscription>,
    ) -> Result<Self, BoxError> {
        if let Address::Topic(_) = target {
            return match shape {
                None | Some(Shape::Raw) => Ok(Self::Raw),
                Some(Shape::Sns) => {
                    Err("--shape is for a queue: a topic writes the envelope itself".into())
                }
            };
        }
        let Some(subscription) = subscription else {
            say(
                "warning: the policy of the queue names no topic that it is subscribed to: its filter is not checked",
            );
            return match shape {
                None | Some(Shape::Raw) => Ok(Self::Raw),
                Some(Shape::Sns) => {
                    Err("--shape sns needs a queue that is subscribed to a topic".into())
                }
            };
        };
        Ok(match shape.unwrap_or(subscription.shape) {
            Shape::Raw => Self::Raw,
            Shape::Sns => Self::Sns(subscription.topic),
        })
    }

    fn write(&self, notification: String, now: Timestamp) -> String {
        match self {
            Self::Raw => notification,
            Self::Sns(topic) => {
                in_envelope(&notification, topic, now, &CommitId::random().to_string())
            }
        }
    }
}
