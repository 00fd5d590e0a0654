//! Amazon Bedrock: Converse, and the bodies of the makers whose models InvokeModel passes through.

use serde_json::{Map, Value, json};

use crate::provider::anthropic::BEDROCK_METRICS;
use crate::response::count::{Counts, count};
use crate::response::frame::{Body, Frames, place, text, without};
use crate::response::gathered::{Gathered, error_of};
use crate::response::out::{Out, pieces};
use crate::usage::{MAX_COUNT, Usage};

/// Reads Converse's `usage`, whose `inputTokens` leaves cached tokens out.
pub(crate) fn usage(message: &Value) -> Result<Usage, String> {
    let report = message.get("usage").filter(|usage| !usage.is_null()).ok_or("the answer has no usage")?;
    let mut counts = Counts::of(report)?;
    let plain = counts.at(&["inputTokens"]);
    // Amazon's own models say `…TokenCount` too; both mean the same.
    let read = counts.first(&[&["cacheReadInputTokens"], &["cacheReadInputTokenCount"]]);
    let written = counts.first(&[&["cacheWriteInputTokens"], &["cacheWriteInputTokenCount"]]);
    let read = Usage {
        input_tokens: plain.map(|plain| plain + read.unwrap_or(0) + written.unwrap_or(0)),
        output_tokens: counts.at(&["outputTokens"]),
        cache_read_tokens: read,
        cache_write_tokens: written,
        cache_write_1h_tokens: written_for(report, "1h"),
        ..Usage::default()
    };
    counts.finish(read)
}

fn written_for(report: &Value, lifetime: &str) -> Option<u64> {
    let details = report.get("cacheDetails")?.as_array()?;
    let detail = details.iter().find(|detail| detail.get("ttl").and_then(Value::as_str) == Some(lifetime))?;
    count(detail.get("inputTokens")?)
}

/// Reads the counts of Titan, Llama, and of `amazon-bedrock-invocationMetrics` for all others.
pub(crate) fn invoke_usage(message: &Value) -> Result<Usage, String> {
    let metrics = message.get(BEDROCK_METRICS).unwrap_or(message);
    let mut counts = Counts::of(metrics)?;
    let results = message.get("results").and_then(Value::as_array).into_iter().flatten();
    let titan: Option<u64> = results.map(|result| result.get("tokenCount").and_then(count)).reduce(crate::usage::sum).flatten();
    let (read, written) = (counts.at(&["cacheReadInputTokenCount"]), counts.at(&["cacheWriteInputTokenCount"]));
    let input = counts.first(&[&["inputTokenCount"], &["inputTextTokenCount"], &["prompt_token_count"]]);
    let usage = Usage {
        input_tokens: input.map(|input| input + read.unwrap_or(0) + written.unwrap_or(0)),
        output_tokens: counts.first(&[&["outputTokenCount"], &["totalOutputTextTokenCount"], &["generation_token_count"]]).or(titan),
        cache_read_tokens: read,
        cache_write_tokens: written,
        ..Usage::default()
    };
    counts.finish(usage)
}

/// Reads the counts InvokeModel puts in the answer's headers, for bodies that have none (embeddings, Mistral, Cohere).
pub(crate) fn header_usage(header: impl Fn(&str) -> Option<String>) -> Option<Usage> {
    let number = |name: &str| header(name)?.trim().parse().ok().filter(|count| *count <= MAX_COUNT);
    let (read, written) = (number("x-amzn-bedrock-cache-read-input-token-count"), number("x-amzn-bedrock-cache-write-input-token-count"));
    let usage = Usage {
        input_tokens: number("x-amzn-bedrock-input-token-count").map(|input: u64| input + read.unwrap_or(0) + written.unwrap_or(0)),
        output_tokens: number("x-amzn-bedrock-output-token-count"),
        cache_read_tokens: read,
        cache_write_tokens: written,
        ..Usage::default()
    };
    (usage.input_tokens.is_some() || usage.output_tokens.is_some()).then_some(usage)
}

/// Puts a Converse stream together. With `nested` the event's type is its only member, as Amazon's Nova writes it.
pub(crate) fn gather(frames: &Frames, nested: bool) -> Gathered {
    let mut gathered = Gathered { exact: frames.exact, ..Gathered::new() };
    let mut role = None;
    let mut blocks: Vec<Option<Block>> = Vec::new();
    let mut answer = Map::new();
    let (mut stopped, mut any) = (false, false);
    for frame in &frames.list {
        let (name, event) = match &frame.body {
            Body::Json { name: Some(name), value } if !nested => (name.as_str(), value),
            Body::Json { value, .. } => {
                match value.as_object().and_then(|members| members.iter().find(|(name, _)| *name != BEDROCK_METRICS)) {
                    Some((name, event)) => (name.as_str(), event),
                    None => continue,
                }
            }
            Body::Done => continue,
            Body::Exception(error) => {
                gathered.fail(error.clone());
                continue;
            }
        };
        any = true;
        match name {
            "messageStart" => role = event.get("role").cloned(),
            "contentBlockStart" => match (block_at(&mut blocks, event), event.pointer("/start/toolUse").and_then(Value::as_object)) {
                (Some(block), Some(tool)) => {
                    *block = Block::Tool { members: tool.clone(), input: String::new() };
                    gathered.content(frame.end);
                }
                (Some(_), None) => gathered.exact &= event.get("start").is_none_or(|start| start.as_object().is_some_and(Map::is_empty)),
                (None, _) => gathered.exact = false,
            },
            "contentBlockDelta" => {
                let known = block_at(&mut blocks, event).zip(event.get("delta")).is_some_and(|(block, delta)| block.add(delta));
                gathered.exact &= known;
                gathered.content(frame.end);
            }
            "contentBlockStop" => {}
            "messageStop" => {
                stopped = true;
                answer.extend(without(event.as_object().unwrap_or(&Map::new()), &["p"]));
            }
            "metadata" => {
                answer.extend(without(event.as_object().unwrap_or(&Map::new()), &["p"]));
                gathered.complete = stopped;
            }
            _ => gathered.exact = false,
        }
        if let (Body::Json { value, .. }, true) = (&frame.body, nested) {
            gathered.complete |= stopped && value.get(BEDROCK_METRICS).is_some();
        }
    }
    if any {
        let content: Vec<Value> = blocks.into_iter().flatten().map(|block| block.finish(&mut gathered.exact)).collect();
        let message = json!({ "role": role.unwrap_or_else(|| json!("assistant")), "content": content });
        let mut whole = Map::from_iter([("output".to_owned(), json!({ "message": message }))]);
        whole.append(&mut answer);
        gathered.message = Some(Value::Object(whole));
    }
    gathered
}

#[derive(Clone)]
enum Block {
    Empty,
    Text(String),
    Tool { members: Map<String, Value>, input: String },
    Reasoning { text: Option<String>, signature: Option<String> },
    Redacted(String),
}

fn block_at<'a>(blocks: &'a mut Vec<Option<Block>>, event: &Value) -> Option<&'a mut Block> {
    let index = place(event, "contentBlockIndex")?;
    if blocks.len() <= index {
        blocks.resize(index + 1, None);
    }
    Some(blocks[index].get_or_insert(Block::Empty))
}

impl Block {
    /// Adds a delta; tells whether all of it was understood.
    fn add(&mut self, delta: &Value) -> bool {
        if let Some(more) = delta.get("text").and_then(Value::as_str) {
            if let Self::Empty = self {
                *self = Self::Text(String::new());
            }
            let Self::Text(text) = self else { return false };
            text.push_str(more);
            return true;
        }
        if let Some(more) = delta.pointer("/toolUse/input").and_then(Value::as_str) {
            let Self::Tool { input, .. } = self else { return false };
            input.push_str(more);
            return true;
        }
        let Some(reasoning) = delta.get("reasoningContent") else { return false };
        if let Some(hidden) = reasoning.get("redactedContent").and_then(Value::as_str) {
            // Base64 in pieces cannot be joined as text.
            let first = matches!(self, Self::Empty);
            *self = Self::Redacted(hidden.to_owned());
            return first;
        }
        if let Self::Empty = self {
            *self = Self::Reasoning { text: None, signature: None };
        }
        let Self::Reasoning { text, signature } = self else { return false };
        let mut known = false;
        for (name, place) in [("text", text), ("signature", signature)] {
            if let Some(more) = reasoning.get(name).and_then(Value::as_str) {
                place.get_or_insert_default().push_str(more);
                known = true;
            }
        }
        known
    }

    fn finish(self, exact: &mut bool) -> Value {
        match self {
            Self::Empty => {
                *exact = false;
                json!({})
            }
            Self::Text(text) => json!({ "text": text }),
            Self::Tool { mut members, input } => {
                let parsed = if input.is_empty() { Ok(json!({})) } else { serde_json::from_str(&input) };
                *exact &= parsed.is_ok();
                members.insert("input".to_owned(), parsed.unwrap_or(Value::String(input)));
                json!({ "toolUse": members })
            }
            Self::Reasoning { text, signature } => {
                let members = [("text", text), ("signature", signature)];
                let members: Map<String, Value> =
                    members.into_iter().filter_map(|(name, text)| Some((name.to_owned(), json!(text?)))).collect();
                json!({ "reasoningContent": { "reasoningText": members } })
            }
            Self::Redacted(hidden) => json!({ "reasoningContent": { "redactedContent": hidden } }),
        }
    }
}

/// A Converse stream that says what `answer` says. With `nested` each event is wrapped in its type, as Nova writes it.
pub(crate) fn spread(answer: &Value, nested: bool) -> Option<Vec<Out>> {
    let message = answer.pointer("/output/message")?;
    if message.as_object()?.keys().any(|name| name != "role" && name != "content") || answer["output"].as_object()?.len() != 1 {
        return None;
    }
    let mut events = vec![("messageStart", json!({ "role": message.get("role")? }))];
    for (index, block) in message.get("content")?.as_array()?.iter().enumerate() {
        spread_block(&mut events, index, block)?;
    }
    let rest = without(answer.as_object()?, &["output"]);
    let is_stop = |name: &str| matches!(name, "stopReason" | "additionalModelResponseFields");
    let stop: Map<String, Value> =
        rest.iter().filter(|(name, _)| is_stop(name)).map(|(name, value)| (name.clone(), value.clone())).collect();
    let metadata: Map<String, Value> = rest.into_iter().filter(|(name, _)| !is_stop(name)).collect();
    events.push(("messageStop", Value::Object(stop)));
    events.push(("metadata", Value::Object(metadata)));
    let out = |(name, event): (&str, Value)| if nested { Out::plain(json!({ name: event })) } else { Out::named(name, event) };
    Some(events.into_iter().map(out).collect())
}

fn spread_block(events: &mut Vec<(&'static str, Value)>, index: usize, block: &Value) -> Option<()> {
    let members = block.as_object().filter(|members| members.len() == 1)?;
    let mut deltas = Vec::new();
    if let Some(whole) = members.get("text") {
        let whole = whole.as_str()?;
        deltas.extend(pieces(whole).into_iter().map(|piece| json!({ "text": piece })));
        if deltas.is_empty() {
            deltas.push(json!({ "text": "" }));
        }
    } else if let Some(tool) = members.get("toolUse") {
        let begun = without(tool.as_object()?, &["input"]);
        events.push(("contentBlockStart", json!({ "start": { "toolUse": begun }, "contentBlockIndex": index })));
        let input = tool.get("input")?.to_string();
        deltas.extend(pieces(&input).into_iter().map(|piece| json!({ "toolUse": { "input": piece } })));
    } else {
        let reasoning = members.get("reasoningContent")?.as_object().filter(|reasoning| reasoning.len() == 1)?;
        if let Some(hidden) = reasoning.get("redactedContent") {
            deltas.push(json!({ "reasoningContent": { "redactedContent": hidden } }));
        } else {
            let said = reasoning.get("reasoningText")?.as_object()?;
            if said.is_empty() || said.keys().any(|name| name != "text" && name != "signature") {
                return None;
            }
            if let Some(whole) = said.get("text") {
                let mut parts = pieces(whole.as_str()?);
                if parts.is_empty() {
                    parts.push("");
                }
                deltas.extend(parts.into_iter().map(|piece| json!({ "reasoningContent": { "text": piece } })));
            }
            if let Some(signature) = said.get("signature") {
                deltas.push(json!({ "reasoningContent": { "signature": signature.as_str()? } }));
            }
        }
    }
    events.extend(deltas.into_iter().map(|delta| ("contentBlockDelta", json!({ "delta": delta, "contentBlockIndex": index }))));
    events.push(("contentBlockStop", json!({ "contentBlockIndex": index })));
    Some(())
}

/// Puts the streams of Titan, Llama, Mistral and others together: their text grows, all else is the last word.
pub(crate) fn gather_invoke(frames: &Frames) -> Gathered {
    let mut gathered = Gathered { exact: false, ..Gathered::new() };
    let mut whole: Map<String, Value> = Map::new();
    for frame in &frames.list {
        let Some(event) = gathered.document(frame) else { continue };
        if let Some(error) = error_of(event) {
            gathered.fail(error);
            continue;
        }
        if ["outputText", "generation", "text", "completion"].iter().any(|name| text(event, name).is_some())
            || event.get("outputs").is_some()
        {
            gathered.content(frame.end);
        }
        gathered.complete |= event.get(BEDROCK_METRICS).is_some();
        for (name, value) in event.as_object().into_iter().flatten() {
            match (whole.get_mut(name), value) {
                (Some(Value::String(known)), Value::String(more))
                    if matches!(name.as_str(), "outputText" | "generation" | "text" | "completion") =>
                {
                    known.push_str(more)
                }
                (Some(known), Value::Null) if !known.is_null() => {}
                _ => {
                    whole.insert(name.clone(), value.clone());
                }
            }
        }
    }
    if !whole.is_empty() {
        gathered.message = Some(Value::Object(whole));
    }
    gathered
}
