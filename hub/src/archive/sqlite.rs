//! Rows in a SQLite file: one writing connection, a few that read beside it. Every commit is flushed to the disk.

use std::{
    fs::OpenOptions,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension};
use tokio::{sync::Semaphore, task::spawn_blocking};

use super::{
    backend::CallQuery,
    change::{Changes, Table},
    error::ArchiveError,
    lines::Stored,
};

mod read;
mod write;

type Result<T> = std::result::Result<T, ArchiveError>;

/// How many reads go on at once.
const READERS: usize = 4;
/// How many of them may be long ones, of lists that people ask for: pods' look-ups never wait for all.
const LISTS: usize = READERS - 1;
/// How long a statement waits for another process's lock.
const BUSY: Duration = Duration::from_secs(10);
/// The format of the file.
const VERSION: i32 = 1;
/// Rows are appended: whatever has an index is small, or looked for by it.
const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS owner (id INTEGER PRIMARY KEY CHECK (id = 1), name TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS runs (id INTEGER PRIMARY KEY, document TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS registrations (id INTEGER PRIMARY KEY, document TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS activities (id INTEGER PRIMARY KEY, document TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS attempts (id INTEGER PRIMARY KEY, document TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS trials (id INTEGER PRIMARY KEY, document TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS outputs (id INTEGER PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS texts (id INTEGER PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS calls (
    id INTEGER PRIMARY KEY, attempt INTEGER NOT NULL, sequence INTEGER NOT NULL, call BLOB NOT NULL, started_at INTEGER NOT NULL,
    ended_at INTEGER NOT NULL, model TEXT NOT NULL, outcome TEXT NOT NULL, cached INTEGER NOT NULL, detail INTEGER NOT NULL,
    request INTEGER, response INTEGER
);
CREATE UNIQUE INDEX IF NOT EXISTS calls_by_attempt ON calls (attempt, sequence);
CREATE TABLE IF NOT EXISTS answers (
    id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, run INTEGER NOT NULL, size INTEGER NOT NULL, value BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS answers_by_run ON answers (run, size);
";

/// A SQLite file.
#[derive(Clone)]
pub(crate) struct Sqlite(Arc<Inner>);

struct Inner {
    path: PathBuf,
    /// This process, as the file knows it.
    owner: String,
    writer: Mutex<Connection>,
    readers: Mutex<Vec<Connection>>,
    reading: Semaphore,
    listing: Semaphore,
}

impl Sqlite {
    /// Opens a file, made with mode 0600 where it is not there, and takes it over. `most` bounds its bytes, where it is not 0.
    pub(crate) async fn open(path: &Path, most: u64) -> Result<Self> {
        let path = path.to_owned();
        blocking(move || {
            let owner = uuid::Uuid::now_v7().to_string();
            let writer = open_writer(&path, most, &owner)?;
            let (reading, listing) = (Semaphore::new(READERS), Semaphore::new(LISTS));
            Ok(Self(Arc::new(Inner { path, owner, writer: Mutex::new(writer), readers: Mutex::default(), reading, listing })))
        })
        .await
    }

    /// Works on the writing connection.
    async fn writing<T: Send + 'static>(&self, work: impl FnOnce(&mut Connection, &str) -> Result<T> + Send + 'static) -> Result<T> {
        let inner = self.0.clone();
        blocking(move || work(&mut inner.writer.lock().unwrap_or_else(PoisonError::into_inner), &inner.owner)).await
    }

    /// Works on a reading connection.
    async fn reading<T: Send + 'static>(&self, work: impl FnOnce(&Connection) -> Result<T> + Send + 'static) -> Result<T> {
        let inner = self.0.clone();
        let _turn = self.0.reading.acquire().await.map_err(|error| ArchiveError::Unavailable(error.to_string()))?;
        blocking(move || {
            let idle = inner.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let connection = idle.map_or_else(|| open_reader(&inner.path), Ok)?;
            let result = work(&connection);
            inner.readers.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            result
        })
        .await
    }

    /// As [`Sqlite::reading`], for what may take long.
    async fn listing<T: Send + 'static>(&self, work: impl FnOnce(&Connection) -> Result<T> + Send + 'static) -> Result<T> {
        let _turn = self.0.listing.acquire().await.map_err(|error| ArchiveError::Unavailable(error.to_string()))?;
        self.reading(work).await
    }

    pub(crate) async fn write(&self, changes: Changes) -> Result<()> {
        self.writing(move |connection, owner| write::commit(connection, owner, &changes)).await
    }

    pub(crate) async fn purge(&self, run: i64, most: usize) -> Result<usize> {
        self.writing(move |connection, owner| write::purge(connection, owner, run, most)).await
    }

    pub(crate) async fn forget(&self, run: i64, tables: Vec<Table>) -> Result<()> {
        self.writing(move |connection, owner| write::forget(connection, owner, run, &tables)).await
    }

    pub(crate) async fn trim(&self, bytes: u64) -> Result<u64> {
        self.writing(move |connection, owner| write::trim(connection, owner, bytes)).await
    }

    pub(crate) async fn check_owner(&self) -> Result<()> {
        self.writing(|connection, owner| check_owner(connection, owner)).await
    }

    pub(crate) async fn documents(&self, table: Table, from: i64, until: i64) -> Result<Vec<(i64, String)>> {
        self.reading(move |connection| read::documents(connection, table, from, until).map_err(fault)).await
    }

    pub(crate) async fn last(&self, from: i64, until: i64) -> Result<(Option<i64>, Option<i64>)> {
        self.reading(move |connection| read::last(connection, from, until).map_err(fault)).await
    }

    pub(crate) async fn outputs(&self, attempts: Vec<i64>) -> Result<Vec<(i64, Bytes)>> {
        self.reading(move |connection| read::outputs(connection, &attempts).map_err(fault)).await
    }

    pub(crate) async fn calls(&self, query: CallQuery) -> Result<Vec<Stored>> {
        self.listing(move |connection| read::calls(connection, &query).map_err(fault)).await
    }

    pub(crate) async fn answer(&self, key: [u8; 32]) -> Result<Option<Bytes>> {
        self.reading(move |connection| read::answer(connection, &key).map_err(fault)).await
    }

    pub(crate) async fn answers(&self) -> Result<(i64, u64)> {
        self.reading(|connection| read::answers(connection).map_err(fault)).await
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    spawn_blocking(work).await.map_err(|error| ArchiveError::Unavailable(format!("work on its file ended: {error}")))?
}

fn open_writer(path: &Path, most: u64, owner: &str) -> Result<Connection> {
    create_private(path).map_err(|error| ArchiveError::Unavailable(format!("making {}: {error}", path.display())))?;
    let mut connection = Connection::open(path).map_err(fault)?;
    connection.busy_timeout(BUSY).map_err(fault)?;
    let found: i32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(fault)?;
    if found > VERSION {
        return Err(ArchiveError::Broken(format!("{} was written by a newer version: use that one", path.display())));
    }
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).map_err(fault)?;
    // FULL flushes the log at every commit: what is acknowledged survives the loss of power.
    connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA cache_size = -32768; PRAGMA wal_autocheckpoint = 4000;").map_err(fault)?;
    connection.set_prepared_statement_cache_capacity(64);
    if most > 0 {
        let size: u64 = connection.query_row("PRAGMA page_size", [], |row| row.get(0)).map_err(fault)?;
        connection.query_row(&format!("PRAGMA max_page_count = {}", (most / size.max(1)).max(64)), [], |_| Ok(())).map_err(fault)?;
    }
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(fault)?;
    transaction.execute_batch(&format!("{SCHEMA} PRAGMA user_version = {VERSION};")).map_err(fault)?;
    transaction.execute("INSERT OR REPLACE INTO owner VALUES (1, ?1)", [owner]).map_err(fault)?;
    transaction.commit().map_err(fault)?;
    Ok(connection)
}

fn open_reader(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(fault)?;
    connection.busy_timeout(BUSY).map_err(fault)?;
    Ok(connection)
}

fn create_private(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn check_owner(connection: &Connection, owner: &str) -> Result<()> {
    let mut statement = connection.prepare_cached("SELECT name FROM owner WHERE id = 1").map_err(fault)?;
    let name: Option<String> = statement.query_row([], |row| row.get(0)).optional().map_err(fault)?;
    if name.as_deref() == Some(owner) { Ok(()) } else { Err(ArchiveError::Fenced) }
}

/// What a SQLite error means to callers.
fn fault(error: rusqlite::Error) -> ArchiveError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => ArchiveError::Full(error.to_string()),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => ArchiveError::Broken(error.to_string()),
        _ => ArchiveError::Unavailable(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_look_up_waits_for_no_list() {
        let folder = tempfile::tempdir().unwrap();
        let store = Sqlite::open(&folder.path().join("hub.db"), 0).await.unwrap();
        let (started, mut lists) = tokio::sync::mpsc::unbounded_channel();
        let slow: Vec<_> = (0..READERS)
            .map(|_| {
                let (store, started) = (store.clone(), started.clone());
                let (end, ended) = std::sync::mpsc::channel::<()>();
                let work = move |_: &Connection| {
                    started.send(()).unwrap();
                    ended.recv().unwrap();
                    Ok(())
                };
                (end, tokio::spawn(async move { store.listing(work).await }))
            })
            .collect();
        for _ in 0..LISTS {
            lists.recv().await.unwrap();
        }
        assert_eq!(store.answer([1; 32]).await.unwrap(), None);
        for (end, list) in slow {
            end.send(()).unwrap();
            list.await.unwrap().unwrap();
        }
    }
}
