//! A whole answer told as the stream it might have been.

use serde_json::{Map, Value, json};

use crate::provider::Shape;
use crate::response::frame::{text, without};
use crate::response::out::{Out, pieces};

/// A stream that says what `message` says, as a chat completion; `None` when a stream cannot say it.
pub(crate) fn spread_chat(message: &Value, shape: Shape, with_usage_chunk: bool) -> Option<Vec<Out>> {
    let top = message.as_object()?;
    let choices = message.get("choices")?.as_array()?;
    let chunks = Chunks::new(top, "chat.completion.chunk", with_usage_chunk);
    let mut events = Vec::new();
    for choice in choices {
        let index = choice.get("index").cloned().unwrap_or_else(|| json!(0));
        spread_choice(&chunks, &mut events, choice.as_object()?, &index)?;
    }
    finish_stream(&chunks, events, message, shape, with_usage_chunk)
}

/// A stream that says what `message` says, as a text completion.
pub(crate) fn spread_completion(message: &Value, shape: Shape, with_usage_chunk: bool) -> Option<Vec<Out>> {
    let top = message.as_object()?;
    let chunks = Chunks::new(top, "text_completion", with_usage_chunk);
    let mut events = Vec::new();
    for choice in message.get("choices")?.as_array()? {
        let members = choice.as_object()?;
        let whole = members.get("text")?.as_str()?;
        let logprobs = members.get("logprobs").filter(|logprobs| !logprobs.is_null());
        let texts = if logprobs.is_some() { vec![whole] } else { pieces(whole) };
        let index = members.get("index").cloned().unwrap_or_else(|| json!(0));
        for (number, text) in texts.iter().enumerate() {
            let logprobs = if number == 0 { logprobs } else { None };
            events.push(chunks.chunk(json!([{ "text": text, "index": index, "logprobs": logprobs, "finish_reason": null }])));
        }
        let mut last = without(members, &["text", "index", "logprobs"]);
        last.insert("text".to_owned(), json!(""));
        last.insert("index".to_owned(), index);
        last.insert("logprobs".to_owned(), Value::Null);
        events.push(chunks.chunk(json!([last])));
    }
    finish_stream(&chunks, events, message, shape, with_usage_chunk)
}

/// What every chunk of a stream repeats, and what only its first one has.
struct Chunks {
    head: Map<String, Value>,
    once: Map<String, Value>,
}

impl Chunks {
    fn new(top: &Map<String, Value>, object: &str, with_usage_chunk: bool) -> Self {
        let mut chunks = Self { head: Map::new(), once: Map::new() };
        for (name, value) in without(top, &["choices", "usage"]) {
            // Ids, names and times are repeated; anything large would multiply with the number of chunks.
            let large = value.is_array() || value.is_object() || value.as_str().is_some_and(|text| text.len() > 256);
            let members = if large { &mut chunks.once } else { &mut chunks.head };
            members.insert(name, value);
        }
        chunks.head.insert("object".to_owned(), json!(object));
        if with_usage_chunk {
            chunks.head.insert("usage".to_owned(), Value::Null);
        }
        chunks
    }

    fn chunk(&self, choices: Value) -> Value {
        let mut chunk = self.head.clone();
        chunk.insert("choices".to_owned(), choices);
        Value::Object(chunk)
    }

    fn delta(&self, choice: &Map<String, Value>, index: &Value, delta: Value) -> Value {
        let mut piece = json!({ "index": index, "delta": delta });
        if choice.contains_key("logprobs") {
            piece["logprobs"] = Value::Null;
        }
        piece["finish_reason"] = Value::Null;
        self.chunk(json!([piece]))
    }
}

fn spread_choice(chunks: &Chunks, events: &mut Vec<Value>, choice: &Map<String, Value>, index: &Value) -> Option<()> {
    let message = choice.get("message")?.as_object()?;
    if message.get("audio").is_some_and(|audio| !audio.is_null()) {
        return None;
    }
    let logprobs = choice.get("logprobs").filter(|logprobs| !logprobs.is_null());
    // The texts that arrive in pieces; reasoning comes before what it led to.
    let texts = ["reasoning_content", "reasoning", "refusal", "content"];
    let mut first = without(message, &["tool_calls", "function_call"]);
    for name in texts {
        if let Some(value @ Value::String(_)) = first.get_mut(name) {
            *value = json!("");
        }
    }
    events.push(chunks.delta(choice, index, Value::Object(first)));
    for name in texts {
        let Some(whole) = message.get(name).and_then(Value::as_str) else { continue };
        // Log probabilities are a list a token; which piece a token falls in is not known.
        let parts = if logprobs.is_some() { vec![whole] } else { pieces(whole) };
        for part in parts {
            events.push(chunks.delta(choice, index, json!({ name: part })));
        }
    }
    if let Some(call) = message.get("function_call").filter(|call| !call.is_null()) {
        events.push(chunks.delta(choice, index, json!({ "function_call": call })));
    }
    for (number, call) in message.get("tool_calls").and_then(Value::as_array).into_iter().flatten().enumerate() {
        spread_call(chunks, events, choice, index, (number, call.as_object()?));
    }
    if let Some(empty @ Value::Array(calls)) = message.get("tool_calls")
        && calls.is_empty()
    {
        events.push(chunks.delta(choice, index, json!({ "tool_calls": empty })));
    }
    let mut last = without(choice, &["message", "index", "logprobs"]);
    last.insert("index".to_owned(), index.clone());
    last.insert("delta".to_owned(), json!({}));
    if choice.contains_key("logprobs") {
        last.insert("logprobs".to_owned(), logprobs.cloned().unwrap_or(Value::Null));
    }
    events.push(chunks.chunk(json!([last])));
    Some(())
}

fn spread_call(
    chunks: &Chunks,
    events: &mut Vec<Value>,
    choice: &Map<String, Value>,
    index: &Value,
    (number, call): (usize, &Map<String, Value>),
) {
    let mut head = Map::from_iter([("index".to_owned(), json!(number))]);
    head.append(&mut call.clone());
    head.insert("index".to_owned(), json!(number));
    let arguments = call.get("function").and_then(|function| text(function, "arguments")).map(str::to_owned);
    if arguments.is_some() {
        head["function"]["arguments"] = json!("");
    }
    events.push(chunks.delta(choice, index, json!({ "tool_calls": [head] })));
    for part in arguments.as_deref().map(pieces).unwrap_or_default() {
        events.push(chunks.delta(choice, index, json!({ "tool_calls": [{ "index": number, "function": { "arguments": part } }] })));
    }
}

/// Adds the usage, where the host always sends it in the last chunk or the client asked for a chunk of its own. `None` without a chunk: nothing
/// would carry what the answer says beside its choices.
fn finish_stream(chunks: &Chunks, mut events: Vec<Value>, message: &Value, shape: Shape, with_usage_chunk: bool) -> Option<Vec<Out>> {
    let usage = message.get("usage").filter(|usage| !usage.is_null());
    events.first_mut()?.as_object_mut()?.extend(chunks.once.clone());
    if let (Shape::Mistral, Some(usage)) = (shape, usage) {
        if let Some(last) = events.last_mut() {
            last["usage"] = usage.clone();
        }
    } else if let (true, Some(usage)) = (with_usage_chunk, usage) {
        let mut chunk = chunks.chunk(json!([]));
        chunk["usage"] = usage.clone();
        events.push(chunk);
    }
    Some(events.into_iter().map(Out::plain).chain([Out::done()]).collect())
}
