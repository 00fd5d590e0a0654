//! Writing answers into the file, and deleting the oldest.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::{framing_name, prefix};
use crate::{
    batch::Sink,
    cache::{
        Key, agentopt,
        entry::{Entry, now},
    },
};

/// What is freed when the limit is passed, so that not every batch has to.
const FREED_SHARE: u64 = 10;
/// Answers that are deleted in one transaction, and transactions after one batch: what waits for the disk does not wait for long.
const DELETED_AT_ONCE: u64 = 500;
const DELETIONS: usize = 8;
/// How often aged answers are looked for while others are written.
const SWEEP: Duration = Duration::from_secs(60);

/// What is written.
pub(super) enum Work {
    /// An answer, under its key and, where AgentOpt's table gets it too, under AgentOpt's.
    Store { key: Key, row: Option<Key>, entry: Arc<Entry> },
    /// Nothing of what was stored before stays.
    Clear,
    /// What is too old goes.
    Sweep,
}

pub(super) struct Writer {
    connection: Connection,
    limit: u64,
    bytes: u64,
    /// Whether AgentOpt's table is there.
    has_rows: bool,
    /// Seconds that an answer is good for.
    max_age: Option<i64>,
    swept: Instant,
    /// Clears that are still to be done.
    clears: Arc<AtomicUsize>,
}

impl Writer {
    pub(super) fn new(
        connection: Connection,
        limit: u64,
        has_rows: bool,
        max_age: Option<i64>,
        clears: Arc<AtomicUsize>,
    ) -> rusqlite::Result<Self> {
        let mut writer = Self { connection, limit, bytes: 0, has_rows, max_age, swept: Instant::now(), clears };
        writer.bytes = writer.stored_bytes()?;
        Ok(writer)
    }

    /// Bytes of our answers; what AgentOpt wrote is not ours to bound.
    fn stored_bytes(&self) -> rusqlite::Result<u64> {
        let sum = |query: &str| self.connection.query_row(query, [], |row| row.get::<_, u64>(0));
        let rows = if self.has_rows { sum("SELECT coalesce(sum(bytes), 0) FROM agentrun_rows")? } else { 0 };
        Ok(rows + sum("SELECT coalesce(sum(length(body)), 0) FROM answers")?)
    }

    /// Deletes the oldest tenth. Other processes write too, so what is there is counted anew.
    fn make_room(&mut self) -> rusqlite::Result<()> {
        self.bytes = self.stored_bytes()?;
        if self.bytes <= self.limit {
            return Ok(());
        }
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let share = |query: &str| -> rusqlite::Result<u64> {
            Ok(transaction.query_row(query, [], |row| row.get::<_, u64>(0))?.div_ceil(FREED_SHARE))
        };
        let count = share("SELECT count(*) FROM answers")?;
        transaction.execute("DELETE FROM answers WHERE id IN (SELECT id FROM answers ORDER BY id LIMIT ?1)", [count])?;
        transaction.execute("DELETE FROM answer_times WHERE id < coalesce((SELECT min(id) FROM answers), ?1)", [i64::MAX])?;
        if self.has_rows {
            let count = share("SELECT count(*) FROM agentrun_rows")?;
            delete_rows(&transaction, i64::MAX, count)?;
        }
        transaction.commit()?;
        self.bytes = self.stored_bytes()?;
        Ok(())
    }

    /// Deletes what is too old, a bounded number. Returns whether there may be more.
    fn sweep(&mut self, max_age: i64) -> rusqlite::Result<bool> {
        let oldest = now().saturating_sub(max_age);
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Answers are numbered in the order of their times, so that the first that is young enough ends the search. Those without a time
        // are another version's, and older than any that has one.
        let aged: Vec<i64> = {
            let mut statement = transaction
                .prepare_cached("SELECT id, coalesce(written_at, 0) FROM answers LEFT JOIN answer_times USING (id) ORDER BY id LIMIT ?1")?;
            let rows = statement.query_map([DELETED_AT_ONCE], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?;
            rows.take_while(|row| row.as_ref().map_or(true, |(_, written_at)| *written_at < oldest))
                .map(|row| row.map(|(id, _)| id))
                .collect::<Result<_, _>>()?
        };
        for id in &aged {
            transaction.prepare_cached("DELETE FROM answers WHERE id = ?1")?.execute([id])?;
            transaction.prepare_cached("DELETE FROM answer_times WHERE id = ?1")?.execute([id])?;
        }
        let rows = if self.has_rows { delete_rows(&transaction, oldest, DELETED_AT_ONCE)? } else { 0 };
        transaction.commit()?;
        Ok(aged.len() as u64 == DELETED_AT_ONCE || rows == DELETED_AT_ONCE)
    }

    fn sweep_in_time(&mut self, asked: bool) -> rusqlite::Result<()> {
        let Some(max_age) = self.max_age.filter(|_| asked || self.swept.elapsed() > SWEEP) else { return Ok(()) };
        for _ in 0..DELETIONS {
            if !self.sweep(max_age)? {
                self.swept = Instant::now();
                break;
            }
        }
        self.bytes = self.stored_bytes()?;
        Ok(())
    }

    /// Keeps the file within its bounds after `batch` has been written.
    fn tidy(&mut self, batch: &[Work]) -> rusqlite::Result<()> {
        if batch.iter().any(|work| matches!(work, Work::Clear)) {
            self.bytes = self.stored_bytes()?;
        }
        self.sweep_in_time(batch.iter().any(|work| matches!(work, Work::Sweep)))?;
        while self.bytes > self.limit {
            let before = self.bytes;
            self.make_room()?;
            if self.bytes >= before {
                break;
            }
        }
        Ok(())
    }

    fn write_all(&mut self, batch: &[Work]) -> Result<u64, Box<dyn std::error::Error>> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut bytes = 0;
        for work in batch {
            match work {
                Work::Store { key, row, entry } => {
                    bytes += insert(&transaction, key, entry)?;
                    if let Some(row) = row {
                        bytes += insert_row(&transaction, row, entry)?;
                    }
                }
                Work::Clear => clear(&transaction)?,
                Work::Sweep => {}
            }
        }
        transaction.commit()?;
        Ok(bytes)
    }
}

fn insert(transaction: &Transaction<'_>, key: &Key, entry: &Entry) -> Result<u64, Box<dyn std::error::Error>> {
    let headers: Vec<(&str, &str)> = entry.headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?))).collect();
    let mut statement = transaction.prepare_cached("INSERT INTO answers VALUES (NULL, ?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
    let id = statement.insert(params![
        prefix(key),
        &key[..],
        entry.status,
        framing_name(entry.framing),
        serde_json::to_string(&headers)?,
        serde_json::to_string(&entry.facts)?,
        &entry.body[..],
    ])?;
    transaction.prepare_cached("INSERT OR REPLACE INTO answer_times VALUES (?1, ?2)")?.execute(params![id, entry.written_at])?;
    Ok(entry.body.len() as u64)
}

/// Writes AgentOpt's row of an answer, and marks it as ours.
fn insert_row(transaction: &Transaction<'_>, key: &Key, entry: &Entry) -> rusqlite::Result<u64> {
    let (key, text) = (agentopt::row_key(key), agentopt::write(entry));
    transaction.prepare_cached("INSERT OR REPLACE INTO cache (key, data_json) VALUES (?1, ?2)")?.execute(params![key, text])?;
    transaction.prepare_cached("INSERT OR REPLACE INTO agentrun_rows VALUES (?1, ?2, ?3, ?4)")?.execute(params![
        key,
        &agentopt::digest(&text)[..],
        text.len() as u64,
        entry.written_at
    ])?;
    Ok(text.len() as u64)
}

/// Deletes our oldest rows of AgentOpt's table that were written before `oldest`, `count` at most; those that AgentOpt has replaced stay. Returns how
/// many it went through.
fn delete_rows(transaction: &Transaction<'_>, oldest: i64, count: u64) -> rusqlite::Result<u64> {
    let marks: Vec<(String, Vec<u8>, u64)> = {
        let mut statement =
            transaction.prepare_cached("SELECT key, digest, bytes FROM agentrun_rows WHERE written_at < ?1 ORDER BY rowid LIMIT ?2")?;
        let rows = statement.query_map(params![oldest, count], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        rows.collect::<Result<_, _>>()?
    };
    for (key, digest, bytes) in &marks {
        let text = transaction
            .prepare_cached("SELECT data_json FROM cache WHERE key = ?1 AND octet_length(data_json) = ?2")?
            .query_row(params![key, bytes], |row| row.get::<_, String>(0));
        // A value that is no text is not ours.
        let text = text.optional().unwrap_or_default();
        if text.is_some_and(|text| agentopt::digest(&text)[..] == digest[..]) {
            transaction.prepare_cached("DELETE FROM cache WHERE key = ?1")?.execute([key])?;
        }
        transaction.prepare_cached("DELETE FROM agentrun_rows WHERE key = ?1")?.execute([key])?;
    }
    Ok(marks.len() as u64)
}

/// Deletes everything that stands in the file, whoever wrote it.
pub(super) fn clear(connection: &Connection) -> rusqlite::Result<()> {
    for table in ["answers", "answer_times", "agentrun_rows", "cache"] {
        let is_there = "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?1)";
        if connection.query_row(is_there, [table], |row| row.get::<_, bool>(0))? {
            connection.execute(&format!("DELETE FROM {table}"), [])?;
        }
    }
    Ok(())
}

impl Sink for Writer {
    type Item = Work;

    fn write(&mut self, batch: &[Work]) -> Result<(), String> {
        if batch.is_empty() {
            return Ok(());
        }
        let bytes = self.write_all(batch).map_err(|error| format!("store answers: {error}"))?;
        self.bytes += bytes;
        self.clears.fetch_sub(batch.iter().filter(|work| matches!(work, Work::Clear)).count(), Ordering::Release);
        // What is written is not to be written again because of what comes after it.
        if let Err(error) = self.tidy(batch) {
            tracing::warn!(%error, "cannot free the cache's disk space");
        }
        Ok(())
    }
}
