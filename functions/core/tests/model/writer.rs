//! A writer, one port call a step, as `commit.rs`, `collect.rs` and `resync.rs`
//! take them.

use std::sync::atomic::AtomicU32;

use oplake_core::archive::{Completion, Look, Staged};
use oplake_core::checkpoint::{CommitId, Cursor, Position};
use oplake_core::protocol::{Action, Attempt as RealAttempt, Observed, Seen, Step, next};
use oplake_core::{checkpoint, newness};

use crate::model::{Happened, Model, Mutant};
use crate::world::{BOUNDED, EVENTS, Events, Id, Marks, NONE, Row, State, after, each, set};

/// What becomes of a call that changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Comes,
    /// The call took effect, but nobody was told.
    Lost,
    /// The call may take effect later, and nobody was told.
    Late,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Writer {
    pub(crate) runs: u8,
    pub(crate) phase: Phase,
    /// The commit that was settled when the run started.
    pub(crate) settled: Id,
    /// What the row listed when a resync last took it up.
    listed: Events,
    /// The row as last seen.
    row: Option<Row>,
    seen: [Seen; EVENTS],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    Off,
    /// Loads the row.
    Open(Goal),
    /// Makes the first row.
    Make(Goal, Row),
    /// Does what the row demands before the goal.
    Settle(Goal),
    /// Goes for the goal at once.
    Act(Goal),
    Commit(Attempt),
    Reload(Attempt),
    /// Aborts the attempt's uploads.
    Discard(Attempt, bool),
}

/// What a writer does when the row demands nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Goal {
    /// The tail reads a page.
    Read,
    /// A run ends, noting that all is published.
    Clear,
    /// A resync of these events begins.
    Resync(Events),
    /// The row is to list what is left of a resync, before it is begun or, to
    /// `close` it, at its end.
    WriteDown { left: Events, again: bool, close: bool },
    /// The first of these events is read again.
    Reread { left: Events, overtaken: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Attempt {
    row: Row,
    base: Row,
    /// What it is made for.
    goal: Goal,
    /// What comes after it.
    then: Goal,
    /// Whether it mends the row, so that the goal is yet to come.
    mends: bool,
}

impl Writer {
    pub(crate) fn new(runs: u8) -> Self {
        Self {
            runs,
            phase: Phase::Off,
            settled: NONE,
            listed: 0,
            row: None,
            seen: [Seen::Unknown; EVENTS],
        }
    }

    pub(crate) fn ids(&mut self) -> impl Iterator<Item = &mut Id> {
        let attempt = match &mut self.phase {
            Phase::Commit(attempt) | Phase::Reload(attempt) | Phase::Discard(attempt, _) => {
                [Some(&mut attempt.row.id), Some(&mut attempt.base.id)]
            }
            Phase::Make(_, row) => [Some(&mut row.id), None],
            _ => [None, None],
        };
        self.row.iter_mut().map(|row| &mut row.id).chain(attempt.into_iter().flatten())
    }

    /// The place up to which it has read.
    pub(crate) fn read_to(&self) -> u8 {
        match &self.phase {
            Phase::Commit(attempt) | Phase::Reload(attempt) => attempt.row.cursor & !BOUNDED,
            _ => 0,
        }
    }

    pub(crate) fn forget(&mut self) {
        if matches!(self.phase, Phase::Off | Phase::Open(_) | Phase::Make(..)) {
            self.row = None;
        }
        if self.phase == Phase::Off {
            self.settled = NONE;
            self.listed = 0;
        }
        let staged = self.row.map_or(0, |row| row.staged);
        for event in 0..EVENTS {
            if staged & (1 << event) == 0 {
                self.seen[event] = Seen::Unknown;
            }
        }
    }
}

/// One writer at work.
pub(crate) struct Run<'a> {
    pub(crate) model: &'a Model,
    pub(crate) state: &'a mut State,
    pub(crate) writer: usize,
    pub(crate) happened: &'a AtomicU32,
}

impl Run<'_> {
    fn me(&mut self) -> &mut Writer {
        &mut self.state.writers[self.writer]
    }

    fn row(&self) -> Row {
        self.state.writers[self.writer].row.expect("a loaded row")
    }

    fn mutant(&self, mutant: Mutant) -> bool {
        self.model.mutant == Some(mutant)
    }

    /// Goes on with this row.
    fn take(&mut self, row: Row, seen: Seen, phase: Phase) -> Phase {
        let me = self.me();
        me.row = Some(row);
        me.seen = [seen; EVENTS];
        phase
    }

    /// Makes one port call. `None` if its answer cannot be `answer`.
    pub(crate) fn step(&mut self, answer: Answer) -> Option<()> {
        loop {
            let mut called = true;
            let phase = match self.me().phase {
                Phase::Off => return None,
                Phase::Open(goal) => match self.state.row {
                    Some(row) => self.take(row, Seen::Unknown, Phase::Settle(goal)),
                    None => Phase::Make(goal, self.first_row()),
                },
                Phase::Make(goal, row) => {
                    let made = self.put(None, row, answer)?;
                    self.me().phase = if made {
                        self.take(row, Seen::Unknown, Phase::Settle(goal))
                    } else {
                        Phase::Open(goal)
                    };
                    return Some(());
                }
                Phase::Settle(goal) => match self.next(None) {
                    Action::Publish(steps) => return self.publish(steps[0], answer),
                    Action::RollBack => self.replace(goal, true),
                    Action::Adopt => self.replace(goal, false),
                    Action::Wait(_) => {
                        Happened::Waited.note(self.happened);
                        Phase::Off
                    }
                    Action::Refuse(_) => unreachable!("nothing else writes here"),
                    Action::Read | Action::Commit | Action::Discard { .. } => {
                        called = false;
                        Phase::Act(goal)
                    }
                },
                Phase::Act(goal) => {
                    called = matches!(goal, Goal::Read | Goal::Reread { left: 1.., .. });
                    self.act(goal)
                }
                Phase::Commit(attempt) => match self.next(Some(&attempt)) {
                    Action::Commit => {
                        let made = self.put(Some(attempt.base), attempt.row, answer)?;
                        self.me().phase = self.answered(attempt, made, answer);
                        return Some(());
                    }
                    Action::Discard { superseded } => {
                        called = false;
                        Phase::Discard(attempt, superseded)
                    }
                    _ => {
                        Happened::FoundItself.note(self.happened);
                        called = false;
                        Phase::Settle(attempt.then)
                    }
                },
                Phase::Reload(attempt) => match self.state.row {
                    Some(row) => self.take(row, Seen::Unknown, Phase::Commit(attempt)),
                    None => Phase::Off,
                },
                Phase::Discard(attempt, superseded) => {
                    called = attempt.row.staged != 0;
                    self.state.abort(attempt.row.id, attempt.row.staged);
                    self.overtaken(attempt, superseded)
                }
            };
            self.me().phase = phase;
            if called || phase == Phase::Off {
                return (answer == Answer::Comes).then_some(());
            }
        }
    }

    fn first_row(&mut self) -> Row {
        let mut row = Row { id: self.state.fresh(), table: self.state.table, ..Row::default() };
        if self.state.held() != 0 && !self.mutant(Mutant::NewRowOverFullLake) {
            row.marks = self.unknown(row.marks);
        }
        row
    }

    /// Compares and swaps. Whether the writer learns that it was done; `None` if
    /// there cannot be such an answer.
    fn put(&mut self, base: Option<Row>, mut row: Row, answer: Answer) -> Option<bool> {
        let by_revision = self.mutant(Mutant::Revision);
        let name = |row: Row| if by_revision { row.revision } else { row.id };
        let is_base = self.state.row.map(name) == base.map(name);
        if self.mutant(Mutant::StagedUnnamed) {
            row.staged = 0;
        }
        match answer {
            Answer::Comes if !is_base => return Some(false),
            Answer::Late if is_base && self.state.adrift.is_none() => {
                self.state.adrift = Some((base.map_or(NONE, |row| row.id), row));
            }
            Answer::Comes | Answer::Lost if is_base => self.state.swap(row),
            _ => return None,
        }
        Some(answer == Answer::Comes)
    }

    fn answered(&mut self, attempt: Attempt, made: bool, answer: Answer) -> Phase {
        let aborts = match answer {
            Answer::Comes => self.mutant(Mutant::ConflictIsAnothers),
            Answer::Lost | Answer::Late => self.mutant(Mutant::AbortOnUnknown),
        };
        if made {
            self.me().listed = attempt.row.resync;
            self.take(attempt.row, Seen::Absent, Phase::Settle(attempt.then))
        } else if aborts {
            Phase::Discard(attempt, true)
        } else {
            Phase::Reload(attempt)
        }
    }

    /// Another writer has committed.
    fn overtaken(&mut self, attempt: Attempt, superseded: bool) -> Phase {
        if superseded { Happened::Superseded } else { Happened::Overtaken }.note(self.happened);
        match attempt.goal {
            goal if attempt.mends => Phase::Settle(goal),
            Goal::Read if !superseded => Phase::Settle(Goal::Read),
            Goal::WriteDown { left, again: false, close } => {
                Phase::Settle(Goal::WriteDown { left, again: true, close })
            }
            Goal::WriteDown { .. } => Phase::Act(attempt.then),
            Goal::Reread { left, overtaken: false } => {
                Phase::Settle(Goal::Reread { left, overtaken: true })
            }
            Goal::Reread { left, .. } => {
                Phase::Act(Goal::WriteDown { left, again: false, close: true })
            }
            Goal::Read | Goal::Clear | Goal::Resync(_) => Phase::Off,
        }
    }

    /// Takes one step with an object that the row names.
    fn publish(&mut self, (index, step): (usize, Step), answer: Answer) -> Option<()> {
        let row = self.row();
        let event = each(row.staged).nth(index).expect("an object that the row names");
        let before = self.me().seen[event];
        let published = self.state.lake[event] == row.id;
        let uploads = self.state.uploads(row.id);
        let seen = match (step, answer) {
            (Step::Look, Answer::Comes) if published => before.looked(Look::Published),
            (Step::Look, Answer::Comes) => before.looked(Look::Absent),
            (Step::Abort, Answer::Comes) => {
                self.state.abort(row.id, 1 << event);
                Seen::Aborted
            }
            (Step::Complete, Answer::Comes) if uploads.staged & (1 << event) == 0 => {
                before.completed(Completion::NoUpload)
            }
            (Step::Complete, Answer::Comes) => {
                self.state.publish(row.id, event);
                before.completed(Completion::Done)
            }
            (Step::Complete, _) if uploads.staged & !uploads.under_way & (1 << event) == 0 => {
                return None;
            }
            (Step::Complete, Answer::Lost) => {
                self.state.publish(row.id, event);
                Seen::Unknown
            }
            (Step::Complete, Answer::Late) if !uploads.settled => {
                uploads.under_way |= 1 << event;
                Seen::Unknown
            }
            _ => return None,
        };
        self.me().seen[event] = seen;
        Some(())
    }

    /// What is left of a resync, and what others have listed since.
    fn left(&mut self, left: Events) -> Events {
        let row = self.row();
        let listed = std::mem::replace(&mut self.me().listed, row.resync);
        if self.mutant(Mutant::ListOverwritten) { left } else { left | row.resync & !listed }
    }

    fn act(&mut self, goal: Goal) -> Phase {
        let row = self.row();
        match goal {
            Goal::Read => {
                let (page, cursor, more) = self.page(row.cursor);
                let then = if more { Goal::Read } else { Goal::Clear };
                let new = self.new_of(page, row.marks);
                if new == 0 && cursor == row.cursor {
                    return Phase::Act(then);
                }
                self.commit(Row { from: row.cursor, cursor, ..row }, new, goal, then)
            }
            Goal::Clear if row.staged == 0 => Phase::Off,
            Goal::Clear => self.commit(row, 0, goal, Goal::Clear),
            Goal::Resync(asked) => {
                self.me().listed = row.resync;
                let left = row.resync | asked;
                Phase::Act(if left.count_ones() > 1 {
                    Goal::WriteDown { left, again: false, close: false }
                } else {
                    Goal::Reread { left, overtaken: false }
                })
            }
            Goal::WriteDown { left, again, close } => {
                let left = self.left(left);
                let goal = Goal::WriteDown { left, again, close };
                let then =
                    if close { Goal::Clear } else { Goal::Reread { left, overtaken: false } };
                if !again && row.resync == left && row.staged == 0 {
                    return Phase::Act(then);
                }
                self.commit(Row { resync: left, ..row }, 0, goal, then)
            }
            Goal::Reread { left: 0, .. } => {
                Phase::Act(Goal::WriteDown { left: 0, again: false, close: true })
            }
            Goal::Reread { left, overtaken } => {
                let left = self.left(left);
                let chunk = left & left.wrapping_neg();
                let then = Goal::Reread { left: left & !chunk, overtaken };
                let missing = chunk & self.state.api & !self.state.held();
                if missing == 0 {
                    return Phase::Act(then);
                }
                let mut row = Row { from: row.cursor, resync: left, ..row };
                match self.model.mutant {
                    Some(Mutant::WindowStruckEarly) => row.resync &= !chunk,
                    Some(Mutant::ResyncMovesTail) => row.cursor = row.cursor.max(after(chunk)),
                    Some(Mutant::BoundedCursorKept) => row.cursor |= BOUNDED,
                    _ => {}
                }
                self.commit(row, missing, Goal::Reread { left, overtaken }, then)
            }
        }
    }

    /// The events of the page at `cursor`, the cursor after it, and whether
    /// there are more.
    fn page(&self, cursor: u8) -> (Events, u8, bool) {
        let bound = if cursor & BOUNDED == 0 { Events::MAX } else { 1 };
        let left = self.state.api & bound & (Events::MAX << (cursor & !BOUNDED));
        let page = set(each(left).take(self.model.page));
        let cursor = if page == 0 { cursor } else { cursor & BOUNDED | after(page) };
        (page, cursor, page != left)
    }

    fn new_of(&self, page: Events, marks: Marks) -> Events {
        let held = self.state.held();
        let asked = set(each(page).filter(|event| self.model.times[*event] < marks.recent_from));
        page & !(asked & held | !asked & marks.recent)
    }

    fn latest(&self, events: Events) -> u8 {
        each(events).map(|event| self.model.times[event]).max().unwrap_or(0)
    }

    /// Marks that send every question to the lake.
    fn unknown(&self, marks: Marks) -> Marks {
        let high_water = marks.recent_from.max(self.latest(marks.recent) + 1);
        Marks { recent_from: high_water.max(self.latest(self.state.held()) + 1), recent: 0 }
    }

    fn marks_after(&self, marks: Marks, new: Events) -> Marks {
        let Marks { mut recent_from, mut recent } = marks;
        let times = &self.model.times;
        recent |= set(each(new).filter(|event| times[*event] >= recent_from));
        while recent.count_ones() > self.model.recent {
            let oldest = each(recent).min_by_key(|e| times[*e]).expect("some event");
            recent &= !(1 << oldest);
            recent_from = times[oldest] + 1;
        }
        Marks { recent_from, recent }
    }

    /// Commits the row as it is after a rollback, or at least in this table.
    fn replace(&mut self, goal: Goal, rolls_back: bool) -> Phase {
        let base = self.row();
        let mut row = Row { id: self.state.fresh(), table: self.state.table, staged: 0, ..base };
        row.revision += u8::from(self.mutant(Mutant::Revision));
        if rolls_back { Happened::RolledBack } else { Happened::Adopted }.note(self.happened);
        if rolls_back && !self.mutant(Mutant::RollBackForward) {
            row.cursor = row.from;
        }
        let keeps = [Mutant::MarksKeptThroughRestore, Mutant::MarksKeptThroughRollBack];
        if !self.mutant(keeps[usize::from(rolls_back)]) {
            row.marks = self.unknown(row.marks);
        }
        Phase::Commit(Attempt { row, base, goal, then: goal, mends: true })
    }

    /// Stages `events` and goes on to commit them.
    fn commit(&mut self, row: Row, staged: Events, goal: Goal, then: Goal) -> Phase {
        let (id, base) = (self.state.fresh(), self.row());
        let marks = self.marks_after(row.marks, staged);
        let revision = base.revision + u8::from(self.mutant(Mutant::Revision));
        let row = Row { id, staged, marks, revision, ..row };
        let attempt = Attempt { row, base, goal, then, mends: false };
        let is_published = |event| self.state.writers[self.writer].seen[event] == Seen::Published;
        if !each(base.staged).all(is_published) && !self.mutant(Mutant::OverUnpublished) {
            return self.overtaken(attempt, false);
        }
        self.state.uploads(id).staged = staged;
        if self.mutant(Mutant::PublishedFirst) {
            each(staged).for_each(|event| self.state.publish(id, event));
        }
        if self.mutant(Mutant::RowOfItsOwn) && matches!(goal, Goal::Reread { .. }) {
            return self.take(row, Seen::Absent, Phase::Settle(then));
        }
        Phase::Commit(attempt)
    }

    /// Asks the protocol.
    fn next(&mut self, attempt: Option<&Attempt>) -> Action {
        let row = self.row();
        let settled = self.me().settled == row.id
            || self.mutant(Mutant::GivenUpEarly)
            || self.mutant(Mutant::AgeTakenLate) && self.state.uploads(row.id).settled;
        let me = &self.state.writers[self.writer];
        let objects: Vec<_> = each(row.staged).map(|event| me.seen[event]).collect();
        let by_revision = self.mutant(Mutant::Revision);
        let name = |row: &Row| commit_id(if by_revision { row.revision } else { row.id });
        let attempt = attempt.map(|attempt| RealAttempt {
            commit_id: name(&attempt.row),
            base: name(&attempt.base),
            position: position(attempt.base.cursor),
        });
        let observed = Observed {
            objects: &objects,
            attempt: attempt.as_ref(),
            table: table(self.state.table),
            settled,
        };
        next(&real(&row, name(&row)), observed)
    }
}

fn commit_id(id: u8) -> CommitId {
    format!("{id:032x}").parse().expect("a commit id")
}

const fn table(table: u8) -> &'static str {
    if table == 0 { "first" } else { "second" }
}

fn position(cursor: u8) -> Position {
    match cursor {
        0 => Position::Start(jiff::Timestamp::UNIX_EPOCH),
        place => Position::Cursor(Cursor::new(place.to_string())),
    }
}

/// The row as the protocol knows it. It does not look into the objects.
fn real(row: &Row, commit_id: CommitId) -> checkpoint::Row {
    let nothing = String::new;
    let staged = each(row.staged).map(|_| Staged {
        key: nothing(),
        upload_id: nothing(),
        etag: nothing(),
        crc32: 0,
        size: 0,
        events: 1,
    });
    let cursor = match position(row.cursor) {
        Position::Cursor(cursor) => Some(cursor),
        Position::Start(_) => None,
    };
    checkpoint::Row {
        commit_id,
        table: table(row.table).to_owned(),
        archive: String::new(),
        account_uuid: None,
        token_id: None,
        cursor,
        from: position(row.from),
        staged: staged.collect(),
        marks: newness::Marks::nothing(),
        complete_until: None,
        gaps: Vec::new(),
        resync: Vec::new(),
        updated_at: jiff::Timestamp::UNIX_EPOCH,
    }
}
