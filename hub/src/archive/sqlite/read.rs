//! Reading from SQLite.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Result, params, params_from_iter, types::Value};

use crate::archive::{backend::CallQuery, change::Table, lines::Stored, run::Wanted};

/// So many attempts' calls are looked up by attempt; those of more are found on the way through the run's.
const LOOKED_UP: usize = 200;

pub(super) fn documents(connection: &Connection, table: Table, from: i64, until: i64) -> Result<Vec<(i64, String)>> {
    let sql = format!("SELECT id, document FROM {} WHERE id >= ?1 AND id < ?2 ORDER BY id", table.name());
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map([from, until], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

pub(super) fn last(connection: &Connection, from: i64, until: i64) -> Result<(Option<i64>, Option<i64>)> {
    let last = |table: &str| {
        let sql = format!("SELECT max(id) FROM {table} WHERE id >= ?1 AND id < ?2");
        connection.query_row(&sql, [from, until], |row| row.get(0))
    };
    Ok((last("calls")?, last("texts")?))
}

pub(super) fn outputs(connection: &Connection, attempts: &[i64]) -> Result<Vec<(i64, Bytes)>> {
    let mut statement = connection.prepare_cached("SELECT value FROM outputs WHERE id = ?1")?;
    let mut found = Vec::new();
    for id in attempts {
        let value: Option<Vec<u8>> = statement.query_row([id], |row| row.get(0)).optional()?;
        found.extend(value.map(|value| (*id, value.into())));
    }
    Ok(found)
}

pub(super) fn calls(connection: &Connection, query: &CallQuery) -> Result<Vec<Stored>> {
    let mut sql = "SELECT c.id, c.attempt, c.call, c.started_at, c.ended_at, d.value, q.value, r.value FROM calls c \
         JOIN texts d ON d.id = c.detail LEFT JOIN texts q ON q.id = c.request LEFT JOIN texts r ON r.id = c.response \
         WHERE c.id > ?1 AND c.id < ?2"
        .to_owned();
    let mut values = vec![Value::from(query.after), Value::from(query.before)];
    let mut only = |condition: &str, value: Value| {
        values.push(value);
        sql.push_str(&format!(" AND {condition} ?{}", values.len()));
    };
    if let Some(model) = &query.model {
        only("c.model =", model.clone().into());
    }
    if let Some(cached) = query.cached {
        only("c.cached =", cached.into());
    }
    if let Some(outcome) = &query.outcome {
        only("c.outcome =", outcome.clone().into());
    }
    if let Some(since) = query.since {
        only("c.ended_at >=", since.into());
    }
    if let Some(until) = query.until {
        only("c.ended_at <", until.into());
    }
    if let Wanted::Of(attempts) = &query.wanted {
        // A plus sign keeps SQLite from the index.
        let column = if attempts.len() <= LOOKED_UP { "c.attempt" } else { "+c.attempt" };
        values.push(serde_json::to_string(attempts).expect("numbers are JSON").into());
        sql.push_str(&format!(" AND {column} IN (SELECT value FROM json_each(?{}))", values.len()));
    }
    for name in query.wanted.names() {
        values.push(name.id.clone().into());
        values.push(serde_json::to_string(&name.attempts).expect("numbers are JSON").into());
        let (own, last) = (format!("json_extract(CAST(d.value AS TEXT), '$.{}')", name.member), values.len());
        let by_attempt = format!("{own} IS NULL AND c.attempt IN (SELECT value FROM json_each(?{last}))");
        sql.push_str(&format!(" AND ({own} = ?{} OR ({by_attempt}))", last - 1));
    }
    sql.push_str(&query.order());
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let (mut found, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let stored = Stored {
            id: row.get(0)?,
            attempt: row.get(1)?,
            call: row.get(2)?,
            started_at: row.get(3)?,
            ended_at: row.get(4)?,
            detail: row.get(5)?,
            request: row.get(6)?,
            response: row.get(7)?,
        };
        bytes += stored.bytes();
        found.push(stored);
        if bytes >= query.bytes {
            break;
        }
    }
    Ok(found)
}

pub(super) fn answer(connection: &Connection, key: &[u8; 32]) -> Result<Option<Bytes>> {
    let mut statement = connection.prepare_cached("SELECT value FROM answers WHERE key = ?1")?;
    let value: Option<Vec<u8>> = statement.query_row(params![&key[..]], |row| row.get(0)).optional()?;
    Ok(value.map(Bytes::from))
}

pub(super) fn answers(connection: &Connection) -> Result<(i64, u64)> {
    connection.query_row("SELECT coalesce(max(id), 0), coalesce(sum(size), 0) FROM answers", [], |row| Ok((row.get(0)?, row.get(1)?)))
}
