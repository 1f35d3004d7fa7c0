//! Drives [`protocol::next`](crate::protocol::next) against the ports.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use tokio::time::Instant;

use crate::archive::{Archive, ArchiveError, Object, Staged};
use crate::checkpoint::{CheckpointError, CheckpointStore, CommitId, Position, Row};
use crate::error::{CollectError, chain};
use crate::feed::Stream;
use crate::lake::Lake;
use crate::newness::Marks;
use crate::protocol::{Action, Attempt, COMPLETION_MAY_TAKE, Observed, Seen, Step, next};

/// Calls to the archive that are made at once for one stream.
const CONCURRENT: usize = 4;

/// How a commit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Committed {
    /// It was made, and everything is published.
    Done,
    /// Another writer committed, but the stream is where it was: read again.
    Overtaken,
    /// Another writer has moved the stream.
    Superseded,
}

/// The one way to change a stream: holds the row as last seen.
pub(crate) struct Committer<'a, A, C> {
    archive: &'a A,
    checkpoints: &'a C,
    stream: &'a Stream,
    row: Row,
    objects: Vec<Seen>,
    /// The writer's clock at the start of the run.
    now: Timestamp,
    deadline: Instant,
}

impl<'a, A: Archive, C: CheckpointStore> Committer<'a, A, C> {
    /// Loads the stream's row, or makes one whose tail starts at `start`.
    pub(crate) async fn open(
        archive: &'a A,
        checkpoints: &'a C,
        stream: &'a Stream,
        start: Timestamp,
        now: Timestamp,
        deadline: Instant,
    ) -> Result<Self, CollectError> {
        let mut waits = waits();
        let row = loop {
            if let Some(row) = load(checkpoints, stream, deadline).await? {
                break row;
            }
            // The start is fixed before the first request: were it lost with a
            // crash, the next run would start later.
            let marks = marks_of_lake(archive, stream, now).await?;
            let first = Row {
                commit_id: CommitId::random(),
                table: checkpoints.table().to_owned(),
                archive: archive.location().to_owned(),
                account_uuid: None,
                token_id: None,
                cursor: None,
                from: Position::Start(start),
                staged: Vec::new(),
                marks,
                complete_until: None,
                gaps: Vec::new(),
                resync: Vec::new(),
                updated_at: now,
            };
            match checkpoints.commit(stream, None, &first).await {
                Ok(()) => break first,
                // Another writer has made it, or one's own answer was lost.
                Err(
                    error @ (CheckpointError::Conflict { .. } | CheckpointError::Unknown { .. }),
                ) => {
                    pause(&mut waits, deadline, error).await?;
                }
                Err(error) => return Err(error.into()),
            }
        };
        if row.archive != archive.location() {
            return Err(CollectError::OtherArchive {
                stream: stream.clone(),
                row: row.archive,
                here: archive.location().to_owned(),
            });
        }
        let objects = vec![Seen::Unknown; row.staged.len()];
        Ok(Self { archive, checkpoints, stream, row, objects, now, deadline })
    }

    /// The row as last seen.
    pub(crate) const fn row(&self) -> &Row {
        &self.row
    }

    /// Publishes what the row names, and mends what cannot be published, until
    /// the stream can be read on from the row's position.
    pub(crate) async fn settle(&mut self) -> Result<(), CollectError> {
        let mut waits = waits();
        loop {
            match next(&self.row, self.observed(None)) {
                Action::Publish(steps) => {
                    if let Some(error) = self.publish(steps).await? {
                        pause(&mut waits, self.deadline, error).await?;
                    }
                }
                Action::Refuse(index) => {
                    return Err(CollectError::KeyTaken { key: self.row.staged[index].key.clone() });
                }
                Action::Wait(index) => {
                    return Err(CollectError::UploadMissing {
                        key: self.row.staged[index].key.clone(),
                    });
                }
                Action::RollBack => {
                    tracing::warn!(
                        "uploads of the last batch of `{}` are gone or given up: reading it again",
                        self.stream
                    );
                    let mut row = self.row.clone();
                    row.return_to(row.from.clone());
                    self.replace(row).await?;
                }
                Action::Adopt => {
                    tracing::warn!(
                        "the checkpoint of `{}` was restored from table `{}`: adopting it",
                        self.stream,
                        self.row.table
                    );
                    self.replace(self.row.clone()).await?;
                }
                Action::Read | Action::Commit | Action::Discard { .. } => return Ok(()),
            }
        }
    }

    /// Loads the row again. Whether another writer has committed meanwhile; then
    /// what it has named is published.
    pub(crate) async fn refresh(&mut self) -> Result<bool, CollectError> {
        let before = self.row.commit_id.clone();
        let objects = self.objects.clone();
        self.reload().await?;
        if self.row.commit_id == before {
            self.objects = objects;
            return Ok(false);
        }
        self.settle().await?;
        Ok(true)
    }

    /// Stages `objects`, commits `row` in the name of `commit_id` with them,
    /// and publishes them.
    ///
    /// After an error it is unknown whether the commit was made; nothing is
    /// aborted then.
    pub(crate) async fn commit(
        &mut self,
        commit_id: CommitId,
        objects: &[Object],
        mut row: Row,
    ) -> Result<Committed, CollectError> {
        // Another writer's row may name what is not published yet. It would be
        // lost with a row that names something else.
        if self.objects.iter().any(|seen| *seen != Seen::Published) {
            return Ok(Committed::Overtaken);
        }
        let attempt = self.attempt(commit_id);
        self.trace("staging", objects.len());
        let staged = self.stage(objects, &attempt.commit_id).await?;
        self.trace("committing", objects.len());
        row.commit_id = attempt.commit_id.clone();
        row.staged = staged;
        let staged = row.staged.clone();
        let known = vec![Seen::Absent; staged.len()];
        let Some(superseded) = self.swap(&attempt, row, known).await? else {
            self.trace("publishing", objects.len());
            self.settle().await?;
            self.trace("published", objects.len());
            return Ok(Committed::Done);
        };
        self.abort(&staged).await;
        Ok(if superseded { Committed::Superseded } else { Committed::Overtaken })
    }

    fn trace(&self, step: &'static str, objects: usize) {
        tracing::debug!(objects.count = objects, "`{}`: {step}", self.stream);
    }

    fn attempt(&self, commit_id: CommitId) -> Attempt {
        let base = self.row.commit_id.clone();
        Attempt { commit_id, base, position: self.row.position() }
    }

    fn observed<'b>(&'b self, attempt: Option<&'b Attempt>) -> Observed<'b> {
        // Seen from the start of the run, as no batch of one's own may grow old
        // enough to be given up while it is being published.
        let age = self.now.duration_since(self.row.updated_at);
        Observed {
            objects: &self.objects,
            attempt,
            table: self.checkpoints.table(),
            settled: age > COMPLETION_MAY_TAKE,
        }
    }

    /// Commits `row` with marks that send every question to the lake, unless
    /// another writer has committed; then its row is the one to go by.
    async fn replace(&mut self, mut row: Row) -> Result<(), CollectError> {
        let attempt = self.attempt(CommitId::random());
        row.commit_id = attempt.commit_id.clone();
        self.checkpoints.table().clone_into(&mut row.table);
        row.staged = Vec::new();
        let latest = Lake::new(self.archive, self.stream).latest(self.now).await?;
        row.marks = Marks::unknown_until(latest.max(row.marks.high_water));
        row.updated_at = self.now;
        self.swap(&attempt, row, Vec::new()).await?;
        Ok(())
    }

    /// Swaps the row from the attempt's base to `row`, whose objects are then
    /// as `known`. `None` if that was done; else what [`Action::Discard`] says,
    /// the row being another writer's.
    async fn swap(
        &mut self,
        attempt: &Attempt,
        row: Row,
        known: Vec<Seen>,
    ) -> Result<Option<bool>, CollectError> {
        let mut waits = waits();
        loop {
            match next(&self.row, self.observed(Some(attempt))) {
                Action::Commit => {
                    let swapped =
                        self.checkpoints.commit(self.stream, Some(&attempt.base), &row).await;
                    match swapped {
                        Ok(()) => {
                            self.objects = known;
                            self.row = row;
                            return Ok(None);
                        }
                        // The answer to one's own first try may have been lost.
                        Err(CheckpointError::Conflict { .. }) => self.reload().await?,
                        Err(error) if error.is_retryable() => {
                            pause(&mut waits, self.deadline, error).await?;
                            self.reload().await?;
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
                Action::Discard { superseded } => return Ok(Some(superseded)),
                _ => return Ok(None),
            }
        }
    }

    async fn reload(&mut self) -> Result<(), CollectError> {
        let row = load(self.checkpoints, self.stream, self.deadline).await?;
        self.row = row.ok_or_else(|| CollectError::RowRemoved { stream: self.stream.clone() })?;
        self.objects = vec![Seen::Unknown; self.row.staged.len()];
        Ok(())
    }

    /// Takes `steps` and notes what they tell. Returns a failure after which
    /// it makes sense to go on.
    async fn publish(
        &mut self,
        steps: Vec<(usize, Step)>,
    ) -> Result<Option<CollectError>, CollectError> {
        let (archive, row, objects) = (self.archive, &self.row, &self.objects);
        let taken = stream::iter(steps).map(|(index, step)| async move {
            let (staged, seen) = (&row.staged[index], objects[index]);
            let seen = match step {
                Step::Look => archive.look(staged, &row.commit_id).await.map(|l| seen.looked(l)),
                Step::Complete => archive.complete(staged).await.map(|c| seen.completed(c)),
                Step::Abort => archive.abort(staged).await.map(|()| Seen::Aborted),
            };
            (index, seen)
        });
        let taken: Vec<_> = taken.buffer_unordered(CONCURRENT).collect().await;
        let mut failure = None;
        for (index, seen) in taken {
            self.objects[index] = match seen {
                Ok(seen) => seen,
                Err(error) if error.is_retryable() => {
                    failure = Some(error.into());
                    Seen::Unknown
                }
                Err(error) => return Err(error.into()),
            };
        }
        Ok(failure)
    }

    async fn stage(
        &self,
        objects: &[Object],
        commit_id: &CommitId,
    ) -> Result<Vec<Staged>, ArchiveError> {
        stream::iter(objects)
            .map(|object| self.archive.stage(object, commit_id))
            .buffered(CONCURRENT)
            .try_collect()
            .await
    }

    /// Drops uploads that no row names. Failing is harmless: they expire.
    async fn abort(&self, staged: &[Staged]) {
        let aborted: Vec<_> = stream::iter(staged)
            .map(|staged| self.archive.abort(staged))
            .buffer_unordered(CONCURRENT)
            .collect()
            .await;
        for error in aborted.into_iter().filter_map(Result::err) {
            tracing::warn!(error.code = error.code(), "an upload is left: {}", chain(&error));
        }
    }
}

/// Waits before another try; without time for one, `error` stands.
async fn pause<E: Into<CollectError>>(
    waits: &mut impl Iterator<Item = Duration>,
    deadline: Instant,
    error: E,
) -> Result<(), CollectError> {
    let error = error.into();
    let Some(wait) = waits.next().filter(|wait| Instant::now() + *wait < deadline) else {
        return Err(error);
    };
    tracing::warn!(error.code = error.code(), "will look and try again: {}", chain(&error));
    tokio::time::sleep(wait).await;
    Ok(())
}

/// The marks of a stream without a row: nothing, unless its lake may hold
/// objects of an earlier life.
async fn marks_of_lake<A: Archive>(
    archive: &A,
    stream: &Stream,
    now: Timestamp,
) -> Result<Marks, ArchiveError> {
    let mut lake = Lake::new(archive, stream);
    if lake.is_empty().await? {
        Ok(Marks::nothing())
    } else {
        Ok(Marks::unknown_until(lake.latest(now).await?))
    }
}

async fn load<C: CheckpointStore>(
    checkpoints: &C,
    stream: &Stream,
    deadline: Instant,
) -> Result<Option<Row>, CollectError> {
    let mut waits = waits();
    loop {
        match checkpoints.load(stream).await {
            Err(error) if error.is_retryable() => pause(&mut waits, deadline, error).await?,
            answered => return Ok(answered?),
        }
    }
}

/// Waits between tries, on top of the AWS SDK's own.
fn waits() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(Duration::from_secs(5))
        .with_max_times(6)
        .with_jitter()
        .build()
}
