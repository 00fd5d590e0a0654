//! Integration tests of the crate: one behaviour a file.
#![allow(missing_docs, clippy::unwrap_used)]

mod answers;
mod conversions;
mod eventstream;
mod golden;
mod json;
mod key;
mod price;
mod sse;
