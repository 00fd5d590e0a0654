//! The journal: every call's record, in SQLite, within 100 ms of its end.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use agentrun_llm::call::{CacheLayer, Capture};
use thiserror::Error;

use crate::{
    batch::Batcher,
    cache::{disk::Disk, entry::Entry},
    config::{Limits, Retention},
    fingerprint::Fingerprint,
    record::{Begun, End},
    sqlite::{self, SqliteError},
};

mod body;
mod outbox;
mod query;
mod reader;
mod retain;
mod spool;
mod writer;

#[cfg(test)]
pub(crate) use outbox::tests as samples;
pub(crate) use outbox::{Batch, BatchLimit, Outbox};
pub(crate) use query::Wanted;
pub use reader::{Filter, Reader};
use retain::Retain;
pub(crate) use spool::Spool;
use writer::Writer;

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

/// What a journal needs that is asked while it is written.
const ASKED: &str = "
CREATE INDEX IF NOT EXISTS sessions_of_run ON sessions (run, data_id, combo_id);
CREATE INDEX IF NOT EXISTS calls_of_session ON calls (session, ended_at);";

/// What a journal needs beside [`ASKED`] that forgets a few records at a time.
const RETAINED: &str = "
CREATE INDEX IF NOT EXISTS calls_of_detail ON calls (detail);
CREATE INDEX IF NOT EXISTS details_of_request ON details (request);
CREATE INDEX IF NOT EXISTS details_of_response ON details (response);";

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
    /// Records are written after the answers of their calls, which are in `answers`: a call with a record is never paid again. Where
    /// `limits` know of a spool, records are dropped once the hub has them; with `retention`, once they are old or too many. One that is
    /// `asked` while it is written finds records by their sessions.
    pub(crate) fn open(
        path: &Path,
        limits: &Limits,
        answers: Option<Arc<Disk>>,
        retention: Option<Retention>,
        asked: bool,
    ) -> Result<Self, JournalError> {
        let reading = |source| SqliteError::Read { path: path.to_owned(), source };
        let schema = match (retention.is_some(), asked) {
            (true, _) => &[SCHEMA, ASKED, RETAINED][..],
            (false, true) => &[SCHEMA, ASKED],
            (false, false) => &[SCHEMA],
        };
        let connection = sqlite::open(path, &schema.concat())?;
        let spool = limits.spool_bytes.map(|limit| Spool::of(&connection, limit)).transpose().map_err(reading)?.map(Arc::new);
        let retain = retention.map(|retention| Retain::of(&connection, retention)).transpose().map_err(reading)?;
        let writer = Writer::new(connection, answers, spool.clone(), retain);
        let queue = Batcher::start("journal", limits.journal_bytes, writer).map_err(JournalError::Writer)?;
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
