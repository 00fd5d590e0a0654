//! The AgentRun resource: types, schema, manifests with their mistakes.
//!
//! [`agent_run`] and its neighbours are the resource's shape and the one source of its schema ([`schema`], [`crd`]); [`manifest`] reads
//! a file into it and tells every mistake with its place; [`plan`] turns a spec into what `agentrun_eval` works on, and its
//! results into a status.

#![forbid(unsafe_code)]

pub mod agent;
pub mod agent_run;
pub mod crd;
pub mod dataset;
pub mod manifest;
pub mod network;
pub mod plan;
pub mod pod_template;
pub mod schema;
pub mod scoring;
pub mod status;
mod yaml;

pub use agent_run::{AgentRun, AgentRunSpec};
pub use manifest::{Mistake, Mistakes};
pub use status::AgentRunStatus;
pub use yaml::write::to_yaml;
