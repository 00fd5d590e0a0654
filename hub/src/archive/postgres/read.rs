//! Reading from PostgreSQL.

use bytes::Bytes;
use tokio_postgres::{
    Client, Row,
    types::{ToSql, Type},
};

use super::Answer;
use crate::archive::{backend::CallQuery, change::Table, lines::Stored, run::Wanted};

/// A call's texts.
const TEXTS: &str = "JOIN texts d ON d.id = c.detail LEFT JOIN texts q ON q.id = c.request LEFT JOIN texts r ON r.id = c.response";

pub(super) async fn documents(client: &Client, table: Table, from: i64, until: i64) -> Answer<Vec<(i64, String)>> {
    let sql = format!("SELECT id, document FROM {} WHERE id >= $1 AND id < $2 ORDER BY id", table.name());
    let rows = client.query_typed(&sql, &[(&from, Type::INT8), (&until, Type::INT8)]).await?;
    Ok(rows.into_iter().map(|row| (row.get(0), row.get(1))).collect())
}

pub(super) async fn last(client: &Client, from: i64, until: i64) -> Answer<(Option<i64>, Option<i64>)> {
    let sql = "SELECT (SELECT max(id) FROM calls WHERE id >= $1 AND id < $2), (SELECT max(id) FROM texts WHERE id >= $1 AND id < $2)";
    let rows = client.query_typed(sql, &[(&from, Type::INT8), (&until, Type::INT8)]).await?;
    Ok(rows.first().map(|row| (row.get(0), row.get(1))).unwrap_or_default())
}

pub(super) async fn outputs(client: &Client, attempts: &[i64]) -> Answer<Vec<(i64, Bytes)>> {
    let rows = client.query_typed("SELECT id, value FROM outputs WHERE id = ANY($1)", &[(&attempts, Type::INT8_ARRAY)]).await?;
    Ok(rows.into_iter().map(|row| (row.get(0), Bytes::from(row.get::<_, Vec<u8>>(1)))).collect())
}

pub(super) async fn calls(client: &Client, query: &CallQuery) -> Answer<Vec<Stored>> {
    let bytes = i64::try_from(query.bytes).unwrap_or(i64::MAX);
    // Lengths first, which cost no look at the texts: those that do not fit into the page are not read.
    let size = "octet_length(d.value) + coalesce(octet_length(q.value), 0) + coalesce(octet_length(r.value), 0) + 128";
    let mut sql = format!("SELECT c.*, {size} AS size FROM calls c {TEXTS} WHERE c.id > $1 AND c.id < $2");
    let mut values: Vec<(&(dyn ToSql + Sync), Type)> = vec![(&query.after, Type::INT8), (&query.before, Type::INT8)];
    if let Some(model) = &query.model {
        values.push((model, Type::TEXT));
        sql.push_str(&format!(" AND c.model = ${}", values.len()));
    }
    if let Some(cached) = &query.cached {
        values.push((cached, Type::BOOL));
        sql.push_str(&format!(" AND c.cached = ${}", values.len()));
    }
    if let Some(outcome) = &query.outcome {
        values.push((outcome, Type::TEXT));
        sql.push_str(&format!(" AND c.outcome = ${}", values.len()));
    }
    if let Some(since) = &query.since {
        values.push((since, Type::INT8));
        sql.push_str(&format!(" AND c.ended_at >= ${}", values.len()));
    }
    if let Some(until) = &query.until {
        values.push((until, Type::INT8));
        sql.push_str(&format!(" AND c.ended_at < ${}", values.len()));
    }
    if let Wanted::Of(attempts) = &query.wanted {
        values.push((attempts, Type::INT8_ARRAY));
        sql.push_str(&format!(" AND c.attempt = ANY(${})", values.len()));
    }
    for name in query.wanted.names() {
        values.push((&name.id, Type::TEXT));
        values.push((&name.attempts, Type::INT8_ARRAY));
        let (own, last) = (format!("(convert_from(d.value, 'UTF8')::json ->> '{}')", name.member), values.len());
        sql.push_str(&format!(" AND ({own} = ${} OR ({own} IS NULL AND c.attempt = ANY(${last})))", last - 1));
    }
    values.push((&bytes, Type::INT8));
    let (order, last) = (query.order(), values.len());
    let before = format!("SELECT c.*, sum(size) OVER (ORDER BY c.id{}) - size AS before FROM ({sql}{order}) c", query.direction());
    let columns = "c.id, c.attempt, c.call, c.started_at, c.ended_at, d.value, q.value, r.value";
    let sql = format!("SELECT {columns} FROM ({before}) c {TEXTS} WHERE c.before < ${last}{order}");
    let stored = |row: Row| Stored {
        id: row.get(0),
        attempt: row.get(1),
        call: row.get(2),
        started_at: row.get(3),
        ended_at: row.get(4),
        detail: row.get(5),
        request: row.get(6),
        response: row.get(7),
    };
    Ok(client.query_typed(&sql, &values).await?.into_iter().map(stored).collect())
}

pub(super) async fn answer(client: &Client, key: &[u8; 32]) -> Answer<Option<Bytes>> {
    let key = &key[..];
    let rows = client.query_typed("SELECT value FROM answers WHERE key = $1", &[(&key, Type::BYTEA)]).await?;
    Ok(rows.first().map(|row| Bytes::from(row.get::<_, Vec<u8>>(0))))
}

pub(super) async fn answers(client: &Client) -> Answer<(i64, u64)> {
    let sql = "SELECT coalesce(max(id), 0)::bigint, coalesce(sum(size), 0)::bigint FROM answers";
    let rows = client.query_typed(sql, &[]).await?;
    let row = rows.first().map(|row| (row.get::<_, i64>(0), row.get::<_, i64>(1))).unwrap_or_default();
    Ok((row.0, u64::try_from(row.1).unwrap_or_default()))
}
