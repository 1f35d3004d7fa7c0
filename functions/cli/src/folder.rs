//! An archive in a local folder.
//!
//! An object is staged as a file in `<root>/.staged/` and published by a rename
//! that never replaces. Everything is synced before it is acknowledged, and what
//! another process has published is synced before it is called published.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use jiff::Timestamp;
use oplake_core::archive::{Archive, ArchiveError, Completion, Listed, Look, Object, Staged};
use oplake_core::checkpoint::CommitId;
use oplake_core::feed::{Feed, Stream};
use oplake_core::partition::{Day, Prefix};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

/// Where staged files stand. No key starts with a dot.
const STAGED: &str = ".staged";

/// How long a staged file is kept: as long as a bucket's lifecycle rule keeps
/// an upload that nobody completes.
const STAGED_FOR: Duration = Duration::from_hours(7 * 24);

/// An archive in a folder of a file system that can rename without replacing,
/// or else make hard links. Clones are the same archive.
#[derive(Debug, Clone)]
pub struct FolderArchive {
    location: String,
    prefix: Prefix,
    folder: Arc<Folder>,
}

impl FolderArchive {
    /// Opens the archive in `root`, which is made if it is missing, and removes
    /// what was staged there more than seven days before `now`.
    ///
    /// Its location is the absolute path of `root`, without symbolic links, then
    /// `/`, then `prefix`.
    ///
    /// # Errors
    ///
    /// [`ArchiveError::Unusable`] if nothing can be written and published there.
    pub async fn open(root: &Path, prefix: Prefix, now: Timestamp) -> Result<Self, ArchiveError> {
        let (path, name) = (root.to_owned(), root.display().to_string());
        let unusable = |source: io::Error| ArchiveError::Unusable {
            location: name.clone(),
            reason: match source.kind() {
                ErrorKind::Unsupported => {
                    "its file system can neither rename without replacing nor make hard links; \
                     choose a folder on another one"
                }
                ErrorKind::InvalidFilename => "its path is not UTF-8; choose another folder",
                _ => "choose a folder that this user may create or write to",
            }
            .to_owned(),
            source: source.into(),
        };
        let opened = tokio::task::spawn_blocking(move || Folder::open(&path, now.into())).await;
        let folder =
            opened.map_err(io::Error::other).and_then(|opened| opened).map_err(unusable)?;
        let root = folder.root.to_str().unwrap_or_default().trim_end_matches('/');
        Ok(Self { location: format!("{root}/{prefix}"), prefix, folder: Arc::new(folder) })
    }

    /// Makes a blocking call that is told as `operation` on `key` if it fails.
    async fn call<T: Send + 'static>(
        &self,
        operation: &'static str,
        key: &str,
        work: impl FnOnce(&Folder) -> io::Result<T> + Send + 'static,
    ) -> Result<T, ArchiveError> {
        let folder = Arc::clone(&self.folder);
        let outcome = tokio::task::spawn_blocking(move || work(&folder)).await;
        outcome.map_err(io::Error::other).and_then(|outcome| outcome).map_err(|source| {
            let key = key.to_owned();
            match source.kind() {
                ErrorKind::PermissionDenied
                | ErrorKind::ReadOnlyFilesystem
                | ErrorKind::InvalidInput => {
                    ArchiveError::Denied { operation, key, source: source.into() }
                }
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => ArchiveError::Unusable {
                    location: self.location.clone(),
                    reason: "there is no space left; make some and run again".to_owned(),
                    source: source.into(),
                },
                _ => ArchiveError::Unknown { operation, key, source: source.into() },
            }
        })
    }
}

impl Archive for FolderArchive {
    fn location(&self) -> &str {
        &self.location
    }

    async fn stage(&self, object: &Object, commit: &CommitId) -> Result<Staged, ArchiveError> {
        let upload_id = format!("{commit}-{}", CommitId::random());
        let (body, crc32, name) = (object.body.clone(), object.crc32, upload_id.clone());
        self.call("stage", &object.key, move |folder| {
            if crc32fast::hash(&body) != crc32 {
                return Err(io::Error::other("the body does not match its CRC-32"));
            }
            folder.stage(&name, &body)
        })
        .await?;
        Ok(Staged {
            key: object.key.clone(),
            upload_id,
            etag: String::new(),
            crc32,
            size: object.body.len() as u64,
            events: object.events,
        })
    }

    async fn complete(&self, staged: &Staged) -> Result<Completion, ArchiveError> {
        let (key, upload_id) = (staged.key.clone(), staged.upload_id.clone());
        self.call("publish", &staged.key, move |folder| folder.publish(&upload_id, &key)).await
    }

    async fn look(&self, staged: &Staged, commit: &CommitId) -> Result<Look, ArchiveError> {
        let (staged, commit) = (staged.clone(), commit.clone());
        let key = staged.key.clone();
        self.call("look at", &key, move |folder| folder.look(&staged, &commit)).await
    }

    async fn abort(&self, staged: &Staged) -> Result<(), ArchiveError> {
        let upload_id = staged.upload_id.clone();
        self.call("abort the upload of", &staged.key, move |folder| folder.abort(&upload_id)).await
    }

    async fn quarantine(&self, key: &str, body: Bytes) -> Result<(), ArchiveError> {
        let path = key.to_owned();
        self.call("quarantine", key, move |folder| {
            let name = format!("quarantine-{}", CommitId::random());
            folder.stage(&name, &body)?;
            if folder.publish(&name, &path)? == Completion::Taken {
                folder.abort(&name)?;
                folder.sync_parents(&folder.path(&path)?)?;
            }
            Ok(())
        })
        .await
    }

    async fn set_aside(&self, key: &str) -> Result<(), ArchiveError> {
        let from = key.to_owned();
        self.call("move", key, move |folder| {
            let to = folder.path(&format!("quarantine/{from}"))?;
            fs::create_dir_all(to.parent().unwrap_or(&folder.root))?;
            let from = folder.path(&from)?;
            fs::rename(&from, &to)?;
            folder.sync_parents(&to)?;
            folder.sync_parents(&from)
        })
        .await
    }

    async fn days(&self, feed: Feed) -> Result<Vec<Day>, ArchiveError> {
        let prefix = self.prefix.feed(feed);
        let path = prefix.clone();
        self.call("list", &prefix, move |folder| {
            let names = folder.names(&folder.root.join(path))?;
            Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
        })
        .await
    }

    async fn list(&self, stream: &Stream, day: Day) -> Result<Vec<Listed>, ArchiveError> {
        let prefix = self.prefix.day(stream, day);
        let path = prefix.clone();
        self.call("list", &prefix, move |folder| {
            let mut objects = Vec::new();
            for name in folder.names(&folder.root.join(&path))? {
                let key = format!("{path}{name}");
                let found = fs::metadata(folder.path(&key)?)?;
                if found.is_file() {
                    objects.push(Listed { key, size: found.len() });
                }
            }
            Ok(objects)
        })
        .await
    }

    async fn read(&self, key: &str) -> Result<Bytes, ArchiveError> {
        let path = key.to_owned();
        let read = move |folder: &Folder| match fs::read(folder.path(&path)?) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Err(error)),
            outcome => outcome.map(Ok),
        };
        self.call("read", key, read).await?.map(Bytes::from).map_err(|missing| {
            ArchiveError::Unreadable { key: key.to_owned(), source: missing.into() }
        })
    }
}

/// The blocking side.
#[derive(Debug)]
struct Folder {
    /// Absolute, without symbolic links, UTF-8.
    root: PathBuf,
}

impl Folder {
    fn open(root: &Path, now: SystemTime) -> io::Result<Self> {
        fs::create_dir_all(root.join(STAGED))?;
        let root = root.canonicalize()?;
        if root.to_str().is_none() {
            return Err(ErrorKind::InvalidFilename.into());
        }
        // The root may have been made just now, with folders above it.
        for folder in root.join(STAGED).ancestors().skip(1) {
            match sync(folder) {
                // Not every folder above may be opened by us.
                Err(error) if folder != root && error.kind() == ErrorKind::PermissionDenied => {}
                outcome => outcome?,
            }
        }
        let folder = Self { root };
        folder.probe()?;
        folder.expire(now)?;
        Ok(folder)
    }

    /// Writes and publishes a file, to tell now what would fail later.
    fn probe(&self) -> io::Result<()> {
        let [from, to] =
            [(); 2].map(|()| self.root.join(STAGED).join(format!("probe-{}", CommitId::random())));
        File::create_new(&from)?;
        let moved = rename_new(&from, &to);
        fs::remove_file(if moved.is_ok() { to } else { from })?;
        moved.map_err(|error| match error.kind() {
            ErrorKind::PermissionDenied | ErrorKind::Unsupported => ErrorKind::Unsupported.into(),
            _ => error,
        })
    }

    fn expire(&self, now: SystemTime) -> io::Result<()> {
        for name in self.names(&self.root.join(STAGED))? {
            let path = self.staged(&name)?;
            // Another process may be a step ahead: what is gone is as we want it.
            let written = fs::metadata(&path).and_then(|found| found.modified());
            if written.is_ok_and(|at| now.duration_since(at).is_ok_and(|age| age > STAGED_FOR)) {
                gone(fs::remove_file(path))?;
            }
        }
        Ok(())
    }

    /// The file of `key`, which cannot lead out of the root nor to what is staged.
    fn path(&self, key: &str) -> io::Result<PathBuf> {
        let legal = |part| matches!(part, Component::Normal(name) if !name.as_encoded_bytes().starts_with(b"."));
        if key.is_empty() || !Path::new(key).components().all(legal) {
            return Err(io::Error::new(ErrorKind::InvalidInput, "not a key of this archive"));
        }
        Ok(self.root.join(key))
    }

    fn staged(&self, upload_id: &str) -> io::Result<PathBuf> {
        if upload_id.is_empty() || upload_id.starts_with('.') || upload_id.contains('/') {
            return Err(io::Error::new(ErrorKind::InvalidInput, "not an upload of this archive"));
        }
        Ok(self.root.join(STAGED).join(upload_id))
    }

    fn stage(&self, upload_id: &str, body: &[u8]) -> io::Result<()> {
        let path = self.staged(upload_id)?;
        let mut file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        let written = file
            .write_all(body)
            .and_then(|()| file.sync_all())
            .and_then(|()| sync(&self.root.join(STAGED)));
        if written.is_err() {
            // Nobody will name the file; at worst it expires.
            fs::remove_file(path).ok();
        }
        written
    }

    fn publish(&self, upload_id: &str, key: &str) -> io::Result<Completion> {
        let (from, to) = (self.staged(upload_id)?, self.path(key)?);
        if !from.try_exists()? {
            return self.unless_vanished(Completion::NoUpload);
        }
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        // The way to the object must be durable before the object leaves
        // `.staged`, whoever has made it.
        self.sync_parents(&to)?;
        match rename_new(&from, &to) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Completion::Taken),
            // Another process was faster.
            Err(error) if error.kind() == ErrorKind::NotFound && !from.try_exists()? => {
                self.unless_vanished(Completion::NoUpload)
            }
            Err(error) => Err(error),
            Ok(()) => {
                self.sync_parents(&to)?;
                sync(&self.root.join(STAGED))?;
                Ok(Completion::Done)
            }
        }
    }

    fn look(&self, staged: &Staged, commit: &CommitId) -> io::Result<Look> {
        let path = self.path(&staged.key)?;
        let found = match fs::metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return self.unless_vanished(Look::Absent);
            }
            found => found?,
        };
        let named =
            path.file_name().is_some_and(|name| name.to_string_lossy().contains(commit.as_str()));
        if !named || !found.is_file() || found.len() != staged.size || crc32(&path)? != staged.crc32
        {
            return Ok(Look::Foreign);
        }
        // The process that renamed it may have died before it synced the rename.
        self.sync_parents(&path)?;
        Ok(Look::Published)
    }

    fn abort(&self, upload_id: &str) -> io::Result<()> {
        gone(fs::remove_file(self.staged(upload_id)?))
    }

    /// Names in a folder, in order; none if the folder is missing. Names that
    /// start with a dot or are not UTF-8 are none of ours.
    fn names(&self, folder: &Path) -> io::Result<BTreeSet<String>> {
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return self.unless_vanished(BTreeSet::new());
            }
            entries => entries?,
        };
        let mut names = BTreeSet::new();
        for entry in entries {
            names.extend(
                entry?.file_name().into_string().ok().filter(|name| !name.starts_with('.')),
            );
        }
        Ok(names)
    }

    /// `answer`, which says that something is not there, unless the archive
    /// itself is not: an unmounted disk is no empty lake.
    fn unless_vanished<T>(&self, answer: T) -> io::Result<T> {
        if self.root.join(STAGED).try_exists()? {
            Ok(answer)
        } else {
            Err(io::Error::other("the archive's folder has vanished while it was in use"))
        }
    }

    /// Syncs every folder from the one that holds `path` up to the root.
    fn sync_parents(&self, path: &Path) -> io::Result<()> {
        path.ancestors()
            .skip(1)
            .take_while(|folder| folder.starts_with(&self.root))
            .try_for_each(sync)
    }
}

fn sync(folder: &Path) -> io::Result<()> {
    match File::open(folder)?.sync_all() {
        // The answer of file systems that sync no folders; they can do no better.
        Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(()),
        outcome => outcome,
    }
}

/// Takes "not found" for success.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

fn crc32(path: &Path) -> io::Result<u32> {
    let (mut file, mut hasher) = (File::open(path)?, crc32fast::Hasher::new());
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finalize()),
            read => hasher.update(&buffer[..read]),
        }
    }
}

/// Moves `from` to `to` unless something is there.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // What file systems and kernels without the flag answer.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => link_new(from, to),
        outcome => Ok(outcome?),
    }
}

/// The same in two steps: a death in between leaves `to` in place and `from`
/// beside it, which a second try finds taken.
fn link_new(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to)?;
    gone(fs::remove_file(from))
}

#[cfg(test)]
mod tests {
    use oplake_core::error::chain;
    use oplake_core::testing::contract;

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    async fn open(root: &Path) -> FolderArchive {
        FolderArchive::open(root, Prefix::default(), NOW).await.unwrap()
    }

    fn staged_files(root: &Path) -> usize {
        fs::read_dir(root.join(STAGED)).unwrap().count()
    }

    #[tokio::test]
    async fn a_folder_meets_the_contract() {
        let root = tempfile::tempdir().unwrap();
        let archive = open(&root.path().join("not/there/yet")).await;
        contract::archive::all(&archive, &Prefix::default()).await;

        let bare: Prefix = "".parse().unwrap();
        let archive = FolderArchive::open(root.path(), bare.clone(), NOW).await.unwrap();
        contract::archive::all(&archive, &bare).await;
    }

    #[tokio::test]
    async fn what_was_staged_is_published_after_a_restart() {
        let root = tempfile::tempdir().unwrap();
        let commit = CommitId::random();
        let object = contract::archive::object(&format!("k/{commit}.json.gz"), b"body");
        let staged = open(root.path()).await.stage(&object, &commit).await.unwrap();
        assert!(staged.upload_id.starts_with(commit.as_str()));

        let restarted = open(root.path()).await;
        assert_eq!(restarted.look(&staged, &commit).await.unwrap(), Look::Absent);
        assert_eq!(restarted.complete(&staged).await.unwrap(), Completion::Done);

        let restarted = open(root.path()).await;
        assert_eq!(restarted.complete(&staged).await.unwrap(), Completion::NoUpload);
        assert_eq!(restarted.look(&staged, &commit).await.unwrap(), Look::Published);
        assert_eq!(staged_files(root.path()), 0);
    }

    #[tokio::test]
    async fn an_altered_object_is_foreign() {
        let root = tempfile::tempdir().unwrap();
        let archive = open(root.path()).await;
        let commit = CommitId::random();
        let object = contract::archive::object(&format!("k/{commit}.json.gz"), b"body");
        let staged = archive.stage(&object, &commit).await.unwrap();
        archive.complete(&staged).await.unwrap();

        fs::write(root.path().join(&staged.key), b"BODY").unwrap();

        assert_eq!(archive.look(&staged, &commit).await.unwrap(), Look::Foreign);
    }

    #[tokio::test]
    async fn the_location_does_not_depend_on_the_way_there() {
        let root = tempfile::tempdir().unwrap();
        let direct = open(&root.path().join("lake")).await;
        std::os::unix::fs::symlink(root.path().join("lake"), root.path().join("link")).unwrap();
        let roundabout = open(&root.path().join("lake/../link/.")).await;
        let path = root.path().canonicalize().unwrap();
        assert_eq!(direct.location(), format!("{}/lake/onepassword/v1/", path.display()));
        assert_eq!(roundabout.location(), direct.location());
    }

    #[tokio::test]
    async fn a_root_that_cannot_be_made_says_what_to_do() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        let below = file.join("lake");
        let error = FolderArchive::open(&below, Prefix::default(), NOW).await.unwrap_err();
        assert_eq!(error.code(), "Archive.Unusable");
        let told = chain(&error);
        assert!(
            told.contains(below.to_str().unwrap()) && told.contains("choose a folder"),
            "{told}"
        );
    }

    #[tokio::test]
    async fn only_what_was_staged_long_ago_expires() {
        let root = tempfile::tempdir().unwrap();
        let archive = open(root.path()).await;
        let object = contract::archive::object("k/1.json.gz", b"x");
        let staged = archive.stage(&object, &CommitId::random()).await.unwrap();
        let path = root.path().join(STAGED).join(&staged.upload_id);
        let written = Timestamp::try_from(fs::metadata(path).unwrap().modified().unwrap()).unwrap();

        for (days, left) in [(-30, 1), (6, 1), (8, 0)] {
            let now = written + jiff::SignedDuration::from_hours(24 * days);
            FolderArchive::open(root.path(), Prefix::default(), now).await.unwrap();
            assert_eq!(staged_files(root.path()), left, "after {days} days");
        }

        assert_eq!(archive.complete(&staged).await.unwrap(), Completion::NoUpload);
    }

    #[tokio::test]
    async fn a_vanished_folder_is_no_empty_lake() {
        let root = tempfile::tempdir().unwrap();
        let archive = open(&root.path().join("lake")).await;
        let commit = CommitId::random();
        let object = contract::archive::object(&format!("k/{commit}.json.gz"), b"x");
        let staged = archive.stage(&object, &commit).await.unwrap();

        fs::rename(root.path().join("lake"), root.path().join("elsewhere")).unwrap();

        archive.complete(&staged).await.unwrap_err();
        archive.look(&staged, &commit).await.unwrap_err();
        archive.days(Feed::AuditEvents).await.unwrap_err();
    }

    #[tokio::test]
    async fn keys_and_uploads_cannot_lead_elsewhere() {
        let root = tempfile::tempdir().unwrap();
        let archive = open(root.path()).await;
        for key in ["", "/etc/passwd", "../x", "a/../../x", ".staged/x", "a/.b"] {
            let error = archive.read(key).await.unwrap_err();
            assert_eq!(error.code(), "Archive.Denied", "{key}");
        }
        let object = contract::archive::object("k/1.json.gz", b"x");
        let staged = archive.stage(&object, &CommitId::random()).await.unwrap();
        for upload_id in ["", "..", "../k", "/etc/passwd"] {
            let staged = Staged { upload_id: upload_id.to_owned(), ..staged.clone() };
            assert_eq!(archive.abort(&staged).await.unwrap_err().code(), "Archive.Denied");
            assert_eq!(archive.complete(&staged).await.unwrap_err().code(), "Archive.Denied");
        }
    }

    #[test]
    fn both_ways_to_publish_never_replace() {
        let root = tempfile::tempdir().unwrap();
        for (name, publish) in
            [("rename", rename_new as fn(&Path, &Path) -> io::Result<()>), ("link", link_new)]
        {
            let path = |n| root.path().join(format!("{name}-{n}"));
            fs::write(path("first"), "first").unwrap();
            fs::write(path("second"), "second").unwrap();

            publish(&path("first"), &path("object")).unwrap();
            let taken = publish(&path("second"), &path("object")).unwrap_err();
            let missing = publish(&path("first"), &path("other")).unwrap_err();

            assert_eq!(taken.kind(), ErrorKind::AlreadyExists, "{name}");
            assert_eq!(missing.kind(), ErrorKind::NotFound, "{name}");
            assert_eq!(fs::read(path("object")).unwrap(), b"first");
            assert!(path("second").exists() && !path("first").exists());
        }
    }

    #[test]
    fn a_death_between_link_and_unlink_is_found_taken() {
        let root = tempfile::tempdir().unwrap();
        let (from, to) = (root.path().join("staged"), root.path().join("object"));
        fs::write(&from, "body").unwrap();
        fs::hard_link(&from, &to).unwrap();
        for publish in [rename_new, link_new] {
            assert_eq!(publish(&from, &to).unwrap_err().kind(), ErrorKind::AlreadyExists);
        }
        fs::remove_file(&from).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"body");
    }
}
