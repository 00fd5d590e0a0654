//! Opening a SQLite file the way all of ours are opened.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags};
use thiserror::Error;

/// Another process may be writing a batch; none takes this long.
const BUSY: Duration = Duration::from_secs(30);

/// What can go wrong with a database file.
#[derive(Debug, Error)]
pub enum SqliteError {
    /// Its folder cannot be made.
    #[error("make the folder of {path}")]
    Folder {
        /// The database.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is no database any more and cannot be moved out of the way.
    #[error("{path} is not a readable database and could not be moved aside")]
    MoveAside {
        /// The database.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It cannot be opened or written.
    #[error("open {path}: {source}; is the folder writable and the disk not full?")]
    Open {
        /// The database.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// A question to it failed.
    #[error("read {path}: {source}")]
    Read {
        /// The database.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
}

/// Opens `path` for writing (WAL, one file for this user only) and runs `schema` on it. A file that is no database any more is
/// moved to `PATH.corrupt-N`, never deleted, and a new one begun.
pub(crate) fn open(path: &Path, schema: &str) -> Result<Connection, SqliteError> {
    let folder = |source| SqliteError::Folder { path: path.to_owned(), source };
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent).map_err(folder)?;
    }
    private(path).map_err(folder)?;
    match try_open(path, schema) {
        Err(error) if is_corrupt(&error) => {
            let aside = move_aside(path).map_err(|source| SqliteError::MoveAside { path: path.to_owned(), source })?;
            tracing::warn!(path = %path.display(), moved_to = %aside.display(), "not a readable database: moved aside, beginning a new one");
            private(path).map_err(folder)?;
            try_open(path, schema)
        }
        opened => opened,
    }
    .map_err(|source| SqliteError::Open { path: path.to_owned(), source })
}

/// Opens `path` for reading beside whoever writes it.
pub(crate) fn open_to_read(path: &Path) -> Result<Connection, SqliteError> {
    let opening = || -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(BUSY)?;
        Ok(connection)
    };
    opening().map_err(|source| SqliteError::Open { path: path.to_owned(), source })
}

fn try_open(path: &Path, schema: &str) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    // Prompts and answers are kilobytes; in larger pages they need no overflow pages. Counts only for a new file.
    connection.pragma_update(None, "page_size", 16 << 10)?;
    let pages: u64 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
    if pages == 0 {
        // A file that is being begun holds nothing that a power cut could lose.
        connection.pragma_update(None, "synchronous", "OFF")?;
    }
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // The page cache of a connection; the default of 2 MB each would be most of an idle sidecar.
    connection.pragma_update(None, "cache_size", -1024)?;
    connection.execute_batch(schema)?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    Ok(connection)
}

fn is_corrupt(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt))
}

fn move_aside(path: &Path) -> io::Result<PathBuf> {
    let name = |suffix: &str, number: u32| PathBuf::from(format!("{}{suffix}.corrupt-{number}", path.display()));
    let number = (1..).find(|&number| !name("", number).exists()).expect("some number is free");
    // The write-ahead log belongs to the file it was written for.
    for suffix in ["-wal", "-shm"] {
        let beside = PathBuf::from(format!("{}{suffix}", path.display()));
        if beside.exists() {
            fs::rename(&beside, name(suffix, number))?;
        }
    }
    fs::rename(path, name("", number))?;
    Ok(name("", number))
}

/// Creates the file for this user only: it will hold prompts and answers.
fn private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_database_is_moved_aside_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b.db");
        for round in 1..=2 {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, format!("broken {round}, and longer than a header of a hundred bytes {}", "x".repeat(100))).unwrap();
            let connection = open(&path, "CREATE TABLE IF NOT EXISTS t (x)").unwrap();
            connection.execute("INSERT INTO t VALUES (1)", []).unwrap();
            drop(connection);
            let kept = fs::read_to_string(folder.path().join(format!("a/b.db.corrupt-{round}"))).unwrap();
            assert!(kept.starts_with(&format!("broken {round}")));
            fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn a_new_file_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.db");
        open(&path, "CREATE TABLE t (x)").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_an_error_that_says_so() {
        let error = open(Path::new("/proc/nowhere/b.db"), "").unwrap_err();
        assert!(error.to_string().contains("/proc/nowhere/b.db"), "{error}");
    }
}
