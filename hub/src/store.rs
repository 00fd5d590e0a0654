//! Runs and trials in one SQLite file.

mod read;
#[cfg(test)]
mod tests;
mod write;

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use rusqlite::Connection;

use crate::{Moved, RunRecord, database};

const VERSION: i32 = 1;
const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS run (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  generation INTEGER NOT NULL,
  fingerprint TEXT NOT NULL,
  manifest TEXT NOT NULL,
  datapoints TEXT NOT NULL,
  trials INTEGER NOT NULL,
  phase TEXT NOT NULL,
  started TEXT NOT NULL,
  finished TEXT,
  owner_pid INTEGER,
  owner_started TEXT,
  calls INTEGER,
  cached INTEGER,
  failed INTEGER,
  unreadable INTEGER,
  unpriced INTEGER,
  spent TEXT,
  saved TEXT,
  UNIQUE (name, generation)
);
CREATE TABLE IF NOT EXISTS trial (
  run INTEGER NOT NULL REFERENCES run (id),
  combo TEXT NOT NULL,
  data_id TEXT NOT NULL,
  sample INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  state TEXT NOT NULL,
  reason TEXT,
  message TEXT,
  score REAL,
  score_reason TEXT,
  latency_seconds REAL,
  calls INTEGER NOT NULL DEFAULT 0,
  cached INTEGER NOT NULL DEFAULT 0,
  failed INTEGER NOT NULL DEFAULT 0,
  unreadable INTEGER NOT NULL DEFAULT 0,
  unpriced INTEGER NOT NULL DEFAULT 0,
  usd TEXT,
  spent TEXT NOT NULL DEFAULT '0',
  saved TEXT NOT NULL DEFAULT '0',
  output TEXT,
  started TEXT,
  finished TEXT,
  PRIMARY KEY (run, combo, data_id, sample)
) WITHOUT ROWID;
";

/// What can go wrong with the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be made: a read-only folder, no space.
    #[error("making {}", path.display())]
    Create {
        /// The database.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// SQLite refuses.
    #[error("using {}", path.display())]
    Database {
        /// The database.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// A broken file could not be renamed.
    #[error("moving the broken database {} aside", path.display())]
    MoveAside {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file was written by a later version.
    #[error("{} has format {found}, this version knows {known}: use the newer agentrun, or another --state folder", path.display())]
    Newer {
        /// The database.
        path: PathBuf,
        /// The file's format.
        found: i32,
        /// This version's format.
        known: i32,
    },
    /// Another process is at work on the run.
    #[error("run `{name}` is being evaluated by process {pid} in this state folder: wait for it, stop it, or use another --state folder")]
    Leased {
        /// The run.
        name: String,
        /// The process.
        pid: u32,
    },
    /// The run is no longer this process's.
    #[error("run `{name}` was taken over by another process")]
    Lost {
        /// The run.
        name: String,
    },
    /// A trial had a result already: it is never counted twice.
    #[error("trial {combo} / {data_id} / {sample} has a result already")]
    Finished {
        /// The combo's id.
        combo: String,
        /// The datapoint's id.
        data_id: String,
        /// The repeat.
        sample: u32,
    },
}

/// What became of [`Store::begin`].
#[derive(Clone, Debug)]
pub enum Begun {
    /// A generation that was not there before; it belongs to the caller.
    New(RunRecord),
    /// A generation that was not finished; it belongs to the caller.
    Resumed(RunRecord),
    /// Complete: nothing is left to do, and nothing belongs to the caller.
    Finished(RunRecord),
}

/// The store. Calls block on the disk, and up to 30 s on other processes.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    connection: Mutex<Connection>,
}

impl Store {
    /// Opens the store at `path`, or makes it (mode 0600). A broken file is moved aside, and the caller is told so.
    ///
    /// # Errors
    /// A folder that cannot be written, a full disk, a lock held for 30 s, a file of a later version.
    pub fn open(path: &Path) -> Result<(Self, Option<Moved>), StoreError> {
        let (connection, moved) = database::open(path, SCHEMA, VERSION)?;
        Ok((Self { path: path.to_owned(), connection: Mutex::new(connection) }, moved))
    }

    /// The connection; a panic elsewhere leaves no half-done transaction, as those roll back when they are dropped.
    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self) -> impl Fn(rusqlite::Error) -> StoreError + '_ {
        |source| StoreError::Database { path: self.path.clone(), source }
    }
}

impl StoreError {
    /// Whether the disk or the folder is at fault, and what to do about it.
    pub fn advice(&self) -> Option<&'static str> {
        use rusqlite::ErrorCode;
        let Self::Database { source, .. } = self else {
            return None;
        };
        match source.sqlite_error_code()? {
            ErrorCode::DiskFull => Some("the disk is full: make room, then run the same command again; finished trials are kept"),
            ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied => {
                Some("the state folder cannot be written: change its permissions, or name another with --state")
            }
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
                Some("another process has held the database for 30 s: wait for it or stop it, then run the same command again")
            }
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => {
                Some("the database is broken: run the same command again; it is moved aside then, and calls that were paid stay cached")
            }
            _ => None,
        }
    }
}
