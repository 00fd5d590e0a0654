//! The crate's programs as processes.

#![allow(clippy::unwrap_used, reason = "in tests")]

mod wrap;
