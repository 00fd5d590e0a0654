//! Cohere, versions 1 and 2.

use serde_json::{Map, Value, json};

use crate::response::count::Counts;
use crate::response::frame::{Frames, place, text, without};
use crate::response::gathered::{Gathered, error_of};
use crate::response::out::{Out, pieces};
use crate::usage::{Usage, sum};

/// Reads `usage` (version 2) or `meta` (version 1, embeddings). The billed units are what is paid; where they are not
/// given the tokens count. (OpenTelemetry's rule too: billable where both exist.)
pub(crate) fn usage(message: &Value) -> Result<Usage, String> {
    let report = ["usage", "meta"].iter().find_map(|name| message.get(*name).filter(|report| !report.is_null()));
    let mut counts = Counts::of(report.ok_or("the answer has neither usage nor meta")?)?;
    let images = counts.at(&["billed_units", "image_tokens"]);
    let billed = counts.at(&["billed_units", "input_tokens"]);
    let input = sum(billed, images).or_else(|| counts.at(&["tokens", "input_tokens"]));
    let read = Usage {
        input_tokens: input,
        output_tokens: counts.first(&[&["billed_units", "output_tokens"], &["tokens", "output_tokens"]]),
        // Billed input can be less than what the cache served; a part cannot be more than the whole.
        cache_read_tokens: counts.at(&["cached_tokens"]).filter(|cached| input.is_some_and(|input| *cached <= input)),
        input_image_tokens: images,
        ..Usage::default()
    };
    counts.finish(read)
}

/// Version 1 ends its stream with the whole answer.
pub(crate) fn gather_v1(frames: &Frames) -> Gathered {
    let mut gathered = Gathered { exact: frames.exact, ..Gathered::new() };
    let mut partial = Map::new();
    let mut words = String::new();
    for frame in &frames.list {
        let Some(event) = gathered.document(frame) else { continue };
        match event.get("event_type").and_then(Value::as_str).unwrap_or_default() {
            "stream-start" => partial.extend(event.get("generation_id").map(|id| ("generation_id".to_owned(), id.clone()))),
            "text-generation" => {
                if let Some(more) = text(event, "text") {
                    words.push_str(more);
                    gathered.content(frame.end);
                }
            }
            "tool-calls-generation" | "tool-calls-chunk" => gathered.content(frame.end),
            "stream-end" => {
                let reason = event.get("finish_reason").and_then(Value::as_str).unwrap_or_default();
                if reason.starts_with("ERROR") && reason != "ERROR_LIMIT" {
                    gathered.fail(text(event, "error").unwrap_or(reason));
                }
                gathered.message = event.get("response").filter(|response| response.is_object()).cloned();
                gathered.complete = gathered.message.is_some();
                if let (Some(message), Some(reason)) =
                    (gathered.message.as_mut().and_then(Value::as_object_mut), event.get("finish_reason"))
                {
                    message.entry("finish_reason").or_insert_with(|| reason.clone());
                }
            }
            _ => {
                if let Some(error) = error_of(event) {
                    gathered.fail(error);
                }
            }
        }
    }
    if gathered.message.is_none() && !(partial.is_empty() && words.is_empty()) {
        partial.insert("text".to_owned(), json!(words));
        gathered.message = Some(Value::Object(partial));
    }
    gathered
}

/// A version 1 stream that says what `message` says.
pub(crate) fn spread_v1(message: &Value) -> Option<Vec<Out>> {
    let members = message.as_object()?;
    let whole = members.get("text")?.as_str()?;
    let event = |kind: &str, members: Value| {
        let mut event = Map::from_iter([("is_finished".to_owned(), json!(kind == "stream-end")), ("event_type".to_owned(), json!(kind))]);
        if let Value::Object(mut members) = members {
            event.append(&mut members);
        }
        Out::plain(Value::Object(event))
    };
    let list = |name: &str| members.get(name).filter(|list| list.as_array().is_some_and(|list| !list.is_empty()));
    let mut events = vec![event("stream-start", json!({ "generation_id": members.get("generation_id") }))];
    if let Some(queries) = list("search_queries") {
        events.push(event("search-queries-generation", json!({ "search_queries": queries })));
    }
    if list("search_results").is_some() || list("documents").is_some() {
        events.push(event(
            "search-results",
            json!({ "search_results": members.get("search_results"), "documents": members.get("documents") }),
        ));
    }
    events.extend(pieces(whole).into_iter().map(|piece| event("text-generation", json!({ "text": piece }))));
    if let Some(citations) = list("citations") {
        events.push(event("citation-generation", json!({ "citations": citations })));
    }
    if let Some(calls) = list("tool_calls") {
        events.push(event("tool-calls-generation", json!({ "text": whole, "tool_calls": calls })));
    }
    let reason = members.get("finish_reason").cloned().unwrap_or_else(|| json!("COMPLETE"));
    events.push(event("stream-end", json!({ "response": message, "finish_reason": reason })));
    Some(events)
}

/// Puts a version 2 stream together as the answer.
pub(crate) fn gather_v2(frames: &Frames) -> Gathered {
    let mut gathered = Gathered { exact: frames.exact, ..Gathered::new() };
    let mut answer = V2::default();
    for frame in &frames.list {
        let Some(event) = gathered.document(frame) else { continue };
        if answer.add(event, &mut gathered) {
            gathered.content(frame.end);
        }
    }
    gathered.message = answer.started.then(|| answer.finish());
    gathered
}

#[derive(Default)]
struct V2 {
    started: bool,
    id: Option<Value>,
    message: Map<String, Value>,
    content: Vec<Option<Value>>,
    calls: Vec<Option<Value>>,
    citations: Vec<Option<Value>>,
    logprobs: Vec<Value>,
    end: Map<String, Value>,
}

impl V2 {
    /// Adds an event; tells whether it carried content.
    fn add(&mut self, event: &Value, gathered: &mut Gathered) -> bool {
        let delta = event.pointer("/delta/message");
        match event.get("type").and_then(Value::as_str).unwrap_or_default() {
            "message-start" => {
                self.started = true;
                self.id = event.get("id").cloned();
                // The start shows every list and the plan empty; a whole answer leaves empty ones out.
                let begun = delta.and_then(Value::as_object).cloned().unwrap_or_default();
                self.message = begun.into_iter().filter(|(_, value)| value != "" && value != &json!([])).collect();
            }
            "content-start" => gathered.exact &= put(&mut self.content, event, delta.and_then(|delta| delta.get("content"))),
            "content-delta" => {
                self.logprobs.extend(event.get("logprobs").filter(|logprobs| !logprobs.is_null()).cloned());
                let more = delta.and_then(|delta| delta.get("content"));
                gathered.exact &= append(&mut self.content, event, more, &["text", "thinking"]);
                return more.is_some_and(|more| text(more, "text").is_some() || text(more, "thinking").is_some());
            }
            "tool-plan-delta" => {
                let more = delta.and_then(|delta| text(delta, "tool_plan")).unwrap_or_default();
                if let Value::String(plan) = self.message.entry("tool_plan").or_insert_with(|| json!("")) {
                    plan.push_str(more);
                }
                return !more.is_empty();
            }
            "tool-call-start" => {
                gathered.exact &= put(&mut self.calls, event, delta.and_then(|delta| delta.get("tool_calls")));
                return true;
            }
            "tool-call-delta" => {
                let more = delta.and_then(|delta| delta.pointer("/tool_calls/function"));
                let call = place(event, "index").and_then(|index| self.calls.get_mut(index)?.as_mut()?.get_mut("function"));
                gathered.exact &= call.is_some_and(|function| push_text(function, more, "arguments"));
            }
            "citation-start" => gathered.exact &= put(&mut self.citations, event, delta.and_then(|delta| delta.get("citations"))),
            "content-end" | "tool-call-end" | "citation-end" | "debug" => {}
            "message-end" => {
                self.end = event.get("delta").and_then(Value::as_object).cloned().unwrap_or_default();
                gathered.complete = self.started;
                if let Some(error) = self.end.shift_remove("error").as_ref().and_then(Value::as_str) {
                    gathered.fail(error);
                }
            }
            _ => match error_of(event) {
                Some(error) => gathered.fail(error),
                None => gathered.exact = false,
            },
        }
        false
    }

    fn finish(mut self) -> Value {
        for (name, list) in [("tool_calls", self.calls), ("content", self.content), ("citations", self.citations)] {
            let list: Vec<Value> = list.into_iter().flatten().collect();
            if !list.is_empty() {
                self.message.insert(name.to_owned(), Value::Array(list));
            }
        }
        let mut answer =
            Map::from_iter([("id".to_owned(), self.id.unwrap_or(Value::Null)), ("message".to_owned(), Value::Object(self.message))]);
        if !self.logprobs.is_empty() {
            answer.insert("logprobs".to_owned(), Value::Array(self.logprobs));
        }
        answer.append(&mut self.end);
        Value::Object(answer)
    }
}

/// Puts an item where its event says; false if it cannot.
fn put(list: &mut Vec<Option<Value>>, event: &Value, item: Option<&Value>) -> bool {
    let (Some(index), Some(item)) = (place(event, "index"), item) else { return false };
    if list.len() <= index {
        list.resize(index + 1, None);
    }
    list[index] = Some(item.clone());
    true
}

fn append(list: &mut [Option<Value>], event: &Value, more: Option<&Value>, names: &[&str]) -> bool {
    let item = place(event, "index").and_then(|index| list.get_mut(index)?.as_mut());
    item.is_some_and(|item| names.iter().any(|name| push_text(item, more, name)))
}

/// Adds `more[name]` to the text `item[name]`; false if either is missing.
fn push_text(item: &mut Value, more: Option<&Value>, name: &str) -> bool {
    let (Some(item), Some(more)) = (item.as_object_mut(), more.and_then(|more| more.get(name)?.as_str())) else { return false };
    match item.entry(name).or_insert_with(|| json!("")) {
        Value::String(text) => text.push_str(more),
        _ => return false,
    }
    true
}

/// A version 2 stream that says what `answer` says.
pub(crate) fn spread_v2(answer: &Value) -> Option<Vec<Out>> {
    let message = answer.get("message")?.as_object()?;
    if answer.get("logprobs").is_some_and(|logprobs| !logprobs.is_null()) {
        // Log probabilities belong to tokens, and which token fell in which event is not known.
        return None;
    }
    let mut begun = without(message, &["content", "tool_calls", "citations", "tool_plan"]);
    for (name, empty) in [("content", json!([])), ("tool_plan", json!("")), ("tool_calls", json!([])), ("citations", json!([]))] {
        begun.insert(name.to_owned(), empty);
    }
    let event = |kind: &str, members: Value| {
        let mut event = Map::from_iter([("type".to_owned(), json!(kind))]);
        if let Value::Object(mut members) = members {
            event.append(&mut members);
        }
        Out::named(kind, Value::Object(event))
    };
    let list = |name: &str| message.get(name).and_then(Value::as_array).into_iter().flatten().enumerate();
    let mut events = vec![event("message-start", json!({ "id": answer.get("id"), "delta": { "message": begun } }))];
    for piece in message.get("tool_plan").and_then(Value::as_str).map(pieces).unwrap_or_default() {
        events.push(event("tool-plan-delta", json!({ "delta": { "message": { "tool_plan": piece } } })));
    }
    for (index, call) in list("tool_calls") {
        let arguments = call.pointer("/function/arguments")?.as_str()?;
        let mut begun = call.clone();
        begun["function"]["arguments"] = json!("");
        events.push(event("tool-call-start", json!({ "index": index, "delta": { "message": { "tool_calls": begun } } })));
        for piece in pieces(arguments) {
            let delta = json!({ "message": { "tool_calls": { "function": { "arguments": piece } } } });
            events.push(event("tool-call-delta", json!({ "index": index, "delta": delta })));
        }
        events.push(event("tool-call-end", json!({ "index": index })));
    }
    for (index, block) in list("content") {
        let name = block.get("type")?.as_str().filter(|name| matches!(*name, "text" | "thinking"))?;
        let mut begun = block.clone();
        begun[name] = json!("");
        events.push(event("content-start", json!({ "index": index, "delta": { "message": { "content": begun } } })));
        for piece in pieces(block.get(name)?.as_str()?) {
            events.push(event("content-delta", json!({ "index": index, "delta": { "message": { "content": { name: piece } } } })));
        }
        events.push(event("content-end", json!({ "index": index })));
    }
    for (index, citation) in list("citations") {
        events.push(event("citation-start", json!({ "index": index, "delta": { "message": { "citations": citation } } })));
        events.push(event("citation-end", json!({ "index": index })));
    }
    let end = without(answer.as_object()?, &["id", "message", "logprobs"]);
    events.push(event("message-end", json!({ "delta": end })));
    Some(events)
}
