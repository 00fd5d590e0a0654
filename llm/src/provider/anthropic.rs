//! Anthropic's messages, at Anthropic itself and wherever else they are spoken (Bedrock, Vertex, Azure, DeepSeek).

use serde_json::{Map, Value, json};

use crate::response::count::{Counts, report};
use crate::response::frame::{Frames, place, text};
use crate::response::gathered::{Gathered, error_of};
use crate::response::out::{Out, pieces};
use crate::usage::{Usage, sum};

/// Reads `usage`. Anthropic's `input_tokens` leaves cached tokens out, so they are added.
pub(crate) fn usage(message: &Value) -> Result<Usage, String> {
    let mut counts = Counts::of(report(message, "usage")?)?;
    let plain = counts.at(&["input_tokens"]);
    let read = counts.at(&["cache_read_input_tokens"]);
    let (short, long) =
        (counts.at(&["cache_creation", "ephemeral_5m_input_tokens"]), counts.at(&["cache_creation", "ephemeral_1h_input_tokens"]));
    let written = counts.at(&["cache_creation_input_tokens"]).or(sum(short, long));
    let usage = Usage {
        input_tokens: plain.map(|plain| plain + read.unwrap_or(0) + written.unwrap_or(0)),
        output_tokens: counts.at(&["output_tokens"]),
        cache_read_tokens: read,
        cache_write_tokens: written,
        cache_write_1h_tokens: long,
        reasoning_tokens: counts.at(&["output_tokens_details", "thinking_tokens"]),
        web_searches: counts.at(&["server_tool_use", "web_search_requests"]),
        ..Usage::default()
    };
    counts.finish(usage)
}

/// Puts a stream's events together as the message, as Anthropic's own libraries do.
pub(crate) fn gather(frames: &Frames) -> Gathered {
    let mut gathered = Gathered { exact: frames.exact, ..Gathered::new() };
    let mut message: Option<Map<String, Value>> = None;
    let mut blocks: Vec<Option<Block>> = Vec::new();
    let mut counted = false;
    for frame in &frames.list {
        let Some(event) = gathered.document(frame) else { continue };
        match event.get("type").and_then(Value::as_str).unwrap_or_default() {
            "message_start" => message = event.get("message").and_then(Value::as_object).cloned(),
            "content_block_start" => match (place(event, "index"), event.get("content_block").and_then(Value::as_object)) {
                (Some(index), Some(block)) => {
                    if blocks.len() <= index {
                        blocks.resize(index + 1, None);
                    }
                    if !matches!(block.get("type").and_then(Value::as_str), Some("text" | "thinking")) {
                        gathered.content(frame.end);
                    }
                    blocks[index] = Some(Block { members: block.clone(), input: String::new() });
                }
                _ => gathered.exact = false,
            },
            "content_block_delta" => {
                let block = place(event, "index").and_then(|index| blocks.get_mut(index)?.as_mut());
                match (block, event.get("delta")) {
                    (Some(block), Some(delta)) => {
                        gathered.exact &= block.add(delta);
                        if ["text", "thinking", "partial_json"].iter().any(|name| text(delta, name).is_some()) {
                            gathered.content(frame.end);
                        }
                    }
                    _ => gathered.exact = false,
                }
            }
            "message_delta" => {
                counted |= event.get("usage").is_some_and(|usage| usage.get("output_tokens").is_some());
                if let Some(message) = &mut message {
                    add_message_delta(message, event);
                }
            }
            "message_stop" => {
                gathered.complete = message.is_some();
                counted |= add_bedrock_metrics(message.as_mut(), event);
            }
            "ping" | "content_block_stop" => {}
            _ => match error_of(event) {
                Some(error) => gathered.fail(error),
                None => gathered.exact = false,
            },
        }
    }
    gathered.message = message.map(|mut message| {
        let content = blocks.into_iter().flatten().map(|block| block.finish(&mut gathered.exact)).collect();
        message.insert("content".to_owned(), Value::Array(content));
        Value::Object(message)
    });
    // `message_start` counts one token or so of output; without a later count the true one never came.
    gathered.output_uncounted = !counted;
    gathered.exact &= counted;
    gathered
}

#[derive(Clone)]
struct Block {
    members: Map<String, Value>,
    /// The tool's input so far, JSON text in pieces.
    input: String,
}

impl Block {
    /// Adds a delta; tells whether it is of a known kind.
    fn add(&mut self, delta: &Value) -> bool {
        let mut append = |name: &str| {
            if let Some(more) = delta.get(name).and_then(Value::as_str) {
                match self.members.entry(name).or_insert_with(|| json!("")) {
                    Value::String(text) => text.push_str(more),
                    other => *other = json!(more),
                }
            }
        };
        match delta.get("type").and_then(Value::as_str).unwrap_or_default() {
            "text_delta" => append("text"),
            "thinking_delta" => append("thinking"),
            "signature_delta" => append("signature"),
            "input_json_delta" => self.input.push_str(delta.get("partial_json").and_then(Value::as_str).unwrap_or_default()),
            "citations_delta" => {
                let citation = delta.get("citation").cloned().unwrap_or(Value::Null);
                match self.members.entry("citations").or_insert_with(|| json!([])) {
                    Value::Array(citations) => citations.push(citation),
                    other => *other = json!([citation]),
                }
            }
            _ => return false,
        }
        true
    }

    fn finish(mut self, exact: &mut bool) -> Value {
        if !self.input.is_empty() {
            let input = serde_json::from_str(&self.input).unwrap_or_else(|_| {
                *exact = false;
                Value::String(self.input)
            });
            self.members.insert("input".to_owned(), input);
        }
        Value::Object(self.members)
    }
}

/// The counts of a `message_delta` are totals so far and replace earlier ones; what it leaves out stays.
fn add_message_delta(message: &mut Map<String, Value>, event: &Value) {
    for (name, value) in event.get("delta").and_then(Value::as_object).into_iter().flatten() {
        message.insert(name.clone(), value.clone());
    }
    for (name, value) in event.as_object().into_iter().flatten() {
        if !matches!(name.as_str(), "type" | "delta" | "usage") {
            message.insert(name.clone(), value.clone());
        }
    }
    let usage = message.entry("usage").or_insert_with(|| json!({}));
    if let (Some(usage), Some(more)) = (usage.as_object_mut(), event.get("usage").and_then(Value::as_object)) {
        for (name, value) in more.iter().filter(|(_, value)| !value.is_null()) {
            usage.insert(name.clone(), value.clone());
        }
    }
}

/// Bedrock counts once more in the last event; used where the stream itself did not count.
fn add_bedrock_metrics(message: Option<&mut Map<String, Value>>, event: &Value) -> bool {
    let Some((message, metrics)) = message.zip(event.get(BEDROCK_METRICS)) else { return false };
    let Some(usage) = message.entry("usage").or_insert_with(|| json!({})).as_object_mut() else { return false };
    for (name, metric) in BEDROCK_NAMES {
        if let Some(count) = metrics.get(metric).filter(|_| !usage.contains_key(*name) || *name == "output_tokens") {
            usage.insert((*name).to_owned(), count.clone());
        }
    }
    metrics.get("outputTokenCount").is_some()
}

/// The member that Bedrock adds to a stream's last event.
pub(crate) const BEDROCK_METRICS: &str = "amazon-bedrock-invocationMetrics";

const BEDROCK_NAMES: &[(&str, &str)] = &[
    ("input_tokens", "inputTokenCount"),
    ("output_tokens", "outputTokenCount"),
    ("cache_read_input_tokens", "cacheReadInputTokenCount"),
    ("cache_creation_input_tokens", "cacheWriteInputTokenCount"),
];

/// A stream that says what `message` says. With `bedrock`, the last event carries Bedrock's counts.
pub(crate) fn spread(message: &Value, bedrock: bool) -> Option<Vec<Out>> {
    let members = message.as_object()?;
    let content = members.get("content")?.as_array()?;
    let in_delta = ["stop_reason", "stop_sequence", "stop_details", "container"];
    let mut begun = members.clone();
    begun.insert("content".to_owned(), json!([]));
    for name in in_delta {
        if let Some(value) = begun.get_mut(name) {
            *value = Value::Null;
        }
    }
    let usage = members.get("usage").cloned().unwrap_or_else(|| json!({}));
    if let Some(begun) = begun.get_mut("usage").and_then(Value::as_object_mut)
        && begun.contains_key("output_tokens")
    {
        begun.insert("output_tokens".to_owned(), json!(1));
    }
    let mut events = vec![named("message_start", json!({ "message": begun }))];
    for (index, block) in content.iter().enumerate() {
        spread_block(&mut events, index, block.as_object()?)?;
    }
    let delta: Map<String, Value> = in_delta.iter().filter_map(|name| Some(((*name).to_owned(), members.get(*name)?.clone()))).collect();
    let counted = [
        "input_tokens",
        "cache_creation_input_tokens",
        "cache_read_input_tokens",
        "output_tokens",
        "output_tokens_details",
        "server_tool_use",
    ];
    let counts: Map<String, Value> = counted.iter().filter_map(|name| Some(((*name).to_owned(), usage.get(*name)?.clone()))).collect();
    events.push(named("message_delta", json!({ "delta": delta, "usage": counts })));
    let mut stop = json!({});
    if bedrock {
        let metrics: Map<String, Value> = BEDROCK_NAMES
            .iter()
            .filter_map(|(name, metric)| Some(((*metric).to_owned(), usage.get(*name).filter(|count| !count.is_null())?.clone())))
            .collect();
        stop = json!({ BEDROCK_METRICS: metrics });
    }
    events.push(named("message_stop", stop));
    Some(events)
}

fn named(kind: &str, members: Value) -> Out {
    let mut event = Map::from_iter([("type".to_owned(), json!(kind))]);
    if let Value::Object(mut members) = members {
        event.append(&mut members);
    }
    Out::named(kind, Value::Object(event))
}

fn spread_block(events: &mut Vec<Out>, index: usize, block: &Map<String, Value>) -> Option<()> {
    let mut begun = block.clone();
    let mut deltas = Vec::new();
    let kind = block.get("type")?.as_str()?;
    match kind {
        "text" => {
            begun.insert("text".to_owned(), json!(""));
            deltas.extend(pieces(block.get("text")?.as_str()?).into_iter().map(|text| json!({ "type": "text_delta", "text": text })));
            if let Some(citations) = block.get("citations").and_then(Value::as_array) {
                begun.insert("citations".to_owned(), json!([]));
                deltas.extend(citations.iter().map(|citation| json!({ "type": "citations_delta", "citation": citation })));
            }
        }
        "thinking" => {
            begun.insert("thinking".to_owned(), json!(""));
            deltas.extend(
                pieces(block.get("thinking")?.as_str()?).into_iter().map(|text| json!({ "type": "thinking_delta", "thinking": text })),
            );
            if let Some(signature) = block.get("signature").and_then(Value::as_str) {
                begun.insert("signature".to_owned(), json!(""));
                deltas.push(json!({ "type": "signature_delta", "signature": signature }));
            }
        }
        "tool_use" | "server_tool_use" | "mcp_tool_use" => {
            let input = block.get("input")?;
            begun.insert("input".to_owned(), json!({}));
            deltas.push(json!({ "type": "input_json_delta", "partial_json": "" }));
            if input.as_object().is_none_or(|input| !input.is_empty()) {
                deltas
                    .extend(pieces(&input.to_string()).into_iter().map(|text| json!({ "type": "input_json_delta", "partial_json": text })));
            }
        }
        // All other blocks come whole in their first event.
        _ => {}
    }
    events.push(named("content_block_start", json!({ "index": index, "content_block": begun })));
    events.extend(deltas.into_iter().map(|delta| named("content_block_delta", json!({ "index": index, "delta": delta }))));
    events.push(named("content_block_stop", json!({ "index": index })));
    Some(())
}
