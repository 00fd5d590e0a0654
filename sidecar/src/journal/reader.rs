//! Reading the journal, beside whoever writes it.

use std::path::{Path, PathBuf};

use agentrun_llm::call::{CallId, CallRecord};
use jiff::Timestamp;
use rusqlite::{Connection, Row, named_params};
use serde_json::value::RawValue;

use super::JournalError;
use crate::sqlite::{self, SqliteError};

/// Which records are wanted. All that are given must hold; equality is exact.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of this run.
    pub run: Option<String>,
    /// Of this datapoint.
    pub data_id: Option<String>,
    /// Of this combo.
    pub combo_id: Option<String>,
    /// Of this agent.
    pub agent_id: Option<String>,
    /// Sent to this model.
    pub model: Option<String>,
    /// Answered from the cache, or not.
    pub cached: Option<bool>,
    /// With this outcome, as the record spells it.
    pub outcome: Option<String>,
    /// Ended at or after this time.
    pub since: Option<jiff::Timestamp>,
    /// At most so many, the newest; 0 is all.
    pub limit: u64,
    /// Leaves out so many of the newest.
    pub offset: u64,
}

/// The newest are found first, and shown in the order they ended.
const QUERY: &str = "
SELECT calls.id, calls.started_at, calls.ended_at, calls.record, request.text, response.text,
       run, data_id, combo_id, agent_id, sample, attempt
FROM (
    SELECT calls.*, details.record, details.request, details.response, run, data_id, combo_id, agent_id, sample, attempt
    FROM calls JOIN details ON details.id = calls.detail JOIN sessions ON sessions.id = calls.session
    WHERE (:run IS NULL OR run = :run) AND (:data_id IS NULL OR data_id = :data_id) AND (:combo_id IS NULL OR combo_id = :combo_id)
      AND (:agent_id IS NULL OR agent_id = :agent_id) AND (:model IS NULL OR model = :model) AND (:cached IS NULL OR cached = :cached)
      AND (:outcome IS NULL OR outcome = :outcome) AND (:since IS NULL OR ended_at >= :since)
    ORDER BY sequence DESC LIMIT :limit OFFSET :offset
) AS calls
LEFT JOIN bodies AS request ON request.id = calls.request
LEFT JOIN bodies AS response ON response.id = calls.response
ORDER BY calls.sequence";

/// The reading end of a journal.
pub struct Reader {
    pub(super) connection: Connection,
    pub(super) path: PathBuf,
}

impl Reader {
    /// Opens the journal at `path`, which must exist.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        Ok(Self { connection: sqlite::open_to_read(path)?, path: path.to_owned() })
    }

    /// The records that `filter` asks for, in the order they ended.
    pub fn calls(&self, filter: &Filter) -> Result<Vec<CallRecord>, JournalError> {
        let mut records = Vec::new();
        self.each(filter, |record| records.push(record))?;
        Ok(records)
    }

    /// Hands out the records that `filter` asks for one by one, so that a long journal need not fit in memory.
    pub fn each(&self, filter: &Filter, mut take: impl FnMut(CallRecord)) -> Result<(), JournalError> {
        let reading = |source| SqliteError::Read { path: self.path.clone(), source };
        let mut statement = self.connection.prepare_cached(QUERY).map_err(reading)?;
        let limit = if filter.limit == 0 { -1 } else { i64::try_from(filter.limit).unwrap_or(i64::MAX) };
        let mut rows = statement
            .query(named_params! {
                ":run": filter.run, ":data_id": filter.data_id, ":combo_id": filter.combo_id, ":agent_id": filter.agent_id,
                ":model": filter.model, ":cached": filter.cached, ":outcome": filter.outcome,
                ":since": filter.since.map(|since| since.as_microsecond()),
                ":limit": limit, ":offset": i64::try_from(filter.offset).unwrap_or(i64::MAX),
            })
            .map_err(reading)?;
        while let Some(row) = rows.next().map_err(reading)? {
            take(record(row, &self.path)?);
        }
        Ok(())
    }
}

/// A hit's row stands for the record of the first hit like it, at another time and perhaps in another session.
pub(super) fn record(row: &Row<'_>, path: &Path) -> Result<CallRecord, JournalError> {
    let columns = || -> rusqlite::Result<_> {
        Ok((row.get::<_, [u8; 16]>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?, row.get::<_, String>(3)?))
    };
    let session = |record: &mut CallRecord| -> rusqlite::Result<_> {
        (record.run, record.data_id, record.combo_id, record.agent_id) = (row.get(6)?, row.get(7)?, row.get(8)?, row.get(9)?);
        (record.sample, record.attempt) = (row.get(10)?, row.get(11)?);
        Ok((row.get::<_, Option<String>>(4)?, row.get::<_, Option<String>>(5)?))
    };
    let reading = |source| SqliteError::Read { path: path.to_owned(), source };
    let failed = |reason: String| JournalError::Record { path: path.to_owned(), reason };
    let (id, started_at, ended_at, text) = columns().map_err(reading)?;
    let mut record: CallRecord = serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
    let (request, response) = session(&mut record).map_err(reading)?;
    // Python nests deeper than other readers go; such a body is not shown rather than all of its journal.
    let json = |text: Option<String>| text.and_then(|text| RawValue::from_string(text).ok());
    record.id = CallId::from_bytes(id);
    record.started_at = Timestamp::from_microsecond(started_at).map_err(|error| failed(error.to_string()))?;
    record.timestamp = Timestamp::from_microsecond(ended_at).map_err(|error| failed(error.to_string()))?;
    record.request_body = json(request);
    record.response_body = json(response);
    Ok(record)
}
