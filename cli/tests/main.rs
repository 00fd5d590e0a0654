//! The real binary, with a state folder of its own for every test.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod agents;
mod exec;
mod inject;
mod manifests;
mod outputs;
mod quickstart;
mod resume;
mod serve;
mod state;
mod support;
