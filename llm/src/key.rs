//! Cache keys: what makes two calls equal.

use sha2::{Digest, Sha256};

use crate::json::Json;

/// A cache key.
pub type Key = [u8; 32];

/// A call's key within AgentRun: equal calls have equal keys, and calls that differ in a field do not.
#[derive(Clone, Copy, Debug)]
pub struct ScopedKey<'a> {
    /// Within which calls are shared: a tenant, a namespace, a run.
    pub scope: &'a str,
    /// The provider's host in lower case, with the port where it is not the scheme's own.
    pub host: &'a str,
    /// Path and query, normalised and without secrets.
    pub path: &'a str,
    /// The body as sent, after routing.
    pub body: &'a Json,
    /// The members of the body that do not count: `stream`, where the path does not tell.
    pub without: &'a [&'a str],
    /// The how-manieth repeat: samples are independent draws and share nothing.
    pub sample: u32,
}

impl ScopedKey<'_> {
    /// SHA-256 over the fields, each with its length before it, so that no two different calls give the same bytes.
    pub fn digest(&self) -> Key {
        let body = self.body.canonical(self.without);
        let sample = self.sample.to_be_bytes();
        let mut hasher = Sha256::new();
        for field in
            ["agentrun call 1".as_bytes(), self.scope.as_bytes(), self.host.as_bytes(), self.path.as_bytes(), body.as_bytes(), &sample]
        {
            hasher.update((field.len() as u64).to_be_bytes());
            hasher.update(field);
        }
        hasher.finalize().into()
    }
}

/// AgentOpt's key: SHA-256 of the request target as received, a line feed, and the canonical body without its outermost `stream`. With it AgentOpt's `cache.db` is
/// read and written.
pub fn legacy_key(path_and_query: &str, body: &Json) -> Key {
    let mut hasher = Sha256::new();
    hasher.update(path_and_query);
    hasher.update("\n");
    hasher.update(body.canonical(&["stream"]));
    hasher.finalize().into()
}

/// A key in lower-case hex.
pub fn hex(key: &Key) -> String {
    let digit = |value: u8| char::from(b"0123456789abcdef"[usize::from(value)]);
    key.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]).collect()
}

/// The key that [`hex`] wrote, upper case allowed.
pub fn from_hex(text: &str) -> Option<Key> {
    let digits: Vec<u8> = text.chars().map(|digit| digit.to_digit(16).and_then(|value| u8::try_from(value).ok())).collect::<Option<_>>()?;
    if digits.len() != 64 {
        return None;
    }
    let mut key = [0; 32];
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair[0] << 4 | pair[1];
    }
    Some(key)
}
