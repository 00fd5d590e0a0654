//! What an LLM call is: providers, shapes, usage, prices, cache keys, records.
//!
//! Everything here is a function of its arguments: no clock, no network, no file.

pub mod call;
pub mod compose;
pub mod credential;
pub mod eventstream;
pub mod json;
pub mod key;
pub mod price;
pub mod provider;
pub mod redact;
pub mod request;
pub mod response;
pub mod sse;
pub mod usage;
