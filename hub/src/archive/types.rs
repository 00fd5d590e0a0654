//! What callers of the archive say and are told.

use std::{path::PathBuf, time::Duration};

use agentrun_protocol::trial::Assignment;
use serde::{Deserialize, Serialize};

/// The most bytes of a batch of records.
pub const BATCH_BYTES: usize = 16 << 20;
/// The most bytes of an agent's output.
pub const OUTPUT_BYTES: usize = 1 << 20;

/// Names a run in the archive; never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub(crate) i64);

/// Names an attempt, one pod's work, in the archive; never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId(pub(crate) i64);

/// Where the archive keeps its data.
#[derive(Clone, PartialEq, Eq)]
pub enum Location {
    /// A SQLite file, made where it is not there.
    Sqlite(PathBuf),
    /// A PostgreSQL database: `postgres://USER:PASSWORD@HOST/DATABASE`, with `?sslmode=disable`, or verified TLS (`verify-full`, the default;
    /// roots are the public ones and those of the PEM file in `sslrootcert`).
    Postgres(String),
}

impl std::fmt::Debug for Location {
    /// A URL holds a password.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(path) => write!(formatter, "Sqlite({})", path.display()),
            Self::Postgres(_) => formatter.write_str("Postgres(…)"),
        }
    }
}

/// What an archive is opened with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the data is.
    pub location: Location,
    /// The most bytes of stored answers; the oldest go first.
    pub answer_bytes: u64,
    /// The most bytes of the SQLite file; 0 is as many as there are. PostgreSQL knows its own quotas.
    pub file_bytes: u64,
    /// Namespaces whose runs may share stored answers with those of the others in this list.
    pub shared_namespaces: Vec<String>,
}

impl Settings {
    /// The usual settings: 4 GiB of stored answers, no other bound, nobody shares.
    pub fn new(location: Location) -> Self {
        Self { location, answer_bytes: 4 << 30, file_bytes: 0, shared_namespaces: Vec::new() }
    }
}

/// Which runs' data is kept. Runs that are not over, or had a call within the last hour, are always kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// For so long after its last change.
    pub age: Option<Duration>,
    /// The so many that changed last.
    pub runs: Option<usize>,
}

/// A pod, from its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its uid: names the attempt.
    pub uid: String,
    /// Its name.
    pub name: String,
}

/// Where a pod stands in its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The combo's index.
    pub combo: u64,
    /// The chunk's index.
    pub chunk: u64,
    /// The completion index in the chunk's Job.
    pub index: u64,
}

/// What a pod that others made says of itself; empty where it does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The datapoint.
    pub data_id: String,
    /// The combo.
    pub combo_id: String,
    /// The agent.
    pub agent_id: String,
}

/// A pod's attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Claimed {
    /// The run.
    pub run: RunId,
    /// Names it in everything the pod sends.
    pub attempt: AttemptId,
    /// What the pod is to do.
    pub assignment: Assignment,
    /// Who shares stored answers with the pod.
    pub scope: Scope,
    /// The trial has its final result from an earlier pod: this one's calls are recorded, and its output counts for nothing.
    pub is_final: bool,
}

/// Who shares stored answers: an answer put under one scope is found under no other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// One run.
    Run(RunId),
    /// The runs of one namespace.
    Namespace(String),
    /// The runs of the namespaces that share.
    Shared,
}
