//! The hub over real TLS, with a real store: only the API server's answers are given by the test. And the store by itself, on both kinds of database.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod archive;
mod cache;
mod callers;
mod end_to_end;
mod records;
mod rig;
mod serving;
