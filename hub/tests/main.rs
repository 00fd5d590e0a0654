//! The hub over real TLS, with a real store: only the API server's answers are given by the test.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cache;
mod callers;
mod end_to_end;
mod records;
mod rig;
mod serving;
