//! The operator: it watches AgentRuns, makes their Jobs, injects the sidecar into pods, and writes what came out into the status.
//!
//! [`start`] is the composition: read it first.

#![forbid(unsafe_code)]

pub mod admin;
pub mod args;
pub mod busy;
pub mod certificates;
pub mod client;
pub mod conditions;
pub mod context;
pub mod controller;
pub mod dataset;
pub mod diagnose;
pub mod hub;
pub mod inject;
pub mod leader;
pub mod metrics;
pub mod objects;
pub mod pods;
pub mod ranges;
pub mod run;
pub mod self_test;
pub mod slim_pod;
mod start;
pub mod templates;
#[cfg(test)]
mod testing;
pub mod traces;
pub mod webhook;

pub use agentrun_protocol::sentence;
pub use start::{StartError, start};
