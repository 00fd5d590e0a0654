//! The records that are still to be shipped, in batches of JSON lines.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use agentrun_protocol::trial::BATCH_BYTES;
use rusqlite::{Connection, params};

use super::{JournalError, reader};
use crate::sqlite::{self, SqliteError};

/// Read from one sequence number on. Bodies are looked up by their rows, so that a batch costs what its records do.
const QUERY: &str = "
SELECT calls.id, calls.started_at, calls.ended_at, details.record, request.text, response.text,
       run, data_id, combo_id, agent_id, sample, attempt, calls.sequence
FROM calls JOIN details ON details.id = calls.detail JOIN sessions ON sessions.id = calls.session
LEFT JOIN bodies AS request ON request.id = details.request
LEFT JOIN bodies AS response ON response.id = details.response
WHERE calls.sequence > ?1 ORDER BY calls.sequence LIMIT ?2";

/// Records in a row.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Batch {
    /// The sequence number of the first; those of the others follow without gaps.
    pub(crate) first: u64,
    pub(crate) records: u64,
    /// A JSON object a line.
    pub(crate) lines: Vec<u8>,
}

/// How much a batch may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchLimit {
    pub(crate) records: u64,
    /// A batch of one record may be larger.
    pub(crate) bytes: usize,
    /// Leaves the bodies out: what is too large as a whole is told without them.
    pub(crate) without_bodies: bool,
}

/// Reads a journal beside its writer.
pub(crate) struct Outbox {
    connection: Connection,
    path: PathBuf,
}

impl Outbox {
    pub(crate) fn open(path: &Path) -> Result<Self, JournalError> {
        Ok(Self { connection: sqlite::open_to_read(path)?, path: path.to_owned() })
    }

    /// The records after `sequence`, as many as one batch holds; none where there is none. Where those that come next were dropped, it begins later.
    pub(crate) fn after(&self, sequence: u64, limit: BatchLimit) -> Result<Batch, JournalError> {
        let reading = |source| SqliteError::Read { path: self.path.clone(), source };
        let mut statement = self.connection.prepare_cached(QUERY).map_err(reading)?;
        let mut rows = statement.query(params![sequence, limit.records]).map_err(reading)?;
        let mut batch = Batch { first: sequence + 1, ..Batch::default() };
        while let Some(row) = rows.next().map_err(reading)? {
            let number: u64 = row.get(12).map_err(reading)?;
            if batch.records == 0 {
                batch.first = number;
            }
            if number != batch.first + batch.records {
                let reason = format!("record {} is missing before record {number}", batch.first + batch.records);
                return Err(JournalError::Record { path: self.path.clone(), reason });
            }
            let mut record = reader::record(row, &self.path)?;
            if limit.without_bodies {
                (record.request_body, record.response_body) = (None, None);
            }
            let before = batch.lines.len();
            let failed = |error: serde_json::Error| JournalError::Record { path: self.path.clone(), reason: error.to_string() };
            serde_json::to_writer(&mut batch.lines, &record).map_err(failed)?;
            if batch.lines.len() - before >= BATCH_BYTES {
                // The hub takes no line as long as this; the call itself is worth more than what was said in it.
                batch.lines.truncate(before);
                (record.request_body, record.response_body) = (None, None);
                serde_json::to_writer(&mut batch.lines, &record).map_err(failed)?;
            }
            batch.lines.push(b'\n');
            if batch.lines.len() > limit.bytes && batch.records > 0 {
                batch.lines.truncate(before);
                break;
            }
            batch.records += 1;
        }
        Ok(batch)
    }

    /// When the first call began and the last one ended, of those that are still in the file.
    pub(crate) fn span(&self) -> Result<Option<(SystemTime, SystemTime)>, JournalError> {
        let reading = |source| SqliteError::Read { path: self.path.clone(), source };
        let times = |row: &rusqlite::Row<'_>| Ok(row.get::<_, Option<u64>>(0)?.zip(row.get::<_, Option<u64>>(1)?));
        let span = self.connection.query_row("SELECT min(started_at), max(ended_at) FROM calls", [], times).map_err(reading)?;
        let at = |microseconds| SystemTime::UNIX_EPOCH + Duration::from_micros(microseconds);
        Ok(span.map(|(first, last)| (at(first), at(last))))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use agentrun_llm::call::{CallId, CallRecord, Capture};
    use jiff::Timestamp;

    use super::*;
    use crate::journal::SCHEMA;

    const ALL: BatchLimit = BatchLimit { records: 512, bytes: 1 << 20, without_bodies: false };

    /// A journal of `count` calls whose requests are `bytes` long.
    pub(crate) fn journal(path: &Path, count: u64, bytes: usize) -> Connection {
        let connection = sqlite::open(path, SCHEMA).unwrap();
        connection.execute("INSERT INTO sessions VALUES (1, 'r', 'q', NULL, NULL, 0, 0)", []).unwrap();
        more(&connection, count, bytes);
        connection
    }

    pub(crate) fn more(connection: &Connection, count: u64, bytes: usize) {
        for _ in 0..count {
            let at = Timestamp::from_second(1_800_000_000).unwrap();
            let id = CallId::new(at, [7; 10]);
            let record = serde_json::to_string(&CallRecord::begin(id, at, Capture::Connect)).unwrap();
            connection.execute("INSERT INTO bodies VALUES (NULL, ?1)", [format!("\"{}\"", "x".repeat(bytes))]).unwrap();
            let body = connection.last_insert_rowid();
            connection.execute("INSERT INTO details VALUES (NULL, 'm', 'complete', 0, ?1, ?2, NULL)", params![record, body]).unwrap();
            let detail = connection.last_insert_rowid();
            let times = [at.as_microsecond(), at.as_microsecond() + 5];
            let row = params![id.as_bytes(), detail, times[0], times[1]];
            connection.execute("INSERT INTO calls VALUES (NULL, ?1, 1, ?2, ?3, ?4)", row).unwrap();
        }
    }

    fn lines(batch: &Batch) -> Vec<CallRecord> {
        batch.lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(|line| serde_json::from_slice(line).unwrap()).collect()
    }

    #[test]
    fn batches_follow_each_other_without_gaps() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("calls.db");
        journal(&path, 5, 10);
        let outbox = Outbox::open(&path).unwrap();
        let two = BatchLimit { records: 2, ..ALL };
        let (mut sequence, mut seen) = (0, Vec::new());
        loop {
            let batch = outbox.after(sequence, two).unwrap();
            assert_eq!((batch.first, lines(&batch).len() as u64), (sequence + 1, batch.records));
            if batch.records == 0 {
                break;
            }
            seen.push(batch.records);
            sequence += batch.records;
        }
        assert_eq!(seen, [2, 2, 1]);
        let record = &lines(&outbox.after(4, ALL).unwrap())[0];
        assert_eq!((record.run.as_deref(), record.data_id.as_deref()), (Some("r"), Some("q")));
        assert!(record.request_body.as_ref().unwrap().get().contains("xxx"));
    }

    #[test]
    fn a_batch_is_bounded_in_bytes_but_never_empty() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("calls.db");
        journal(&path, 4, 10_000);
        let outbox = Outbox::open(&path).unwrap();
        let limited = |bytes| outbox.after(0, BatchLimit { bytes, ..ALL }).unwrap();
        assert_eq!((limited(25_000).records, limited(100).records), (2, 1));
        assert!(limited(25_000).lines.len() <= 25_000);
        let small = outbox.after(0, BatchLimit { without_bodies: true, ..ALL }).unwrap();
        more(&Connection::open(&path).unwrap(), 1, BATCH_BYTES);
        let huge = outbox.after(4, ALL).unwrap();
        assert!(huge.records == 1 && huge.lines.len() < 10_000, "{}", huge.lines.len());
        assert!(small.records == 4 && small.lines.len() < 10_000 && lines(&small)[0].request_body.is_none());
    }

    #[test]
    fn a_missing_record_is_not_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("calls.db");
        journal(&path, 3, 1).execute("DELETE FROM calls WHERE sequence = 2", []).unwrap();
        let outbox = Outbox::open(&path).unwrap();
        assert!(outbox.after(0, ALL).unwrap_err().to_string().contains("record 2 is missing"));
        let later = outbox.after(1, ALL).unwrap();
        assert_eq!((later.first, later.records), (3, 1));
    }

    #[test]
    fn calls_span_from_the_first_start_to_the_last_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("calls.db");
        journal(&path, 0, 1);
        let outbox = Outbox::open(&path).unwrap();
        assert_eq!(outbox.span().unwrap(), None);
        more(&Connection::open(&path).unwrap(), 2, 1);
        let (first, last) = outbox.span().unwrap().unwrap();
        assert_eq!(last.duration_since(first).unwrap(), Duration::from_micros(5));
    }
}
