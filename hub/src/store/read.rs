//! What asks the store.

use std::str::FromStr;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params, types::Type};
use rust_decimal::Decimal;

use super::{Store, StoreError};
use crate::{Owner, RunRecord, Spending, TrialId, TrialRecord};

const RUN: &str =
    "SELECT id, name, generation, fingerprint, manifest, datapoints, trials, phase, started, finished, owner_pid, owner_started,
  calls, cached, failed, unreadable, unpriced, spent, saved FROM run";
const TRIAL: &str = "SELECT combo, data_id, sample, attempt, state, reason, message, score, score_reason, latency_seconds, calls, cached,
  failed, unreadable, unpriced, usd, spent, saved, output, started, finished FROM trial WHERE run = ?1 ORDER BY combo, data_id, sample";

impl Store {
    /// The latest generation of every run, newest first.
    pub fn runs(&self) -> Result<Vec<RunRecord>, StoreError> {
        let connection = self.connection();
        let latest = "WHERE generation = (SELECT max(generation) FROM run AS other WHERE other.name = run.name)";
        let mut statement = connection.prepare(&format!("{RUN} {latest} ORDER BY started DESC, id DESC")).map_err(self.failed())?;
        let rows = statement.query_map([], run).map_err(self.failed())?;
        rows.collect::<Result<_, _>>().map_err(self.failed())
    }

    /// The latest generation of one run.
    pub fn run(&self, name: &str) -> Result<Option<RunRecord>, StoreError> {
        latest(&self.connection(), name).map_err(self.failed())
    }

    /// Every trial of a run that was ever started, by combo, datapoint and sample.
    pub fn trials(&self, run: i64) -> Result<Vec<TrialRecord>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare(TRIAL).map_err(self.failed())?;
        let rows = statement.query_map(params![run], trial).map_err(self.failed())?;
        rows.collect::<Result<_, _>>().map_err(self.failed())
    }
}

pub(super) fn latest(connection: &Connection, name: &str) -> rusqlite::Result<Option<RunRecord>> {
    connection.query_row(&format!("{RUN} WHERE name = ?1 ORDER BY generation DESC LIMIT 1"), params![name], run).optional()
}

fn run(row: &Row<'_>) -> rusqlite::Result<RunRecord> {
    let owner = match (row.get::<_, Option<u32>>(10)?, row.get::<_, Option<String>>(11)?) {
        (Some(pid), Some(started)) => Some(Owner { pid, started }),
        _ => None,
    };
    Ok(RunRecord {
        id: row.get(0)?,
        name: row.get(1)?,
        generation: row.get(2)?,
        fingerprint: row.get(3)?,
        manifest: row.get(4)?,
        datapoints: row.get(5)?,
        trials: count(row, 6)?,
        phase: parsed(row, 7)?,
        started: parsed::<Timestamp>(row, 8)?,
        finished: optional(row, 9)?,
        owner,
        spending: row.get::<_, Option<i64>>(12)?.map(|_| spending(row)).transpose()?,
    })
}

fn spending(row: &Row<'_>) -> rusqlite::Result<Spending> {
    Ok(Spending {
        calls: count(row, 12)?,
        cached: count(row, 13)?,
        failed: count(row, 14)?,
        unreadable: count(row, 15)?,
        unpriced: count(row, 16)?,
        usd: None,
        spent: parsed::<Decimal>(row, 17)?,
        saved: parsed::<Decimal>(row, 18)?,
    })
}

fn trial(row: &Row<'_>) -> rusqlite::Result<TrialRecord> {
    Ok(TrialRecord {
        id: TrialId { combo: row.get(0)?, data_id: row.get(1)?, sample: row.get(2)? },
        attempt: row.get(3)?,
        state: parsed(row, 4)?,
        reason: row.get(5)?,
        message: row.get(6)?,
        score: row.get(7)?,
        score_reason: row.get(8)?,
        latency_seconds: row.get(9)?,
        spending: Spending {
            calls: count(row, 10)?,
            cached: count(row, 11)?,
            failed: count(row, 12)?,
            unreadable: count(row, 13)?,
            unpriced: count(row, 14)?,
            usd: optional(row, 15)?,
            spent: parsed::<Decimal>(row, 16)?,
            saved: parsed::<Decimal>(row, 17)?,
        },
        output: row.get(18)?,
        started: optional(row, 19)?,
        finished: optional(row, 20)?,
    })
}

fn count(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(u64::try_from(row.get::<_, i64>(column)?).unwrap_or(0))
}

fn parsed<T>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T: FromStr,
    T::Err: ToString,
{
    parse(&row.get::<_, String>(column)?, column)
}

fn optional<T>(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<T>>
where
    T: FromStr,
    T::Err: ToString,
{
    row.get::<_, Option<String>>(column)?.map(|text| parse(&text, column)).transpose()
}

fn parse<T>(text: &str, column: usize) -> rusqlite::Result<T>
where
    T: FromStr,
    T::Err: ToString,
{
    text.parse().map_err(|error: T::Err| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, error.to_string().into()))
}
