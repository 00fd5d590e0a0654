//! A request to the hub.

use std::time::Duration;

use bytes::Bytes;
use http::Method;

/// The most bytes of an answer.
const ANSWER_BYTES: usize = 64 << 20;

/// A request to the hub.
pub(crate) struct Ask<'a> {
    pub(super) method: Method,
    pub(super) path: &'a str,
    pub(super) body: Bytes,
    pub(super) content_type: &'static str,
    pub(super) first_sequence: Option<u64>,
    /// How long the answer may take.
    pub(super) within: Duration,
    pub(super) waits: bool,
    pub(super) limit: usize,
}

impl<'a> Ask<'a> {
    pub(crate) fn get(path: &'a str) -> Self {
        Self::new(Method::GET, path, Bytes::new(), "")
    }

    pub(crate) fn delete(path: &'a str) -> Self {
        Self::new(Method::DELETE, path, Bytes::new(), "")
    }

    pub(crate) fn put(path: &'a str, body: Bytes) -> Self {
        Self::new(Method::PUT, path, body, "application/octet-stream")
    }

    /// A JSON message. What cannot be written as JSON (no message of ours) is sent empty, and refused.
    pub(crate) fn post(path: &'a str, message: &impl serde::Serialize) -> Self {
        Self::new(Method::POST, path, serde_json::to_vec(message).unwrap_or_default().into(), "application/json")
    }

    pub(crate) fn lines(path: &'a str, lines: Bytes, first_sequence: Option<u64>) -> Self {
        Self { first_sequence, ..Self::new(Method::POST, path, lines, "application/jsonl") }
    }

    /// Allows for a hub that takes its time on purpose.
    pub(crate) fn waiting(self, longest: Duration) -> Self {
        Self { waits: true, within: self.within + longest, ..self }
    }

    fn new(method: Method, path: &'a str, body: Bytes, content_type: &'static str) -> Self {
        Self { method, path, body, content_type, first_sequence: None, within: Duration::from_secs(15), waits: false, limit: ANSWER_BYTES }
    }
}
