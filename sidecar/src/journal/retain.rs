//! A journal that forgets: records go when they are old, or when there are too many, a few at a time.

use std::collections::HashSet;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::config::Retention;

/// As many calls as are dropped at once; where more have been written, twice as many as those.
const STEP: usize = 500;

/// What a journal keeps, and what it begins with.
#[derive(Debug)]
pub(super) struct Retain {
    /// Microseconds.
    age: Option<i64>,
    records: u64,
    /// Number and end (microseconds) of the oldest call; `None` where there is none.
    oldest: Option<(i64, i64)>,
    /// The number of the newest.
    newest: i64,
}

/// Rows that are gone.
#[derive(Debug, Default)]
pub(super) struct Dropped {
    pub(super) details: HashSet<i64>,
    pub(super) bodies: HashSet<i64>,
    pub(super) sessions: HashSet<i64>,
}

impl Retain {
    pub(super) fn of(journal: &Connection, retention: Retention) -> rusqlite::Result<Self> {
        let newest = journal.query_row("SELECT coalesce(max(sequence), 0) FROM calls", [], |row| row.get(0))?;
        let age = retention.age.map(|age| i64::try_from(age.as_micros()).unwrap_or(i64::MAX));
        Ok(Self { age, records: retention.records, oldest: oldest(journal)?, newest })
    }

    /// Calls have been written: the first one's number and end (microseconds), and the last one's number.
    pub(super) fn wrote(&mut self, first: (i64, i64), last: i64) {
        self.newest = last;
        self.oldest.get_or_insert(first);
    }

    /// Drops some of what need not be kept, and more of it where many `more` records have been written.
    pub(super) fn trim(&mut self, journal: &mut Connection, now: Timestamp, more: usize) -> rusqlite::Result<Option<Dropped>> {
        let Some((first, ended_at)) = self.oldest else { return Ok(None) };
        // Ends before this go, and so do numbers up to the other.
        let end = self.age.map_or(i64::MIN, |age| now.as_microsecond().saturating_sub(age));
        let surplus = self.newest.saturating_sub(i64::try_from(self.records).unwrap_or(i64::MAX));
        if ended_at >= end && first > surplus {
            return Ok(None);
        }
        let step = i64::try_from(STEP.max(2 * more)).unwrap_or(i64::MAX);
        let transaction = journal.transaction()?;
        let dropped = drop_calls(&transaction, first.saturating_add(step), end, surplus)?;
        transaction.commit()?;
        self.oldest = oldest(journal)?;
        Ok(Some(dropped))
    }
}

fn oldest(journal: &Connection) -> rusqlite::Result<Option<(i64, i64)>> {
    let call = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    journal.query_row("SELECT sequence, ended_at FROM calls ORDER BY sequence LIMIT 1", [], call).optional()
}

/// Drops calls before number `below` that are too old or too many, and what no other call needs.
fn drop_calls(journal: &Transaction<'_>, below: i64, end: i64, surplus: i64) -> rusqlite::Result<Dropped> {
    let mut dropped = Dropped::default();
    let (mut details, mut sessions) = (HashSet::new(), HashSet::new());
    {
        let sql = "DELETE FROM calls WHERE sequence < ?1 AND (ended_at < ?2 OR sequence <= ?3) RETURNING detail, session";
        let mut statement = journal.prepare_cached(sql)?;
        let mut rows = statement.query(params![below, end, surplus])?;
        while let Some(row) = rows.next()? {
            details.insert(row.get::<_, i64>(0)?);
            sessions.insert(row.get::<_, i64>(1)?);
        }
    }
    for session in sessions {
        let sql = "DELETE FROM sessions WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM calls WHERE session = ?1)";
        if journal.prepare_cached(sql)?.execute([session])? > 0 {
            dropped.sessions.insert(session);
        }
    }
    let mut bodies = HashSet::new();
    for detail in details {
        let sql = "DELETE FROM details WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM calls WHERE detail = ?1) RETURNING request, response";
        let both = |row: &rusqlite::Row<'_>| Ok([row.get::<_, Option<i64>>(0)?, row.get(1)?]);
        if let Some(both) = journal.prepare_cached(sql)?.query_row([detail], both).optional()? {
            dropped.details.insert(detail);
            bodies.extend(both.into_iter().flatten());
        }
    }
    for body in bodies {
        let sql = "DELETE FROM bodies WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM details WHERE request = ?1)
                   AND NOT EXISTS (SELECT 1 FROM details WHERE response = ?1)";
        if journal.prepare_cached(sql)?.execute([body])? > 0 {
            dropped.bodies.insert(body);
        }
    }
    Ok(dropped)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        journal::{ASKED, RETAINED, SCHEMA},
        sqlite,
    };

    /// Calls that end a second apart from the epoch on; each two share one detail, each four one body.
    fn journal(count: i64) -> (tempfile::TempDir, Connection) {
        let folder = tempfile::tempdir().unwrap();
        let connection = sqlite::open(&folder.path().join("calls.db"), &[SCHEMA, ASKED, RETAINED].concat()).unwrap();
        for call in 0..count {
            let (session, detail, body) = (call / 3 + 1, call / 2 + 1, call / 4 + 1);
            connection.execute("INSERT OR IGNORE INTO sessions VALUES (?1, 'r', NULL, NULL, NULL, 0, 0)", [session]).unwrap();
            connection.execute("INSERT OR IGNORE INTO bodies VALUES (?1, '{}')", [body]).unwrap();
            let detail_row = params![detail, body];
            connection.execute("INSERT OR IGNORE INTO details VALUES (?1, 'm', 'complete', 0, '{}', ?2, NULL)", detail_row).unwrap();
            let ended = (call + 1) * 1_000_000;
            connection.execute("INSERT INTO calls VALUES (NULL, x'00', ?1, ?2, 0, ?3)", params![session, detail, ended]).unwrap();
        }
        (folder, connection)
    }

    fn counts(connection: &Connection) -> [i64; 4] {
        ["calls", "sessions", "details", "bodies"]
            .map(|table| connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap())
    }

    #[test]
    fn what_is_old_goes_with_all_that_nobody_else_needs() {
        let (_folder, mut connection) = journal(12);
        let retention = Retention { age: Some(Duration::from_secs(5)), records: 1000 };
        let mut retain = Retain::of(&connection, retention).unwrap();
        let at = |second| Timestamp::from_second(second).unwrap();
        assert!(retain.trim(&mut connection, at(6), 0).unwrap().is_none(), "the first is five seconds old, not more");
        let dropped = retain.trim(&mut connection, at(10), 0).unwrap().unwrap();
        // The calls that ended before second 5: one to four.
        assert_eq!(counts(&connection), [8, 3, 4, 2]);
        assert_eq!((dropped.sessions.len(), dropped.details.len(), dropped.bodies.len()), (1, 2, 1));
        assert!(retain.trim(&mut connection, at(10), 0).unwrap().is_none());
    }

    #[test]
    fn what_is_too_much_goes_in_steps() {
        let (_folder, mut connection) = journal(1200);
        let mut retain = Retain::of(&connection, Retention { age: None, records: 100 }).unwrap();
        let now = Timestamp::from_second(1).unwrap();
        let mut left = Vec::new();
        while retain.trim(&mut connection, now, 0).unwrap().is_some() {
            left.push(counts(&connection)[0]);
        }
        assert_eq!(left, [700, 200, 100]);
        connection.execute("INSERT INTO calls VALUES (NULL, x'00', 400, 600, 0, 0)", []).unwrap();
        let written = connection.last_insert_rowid();
        retain.wrote((written, 0), written);
        assert!(retain.trim(&mut connection, now, 0).unwrap().is_some());
        assert_eq!(counts(&connection)[0], 100);
    }
}
