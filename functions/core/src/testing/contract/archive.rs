//! The contract of [`Archive`].

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::future::join;
use jiff::Timestamp;

use super::fresh_stream;
use crate::archive::{Archive, ArchiveError, Completion, Listed, Look, Object, Staged};
use crate::checkpoint::CommitId;
use crate::feed::{AccountName, Feed, Stream};
use crate::partition::{Day, Prefix};

/// Makes every claim of an archive whose keys start with `prefix`.
pub async fn all(archive: &impl Archive, prefix: &Prefix) {
    what_is_staged_is_invisible(archive, prefix).await;
    completion_shows_the_exact_bytes(archive, prefix).await;
    completing_again_changes_nothing(archive, prefix).await;
    racing_completions_publish_once(archive, prefix).await;
    what_is_aborted_cannot_be_completed(archive, prefix).await;
    aborting_what_is_published_leaves_it(archive, prefix).await;
    a_look_tells_ours_from_anything_else(archive, prefix).await;
    the_first_of_two_at_one_key_stays(archive, prefix).await;
    a_damaged_body_is_refused(archive, prefix).await;
    listings_tell_exactly_what_is_published(archive, prefix, 12).await;
    listings_beside_a_writer_miss_nothing_that_was_there(archive, prefix).await;
    keys_may_hold_every_legal_character(archive, prefix).await;
    a_missing_object_is_an_error(archive, prefix).await;
    what_is_set_aside_leaves_the_lake_and_is_kept(archive, prefix).await;
    quarantine_keeps_the_first_and_is_no_part_of_the_lake(archive, prefix).await;
}

/// An object of one event with this key and body.
#[must_use]
pub fn object(key: &str, body: &[u8]) -> Object {
    Object {
        key: key.to_owned(),
        body: Bytes::copy_from_slice(body),
        crc32: crc32fast::hash(body),
        events: 1,
    }
}

/// A place in the lake that nobody else uses.
struct Place<'a> {
    prefix: &'a Prefix,
    stream: Stream,
    day: Day,
}

impl<'a> Place<'a> {
    fn fresh(prefix: &'a Prefix) -> Self {
        Self { prefix, stream: fresh_stream(Feed::AuditEvents), day: fresh_day() }
    }

    fn key(&self, commit: &CommitId) -> String {
        let now: Timestamp = "2026-03-02T07:59:59.5Z".parse().unwrap();
        self.prefix.object(&self.stream, self.day, now, commit)
    }

    async fn stage(&self, archive: &impl Archive, body: &[u8]) -> (Staged, CommitId) {
        let commit = CommitId::random();
        let object = object(&self.key(&commit), body);
        let staged = archive.stage(&object, &commit).await.unwrap();
        assert_eq!((&staged.key, staged.events), (&object.key, object.events));
        assert_eq!((staged.crc32, staged.size), (object.crc32, body.len() as u64));
        (staged, commit)
    }

    async fn publish(&self, archive: &impl Archive, body: &[u8]) -> (Staged, CommitId) {
        let (staged, commit) = self.stage(archive, body).await;
        assert_eq!(archive.complete(&staged).await.unwrap(), Completion::Done);
        (staged, commit)
    }

    /// Fails unless the place holds exactly `objects`.
    async fn assert_holds(&self, archive: &impl Archive, objects: &[&Staged]) {
        let mut listed = archive.list(&self.stream, self.day).await.unwrap();
        listed.sort_by(|a, b| a.key.cmp(&b.key));
        let mut expected: Vec<Listed> =
            objects.iter().map(|one| Listed { key: one.key.clone(), size: one.size }).collect();
        expected.sort_by(|a, b| a.key.cmp(&b.key));
        assert_eq!(listed, expected, "{} on {}", self.stream, self.day);
    }
}

/// A day that nobody else uses, but for an accident of one in millions.
fn fresh_day() -> Day {
    const SECONDS: u128 = 8_000 * 365 * 86_400;
    let random = u128::from_str_radix(CommitId::random().as_str(), 16).unwrap() % SECONDS;
    Day::of(Timestamp::from_second(i64::try_from(random).unwrap()).unwrap())
}

async fn assert_published(archive: &impl Archive, staged: &Staged, commit: &CommitId, body: &[u8]) {
    assert_eq!(archive.look(staged, commit).await.unwrap(), Look::Published);
    assert!(archive.read(&staged.key).await.unwrap() == body, "the bytes of {}", staged.key);
}

/// Staging shows nothing, by whatever way one looks.
pub async fn what_is_staged_is_invisible(archive: &impl Archive, prefix: &Prefix) {
    let place = Place::fresh(prefix);
    let (staged, commit) = place.stage(archive, b"staged").await;
    assert_eq!(archive.look(&staged, &commit).await.unwrap(), Look::Absent);
    place.assert_holds(archive, &[]).await;
    assert!(!archive.days(place.stream.feed).await.unwrap().contains(&place.day));
    archive.read(&staged.key).await.unwrap_err();
}

/// Completion shows the object, from one byte to more than S3's least part.
pub async fn completion_shows_the_exact_bytes(archive: &impl Archive, prefix: &Prefix) {
    let mut large: Vec<u8> =
        (0..6 * 1024 * 1024_u32).map(|n| (n ^ (n >> 11)).to_le_bytes()[0]).collect();
    large.push(0);
    for body in [&b"\n"[..], b"\x1f\x8b\0\r\n\xff", &large] {
        let place = Place::fresh(prefix);
        let (staged, commit) = place.publish(archive, body).await;
        assert_published(archive, &staged, &commit, body).await;
        place.assert_holds(archive, &[&staged]).await;
        assert!(archive.days(place.stream.feed).await.unwrap().contains(&place.day));
    }
}

/// A second completion may answer anything but an error, and changes nothing.
pub async fn completing_again_changes_nothing(archive: &impl Archive, prefix: &Prefix) {
    let place = Place::fresh(prefix);
    let (staged, commit) = place.publish(archive, b"once").await;
    archive.complete(&staged).await.unwrap();
    assert_published(archive, &staged, &commit, b"once").await;
    place.assert_holds(archive, &[&staged]).await;
}

/// Two that complete the same upload at once end with one object.
pub async fn racing_completions_publish_once(archive: &impl Archive, prefix: &Prefix) {
    let place = Place::fresh(prefix);
    let (staged, commit) = place.stage(archive, b"raced").await;
    let (one, other) = join(archive.complete(&staged), archive.complete(&staged)).await;
    for outcome in [one, other] {
        assert!(outcome.as_ref().map_or_else(ArchiveError::is_retryable, |_| true), "{outcome:?}");
    }
    archive.complete(&staged).await.unwrap();
    assert_published(archive, &staged, &commit, b"raced").await;
    place.assert_holds(archive, &[&staged]).await;
}

/// An abort is final, and can be repeated.
pub async fn what_is_aborted_cannot_be_completed(archive: &impl Archive, prefix: &Prefix) {
    let place = Place::fresh(prefix);
    let (staged, commit) = place.stage(archive, b"aborted").await;
    archive.abort(&staged).await.unwrap();
    archive.abort(&staged).await.unwrap();
    assert_eq!(archive.complete(&staged).await.unwrap(), Completion::NoUpload);
    assert_eq!(archive.look(&staged, &commit).await.unwrap(), Look::Absent);
    place.assert_holds(archive, &[]).await;
}

/// An abort that comes too late is no error and takes nothing away.
pub async fn aborting_what_is_published_leaves_it(archive: &impl Archive, prefix: &Prefix) {
    let place = Place::fresh(prefix);
    let (staged, commit) = place.publish(archive, b"published").await;
    archive.abort(&staged).await.unwrap();
    assert_published(archive, &staged, &commit, b"published").await;
}

/// An object at the key is no proof: its commit and its size must be ours.
pub async fn a_look_tells_ours_from_anything_else(archive: &impl Archive, prefix: &Prefix) {
    let place = Place::fresh(prefix);
    let (staged, commit) = place.publish(archive, b"ours").await;
    let other_size = Staged { size: staged.size + 1, ..staged.clone() };
    let other_commit = CommitId::random();
    for (staged, commit, expected) in [
        (&staged, &commit, Look::Published),
        (&staged, &other_commit, Look::Foreign),
        (&other_size, &commit, Look::Foreign),
    ] {
        assert_eq!(archive.look(staged, commit).await.unwrap(), expected);
    }
}

/// A key belongs to the first that is completed, whoever the name says it is.
pub async fn the_first_of_two_at_one_key_stays(archive: &impl Archive, prefix: &Prefix) {
    for named_first in [true, false] {
        let place = Place::fresh(prefix);
        let (named, other) = (CommitId::random(), CommitId::random());
        let key = place.key(&named);
        let [first_id, second_id] = if named_first { [&named, &other] } else { [&other, &named] };
        let first = archive.stage(&object(&key, b"the first"), first_id).await.unwrap();
        let second = archive.stage(&object(&key, b"the second one"), second_id).await.unwrap();

        assert_eq!(archive.complete(&first).await.unwrap(), Completion::Done);
        assert_ne!(archive.complete(&second).await.unwrap(), Completion::Done);

        assert!(archive.read(&key).await.unwrap() == b"the first"[..]);
        assert_eq!(archive.look(&second, second_id).await.unwrap(), Look::Foreign);
        place.assert_holds(archive, &[&first]).await;
        archive.abort(&second).await.unwrap();
        assert!(archive.read(&key).await.unwrap() == b"the first"[..]);
    }
}

/// Bytes that were damaged on their way are not staged.
pub async fn a_damaged_body_is_refused(archive: &impl Archive, prefix: &Prefix) {
    let commit = CommitId::random();
    let mut damaged = object(&Place::fresh(prefix).key(&commit), b"whole");
    damaged.body = Bytes::from_static(b"wh0le");
    archive.stage(&damaged, &commit).await.unwrap_err();
}

/// `days` and `list` tell each published object of the feed, and of the stream
/// and day, and nothing else. `objects` is how many stand in one day: more than
/// a page of the store's own listing tests its paging too.
pub async fn listings_tell_exactly_what_is_published(
    archive: &impl Archive,
    prefix: &Prefix,
    objects: usize,
) {
    let place = Place::fresh(prefix);
    let mut published = Vec::new();
    for n in 0..objects {
        published.push(place.publish(archive, format!("{n}").as_bytes()).await.0);
    }
    let other_day = Place { day: fresh_day(), stream: place.stream.clone(), prefix };
    let (on_other_day, _) = other_day.publish(archive, b"other day").await;
    let (staged_only, _) = place.stage(archive, b"staged only").await;
    // Names that start with the account's name are other accounts.
    let mut neighbours = Vec::new();
    for tail in ["b", "-b", ".b", "_", "0"] {
        let account: AccountName = format!("{}{tail}", place.stream.account).parse().unwrap();
        let stream = Stream { account, feed: place.stream.feed };
        let neighbour = Place { stream, day: place.day, prefix };
        let (object, _) = neighbour.publish(archive, tail.as_bytes()).await;
        neighbours.push((neighbour, object));
    }

    place.assert_holds(archive, &published.iter().collect::<Vec<_>>()).await;
    other_day.assert_holds(archive, &[&on_other_day]).await;
    for (neighbour, object) in &neighbours {
        neighbour.assert_holds(archive, &[object]).await;
    }
    for feed in Feed::ALL {
        let days = archive.days(feed).await.unwrap();
        assert!(days.is_sorted_by(|a, b| a < b), "{days:?}");
        let ours = feed == place.stream.feed;
        assert_eq!(days.contains(&place.day), ours, "{feed}");
        assert_eq!(days.contains(&other_day.day), ours, "{feed}");
        if !ours {
            let stream = Stream { feed, ..place.stream.clone() };
            Place { stream, day: place.day, prefix }.assert_holds(archive, &[]).await;
        }
    }
    archive.abort(&staged_only).await.unwrap();
}

/// What was published before a listing began is in it, and nothing that is only
/// staged, whatever is published meanwhile.
pub async fn listings_beside_a_writer_miss_nothing_that_was_there(
    archive: &impl Archive,
    prefix: &Prefix,
) {
    let place = Place::fresh(prefix);
    let (staged_only, _) = place.stage(archive, b"staged only").await;
    let published = Mutex::new(BTreeSet::new());
    let done = AtomicBool::new(false);
    let write = async {
        for n in 0..16 {
            let (staged, _) = place.publish(archive, format!("{n}").as_bytes()).await;
            published.lock().unwrap().insert(staged.key);
        }
        done.store(true, Ordering::Relaxed);
    };
    let read = async {
        let mut last = false;
        while !last {
            last = done.load(Ordering::Relaxed);
            let before = published.lock().unwrap().clone();
            let listed = archive.list(&place.stream, place.day).await.unwrap();
            let listed: BTreeSet<_> = listed.into_iter().map(|object| object.key).collect();
            assert!(listed.is_superset(&before), "{listed:?} after {before:?}");
            assert!(!listed.contains(&staged_only.key));
            assert!(
                before.is_empty()
                    || archive.days(place.stream.feed).await.unwrap().contains(&place.day)
            );
            // So that ports which never wait take turns too.
            tokio::task::yield_now().await;
        }
        assert_eq!(published.lock().unwrap().len(), 16);
    };
    join(write, read).await;
    archive.abort(&staged_only).await.unwrap();
}

/// Every character of the keys' alphabet comes back as it was.
pub async fn keys_may_hold_every_legal_character(archive: &impl Archive, prefix: &Prefix) {
    for account in [
        "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789",
        "abcdefghijklmnopqrstuvwxyz_.-",
        "a..b...c--d__",
        &"x".repeat(64),
    ] {
        let stream = Stream { account: account.parse().unwrap(), feed: Feed::ItemUsages };
        let place = Place { prefix, stream, day: fresh_day() };
        let (staged, commit) = place.publish(archive, account.as_bytes()).await;
        assert_published(archive, &staged, &commit, account.as_bytes()).await;
        place.assert_holds(archive, &[&staged]).await;
    }
}

/// What is not there cannot be read as if it were empty.
pub async fn a_missing_object_is_an_error(archive: &impl Archive, prefix: &Prefix) {
    let key = Place::fresh(prefix).key(&CommitId::random());
    archive.read(&key).await.unwrap_err();
}

/// What is set aside is kept, and no listing of the lake tells it.
pub async fn what_is_set_aside_leaves_the_lake_and_is_kept(
    archive: &impl Archive,
    prefix: &Prefix,
) {
    let place = Place::fresh(prefix);
    let (staged, commit) = place.stage(archive, b"body").await;
    archive.complete(&staged).await.unwrap();
    archive.set_aside(&staged.key).await.unwrap();
    place.assert_holds(archive, &[]).await;
    assert_eq!(archive.look(&staged, &commit).await.unwrap(), Look::Absent);
}

/// A quarantined record is written once, and no listing of the lake tells it.
pub async fn quarantine_keeps_the_first_and_is_no_part_of_the_lake(
    archive: &impl Archive,
    prefix: &Prefix,
) {
    let place = Place::fresh(prefix);
    let sha256 = format!("{0}{0}", CommitId::random());
    let key = prefix.quarantine(&place.stream, &sha256);
    let before = archive.days(place.stream.feed).await.unwrap();
    archive.quarantine(&key, Bytes::from_static(b"first")).await.unwrap();
    archive.quarantine(&key, Bytes::from_static(b"second")).await.unwrap();
    assert!(archive.read(&key).await.unwrap() == b"first"[..]);
    place.assert_holds(archive, &[]).await;
    // Others may write to the archive meanwhile: only the record's own day counts.
    let after = archive.days(place.stream.feed).await.unwrap();
    assert_eq!(after.contains(&place.day), before.contains(&place.day));
}
