//! OpenAI's chat completions and text completions, as OpenAI and all compatible hosts (Mistral too) speak them.

mod spread;

use serde_json::{Map, Value, json};

use crate::response::count::{Counts, report};
use crate::response::frame::{Body, Frames, place};
use crate::response::gathered::{Gathered, error_of};
use crate::usage::{Usage, sum};

pub(crate) use spread::{spread_chat, spread_completion};

/// Members of a chunk that are not members of the whole answer.
const CHUNK_ONLY: &[&str] = &["choices", "object", "obfuscation"];

/// Reads `usage` (Groq's older streams have it under `x_groq`).
///
/// OpenAI's counts include what was cached and what was reasoned. Perplexity leaves reasoning and citations out of
/// `completion_tokens` and even out of its total. xAI leaves reasoning out of the former; there, as everywhere else, the
/// total decides where it is given. (The rules of genai-prices.)
pub(crate) fn usage(message: &Value, provider: &str) -> Result<Usage, String> {
    let usage = match report(message, "usage") {
        Ok(usage) => usage,
        Err(why) => message.pointer("/x_groq/usage").ok_or(why)?,
    };
    let mut counts = Counts::of(usage)?;
    let input = counts.first(&[&["prompt_tokens"], &["input_tokens"]]);
    let reported = counts.first(&[&["completion_tokens"], &["output_tokens"]]);
    let reasoning = counts.first(&[&["completion_tokens_details", "reasoning_tokens"], &["reasoning_tokens"]]);
    let citations = counts.at(&["citation_tokens"]);
    let total = counts.at(&["total_tokens"]);
    let apart = match (provider, input, reported, reasoning, total) {
        ("perplexity", ..) => true,
        (_, Some(input), Some(output), Some(reasoning), Some(total)) if reasoning > 0 => total == input + output + reasoning,
        _ => provider == "x-ai",
    };
    let mut output = reported;
    if apart && reported.is_some() {
        output = sum(sum(output, reasoning), citations);
    }
    // Embeddings of some hosts give nothing but a total.
    let input = input.or(if reported.is_none() { total } else { None });
    let read = Usage {
        input_tokens: input,
        output_tokens: output,
        cache_read_tokens: counts.first(&[
            &["prompt_tokens_details", "cached_tokens"],
            &["prompt_cache_hit_tokens"],
            &["cached_prompt_text_tokens"],
            &["cached_tokens"],
        ]),
        cache_write_tokens: counts.at(&["prompt_tokens_details", "cache_write_tokens"]),
        cache_write_1h_tokens: None,
        reasoning_tokens: reasoning,
        input_audio_tokens: counts.at(&["prompt_tokens_details", "audio_tokens"]),
        output_audio_tokens: counts.at(&["completion_tokens_details", "audio_tokens"]),
        input_image_tokens: counts.at(&["prompt_tokens_details", "image_tokens"]),
        web_searches: counts.first(&[&["num_search_queries"], &["server_tool_use", "web_search_requests"]]),
    };
    counts.finish(read)
}

/// Puts chunks together as the whole answer.
pub(crate) fn gather(frames: &Frames, object: &str) -> Gathered {
    let mut gathered = Gathered { exact: frames.exact, ..Gathered::new() };
    let mut top = Map::new();
    let mut choices: Vec<Option<Map<String, Value>>> = Vec::new();
    let (mut done, mut any) = (false, false);
    for frame in &frames.list {
        let chunk = match &frame.body {
            Body::Done => {
                done = true;
                continue;
            }
            Body::Exception(error) => {
                gathered.fail(error.clone());
                continue;
            }
            Body::Json { value, .. } => value,
        };
        if let Some(error) = error_of(chunk) {
            gathered.fail(error);
        }
        let Some(members) = chunk.as_object() else {
            gathered.exact = false;
            continue;
        };
        any = true;
        for (name, value) in members.iter().filter(|(name, _)| !CHUNK_ONLY.contains(&name.as_str())) {
            keep(&mut top, name, value);
        }
        for piece in members.get("choices").and_then(Value::as_array).into_iter().flatten() {
            let Some(index) = place(piece, "index").or(if piece.get("index").is_none() { Some(0) } else { None }) else {
                gathered.exact = false;
                continue;
            };
            if choices.len() <= index {
                choices.resize(index + 1, None);
            }
            let choice = choices[index].get_or_insert_with(|| Map::from_iter([("index".to_owned(), json!(index))]));
            if add_choice(choice, piece, &mut gathered.exact) {
                gathered.content(frame.end);
            }
        }
    }
    if !any {
        return gathered;
    }
    let choices: Vec<Value> = choices.into_iter().flatten().map(|choice| finish_choice(choice, object)).collect();
    let finished = !choices.is_empty() && choices.iter().all(|choice| !choice["finish_reason"].is_null());
    gathered.complete = done || (finished && top.get("usage").is_some_and(Value::is_object));
    let mut message = Map::new();
    message.extend(top.shift_remove("id").map(|id| ("id".to_owned(), id)));
    message.insert("object".to_owned(), json!(object));
    let usage = top.shift_remove("usage");
    message.append(&mut top);
    message.insert("choices".to_owned(), Value::Array(choices));
    message.extend(usage.filter(|usage| !usage.is_null()).map(|usage| ("usage".to_owned(), usage)));
    gathered.message = Some(Value::Object(message));
    gathered
}

/// A later chunk's word replaces an earlier one's, unless it is null or empty (Azure's first chunk has empty names).
fn keep(top: &mut Map<String, Value>, name: &str, value: &Value) {
    let empty = value.is_null() || value.as_str().is_some_and(str::is_empty);
    if !empty || !top.contains_key(name) {
        top.insert(name.to_owned(), value.clone());
    }
}

/// Adds one chunk's piece of a choice; tells whether it carried content.
fn add_choice(choice: &mut Map<String, Value>, piece: &Value, exact: &mut bool) -> bool {
    let mut content = false;
    for (name, value) in piece.as_object().into_iter().flatten() {
        match name.as_str() {
            "index" => {}
            "delta" => {
                content |= has_content(value);
                let message = choice.entry("message").or_insert_with(|| json!({}));
                *exact &= value.get("audio").is_none_or(Value::is_null);
                merge(message, value, exact);
            }
            "text" => {
                content |= value.as_str().is_some_and(|text| !text.is_empty());
                merge(choice.entry("text").or_insert(Value::Null), value, exact);
            }
            "logprobs" => merge(choice.entry("logprobs").or_insert(Value::Null), value, exact),
            _ => keep(choice, name, value),
        }
    }
    content
}

fn has_content(delta: &Value) -> bool {
    delta.as_object().is_some_and(|delta| {
        delta.iter().any(|(name, value)| match value {
            Value::String(text) => name != "role" && !text.is_empty(),
            Value::Array(items) => !items.is_empty(),
            Value::Object(members) => !members.is_empty(),
            _ => false,
        })
    })
}

/// Adds a delta to what came before: texts and lists grow, objects merge, list items that bear an index merge with the
/// item of that index. This is how the providers' own libraries read deltas.
fn merge(into: &mut Value, delta: &Value, exact: &mut bool) {
    match (&mut *into, delta) {
        (_, Value::Null) => {}
        (Value::Null, Value::Array(_)) => {
            *into = json!([]);
            merge(into, delta, exact);
        }
        (Value::Null, _) => *into = delta.clone(),
        (Value::String(text), Value::String(more)) => text.push_str(more),
        (Value::Array(items), Value::Array(more)) => more.iter().for_each(|item| add_item(items, item, exact)),
        (Value::Object(members), Value::Object(more)) => {
            for (name, value) in more {
                match members.get_mut(name) {
                    None => {
                        members.insert(name.clone(), if value.is_array() { Value::Null } else { value.clone() });
                        if let (Value::Array(_), Some(place)) = (value, members.get_mut(name)) {
                            merge(place, value, exact);
                        }
                    }
                    Some(Value::String(text)) if matches!(name.as_str(), "role" | "type" | "id") => {
                        let new = value.as_str().unwrap_or_default();
                        if text.is_empty() {
                            *text = new.to_owned();
                        } else if !new.is_empty() && new != text {
                            *exact = false;
                        }
                    }
                    // Hosts either send a name once or repeat it whole.
                    Some(Value::String(text)) if name == "name" && value.as_str() == Some(text) => {}
                    Some(place) => merge(place, value, exact),
                }
            }
        }
        _ => {
            *exact &= *into == *delta;
            *into = delta.clone();
        }
    }
}

fn add_item(items: &mut Vec<Value>, item: &Value, exact: &mut bool) {
    // Only calls and choices bear an index, a few at most; searching a hostile list would take quadratic time.
    const SEARCHED: usize = 512;
    let Some(index) = item.get("index").and_then(Value::as_u64) else { return items.push(item.clone()) };
    match items.iter_mut().take(SEARCHED).find(|known| known["index"] == index) {
        Some(known) => merge(known, item, exact),
        None => {
            *exact &= items.len() < SEARCHED;
            items.push(item.clone());
        }
    }
}

/// Gives a choice the members a whole answer's choice has, in its order.
fn finish_choice(mut choice: Map<String, Value>, object: &str) -> Value {
    let mut whole = Map::from_iter([("index".to_owned(), choice["index"].clone())]);
    if object == "chat.completion" {
        let mut message = choice.shift_remove("message").unwrap_or_else(|| json!({}));
        if let Some(members) = message.as_object_mut() {
            members.entry("role").or_insert_with(|| json!("assistant"));
            members.entry("content").or_insert(Value::Null);
            for call in members.get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten() {
                if let Some(call) = call.as_object_mut() {
                    call.shift_remove("index");
                }
            }
        }
        whole.insert("message".to_owned(), message);
    }
    choice.entry("finish_reason").or_insert(Value::Null);
    whole.append(&mut choice);
    Value::Object(whole)
}
