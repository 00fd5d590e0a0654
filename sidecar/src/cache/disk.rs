//! Answers in SQLite, shared by every process that opens the same file.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use agentrun_llm::provider::Framing;
use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use rusqlite::{Connection, OptionalExtension, Row, params};
use thiserror::Error;

use super::{
    Key,
    entry::{Entry, Facts},
};
use crate::{
    batch::{Batcher, Sink},
    sqlite::{self, SqliteError},
};

/// Looked up by 8 bytes of the key: an index of whole keys would be five times as large, and its pages are what a store of new
/// answers has to touch. The newest row of a key counts.
const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS answers (
    id INTEGER PRIMARY KEY, prefix INTEGER NOT NULL, key BLOB NOT NULL, status INTEGER NOT NULL, framing TEXT NOT NULL,
    headers TEXT NOT NULL, facts TEXT NOT NULL, body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS answers_by_prefix ON answers (prefix);";

/// Answers waiting for the disk before new calls would wait; beyond it the newest are kept in memory only.
const QUEUE_BYTES: usize = 64 << 20;
/// What is freed when the limit is passed, so that not every batch has to.
const FREED_SHARE: u64 = 10;

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
}

/// How long an answer that another process stored may stay unseen.
const UNSEEN: Duration = Duration::from_millis(500);

/// The cache's file.
pub(crate) struct Disk {
    /// Looked up on the caller's thread: a point lookup of a warm page costs less than a hop to another thread.
    reader: Mutex<Reader>,
    writer: Batcher<(Key, Arc<Entry>)>,
}

impl Disk {
    pub(crate) fn open(path: &Path, limit: u64) -> Result<Self, CacheError> {
        let mut writing = Writer { connection: sqlite::open(path, SCHEMA)?, limit, bytes: 0 };
        let failed = |source| CacheError::Change { path: path.to_owned(), source };
        writing.bytes = writing.stored_bytes().map_err(failed)?;
        let mut reader = Reader { connection: sqlite::open_to_read(path)?, known: HashSet::default(), last: 0, read_at: Instant::now() };
        reader.refresh().map_err(failed)?;
        let writer = Batcher::start("cache-writer", QUEUE_BYTES, writing).map_err(CacheError::Writer)?;
        Ok(Self { reader: Mutex::new(reader), writer })
    }

    pub(crate) fn get(&self, key: &Key) -> Option<Entry> {
        let found = self.reader.lock().unwrap_or_else(PoisonError::into_inner).get(key);
        found.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot read a stored answer: taken as a miss");
            None
        })
    }

    pub(crate) fn put(&self, key: Key, entry: Arc<Entry>) {
        let bytes = entry.body.len() + 512;
        self.writer.push((key, entry), bytes);
    }

    /// Waits, on a thread, until all that was stored is on disk, or could not be written.
    pub(crate) fn flush_blocking(&self) -> Result<(), String> {
        self.writer.flush_blocking()
    }

    pub(crate) async fn flush(&self) -> Result<(), String> {
        self.writer.flush().await
    }
}

/// Looks answers up. Most calls are new, and the file changes all the time: a look into it for each would cost more than all else
/// that is done for a miss, so what stands in it is known by 8 bytes of each key.
struct Reader {
    connection: Connection,
    known: HashSet<i64, foldhash::fast::RandomState>,
    /// The newest row that is known.
    last: i64,
    read_at: Instant,
}

impl Reader {
    fn get(&mut self, key: &Key) -> rusqlite::Result<Option<Entry>> {
        if self.read_at.elapsed() > UNSEEN {
            self.refresh()?;
        }
        if !self.known.contains(&prefix(key)) {
            return Ok(None);
        }
        let mut statement = self.connection.prepare_cached(
            "SELECT status, framing, headers, facts, body FROM answers WHERE prefix = ?1 AND key = ?2 ORDER BY id DESC LIMIT 1",
        )?;
        statement.query_row(params![prefix(key), &key[..]], entry).optional()
    }

    /// Learns of the rows that came since.
    fn refresh(&mut self) -> rusqlite::Result<()> {
        let mut statement = self.connection.prepare_cached("SELECT id, prefix FROM answers WHERE id > ?1 ORDER BY id")?;
        let mut rows = statement.query([self.last])?;
        while let Some(row) = rows.next()? {
            self.last = row.get(0)?;
            self.known.insert(row.get(1)?);
        }
        self.read_at = Instant::now();
        Ok(())
    }
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let text = |index: usize| row.get::<_, String>(index);
    let json =
        |index, source: serde_json::Error| rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Text, Box::new(source));
    let pairs: Vec<(String, String)> = serde_json::from_str(&text(2)?).map_err(|error| json(2, error))?;
    let header = |(name, value): (String, String)| Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?));
    Ok(Entry {
        status: row.get(0)?,
        framing: framing(&text(1)?).ok_or_else(|| rusqlite::Error::InvalidColumnName("framing".to_owned()))?,
        headers: pairs.into_iter().filter_map(header).collect(),
        facts: serde_json::from_str::<Facts>(&text(3)?).map_err(|error| json(3, error))?,
        body: Bytes::from(row.get::<_, Vec<u8>>(4)?),
        number: Entry::number(),
    })
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

struct Writer {
    connection: Connection,
    limit: u64,
    bytes: u64,
}

impl Writer {
    fn stored_bytes(&self) -> rusqlite::Result<u64> {
        self.connection.query_row("SELECT coalesce(sum(length(body)), 0) FROM answers", [], |row| row.get(0))
    }

    /// Deletes the oldest tenth. Other processes write too, so what is there is counted anew.
    fn make_room(&mut self) -> rusqlite::Result<()> {
        self.bytes = self.stored_bytes()?;
        if self.bytes <= self.limit {
            return Ok(());
        }
        let count: u64 = self.connection.query_row("SELECT count(*) FROM answers", [], |row| row.get(0))?;
        self.connection
            .execute("DELETE FROM answers WHERE id IN (SELECT id FROM answers ORDER BY id LIMIT ?1)", [count.div_ceil(FREED_SHARE)])?;
        self.bytes = self.stored_bytes()?;
        Ok(())
    }

    fn insert(&mut self, batch: &[(Key, Arc<Entry>)]) -> Result<(), Box<dyn std::error::Error>> {
        let transaction = self.connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        {
            let mut statement = transaction.prepare_cached("INSERT INTO answers VALUES (NULL, ?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
            for (key, entry) in batch {
                let headers: Vec<(&str, &str)> =
                    entry.headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?))).collect();
                statement.execute(params![
                    prefix(key),
                    &key[..],
                    entry.status,
                    framing_name(entry.framing),
                    serde_json::to_string(&headers)?,
                    serde_json::to_string(&entry.facts)?,
                    &entry.body[..],
                ])?;
            }
        }
        transaction.commit()?;
        Ok(())
    }
}

impl Sink for Writer {
    type Item = (Key, Arc<Entry>);

    fn write(&mut self, batch: &[Self::Item]) -> Result<(), String> {
        if batch.is_empty() {
            return Ok(());
        }
        self.insert(batch).map_err(|error| format!("store answers: {error}"))?;
        self.bytes += batch.iter().map(|(_, entry)| entry.body.len() as u64).sum::<u64>();
        while self.bytes > self.limit {
            let before = self.bytes;
            self.make_room().map_err(|error| format!("free the cache's disk space: {error}"))?;
            if self.bytes >= before {
                break;
            }
        }
        Ok(())
    }
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

/// Deletes every answer of the cache file `path` and gives its space back. Returns what was there.
pub fn clear(path: &Path) -> Result<CacheStats, CacheError> {
    let before = stats(path)?;
    if path.exists() {
        let connection = sqlite::open(path, SCHEMA)?;
        connection
            .execute_batch("DELETE FROM answers; VACUUM; PRAGMA wal_checkpoint(TRUNCATE);")
            .map_err(|source| CacheError::Change { path: path.to_owned(), source })?;
    }
    Ok(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> Arc<Entry> {
        Arc::new(Entry {
            status: 200,
            framing: Framing::Sse,
            headers: Box::new([(HeaderName::from_static("x-request-id"), HeaderValue::from_static("r1"))]),
            body: Bytes::copy_from_slice(text.as_bytes()),
            facts: Facts { model: Some("m".to_owned()), latency_seconds: 1.5, ..Facts::default() },
            number: Entry::number(),
        })
    }

    fn key(first: u8, last: u8) -> Key {
        let mut key = [0; 32];
        (key[0], key[31]) = (first, last);
        key
    }

    #[tokio::test]
    async fn an_answer_is_found_again_by_its_whole_key_also_in_a_new_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache.db");
        let disk = Disk::open(&path, 1 << 20).unwrap();
        disk.put(key(1, 1), answer("old"));
        disk.put(key(1, 1), answer("new"));
        disk.put(key(2, 1), answer("other"));
        disk.flush().await.unwrap();
        drop(disk);
        let disk = Disk::open(&path, 1 << 20).unwrap();
        let found = disk.get(&key(1, 1)).unwrap();
        assert_eq!((&found.body[..], found.status, found.framing), (&b"new"[..], 200, Framing::Sse));
        assert_eq!(
            (found.headers[0].1.to_str().unwrap(), found.facts.model.as_deref(), found.facts.latency_seconds),
            ("r1", Some("m"), 1.5)
        );
        assert!(disk.get(&key(1, 2)).is_none(), "the same first bytes are not the same key");
        assert_eq!(stats(&path).unwrap().answers, 3);
        assert_eq!(clear(&path).unwrap().answers, 3);
        assert_eq!(stats(&path).unwrap(), CacheStats::default());
    }

    #[tokio::test]
    async fn the_oldest_answers_make_room() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache.db");
        let disk = Disk::open(&path, 10_000).unwrap();
        let text = "x".repeat(1000);
        for number in 0..40 {
            disk.put(key(number, 0), answer(&text));
        }
        disk.flush().await.unwrap();
        assert!(stats(&path).unwrap().bytes <= 10_000, "{:?}", stats(&path).unwrap());
        let disk = Disk::open(&path, 10_000).unwrap();
        assert!(disk.get(&key(0, 0)).is_none() && disk.get(&key(39, 0)).is_some());
    }
}
