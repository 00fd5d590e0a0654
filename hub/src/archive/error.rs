//! What can go wrong with the archive, and what its callers should tell theirs.

use thiserror::Error;

/// What kind of answer an error is: the service makes a status of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The message is of no use (400).
    BadInput,
    /// There is no such thing (404).
    NotFound,
    /// It contradicts what is stored (409).
    Conflict,
    /// It was there and is no more (410).
    Gone,
    /// It is larger than allowed (413).
    TooLarge,
    /// Nothing is wrong with the message: the same one is welcome later (503).
    Unavailable,
    /// What is stored cannot be used (500).
    Broken,
}

/// What can go wrong with the archive.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ArchiveError {
    /// The settings name no usable store.
    #[error("{0}")]
    Settings(String),
    /// Nobody registered the run, or it was deleted.
    #[error("run {0} is not known here")]
    NoRun(String),
    /// The run's data was removed by the retention rules.
    #[error("the data of run {0} is older than is kept here, and was removed")]
    Expired(String),
    /// The run is known, and has no such trial.
    #[error("run {run} has no trial {trial}")]
    NoTrial {
        /// The run's name.
        run: String,
        /// What was asked for.
        trial: String,
    },
    /// The attempt is not known, or its run was deleted.
    #[error("this pod's attempt is not known here: ask for its trial first")]
    NoAttempt,
    /// A registration that is of no use.
    #[error("the registration of run {run} is refused: {problem}")]
    Registration {
        /// The run's name.
        run: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// A registration that contradicts an earlier one.
    #[error("run {run} is registered already, with {what}: delete the AgentRun and make it again to change them")]
    Changed {
        /// The run's name.
        run: String,
        /// What differs.
        what: &'static str,
    },
    /// A batch that leaves records out.
    #[error("the batch begins with record {first}, and the last one here is {acknowledged}: send from record {} on", acknowledged + 1)]
    Gap {
        /// Where the batch begins.
        first: u64,
        /// The last record that is stored.
        acknowledged: u64,
    },
    /// A batch with a line that is no record.
    #[error("line {line} of the batch is no record: {reason}")]
    Record {
        /// From 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A batch, an output or an entry that is too large.
    #[error("{what} is longer than {limit} bytes")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// The most bytes that are taken.
        limit: usize,
    },
    /// More records after the attempt's end.
    #[error("the attempt has ended with record {last}: no more records are taken")]
    Ended {
        /// The last record that counts.
        last: u64,
    },
    /// An end that comes before its records or its output.
    #[error("the attempt cannot end yet: {0}")]
    NotYet(String),
    /// A query that cannot be answered as it is put.
    #[error("{0}")]
    Query(String),
    /// The disk, the quota or the database has no room.
    #[error("the hub's store is full: nothing is taken until it has room; what is stored is safe ({0})")]
    Full(String),
    /// The store cannot be reached or written now.
    #[error("the hub's store cannot be used now: {0}")]
    Unavailable(String),
    /// Another hub has taken the store over.
    #[error("another hub uses this store now: only one may")]
    Fenced,
    /// What is stored cannot be read.
    #[error("the hub's store holds something that cannot be read: {0}")]
    Broken(String),
}

impl ArchiveError {
    /// What kind of answer this is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Settings(_) | Self::Registration { .. } | Self::Record { .. } | Self::Query(_) => Kind::BadInput,
            Self::NoRun(_) | Self::NoTrial { .. } | Self::NoAttempt => Kind::NotFound,
            Self::Changed { .. } | Self::Gap { .. } | Self::Ended { .. } | Self::NotYet(_) => Kind::Conflict,
            Self::Expired(_) => Kind::Gone,
            Self::TooLarge { .. } => Kind::TooLarge,
            Self::Full(_) | Self::Unavailable(_) | Self::Fenced => Kind::Unavailable,
            Self::Broken(_) => Kind::Broken,
        }
    }
}
