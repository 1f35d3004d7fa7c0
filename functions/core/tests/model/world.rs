//! What the writers share: the API, the lake, the uploads and the row.

use crate::writer::{Goal, Phase, Writer};

/// A set of events. An event is known by its place in the API's order.
pub(crate) type Events = u8;

/// A commit, by a number that is not used again as long as anything names it.
pub(crate) type Id = u8;

/// No commit.
pub(crate) const NONE: Id = 0;

/// Commits that can be told apart at once.
pub(crate) const IDS: usize = 14;

/// A commit that only the lake remembers.
const FORGOTTEN: Id = 15;

pub(crate) const EVENTS: usize = 4;

/// Marks a cursor that was born with an end: it leads to the events of the
/// first batch only.
pub(crate) const BOUNDED: u8 = 1 << 7;

/// The row of a stream. A start without a cursor is the cursor 0; each event
/// stands in an object of its own, as if each had its day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Row {
    pub(crate) id: Id,
    pub(crate) table: u8,
    /// The place of the first event that is still to be read.
    pub(crate) cursor: u8,
    pub(crate) from: u8,
    pub(crate) staged: Events,
    pub(crate) marks: Marks,
    /// The events whose times are in the windows that are to be read again.
    pub(crate) resync: Events,
    /// Commits before this one; counted for a mutant only.
    pub(crate) revision: u8,
}

/// As `oplake_core::newness::Marks`; `high_water` follows from the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Marks {
    pub(crate) recent_from: u8,
    pub(crate) recent: Events,
}

/// The uploads of one commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Uploads {
    /// Can be completed.
    pub(crate) staged: Events,
    /// A completion without an answer is under way.
    pub(crate) under_way: Events,
    /// Such a completion has begun: no upload is found, and no object yet.
    pub(crate) begun: Events,
    /// The commit is older than a completion may take.
    pub(crate) settled: bool,
}

/// How often each fault may still happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Faults {
    pub(crate) crashes: u8,
    pub(crate) lost_answers: u8,
    pub(crate) expiries: u8,
    pub(crate) restores: u8,
    pub(crate) removals: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct State {
    /// Events that the API has.
    pub(crate) api: Events,
    /// Events that came when a writer had read past their place.
    pub(crate) late: Events,
    /// Events that were committed, or stood in a window that was.
    pub(crate) promised: Events,
    /// The commit that published each event.
    pub(crate) lake: [Id; EVENTS],
    pub(crate) uploads: [Uploads; IDS],
    pub(crate) row: Option<Row>,
    /// A write of a row whose answer was lost, and that may still be made.
    pub(crate) adrift: Option<(Id, Row)>,
    pub(crate) backup: Option<Row>,
    pub(crate) table: u8,
    pub(crate) writers: Vec<Writer>,
    pub(crate) faults: Faults,
    pub(crate) broken: Option<Broken>,
}

/// A promise that was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Broken {
    /// An event was published a second time.
    Twice,
    /// An upload was aborted that the row names and that might be completed.
    Aborted,
}

pub(crate) fn each(events: Events) -> impl Iterator<Item = usize> {
    (0..EVENTS).filter(move |event| events & (1 << event) != 0)
}

pub(crate) fn set(events: impl Iterator<Item = usize>) -> Events {
    events.fold(0, |set, event| set | 1 << event)
}

/// The place after the last of `events`.
pub(crate) fn after(events: Events) -> u8 {
    (0..)
        .zip(0..EVENTS)
        .filter(|(_, e)| events & (1 << e) != 0)
        .map(|(n, _)| n + 1)
        .max()
        .unwrap_or(0)
}

impl State {
    pub(crate) fn uploads(&mut self, id: Id) -> &mut Uploads {
        &mut self.uploads[usize::from(id)]
    }

    pub(crate) fn held(&self) -> Events {
        set((0..EVENTS).filter(|event| self.lake[*event] != NONE))
    }

    pub(crate) fn publish(&mut self, id: Id, event: usize) {
        let uploads = self.uploads(id);
        uploads.staged &= !(1 << event);
        uploads.under_way &= !(1 << event);
        uploads.begun &= !(1 << event);
        if self.lake[event] != NONE {
            self.broken = self.broken.max(Some(Broken::Twice));
        }
        self.lake[event] = id;
    }

    pub(crate) fn abort(&mut self, id: Id, events: Events) {
        let named = self.row.filter(|row| row.id == id).map_or(0, |row| row.staged);
        let uploads = self.uploads(id);
        if uploads.staged & events & named != 0 && !uploads.settled {
            self.broken = self.broken.max(Some(Broken::Aborted));
        }
        let uploads = self.uploads(id);
        uploads.staged &= !events;
    }

    pub(crate) fn start(&mut self, writer: usize, goal: Goal) {
        let settled = self.row.filter(|row| self.uploads[usize::from(row.id)].settled);
        self.writers[writer].settled = settled.map_or(NONE, |row| row.id);
        self.writers[writer].phase = Phase::Open(goal);
    }

    /// Puts `row` in the place of the one whose commit is `base`.
    pub(crate) fn swap(&mut self, row: Row) {
        let listed = self.row.map_or(0, |row| row.resync);
        self.promised |= row.staged | row.resync & !listed & self.api;
        self.row = Some(row);
    }

    /// Whether no writer runs and none has left anything under way.
    pub(crate) fn is_quiet(&self) -> bool {
        self.adrift.is_none() && self.is_idle() && self.nothing_is_under_way()
    }

    /// Whether a row can be removed: none of its objects may yet appear, and no
    /// writer is about to make one.
    pub(crate) fn may_be_removed(&self) -> bool {
        let makes = |writer: &Writer| matches!(writer.phase, Phase::Make(..));
        self.row.is_some()
            && (self.is_quiet()
                || self.row.is_some_and(|row| row.staged == 0)
                    && self.nothing_is_under_way()
                    && !self.writers.iter().any(makes))
    }

    fn nothing_is_under_way(&self) -> bool {
        self.uploads.iter().all(|uploads| uploads.under_way | uploads.begun == 0)
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.writers.iter().all(|writer| writer.phase == Phase::Off)
    }

    /// Time passes: what was under way has happened or never will.
    pub(crate) fn settle(&mut self) {
        for row in self.row.into_iter().chain(self.backup) {
            self.uploads(row.id).settled = true;
        }
        for uploads in &mut self.uploads {
            uploads.under_way = 0;
        }
        self.adrift = None;
    }

    /// An older row, or none, takes the place of the row. What the API shows
    /// again is promised still, and what is in the lake.
    pub(crate) fn forget(&mut self, row: Option<Row>) {
        self.row = row;
        self.promised &= self.held() | !self.late;
    }

    pub(crate) fn fresh(&mut self) -> Id {
        let used = self.ids().fold(0_u16, |used, id| used | 1 << *id);
        let begun = (1..IDS).filter(|id| self.uploads[*id].begun != 0).fold(0, |b, id| b | 1 << id);
        let id = (1..IDS).find(|id| (used | begun) & (1 << id) == 0).expect("a free number");
        self.uploads[id] = Uploads::default();
        for event in &mut self.lake {
            if usize::from(*event) == id {
                *event = FORGOTTEN;
            }
        }
        Id::try_from(id).expect("a small number")
    }

    /// All that name a commit, but the lake.
    fn ids(&mut self) -> impl Iterator<Item = &mut Id> {
        let rows = self.row.iter_mut().chain(&mut self.backup).map(|row| &mut row.id);
        let adrift = self.adrift.iter_mut().flat_map(|(base, row)| [base, &mut row.id]);
        rows.chain(adrift).chain(self.writers.iter_mut().flat_map(Writer::ids))
    }

    /// Makes states equal that differ only in what cannot matter any more.
    pub(crate) fn canonical(mut self) -> Self {
        for writer in &mut self.writers {
            writer.forget();
        }
        let mut names = [NONE; 16];
        let mut last = NONE;
        for id in self.ids() {
            if *id != NONE && names[usize::from(*id)] == NONE {
                last += 1;
                names[usize::from(*id)] = last;
            }
            *id = names[usize::from(*id)];
        }
        let mut uploads = [Uploads::default(); IDS];
        for id in 1..IDS {
            if names[id] == NONE && self.uploads[id].begun != 0 {
                last += 1;
                names[id] = last;
            }
            if names[id] != NONE {
                let of = &mut self.uploads[id];
                of.under_way &= of.staged;
                uploads[usize::from(names[id])] = *of;
            }
        }
        self.uploads = uploads;
        for writer in &mut self.writers {
            writer.settled = names[usize::from(writer.settled)];
        }
        for id in &mut self.lake {
            if *id != NONE {
                let name = names[usize::from(*id)];
                *id = if name == NONE { FORGOTTEN } else { name };
            }
        }
        self
    }
}
