//! The contract of [`CheckpointStore`].

use futures::future::join_all;
use jiff::Timestamp;

use super::fresh_stream;
use crate::archive::Staged;
use crate::checkpoint::{CheckpointError, CheckpointStore, CommitId, Cursor, Position, Row};
use crate::feed::{Feed, Stream};
use crate::newness::{MAX_RECENT, Marks};
use crate::window::Window;

/// Makes every claim.
pub async fn all(store: &impl CheckpointStore) {
    a_stream_without_a_row_loads_none(store).await;
    rows_load_as_they_were_committed(store).await;
    a_second_first_commit_conflicts(store).await;
    a_stale_commit_conflicts_and_changes_nothing(store).await;
    a_repeated_commit_conflicts_with_itself(store).await;
    of_concurrent_commits_one_wins(store).await;
    streams_are_independent(store).await;
    a_row_is_removed_only_at_its_commit(store).await;
    streams_are_those_with_a_row(store).await;
}

/// A stream that nobody else uses.
#[must_use]
pub fn stream(feed: Feed) -> Stream {
    fresh_stream(feed)
}

/// A row with as little as a row can hold.
#[must_use]
pub fn minimal_row(table: &str) -> Row {
    Row {
        commit_id: CommitId::random(),
        table: table.to_owned(),
        archive: "memory://lake/".to_owned(),
        account_uuid: None,
        token_id: None,
        cursor: None,
        from: Position::Start("2026-03-01T07:59:59.000000001Z".parse().unwrap()),
        staged: Vec::new(),
        marks: Marks::nothing(),
        complete_until: None,
        gaps: Vec::new(),
        resync: Vec::new(),
        updated_at: time(0),
    }
}

/// A row with every field set, and as much as a row can hold.
#[must_use]
pub fn full_row(table: &str) -> Row {
    let entries = (0..MAX_RECENT as u64).flat_map(|n| {
        let fingerprint = u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        [
            1_767_225_600_000_u64.wrapping_add(n / 3).to_be_bytes().to_vec(),
            fingerprint.to_be_bytes().to_vec(),
        ]
    });
    let mut recent: Vec<_> =
        entries.collect::<Vec<_>>().concat().chunks(24).map(<[u8]>::to_vec).collect();
    recent.sort();
    let marks = Marks::decode(time(999_999_999), 1_767_225_600_000, &recent.concat()).unwrap();
    Row {
        commit_id: CommitId::random(),
        table: table.to_owned(),
        archive: "s3://bucket/onepassword/v1/".to_owned(),
        account_uuid: Some("ÄCCOUNT \"é\u{1F511}\u{2028}'".to_owned()),
        token_id: Some("jti:0b5f\\x".to_owned()),
        cursor: Some(Cursor::new("aGVsbG8_-+/=".repeat(342)[..4096].to_owned())),
        from: Position::Cursor(Cursor::new("start_time:not really".to_owned())),
        staged: (0..128_u32).map(staged).collect(),
        marks,
        complete_until: Some(time(1)),
        gaps: (0..8).map(|n| Window { from: time(n), to: time(n + 1) }).collect(),
        resync: vec![Window { from: time(2), to: time(9) }],
        updated_at: time(123_456_789),
    }
}

fn time(nanosecond: i32) -> Timestamp {
    Timestamp::new(1_767_225_600, nanosecond).unwrap()
}

fn staged(n: u32) -> Staged {
    Staged {
        key: format!("onepassword/v1/audit_events/2026-03-01/main/{n}.json.gz"),
        upload_id: format!("{n}~._-\"\\é/{}", "u".repeat(100)),
        etag: if n == 0 { String::new() } else { format!("\"{n:032x}\"") },
        crc32: u32::MAX - n,
        // More than a float can hold.
        size: (1 << 53) + 1 + u64::from(n),
        events: u64::from(n),
    }
}

/// Commits `row` as the next of `stream`, which is at `expected`.
async fn commit(store: &impl CheckpointStore, stream: &Stream, expected: Option<&Row>, row: &Row) {
    store.commit(stream, expected.map(|row| &row.commit_id), row).await.unwrap();
}

/// Fails unless `outcome` is a conflict of `stream`.
#[track_caller]
fn assert_conflict<T: std::fmt::Debug>(outcome: Result<T, CheckpointError>, stream: &Stream) {
    let error = outcome.unwrap_err();
    assert!(
        matches!(&error, CheckpointError::Conflict { stream: lost } if lost == stream),
        "not a conflict of {stream}: {error:?}"
    );
}

/// No row is no error.
pub async fn a_stream_without_a_row_loads_none(store: &impl CheckpointStore) {
    assert_eq!(store.load(&stream(Feed::ItemUsages)).await.unwrap(), None);
}

/// Every field comes back, from the least to the most a row can hold, whether
/// the row is the first or replaces another.
pub async fn rows_load_as_they_were_committed(store: &impl CheckpointStore) {
    let (minimal, full) = (minimal_row(store.table()), full_row(store.table()));
    let sparse = Row {
        marks: Marks::unknown_until(time(500)),
        gaps: Vec::new(),
        resync: Vec::new(),
        staged: vec![staged(0)],
        ..full.clone()
    };
    let sparse = Row { commit_id: CommitId::random(), cursor: None, ..sparse };
    let second = Row { commit_id: CommitId::random(), ..minimal.clone() };
    let stream = stream(Feed::SigninAttempts);
    let mut last = None;
    for row in [&minimal, &full, &sparse, &second] {
        commit(store, &stream, last, row).await;
        assert_eq!(store.load(&stream).await.unwrap().as_ref(), Some(row));
        last = Some(row);
    }
    let another = fresh_stream(Feed::SigninAttempts);
    commit(store, &another, None, &full).await;
    assert_eq!(store.load(&another).await.unwrap(), Some(full));
}

/// A row is made once.
pub async fn a_second_first_commit_conflicts(store: &impl CheckpointStore) {
    let stream = stream(Feed::AuditEvents);
    let (first, second) = (minimal_row(store.table()), full_row(store.table()));
    commit(store, &stream, None, &first).await;
    assert_conflict(store.commit(&stream, None, &second).await, &stream);
    assert_eq!(store.load(&stream).await.unwrap(), Some(first));
}

/// A writer that loaded an older row, or one that is gone, loses.
pub async fn a_stale_commit_conflicts_and_changes_nothing(store: &impl CheckpointStore) {
    let stream = stream(Feed::AuditEvents);
    let [first, second, third] = [(); 3].map(|()| minimal_row(store.table()));
    let late = store.commit(&stream, Some(&first.commit_id), &second).await;
    assert_conflict(late, &stream);
    assert_eq!(store.load(&stream).await.unwrap(), None);

    commit(store, &stream, None, &first).await;
    commit(store, &stream, Some(&first), &second).await;
    let late = store.commit(&stream, Some(&first.commit_id), &third).await;
    assert_conflict(late, &stream);
    assert_eq!(store.load(&stream).await.unwrap(), Some(second));
}

/// A commit that is made again conflicts with itself, and stands.
pub async fn a_repeated_commit_conflicts_with_itself(store: &impl CheckpointStore) {
    let stream = stream(Feed::AuditEvents);
    let (first, second) = (minimal_row(store.table()), full_row(store.table()));
    commit(store, &stream, None, &first).await;
    commit(store, &stream, Some(&first), &second).await;
    let again = store.commit(&stream, Some(&first.commit_id), &second).await;
    assert_conflict(again, &stream);
    assert_eq!(store.load(&stream).await.unwrap(), Some(second));
}

/// Of writers that loaded the same row exactly one wins; the others are told
/// of a conflict, and the row is the winner's.
pub async fn of_concurrent_commits_one_wins(store: &impl CheckpointStore) {
    let stream = stream(Feed::ItemUsages);
    let mut last: Option<CommitId> = None;
    for _ in 0..4 {
        let rows: Vec<Row> = (0..6).map(|_| minimal_row(store.table())).collect();
        let outcomes =
            join_all(rows.iter().map(|row| store.commit(&stream, last.as_ref(), row))).await;
        let mut winners = Vec::new();
        for (row, outcome) in rows.iter().zip(outcomes) {
            match outcome {
                Ok(()) => winners.push(row),
                refused => assert_conflict(refused, &stream),
            }
        }
        assert_eq!(winners.len(), 1);
        assert_eq!(store.load(&stream).await.unwrap().as_ref(), Some(winners[0]));
        last = Some(winners[0].commit_id.clone());
    }
}

/// Neither another feed of the account nor a like-named account is touched.
pub async fn streams_are_independent(store: &impl CheckpointStore) {
    let base = fresh_stream(Feed::AuditEvents);
    let accounts = [base.account.clone(), format!("{}b", base.account).parse().unwrap()];
    let streams: Vec<Stream> = accounts
        .iter()
        .flat_map(|account| Feed::ALL.map(|feed| Stream { account: account.clone(), feed }))
        .collect();
    let rows: Vec<Row> = streams.iter().map(|_| minimal_row(store.table())).collect();
    for (stream, row) in streams.iter().zip(&rows) {
        commit(store, stream, None, row).await;
    }
    let next = full_row(store.table());
    commit(store, &streams[0], Some(&rows[0]), &next).await;
    store.remove(&streams[1], &rows[1].commit_id).await.unwrap();
    for (n, stream) in streams.iter().enumerate() {
        let expected = match n {
            0 => Some(&next),
            1 => None,
            _ => Some(&rows[n]),
        };
        assert_eq!(store.load(stream).await.unwrap().as_ref(), expected, "{stream}");
    }
}

/// Removal is a compare-and-swap as well; a removed row can be made anew.
pub async fn a_row_is_removed_only_at_its_commit(store: &impl CheckpointStore) {
    let stream = stream(Feed::SigninAttempts);
    let (first, second) = (minimal_row(store.table()), minimal_row(store.table()));
    assert_conflict(store.remove(&stream, &first.commit_id).await, &stream);

    commit(store, &stream, None, &first).await;
    commit(store, &stream, Some(&first), &second).await;
    assert_conflict(store.remove(&stream, &first.commit_id).await, &stream);
    assert_eq!(store.load(&stream).await.unwrap().as_ref(), Some(&second));

    store.remove(&stream, &second.commit_id).await.unwrap();
    assert_eq!(store.load(&stream).await.unwrap(), None);
    assert_conflict(store.remove(&stream, &second.commit_id).await, &stream);
    commit(store, &stream, None, &second).await;
}

/// `streams` tells every stream with a row once, and no other.
pub async fn streams_are_those_with_a_row(store: &impl CheckpointStore) {
    let streams = [(); 3].map(|()| stream(Feed::ItemUsages));
    let row = minimal_row(store.table());
    for stream in &streams {
        commit(store, stream, None, &row).await;
    }
    store.remove(&streams[2], &row.commit_id).await.unwrap();
    let listed = store.streams().await.unwrap();
    for (stream, times) in streams.iter().zip([1, 1, 0]) {
        assert_eq!(listed.iter().filter(|one| *one == stream).count(), times, "{stream}");
    }
}
