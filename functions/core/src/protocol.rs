//! How a batch is committed: stage, commit, publish.
//!
//! Two rules carry the promise: **the row decides who writes; the lake decides
//! what is new.** For each batch a writer
//!
//! 1. **stages** its objects: durable, invisible, under keys that hold the
//!    writer's fresh commit id;
//! 2. **commits**: one compare-and-swap of the stream's row from the commit it
//!    loaded to its own, naming the new cursor, where the batch started
//!    (`from`) and what was staged. This is the commit point;
//! 3. **publishes** what the row names. Idempotent, so whoever finds a row that
//!    names objects publishes them before it does anything else.
//!
//! | the writer dies | the next one finds | and does |
//! |---|---|---|
//! | before 2 | uploads that nobody names | nothing: they expire |
//! | between 2 and 3 | a row naming staged uploads | publishes them |
//! | after 3 | a row naming published objects | sees that, goes on |
//! | between 2 and 3, and the uploads are gone | a row naming nothing that is left | publishes the rest, returns to `from`, and adds what the lake lacks |
//!
//! [`next`] is the whole of it: a pure function from the row and what has been
//! observed to what is to be done. Safety rests on the compare-and-swap: not
//! on a lease or the number of writers, and on a clock only in giving uploads up.

use jiff::SignedDuration;

use crate::archive::{Completion, Look};
use crate::checkpoint::{CommitId, Position, Row};

/// A completion may take effect this long after it was sent: before that a
/// missing upload proves nothing.
pub const COMPLETION_MAY_TAKE: SignedDuration = SignedDuration::from_mins(15);

/// What is known of one object that the row names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Seen {
    /// Nothing, or an answer that left it open.
    Unknown,
    /// The object is at its key.
    Published,
    /// The key was free; the upload has not been tried since.
    Absent,
    /// The upload was said not to exist; the key was not looked at since.
    NoUpload,
    /// No upload, and the key was free after that.
    Gone,
    /// Aborted, so that no completion that is still under way can succeed; the
    /// key was not looked at since.
    Aborted,
    /// Aborted, and the key was free after that: it will never be published.
    Lost,
    /// Something else is at the key.
    Foreign,
}

impl Seen {
    /// After a look at the key.
    #[must_use]
    pub const fn looked(self, look: Look) -> Self {
        match (look, self) {
            (Look::Published, _) => Self::Published,
            (Look::Foreign, _) => Self::Foreign,
            (Look::Absent, Self::NoUpload) => Self::Gone,
            (Look::Absent, Self::Aborted) => Self::Lost,
            (Look::Absent, _) => Self::Absent,
        }
    }

    /// After a completion.
    #[must_use]
    pub const fn completed(self, completion: Completion) -> Self {
        match completion {
            Completion::Done => Self::Published,
            Completion::NoUpload => Self::NoUpload,
            // Not a proof that it is ours.
            Completion::Taken => Self::Unknown,
        }
    }
}

/// A batch that is staged and may or may not be committed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Attempt {
    /// The commit it tries to make.
    pub commit_id: CommitId,
    /// The commit it starts from.
    pub base: CommitId,
    /// Where its events were read from.
    pub position: Position,
}

/// What a writer has observed beside the row.
#[derive(Debug, Clone, Copy)]
pub struct Observed<'a> {
    /// One for each object that the row names.
    pub objects: &'a [Seen],
    /// The writer's own batch, if it has one staged.
    pub attempt: Option<&'a Attempt>,
    /// Identity of the table that the row was loaded from.
    pub table: &'a str,
    /// Whether the row's commit is older than [`COMPLETION_MAY_TAKE`].
    pub settled: bool,
}

/// What is to be done about one object that the row names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Look at its key.
    Look,
    /// Complete its upload.
    Complete,
    /// Abort its upload.
    Abort,
}

/// What a writer has to do next.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Action {
    /// Swap the row to the attempt's commit.
    Commit,
    /// Abort the attempt's uploads: another writer has committed. If it moved
    /// the stream (`superseded`), the run is over; else the batch is read again.
    Discard {
        /// Whether the stream is no longer where the batch was read.
        superseded: bool,
    },
    /// Take these steps with the objects that the row names, in any order.
    Publish(Vec<(usize, Step)>),
    /// Something else stands at this object's key: an operator has to look.
    Refuse(usize),
    /// This object may still appear: come back later.
    Wait(usize),
    /// Commit a return to `from`, with marks that send every question to the
    /// lake.
    RollBack,
    /// The row was restored from a backup: commit it to this table, with marks
    /// that send every question to the lake.
    Adopt,
    /// Read on from the row's position.
    Read,
}

/// Decides what a writer that has loaded `row` does next.
#[must_use]
pub fn next(row: &Row, observed: Observed<'_>) -> Action {
    if let Some(attempt) = observed.attempt
        && attempt.commit_id != row.commit_id
    {
        return if attempt.base == row.commit_id {
            Action::Commit
        } else {
            Action::Discard { superseded: attempt.position != row.position() }
        };
    }
    let objects = || observed.objects.iter().copied().enumerate();
    let find = |wanted: Seen| objects().find(|(_, seen)| *seen == wanted).map(|(index, _)| index);
    if let Some(index) = find(Seen::Foreign) {
        return Action::Refuse(index);
    }
    // Whatever can be published is, before anything is given up. But what a
    // restored row names may have been collected anew since it was backed up.
    let restored = row.table != observed.table;
    let publish = objects().filter_map(|(index, seen)| match seen {
        Seen::Unknown | Seen::NoUpload | Seen::Aborted => Some((index, Step::Look)),
        Seen::Absent if restored && observed.settled => Some((index, Step::Abort)),
        Seen::Absent => Some((index, Step::Complete)),
        Seen::Gone if observed.settled => Some((index, Step::Abort)),
        Seen::Gone | Seen::Published | Seen::Lost | Seen::Foreign => None,
    });
    let publish: Vec<_> = publish.collect();
    if !publish.is_empty() {
        Action::Publish(publish)
    } else if let Some(index) = find(Seen::Gone) {
        Action::Wait(index)
    } else if find(Seen::Lost).is_some() {
        Action::RollBack
    } else if restored {
        Action::Adopt
    } else {
        Action::Read
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::checkpoint::Cursor;
    use crate::newness::Marks;

    fn row(commit_id: &CommitId, cursor: &str) -> Row {
        Row {
            commit_id: commit_id.clone(),
            table: "here".to_owned(),
            archive: "lake".to_owned(),
            account_uuid: None,
            token_id: None,
            cursor: Some(Cursor::new(cursor.to_owned())),
            from: Position::Start(Timestamp::UNIX_EPOCH),
            staged: Vec::new(),
            marks: Marks::nothing(),
            complete_until: None,
            gaps: Vec::new(),
            resync: Vec::new(),
            updated_at: Timestamp::UNIX_EPOCH,
        }
    }

    fn recover(objects: &[Seen], settled: bool) -> Action {
        let id = CommitId::random();
        next(&row(&id, "c"), Observed { objects, attempt: None, table: "here", settled })
    }

    #[test]
    fn a_commit_that_lost_its_answer_is_found_made() {
        let (base, own) = (CommitId::random(), CommitId::random());
        let position = row(&base, "c").position();
        let attempt = Attempt { commit_id: own.clone(), base: base.clone(), position };
        let see = |row: &Row| {
            let observed =
                Observed { objects: &[], attempt: Some(&attempt), table: "here", settled: false };
            next(row, observed)
        };
        assert_eq!(see(&row(&base, "c")), Action::Commit);
        assert_eq!(see(&row(&own, "d")), Action::Read);
        let other = CommitId::random();
        assert_eq!(see(&row(&other, "c")), Action::Discard { superseded: false });
        assert_eq!(see(&row(&other, "d")), Action::Discard { superseded: true });
    }

    #[test]
    fn nothing_is_given_up_before_the_rest_is_published() {
        use Seen::{Absent, Gone, Lost, Published};
        assert_eq!(recover(&[], true), Action::Read);
        assert_eq!(recover(&[Published, Published], true), Action::Read);
        assert_eq!(recover(&[Lost, Absent], true), Action::Publish(vec![(1, Step::Complete)]));
        assert_eq!(recover(&[Published, Gone], false), Action::Wait(1));
        assert_eq!(recover(&[Published, Gone], true), Action::Publish(vec![(1, Step::Abort)]));
        assert_eq!(recover(&[Published, Lost], true), Action::RollBack);
        assert_eq!(recover(&[Seen::Foreign, Absent], true), Action::Refuse(0));
    }

    #[test]
    fn an_object_is_lost_only_after_a_look_that_follows_its_abort() {
        let seen = Seen::Absent.completed(Completion::NoUpload);
        assert_eq!(recover(&[seen], true), Action::Publish(vec![(0, Step::Look)]));
        let seen = seen.looked(Look::Absent);
        assert_eq!(seen, Seen::Gone);
        // A completion that was under way may still have won.
        assert_eq!(Seen::Aborted.looked(Look::Published), Seen::Published);
        assert_eq!(Seen::Aborted.looked(Look::Absent), Seen::Lost);
        assert_eq!(Seen::Absent.completed(Completion::Taken), Seen::Unknown);
    }

    #[test]
    fn a_restored_row_is_adopted_after_its_objects_are_settled() {
        let id = CommitId::random();
        let mut restored = row(&id, "c");
        restored.table = "before".to_owned();
        let observe = |objects| Observed { objects, attempt: None, table: "here", settled: true };
        let action = next(&restored, observe(&[Seen::Unknown]));
        assert_eq!(action, Action::Publish(vec![(0, Step::Look)]));
        assert_eq!(next(&restored, observe(&[Seen::Published])), Action::Adopt);
        // Another life of the stream may hold what this upload would add.
        let action = next(&restored, observe(&[Seen::Absent]));
        assert_eq!(action, Action::Publish(vec![(0, Step::Abort)]));
        assert_eq!(next(&restored, observe(&[Seen::Lost])), Action::RollBack);
    }
}
