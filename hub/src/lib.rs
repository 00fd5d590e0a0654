//! What is kept of runs: what has been asked, what has come out, who is at work on it.
//!
//! On one machine: [`Store`], one SQLite file, safe with several processes at once. A run belongs to one process at a time
//! ([`Store::begin`]); a finished trial is committed before anybody counts it ([`Store::finish`]), so that a process that is killed loses
//! nothing but the trials it was running.
//!
//! In a cluster: [`service`], over [`archive`], with callers that [`auth`] knows.

#![forbid(unsafe_code)]

mod aggregate;
mod api;
pub mod archive;
pub mod auth;
pub mod config;
mod database;
pub mod identity;
pub mod lease;
mod metrics;
mod record;
mod retention;
mod scoring;
pub mod service;
mod store;
pub mod tls;

pub use agentrun_protocol::sentence;
pub use database::{Moved, checkpoint};
pub use record::{Owner, Phase, RunRecord, RunStart, Spending, TrialId, TrialRecord, TrialState};
pub use store::{Begun, Store, StoreError};
