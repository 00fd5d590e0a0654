//! Where rows are: SQLite or PostgreSQL. Nothing is decided here.

use bytes::Bytes;

use super::{
    change::{Changes, Table},
    error::ArchiveError,
    lines::Stored,
    postgres::Postgres,
    run::Wanted,
    sqlite::Sqlite,
    types::{Location, Settings},
};

type Result<T> = std::result::Result<T, ArchiveError>;

/// Which calls of a run are wanted.
#[derive(Clone, Debug)]
pub(crate) struct CallQuery {
    /// Rows after this one,
    pub(crate) after: i64,
    /// and before this one.
    pub(crate) before: i64,
    pub(crate) newest_first: bool,
    pub(crate) wanted: Wanted,
    pub(crate) model: Option<String>,
    pub(crate) cached: Option<bool>,
    pub(crate) outcome: Option<String>,
    /// Ended at or after: microseconds since 1970.
    pub(crate) since: Option<i64>,
    /// Ended before: microseconds since 1970.
    pub(crate) until: Option<i64>,
    /// At most so many rows,
    pub(crate) limit: usize,
    /// and none more once they have so many bytes.
    pub(crate) bytes: usize,
}

impl CallQuery {
    /// The end of its SQL.
    pub(crate) fn order(&self) -> String {
        format!(" ORDER BY c.id{} LIMIT {}", self.direction(), self.limit)
    }

    /// Which way its SQL orders.
    pub(crate) fn direction(&self) -> &'static str {
        if self.newest_first { " DESC" } else { "" }
    }
}

/// The two kinds of store. Writes come from one task alone.
#[derive(Clone)]
pub(crate) enum Backend {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

macro_rules! forward {
    ($($(#[$doc:meta])* $name:ident($($argument:ident: $kind:ty),*) -> $result:ty;)+) => {
        impl Backend {$(
            $(#[$doc])*
            pub(crate) async fn $name(&self, $($argument: $kind),*) -> Result<$result> {
                match self {
                    Self::Sqlite(store) => store.$name($($argument),*).await,
                    Self::Postgres(store) => store.$name($($argument),*).await,
                }
            }
        )+}
    };
}

impl Backend {
    /// Opens a store, makes its tables where they are missing, and takes it over.
    pub(crate) async fn open(settings: &Settings) -> Result<Self> {
        match &settings.location {
            Location::Sqlite(path) => Sqlite::open(path, settings.file_bytes).await.map(Self::Sqlite),
            Location::Postgres(url) => Postgres::open(url).await.map(Self::Postgres),
        }
    }
}

forward! {
    /// Writes all or nothing, durably.
    write(changes: Changes) -> ();
    /// Removes at most so many rows of a run, but for its documents by run; gives how many there were.
    purge(run: i64, most: usize) -> usize;
    /// Removes a run's documents by run.
    forget(run: i64, tables: Vec<Table>) -> ();
    /// Removes the oldest answers, some hundred at most, until so many bytes are freed; gives how many are.
    trim(bytes: u64) -> u64;
    /// Whether the store is still ours. Waits for a commit of ours whose end we did not hear.
    check_owner() -> ();
    /// Documents with numbers from `from` to before `until`, by number.
    documents(table: Table, from: i64, until: i64) -> Vec<(i64, String)>;
    /// The greatest numbers of a call and of a text from `from` to before `until`.
    last(from: i64, until: i64) -> (Option<i64>, Option<i64>);
    /// Outputs by attempt.
    outputs(attempts: Vec<i64>) -> Vec<(i64, Bytes)>;
    /// Calls by number, up or down.
    calls(query: CallQuery) -> Vec<Stored>;
    /// A stored answer.
    answer(key: [u8; 32]) -> Option<Bytes>;
    /// The greatest number of an answer, and the bytes of all.
    answers() -> (i64, u64);
}
