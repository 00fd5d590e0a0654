//! Usage from the end of an answer whose beginning was not kept.

use serde_json::{Map, Value};

use super::dialect::{self, Dialect};
use super::frame::{self, Body, Frames};
use super::gathered::{Gathered, error_of};
use super::{Answer, named_model};
use crate::provider::anthropic::BEDROCK_METRICS;
use crate::provider::{Endpoint, Format, Framing};

/// Reads what the last bytes of an answer say. Only usage, model, error and completeness can be known; the message is
/// not there to be read.
pub fn read_tail(endpoint: &Endpoint, framing: Framing, tail: &[u8], request_model: Option<&str>) -> Answer {
    let request_model = request_model.or(endpoint.path_model.as_deref());
    let frames = frame::split(endpoint.format, framing, &tail[first_event(framing, tail)..]);
    let mut whole = Map::new();
    let mut gathered = Gathered::new();
    for value in frames.values() {
        collect(&mut whole, value);
        if let Some(error) = error_of(value) {
            gathered.fail(error);
        }
    }
    for frame in &frames.list {
        if let Body::Exception(error) = &frame.body {
            gathered.fail(error.clone());
        }
    }
    if REPORTS.iter().all(|name| !whole.contains_key(*name)) {
        scan(&mut whole, tail);
    }
    let message = Value::Object(whole);
    // An event shows its dialect; what was collected from the events may not.
    let dialect = match Dialect::of(endpoint.format, frames.values().next().unwrap_or(&message)) {
        // What was collected is no longer in the wrapper.
        Dialect::CodeAssist => Dialect::Gemini,
        Dialect::Unknown => Dialect::of(endpoint.format, &message),
        dialect => dialect,
    };
    let usage = dialect::usage(dialect, &message, &endpoint.provider).map_err(|why| format!("only the end of the answer was kept: {why}"));
    let model = named_model(&message).or(request_model).map(str::to_owned);
    let complete = ends(endpoint.format, framing, &frames, tail);
    Answer { model, usage, message: None, error: gathered.error, complete, first_content: None }
}

/// The names under which answers report usage.
const REPORTS: &[&str] = &["usage", "usageMetadata", "meta", BEDROCK_METRICS, "prompt_eval_count", "eval_count"];

/// Takes over what an event says about usage and model, wherever its shape puts it; later events win.
fn collect(whole: &mut Map<String, Value>, event: &Value) {
    for holder in ["", "/response", "/message", "/delta", "/metadata", "/x_groq"] {
        let Some(members) = event.pointer(holder).and_then(Value::as_object) else { continue };
        for name in REPORTS.iter().chain(&["model", "modelVersion"]) {
            match (whole.get_mut(*name), members.get(*name)) {
                (_, None | Some(Value::Null)) => {}
                (Some(Value::Object(known)), Some(Value::Object(more))) => known.extend(more.clone()),
                (_, Some(value)) => {
                    whole.insert((*name).to_owned(), value.clone());
                }
            }
        }
    }
}

/// Finds the last report in bytes that are the end of one large document. A quote inside a JSON string is escaped, so a
/// bare `"usage":` is a member's name.
fn scan(whole: &mut Map<String, Value>, tail: &[u8]) {
    for name in REPORTS {
        let pattern = format!("\"{name}\"");
        let mut end = tail.len();
        // A member of that name may hold something else; a few tries are enough for an answer that reports at its end.
        for _ in 0..8 {
            let Some(at) = find_last(&tail[..end], pattern.as_bytes()) else { break };
            end = at;
            let rest = tail[at + pattern.len()..].trim_ascii_start();
            let Some(rest) = rest.strip_prefix(b":").filter(|_| at == 0 || tail[at - 1] != b'\\') else { continue };
            let mut documents = serde_json::Deserializer::from_slice(rest).into_iter::<Value>();
            if let Some(Ok(value @ (Value::Object(_) | Value::Number(_)))) = documents.next() {
                whole.insert((*name).to_owned(), value);
                break;
            }
        }
    }
}

fn find_last(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes.windows(pattern.len()).rposition(|window| window == pattern)
}

/// Where in the tail the first whole event begins.
fn first_event(framing: Framing, tail: &[u8]) -> usize {
    let after = |pattern: &[u8]| tail.windows(pattern.len()).position(|window| window == pattern).map(|at| at + pattern.len());
    match framing {
        Framing::Sse => [b"\n\n".as_slice(), b"\r\n\r\n", b"\r\r"].iter().filter_map(|end| after(end)).min().unwrap_or(0),
        Framing::Lines => after(b"\n").unwrap_or(0),
        Framing::EventStream => (0..tail.len().saturating_sub(12)).find(|at| is_prelude(&tail[*at..*at + 12])).unwrap_or(tail.len()),
        // The rest of an array or document has no beginning that could be found for sure; the scan reads it.
        Framing::Json | Framing::JsonArray => tail.len(),
    }
}

/// Whether twelve bytes are the start of an event stream message: its two lengths and their checksum.
fn is_prelude(bytes: &[u8]) -> bool {
    let (lengths, checksum) = bytes.split_at(8);
    crc32fast::hash(lengths).to_be_bytes() == checksum
}

/// Whether the tail has the end of the answer.
fn ends(format: Format, framing: Framing, frames: &Frames, tail: &[u8]) -> bool {
    let last = tail.trim_ascii_end().last();
    match framing {
        Framing::Json => last == Some(&b'}'),
        Framing::JsonArray => last == Some(&b']'),
        _ => frames.list.iter().any(|frame| match &frame.body {
            Body::Done => true,
            Body::Exception(_) => false,
            Body::Json { name, value } => is_last(format, name.as_deref(), value),
        }),
    }
}

fn is_last(format: Format, name: Option<&str>, event: &Value) -> bool {
    let kind = event.get("type").and_then(Value::as_str).or(name).unwrap_or_default();
    let finished = |candidates: Option<&Value>| {
        candidates.and_then(Value::as_array).is_some_and(|list| list.iter().any(|candidate| candidate.get("finishReason").is_some()))
    };
    matches!(kind, "message_stop" | "response.completed" | "response.incomplete" | "response.failed" | "message-end")
        || (format == Format::BedrockConverse && kind == "metadata")
        || event.get("is_finished") == Some(&Value::Bool(true))
        || event.get("done") == Some(&Value::Bool(true))
        || event.get(BEDROCK_METRICS).is_some()
        || finished(event.get("candidates"))
        || finished(event.pointer("/response/candidates"))
}
