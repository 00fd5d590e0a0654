//! The operator: it watches AgentRuns, makes their Jobs, injects the sidecar into pods, and writes what came out into the status.

#![forbid(unsafe_code)]

pub mod inject;
