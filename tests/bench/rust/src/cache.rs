//! What the naive peers keep: whole replies under a hash of path and body.
use bytes::Bytes;
use hyper::{HeaderMap, header::HeaderValue};
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

pub type Key = [u8; 32];

#[derive(Clone)]
pub struct Cache {
    replies: Arc<Mutex<HashMap<Key, (HeaderMap, Bytes)>>>,
    copy: bool,
}

impl Cache {
    /// `copy`: keep copies of body and header values; as slices of hyper's read buffer they keep all of it alive.
    pub fn new(copy: bool) -> Self {
        Cache { replies: Arc::default(), copy }
    }

    pub fn key(path: &str, body: &[u8]) -> Key {
        let mut hash = Sha256::new();
        hash.update(path.as_bytes());
        hash.update(b"\n");
        hash.update(body);
        hash.finalize().into()
    }

    pub fn get(&self, key: &Key) -> Option<(HeaderMap, Bytes)> {
        self.replies.lock().expect("nothing panics under the lock").get(key).cloned()
    }

    pub fn put(&self, key: Key, headers: &HeaderMap, body: &Bytes) {
        let mut reply = (headers.clone(), body.clone());
        if self.copy {
            reply.1 = Bytes::copy_from_slice(body);
            for value in reply.0.values_mut() {
                *value = HeaderValue::from_bytes(value.as_bytes()).expect("it was a header value before");
            }
        }
        self.replies.lock().expect("nothing panics under the lock").insert(key, reply);
    }
}

/// Whether a reply may be kept: whole ones of status 200. Streams pass as they come.
pub fn keepable<B>(response: &hyper::Response<B>) -> bool {
    let kind = response.headers().get(hyper::header::CONTENT_TYPE);
    response.status() == 200 && !kind.is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"))
}
