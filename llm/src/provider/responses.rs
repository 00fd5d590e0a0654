//! OpenAI's Responses.

use serde_json::{Map, Value, json};

use crate::response::count::{Counts, count, report};
use crate::response::frame::{Frames, place, text};
use crate::response::gathered::{Gathered, error_of};
use crate::response::out::{Out, pieces};
use crate::usage::Usage;

/// Reads `usage`. Cached and reasoned tokens are inside the totals.
pub(crate) fn usage(message: &Value) -> Result<Usage, String> {
    let mut counts = Counts::of(report(message, "usage")?)?;
    let searches = message.pointer("/tool_usage/web_search/num_requests").and_then(count);
    let read = Usage {
        input_tokens: counts.first(&[&["input_tokens"], &["prompt_tokens"]]),
        output_tokens: counts.first(&[&["output_tokens"], &["completion_tokens"]]),
        cache_read_tokens: counts
            .first(&[&["input_tokens_details", "cached_tokens"], &["input_tokens_details", "cache_read_input_tokens"]]),
        cache_write_tokens: counts.at(&["input_tokens_details", "cache_write_tokens"]),
        cache_write_1h_tokens: None,
        reasoning_tokens: counts.at(&["output_tokens_details", "reasoning_tokens"]),
        input_audio_tokens: counts.at(&["input_tokens_details", "audio_tokens"]),
        output_audio_tokens: counts.at(&["output_tokens_details", "audio_tokens"]),
        input_image_tokens: counts.at(&["input_tokens_details", "image_tokens"]),
        web_searches: counts.at(&["tool_calls_details", "search_web", "invocation"]).or(searches).or_else(|| web_searches(message)),
    };
    counts.finish(read)
}

/// The web searches among the output items; null when there are none, as the answer does not count them.
fn web_searches(message: &Value) -> Option<u64> {
    let items = message.get("output")?.as_array()?;
    let is_search = |item: &&Value| item["type"] == "web_search_call" && item.pointer("/action/type").is_none_or(|kind| kind == "search");
    let searches = items.iter().filter(is_search).count() as u64;
    (searches > 0).then_some(searches)
}

/// The answer is what the last event of the response's life carries; of a stream cut short, what the first one said
/// with the items that were finished.
pub(crate) fn gather(frames: &Frames) -> Gathered {
    let mut gathered = Gathered { exact: frames.exact, ..Gathered::new() };
    let mut items: Vec<Option<Value>> = Vec::new();
    for frame in &frames.list {
        let Some(event) = gathered.document(frame) else { continue };
        let kind = event.get("type").and_then(Value::as_str).unwrap_or_default();
        match kind {
            "response.created" | "response.queued" | "response.in_progress" => gathered.message = event.get("response").cloned(),
            "response.completed" | "response.incomplete" | "response.failed" => {
                gathered.message = event.get("response").cloned();
                gathered.complete = gathered.message.is_some();
                if let Some(error) = gathered.message.as_ref().and_then(error_of) {
                    gathered.fail(error);
                }
            }
            "error" => gathered.fail(error_event(event)),
            "response.output_item.done" => match (place(event, "output_index"), event.get("item")) {
                (Some(index), Some(item)) => {
                    if items.len() <= index {
                        items.resize(index + 1, None);
                    }
                    items[index] = Some(item.clone());
                }
                _ => gathered.exact = false,
            },
            "" => {
                if let Some(error) = error_of(event) {
                    gathered.fail(error);
                }
            }
            _ => {}
        }
        let has_text = text(event, "delta").is_some() || event.get("partial_image_b64").is_some();
        if has_text || (kind == "response.output_item.done" && event.pointer("/item/type").is_some_and(|kind| kind != "reasoning")) {
            gathered.content(frame.end);
        }
    }
    let output = |message: &Value| message.get("output").and_then(Value::as_array).is_some_and(|output| !output.is_empty());
    if let Some(message) = &mut gathered.message
        && !output(message)
        && let Some(members) = message.as_object_mut()
        && !items.is_empty()
    {
        members.insert("output".to_owned(), Value::Array(items.into_iter().flatten().collect()));
    }
    gathered
}

fn error_event(event: &Value) -> String {
    error_of(event).unwrap_or_else(|| {
        let said = text(event, "message").unwrap_or("no message");
        text(event, "code").map_or_else(|| said.to_owned(), |code| format!("{code}: {said}"))
    })
}

/// The sequence of events that leads to `message`.
pub(crate) fn spread(message: &Value) -> Option<Vec<Out>> {
    let response = message.as_object()?;
    let last = match response.get("status").and_then(Value::as_str) {
        Some("completed") => "response.completed",
        Some("incomplete") => "response.incomplete",
        _ => return None,
    };
    let mut begun = response.clone();
    begun.insert("status".to_owned(), json!("in_progress"));
    begun.insert("output".to_owned(), json!([]));
    for name in ["usage", "completed_at", "incomplete_details"] {
        if begun.contains_key(name) {
            begun.insert(name.to_owned(), Value::Null);
        }
    }
    let mut events = Events::default();
    events.add("response.created", json!({ "response": begun }));
    events.add("response.in_progress", json!({ "response": begun }));
    for (index, item) in response.get("output")?.as_array()?.iter().enumerate() {
        spread_item(&mut events, index, item.as_object()?)?;
    }
    events.add(last, json!({ "response": message }));
    Some(events.list)
}

#[derive(Default)]
struct Events {
    list: Vec<Out>,
}

impl Events {
    /// Adds an event with its type first and its number last, as OpenAI orders them.
    fn add(&mut self, kind: &str, members: Value) {
        let mut event = Map::from_iter([("type".to_owned(), json!(kind))]);
        if let Value::Object(mut members) = members {
            event.append(&mut members);
        }
        event.insert("sequence_number".to_owned(), json!(self.list.len()));
        self.list.push(Out::named(kind, Value::Object(event)));
    }

    /// Adds an event about the part at `place` of an item.
    fn at(&mut self, kind: &str, place: &Map<String, Value>, members: Value) {
        let mut all = place.clone();
        if let Value::Object(mut members) = members {
            all.append(&mut members);
        }
        self.add(kind, Value::Object(all));
    }
}

fn spread_item(events: &mut Events, index: usize, item: &Map<String, Value>) -> Option<()> {
    let kind = item.get("type")?.as_str()?;
    let id = item.get("id").cloned().unwrap_or(Value::Null);
    let place = Map::from_iter([("item_id".to_owned(), id), ("output_index".to_owned(), json!(index))]);
    let mut begun = item.clone();
    if begun.contains_key("status") {
        begun.insert("status".to_owned(), json!("in_progress"));
    }
    let empty = match kind {
        "message" | "reasoning" => ["content", "summary"].as_slice(),
        "function_call" => &["arguments"],
        "custom_tool_call" => &["input"],
        "web_search_call" | "file_search_call" | "compaction" => &[],
        // Items of other kinds have events of their own between their first and last, which only the provider can tell.
        _ => return None,
    };
    for name in empty {
        if let Some(value) = begun.get_mut(*name) {
            *value = if value.is_string() { json!("") } else { json!([]) };
        }
    }
    events.add("response.output_item.added", json!({ "output_index": index, "item": begun }));
    match kind {
        "message" => spread_parts(events, &place, item.get("content")?.as_array()?)?,
        "reasoning" => spread_reasoning(events, &place, item)?,
        "function_call" => {
            let arguments = item.get("arguments")?.as_str()?;
            for part in pieces(arguments) {
                events.at("response.function_call_arguments.delta", &place, json!({ "delta": part }));
            }
            events.at("response.function_call_arguments.done", &place, json!({ "arguments": arguments, "name": item.get("name") }));
        }
        "custom_tool_call" => {
            let input = item.get("input")?.as_str()?;
            for part in pieces(input) {
                events.at("response.custom_tool_call_input.delta", &place, json!({ "delta": part }));
            }
            events.at("response.custom_tool_call_input.done", &place, json!({ "input": input }));
        }
        "web_search_call" | "file_search_call" => {
            for step in ["in_progress", "searching", "completed"] {
                events.at(&format!("response.{kind}.{step}"), &place, json!({}));
            }
        }
        _ => {}
    }
    events.add("response.output_item.done", json!({ "output_index": index, "item": item }));
    Some(())
}

/// The parts of a message or of a reasoning item's content.
fn spread_parts(events: &mut Events, item: &Map<String, Value>, parts: &[Value]) -> Option<()> {
    for (index, part) in parts.iter().enumerate() {
        let mut place = item.clone();
        place.insert("content_index".to_owned(), json!(index));
        let (name, stem) = match part.get("type")?.as_str()? {
            "output_text" => ("text", "response.output_text"),
            "refusal" => ("refusal", "response.refusal"),
            "reasoning_text" => ("text", "response.reasoning_text"),
            _ => return None,
        };
        let whole = part.get(name)?.as_str()?;
        let logprobs = part.get("logprobs").cloned().unwrap_or_else(|| json!([]));
        let annotations = part.get("annotations").and_then(Value::as_array);
        let mut begun = part.clone();
        begun[name] = json!("");
        for list in ["annotations", "logprobs"] {
            if part.get(list).is_some_and(Value::is_array) {
                begun[list] = json!([]);
            }
        }
        events.at("response.content_part.added", &place, json!({ "part": begun }));
        let has_logprobs = logprobs.as_array().is_some_and(|list| !list.is_empty());
        let texts = if has_logprobs { vec![whole] } else { pieces(whole) };
        for delta in texts {
            let members = if name == "text" && stem == "response.output_text" {
                json!({ "delta": delta, "logprobs": logprobs })
            } else {
                json!({ "delta": delta })
            };
            events.at(&format!("{stem}.delta"), &place, members);
        }
        for (number, annotation) in annotations.into_iter().flatten().enumerate() {
            events.at("response.output_text.annotation.added", &place, json!({ "annotation_index": number, "annotation": annotation }));
        }
        let members = if stem == "response.output_text" { json!({ name: whole, "logprobs": logprobs }) } else { json!({ name: whole }) };
        events.at(&format!("{stem}.done"), &place, members);
        events.at("response.content_part.done", &place, json!({ "part": part }));
    }
    Some(())
}

fn spread_reasoning(events: &mut Events, item: &Map<String, Value>, reasoning: &Map<String, Value>) -> Option<()> {
    for (index, part) in reasoning.get("summary").and_then(Value::as_array).into_iter().flatten().enumerate() {
        let whole = part.get("text")?.as_str()?;
        let mut place = item.clone();
        place.insert("summary_index".to_owned(), json!(index));
        events.at("response.reasoning_summary_part.added", &place, json!({ "part": { "type": "summary_text", "text": "" } }));
        for delta in pieces(whole) {
            events.at("response.reasoning_summary_text.delta", &place, json!({ "delta": delta }));
        }
        events.at("response.reasoning_summary_text.done", &place, json!({ "text": whole }));
        events.at("response.reasoning_summary_part.done", &place, json!({ "part": part }));
    }
    match reasoning.get("content").and_then(Value::as_array) {
        Some(parts) => spread_parts(events, item, parts),
        None => Some(()),
    }
}
