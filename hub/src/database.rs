//! Opening a SQLite file that several processes share, and putting a broken one aside.

use std::{
    fs::{self, OpenOptions},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode};

use crate::store::StoreError;

/// How long a statement waits for another process's transaction.
const BUSY: Duration = Duration::from_secs(30);
/// Files up to this size are checked whole when they are opened; a check costs a few milliseconds a MiB.
const CHECKED_BYTES: u64 = 64 << 20;

/// A database that could not be read and was put aside, never deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Where it was.
    pub from: PathBuf,
    /// Where it is now.
    pub to: PathBuf,
}

/// Opens `path`, made with mode 0600 where it is not there, with `schema` applied. A file that is no sound database is moved aside first.
pub(crate) fn open(path: &Path, schema: &str, version: i32) -> Result<(Connection, Option<Moved>), StoreError> {
    match attempt(path, schema, version) {
        Err(StoreError::Database { source, .. }) if is_corrupt(&source) => {
            let moved = move_aside(path)?;
            Ok((attempt(path, schema, version)?, Some(moved)))
        }
        other => other.map(|connection| (connection, None)),
    }
}

fn attempt(path: &Path, schema: &str, version: i32) -> Result<Connection, StoreError> {
    let failed = |source| StoreError::Database { path: path.to_owned(), source };
    create_private(path).map_err(|source| StoreError::Create { path: path.to_owned(), source })?;
    let connection = Connection::open(path).map_err(failed)?;
    connection.busy_timeout(BUSY).map_err(failed)?;
    check(&connection, path).map_err(failed)?;
    let found: i32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
    if found > version {
        return Err(StoreError::Newer { path: path.to_owned(), found, known: version });
    }
    // WAL lets readers and the one writer go on side by side. NORMAL keeps every commit through the death of the process.
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).map_err(failed)?;
    connection.execute_batch("PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON;").map_err(failed)?;
    connection.execute_batch(&format!("BEGIN IMMEDIATE; {schema} PRAGMA user_version = {version}; COMMIT;")).map_err(failed)?;
    Ok(connection)
}

/// Whether this failure means that the file itself is broken.
pub(crate) fn is_corrupt(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

fn check(connection: &Connection, path: &Path) -> Result<(), rusqlite::Error> {
    if fs::metadata(path).is_ok_and(|metadata| metadata.len() <= CHECKED_BYTES) {
        let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if verdict != "ok" {
            let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
            return Err(rusqlite::Error::SqliteFailure(code, Some(verdict)));
        }
    }
    Ok(())
}

fn create_private(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Renames the database and what belongs to it to the first free `NAME.corrupt-N`.
fn move_aside(path: &Path) -> Result<Moved, StoreError> {
    let with = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let number = (1..).find(|number| !with(&format!(".corrupt-{number}")).exists()).expect("a folder has a free name");
    let target = format!(".corrupt-{number}");
    for part in ["-wal", "-shm", ""] {
        let (from, to) = (with(part), with(&format!("{target}{part}")));
        match fs::rename(&from, &to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(StoreError::MoveAside { path: from, source: error }),
            _ => {}
        }
    }
    Ok(Moved { from: path.to_owned(), to: with(&target) })
}

/// Writes what a database's log holds into the file itself, so that the file alone is all of it.
///
/// # Errors
/// The file cannot be opened or written, or another process keeps reading it for 30 s.
pub fn checkpoint(path: &Path) -> Result<(), StoreError> {
    let failed = |source| StoreError::Database { path: path.to_owned(), source };
    let connection = Connection::open(path).map_err(failed)?;
    connection.busy_timeout(BUSY).map_err(failed)?;
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(failed)
}
