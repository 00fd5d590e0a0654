//! Looking answers up in the file.

use std::{
    collections::HashSet,
    path::Path,
    time::{Duration, Instant},
};

use agentrun_llm::key::from_hex;
use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use rusqlite::{Connection, OptionalExtension, Row, params, types::Type};

use super::{CacheError, framing, prefix};
use crate::{
    cache::{
        Key,
        agentopt::{self, BrokenRow},
        entry::{Entry, Facts},
    },
    config::CacheScope,
    sqlite,
};

/// How long an answer that another process stored may stay unseen.
const UNSEEN: Duration = Duration::from_millis(500);

/// Looks answers up. Most calls are new, and the file changes all the time: a look into it for each would cost more than all else
/// that is done for a miss, so what stands in it is known by 8 bytes of each key.
pub(super) struct Reader {
    connection: Connection,
    answers: Known,
    /// What stands in AgentOpt's table, and for whom.
    rows: Option<(Known, CacheScope)>,
    read_at: Instant,
    /// Whether a row that cannot be used has been warned of.
    warned: bool,
}

impl Reader {
    pub(super) fn open(path: &Path, agentopt: Option<CacheScope>) -> Result<Self, CacheError> {
        let connection = sqlite::open_to_read(path)?;
        let rows = agentopt.map(|scope| (Known::of(&AGENTOPT), scope));
        let mut reader = Self { connection, answers: Known::of(&ANSWERS), rows, read_at: Instant::now(), warned: false };
        reader.refresh().map_err(|source| CacheError::Change { path: path.to_owned(), source })?;
        Ok(reader)
    }

    /// A stored answer.
    pub(super) fn answer(&mut self, key: &Key) -> rusqlite::Result<Option<Entry>> {
        self.refresh_in_time()?;
        if !self.answers.prefixes.contains(&prefix(key)) {
            return Ok(None);
        }
        let mut statement = self.connection.prepare_cached(
            "SELECT status, framing, headers, facts, body, written_at FROM answers LEFT JOIN answer_times USING (id)
             WHERE prefix = ?1 AND key = ?2 ORDER BY id DESC LIMIT 1",
        )?;
        statement.query_row(params![prefix(key), &key[..]], entry).optional()
    }

    /// Whether AgentOpt's table may have a row of this key.
    pub(super) fn may_have_row(&mut self, key: &Key) -> rusqlite::Result<bool> {
        self.refresh_in_time()?;
        Ok(self.rows.as_ref().is_some_and(|(known, _)| known.prefixes.contains(&prefix(key))))
    }

    /// The text of a row of AgentOpt's table that may be given to anyone: one that AgentOpt wrote, or, where the scope says so, one of ours
    /// that was written after `oldest`. A text of more than `limit` bytes is not read.
    pub(super) fn row(&mut self, key: &Key, limit: usize, oldest: i64) -> rusqlite::Result<Option<Result<String, BrokenRow>>> {
        let Some((_, scope)) = &self.rows else { return Ok(None) };
        let mut statement = self.connection.prepare_cached(
            "SELECT octet_length(data_json), CASE WHEN octet_length(data_json) <= ?2 THEN data_json END, digest, written_at
             FROM cache LEFT JOIN agentrun_rows USING (key) WHERE key = ?1",
        )?;
        let found = statement.query_row(params![agentopt::row_key(key), limit as u64], |row| {
            let text = if row.get::<_, u64>(0)? > limit as u64 { Err(BrokenRow::TooLarge(limit)) } else { text(row, 1)? };
            Ok((text, row.get::<_, Option<Vec<u8>>>(2)?, row.get::<_, Option<i64>>(3)?))
        });
        let Some((text, digest, written_at)) = found.optional()? else { return Ok(None) };
        let ours = digest.is_some_and(|digest| text.as_ref().is_ok_and(|text| agentopt::digest(text)[..] == digest));
        let given = !ours || (*scope == CacheScope::Legacy && written_at.is_some_and(|written_at| written_at >= oldest));
        Ok(given.then_some(text))
    }

    /// Says once that a row cannot be used: a file may have thousands of them.
    pub(super) fn warn(&mut self, key: &Key, error: &BrokenRow) {
        if !std::mem::replace(&mut self.warned, true) {
            tracing::warn!(key = agentopt::row_key(key), %error, "a row of AgentOpt's table cannot be used: such rows are taken as misses");
        }
    }

    fn refresh_in_time(&mut self) -> rusqlite::Result<()> {
        if self.read_at.elapsed() > UNSEEN { self.refresh() } else { Ok(()) }
    }

    /// Learns of the rows that came since.
    fn refresh(&mut self) -> rusqlite::Result<()> {
        self.answers.refresh(&self.connection)?;
        if let Some((known, _)) = &mut self.rows {
            known.refresh(&self.connection)?;
        }
        self.read_at = Instant::now();
        Ok(())
    }
}

/// A text that may be none: SQLite's columns hold what was put into them.
fn text(row: &Row<'_>, index: usize) -> rusqlite::Result<Result<String, BrokenRow>> {
    let bytes = row.get_ref(index)?.as_str().map(str::to_owned);
    Ok(bytes.map_err(|_| BrokenRow::NoText))
}

/// A table whose rows are known by parts of their keys. Rows are added at its end; the oldest are deleted, or all.
struct Table {
    newest: &'static str,
    one: &'static str,
    first: &'static str,
    after: &'static str,
    all: &'static str,
}

const ANSWERS: Table = Table {
    newest: "SELECT max(id) FROM answers",
    one: "SELECT prefix FROM answers WHERE id = ?1",
    first: "SELECT id, prefix FROM answers ORDER BY id LIMIT 1",
    after: "SELECT id, prefix FROM answers WHERE id > ?1 ORDER BY id",
    all: "SELECT id, prefix FROM answers",
};

const AGENTOPT: Table = Table {
    newest: "SELECT max(rowid) FROM cache",
    one: "SELECT key FROM cache WHERE rowid = ?1",
    first: "SELECT rowid, key FROM cache ORDER BY rowid LIMIT 1",
    after: "SELECT rowid, key FROM cache WHERE rowid > ?1 ORDER BY rowid",
    // Answered by the index alone: the rows themselves may be gigabytes.
    all: "SELECT rowid, key FROM cache",
};

struct Known {
    table: &'static Table,
    prefixes: HashSet<i64, foldhash::fast::RandomState>,
    /// The oldest and the newest row that are known: numbers, and the parts of their keys.
    ends: Option<[(i64, Option<i64>); 2]>,
}

impl Known {
    fn of(table: &'static Table) -> Self {
        Self { table, prefixes: HashSet::default(), ends: None }
    }

    fn refresh(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let Some(newest) = connection.prepare_cached(self.table.newest)?.query_row([], |row| row.get::<_, Option<i64>>(0))? else {
            self.prefixes.clear();
            self.ends = None;
            return Ok(());
        };
        let Some([_, last]) = self.ends else { return self.read_anew(connection) };
        if newest < last.0 || !self.goes_on(connection)? {
            return self.read_anew(connection);
        }
        let mut statement = connection.prepare_cached(self.table.after)?;
        self.learn(statement.query([last.0])?)
    }

    /// Whether the file is the one that is known with rows added: whoever clears it begins to count anew.
    fn goes_on(&mut self, connection: &Connection) -> rusqlite::Result<bool> {
        let Some([first, last]) = self.ends else { return Ok(false) };
        let mut statement = connection.prepare_cached(self.table.one)?;
        let mut stands = |(id, known): (i64, Option<i64>)| -> rusqlite::Result<bool> {
            Ok(statement.query_row([id], |row| part(row, 0)).optional()?.is_some_and(|part| part == known))
        };
        if stands(first)? {
            return Ok(true);
        }
        let oldest = connection.prepare_cached(self.table.first)?.query_row([], |row| Ok((row.get(0)?, part(row, 1)?)))?;
        self.ends = Some([oldest, last]);
        stands(last)
    }

    fn read_anew(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.prefixes.clear();
        self.ends = None;
        let mut statement = connection.prepare_cached(self.table.all)?;
        self.learn(statement.query([])?)
    }

    fn learn(&mut self, mut rows: rusqlite::Rows<'_>) -> rusqlite::Result<()> {
        while let Some(row) = rows.next()? {
            let end = (row.get(0)?, part(row, 1)?);
            self.prefixes.extend(end.1);
            let [first, last] = self.ends.get_or_insert([end, end]);
            if end.0 < first.0 {
                *first = end;
            }
            if end.0 > last.0 {
                *last = end;
            }
        }
        Ok(())
    }
}

/// The part of a key that is known: a number already, or the beginning of 64 hex digits. Other texts are no keys of calls.
fn part(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<i64>> {
    let value = row.get_ref(index)?;
    Ok(match value.data_type() {
        Type::Integer => Some(value.as_i64()?),
        Type::Text => value.as_str().ok().and_then(from_hex).map(|key| prefix(&key)),
        _ => None,
    })
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let text = |index: usize| row.get::<_, String>(index);
    let json = |index, source: serde_json::Error| rusqlite::Error::FromSqlConversionFailure(index, Type::Text, Box::new(source));
    let pairs: Vec<(String, String)> = serde_json::from_str(&text(2)?).map_err(|error| json(2, error))?;
    let header = |(name, value): (String, String)| Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?));
    Ok(Entry {
        status: row.get(0)?,
        framing: framing(&text(1)?).ok_or_else(|| rusqlite::Error::InvalidColumnName("framing".to_owned()))?,
        headers: pairs.into_iter().filter_map(header).collect(),
        facts: serde_json::from_str::<Facts>(&text(3)?).map_err(|error| json(3, error))?,
        body: Bytes::from(row.get::<_, Vec<u8>>(4)?),
        number: Entry::number(),
        // Of another version's answers nobody knows how old they are: as old as can be.
        written_at: row.get::<_, Option<i64>>(5)?.unwrap_or_default(),
    })
}
