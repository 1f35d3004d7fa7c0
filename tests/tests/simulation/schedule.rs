//! What may happen to a stream, as data that can be drawn, shrunk and kept.

use oplake_core::testing::{Fault, Operation};
use proptest::collection::vec;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

/// A life of a stream, one step after the other.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Schedule {
    /// Whether the API sorts by the time of arrival instead of the event's.
    pub(crate) by_arrival: bool,
    /// Whether a page has three events at most.
    pub(crate) small_pages: bool,
    /// Whether a new row's tail starts an hour ago instead of at the beginning.
    pub(crate) recent_start: bool,
    pub(crate) steps: Vec<Step>,
}

impl Schedule {
    /// Whether a run of the tail must find all that was returned: none of it can
    /// have been behind the cursor that was committed.
    pub(crate) fn is_of_the_tail_alone(&self) -> bool {
        let mut steps = self.steps.iter();
        !self.recent_start
            && steps.all(|step| match step {
                // By event time, the slower of two tails may see a late event that
                // the faster one has passed.
                Step::Run { runners, .. } => {
                    runners.iter().all(|runner| runner.task == Work::Tail)
                        && (self.by_arrival || runners.len() == 1)
                }
                Step::Api(fault) => !matches!(
                    fault.what,
                    ApiTrouble::Status(400)
                        | ApiTrouble::RejectCursor
                        | ApiTrouble::RejectCursorTwice
                        | ApiTrouble::Rewind(_)
                ),
                _ => true,
            })
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Step {
    /// An event is recorded.
    Push(Push),
    /// One on each of so many days, the last of them so many days from now.
    Burst { days: i64, until: i64 },
    /// Seconds pass.
    Pass(i64),
    /// The API is going to misbehave.
    Api(ApiFault),
    /// Processes work beside each other; where they are held, `apart` seconds
    /// pass before the next is let go.
    Run { runners: Vec<Runner>, apart: i64 },
    /// A completion that a dead process has sent takes effect.
    CompleteLate,
    /// Days pass, and what was staged and never completed vanishes.
    ExpireUploads,
    /// The stream's row is deleted.
    DeleteRow,
    /// The table is backed up.
    BackUp,
    /// The table is restored from the backup, into another table.
    Restore,
    /// The token is replaced, the old one revoked.
    RotateToken,
}

/// An event, its time relative to the API's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Push {
    pub(crate) shape: Shape,
    pub(crate) seconds: i64,
    pub(crate) at: Within,
    /// Seconds until requests see it.
    pub(crate) hidden: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Shape {
    Plain,
    /// With white space that the lake does not keep.
    Spaced,
    WithoutUuid,
    /// The uuid and the time of an earlier one, and its bytes too if `whole`.
    Again {
        of: usize,
        whole: bool,
    },
    /// Without a usable time.
    Bad(u8),
}

/// Where within its second, or its day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Within {
    Start,
    /// Not a whole millisecond.
    Odd,
    End,
    DayStart,
    DayEnd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ApiFault {
    /// How many matching requests are spared first.
    pub(crate) after: u64,
    pub(crate) what: ApiTrouble,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ApiTrouble {
    Status(u16),
    /// 429 with `Retry-After`.
    ComeBack,
    Reset,
    Cut,
    Html,
    Truncated,
    /// The answer takes longer than the client waits.
    Slow,
    Empty {
        moves: bool,
    },
    NullItems,
    NoItems,
    NoCursor,
    NoHasMore,
    RejectCursor,
    /// The next two are, so that asking again does not help.
    RejectCursorTwice,
    Rewind(usize),
    Twice,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Runner {
    pub(crate) task: Work,
    /// Whether there is hardly any time.
    pub(crate) hurried: bool,
    pub(crate) faults: Vec<(When, PortFault)>,
    /// Calls that wait until they are let go.
    pub(crate) held: Vec<When>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Work {
    Tail,
    /// Over so many hours.
    Resync(i64),
    Backfill(i64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum When {
    /// The call of this number, whatever it is.
    Step(u64),
    /// The call of this number of the operation.
    Call(Call, u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Call {
    Stage,
    Complete,
    Look,
    Abort,
    Quarantine,
    Days,
    List,
    Read,
    Load,
    Commit,
}

impl From<Call> for Operation {
    fn from(call: Call) -> Self {
        match call {
            Call::Stage => Self::Stage,
            Call::Complete => Self::Complete,
            Call::Look => Self::Look,
            Call::Abort => Self::Abort,
            Call::Quarantine => Self::Quarantine,
            Call::Days => Self::Days,
            Call::List => Self::List,
            Call::Read => Self::Read,
            Call::Load => Self::Load,
            Call::Commit => Self::Commit,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PortFault {
    Fail,
    LoseAnswer,
    Deny,
    CrashBefore,
    CrashAfter,
}

impl From<PortFault> for Fault {
    fn from(fault: PortFault) -> Self {
        match fault {
            PortFault::Fail => Self::Fail,
            PortFault::LoseAnswer => Self::LoseAnswer,
            PortFault::Deny => Self::Deny,
            PortFault::CrashBefore => Self::CrashBefore,
            PortFault::CrashAfter => Self::CrashAfter,
        }
    }
}

/// Any schedule.
pub(crate) fn schedules() -> impl Strategy<Value = Schedule> {
    let recent_start = prop_oneof![3 => Just(false), 1 => Just(true)];
    (any::<bool>(), any::<bool>(), recent_start, vec(step(), 2..22)).prop_map(
        |(by_arrival, small_pages, recent_start, steps)| Schedule {
            by_arrival,
            small_pages,
            recent_start,
            steps,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        16 => push().prop_map(Step::Push),
        1 => (2_i64..40, -10_i64..20).prop_map(|(days, until)| Step::Burst { days, until }),
        5 => pass().prop_map(Step::Pass),
        4 => api_fault().prop_map(Step::Api),
        5 => runner().prop_map(|runner| Step::Run { runners: vec![runner], apart: 0 }),
        4 => (vec(runner(), 2..=3), prop_oneof![3 => Just(0), 1 => 0_i64..200])
            .prop_map(|(runners, apart)| Step::Run { runners, apart }),
        1 => Just(Step::CompleteLate),
        1 => Just(Step::ExpireUploads),
        1 => Just(Step::DeleteRow),
        1 => Just(Step::BackUp),
        1 => Just(Step::Restore),
        1 => Just(Step::RotateToken),
    ]
}

fn push() -> impl Strategy<Value = Push> {
    let shape = prop_oneof![
        12 => Just(Shape::Plain),
        1 => Just(Shape::Spaced),
        1 => Just(Shape::WithoutUuid),
        2 => (0_usize..8, any::<bool>()).prop_map(|(of, whole)| Shape::Again { of, whole }),
        1 => (0_u8..4).prop_map(Shape::Bad),
    ];
    let seconds = prop_oneof![
        4 => Just(0),
        4 => -90_i64..=0,
        3 => -6 * HOUR..=0,
        2 => -4 * DAY..=0,
        1 => -50 * DAY..=0,
        2 => 0..=10 * MINUTE,
        1 => 10 * MINUTE..=2 * HOUR,
        1 => 0..=3 * DAY,
        1 => YEAR..=5 * YEAR,
    ];
    let at = prop_oneof![
        6 => Just(Within::Start),
        2 => Just(Within::Odd),
        1 => Just(Within::End),
        1 => Just(Within::DayStart),
        1 => Just(Within::DayEnd),
    ];
    let hidden = prop_oneof![6 => Just(0), 1 => 1..=20 * MINUTE, 1 => 0..=2 * DAY];
    (shape, seconds, at, hidden).prop_map(|(shape, seconds, at, hidden)| Push {
        shape,
        seconds,
        at,
        hidden,
    })
}

fn pass() -> impl Strategy<Value = i64> {
    prop_oneof![
        2 => 1_i64..=30,
        3 => 1..=10 * MINUTE,
        2 => 15 * MINUTE..=20 * MINUTE,
        2 => HOUR..=8 * HOUR,
        1 => DAY..=2 * DAY,
    ]
}

fn api_fault() -> impl Strategy<Value = ApiFault> {
    let what = prop_oneof![
        1 => prop_oneof![Just(500_u16), Just(503), Just(429), Just(401), Just(400), Just(403)]
            .prop_map(ApiTrouble::Status),
        1 => Just(ApiTrouble::ComeBack),
        1 => Just(ApiTrouble::Reset),
        1 => Just(ApiTrouble::Cut),
        1 => Just(ApiTrouble::Html),
        1 => Just(ApiTrouble::Truncated),
        1 => Just(ApiTrouble::Slow),
        2 => any::<bool>().prop_map(|moves| ApiTrouble::Empty { moves }),
        1 => Just(ApiTrouble::NullItems),
        1 => Just(ApiTrouble::NoItems),
        1 => Just(ApiTrouble::NoCursor),
        1 => Just(ApiTrouble::NoHasMore),
        1 => Just(ApiTrouble::RejectCursor),
        1 => Just(ApiTrouble::RejectCursorTwice),
        2 => (1_usize..12).prop_map(ApiTrouble::Rewind),
        1 => Just(ApiTrouble::Twice),
    ];
    (0_u64..4, what).prop_map(|(after, what)| ApiFault { after, what })
}

fn runner() -> impl Strategy<Value = Runner> {
    let task = prop_oneof![
        6 => Just(Work::Tail),
        2 => prop_oneof![Just(1), Just(6), 1_i64..100].prop_map(Work::Resync),
        1 => prop_oneof![Just(24), 1_i64..100].prop_map(Work::Backfill),
    ];
    let hurried = prop_oneof![12 => Just(false), 1 => Just(true)];
    let faults =
        prop_oneof![3 => vec((when(), port_fault()), 0..1), 4 => vec((when(), port_fault()), 1..3)];
    let held = vec(when(), 0..3);
    (task, hurried, faults, held).prop_map(|(task, hurried, faults, held)| Runner {
        task,
        hurried,
        faults,
        held,
    })
}

fn when() -> impl Strategy<Value = When> {
    let call = prop_oneof![
        2 => Just(Call::Stage),
        3 => Just(Call::Complete),
        1 => Just(Call::Look),
        1 => Just(Call::Abort),
        1 => Just(Call::Quarantine),
        1 => Just(Call::Days),
        1 => Just(Call::List),
        1 => Just(Call::Read),
        1 => Just(Call::Load),
        4 => Just(Call::Commit),
    ];
    prop_oneof![
        (1_u64..20).prop_map(When::Step),
        (call, 1_u64..4).prop_map(|(call, nth)| When::Call(call, nth)),
    ]
}

fn port_fault() -> impl Strategy<Value = PortFault> {
    prop_oneof![
        Just(PortFault::Fail),
        Just(PortFault::LoseAnswer),
        Just(PortFault::CrashBefore),
        Just(PortFault::CrashAfter),
        Just(PortFault::Deny),
    ]
}
