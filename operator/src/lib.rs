//! The operator: it watches AgentRuns, makes their Jobs, injects the sidecar into pods, and writes what came out into the status.
//!
//! [`start`] is the composition: read it first.

#![forbid(unsafe_code)]

pub mod admin;
pub mod args;
pub mod certificates;
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
mod start;
pub mod templates;
#[cfg(test)]
mod testing;
pub mod traces;
pub mod webhook;

pub use start::{StartError, start};

/// An error with its causes, in one line. A cause that an error repeats in its own text is left out.
pub fn sentence(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let told = error.to_string();
        if !text.contains(&told) {
            text = format!("{text}: {told}");
        }
        cause = error.source();
    }
    text
}
