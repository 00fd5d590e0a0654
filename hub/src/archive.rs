//! The cluster's store: runs, their trials and attempts, every call's record, outputs, stored answers.
//!
//! All state of a run that decisions need is held in memory and is decided upon by pure code (`run`); each decision is a set of rows to write
//! ([`change`]), and its caller is answered when they are durable. Rows of many callers are committed together ([`committer`]). SQLite and
//! PostgreSQL differ only in how such a set is written and how rows are read ([`backend`]), so that both decide alike. After a failed
//! commit the state in memory is forgotten and read again: what is acknowledged is what is stored.

use agentrun_crds::status::RankedCombo;
use agentrun_protocol::{
    query::{self, Filter, Page},
    run::{Aggregate, Observation, Registration},
    score::{Item, Scored},
    trial::{Acknowledged, End},
};
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::value::RawValue;

mod error;
mod types;

pub use error::{ArchiveError, Kind};
pub use types::{AttemptId, BATCH_BYTES, Claimed, Claims, Location, OUTPUT_BYTES, Place, Pod, Retention, RunId, Scope, Settings};

type Result<T> = std::result::Result<T, ArchiveError>;

/// The cluster's store. Clones are the same store.
#[derive(Clone)]
pub struct Archive {}

impl Archive {
    /// Opens the store, makes its tables where they are missing, and takes it over from whoever used it before.
    ///
    /// # Errors
    /// The store cannot be used: [`ArchiveError::Settings`], [`ArchiveError::Unavailable`], [`ArchiveError::Broken`].
    pub async fn open(settings: Settings) -> Result<Self> {
        Err(ArchiveError::Settings(format!("{settings:?} is not there yet")))
    }

    /// Whether writes are taken now; the reason where they are not.
    pub fn health(&self) -> Result<()> {
        Err(ArchiveError::NoAttempt)
    }

    /// Registers a run, or a later generation of its spec. An equal registration changes nothing; another uid under the same name is another run.
    ///
    /// # Errors
    /// A spec or datapoints of no use; datapoints, combos, samples or scoring that differ from those registered; no datapoints for a new uid.
    pub async fn register(&self, namespace: &str, name: &str, registration: Registration) -> Result<RunId> {
        let _ = (namespace, name, registration);
        Err(ArchiveError::NoAttempt)
    }

    /// The run of this name that began last; with `uid`, that one alone.
    ///
    /// # Errors
    /// [`ArchiveError::NoRun`], [`ArchiveError::Expired`].
    pub async fn find(&self, namespace: &str, name: &str, uid: Option<&str>) -> Result<RunId> {
        let _ = (namespace, name, uid);
        Err(ArchiveError::NoAttempt)
    }

    /// Deletes a run with all that belongs to it. It is gone for everybody at once; its rows go in the background, also after a restart.
    /// A run that is not there is deleted already.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn delete(&self, namespace: &str, name: &str, uid: &str) -> Result<()> {
        let _ = (namespace, name, uid);
        Err(ArchiveError::NoAttempt)
    }

    /// Removes the data of runs that are no longer to be kept; gives how many runs.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn retain(&self, retention: Retention, now: Timestamp) -> Result<usize> {
        let _ = (retention, now);
        Err(ArchiveError::NoAttempt)
    }

    /// Gives a pod of the operator's Jobs its trial. The same pod is given the same attempt again; another pod the next one.
    ///
    /// # Errors
    /// No such run, or no such trial in it.
    pub async fn claim(&self, namespace: &str, uid: &str, place: Place, pod: Pod, now: Timestamp) -> Result<Claimed> {
        let _ = (namespace, uid, place, pod, now);
        Err(ArchiveError::NoAttempt)
    }

    /// Notes a pod that others made under the newest run of this name, which is made where there is none.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn adopt(&self, namespace: &str, name: &str, claims: Claims, pod: Pod, now: Timestamp) -> Result<Claimed> {
        let _ = (namespace, name, claims, pod, now);
        Err(ArchiveError::NoAttempt)
    }

    /// Stores a batch of records, JSON lines whose first is record `first` of the attempt. Records that are stored already are skipped.
    /// What is acknowledged is durable.
    ///
    /// # Errors
    /// A gap, a line that is no record, more than [`BATCH_BYTES`], an ended attempt.
    pub async fn ingest(&self, attempt: AttemptId, first: u64, lines: Bytes) -> Result<Acknowledged> {
        let _ = (attempt, first, lines);
        Err(ArchiveError::NoAttempt)
    }

    /// Stores the agent's output so far. A later one replaces it until the attempt's end; after it, nothing changes.
    ///
    /// # Errors
    /// It is longer than [`OUTPUT_BYTES`], or not UTF-8.
    pub async fn put_output(&self, attempt: AttemptId, output: Bytes) -> Result<()> {
        let _ = (attempt, output);
        Err(ArchiveError::NoAttempt)
    }

    /// Ends an attempt, and decides on its trial where that is possible now: scored by a built-in scorer, it is final when this returns.
    /// The same end again changes nothing.
    ///
    /// # Errors
    /// [`ArchiveError::NotYet`] while records or the output are missing.
    pub async fn end(&self, attempt: AttemptId, end: End) -> Result<()> {
        let _ = (attempt, end);
        Err(ArchiveError::NoAttempt)
    }

    /// Takes what the operator saw, decides on the trials that it concerns, and sums the run up.
    ///
    /// # Errors
    /// No such run.
    pub async fn observe(&self, namespace: &str, name: &str, observation: Observation, now: Timestamp) -> Result<Aggregate> {
        let _ = (namespace, name, observation, now);
        Err(ArchiveError::NoAttempt)
    }

    /// Sums a run up.
    ///
    /// # Errors
    /// No such run.
    pub async fn aggregate(&self, run: RunId) -> Result<Aggregate> {
        Err(ArchiveError::NoRun(format!("{run:?}")))
    }

    /// Outputs that wait for their score, by trial number, after trial `after` (−1 for all). A page holds at most `limit` items and some MiB.
    ///
    /// # Errors
    /// No such run.
    pub async fn score_items(&self, run: RunId, after: i64, limit: u64) -> Result<Vec<Item>> {
        let _ = (run, after, limit);
        Err(ArchiveError::NoAttempt)
    }

    /// Takes scores. Those of trials that do not wait for one change nothing.
    ///
    /// # Errors
    /// No such run.
    pub async fn score(&self, run: RunId, scores: Vec<Scored>) -> Result<()> {
        let _ = (run, scores);
        Err(ArchiveError::NoAttempt)
    }

    /// The answer that is stored under a key.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn answer(&self, scope: &Scope, key: &[u8; 32]) -> Result<Option<Bytes>> {
        let _ = (scope, key);
        Err(ArchiveError::NoAttempt)
    }

    /// Stores an answer under a key, in place of an earlier one.
    ///
    /// # Errors
    /// It is longer than [`agentrun_protocol::lease::ENTRY_BYTES`], or the store cannot be written.
    pub async fn keep_answer(&self, scope: &Scope, key: [u8; 32], answer: Bytes) -> Result<()> {
        let _ = (scope, key, answer);
        Err(ArchiveError::NoAttempt)
    }

    /// The runs of a namespace, newest first.
    ///
    /// # Errors
    /// A cursor that is none.
    pub async fn runs(&self, namespace: &str, limit: Option<u64>, cursor: Option<&str>) -> Result<query::Runs> {
        let _ = (namespace, limit, cursor);
        Err(ArchiveError::NoAttempt)
    }

    /// A run in a few numbers.
    ///
    /// # Errors
    /// No such run.
    pub async fn run(&self, run: RunId) -> Result<query::Run> {
        Err(ArchiveError::NoRun(format!("{run:?}")))
    }

    /// A run's records that a filter lets pass, in the order they arrived. A page holds at most [`query::PAGE`] records and some MiB.
    ///
    /// # Errors
    /// No such run, or a filter or cursor of no use.
    pub async fn calls(&self, run: RunId, filter: &Filter) -> Result<Page<Box<RawValue>>> {
        let _ = (run, filter);
        Err(ArchiveError::NoAttempt)
    }

    /// A run's trials by combo, sample and datapoint, all that it will have; of a run that nobody registered, its pods.
    ///
    /// # Errors
    /// No such run, or a cursor that is none.
    pub async fn trials(&self, run: RunId, filter: &Filter) -> Result<Page<query::Trial>> {
        let _ = (run, filter);
        Err(ArchiveError::NoAttempt)
    }

    /// A run's whole ranking.
    ///
    /// # Errors
    /// No such run, or a cursor that is none.
    pub async fn results(&self, run: RunId, filter: &Filter) -> Result<Page<RankedCombo>> {
        let _ = (run, filter);
        Err(ArchiveError::NoAttempt)
    }
}
