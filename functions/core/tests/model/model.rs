//! The writers and their world as a model: what can happen, and what must hold.

use std::sync::atomic::{AtomicU32, Ordering};

use stateright::Property;

use crate::world::{Broken, EVENTS, Events, Faults, IDS, Id, State, Uploads, each};
use crate::writer::{Answer, Goal, Phase, Run, Writer};

/// A protocol that differs in one thing, and is thereby wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// Objects are published, then the row is committed.
    PublishedFirst,
    /// The row does not name what was staged.
    StagedUnnamed,
    /// Lost uploads do not move the cursor back.
    RollBackForward,
    /// A row is told from another by the number of commits before it.
    Revision,
    MarksKeptThroughRollBack,
    MarksKeptThroughRestore,
    /// A row made anew says that nothing has been committed.
    NewRowOverFullLake,
    /// A resync commits elsewhere.
    RowOfItsOwn,
    AbortOnUnknown,
    ConflictIsAnothers,
    GivenUpEarly,
    /// A commit's age is taken when it is looked at, not when the run starts.
    AgeTakenLate,
    /// A batch is committed over a row whose objects are not published.
    OverUnpublished,
    BoundedCursorKept,
    ResyncMovesTail,
    /// A resync makes the row list what it has left, whatever others have listed.
    ListOverwritten,
    /// A window is struck from the row by the commit of its batch, not after it.
    WindowStruckEarly,
}

/// What a search has to come across to mean something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Happened {
    RolledBack,
    Adopted,
    Waited,
    FoundItself,
    Overtaken,
    Superseded,
    /// A completion or a write took effect when its writer had given it up.
    TookEffectLate,
    CameLate,
}

impl Happened {
    pub(crate) fn note(self, happened: &AtomicU32) {
        happened.fetch_or(1 << self as u32, Ordering::Relaxed);
    }

    pub(crate) fn is_noted(self, happened: &AtomicU32) -> bool {
        happened.load(Ordering::Relaxed) & (1 << self as u32) != 0
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    Start(usize),
    Step(usize, Answer),
    Crash(usize),
    Arrive(usize),
    /// Time passes.
    Settle,
    Expire(Id, usize),
    /// What a completion without an answer may do.
    Begin(Id, usize),
    Finish(Id, usize),
    Fail(Id, usize),
    /// The write of a row is made after all.
    Write,
    BackUp,
    Restore,
    Remove,
}

#[derive(Debug)]
pub(crate) struct Model {
    /// Events of a page at most.
    pub(crate) page: usize,
    /// Events that marks know at most.
    pub(crate) recent: u32,
    /// The time of each event, from 1.
    pub(crate) times: [u8; EVENTS],
    /// Events that are there at the start.
    pub(crate) first: Events,
    /// Whether a tail has collected them already.
    pub(crate) collected: bool,
    /// Events that come later, in this order if it is that of arrival.
    pub(crate) later: Events,
    pub(crate) sorted_by_arrival: bool,
    /// What each writer is for, and how often it is started.
    pub(crate) writers: Vec<(Goal, u8)>,
    pub(crate) faults: Faults,
    pub(crate) mutant: Option<Mutant>,
    pub(crate) happened: AtomicU32,
}

impl Model {
    /// Runs a writer alone. Whether it ended.
    fn undisturbed(&self, state: &mut State, goal: Goal) -> bool {
        state.settle();
        state.start(0, goal);
        for _ in 0..ENOUGH {
            if state.writers[0].phase == Phase::Off {
                return state.broken.is_none();
            }
            let happened = &AtomicU32::default();
            Run { model: self, state, writer: 0, happened }.step(Answer::Comes);
        }
        false
    }

    /// Whether undisturbed runs from here bring everything into the lake that
    /// was promised.
    fn is_mended(&self, state: &State) -> bool {
        let mut state = state.clone();
        for id in (0..).take(IDS) {
            each(state.uploads(id).begun).for_each(|event| state.publish(id, event));
        }
        [Goal::Read, Goal::Resync(0)].into_iter().all(|goal| self.undisturbed(&mut state, goal))
            && (state.api & !state.late | state.promised) & !state.held() == 0
    }
}

/// Steps after which a writer that runs alone should have ended.
const ENOUGH: u32 = 100;

pub(crate) const TWICE: &str = "no event is published twice";
pub(crate) const ABORTED: &str = "no upload is aborted that a young row names";
pub(crate) const LOST: &str = "undisturbed runs bring all that was promised";

impl stateright::Model for Model {
    type State = State;
    type Action = Event;

    fn init_states(&self) -> Vec<State> {
        let mut state = State {
            api: self.first,
            late: 0,
            promised: 0,
            lake: Default::default(),
            uploads: Default::default(),
            row: None,
            adrift: None,
            backup: None,
            table: 0,
            writers: self.writers.iter().map(|(_, runs)| Writer::new(*runs)).collect(),
            faults: self.faults,
            broken: None,
        };
        assert!(!self.collected || self.undisturbed(&mut state, Goal::Read));
        vec![state.canonical()]
    }

    fn actions(&self, state: &State, events: &mut Vec<Event>) {
        if state.broken.is_some() {
            return;
        }
        let Faults { crashes, lost_answers, expiries, restores, removals } = state.faults;
        for (index, writer) in state.writers.iter().enumerate() {
            if writer.phase == Phase::Off {
                events.extend((writer.runs > 0).then_some(Event::Start(index)));
                continue;
            }
            events.push(Event::Step(index, Answer::Comes));
            if lost_answers > 0 {
                events.extend([Answer::Lost, Answer::Late].map(|a| Event::Step(index, a)));
            }
            events.extend((crashes > 0).then_some(Event::Crash(index)));
        }
        let at_once = if self.sorted_by_arrival { 1 } else { EVENTS };
        events.extend(each(self.later & !state.api).take(at_once).map(Event::Arrive));
        for (id, uploads) in (0..).zip(&state.uploads) {
            let Uploads { staged, under_way, begun, settled } = *uploads;
            events.extend(each(under_way & staged).map(|event| Event::Begin(id, event)));
            events.extend(each(begun).flat_map(|e| [Event::Finish(id, e), Event::Fail(id, e)]));
            if settled && expiries > 0 {
                events.extend(each(staged).map(|event| Event::Expire(id, event)));
            }
        }
        if state.uploads.iter().all(|uploads| uploads.begun == 0) {
            events.push(Event::Settle);
        }
        events.extend(state.adrift.map(|_| Event::Write));
        if restores > 0 {
            if state.backup.is_none() && state.row.is_some() {
                events.push(Event::BackUp);
            }
            if state.backup.is_some() && state.is_quiet() {
                events.push(Event::Restore);
            }
        }
        if removals > 0 && state.may_be_removed() {
            events.push(Event::Remove);
        }
    }

    fn next_state(&self, last: &State, event: Event) -> Option<State> {
        let mut next = last.clone();
        let state = &mut next;
        match event {
            Event::Start(index) => {
                state.writers[index].runs -= 1;
                state.start(index, self.writers[index].0);
            }
            Event::Step(writer, answer) => {
                if answer != Answer::Comes {
                    state.faults.lost_answers -= 1;
                }
                Run { model: self, state, writer, happened: &self.happened }.step(answer)?;
            }
            Event::Crash(index) => {
                state.faults.crashes -= 1;
                state.writers[index].phase = Phase::Off;
            }
            Event::Arrive(event) => {
                let adrift = state.adrift.iter().map(|(_, row)| row);
                let rows = state.row.iter().chain(&state.backup).chain(adrift);
                let read_to = state.writers.iter().map(Writer::read_to);
                let read_to = read_to.chain(rows.map(|row| row.cursor)).max();
                state.api |= 1 << event;
                if read_to.is_some_and(|place| usize::from(place) > event) {
                    state.late |= 1 << event;
                    Happened::CameLate.note(&self.happened);
                }
            }
            Event::Settle => state.settle(),
            Event::Expire(id, event) => {
                state.faults.expiries -= 1;
                state.uploads(id).staged &= !(1 << event);
            }
            Event::Begin(id, event) => {
                state.uploads(id).staged &= !(1 << event);
                state.uploads(id).under_way &= !(1 << event);
                state.uploads(id).begun |= 1 << event;
            }
            Event::Finish(id, event) => {
                Happened::TookEffectLate.note(&self.happened);
                state.publish(id, event);
            }
            Event::Fail(id, event) => {
                state.uploads(id).begun &= !(1 << event);
                state.uploads(id).staged |= 1 << event;
            }
            Event::Write => {
                let (base, row) = state.adrift.take()?;
                if state.row.map_or(0, |row| row.id) == base {
                    Happened::TookEffectLate.note(&self.happened);
                    state.swap(row);
                }
            }
            Event::BackUp => state.backup = state.row,
            Event::Restore => {
                state.faults.restores -= 1;
                state.table = 1;
                let backup = state.backup.take();
                state.forget(backup);
            }
            Event::Remove => {
                state.faults.removals -= 1;
                state.forget(None);
            }
        }
        let next = next.canonical();
        (next != *last).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(TWICE, |_, state: &State| state.broken != Some(Broken::Twice)),
            Property::always(ABORTED, |_, state: &State| state.broken != Some(Broken::Aborted)),
            Property::always(LOST, |model: &Self, state: &State| {
                !state.is_idle() || state.broken.is_some() || model.is_mended(state)
            }),
        ]
    }
}
