//! AgentOpt's rows: how it writes an answer down, and how ours are written so that it reads them.
//!
//! A row is `{"response_bytes_b64", "response_headers", "latency_seconds"}`: the content-decoded body, the headers as upstream sent them with repeated ones joined by
//! `, `, and how long the call took. Of the last two it needs neither.

use agentrun_llm::{
    json::{Json, Object},
    key::{self, Key},
    provider::Framing,
    redact,
};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::entry::{Entry, Header};

/// The table that AgentOpt makes, and what we know of the rows that we wrote into it ourselves: one whose text has another digest by now is AgentOpt's again.
pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS cache (key TEXT PRIMARY KEY, data_json TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS agentrun_rows (
    key TEXT PRIMARY KEY, digest BLOB NOT NULL, bytes INTEGER NOT NULL, written_at INTEGER NOT NULL
);";

/// What a row may hold beside its body.
const HEADERS_BYTES: usize = 64 << 10;

/// An answer that stands in the table.
#[derive(Debug, PartialEq)]
pub(crate) struct Row {
    /// What its content type says; none where it has none.
    pub(crate) framing: Option<Framing>,
    /// Those worth giving again.
    pub(crate) headers: Vec<Header>,
    pub(crate) body: Bytes,
    /// As it was measured, to the bit.
    pub(crate) latency_seconds: f64,
}

/// Why a row cannot be used.
#[derive(Debug, Error)]
pub(crate) enum BrokenRow {
    #[error("it is larger than the {0} bytes that an answer may have")]
    TooLarge(usize),
    #[error("it is no text")]
    NoText,
    #[error("it is no JSON object")]
    NoObject,
    #[error("it has no response_bytes_b64")]
    NoBody,
    #[error("its response_bytes_b64 is not base64")]
    NoBase64,
}

/// The bytes that the row of a body of at most `body` bytes can take.
pub(super) fn row_bytes(body: usize) -> usize {
    (body / 3 * 4).saturating_add(HEADERS_BYTES)
}

/// What names a row's text beside it.
pub(super) fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

/// A row's key, as the table has it.
pub(super) fn row_key(key: &Key) -> String {
    key::hex(key)
}

/// Reads a row's text.
pub(super) fn read(text: &str) -> Result<Row, BrokenRow> {
    let row = Json::parse(text.as_bytes()).map_err(|_| BrokenRow::NoObject)?;
    let row = row.as_object().ok_or(BrokenRow::NoObject)?;
    let body = row.get("response_bytes_b64").and_then(Json::as_str).ok_or(BrokenRow::NoBody)?;
    let body = BASE64_STANDARD.decode(body).map_err(|_| BrokenRow::NoBase64)?;
    let headers = row.get("response_headers").and_then(Json::as_object);
    let pairs = || headers.into_iter().flat_map(Object::iter).filter_map(|(name, value)| Some((name.as_str()?, value.as_str()?)));
    let content_type = pairs().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    let latency = row.get("latency_seconds").and_then(Json::as_f64);
    Ok(Row {
        framing: content_type.map(|(_, value)| Framing::of_content_type(value)),
        headers: pairs().filter(|(name, _)| is_exchanged(name)).filter_map(header).collect(),
        body: Bytes::from(body.into_boxed_slice()),
        latency_seconds: latency.filter(|latency| latency.is_finite() && *latency >= 0.0).unwrap_or_default(),
    })
}

fn header((name, value): (&str, &str)) -> Option<Header> {
    Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?))
}

/// Writes a row's text.
pub(super) fn write(entry: &Entry) -> String {
    let mut headers = Object::new();
    for (name, value) in entry.headers.iter().filter(|(name, _)| is_exchanged(name.as_str())) {
        let Ok(value) = value.to_str() else { continue };
        let joined = match headers.get(name.as_str()).and_then(Json::as_str) {
            Some(before) => format!("{before}, {value}"),
            None => value.to_owned(),
        };
        headers.insert(name.as_str(), joined);
    }
    Json::from([
        ("response_bytes_b64", Json::from(BASE64_STANDARD.encode(&entry.body))),
        ("response_headers", Json::from(headers)),
        ("latency_seconds", Json::from(entry.facts.latency_seconds)),
    ])
    .compact()
}

/// Whether a header goes from one to the other: a request's id is nobody else's, and the rest is what we never store.
fn is_exchanged(name: &str) -> bool {
    let plain = name.to_ascii_lowercase().replace('-', "");
    redact::stored_header(name) && !plain.ends_with("requestid") && plain != "cfray"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::entry::Facts;

    fn entry(headers: &[(&'static str, &str)], body: &'static [u8]) -> Entry {
        let header = |(name, value): &(&'static str, &str)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        Entry {
            status: 200,
            framing: Framing::Sse,
            headers: headers.iter().map(header).collect(),
            body: Bytes::from_static(body),
            facts: Facts { latency_seconds: 0.1 + 0.2, ..Facts::default() },
            number: Entry::number(),
            written_at: 0,
        }
    }

    #[test]
    fn a_row_is_written_as_agentopt_writes_it() {
        let headers = [("content-type", "text/event-stream; charset=utf-8"), ("via", "a"), ("via", "b"), ("x-request-id", "r1")];
        let text = write(&entry(&headers, b"data: \xff\n\n"));
        assert_eq!(
            text,
            r#"{"response_bytes_b64":"ZGF0YTog/woK","response_headers":{"content-type":"text/event-stream; charset=utf-8","via":"a, b"},"latency_seconds":0.30000000000000004}"#
        );
        let row = read(&text).unwrap();
        assert_eq!((row.framing, &row.body[..], row.latency_seconds), (Some(Framing::Sse), &b"data: \xff\n\n"[..], 0.1 + 0.2));
    }

    #[test]
    fn what_agentopt_keeps_of_another_client_is_not_given_on() {
        let text = r#"{"response_headers": {"Set-Cookie": "a=1, b=2", "Date": "Mon", "X-Request-Id": "r", "CF-RAY": "c", "Content-Encoding": "gzip",
            "Transfer-Encoding": "chunked", "Content-Length": "99", "x-amzn-RequestId": "q", "x-ratelimit-remaining-tokens": "0", "Openai-Version": "2020-10-01",
            "x-odd": "\udcff", "bad name": "x", "x-number": 7, "CONTENT-TYPE": "application/json"}, "response_bytes_b64": "e30="}"#;
        let row = read(text).unwrap();
        let names: Vec<&str> = row.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["openai-version", "content-type"]);
        assert_eq!((row.framing, &row.body[..], row.latency_seconds), (Some(Framing::Json), &b"{}"[..], 0.0));
    }

    #[test]
    fn only_the_body_is_needed_and_what_is_broken_says_how() {
        let row = read(r#"{"response_bytes_b64": ""}"#).unwrap();
        assert_eq!(row, Row { framing: None, headers: Vec::new(), body: Bytes::new(), latency_seconds: 0.0 });
        for latency in ["NaN", "Infinity", "-1", "\"1\"", "null"] {
            let text = format!(r#"{{"response_bytes_b64": "", "latency_seconds": {latency}, "response_headers": []}}"#);
            assert_eq!(read(&text).unwrap().latency_seconds, 0.0, "{latency}");
        }
        for (text, says) in [
            ("", "no JSON object"),
            ("[]", "no JSON object"),
            ("{", "no JSON object"),
            ("{}", "no response_bytes_b64"),
            (r#"{"response_bytes_b64": 7}"#, "no response_bytes_b64"),
            (r#"{"response_bytes_b64": "e30"}"#, "not base64"),
            (r#"{"response_bytes_b64": "e3\u00e9="}"#, "not base64"),
        ] {
            assert!(read(text).unwrap_err().to_string().contains(says), "{text}");
        }
    }
}
