//! Writing to SQLite.

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::{Result, check_owner, fault};
use crate::archive::change::{Changes, Table, rows_of};

/// How many answers are removed at once: others write between.
const TRIMMED: usize = 256;

fn begin<'a>(connection: &'a mut Connection, owner: &str) -> Result<Transaction<'a>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fault)?;
    check_owner(&transaction, owner)?;
    Ok(transaction)
}

pub(super) fn commit(connection: &mut Connection, owner: &str, changes: &Changes) -> Result<()> {
    let transaction = begin(connection, owner)?;
    insert(&transaction, changes).map_err(fault)?;
    transaction.commit().map_err(fault)
}

fn insert(transaction: &Transaction<'_>, changes: &Changes) -> rusqlite::Result<()> {
    for ((table, id), document) in &changes.documents {
        transaction.prepare_cached(&format!("INSERT OR REPLACE INTO {} VALUES (?1, ?2)", table.name()))?.execute(params![id, document])?;
    }
    for (id, output) in &changes.outputs {
        transaction.prepare_cached("INSERT OR REPLACE INTO outputs VALUES (?1, ?2)")?.execute(params![id, &output[..]])?;
    }
    let mut texts = transaction.prepare_cached("INSERT OR IGNORE INTO texts VALUES (?1, ?2)")?;
    for (id, text) in &changes.texts {
        texts.execute(params![id, &text[..]])?;
    }
    let mut calls = transaction.prepare_cached("INSERT OR IGNORE INTO calls VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)")?;
    for row in &changes.calls {
        calls.execute(params![
            row.id,
            row.attempt,
            row.sequence,
            &row.call[..],
            row.started_at,
            row.ended_at,
            row.model,
            row.outcome.as_str(),
            row.cached,
            row.detail,
            row.request,
            row.response
        ])?;
    }
    for row in changes.answers.values() {
        let size = i64::try_from(row.value.len()).unwrap_or(i64::MAX);
        let mut insert = transaction.prepare_cached("INSERT OR REPLACE INTO answers VALUES (?1, ?2, ?3, ?4, ?5)")?;
        insert.execute(params![row.id, &row.key[..], row.run, size, &row.value[..]])?;
    }
    Ok(())
}

pub(super) fn purge(connection: &mut Connection, owner: &str, run: i64, most: usize) -> Result<usize> {
    let transaction = begin(connection, owner)?;
    let (first, last) = rows_of(run);
    let mut removed = 0;
    for table in ["calls", "texts", "outputs", "attempts", "trials"] {
        let left = i64::try_from(most - removed).unwrap_or(i64::MAX);
        let sql = format!("DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE id >= ?1 AND id < ?2 LIMIT ?3)");
        removed += transaction.execute(&sql, params![first, last, left]).map_err(fault)?;
    }
    let left = i64::try_from(most - removed).unwrap_or(i64::MAX);
    let sql = "DELETE FROM answers WHERE id IN (SELECT id FROM answers WHERE run = ?1 LIMIT ?2)";
    removed += transaction.execute(sql, params![run, left]).map_err(fault)?;
    transaction.commit().map_err(fault)?;
    Ok(removed)
}

pub(super) fn forget(connection: &mut Connection, owner: &str, run: i64, tables: &[Table]) -> Result<()> {
    let transaction = begin(connection, owner)?;
    for table in tables {
        transaction.execute(&format!("DELETE FROM {} WHERE id = ?1", table.name()), [run]).map_err(fault)?;
    }
    transaction.commit().map_err(fault)
}

pub(super) fn trim(connection: &mut Connection, owner: &str, bytes: u64) -> Result<u64> {
    let transaction = begin(connection, owner)?;
    let mut oldest = transaction.prepare("SELECT id, size FROM answers ORDER BY id LIMIT ?1").map_err(fault)?;
    let rows = oldest.query_map([TRIMMED as i64], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, u64>(1)?))).map_err(fault)?;
    let rows = rows.collect::<rusqlite::Result<Vec<_>>>().map_err(fault)?;
    drop(oldest);
    let mut freed = 0;
    for (id, size) in rows {
        if freed < bytes {
            transaction.execute("DELETE FROM answers WHERE id = ?1", [id]).map_err(fault)?;
            freed += size;
        }
    }
    transaction.commit().map_err(fault)?;
    Ok(freed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::{change::AnswerRow, sqlite::open_writer};

    #[test]
    fn answers_go_some_at_a_time_so_that_others_can_write_between() {
        let folder = tempfile::tempdir().unwrap();
        let mut connection = open_writer(&folder.path().join("hub.db"), 0, "us").unwrap();
        let answers = (1..=1000_u16).map(|id| {
            let mut key = [0; 32];
            key[..2].copy_from_slice(&id.to_be_bytes());
            (key, AnswerRow { id: id.into(), key, run: 0, value: bytes::Bytes::from_static(&[0; 10]) })
        });
        commit(&mut connection, "us", &Changes { answers: answers.collect(), ..Changes::default() }).unwrap();
        let count =
            |connection: &Connection| connection.query_row("SELECT count(*) FROM answers", [], |row| row.get::<_, usize>(0)).unwrap();
        assert_eq!(trim(&mut connection, "us", 5000).unwrap(), 10 * TRIMMED as u64);
        assert_eq!(count(&connection), 1000 - TRIMMED);
        assert_eq!(trim(&mut connection, "us", 95).unwrap(), 100, "and no more than need to");
        let oldest: usize = connection.query_row("SELECT min(id) FROM answers", [], |row| row.get(0)).unwrap();
        assert_eq!((count(&connection), oldest), (990 - TRIMMED, TRIMMED + 11));
    }
}
