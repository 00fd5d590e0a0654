//! A stored answer as the bytes that the hub keeps: a version, the length of what is known of it, that as JSON, and its body.

use agentrun_llm::provider::Framing;
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use crate::cache::{
    disk::{framing, framing_name},
    entry::{Entry, Facts, now},
};

/// The version of these bytes. What another version wrote is asked for anew.
const VERSION: u8 = 1;
/// Version and length.
const HEAD_BYTES: usize = 5;

#[derive(Serialize)]
struct Head<'a> {
    status: u16,
    framing: &'static str,
    headers: Vec<(&'a str, &'a str)>,
    facts: &'a Facts,
}

/// What is read of a head: its texts may hold escapes, and so cannot be borrowed.
#[derive(Deserialize)]
struct ReadHead {
    status: u16,
    framing: String,
    headers: Vec<(String, String)>,
    facts: Facts,
}

/// The bytes of `entry`; `None` where they cannot be said.
pub(super) fn encode(entry: &Entry) -> Option<Bytes> {
    let headers = entry.headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?))).collect();
    let head = Head { status: entry.status, framing: framing_name(entry.framing), headers, facts: &entry.facts };
    let head = serde_json::to_vec(&head).ok()?;
    let mut bytes = BytesMut::with_capacity(HEAD_BYTES + head.len() + entry.body.len());
    bytes.put_u8(VERSION);
    bytes.put_u32(u32::try_from(head.len()).ok()?);
    bytes.put_slice(&head);
    bytes.put_slice(&entry.body);
    Some(bytes.freeze())
}

/// The entry that `bytes` are; `None` where they are another version's, or broken.
pub(super) fn decode(bytes: &Bytes) -> Option<Entry> {
    let (&[version, length @ ..], rest) = bytes.split_first_chunk::<HEAD_BYTES>()?;
    let length = usize::try_from(u32::from_be_bytes(length)).ok()?;
    let head = rest.get(..length).filter(|_| version == VERSION)?;
    let head: ReadHead = serde_json::from_slice(head).ok()?;
    let header = |(name, value): (String, String)| Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?));
    let framing: Framing = framing(&head.framing)?;
    Some(Entry {
        status: http::StatusCode::from_u16(head.status).ok()?.as_u16(),
        framing,
        headers: head.headers.into_iter().filter_map(header).collect(),
        // A copy of its own: a slice would keep the head alive with it.
        body: Bytes::copy_from_slice(&rest[length..]),
        facts: head.facts,
        number: Entry::number(),
        // The hub does not say, and looks after the age of its answers itself.
        written_at: now(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            status: 200,
            framing: Framing::Sse,
            headers: Box::new([
                (HeaderName::from_static("x-request-id"), HeaderValue::from_static("r\"1")),
                (HeaderName::from_static("x-odd"), HeaderValue::from_bytes(b"\xff").unwrap()),
            ]),
            body: Bytes::from_static(b"data: 1\n\ndata: [DONE]\n\n"),
            facts: Facts { model: Some("m".to_owned()), usd: Some("0.25".parse().unwrap()), latency_seconds: 1.5, ..Facts::default() },
            number: Entry::number(),
            written_at: 0,
        }
    }

    #[test]
    fn what_was_put_is_what_is_read() {
        let (given, read) = (entry(), decode(&encode(&entry()).unwrap()).unwrap());
        assert_eq!((read.status, read.framing, &read.body, &read.facts), (given.status, given.framing, &given.body, &given.facts));
        assert_eq!(read.headers[..], given.headers[..1], "a value that is no text is left out");
        assert_ne!(read.number, given.number);
    }

    #[test]
    fn the_form_is_fixed() {
        let bytes = encode(&entry()).unwrap();
        assert_eq!(&bytes[..3], b"\x01\x00\x00");
        let text = String::from_utf8_lossy(&bytes[HEAD_BYTES..]).into_owned();
        assert!(text.starts_with(r#"{"status":200,"framing":"sse","headers":[["x-request-id","r\"1"]],"facts":{"model":"m","#), "{text}");
        assert!(text.ends_with("}data: 1\n\ndata: [DONE]\n\n"), "{text}");
    }

    #[test]
    fn what_is_broken_is_nothing() {
        let whole = encode(&entry()).unwrap();
        let head = HEAD_BYTES + usize::try_from(u32::from_be_bytes(whole[1..5].try_into().unwrap())).unwrap();
        for length in 0..head {
            assert!(decode(&whole.slice(..length)).is_none(), "{length}");
        }
        let with = |place: usize, byte: u8| {
            let mut bytes = whole.to_vec();
            bytes[place] = byte;
            decode(&bytes.into())
        };
        assert!(with(0, 2).is_none(), "another version");
        assert!(with(1, 255).is_none(), "a length beyond its end");
        assert!(with(5, b'x').is_none(), "no JSON");
        for text in
            [&br#"{"status":20,"framing":"sse","headers":[],"facts":{"latency_seconds":0}}"#[..], br#"{"status":200,"framing":"odd"}"#]
        {
            let mut bytes = vec![1, 0, 0, 0, u8::try_from(text.len()).unwrap()];
            bytes.extend_from_slice(text);
            assert!(decode(&bytes.into()).is_none());
        }
    }
}
