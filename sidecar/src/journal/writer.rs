//! Writes records: what calls share is written once.

use std::sync::Arc;

use quick_cache::unsync::Cache as Bounded;
use rusqlite::{Connection, TransactionBehavior, params};

use super::{
    AnswerText, Recorded, Shared,
    body::{self, BodyId},
    retain::{Dropped, Retain},
    spool::Spool,
};
use crate::{batch::Sink, cache::disk::Disk, session::Live};

/// What is remembered to stand in the file, of each kind.
const KNOWN: usize = 16 << 10;

/// The writing end's other half, on a thread of its own.
pub(super) struct Writer {
    connection: Connection,
    known: Known,
    /// Whether an insert was begun and not committed.
    unfinished: bool,
    answers: Option<Arc<Disk>>,
    spool: Option<Arc<Spool>>,
    retain: Option<Retain>,
}

/// Rows that stand in the file, by what they hold.
pub(super) struct Known {
    pub(super) bodies: Bounded<BodyId, i64>,
    details: Bounded<Shared, i64>,
    sessions: Bounded<u64, i64>,
}

impl Default for Known {
    fn default() -> Self {
        Self { bodies: Bounded::new(KNOWN), details: Bounded::new(KNOWN), sessions: Bounded::new(KNOWN) }
    }
}

impl Known {
    /// Forgets what does not stand in the file any more.
    fn forget(&mut self, dropped: &Dropped) {
        self.bodies.retain(|_, row| !dropped.bodies.contains(row));
        self.details.retain(|_, row| !dropped.details.contains(row));
        self.sessions.retain(|_, row| !dropped.sessions.contains(row));
    }
}

impl Sink for Writer {
    type Item = Recorded;

    fn write(&mut self, batch: &[Recorded]) -> Result<(), String> {
        self.trim();
        if !batch.is_empty() {
            // An answer that cannot be written is no reason to lose the record; the cache says so itself.
            self.answers.as_ref().map(|answers| answers.flush_blocking().ok());
            self.insert(batch).map_err(|error| format!("write {} records: {error}", batch.len()))?;
        }
        self.forget(batch.len());
        Ok(())
    }
}

pub(super) type Failure = Box<dyn std::error::Error>;

impl Writer {
    /// Nothing is known to stand in the file yet.
    pub(super) fn new(connection: Connection, answers: Option<Arc<Disk>>, spool: Option<Arc<Spool>>, retain: Option<Retain>) -> Self {
        Self { connection, known: Known::default(), unfinished: false, answers, spool, retain }
    }

    fn insert(&mut self, batch: &[Recorded]) -> Result<(), Failure> {
        if std::mem::replace(&mut self.unfinished, true) {
            // What the one before claimed to have written is not there, whether it failed or panicked.
            self.known = Known::default();
        }
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut calls_written = None;
        {
            let mut calls = transaction.prepare_cached("INSERT INTO calls VALUES (NULL, ?1, ?2, ?3, ?4, ?5)")?;
            for recorded in batch {
                let Recorded { begun, end } = recorded;
                let session = session(&transaction, &mut self.known, &begun.live)?;
                let detail = detail(&transaction, &mut self.known, recorded)?;
                calls.execute(params![
                    begun.id.as_bytes(),
                    session,
                    detail,
                    begun.started_at.as_microsecond(),
                    begun.ended_at(end).as_microsecond()
                ])?;
                let written = (transaction.last_insert_rowid(), begun.ended_at(end).as_microsecond());
                calls_written = Some((calls_written.map_or(written, |(first, _)| first), written.0));
            }
        }
        let last = transaction.last_insert_rowid();
        transaction.commit()?;
        self.unfinished = false;
        if let Some(spool) = &self.spool {
            spool.wrote(&self.connection, last.unsigned_abs());
        }
        if let (Some(retain), Some((first, last))) = (&mut self.retain, calls_written) {
            retain.wrote(first, last);
        }
        Ok(())
    }

    /// Drops records that need not be kept, now that so many `more` are there.
    fn forget(&mut self, more: usize) {
        let Some(retain) = &mut self.retain else { return };
        match retain.trim(&mut self.connection, jiff::Timestamp::now(), more) {
            Ok(Some(dropped)) => self.known.forget(&dropped),
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "cannot drop old records"),
        }
    }

    /// Makes room for what is to be written.
    fn trim(&mut self) {
        let Some(spool) = &self.spool else { return };
        match spool.trim(&mut self.connection) {
            // What was known to stand in the file may be gone.
            Ok(true) => self.known = Known::default(),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "cannot drop records that were shipped"),
        }
    }
}

fn session(file: &Connection, known: &mut Known, live: &Live) -> Result<i64, Failure> {
    if let Some(id) = known.sessions.get(&live.number) {
        return Ok(*id);
    }
    let session = &live.session;
    file.prepare_cached("INSERT INTO sessions VALUES (NULL, ?1, ?2, ?3, ?4, ?5, ?6)")?.execute(params![
        session.run,
        session.data_id,
        session.combo_id,
        session.agent_id,
        session.sample,
        session.attempt
    ])?;
    let id = file.last_insert_rowid();
    known.sessions.insert(live.number, id);
    Ok(id)
}

fn detail(file: &Connection, known: &mut Known, recorded: &Recorded) -> Result<i64, Failure> {
    let shared = recorded.shared();
    if let Some(id) = shared.as_ref().and_then(|shared| known.details.get(shared)) {
        return Ok(*id);
    }
    let Recorded { begun, end } = recorded;
    let request = match &begun.request {
        Some((id, text)) => body::row(file, known, Some(BodyId::Request(*id)), || body::strict(text))?,
        None => None,
    };
    let response = match &end.answer {
        Some(AnswerText::Json(text)) => body::row(file, known, None, || Some(text.into()))?,
        Some(AnswerText::Message(entry)) => {
            body::row(file, known, Some(BodyId::Answer(entry.number)), || body::message(entry, begun.reading.as_deref()))?
        }
        None => None,
    };
    let record = begun.record(end);
    file.prepare_cached("INSERT INTO details VALUES (NULL, ?1, ?2, ?3, ?4, ?5, ?6)")?.execute(params![
        record.model,
        record.outcome.as_str(),
        record.cached,
        serde_json::to_string(&record)?,
        request,
        response
    ])?;
    let id = file.last_insert_rowid();
    if let Some(shared) = shared {
        known.details.insert(shared, id);
    }
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{journal::SCHEMA, sqlite};

    #[test]
    fn what_an_unfinished_insert_claimed_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let connection = sqlite::open(&folder.path().join("calls.db"), SCHEMA).unwrap();
        let mut writer = Writer::new(connection, None, None, None);
        writer.insert(&[]).unwrap();
        writer.known.sessions.insert(7, 1);
        writer.insert(&[]).unwrap();
        assert!(writer.known.sessions.get(&7).is_some());
        writer.connection.pragma_update(None, "query_only", true).unwrap();
        writer.insert(&[]).unwrap_err();
        writer.connection.pragma_update(None, "query_only", false).unwrap();
        writer.insert(&[]).unwrap();
        assert!(writer.known.sessions.get(&7).is_none());
    }
}
