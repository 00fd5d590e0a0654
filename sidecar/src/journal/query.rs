//! Asking a journal that is being written, record by record, so that a long answer holds neither memory nor the file.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, named_params};
use serde::Deserialize;

use agentrun_llm::call::{CallRecord, Operation};

use super::{
    JournalError,
    reader::{self, Reader},
};
use crate::sqlite::SqliteError;

/// Which records are asked for. All that are given must hold; equality is exact.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// The first and the last name of runs, in the order of their bytes.
    pub(crate) runs: (String, String),
    pub(crate) data_id: Option<String>,
    pub(crate) combo_id: Option<String>,
    pub(crate) agent_id: Option<String>,
    /// Ended at or after this time.
    pub(crate) since: Option<Timestamp>,
}

/// What equal calls are in sum.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sum {
    pub(crate) model: String,
    pub(crate) cached: bool,
    pub(crate) prompt_tokens: u64,
    pub(crate) completion_tokens: u64,
    pub(crate) latency_seconds: f64,
}

const CALLS: &str = "
FROM calls WHERE session IN (
    SELECT id FROM sessions
    WHERE run BETWEEN :first AND :last AND (:data_id IS NULL OR data_id = :data_id) AND (:combo_id IS NULL OR combo_id = :combo_id)
      AND (:agent_id IS NULL OR agent_id = :agent_id)
) AND ended_at >= :since";

/// The columns as [`reader::record`] wants them.
const RECORD: &str = "
SELECT calls.id, calls.started_at, calls.ended_at, details.record, request.text, response.text,
       run, data_id, combo_id, agent_id, sample, attempt
FROM calls JOIN details ON details.id = calls.detail JOIN sessions ON sessions.id = calls.session
LEFT JOIN bodies AS request ON request.id = details.request
LEFT JOIN bodies AS response ON response.id = details.response
WHERE calls.sequence = ?1";

/// What a record says that can be added up.
#[derive(Deserialize)]
struct Figures {
    operation: Operation,
    prompt_tokens: u64,
    completion_tokens: u64,
    latency_seconds: f64,
}

macro_rules! parameters {
    ($wanted:expr) => {
        named_params! {
            ":first": $wanted.runs.0, ":last": $wanted.runs.1, ":data_id": $wanted.data_id, ":combo_id": $wanted.combo_id,
            ":agent_id": $wanted.agent_id, ":since": $wanted.since.map_or(i64::MIN, Timestamp::as_microsecond),
        }
    };
}

impl Reader {
    /// The numbers of the wanted records, in the order they ended: eight bytes each.
    pub(crate) fn numbers(&self, wanted: &Wanted) -> Result<Vec<i64>, JournalError> {
        let reading = |source| SqliteError::Read { path: self.path.clone(), source };
        let mut statement = self.connection.prepare_cached(&format!("SELECT sequence {CALLS} ORDER BY sequence")).map_err(reading)?;
        let rows = statement.query_map(parameters!(wanted), |row| row.get(0)).map_err(reading)?;
        Ok(rows.collect::<Result<_, _>>().map_err(reading)?)
    }

    /// The record of this number; none where it has been dropped since.
    pub(crate) fn numbered(&self, number: i64) -> Result<Option<CallRecord>, JournalError> {
        let reading = |source| SqliteError::Read { path: self.path.clone(), source };
        let mut statement = self.connection.prepare_cached(RECORD).map_err(reading)?;
        let mut rows = statement.query([number]).map_err(reading)?;
        let row = rows.next().map_err(reading)?;
        row.map(|row| reader::record(row, &self.path)).transpose()
    }

    /// Hands out what the wanted records are in sum, those of equal calls together, in the order of the first of each. Counts of tokens are
    /// answers, no consumption: they add nothing.
    pub(crate) fn sums(&self, wanted: &Wanted, mut take: impl FnMut(Sum)) -> Result<(), JournalError> {
        let reading = |source| SqliteError::Read { path: self.path.clone(), source };
        let grouped = format!("SELECT detail, count(*) {CALLS} GROUP BY detail ORDER BY min(sequence)");
        let mut groups = self.connection.prepare_cached(&grouped).map_err(reading)?;
        let mut detail = self.connection.prepare_cached("SELECT model, cached, record FROM details WHERE id = ?1").map_err(reading)?;
        let mut rows = groups.query(parameters!(wanted)).map_err(reading)?;
        while let Some(row) = rows.next().map_err(reading)? {
            let (number, count): (i64, u64) = (row.get(0).map_err(reading)?, row.get(1).map_err(reading)?);
            let told = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?));
            let Some((model, cached, record)) = detail.query_row([number], told).optional().map_err(reading)? else { continue };
            let failed = |error: serde_json::Error| JournalError::Record { path: self.path.clone(), reason: error.to_string() };
            let figures: Figures = serde_json::from_str(&record).map_err(failed)?;
            let tokens = if figures.operation == Operation::CountTokens { 0 } else { count };
            take(Sum {
                model,
                cached,
                prompt_tokens: figures.prompt_tokens.saturating_mul(tokens),
                completion_tokens: figures.completion_tokens.saturating_mul(tokens),
                latency_seconds: figures.latency_seconds * count as f64,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Limits, Retention},
        journal::Journal,
    };

    /// What SQLite would do to answer both questions.
    fn plan(retention: Option<Retention>, asked: bool) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("calls.db");
        let journal = Journal::open(&path, &Limits::default(), None, retention, asked).unwrap();
        let reader = Reader::open(&path).unwrap();
        drop(journal);
        let wanted = Wanted { runs: ("r".to_owned(), "r".to_owned()), data_id: Some("q".to_owned()), ..Wanted::default() };
        let explained = |select: &str, order: &str| -> Vec<String> {
            let mut statement = reader.connection.prepare(&format!("EXPLAIN QUERY PLAN SELECT {select} {CALLS} {order}")).unwrap();
            let steps = statement.query_map(parameters!(wanted), |row| row.get("detail")).unwrap();
            steps.collect::<Result<_, _>>().unwrap()
        };
        [explained("sequence", "ORDER BY sequence"), explained("detail, count(*)", "GROUP BY detail ORDER BY min(sequence)")].concat()
    }

    #[test]
    fn one_sessions_records_are_found_without_a_look_at_all_others() {
        let scans = |plan: &[String]| plan.iter().filter(|step| step.starts_with("SCAN")).cloned().collect::<Vec<_>>();
        for (retention, asked) in [(None, true), (Some(Retention::default()), true), (Some(Retention::default()), false)] {
            let plan = plan(retention, asked);
            assert_eq!(scans(&plan), Vec::<String>::new(), "{plan:#?}");
            assert!(plan.iter().any(|step| step.contains("calls_of_session")), "{plan:#?}");
        }
        assert!(!scans(&plan(None, false)).is_empty(), "nothing has an index where nobody asks");
    }
}
