//! The bodies of requests and answers, as they stand in the journal.

use std::borrow::Cow;

use agentrun_llm::{json::Json, response};
use bytes::Bytes;
use rusqlite::Connection;

use super::writer::{Failure, Known};
use crate::{cache::entry::Entry, exchange::Reading, fingerprint::Fingerprint};

/// Names a body within this process: equal names, equal text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum BodyId {
    Request(Fingerprint),
    Answer(u64),
}

/// The number of a body's row, which is written unless it is known to stand there.
pub(super) fn row<'a>(
    file: &Connection,
    known: &mut Known,
    id: Option<BodyId>,
    text: impl FnOnce() -> Option<Cow<'a, str>>,
) -> Result<Option<i64>, Failure> {
    if let Some(row) = id.as_ref().and_then(|id| known.bodies.get(id)) {
        return Ok(Some(*row));
    }
    let Some(text) = text() else { return Ok(None) };
    file.prepare_cached("INSERT INTO bodies VALUES (NULL, ?1)")?.execute([&*text])?;
    let row = file.last_insert_rowid();
    if let Some(id) = id {
        known.bodies.insert(id, row);
    }
    Ok(Some(row))
}

/// The message of an answer: a plain one is its own.
pub(super) fn message<'a>(entry: &'a Entry, reading: Option<&Reading>) -> Option<Cow<'a, str>> {
    if entry.facts.is_message {
        return std::str::from_utf8(&entry.body).ok().map(Cow::Borrowed);
    }
    let reading = reading?;
    let answer = response::read(&reading.endpoint, entry.framing, &entry.body, reading.model.as_deref());
    Some(answer.message?.to_string().into())
}

/// A request's body as JSON that any reader takes: Python's liberties (NaN, lone surrogates) are replaced. What common readers refuse
/// all the same (nested too deeply, numbers out of range) is left out, so that it does not spoil the records around it.
pub(super) fn strict(body: &Bytes) -> Option<Cow<'_, str>> {
    let text = std::str::from_utf8(body).ok();
    // Nearly every body is plain; looking for the odd ones is a tenth of reading the JSON once more.
    if let Some(text) = text
        && !is_odd(text)
    {
        return Some(text.into());
    }
    let readable = |text: &str| serde_json::from_str::<serde_json::Value>(&format!("[[{text}]]")).is_ok();
    if let Some(text) = text.filter(|text| readable(text)) {
        return Some(text.into());
    }
    Json::parse(body).ok()?.to_strict().filter(|text| readable(text)).map(Cow::Owned)
}

/// Whether a body may hold what some reader refuses.
fn is_odd(text: &str) -> bool {
    const DEEP: usize = 100;
    const CHUNK: usize = 64;
    let bytes = text.as_bytes();
    let opened = bytes.iter().filter(|&&byte| byte == b'[' || byte == b'{').count();
    // A number out of range is hundreds of digits long, so it crosses several chunks' beginnings.
    let crossings: Vec<bool> = bytes.iter().step_by(CHUNK).map(u8::is_ascii_digit).collect();
    let long_number = crossings.windows(3).any(|three| three.iter().all(|&digit| digit));
    opened > DEEP
        || long_number
        || ["NaN", "Infinity", "\\ud", "\\uD", "\u{feff}", "e308", "E308"].iter().any(|liberty| text.contains(liberty))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_readers_refuse_is_not_kept_as_it_is() {
        let kept = |text: &str| strict(&Bytes::copy_from_slice(text.as_bytes())).map(Cow::into_owned);
        assert_eq!(kept(r#"{"a": "é"}"#).as_deref(), Some(r#"{"a": "é"}"#));
        assert_eq!(kept(r#"{"a": NaN}"#).as_deref(), Some(r#"{"a":null}"#));
        assert_eq!(kept("{\"a\": \"\\ud800\"}").as_deref(), Some("{\"a\":\"\u{fffd}\"}"));
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(kept(&deep), None);
        assert_eq!(kept(&format!("[{}]", "9".repeat(10_000))), None);
        let wide = format!("[{}[]]", "[],".repeat(1000));
        assert_eq!(kept(&wide), Some(wide));
    }
}
