//! The ports in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::Operation;
use crate::archive::{Archive, ArchiveError, Completion, Listed, Look, Object, Staged};
use crate::checkpoint::{CheckpointError, CheckpointStore, CommitId, Row};
use crate::feed::{Feed, Stream};
use crate::partition::{Day, Prefix};
use crate::token::{Secret, TokenError, TokenSource};

/// State that outlives a process: every clone of a handle sees the same.
#[derive(Debug, Default)]
struct Shared<S>(Arc<Mutex<Counted<S>>>);

#[derive(Debug, Default)]
struct Counted<S> {
    state: S,
    calls: BTreeMap<Operation, u64>,
}

impl<S> Clone for Shared<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S> Shared<S> {
    fn lock(&self) -> MutexGuard<'_, Counted<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call, then lets `effect` take place as one step.
    async fn call<T>(&self, operation: Operation, effect: impl FnOnce(&mut S) -> T) -> T {
        // Other tasks run in between, as they would during a real request.
        tokio::task::yield_now().await;
        let mut counted = self.lock();
        *counted.calls.entry(operation).or_default() += 1;
        effect(&mut counted.state)
    }

    fn calls(&self, operation: Operation) -> u64 {
        self.lock().calls.get(&operation).copied().unwrap_or_default()
    }
}

/// An archive that lives as long as its last handle.
///
/// It takes the harsher of the answers that S3 may give: a second completion
/// finds no upload, and an upload whose key is taken stays in flight.
#[derive(Debug, Clone)]
pub struct MemoryArchive {
    location: String,
    prefix: Prefix,
    shared: Shared<Contents>,
}

#[derive(Debug, Default)]
struct Contents {
    uploads: BTreeMap<String, (Staged, Stored)>,
    uploads_ever: u64,
    objects: BTreeMap<String, Stored>,
    quarantined: BTreeMap<String, Bytes>,
}

#[derive(Debug, Clone)]
struct Stored {
    /// `None` for what a test has put there by hand.
    commit: Option<CommitId>,
    body: Bytes,
}

impl MemoryArchive {
    /// An empty archive whose location is `memory://<name>/<prefix>`.
    #[must_use]
    pub fn new(name: &str, prefix: Prefix) -> Self {
        Self { location: format!("memory://{name}/{prefix}"), prefix, shared: Shared::default() }
    }

    /// The prefix of its keys.
    #[must_use]
    pub const fn prefix(&self) -> &Prefix {
        &self.prefix
    }

    /// The published objects by key.
    #[must_use]
    pub fn objects(&self) -> BTreeMap<String, Bytes> {
        let counted = self.shared.lock();
        let objects = counted.state.objects.iter();
        objects.map(|(key, stored)| (key.clone(), stored.body.clone())).collect()
    }

    /// What is staged and neither completed nor aborted.
    #[must_use]
    pub fn uploads(&self) -> Vec<Staged> {
        self.shared.lock().state.uploads.values().map(|(staged, _)| staged.clone()).collect()
    }

    /// The quarantined records by key.
    #[must_use]
    pub fn quarantined(&self) -> BTreeMap<String, Bytes> {
        self.shared.lock().state.quarantined.clone()
    }

    /// How often `operation` was called.
    #[must_use]
    pub fn calls(&self, operation: Operation) -> u64 {
        self.shared.calls(operation)
    }

    /// Drops every upload in flight, as a bucket's lifecycle rule does.
    pub fn expire_uploads(&self) {
        self.shared.lock().state.uploads.clear();
    }

    /// Puts an object of no commit at `key`, whatever is there.
    pub fn put(&self, key: &str, body: impl Into<Bytes>) {
        let stored = Stored { commit: None, body: body.into() };
        self.shared.lock().state.objects.insert(key.to_owned(), stored);
    }

    /// Takes the object at `key` away.
    pub fn remove(&self, key: &str) {
        self.shared.lock().state.objects.remove(key);
    }
}

impl Default for MemoryArchive {
    fn default() -> Self {
        Self::new("lake", Prefix::default())
    }
}

impl Archive for MemoryArchive {
    fn location(&self) -> &str {
        &self.location
    }

    async fn stage(&self, object: &Object, commit: &CommitId) -> Result<Staged, ArchiveError> {
        let stage = |contents: &mut Contents| {
            if crc32fast::hash(&object.body) != object.crc32 {
                return Err(ArchiveError::Unknown {
                    operation: "stage",
                    key: object.key.clone(),
                    source: "the body does not match its CRC-32".into(),
                });
            }
            contents.uploads_ever += 1;
            let upload_id = format!("upload-{}", contents.uploads_ever);
            let staged = Staged {
                key: object.key.clone(),
                upload_id: upload_id.clone(),
                etag: format!("\"{:08x}\"", object.crc32),
                crc32: object.crc32,
                size: object.body.len() as u64,
                events: object.events,
            };
            let stored = Stored { commit: Some(commit.clone()), body: object.body.clone() };
            contents.uploads.insert(upload_id, (staged.clone(), stored));
            Ok(staged)
        };
        self.shared.call(Operation::Stage, stage).await
    }

    async fn complete(&self, staged: &Staged) -> Result<Completion, ArchiveError> {
        let complete = |contents: &mut Contents| {
            if !contents.uploads.contains_key(&staged.upload_id) {
                return Completion::NoUpload;
            }
            if contents.objects.contains_key(&staged.key) {
                return Completion::Taken;
            }
            if let Some((_, stored)) = contents.uploads.remove(&staged.upload_id) {
                contents.objects.insert(staged.key.clone(), stored);
            }
            Completion::Done
        };
        Ok(self.shared.call(Operation::Complete, complete).await)
    }

    async fn look(&self, staged: &Staged, commit: &CommitId) -> Result<Look, ArchiveError> {
        let look = |contents: &mut Contents| match contents.objects.get(&staged.key) {
            None => Look::Absent,
            Some(Stored { commit: Some(found), body })
                if found == commit && body.len() as u64 == staged.size =>
            {
                Look::Published
            }
            Some(_) => Look::Foreign,
        };
        Ok(self.shared.call(Operation::Look, look).await)
    }

    async fn abort(&self, staged: &Staged) -> Result<(), ArchiveError> {
        let abort = |contents: &mut Contents| {
            contents.uploads.remove(&staged.upload_id);
        };
        self.shared.call(Operation::Abort, abort).await;
        Ok(())
    }

    async fn quarantine(&self, key: &str, body: Bytes) -> Result<(), ArchiveError> {
        let quarantine = |contents: &mut Contents| {
            contents.quarantined.entry(key.to_owned()).or_insert(body);
        };
        self.shared.call(Operation::Quarantine, quarantine).await;
        Ok(())
    }

    async fn set_aside(&self, key: &str) -> Result<(), ArchiveError> {
        let set_aside = |contents: &mut Contents| {
            if let Some(stored) = contents.objects.remove(key) {
                contents.quarantined.insert(format!("quarantine/{key}"), stored.body);
            }
        };
        self.shared.call(Operation::SetAside, set_aside).await;
        Ok(())
    }

    async fn days(&self, feed: Feed) -> Result<Vec<Day>, ArchiveError> {
        let prefix = self.prefix.feed(feed);
        let days = |contents: &mut Contents| {
            let keys = contents.objects.keys().filter_map(|key| key.strip_prefix(&prefix));
            let days = keys.filter_map(|rest| rest.split('/').next()?.parse().ok());
            days.collect::<BTreeSet<_>>().into_iter().collect()
        };
        Ok(self.shared.call(Operation::Days, days).await)
    }

    async fn list(&self, stream: &Stream, day: Day) -> Result<Vec<Listed>, ArchiveError> {
        let prefix = self.prefix.day(stream, day);
        let list = |contents: &mut Contents| {
            let objects = contents.objects.iter().filter(|(key, _)| key.starts_with(&prefix));
            let listed = objects
                .map(|(key, stored)| Listed { key: key.clone(), size: stored.body.len() as u64 });
            listed.collect()
        };
        Ok(self.shared.call(Operation::List, list).await)
    }

    async fn read(&self, key: &str) -> Result<Bytes, ArchiveError> {
        let read = |contents: &mut Contents| {
            let object = contents.objects.get(key).map(|stored| stored.body.clone());
            object.or_else(|| contents.quarantined.get(key).cloned())
        };
        self.shared.call(Operation::Read, read).await.ok_or_else(|| ArchiveError::Unreadable {
            key: key.to_owned(),
            source: "there is no such object".into(),
        })
    }
}

/// A checkpoint store that lives as long as its last handle.
#[derive(Debug, Clone)]
pub struct MemoryCheckpoints {
    table: String,
    shared: Shared<BTreeMap<Stream, Row>>,
}

impl MemoryCheckpoints {
    /// An empty store whose table is `memory://<name>`.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { table: format!("memory://{name}"), shared: Shared::default() }
    }

    /// Every row.
    #[must_use]
    pub fn rows(&self) -> BTreeMap<Stream, Row> {
        self.shared.lock().state.clone()
    }

    /// How often `operation` was called.
    #[must_use]
    pub fn calls(&self, operation: Operation) -> u64 {
        self.shared.calls(operation)
    }

    /// Puts `row` in place, whatever is there, as a restored backup does.
    pub fn put(&self, stream: &Stream, row: Row) {
        self.shared.lock().state.insert(stream.clone(), row);
    }
}

impl Default for MemoryCheckpoints {
    fn default() -> Self {
        Self::new("checkpoints")
    }
}

impl CheckpointStore for MemoryCheckpoints {
    fn table(&self) -> &str {
        &self.table
    }

    async fn load(&self, stream: &Stream) -> Result<Option<Row>, CheckpointError> {
        Ok(self.shared.call(Operation::Load, |rows| rows.get(stream).cloned()).await)
    }

    async fn commit(
        &self,
        stream: &Stream,
        expected: Option<&CommitId>,
        row: &Row,
    ) -> Result<(), CheckpointError> {
        let commit = |rows: &mut BTreeMap<Stream, Row>| {
            if rows.get(stream).map(|stored| &stored.commit_id) != expected {
                return Err(CheckpointError::Conflict { stream: stream.clone() });
            }
            rows.insert(stream.clone(), row.clone());
            Ok(())
        };
        self.shared.call(Operation::Commit, commit).await
    }

    async fn remove(&self, stream: &Stream, expected: &CommitId) -> Result<(), CheckpointError> {
        let remove = |rows: &mut BTreeMap<Stream, Row>| {
            if rows.get(stream).map(|stored| &stored.commit_id) != Some(expected) {
                return Err(CheckpointError::Conflict { stream: stream.clone() });
            }
            rows.remove(stream);
            Ok(())
        };
        self.shared.call(Operation::Remove, remove).await
    }

    async fn streams(&self) -> Result<Vec<Stream>, CheckpointError> {
        Ok(self.shared.call(Operation::Streams, |rows| rows.keys().cloned().collect()).await)
    }
}

/// A token source that gives what it was told.
#[derive(Debug, Clone, Default)]
pub struct FixedTokens(Shared<Option<Secret>>);

impl FixedTokens {
    /// A source that gives `text`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let tokens = Self::default();
        tokens.replace(text);
        tokens
    }

    /// Rotates: from now on `text` is given.
    pub fn replace(&self, text: &str) {
        self.0.lock().state = Some(Secret::new(text.to_owned()));
    }

    /// How often the secret was read.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.0.calls(Operation::ReadToken)
    }
}

impl TokenSource for FixedTokens {
    async fn read(&self) -> Result<Secret, TokenError> {
        self.0
            .call(Operation::ReadToken, |secret| secret.clone())
            .await
            .ok_or_else(|| TokenError::Missing { hint: "give the test one".to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract;
    use super::*;

    #[tokio::test]
    async fn the_memory_archive_meets_the_contract() {
        let archive = MemoryArchive::default();
        contract::archive::all(&archive, archive.prefix()).await;

        let bare = MemoryArchive::new("bare", "".parse().unwrap());
        contract::archive::all(&bare, bare.prefix()).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn memory_checkpoints_meet_the_contract() {
        contract::checkpoints::all(&MemoryCheckpoints::default()).await;
    }

    #[tokio::test]
    async fn fixed_tokens_meet_the_contract() {
        let tokens = FixedTokens::new("old");
        contract::tokens::all(&tokens, &Secret::new("old".to_owned())).await;

        tokens.replace("new");
        contract::tokens::all(&tokens, &Secret::new("new".to_owned())).await;

        FixedTokens::default().read().await.unwrap_err();
    }

    #[tokio::test]
    async fn a_clone_sees_the_same_state_and_counts() {
        let archive = MemoryArchive::default();
        let restarted = archive.clone();
        let object = contract::archive::object("k/1.json.gz", b"x");
        let staged = archive.stage(&object, &CommitId::random()).await.unwrap();
        assert_eq!(restarted.uploads(), std::slice::from_ref(&staged));
        assert_eq!(restarted.complete(&staged).await.unwrap(), Completion::Done);
        assert!(archive.uploads().is_empty());
        assert_eq!(archive.objects()["k/1.json.gz"], "x");
        assert_eq!(archive.calls(Operation::Complete), 1);
        assert_eq!(archive.calls(Operation::Look), 0);
    }
}
