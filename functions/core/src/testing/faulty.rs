//! Faults by script.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

use super::Operation;
use crate::archive::{Archive, ArchiveError, Completion, Listed, Look, Object, Staged};
use crate::checkpoint::{CheckpointError, CheckpointStore, CommitId, Row};
use crate::feed::{Feed, Stream};
use crate::partition::Day;

/// What goes wrong with a call.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The call has no effect, and its outcome is unknown to the caller. A test
    /// that wants the effect to come late makes it on the wrapped port itself.
    Fail,
    /// The call has its effect, but its outcome is unknown to the caller.
    LoseAnswer,
    /// The call has no effect and is refused for good: `Denied` by an archive,
    /// `Unusable` by a checkpoint store.
    Deny,
    /// The call waits, before it has an effect, until the gate is open.
    Hold(Gate),
    /// The process dies before the call has an effect.
    CrashBefore,
    /// The process dies once the call has its effect.
    CrashAfter,
}

/// One call, as a rule sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// What is called.
    pub operation: Operation,
    /// Which call of the operation it is, from 1 on.
    pub nth: u64,
    /// Which call of the process it is, from 1 on.
    pub step: u64,
}

/// The process has died: what every call says after a crash.
#[derive(Debug, thiserror::Error)]
#[error("the process has crashed")]
pub struct Crashed;

/// Whether `error` or one of its causes is [`Crashed`].
#[must_use]
pub fn is_crash(error: &(dyn Error + 'static)) -> bool {
    let mut layer = Some(error);
    while let Some(error) = layer {
        if error.is::<Crashed>() {
            return true;
        }
        layer = error.source();
    }
    false
}

type Rule = Box<dyn FnMut(&Call) -> Option<Fault> + Send>;

/// The faults that one process meets: a script that all its ports share.
///
/// A restarted process gets a new one, over the same wrapped ports.
///
/// ```
/// # use oplake_core::archive::Archive;
/// # use oplake_core::testing::*;
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let archive = MemoryArchive::default();
/// let faults = Faults::default();
/// let process = Faulty::new(archive.clone(), &faults);
/// faults.on(Operation::Read, 2, Fault::CrashBefore);
///
/// archive.put("k", "body");
/// assert_eq!(process.read("k").await?, "body");
/// let error = process.read("k").await.unwrap_err();
/// assert!(is_crash(&error));
/// assert!(faults.is_crashed());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct Faults(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    rules: Vec<Rule>,
    counts: BTreeMap<Operation, u64>,
    steps: u64,
    crashed: bool,
}

impl Faults {
    /// Asks `rule` about every call from now on.
    ///
    /// Where several rules answer, all gates hold the call, then the first
    /// other fault strikes.
    pub fn rule(&self, rule: impl FnMut(&Call) -> Option<Fault> + Send + 'static) {
        self.lock().rules.push(Box::new(rule));
    }

    /// Strikes the `nth` call of `operation`, counted from 1 over the life of
    /// the process.
    pub fn on(&self, operation: Operation, nth: u64, fault: Fault) {
        self.rule(move |call| {
            (call.operation == operation && call.nth == nth).then(|| fault.clone())
        });
    }

    /// Strikes the next call of `operation`.
    pub fn on_next(&self, operation: Operation, fault: Fault) {
        self.on(operation, self.calls(operation) + 1, fault);
    }

    /// Strikes every call of `operation` from now on.
    pub fn on_every(&self, operation: Operation, fault: Fault) {
        self.rule(move |call| (call.operation == operation).then(|| fault.clone()));
    }

    /// Strikes the `step`th call of the process, whatever it is, counted from 1.
    pub fn on_step(&self, step: u64, fault: Fault) {
        self.rule(move |call| (call.step == step).then(|| fault.clone()));
    }

    /// Forgets all rules; the counts stay.
    pub fn clear(&self) {
        self.lock().rules.clear();
    }

    /// How often `operation` was called.
    #[must_use]
    pub fn calls(&self, operation: Operation) -> u64 {
        self.lock().counts.get(&operation).copied().unwrap_or_default()
    }

    /// How many calls were made.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.lock().steps
    }

    /// Whether the process has died.
    #[must_use]
    pub fn is_crashed(&self) -> bool {
        self.lock().crashed
    }

    /// Lets the process die between two calls.
    pub fn crash(&self) {
        self.lock().crashed = true;
    }

    fn lock(&self) -> MutexGuard<'_, Script> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call and asks the rules about it.
    fn strike(&self, operation: Operation) -> (Vec<Gate>, Option<Fault>) {
        let mut script = self.lock();
        if script.crashed {
            return (Vec::new(), None);
        }
        let script = &mut *script;
        let count = script.counts.entry(operation).or_default();
        *count += 1;
        script.steps += 1;
        let call = Call { operation, nth: *count, step: script.steps };
        let (mut gates, mut strike) = (Vec::new(), None);
        for fault in script.rules.iter_mut().filter_map(|rule| rule(&call)) {
            match fault {
                Fault::Hold(gate) => gates.push(gate),
                other => strike = strike.or(Some(other)),
            }
        }
        (gates, strike)
    }

    /// Makes the call whose effect is `effect`, unless the script says otherwise.
    async fn call<T, E: Injected>(
        &self,
        operation: Operation,
        subject: &str,
        effect: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let (gates, fault) = self.strike(operation);
        for gate in gates {
            gate.pass().await;
        }
        // Another call may have crashed the process while this one was held.
        if self.is_crashed() {
            return Err(E::crashed(subject));
        }
        match fault {
            None | Some(Fault::Hold(_)) => effect.await,
            Some(Fault::Fail) => Err(E::unknown(operation, subject)),
            Some(Fault::LoseAnswer) => {
                effect.await.ok();
                Err(E::unknown(operation, subject))
            }
            Some(Fault::Deny) => Err(E::denied(operation, subject)),
            Some(Fault::CrashBefore) => {
                self.crash();
                Err(E::crashed(subject))
            }
            Some(Fault::CrashAfter) => {
                effect.await.ok();
                self.crash();
                Err(E::crashed(subject))
            }
        }
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let script = self.lock();
        f.debug_struct("Faults")
            .field("rules", &script.rules.len())
            .field("counts", &script.counts)
            .field("crashed", &script.crashed)
            .finish()
    }
}

/// A barrier for calls, closed at first. Its clones are the same gate, so one
/// gate can hold several processes.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<watch::Sender<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    arrived: u64,
    open: bool,
}

impl Gate {
    /// A closed gate.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Waits until `calls` calls have come to the gate.
    pub async fn reached(&self, calls: u64) {
        // The sender lives in `self`, so the wait cannot end early.
        self.0.subscribe().wait_for(|waiting| waiting.arrived >= calls).await.ok();
    }

    /// Lets all calls pass, now and later.
    pub fn open(&self) {
        self.0.send_modify(|waiting| waiting.open = true);
    }

    /// Comes to the gate, and waits until it is open.
    pub async fn pass(&self) {
        let mut waiting = self.0.subscribe();
        self.0.send_modify(|waiting| waiting.arrived += 1);
        waiting.wait_for(|waiting| waiting.open).await.ok();
    }
}

/// The errors that a port can be made to return.
trait Injected {
    fn unknown(operation: Operation, subject: &str) -> Self;
    fn denied(operation: Operation, subject: &str) -> Self;
    /// Never retryable: a dead process does not try again.
    fn crashed(subject: &str) -> Self;
}

impl Injected for ArchiveError {
    fn unknown(operation: Operation, subject: &str) -> Self {
        let source = "injected fault".into();
        Self::Unknown { operation: operation.as_str(), key: subject.to_owned(), source }
    }

    fn denied(operation: Operation, subject: &str) -> Self {
        let source = "injected fault".into();
        Self::Denied { operation: operation.as_str(), key: subject.to_owned(), source }
    }

    fn crashed(subject: &str) -> Self {
        let reason = "the test has ended this process".to_owned();
        Self::Unusable { location: subject.to_owned(), reason, source: Crashed.into() }
    }
}

impl Injected for CheckpointError {
    fn unknown(_: Operation, subject: &str) -> Self {
        Self::Unknown { table: subject.to_owned(), source: "injected fault".into() }
    }

    fn denied(_: Operation, subject: &str) -> Self {
        let reason = "the test wants it so".to_owned();
        Self::Unusable { table: subject.to_owned(), reason, source: "injected fault".into() }
    }

    fn crashed(subject: &str) -> Self {
        let reason = "the test has ended this process".to_owned();
        Self::Unusable { table: subject.to_owned(), reason, source: Crashed.into() }
    }
}

/// A port as a process that meets `faults` sees it.
#[derive(Debug, Clone)]
pub struct Faulty<P> {
    port: P,
    faults: Faults,
}

impl<P> Faulty<P> {
    /// Wraps `port`.
    #[must_use]
    pub fn new(port: P, faults: &Faults) -> Self {
        Self { port, faults: faults.clone() }
    }
}

impl<A: Archive> Archive for Faulty<A> {
    fn location(&self) -> &str {
        self.port.location()
    }

    async fn stage(&self, object: &Object, commit: &CommitId) -> Result<Staged, ArchiveError> {
        let effect = self.port.stage(object, commit);
        self.faults.call(Operation::Stage, &object.key, effect).await
    }

    async fn complete(&self, staged: &Staged) -> Result<Completion, ArchiveError> {
        let effect = self.port.complete(staged);
        self.faults.call(Operation::Complete, &staged.key, effect).await
    }

    async fn look(&self, staged: &Staged, commit: &CommitId) -> Result<Look, ArchiveError> {
        let effect = self.port.look(staged, commit);
        self.faults.call(Operation::Look, &staged.key, effect).await
    }

    async fn abort(&self, staged: &Staged) -> Result<(), ArchiveError> {
        let effect = self.port.abort(staged);
        self.faults.call(Operation::Abort, &staged.key, effect).await
    }

    async fn quarantine(&self, key: &str, body: Bytes) -> Result<(), ArchiveError> {
        let effect = self.port.quarantine(key, body);
        self.faults.call(Operation::Quarantine, key, effect).await
    }

    async fn set_aside(&self, key: &str) -> Result<(), ArchiveError> {
        let effect = self.port.set_aside(key);
        self.faults.call(Operation::SetAside, key, effect).await
    }

    async fn days(&self, feed: Feed) -> Result<Vec<Day>, ArchiveError> {
        let effect = self.port.days(feed);
        self.faults.call(Operation::Days, feed.as_str(), effect).await
    }

    async fn list(&self, stream: &Stream, day: Day) -> Result<Vec<Listed>, ArchiveError> {
        let effect = self.port.list(stream, day);
        self.faults.call(Operation::List, &format!("{stream} {day}"), effect).await
    }

    async fn read(&self, key: &str) -> Result<Bytes, ArchiveError> {
        self.faults.call(Operation::Read, key, self.port.read(key)).await
    }
}

impl<C: CheckpointStore> CheckpointStore for Faulty<C> {
    fn table(&self) -> &str {
        self.port.table()
    }

    async fn load(&self, stream: &Stream) -> Result<Option<Row>, CheckpointError> {
        self.faults.call(Operation::Load, self.port.table(), self.port.load(stream)).await
    }

    async fn commit(
        &self,
        stream: &Stream,
        expected: Option<&CommitId>,
        row: &Row,
    ) -> Result<(), CheckpointError> {
        let effect = self.port.commit(stream, expected, row);
        self.faults.call(Operation::Commit, self.port.table(), effect).await
    }

    async fn remove(&self, stream: &Stream, expected: &CommitId) -> Result<(), CheckpointError> {
        let effect = self.port.remove(stream, expected);
        self.faults.call(Operation::Remove, self.port.table(), effect).await
    }

    async fn streams(&self) -> Result<Vec<Stream>, CheckpointError> {
        self.faults.call(Operation::Streams, self.port.table(), self.port.streams()).await
    }
}

#[cfg(test)]
mod tests {
    use super::super::{MemoryArchive, MemoryCheckpoints, contract};
    use super::*;

    #[tokio::test]
    async fn without_rules_the_wrapped_ports_keep_their_contract() {
        let faults = Faults::default();
        let archive = MemoryArchive::default();
        contract::archive::all(&Faulty::new(archive.clone(), &faults), archive.prefix()).await;
        contract::checkpoints::all(&Faulty::new(MemoryCheckpoints::default(), &faults)).await;
        assert!(!faults.is_crashed());
    }

    #[tokio::test]
    async fn each_fault_has_its_effect_or_none() {
        let store = MemoryCheckpoints::default();
        let stream = contract::checkpoints::stream(Feed::AuditEvents);
        let row = contract::checkpoints::minimal_row(store.table());
        for (fault, effect, crash) in [
            (Fault::Fail, false, false),
            (Fault::Deny, false, false),
            (Fault::LoseAnswer, true, false),
            (Fault::CrashBefore, false, true),
            (Fault::CrashAfter, true, true),
        ] {
            let faults = Faults::default();
            let process = Faulty::new(store.clone(), &faults);
            let expected = store.load(&stream).await.unwrap().map(|row| row.commit_id);
            let row = Row { commit_id: CommitId::random(), ..row.clone() };
            faults.on_next(Operation::Commit, fault.clone());

            let error = process.commit(&stream, expected.as_ref(), &row).await.unwrap_err();

            assert_eq!(store.load(&stream).await.unwrap() == Some(row), effect, "{fault:?}");
            assert_eq!(is_crash(&error), crash, "{fault:?}");
            assert_eq!(process.load(&stream).await.is_err(), crash, "{fault:?}");
            let retryable = matches!(fault, Fault::Fail | Fault::LoseAnswer);
            assert_eq!(error.is_retryable(), retryable, "{fault:?}");
        }
    }

    #[tokio::test]
    async fn a_crash_ends_all_ports_of_the_process_and_no_other() {
        let (archive, store) = (MemoryArchive::default(), MemoryCheckpoints::default());
        let faults = Faults::default();
        let process = (Faulty::new(archive.clone(), &faults), Faulty::new(store, &faults));
        faults.on_step(2, Fault::CrashAfter);

        process.0.days(Feed::AuditEvents).await.unwrap();
        process.1.streams().await.unwrap_err();
        process.0.days(Feed::AuditEvents).await.unwrap_err();

        assert_eq!((faults.steps(), archive.calls(Operation::Days)), (2, 1));
        Faulty::new(archive, &Faults::default()).days(Feed::AuditEvents).await.unwrap();
    }

    #[tokio::test]
    async fn a_gate_holds_two_processes_before_their_effect() {
        let archive = MemoryArchive::default();
        let gate = Gate::new();
        let writers = [0, 1].map(|_| {
            let faults = Faults::default();
            faults.on(Operation::Quarantine, 1, Fault::Hold(gate.clone()));
            let process = Faulty::new(archive.clone(), &faults);
            tokio::spawn(async move { process.quarantine("q", Bytes::from_static(b"x")).await })
        });

        gate.reached(2).await;
        assert!(archive.quarantined().is_empty());
        gate.open();

        for writer in writers {
            writer.await.unwrap().unwrap();
        }
        assert_eq!(archive.quarantined().len(), 1);
    }
}
