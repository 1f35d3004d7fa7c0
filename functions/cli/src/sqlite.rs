//! Checkpoints in an SQLite file.
//!
//! The file holds one table with one row per stream, whose columns are the
//! attributes of a row. Any number of processes may use it at once.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use oplake_core::checkpoint::{
    CheckpointError, CheckpointStore, CommitId, Cursor, Position, ROW_VERSION, Row,
};
use oplake_core::error::BoxError;
use oplake_core::feed::Stream;
use oplake_core::newness::Marks;
use rusqlite::types::FromSql;
use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension, TransactionBehavior, named_params, params,
};

/// How long a call waits for other processes. They hold the file for a few
/// syncs, so this is reached only if one hangs.
const BUSY: Duration = Duration::from_secs(30);

// The journal mode is left at SQLite's DELETE: one file that can be copied and
// works on any file system, where WAL needs shared memory. In this mode a power
// loss can undo an acknowledged commit unless `synchronous` is EXTRA, which is
// FULL and a sync of the folder. `fullfsync` makes a sync one on macOS too.
const OPEN: &str = "\
PRAGMA synchronous = EXTRA;
PRAGMA fullfsync = ON;
CREATE TABLE IF NOT EXISTS checkpoints (
    account        TEXT NOT NULL,
    feed           TEXT NOT NULL,
    version        INTEGER NOT NULL,
    commit_id      TEXT NOT NULL,
    \"table\"        TEXT NOT NULL,
    archive        TEXT NOT NULL,
    account_uuid   TEXT,
    token_id       TEXT,
    cursor         TEXT,
    \"from\"         TEXT NOT NULL,
    staged         TEXT NOT NULL,
    high_water     TEXT NOT NULL,
    recent         BLOB NOT NULL,
    recent_from    INTEGER NOT NULL,
    complete_until TEXT,
    gaps           TEXT NOT NULL,
    resync         TEXT NOT NULL,
    updated_at     TEXT NOT NULL,
    PRIMARY KEY (account, feed)
) STRICT;";

const LOAD: &str = "\
SELECT version, commit_id, \"table\", archive, account_uuid, token_id, cursor, \"from\", staged,
       high_water, recent, recent_from, complete_until, gaps, resync, updated_at
FROM checkpoints WHERE account = :account AND feed = :feed";

/// Writes the row if the stored commit is `:expected`, which is null for none.
const COMMIT: &str = "\
INSERT OR REPLACE INTO checkpoints
      (account, feed, version, commit_id, \"table\", archive, account_uuid, token_id, cursor,
       \"from\", staged, high_water, recent, recent_from, complete_until, gaps, resync, updated_at)
SELECT :account, :feed, :version, :commit_id, :table, :archive, :account_uuid, :token_id, :cursor,
       :from, :staged, :high_water, :recent, :recent_from, :complete_until, :gaps, :resync,
       :updated_at
WHERE  (SELECT commit_id FROM checkpoints WHERE account = :account AND feed = :feed) IS :expected
AND NOT EXISTS (SELECT 1 FROM checkpoints
                WHERE account = :account AND feed = :feed AND version > :version)";

const REMOVE: &str = "\
DELETE FROM checkpoints
WHERE account = :account AND feed = :feed AND commit_id = :expected AND version <= :version";

const VERSION: &str = "SELECT version FROM checkpoints WHERE account = ?1 AND feed = ?2";

/// Checkpoints in an SQLite file. Clones share a connection.
#[derive(Debug, Clone)]
pub struct SqliteCheckpoints {
    table: String,
    connection: Arc<Mutex<Connection>>,
}

impl SqliteCheckpoints {
    /// Opens the file at `path`, which is made if it is missing; its folder is
    /// not.
    ///
    /// Its [`table`](CheckpointStore::table) is `sqlite://`, then the absolute
    /// path without symbolic links.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Unusable`] if the file is not a database of ours that
    /// can be written to, [`CheckpointError::Unknown`] if another process does
    /// not let go of it.
    pub async fn open(path: &Path) -> Result<Self, CheckpointError> {
        let (file, table) = (path.to_owned(), format!("sqlite://{}", path.display()));
        let (connection, table) = blocking(&table, move || {
            let connection = connect(&file)?;
            let canonical = file.canonicalize().map_err(Failure::bad_path)?;
            let name = canonical.to_str().ok_or_else(|| Failure::bad_path("it is not UTF-8"))?;
            Ok((connection, format!("sqlite://{name}")))
        })
        .await?;
        Ok(Self { table, connection: Arc::new(Mutex::new(connection)) })
    }

    async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, CheckpointError> {
        let connection = Arc::clone(&self.connection);
        blocking(&self.table, move || {
            work(&mut connection.lock().unwrap_or_else(PoisonError::into_inner))
        })
        .await
    }
}

fn connect(path: &Path) -> Result<Connection, Failure> {
    // Without the flag for URIs: a path is a path, whatever it looks like.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.execute_batch(OPEN)?;
    connection.prepare(LOAD).map_err(|source| Failure::Unusable {
        reason: "its table `checkpoints` is none of this program; choose another file",
        source: source.into(),
    })?;
    // A file that can only be read must be found out now, not after a stage.
    connection.execute_batch("BEGIN IMMEDIATE; ROLLBACK")?;
    Ok(connection)
}

/// Why a call failed, before the table's name is added.
enum Failure {
    Sqlite(rusqlite::Error),
    Unusable { reason: &'static str, source: BoxError },
    Checkpoint(CheckpointError),
}

impl Failure {
    fn bad_path(source: impl Into<BoxError>) -> Self {
        Self::Unusable {
            reason: "its path cannot be told; choose another file",
            source: source.into(),
        }
    }

    fn of(self, table: &str) -> CheckpointError {
        let (reason, source) = match self {
            Self::Checkpoint(error) => return error,
            Self::Unusable { reason, source } => (reason, source),
            Self::Sqlite(source) => {
                let reason = source.sqlite_error_code().and_then(advice);
                let source: BoxError = source.into();
                let Some(reason) = reason else {
                    return CheckpointError::Unknown { table: table.to_owned(), source };
                };
                (reason, source)
            }
        };
        CheckpointError::Unusable { table: table.to_owned(), reason: reason.to_owned(), source }
    }
}

/// What to do about an error that will not pass by itself.
const fn advice(code: ErrorCode) -> Option<&'static str> {
    match code {
        ErrorCode::CannotOpen => {
            Some("make its folder, and let this user read and write both, or choose another file")
        }
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied => {
            Some("let this user write to the file and its folder, or choose another file")
        }
        ErrorCode::NotADatabase => Some("the file is no SQLite database; choose another file"),
        ErrorCode::DatabaseCorrupt => Some(
            "the file is damaged; restore it, or move it away: a new one starts over and adds \
             only what the archive lacks",
        ),
        ErrorCode::DiskFull => Some("there is no space left; make some and run again"),
        _ => None,
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<CheckpointError> for Failure {
    fn from(error: CheckpointError) -> Self {
        Self::Checkpoint(error)
    }
}

async fn blocking<T: Send + 'static>(
    table: &str,
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, CheckpointError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome.map_err(|failure| failure.of(table)),
        Err(source) => {
            Err(CheckpointError::Unknown { table: table.to_owned(), source: source.into() })
        }
    }
}

impl CheckpointStore for SqliteCheckpoints {
    fn table(&self) -> &str {
        &self.table
    }

    async fn load(&self, stream: &Stream) -> Result<Option<Row>, CheckpointError> {
        let stream = stream.clone();
        self.call(move |connection| {
            let mut statement = connection.prepare(LOAD)?;
            let mut rows = statement.query(named_params! {
                ":account": stream.account.as_str(),
                ":feed": stream.feed.as_str(),
            })?;
            let row = rows.next()?.map(|row| Stored { stream: &stream, row }.decode());
            Ok(row.transpose()?)
        })
        .await
    }

    async fn commit(
        &self,
        stream: &Stream,
        expected: Option<&CommitId>,
        row: &Row,
    ) -> Result<(), CheckpointError> {
        let (stream, expected, row) = (stream.clone(), expected.cloned(), row.clone());
        let unencoded = |source: serde_json::Error| CheckpointError::Unknown {
            table: self.table.clone(),
            source: source.into(),
        };
        let staged = serde_json::to_string(&row.staged).map_err(unencoded)?;
        let gaps = serde_json::to_string(&row.gaps).map_err(unencoded)?;
        let resync = serde_json::to_string(&row.resync).map_err(unencoded)?;
        self.call(move |connection| {
            let swap = named_params! {
                ":account": stream.account.as_str(),
                ":feed": stream.feed.as_str(),
                ":expected": expected.as_ref().map(CommitId::as_str),
                ":version": ROW_VERSION,
                ":commit_id": row.commit_id.as_str(),
                ":table": row.table,
                ":archive": row.archive,
                ":account_uuid": row.account_uuid,
                ":token_id": row.token_id,
                ":cursor": row.cursor.as_ref().map(Cursor::expose),
                ":from": row.from.encode(),
                ":staged": staged,
                ":high_water": row.marks.high_water.to_string(),
                ":recent": row.marks.encode_recent(),
                ":recent_from": row.marks.recent_from(),
                ":complete_until": row.complete_until.map(|time| time.to_string()),
                ":gaps": gaps,
                ":resync": resync,
                ":updated_at": row.updated_at.to_string(),
            };
            swap_row(connection, &stream, COMMIT, swap)
        })
        .await
    }

    async fn remove(&self, stream: &Stream, expected: &CommitId) -> Result<(), CheckpointError> {
        let (stream, expected) = (stream.clone(), expected.clone());
        self.call(move |connection| {
            let swap = named_params! {
                ":account": stream.account.as_str(),
                ":feed": stream.feed.as_str(),
                ":expected": expected.as_str(),
                ":version": ROW_VERSION,
            };
            swap_row(connection, &stream, REMOVE, swap)
        })
        .await
    }

    async fn streams(&self) -> Result<Vec<Stream>, CheckpointError> {
        self.call(|connection| {
            let mut statement = connection.prepare("SELECT account, feed FROM checkpoints")?;
            let names = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let mut streams = Vec::new();
            for name in names {
                let (account, feed): (String, String) = name?;
                let stream =
                    account.parse().and_then(|account| Ok(Stream { account, feed: feed.parse()? }));
                streams.push(stream.map_err(|source| Failure::Unusable {
                    reason: "it holds a row of no stream; remove that row, or restore the file",
                    source: source.into(),
                })?);
            }
            Ok(streams)
        })
        .await
    }
}

/// Runs the conditional statement `sql` on the row of `stream`; a conflict if
/// its condition does not hold.
fn swap_row(
    connection: &mut Connection,
    stream: &Stream,
    sql: &str,
    parameters: &[(&str, &dyn rusqlite::ToSql)],
) -> Result<(), Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if transaction.execute(sql, parameters)? == 1 {
        return Ok(transaction.commit()?);
    }
    let key = params![stream.account.as_str(), stream.feed.as_str()];
    let version: Option<i64> = transaction.query_row(VERSION, key, |row| row.get(0)).optional()?;
    Err(match version {
        Some(version) => check_version(stream, version).err(),
        None => None,
    }
    .unwrap_or_else(|| CheckpointError::Conflict { stream: stream.clone() })
    .into())
}

fn check_version(stream: &Stream, version: i64) -> Result<(), CheckpointError> {
    match u32::try_from(version) {
        Ok(found) if found > ROW_VERSION => {
            Err(CheckpointError::Newer { stream: stream.clone(), found })
        }
        Ok(_) => Ok(()),
        Err(_) => Err(CheckpointError::Corrupt { stream: stream.clone(), attribute: "version" }),
    }
}

/// A row of [`LOAD`].
struct Stored<'a> {
    stream: &'a Stream,
    row: &'a rusqlite::Row<'a>,
}

impl Stored<'_> {
    fn decode(&self) -> Result<Row, CheckpointError> {
        check_version(self.stream, self.get("version")?)?;
        let recent: Vec<u8> = self.get("recent")?;
        let marks = Marks::decode(self.time("high_water")?, self.get("recent_from")?, &recent);
        let complete_until: Option<String> = self.get("complete_until")?;
        Ok(Row {
            commit_id: self.read("commit_id", |text| text.parse().ok())?,
            table: self.get("table")?,
            archive: self.get("archive")?,
            account_uuid: self.get("account_uuid")?,
            token_id: self.get("token_id")?,
            cursor: self.get::<Option<String>>("cursor")?.map(Cursor::new),
            from: self.read("from", Position::decode)?,
            staged: self.read("staged", |text| serde_json::from_str(text).ok())?,
            marks: marks.ok_or_else(|| self.corrupt("recent"))?,
            complete_until: complete_until.map(|_| self.time("complete_until")).transpose()?,
            gaps: self.read("gaps", |text| serde_json::from_str(text).ok())?,
            resync: self.read("resync", |text| serde_json::from_str(text).ok())?,
            updated_at: self.time("updated_at")?,
        })
    }

    fn get<T: FromSql>(&self, attribute: &'static str) -> Result<T, CheckpointError> {
        self.row.get(attribute).map_err(|_| self.corrupt(attribute))
    }

    fn read<T>(
        &self,
        attribute: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, CheckpointError> {
        read(&self.get::<String>(attribute)?).ok_or_else(|| self.corrupt(attribute))
    }

    fn time(&self, attribute: &'static str) -> Result<Timestamp, CheckpointError> {
        self.read(attribute, |text| text.parse().ok())
    }

    fn corrupt(&self, attribute: &'static str) -> CheckpointError {
        CheckpointError::Corrupt { stream: self.stream.clone(), attribute }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use oplake_core::error::chain;
    use oplake_core::feed::Feed;
    use oplake_core::testing::contract;
    use oplake_core::testing::contract::checkpoints::{full_row, minimal_row};

    use super::*;

    fn stream() -> Stream {
        Stream { account: "main".parse().unwrap(), feed: Feed::AuditEvents }
    }

    #[tokio::test]
    async fn an_sqlite_file_meets_the_contract() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoints.db");
        contract::checkpoints::all(&SqliteCheckpoints::open(&path).await.unwrap()).await;
        // And once more over what is there by now.
        contract::checkpoints::all(&SqliteCheckpoints::open(&path).await.unwrap()).await;
    }

    #[tokio::test]
    async fn rows_survive_the_process_and_are_seen_by_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoints.db");
        let store = SqliteCheckpoints::open(&path).await.unwrap();
        let other = SqliteCheckpoints::open(&folder.path().join("./checkpoints.db")).await.unwrap();
        let canonical = path.canonicalize().unwrap();
        assert_eq!(store.table(), format!("sqlite://{}", canonical.display()));
        assert_eq!(store.table(), other.table());

        let row = full_row(store.table());
        store.commit(&stream(), None, &row).await.unwrap();
        assert_eq!(other.load(&stream()).await.unwrap().as_ref(), Some(&row));
        drop((store, other));

        let reopened = SqliteCheckpoints::open(&path).await.unwrap();
        assert_eq!(reopened.load(&stream()).await.unwrap(), Some(row));
        assert_eq!(reopened.streams().await.unwrap(), [stream()]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn of_many_handles_one_wins() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoints.db");
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let path = path.clone();
            // Opening is part of the race: the first makes the table.
            tasks.spawn(async move {
                let store = SqliteCheckpoints::open(&path).await.unwrap();
                let row = minimal_row(store.table());
                store.commit(&stream(), None, &row).await.map(|()| row)
            });
        }
        let outcomes = tasks.join_all().await;

        let winners: Vec<&Row> = outcomes.iter().flatten().collect();
        let store = SqliteCheckpoints::open(&path).await.unwrap();
        assert_eq!(winners.len(), 1);
        assert_eq!(store.load(&stream()).await.unwrap().as_ref(), Some(winners[0]));
        for lost in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
            assert!(matches!(lost, CheckpointError::Conflict { .. }), "{lost:?}");
        }
    }

    #[tokio::test]
    async fn a_commit_is_synced_with_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteCheckpoints::open(&folder.path().join("checkpoints.db")).await.unwrap();
        let pragma = |name| {
            let connection = store.connection.lock().unwrap();
            connection.pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0))
        };
        assert_eq!(pragma("synchronous").unwrap(), 3.into());
        assert_eq!(pragma("journal_mode").unwrap(), "delete".to_owned().into());
    }

    const COUNTS: u32 = 20;
    const FILE_VARIABLE: &str = "OPLAKE_TEST_CHECKPOINTS";

    /// Counts in the row of the file, as often as it wins. Run by the next test.
    #[tokio::test]
    #[ignore = "a process of the test below"]
    async fn one_counting_process() {
        // Not set where a person runs the ignored tests.
        let Some(path) = std::env::var_os(FILE_VARIABLE) else { return };
        let store = SqliteCheckpoints::open(Path::new(&path)).await.unwrap();
        let mut wins = 0;
        while wins < COUNTS {
            let last = store.load(&stream()).await.unwrap();
            let count: u32 = last
                .as_ref()
                .and_then(|row| row.token_id.as_ref())
                .map_or(0, |count| count.parse().unwrap());
            let row = Row { token_id: Some((count + 1).to_string()), ..minimal_row(store.table()) };
            match store.commit(&stream(), last.as_ref().map(|row| &row.commit_id), &row).await {
                Ok(()) => wins += 1,
                Err(CheckpointError::Conflict { .. }) => {}
                Err(other) => panic!("{}", chain(&other)),
            }
        }
    }

    #[tokio::test]
    async fn processes_lose_no_update_of_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoints.db");
        let processes: Vec<_> = (0..3)
            .map(|_| {
                Command::new(std::env::current_exe().unwrap())
                    .args(["--ignored", "--exact", "sqlite::tests::one_counting_process"])
                    .env(FILE_VARIABLE, &path)
                    .stdout(Stdio::null())
                    .spawn()
                    .unwrap()
            })
            .collect();
        for mut process in processes {
            assert!(process.wait().unwrap().success());
        }
        let store = SqliteCheckpoints::open(&path).await.unwrap();
        let row = store.load(&stream()).await.unwrap().unwrap();
        assert_eq!(row.token_id, Some((3 * COUNTS).to_string()));
    }

    #[tokio::test]
    async fn a_row_of_a_newer_version_is_refused_and_untouched() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoints.db");
        let store = SqliteCheckpoints::open(&path).await.unwrap();
        let row = full_row(store.table());
        store.commit(&stream(), None, &row).await.unwrap();
        let raw = Connection::open(&path).unwrap();
        raw.execute_batch(
            "ALTER TABLE checkpoints ADD COLUMN novelty TEXT;
             UPDATE checkpoints SET version = 2, novelty = 'new', staged = 'another layout'",
        )
        .unwrap();
        let contents = || {
            let sql =
                "SELECT commit_id || version || novelty || staged || updated_at FROM checkpoints";
            raw.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap()
        };
        let before = contents();

        let store = SqliteCheckpoints::open(&path).await.unwrap();
        let next = minimal_row(store.table());
        for error in [
            store.load(&stream()).await.unwrap_err(),
            store.commit(&stream(), Some(&row.commit_id), &next).await.unwrap_err(),
            store.commit(&stream(), None, &next).await.unwrap_err(),
            store.remove(&stream(), &row.commit_id).await.unwrap_err(),
        ] {
            assert!(matches!(error, CheckpointError::Newer { found: 2, .. }), "{error:?}");
        }
        assert_eq!(contents(), before);
    }

    #[tokio::test]
    async fn a_malformed_attribute_is_named_and_not_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoints.db");
        let store = SqliteCheckpoints::open(&path).await.unwrap();
        let raw = Connection::open(&path).unwrap();
        for attribute in
            ["commit_id", "from", "staged", "high_water", "complete_until", "gaps", "updated_at"]
        {
            raw.execute("DELETE FROM checkpoints", []).unwrap();
            store.commit(&stream(), None, &full_row(store.table())).await.unwrap();
            raw.execute(&format!("UPDATE checkpoints SET \"{attribute}\" = 's3cret'"), []).unwrap();

            let error = store.load(&stream()).await.unwrap_err();

            assert_eq!(error.code(), "Checkpoint.Corrupt");
            let told = chain(&error);
            assert!(told.contains(attribute) && !told.contains("s3cret"), "{told}");
        }
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_used_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("text"), "no database, but long enough to be taken for one".repeat(9))
            .unwrap();
        let other = Connection::open(path("other.db")).unwrap();
        other.execute_batch("CREATE TABLE checkpoints (id INTEGER)").unwrap();
        for (name, advice) in [
            ("missing/checkpoints.db", "make its folder"),
            ("text/checkpoints.db", "make its folder"),
            (".", "choose another file"),
            ("text", "no SQLite database"),
            ("other.db", "none of this program"),
        ] {
            let error = SqliteCheckpoints::open(&path(name)).await.unwrap_err();
            assert_eq!(error.code(), "Checkpoint.Unusable", "{name}: {error:?}");
            let told = chain(&error);
            assert!(told.contains(advice) && told.contains(name), "{told}");
        }
    }
}
