//! A whole answer, as it is kept and given again.

use std::sync::atomic::{AtomicU64, Ordering};

use agentrun_llm::{provider::Framing, redact, usage::Usage};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
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
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) facts: Facts,
    /// Names the assembled message in the journal: the same for each hit, so it is written once.
    pub(crate) message_id: [u8; 32],
    /// Its number in this process: equal numbers, equal answer.
    pub(crate) number: u64,
}

impl Entry {
    /// The next number.
    pub(crate) fn number() -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed)
    }

    /// Its weight in memory.
    pub(crate) fn bytes(&self) -> u64 {
        let headers: usize = self.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 64).sum();
        (self.body.len() + headers) as u64
    }
}

/// Copies the headers of an answer that are stored. Values are copied byte by byte: as they come they are slices that keep the
/// connection's whole read buffer alive.
pub(crate) fn stored_headers(headers: &HeaderMap) -> HeaderMap {
    let kept: Vec<_> = headers.iter().filter(|(name, _)| redact::stored_header(name.as_str())).collect();
    let mut stored = HeaderMap::with_capacity(kept.len());
    for (name, value) in kept {
        if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
            stored.append(name, value);
        }
    }
    stored
}

/// Sets the content type of an answer in another framing than it was stored in.
pub(crate) fn set_content_type(headers: &mut HeaderMap, framing: Framing) {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(framing.content_type()));
}
