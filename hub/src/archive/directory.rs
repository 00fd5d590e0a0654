//! All runs by their names.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use agentrun_protocol::query;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{error::ArchiveError, run::Names};

/// Whether a run's data is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// It is.
    #[default]
    Live,
    /// It was removed by the retention rules. The name stays, so that the run is not taken for one that was never seen.
    Expired,
    /// It was deleted, and its rows go.
    Deleted,
}

/// A run's row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunRow {
    #[serde(flatten)]
    pub(crate) names: Names,
    /// Microseconds since 1970.
    pub(crate) started: i64,
    pub(crate) phase: Phase,
}

impl RunRow {
    /// When it began.
    pub(crate) fn started(&self) -> Timestamp {
        Timestamp::from_microsecond(self.started).unwrap_or_default()
    }

    /// The run for readers.
    pub(crate) fn shown(&self, calls: u64) -> query::Run {
        let Names { namespace, name, uid } = self.names.clone();
        query::Run { namespace, name, uid, started: self.started().to_string(), calls }
    }
}

/// All runs.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    rows: BTreeMap<i64, RunRow>,
    by_uid: HashMap<String, i64>,
    by_name: HashMap<(String, String), BTreeSet<i64>>,
}

impl Directory {
    /// Puts a row in.
    pub(crate) fn insert(&mut self, id: i64, row: RunRow) {
        let Names { namespace, name, uid } = row.names.clone();
        let names = self.by_name.entry((namespace, name)).or_default();
        if row.phase == Phase::Deleted {
            names.remove(&id);
            self.by_uid.remove(&uid);
        } else {
            names.insert(id);
            if !uid.is_empty() {
                self.by_uid.insert(uid, id);
            }
        }
        self.rows.insert(id, row);
    }

    /// The number of the next run; 0 names none.
    pub(crate) fn next(&self) -> i64 {
        self.rows.last_key_value().map_or(1, |(last, _)| last + 1)
    }

    /// A run's row, also after its end.
    pub(crate) fn row(&self, id: i64) -> Option<&RunRow> {
        self.rows.get(&id)
    }

    /// Runs from the newest to the oldest.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (i64, &RunRow)> {
        self.rows.iter().rev().map(|(id, row)| (*id, row))
    }

    /// The run that this AgentRun is.
    pub(crate) fn of_uid(&self, namespace: &str, uid: &str) -> Option<(i64, &RunRow)> {
        let id = *self.by_uid.get(uid)?;
        self.row(id).filter(|row| row.names.namespace == namespace).map(|row| (id, row))
    }

    /// The newest run of a name.
    pub(crate) fn newest(&self, namespace: &str, name: &str) -> Option<(i64, &RunRow)> {
        let id = *self.by_name.get(&(namespace.to_owned(), name.to_owned()))?.last()?;
        self.row(id).map(|row| (id, row))
    }

    /// The newest run of a name that nobody registered, while its data is there.
    pub(crate) fn unregistered(&self, namespace: &str, name: &str) -> Option<i64> {
        let ids = self.by_name.get(&(namespace.to_owned(), name.to_owned()))?;
        ids.iter().rev().copied().find(|id| self.rows.get(id).is_some_and(|row| row.names.uid.is_empty() && row.phase == Phase::Live))
    }

    /// The run's row while its data is there.
    ///
    /// # Errors
    /// It was deleted, or its data removed.
    pub(crate) fn live(&self, id: i64) -> Result<&RunRow, ArchiveError> {
        let row = self.row(id).filter(|row| row.phase != Phase::Deleted).ok_or(ArchiveError::NoAttempt)?;
        match row.phase {
            Phase::Expired => Err(ArchiveError::Expired(format!("{}/{}", row.names.namespace, row.names.name))),
            Phase::Live | Phase::Deleted => Ok(row),
        }
    }
}
