//! The store of runs and their trials: what has been asked, what has come out, who is at work on it.
//!
//! One SQLite file, safe with several processes at once. A run belongs to one process at a time ([`Store::begin`]); a finished trial is
//! committed before anybody counts it ([`Store::finish`]), so that a process that is killed loses nothing but the trials it was running.

#![forbid(unsafe_code)]

pub mod archive;
pub mod auth;
mod database;
pub mod identity;
pub mod lease;
mod record;
mod store;
pub mod tls;

pub use database::{Moved, checkpoint};
pub use record::{Owner, Phase, RunRecord, RunStart, Spending, TrialId, TrialRecord, TrialState};
pub use store::{Begun, Store, StoreError};

/// An error with all its causes, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
