//! The commit protocol, searched exhaustively: every interleaving of a few
//! writers, a few events and a few faults, within the budget of each test.
//!
//! The writers ask the very function that decides in production,
//! [`oplake_core::protocol::next`]; what drives it is written again here, a port
//! call a step, so that whatever may come between two calls does. A mutant is a
//! protocol that differs in one thing: that the search finds what is wrong with
//! each shows that the model could have found it in the protocol.
//!
//! These are no steps of their own, as nothing that comes in between could tell:
//!
//! - to stage: nobody knows an upload that no row names;
//! - to ask for a page, then what the lake holds: whatever comes in between might
//!   as well come before both.
//!
//! These would not be wrong, so that there is no mutant of them: not to abort, as
//! a writer that finds no upload of a settled commit finds none because there is
//! none; and not to look after that, as a batch that is read again is compared
//! with the lake. To complete what a restored row names is wrong, but only after a
//! removal that is not modelled; the simulation has it.
//!
//! This is assumed: a completion takes effect before its commit is settled, or at
//! once; a row is restored when nothing is under way, and removed when nothing is
//! or it names nothing.

#![expect(clippy::expect_used, clippy::panic, reason = "tests")]

mod model;
mod world;
mod writer;

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU32;

use stateright::{Checker, HasDiscoveries, Model as _};

use crate::model::{ABORTED, Happened, LOST, Model, Mutant, TWICE};
use crate::world::Faults;
use crate::writer::Goal;

const TAIL: Goal = Goal::Read;

/// Two pages at most, the last of which grows.
fn tails(faults: Faults) -> Model {
    Model {
        page: 2,
        recent: 2,
        times: [1, 2, 3, 4],
        first: 0b011,
        later: 0b100,
        sorted_by_arrival: true,
        collected: false,
        writers: vec![(TAIL, 2), (TAIL, 2)],
        faults,
        mutant: None,
        happened: AtomicU32::new(0),
    }
}

/// An event comes behind the tail.
fn late(writers: Vec<(Goal, u8)>, faults: Faults) -> Model {
    Model { first: 0b101, later: 0b010, sorted_by_arrival: false, writers, ..tails(faults) }
}

fn lost_answers() -> Model {
    tails(Faults { crashes: 1, lost_answers: 1, ..Faults::default() })
}

fn vanishing() -> Model {
    tails(Faults { crashes: 1, expiries: 1, ..Faults::default() })
}

fn resync() -> Model {
    let faults = Faults { crashes: 1, expiries: 2, ..Faults::default() };
    late(vec![(TAIL, 2), (Goal::Resync(0b010), 1)], faults)
}

fn resync_with_lost_answers() -> Model {
    let faults = Faults { lost_answers: 1, ..Faults::default() };
    late(vec![(TAIL, 2), (Goal::Resync(0b010), 1)], faults)
}

fn backfill() -> Model {
    let faults = Faults { crashes: 1, expiries: 1, ..Faults::default() };
    late(vec![(TAIL, 2), (Goal::Resync(0b111), 1)], faults)
}

fn two_resyncs() -> Model {
    let faults = Faults { crashes: 1, ..Faults::default() };
    let writers = vec![(Goal::Resync(0b1100), 1), (Goal::Resync(0b0010), 2)];
    Model { collected: true, first: 0b1001, later: 0b0110, ..late(writers, faults) }
}

fn three_writers() -> Model {
    let faults = Faults { crashes: 1, ..Faults::default() };
    let writers = vec![(TAIL, 1), (TAIL, 1), (Goal::Resync(0b010), 1)];
    Model { collected: true, later: 0b1010, ..late(writers, faults) }
}

fn restored() -> Model {
    let faults = Faults { crashes: 1, restores: 1, ..Faults::default() };
    Model { writers: vec![(TAIL, 3), (TAIL, 1)], ..tails(faults) }
}

fn removed() -> Model {
    let faults = Faults { crashes: 1, removals: 1, ..Faults::default() };
    Model { writers: vec![(TAIL, 1), (TAIL, 2)], ..tails(faults) }
}

/// Searches all of `model`, which must come across `floor` states at least and
/// what is to have `happened`.
fn assert_holds(model: Model, floor: usize, happened: &[Happened]) {
    let search =
        model.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let states = search.unique_state_count();
    if let Some((property, path)) = search.discoveries().into_iter().next() {
        panic!("not so after {:#?}: {property}", path.into_actions());
    }
    for happened in happened {
        assert!(happened.is_noted(&search.model().happened), "{happened:?} did not happen");
    }
    assert!(states >= floor, "{states} states are too few to mean anything");
}

#[test]
fn two_tails_with_crashes_and_lost_answers() {
    use Happened::{FoundItself, Overtaken, Superseded, TookEffectLate, Waited};
    let happened = [FoundItself, Overtaken, Superseded, TookEffectLate, Waited];
    assert_holds(lost_answers(), 500_000, &happened);
}

#[test]
fn two_tails_whose_uploads_vanish() {
    assert_holds(vanishing(), 200_000, &[Happened::RolledBack, Happened::Superseded]);
}

#[test]
fn answers_are_lost_and_uploads_vanish() {
    let writers = vec![(TAIL, 2), (TAIL, 1)];
    let faults = Faults { lost_answers: 1, expiries: 1, ..Faults::default() };
    let happened = [Happened::RolledBack, Happened::TookEffectLate, Happened::FoundItself];
    assert_holds(Model { writers, ..tails(faults) }, 100_000, &happened);
}

#[test]
fn a_resync_beside_a_tail_whose_uploads_vanish() {
    let happened = [Happened::RolledBack, Happened::Overtaken, Happened::CameLate];
    assert_holds(resync(), 100_000, &happened);
}

#[test]
fn a_resync_beside_a_tail_with_lost_answers() {
    let happened = [Happened::TookEffectLate, Happened::FoundItself, Happened::CameLate];
    assert_holds(resync_with_lost_answers(), 100_000, &happened);
}

#[test]
fn a_backfill_beside_a_tail() {
    let happened = [Happened::RolledBack, Happened::Overtaken, Happened::CameLate];
    assert_holds(backfill(), 200_000, &happened);
}

#[test]
fn a_backfill_beside_a_resync() {
    assert_holds(two_resyncs(), 10_000, &[Happened::Overtaken, Happened::CameLate]);
}

#[test]
fn two_tails_and_a_resync() {
    assert_holds(three_writers(), 10_000, &[Happened::Superseded, Happened::CameLate]);
}

#[test]
fn a_restored_row() {
    assert_holds(restored(), 200_000, &[Happened::Adopted, Happened::Superseded]);
}

#[test]
fn a_restored_row_whose_uploads_are_gone() {
    let faults = Faults { crashes: 1, expiries: 2, restores: 1, ..Faults::default() };
    let model = Model { writers: vec![(TAIL, 4)], ..tails(faults) };
    assert_holds(model, 10_000, &[Happened::Adopted, Happened::RolledBack]);
}

#[test]
fn a_removed_row() {
    assert_holds(removed(), 10_000, &[Happened::Superseded]);
}

#[test]
fn late_events_sorted_by_time() {
    let faults = Faults { crashes: 1, expiries: 1, ..Faults::default() };
    let happened = [Happened::CameLate, Happened::RolledBack];
    assert_holds(late(vec![(TAIL, 2), (TAIL, 1)], faults), 50_000, &happened);
}

#[test]
fn late_events_sorted_by_arrival() {
    let model = Model { times: [2, 4, 1, 3], ..vanishing() };
    assert_holds(model, 100_000, &[Happened::RolledBack]);
}

/// A mutant, what is not so with it, and where that shows.
type Case = (Mutant, &'static str, fn() -> Model);

#[test]
fn every_mutant_is_found() {
    let mutants: [Case; 18] = [
        (Mutant::PublishedFirst, TWICE, vanishing),
        (Mutant::StagedUnnamed, LOST, vanishing),
        (Mutant::RollBackForward, LOST, vanishing),
        (Mutant::Revision, TWICE, removed),
        (Mutant::MarksKeptThroughRollBack, LOST, vanishing),
        (Mutant::MarksKeptThroughRestore, TWICE, restored),
        (Mutant::NewRowOverFullLake, LOST, removed),
        (Mutant::RowOfItsOwn, TWICE, resync),
        (Mutant::AbortOnUnknown, ABORTED, lost_answers),
        (Mutant::ConflictIsAnothers, ABORTED, lost_answers),
        (Mutant::GivenUpEarly, ABORTED, lost_answers),
        (Mutant::GivenUpEarly, TWICE, resync_with_lost_answers),
        (Mutant::AgeTakenLate, LOST, resync),
        (Mutant::OverUnpublished, TWICE, backfill),
        (Mutant::BoundedCursorKept, LOST, resync),
        (Mutant::ResyncMovesTail, LOST, resync),
        (Mutant::WindowStruckEarly, LOST, resync),
        (Mutant::ListOverwritten, LOST, two_resyncs),
    ];
    for (mutant, property, model) in mutants {
        let search = Model { mutant: Some(mutant), ..model() }
            .checker()
            .threads(2)
            .finish_when(HasDiscoveries::AllOf(BTreeSet::from([property])))
            .spawn_bfs()
            .join();
        assert!(search.discovery(property).is_some(), "{mutant:?} is not found");
    }
}
