//! The journal: every call's record, in SQLite, within 100 ms of its end.

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
    sync::Arc,
};

use agentrun_llm::{
    call::{CacheLayer, Capture},
    json::Json,
    response,
};
use bytes::Bytes;
use quick_cache::unsync::Cache as Bounded;
use rusqlite::{Connection, TransactionBehavior, params};
use thiserror::Error;

use crate::{
    batch::{Batcher, Sink},
    cache::{disk::Disk, entry::Entry},
    exchange::Reading,
    fingerprint::Fingerprint,
    record::{Begun, End},
    session::Live,
    sqlite::{self, SqliteError},
};

mod outbox;
mod reader;
mod spool;

pub(crate) use outbox::{Batch, BatchLimit, Outbox};
pub use reader::{Filter, Reader};
pub(crate) use spool::Spool;

/// What calls share is written once: a session's ids, a body's text, and of hits everything but their times. A thousand hits of one
/// answer are a thousand rows of some fifty bytes. Nothing has an index of its own: rows are only ever appended, and whatever is
/// large is read by its number.
const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS sessions (
    id INTEGER PRIMARY KEY, run TEXT, data_id TEXT, combo_id TEXT, agent_id TEXT, sample INTEGER NOT NULL, attempt INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS bodies (id INTEGER PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS details (
    id INTEGER PRIMARY KEY, model TEXT NOT NULL, outcome TEXT NOT NULL, cached INTEGER NOT NULL, record TEXT NOT NULL,
    request INTEGER REFERENCES bodies, response INTEGER REFERENCES bodies
);
CREATE TABLE IF NOT EXISTS calls (
    sequence INTEGER PRIMARY KEY, id BLOB NOT NULL, session INTEGER NOT NULL REFERENCES sessions,
    detail INTEGER NOT NULL REFERENCES details, started_at INTEGER NOT NULL, ended_at INTEGER NOT NULL
);";

/// What is remembered to stand in the file, of each kind.
const KNOWN: usize = 16 << 10;

/// What can go wrong with the journal.
#[derive(Debug, Error)]
pub enum JournalError {
    /// Its file cannot be used.
    #[error("use the journal")]
    Open(#[from] SqliteError),
    /// Its writer cannot be started.
    #[error("start the journal's writer")]
    Writer(#[source] std::io::Error),
    /// A record in it cannot be read.
    #[error("read a record of {path}: {reason}")]
    Record {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// Names a body within this process: equal names, equal text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum BodyId {
    Request(Fingerprint),
    Answer(u64),
}

/// An answer on its way into the journal.
pub(crate) enum AnswerText {
    /// JSON text.
    Json(String),
    /// The message of an answer that is kept whole, assembled only if the journal does not have it yet.
    Message(Arc<Entry>),
}

/// A call that ended; its record is made by the writer, off the call's path.
pub(crate) struct Recorded {
    pub(crate) begun: Begun,
    pub(crate) end: End,
}

impl Recorded {
    fn bytes(&self) -> usize {
        let request = self.begun.request.as_ref().map_or(0, |(_, text)| text.len());
        let answer = match &self.end.answer {
            Some(AnswerText::Json(text)) => text.len(),
            Some(AnswerText::Message(entry)) => entry.body.len(),
            None => 0,
        };
        1024 + request + answer
    }

    /// Names what this call has in common with others: the same request, answered by the same stored answer in the same way.
    fn shared(&self) -> Option<Shared> {
        let (request, _) = self.begun.request.as_ref()?;
        Some(Shared { request: *request, entry: self.end.entry?, capture: self.begun.capture(), layer: self.end.cached })
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Shared {
    request: Fingerprint,
    entry: u64,
    capture: Capture,
    layer: Option<CacheLayer>,
}

/// The writing end.
pub(crate) struct Journal {
    queue: Batcher<Recorded>,
    spool: Option<Arc<Spool>>,
}

impl Journal {
    /// Records are written after the answers of their calls, which are in `answers`: a call with a record is never paid again. With `spool`
    /// bytes of room, records are dropped once the hub has them.
    pub(crate) fn open(path: &Path, limit: usize, spool: Option<u64>, answers: Option<Arc<Disk>>) -> Result<Self, JournalError> {
        let connection = sqlite::open(path, SCHEMA)?;
        let opened = spool.map(|limit| Spool::of(&connection, limit)).transpose();
        let spool = opened.map_err(|source| SqliteError::Read { path: path.to_owned(), source })?.map(Arc::new);
        let writer = Writer { connection, known: Known::default(), answers, spool: spool.clone() };
        let queue = Batcher::start("journal", limit, writer).map_err(JournalError::Writer)?;
        Ok(Self { queue, spool })
    }

    /// What shippers need to know, where there is one.
    pub(crate) fn spool(&self) -> Option<&Arc<Spool>> {
        self.spool.as_ref()
    }

    /// Queues a record; it is durable within 100 ms.
    pub(crate) fn push(&self, recorded: Recorded) {
        let bytes = recorded.bytes();
        self.queue.push(recorded, bytes);
    }

    /// Waits while more records wait for the disk than memory may hold; fails when it cannot be written.
    pub(crate) async fn room(&self) -> Result<(), String> {
        self.queue.room().await?;
        match &self.spool {
            Some(spool) => spool.room().await,
            None => Ok(()),
        }
    }

    /// Waits until all that was pushed is durable, or could not be written.
    pub(crate) async fn flush(&self) -> Result<(), String> {
        self.queue.flush().await
    }

    /// Why records cannot be written, while that is so.
    pub(crate) fn failure(&self) -> Option<String> {
        self.queue.failure()
    }
}

struct Writer {
    connection: Connection,
    known: Known,
    answers: Option<Arc<Disk>>,
    spool: Option<Arc<Spool>>,
}

/// Rows that stand in the file, by what they hold.
struct Known {
    bodies: Bounded<BodyId, i64>,
    details: Bounded<Shared, i64>,
    sessions: Bounded<u64, i64>,
}

impl Default for Known {
    fn default() -> Self {
        Self { bodies: Bounded::new(KNOWN), details: Bounded::new(KNOWN), sessions: Bounded::new(KNOWN) }
    }
}

impl Sink for Writer {
    type Item = Recorded;

    fn write(&mut self, batch: &[Recorded]) -> Result<(), String> {
        self.trim();
        if batch.is_empty() {
            return Ok(());
        }
        // An answer that cannot be written is no reason to lose the record; the cache says so itself.
        self.answers.as_ref().map(|answers| answers.flush_blocking().ok());
        self.insert(batch).map_err(|error| {
            // What this batch claimed to have written is not there.
            self.known = Known::default();
            format!("write {} records: {error}", batch.len())
        })
    }
}

type Failure = Box<dyn std::error::Error>;

impl Writer {
    fn insert(&mut self, batch: &[Recorded]) -> Result<(), Failure> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
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
            }
        }
        let last = transaction.last_insert_rowid();
        transaction.commit()?;
        if let Some(spool) = &self.spool {
            spool.wrote(&self.connection, last.unsigned_abs());
        }
        Ok(())
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
        Some((id, text)) => body(file, known, Some(BodyId::Request(*id)), || strict(text))?,
        None => None,
    };
    let response = match &end.answer {
        Some(AnswerText::Json(text)) => body(file, known, None, || Some(text.into()))?,
        Some(AnswerText::Message(entry)) => {
            body(file, known, Some(BodyId::Answer(entry.number)), || message(entry, begun.reading.as_deref()))?
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

/// The number of a body's row, which is written unless it is known to stand there.
fn body<'a>(
    file: &Connection,
    known: &mut Known,
    id: Option<BodyId>,
    text: impl FnOnce() -> Option<Cow<'a, str>>,
) -> Result<Option<i64>, Failure> {
    if let Some(row) = id.as_ref().and_then(|id| known.bodies.get(id)) {
        return Ok(Some(*row));
    }
    let Some(text) = text() else { return Ok(None) };
    file.prepare_cached("INSERT INTO bodies VALUES (NULL, ?1)")?.execute([&*text])?;
    let row = file.last_insert_rowid();
    if let Some(id) = id {
        known.bodies.insert(id, row);
    }
    Ok(Some(row))
}

/// The message of an answer: a plain one is its own.
fn message<'a>(entry: &'a Entry, reading: Option<&Reading>) -> Option<Cow<'a, str>> {
    if entry.facts.is_message {
        return std::str::from_utf8(&entry.body).ok().map(Cow::Borrowed);
    }
    let reading = reading?;
    let answer = response::read(&reading.endpoint, entry.framing, &entry.body, reading.model.as_deref());
    Some(answer.message?.to_string().into())
}

/// A request's body as JSON that any reader takes: Python's liberties (NaN, lone surrogates) are replaced. What common readers refuse
/// all the same (nested too deeply, numbers out of range) is left out, so that it does not spoil the records around it.
fn strict(body: &Bytes) -> Option<Cow<'_, str>> {
    let text = std::str::from_utf8(body).ok();
    // Nearly every body is plain; looking for the odd ones is a tenth of reading the JSON once more.
    if let Some(text) = text
        && !is_odd(text)
    {
        return Some(text.into());
    }
    let readable = |text: &str| serde_json::from_str::<serde_json::Value>(&format!("[[{text}]]")).is_ok();
    if let Some(text) = text.filter(|text| readable(text)) {
        return Some(text.into());
    }
    Json::parse(body).ok()?.to_strict().filter(|text| readable(text)).map(Cow::Owned)
}

/// Whether a body may hold what some reader refuses.
fn is_odd(text: &str) -> bool {
    const DEEP: usize = 100;
    const CHUNK: usize = 64;
    let bytes = text.as_bytes();
    let opened = bytes.iter().filter(|&&byte| byte == b'[' || byte == b'{').count();
    // A number out of range is hundreds of digits long, so it crosses several chunks' beginnings.
    let crossings: Vec<bool> = bytes.iter().step_by(CHUNK).map(u8::is_ascii_digit).collect();
    let long_number = crossings.windows(3).any(|three| three.iter().all(|&digit| digit));
    opened > DEEP
        || long_number
        || ["NaN", "Infinity", "\\ud", "\\uD", "\u{feff}", "e308", "E308"].iter().any(|liberty| text.contains(liberty))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_readers_refuse_is_not_kept_as_it_is() {
        let kept = |text: &str| strict(&Bytes::copy_from_slice(text.as_bytes())).map(Cow::into_owned);
        assert_eq!(kept(r#"{"a": "é"}"#).as_deref(), Some(r#"{"a": "é"}"#));
        assert_eq!(kept(r#"{"a": NaN}"#).as_deref(), Some(r#"{"a":null}"#));
        assert_eq!(kept("{\"a\": \"\\ud800\"}").as_deref(), Some("{\"a\":\"\u{fffd}\"}"));
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(kept(&deep), None);
        assert_eq!(kept(&format!("[{}]", "9".repeat(10_000))), None);
        let wide = format!("[{}[]]", "[],".repeat(1000));
        assert_eq!(kept(&wide), Some(wide));
    }
}
