//! Answers in SQLite, shared by every process that opens the same file, and AgentOpt's table beside them.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use agentrun_llm::provider::Framing;
use thiserror::Error;

use super::{
    Key,
    agentopt::{self, Row},
    entry::{Entry, now},
};
use crate::{
    batch::Batcher,
    config::CacheConfig,
    sqlite::{self, SqliteError},
};

mod reader;
mod writer;

use reader::Reader;
use writer::{Work, Writer};

/// Looked up by 8 bytes of the key: an index of whole keys would be five times as large, and its pages are what a store of new
/// answers has to touch. The newest row of a key counts.
const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS answers (
    id INTEGER PRIMARY KEY, prefix INTEGER NOT NULL, key BLOB NOT NULL, status INTEGER NOT NULL, framing TEXT NOT NULL,
    headers TEXT NOT NULL, facts TEXT NOT NULL, body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS answers_by_prefix ON answers (prefix);
CREATE TABLE IF NOT EXISTS answer_times (id INTEGER PRIMARY KEY, written_at INTEGER NOT NULL);";

/// Answers waiting for the disk before new calls would wait; beyond it the newest are kept in memory only.
const QUEUE_BYTES: usize = 64 << 20;

/// What can go wrong with the cache's file.
#[derive(Debug, Error)]
pub enum CacheError {
    /// It cannot be used.
    #[error("use the cache")]
    Open(#[from] SqliteError),
    /// Its writer cannot be started.
    #[error("start the cache's writer")]
    Writer(#[source] std::io::Error),
    /// It could not be read or cleared.
    #[error("change the cache {path}: {source}")]
    Change {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// Its table `cache` is another program's.
    #[error(
        "read the table `cache` of {path} as AgentOpt's: {source}; name a folder whose cache.db AgentOpt or AgentRun made, or none yet"
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// It could not be cleared now, and will be as soon as it can.
    #[error("clear the cache: {0}")]
    Clear(String),
}

/// The cache's file.
pub(crate) struct Disk {
    /// Looked up on the caller's thread: a point lookup of a warm page costs less than a hop to another thread.
    reader: Mutex<Reader>,
    writer: Batcher<Work>,
    /// Clears that are still to be done: until then nothing of what stands in the file counts.
    clears: Arc<AtomicUsize>,
    /// Seconds that an answer is good for.
    max_age: Option<i64>,
    /// The largest row of AgentOpt's that is read, bytes.
    row_bytes: usize,
}

impl Disk {
    /// Opens the file `path`; an answer of more than `entry_bytes` is none.
    pub(crate) fn open(path: &Path, config: &CacheConfig, entry_bytes: usize) -> Result<Self, CacheError> {
        let failed = |source| CacheError::Change { path: path.to_owned(), source };
        let foreign = |source| CacheError::Foreign { path: path.to_owned(), source };
        let connection = sqlite::open(path, SCHEMA)?;
        if config.agentopt.is_some() {
            connection.execute_batch(agentopt::SCHEMA).map_err(failed)?;
            connection.prepare("SELECT rowid, key, data_json FROM cache").map_err(foreign)?;
        }
        let max_age = config.max_age.map(|age| i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
        let clears = Arc::new(AtomicUsize::new(0));
        let writer = Writer::new(connection, config.disk_bytes, config.agentopt.is_some(), max_age, clears.clone()).map_err(failed)?;
        let reader = Reader::open(path, config.agentopt)?;
        let writer = Batcher::start("cache-writer", QUEUE_BYTES, writer).map_err(CacheError::Writer)?;
        if max_age.is_some() {
            writer.push(Work::Sweep, 0);
        }
        Ok(Self { reader: Mutex::new(reader), writer, clears, max_age, row_bytes: agentopt::row_bytes(entry_bytes) })
    }

    /// A stored answer that is not too old.
    pub(crate) fn get(&self, key: &Key) -> Option<Entry> {
        let entry = taken_as_miss(self.reader()?.answer(key)).flatten()?;
        let aged = entry.written_at < self.oldest();
        if aged {
            self.writer.push(Work::Sweep, 0);
        }
        (!aged).then_some(entry)
    }

    /// Whether AgentOpt's table may have a row of this key: a quick look that saves the slow one for most calls.
    pub(crate) fn may_have_row(&self, key: &Key) -> bool {
        self.reader().is_some_and(|mut reader| taken_as_miss(reader.may_have_row(key)) == Some(true))
    }

    /// The answer of AgentOpt's table that may be given for this key. Takes time where it is large.
    pub(crate) fn row(&self, key: &Key) -> Option<Row> {
        let text = taken_as_miss(self.reader()?.row(key, self.row_bytes, self.oldest())).flatten()?;
        let row = text.and_then(|text| agentopt::read(&text));
        row.inspect_err(|error| self.reader().into_iter().for_each(|mut reader| reader.warn(key, error))).ok()
    }

    /// Stores an answer under its key and, with `row`, under AgentOpt's.
    pub(crate) fn put(&self, key: Key, row: Option<Key>, entry: Arc<Entry>) {
        let bytes = entry.body.len() + 512;
        self.writer.push(Work::Store { key, row, entry }, bytes);
    }

    /// Forgets all that was put before, and whatever else stands in the file. Nothing of it is found from here on; it is gone after a flush.
    pub(crate) fn clear(&self) {
        self.clears.fetch_add(1, Ordering::Release);
        self.writer.push(Work::Clear, 0);
    }

    /// Waits, on a thread, until all that was stored is on disk, or could not be written.
    pub(crate) fn flush_blocking(&self) -> Result<(), String> {
        self.writer.flush_blocking()
    }

    pub(crate) async fn flush(&self) -> Result<(), String> {
        self.writer.flush().await
    }

    /// None while what stands in the file is to be cleared.
    fn reader(&self) -> Option<MutexGuard<'_, Reader>> {
        (self.clears.load(Ordering::Acquire) == 0).then(|| self.reader.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The second before which answers are too old.
    fn oldest(&self) -> i64 {
        self.max_age.map_or(i64::MIN, |age| now().saturating_sub(age))
    }
}

fn taken_as_miss<T>(found: rusqlite::Result<T>) -> Option<T> {
    found.inspect_err(|error| tracing::warn!(%error, "cannot read a stored answer: taken as a miss")).ok()
}

fn prefix(key: &Key) -> i64 {
    let (first, _) = key.split_first_chunk::<8>().expect("a key has 32 bytes");
    i64::from_be_bytes(*first)
}

const FRAMINGS: [(Framing, &str); 5] = [
    (Framing::Json, "json"),
    (Framing::Sse, "sse"),
    (Framing::JsonArray, "json-array"),
    (Framing::EventStream, "event-stream"),
    (Framing::Lines, "lines"),
];

pub(super) fn framing(name: &str) -> Option<Framing> {
    FRAMINGS.iter().find(|(_, known)| *known == name).map(|(framing, _)| *framing)
}

pub(super) fn framing_name(framing: Framing) -> &'static str {
    FRAMINGS.iter().find(|(known, _)| *known == framing).map_or("json", |(_, name)| name)
}

/// What stands in a cache's file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Stored answers.
    pub answers: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
}

/// Counts what stands in the cache file `path`; nothing when there is none.
pub fn stats(path: &Path) -> Result<CacheStats, CacheError> {
    if !path.exists() {
        return Ok(CacheStats::default());
    }
    let connection = sqlite::open_to_read(path)?;
    connection
        .query_row("SELECT count(*), coalesce(sum(length(body)), 0) FROM answers", [], |row| {
            Ok(CacheStats { answers: row.get(0)?, bytes: row.get(1)? })
        })
        .map_err(|source| CacheError::Change { path: path.to_owned(), source })
}

/// Deletes every answer of the cache file `path`, AgentOpt's too, and gives its space back. Returns what was there.
pub fn clear(path: &Path) -> Result<CacheStats, CacheError> {
    let before = stats(path)?;
    if path.exists() {
        let connection = sqlite::open(path, SCHEMA)?;
        writer::clear(&connection)
            .and_then(|()| connection.execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE);"))
            .map_err(|source| CacheError::Change { path: path.to_owned(), source })?;
    }
    Ok(before)
}

#[cfg(test)]
mod tests;
