//! A whole answer, as it is kept and given again.

use std::sync::atomic::{AtomicU64, Ordering};

use agentrun_llm::{provider::Framing, redact, usage::Usage};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// What is known of an answer beside its bytes: enough to record a hit without reading it again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// The model that answered.
    pub(crate) model: Option<String>,
    /// What it used, or why that is not known.
    pub(crate) usage: Option<Usage>,
    pub(crate) usage_error: Option<String>,
    /// Whether the body is JSON, and so the message itself.
    #[serde(default)]
    pub(crate) is_message: bool,
    /// An error inside an answer of status 200.
    pub(crate) error: Option<String>,
    /// What it cost, US dollars.
    pub(crate) usd: Option<Decimal>,
    /// The whole call, seconds.
    pub(crate) latency_seconds: f64,
    /// To the first content frame of a stream, seconds.
    pub(crate) first_token_seconds: Option<f64>,
}

/// A complete answer, content-decoded.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) status: u16,
    pub(crate) framing: Framing,
    /// Those worth giving again; lengths and encodings belong to a connection, cookies to a client.
    pub(crate) headers: Box<[Header]>,
    pub(crate) body: Bytes,
    pub(crate) facts: Facts,
    /// Its number in this process: equal numbers, equal answer.
    pub(crate) number: u64,
    /// When it was got, Unix seconds.
    pub(crate) written_at: i64,
}

/// Unix seconds.
pub(crate) fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

impl Entry {
    /// The next number.
    pub(crate) fn number() -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed)
    }

    /// Its weight in memory.
    pub(crate) fn bytes(&self) -> u64 {
        let headers: usize = self.headers.iter().map(|(_, value)| size_of::<Header>() + value.len() + 32).sum();
        (self.body.len() + headers) as u64
    }
}

/// A stored header; a map of them would be several times as large.
pub(crate) type Header = (HeaderName, HeaderValue);

/// Copies the headers of an answer that are stored. Values are copied byte by byte: as they come they are slices that keep the
/// connection's whole read buffer alive.
pub(crate) fn stored_headers(headers: &HeaderMap) -> Vec<Header> {
    let kept = headers.iter().filter(|(name, _)| redact::stored_header(name.as_str()));
    kept.filter_map(|(name, value)| Some((name.clone(), HeaderValue::from_bytes(value.as_bytes()).ok()?))).collect()
}
