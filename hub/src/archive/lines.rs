//! A batch of records as a sidecar sends it, one JSON object a line.

use agentrun_llm::call::{CallId, CallRecord, Capture, Outcome};
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::{
    error::ArchiveError,
    sums::Sums,
    types::{BATCH_BYTES, Claims},
};

/// A piece of text that records share, with what it is recognised by.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) digest: u128,
    pub(crate) text: Bytes,
}

impl Piece {
    fn new(text: String) -> Self {
        let hash = Sha256::digest(&text);
        let mut half = [0; 16];
        half.copy_from_slice(&hash[..16]);
        Self { digest: u128::from_le_bytes(half), text: text.into() }
    }
}

/// A record taken apart: what is looked for, what is added up, and the pieces of text that other records may have too.
#[derive(Clone, Debug)]
pub(crate) struct Parsed {
    pub(crate) call: [u8; 16],
    /// Microseconds since 1970.
    pub(crate) started_at: i64,
    /// Microseconds since 1970.
    pub(crate) ended_at: i64,
    pub(crate) model: String,
    pub(crate) outcome: Outcome,
    pub(crate) cached: bool,
    pub(crate) sums: Sums,
    /// The record without its own times, name and owner, but for ids that a pod of others gave it. Those of hits of one answer are equal.
    pub(crate) detail: Piece,
    pub(crate) request: Option<Piece>,
    pub(crate) response: Option<Piece>,
}

/// Takes a batch apart. A pod that others made may open sessions with ids of their own; where they are not what the pod `claims` for all of its
/// records, they are kept. Of a trial's records the hub knows by itself whose they are.
///
/// # Errors
/// It is too long, or a line is no record.
pub(crate) fn parse(batch: &[u8], claims: Option<&Claims>) -> Result<Vec<Parsed>, ArchiveError> {
    if batch.len() > BATCH_BYTES {
        return Err(ArchiveError::TooLarge { what: "a batch of records", limit: BATCH_BYTES });
    }
    let mut lines: Vec<&[u8]> = batch.split(|byte| *byte == b'\n').collect();
    lines.pop_if(|last| last.is_empty());
    let parsed = lines.into_iter().enumerate().map(|(index, line)| {
        let refused = |reason: String| ArchiveError::Record { line: index + 1, reason };
        let record: CallRecord = serde_json::from_slice(line).map_err(|error| refused(error.to_string()))?;
        Ok(take_apart(record, claims))
    });
    parsed.collect()
}

fn take_apart(mut record: CallRecord, claims: Option<&Claims>) -> Parsed {
    let sums = Sums::of(&record);
    let piece = |text: Box<RawValue>| Piece::new(String::from(Box::<str>::from(text)));
    let (call, started_at, ended_at) = (*record.id.as_bytes(), record.started_at.as_microsecond(), record.timestamp.as_microsecond());
    let (model, outcome, cached) = (without_nul(&record.model), record.outcome, record.cached);
    let (request, response) = (record.request_body.take().map(piece), record.response_body.take().map(piece));
    let nobody = CallRecord::begin(CallId::from_bytes([0; 16]), Timestamp::UNIX_EPOCH, Capture::Connect);
    (record.id, record.started_at, record.timestamp) = (nobody.id, nobody.started_at, nobody.timestamp);
    record.run = None;
    let own = |id: Option<String>, claimed: fn(&Claims) -> &String| {
        Some(without_nul(&id?)).filter(|id| claims.is_some_and(|claims| id != claimed(claims)))
    };
    record.data_id = own(record.data_id, |claims| &claims.data_id);
    record.combo_id = own(record.combo_id, |claims| &claims.combo_id);
    record.agent_id = own(record.agent_id, |claims| &claims.agent_id);
    (record.sample, record.attempt) = (0, 0);
    let detail = Piece::new(without_escaped_nul(serde_json::to_string(&record).expect("a record that was read can be written")));
    Parsed { call, started_at, ended_at, model, outcome, cached, sums, detail, request, response }
}

/// A name as filters compare it: PostgreSQL's texts hold no NUL.
pub(crate) fn without_nul(name: &str) -> String {
    name.replace('\0', "\u{fffd}")
}

/// JSON text whose strings hold no NUL: PostgreSQL takes no member out of a text that has one anywhere.
fn without_escaped_nul(json: String) -> String {
    const NUL: &str = "\\u0000";
    if !json.contains(NUL) {
        return json;
    }
    let (mut kept, mut rest) = (String::with_capacity(json.len()), json.as_str());
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        kept.push_str(before);
        if let Some(behind) = escape.strip_prefix(NUL) {
            kept.push_str("\\ufffd");
            rest = behind;
        } else {
            // What is escaped goes with its backslash: it may be one itself, and begins no escape then.
            let (pair, behind) = escape.split_at(escape.char_indices().nth(2).map_or(escape.len(), |(end, _)| end));
            kept.push_str(pair);
            rest = behind;
        }
    }
    kept + rest
}

/// Whose a record is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Owner {
    pub(crate) run: String,
    pub(crate) data_id: Option<String>,
    pub(crate) combo_id: Option<String>,
    pub(crate) agent_id: Option<String>,
    pub(crate) sample: u32,
    pub(crate) attempt: u32,
}

/// A record's parts as they are stored.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) id: i64,
    pub(crate) attempt: i64,
    pub(crate) call: Vec<u8>,
    pub(crate) started_at: i64,
    pub(crate) ended_at: i64,
    pub(crate) detail: Vec<u8>,
    pub(crate) request: Option<Vec<u8>>,
    pub(crate) response: Option<Vec<u8>>,
}

impl Stored {
    /// About how many bytes this is.
    pub(crate) fn bytes(&self) -> usize {
        let length = |text: &Option<Vec<u8>>| text.as_ref().map_or(0, Vec::len);
        self.detail.len() + length(&self.request) + length(&self.response) + 128
    }

    /// The record, as JSON text. Whose it is, the hub knows by itself.
    pub(crate) fn record(self, owner: &Owner) -> Result<Box<RawValue>, ArchiveError> {
        let broken = |what: &dyn std::fmt::Display| ArchiveError::Broken(format!("record {}: {what}", self.id));
        let mut record: CallRecord = serde_json::from_slice(&self.detail).map_err(|error| broken(&error))?;
        let call: [u8; 16] = self.call.as_slice().try_into().map_err(|error| broken(&error))?;
        record.id = CallId::from_bytes(call);
        record.started_at = Timestamp::from_microsecond(self.started_at).map_err(|error| broken(&error))?;
        record.timestamp = Timestamp::from_microsecond(self.ended_at).map_err(|error| broken(&error))?;
        record.run = Some(owner.run.clone());
        record.data_id = record.data_id.or_else(|| owner.data_id.clone());
        record.combo_id = record.combo_id.or_else(|| owner.combo_id.clone());
        record.agent_id = record.agent_id.or_else(|| owner.agent_id.clone());
        (record.sample, record.attempt) = (owner.sample, owner.attempt);
        let raw = |text: &Option<Vec<u8>>| match text {
            Some(text) => serde_json::from_slice(text).map(Some).map_err(|error| broken(&error)),
            None => Ok(None),
        };
        (record.request_body, record.response_body) = (raw(&self.request)?, raw(&self.response)?);
        serde_json::value::to_raw_value(&record).map_err(|error| broken(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_without_nul_reads_as_before_but_for_it() {
        for text in ["", "plain", "\0", "a\0b\0", "\\u0000", "\\\0", "\\\\u0000\0\\", "\"\0\"", "é\0\u{1f980}"] {
            let written = without_escaped_nul(serde_json::to_string(text).unwrap());
            assert_eq!(serde_json::from_str::<String>(&written).unwrap(), without_nul(text), "{written}");
        }
    }
}
