//! Rows in PostgreSQL: one writing connection, a few that read beside it. A lost connection is made again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use tokio::sync::Mutex;
use tokio_postgres::{Client, error::SqlState};

use super::{
    backend::CallQuery,
    change::{Changes, Table},
    error::ArchiveError,
    lines::Stored,
};
use connect::Target;

mod connect;
mod read;
mod write;

type Result<T> = std::result::Result<T, ArchiveError>;
type Answer<T> = std::result::Result<T, Fault>;

/// How many reading connections there are, but for the one for lists.
const READERS: usize = 3;
/// How long one list may take, in milliseconds: the others wait for it.
const LIST_MILLISECONDS: u32 = 60_000;
/// Waits between attempts to write over a lost connection.
const WAITS: [Duration; 4] = [Duration::from_millis(50), Duration::from_millis(250), Duration::from_secs(1), Duration::from_secs(3)];
/// The format of the tables.
const VERSION: i32 = 1;
/// As in SQLite. The lock keeps two hubs that start at once from making the tables twice.
const SCHEMA: &str = "
SELECT pg_advisory_xact_lock(7307199667);
CREATE TABLE IF NOT EXISTS owner (id INTEGER PRIMARY KEY CHECK (id = 1), name TEXT NOT NULL, version INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS runs (id BIGINT PRIMARY KEY, document TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS registrations (id BIGINT PRIMARY KEY, document TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS activities (id BIGINT PRIMARY KEY, document TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS attempts (id BIGINT PRIMARY KEY, document TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS trials (id BIGINT PRIMARY KEY, document TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS outputs (id BIGINT PRIMARY KEY, value BYTEA NOT NULL);
CREATE TABLE IF NOT EXISTS texts (id BIGINT PRIMARY KEY, value BYTEA NOT NULL);
CREATE TABLE IF NOT EXISTS calls (
    id BIGINT PRIMARY KEY, attempt BIGINT NOT NULL, sequence BIGINT NOT NULL, call BYTEA NOT NULL, started_at BIGINT NOT NULL,
    ended_at BIGINT NOT NULL, model TEXT NOT NULL, outcome TEXT NOT NULL, cached BOOLEAN NOT NULL, detail BIGINT NOT NULL,
    request BIGINT, response BIGINT
);
CREATE UNIQUE INDEX IF NOT EXISTS calls_by_attempt ON calls (attempt, sequence);
CREATE TABLE IF NOT EXISTS answers (
    id BIGINT PRIMARY KEY, key BYTEA NOT NULL UNIQUE, run BIGINT NOT NULL, size BIGINT NOT NULL, value BYTEA NOT NULL
);
CREATE INDEX IF NOT EXISTS answers_by_run ON answers (run, size);
";

/// Why something could not be done.
enum Fault {
    /// By the database, or on the way to it.
    Database(tokio_postgres::Error),
    /// By what it said.
    Archive(ArchiveError),
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error)
    }
}

impl Fault {
    /// Whether another connection may do better.
    fn is_lost(&self) -> bool {
        match self {
            // The server refuses to start or is going: class 57P; too many clients: 53300.
            Self::Database(error) => match error.code() {
                None => true,
                Some(code) => code.code().starts_with("57P") || *code == SqlState::TOO_MANY_CONNECTIONS,
            },
            Self::Archive(error) => matches!(error, ArchiveError::Unavailable(_)),
        }
    }

    fn told(self) -> ArchiveError {
        let error = match self {
            Self::Archive(error) => return error,
            Self::Database(error) => error,
        };
        let text = match error.as_db_error() {
            Some(said) => format!("PostgreSQL: {} ({})", said.message(), said.code().code()),
            None => {
                let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
                format!("PostgreSQL: {error}{cause}")
            }
        };
        match error.code() {
            Some(code) if *code == SqlState::DISK_FULL => ArchiveError::Full(text),
            Some(code) if *code == SqlState::DATA_CORRUPTED || *code == SqlState::INDEX_CORRUPTED => ArchiveError::Broken(text),
            _ => ArchiveError::Unavailable(text),
        }
    }
}

/// A PostgreSQL database.
#[derive(Clone)]
pub(crate) struct Postgres(Arc<Inner>);

/// Where a reading connection is, once it is made.
type Place = Mutex<Option<Arc<Client>>>;

struct Inner {
    target: Target,
    /// This process, as the database knows it.
    owner: String,
    writer: Mutex<Option<write::Session>>,
    readers: [Place; READERS],
    /// For lists that people ask for: they are long, and pods' look-ups do not wait for them.
    lists: Place,
    next: AtomicUsize,
}

impl Postgres {
    /// Opens a database, makes its tables where they are missing, and takes it over.
    pub(crate) async fn open(url: &str) -> Result<Self> {
        let target = Target::parse(url)?;
        let owner = uuid::Uuid::now_v7().to_string();
        let mut client = target.connect().await.map_err(Fault::told)?;
        write::take_over(&mut client, &owner).await.map_err(Fault::told)?;
        let session = write::Session::prepare(client).await.map_err(|error| Fault::from(error).told())?;
        let (readers, lists, next) = Default::default();
        Ok(Self(Arc::new(Inner { target, owner, writer: Mutex::new(Some(session)), readers, lists, next })))
    }

    /// Works on the writing connection; over another one where it is lost. Work that was done twice was done once.
    async fn writing<A, T>(
        &self,
        what: &A,
        work: for<'a> fn(&'a mut write::Session, &'a str, &'a A) -> BoxFuture<'a, Answer<T>>,
    ) -> Result<T> {
        let mut writer = self.0.writer.lock().await;
        let mut waits = WAITS.into_iter();
        loop {
            let result = match writer.as_mut() {
                Some(session) => work(session, &self.0.owner, what).await,
                None => match self.connected().await {
                    Ok(session) => work(writer.insert(session), &self.0.owner, what).await,
                    Err(fault) => Err(fault),
                },
            };
            let fault = match result {
                Ok(value) => return Ok(value),
                Err(fault) => fault,
            };
            // What stands in the middle of a transaction is dropped with its connection.
            *writer = None;
            match waits.next().filter(|_| fault.is_lost()) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(fault.told()),
            }
        }
    }

    async fn connected(&self) -> Answer<write::Session> {
        let client = self.0.target.connect().await?;
        Ok(write::Session::prepare(client).await?)
    }

    /// Works on a reading connection; once more over another one where it was lost.
    async fn reading<A, T>(&self, what: &A, work: for<'a> fn(&'a Client, &'a A) -> BoxFuture<'a, Answer<T>>) -> Result<T> {
        let place = &self.0.readers[self.0.next.fetch_add(1, Ordering::Relaxed) % READERS];
        self.reading_at(place, "", what, work).await
    }

    /// As [`Postgres::reading`], for what may take long.
    async fn listing<A, T>(&self, what: &A, work: for<'a> fn(&'a Client, &'a A) -> BoxFuture<'a, Answer<T>>) -> Result<T> {
        let setup = format!("SET statement_timeout = {LIST_MILLISECONDS}");
        self.reading_at(&self.0.lists, &setup, what, work).await
    }

    async fn reading_at<A, T>(
        &self,
        place: &Place,
        setup: &str,
        what: &A,
        work: for<'a> fn(&'a Client, &'a A) -> BoxFuture<'a, Answer<T>>,
    ) -> Result<T> {
        let mut again = true;
        loop {
            let result = match self.reader(place, setup).await {
                Ok(client) => work(&client, what).await,
                Err(fault) => Err(fault),
            };
            match result {
                Ok(value) => return Ok(value),
                Err(fault) if again && fault.is_lost() => {
                    *place.lock().await = None;
                    again = false;
                }
                Err(fault) => return Err(fault.told()),
            }
        }
    }

    async fn reader(&self, place: &Place, setup: &str) -> Answer<Arc<Client>> {
        let mut place = place.lock().await;
        match place.as_ref().filter(|client| !client.is_closed()) {
            Some(client) => Ok(client.clone()),
            None => {
                let client = Arc::new(self.0.target.connect().await?);
                client.batch_execute(setup).await?;
                *place = Some(client.clone());
                Ok(client)
            }
        }
    }

    pub(crate) async fn write(&self, changes: Changes) -> Result<()> {
        self.writing(&changes, |session, owner, changes| session.commit(owner, changes).boxed()).await
    }

    pub(crate) async fn purge(&self, run: i64, most: usize) -> Result<usize> {
        self.writing(&(run, most), |session, owner, (run, most)| session.purge(owner, *run, *most).boxed()).await
    }

    pub(crate) async fn forget(&self, run: i64, tables: Vec<Table>) -> Result<()> {
        self.writing(&(run, tables), |session, owner, (run, tables)| session.forget(owner, *run, tables).boxed()).await
    }

    pub(crate) async fn trim(&self, bytes: u64) -> Result<u64> {
        self.writing(&bytes, |session, owner, bytes| session.trim(owner, *bytes).boxed()).await
    }

    pub(crate) async fn check_owner(&self) -> Result<()> {
        self.writing(&(), |session, owner, ()| session.check_owner(owner).boxed()).await
    }

    pub(crate) async fn documents(&self, table: Table, from: i64, until: i64) -> Result<Vec<(i64, String)>> {
        self.reading(&(table, from, until), |client, (table, from, until)| read::documents(client, *table, *from, *until).boxed()).await
    }

    pub(crate) async fn last(&self, from: i64, until: i64) -> Result<(Option<i64>, Option<i64>)> {
        self.reading(&(from, until), |client, (from, until)| read::last(client, *from, *until).boxed()).await
    }

    pub(crate) async fn outputs(&self, attempts: Vec<i64>) -> Result<Vec<(i64, Bytes)>> {
        self.reading(&attempts, |client, attempts| read::outputs(client, attempts).boxed()).await
    }

    pub(crate) async fn calls(&self, query: CallQuery) -> Result<Vec<Stored>> {
        self.listing(&query, |client, query| read::calls(client, query).boxed()).await
    }

    pub(crate) async fn answer(&self, key: [u8; 32]) -> Result<Option<Bytes>> {
        self.reading(&key, |client, key| read::answer(client, key).boxed()).await
    }

    pub(crate) async fn answers(&self) -> Result<(i64, u64)> {
        self.reading(&(), |client, ()| read::answers(client).boxed()).await
    }
}
