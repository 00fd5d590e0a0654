//! Ollama's own chat and generate.

use serde_json::{Map, Value, json};

use crate::response::count::Counts;
use crate::response::frame::{Body, Frames, text, without};
use crate::response::gathered::{Gathered, error_of};
use crate::response::out::{Out, pieces};
use crate::usage::Usage;

/// Reads `prompt_eval_count` and `eval_count`. Ollama leaves the first out when the prompt was in its own cache.
pub(crate) fn usage(message: &Value) -> Result<Usage, String> {
    let mut counts = Counts::of(message)?;
    let read = Usage { input_tokens: counts.at(&["prompt_eval_count"]), output_tokens: counts.at(&["eval_count"]), ..Usage::default() };
    counts.finish(read)
}

/// Puts lines together as the answer: texts grow, all else is the last line's word.
pub(crate) fn gather(frames: &Frames) -> Gathered {
    let mut gathered = Gathered { exact: frames.exact, ..Gathered::new() };
    let mut whole: Option<Map<String, Value>> = None;
    for frame in &frames.list {
        let Body::Json { value, .. } = &frame.body else { continue };
        if let Some(error) = error_of(value) {
            gathered.fail(error);
            continue;
        }
        let Some(line) = value.as_object() else {
            gathered.exact = false;
            continue;
        };
        let said = |holder: &Value| ["content", "thinking", "response"].iter().any(|name| text(holder, name).is_some());
        if said(value) || line.get("message").is_some_and(|message| said(message) || message.get("tool_calls").is_some()) {
            gathered.content(frame.end);
        }
        gathered.complete |= value.get("done") == Some(&json!(true));
        match &mut whole {
            None => whole = Some(line.clone()),
            Some(whole) => add(whole, line, &["response", "thinking"]),
        }
    }
    gathered.message = whole.map(Value::Object);
    gathered
}

fn add(whole: &mut Map<String, Value>, line: &Map<String, Value>, texts: &[&str]) {
    for (name, value) in line {
        match (whole.get_mut(name), value) {
            (Some(Value::String(text)), Value::String(more)) if texts.contains(&name.as_str()) => text.push_str(more),
            (Some(Value::Array(items)), Value::Array(more)) if name == "tool_calls" => items.extend(more.iter().cloned()),
            (Some(Value::Object(known)), Value::Object(more)) if name == "message" => add(known, more, &["content", "thinking"]),
            _ => {
                whole.insert(name.clone(), value.clone());
            }
        }
    }
}

/// Lines that say what `message` says.
pub(crate) fn spread(answer: &Value) -> Option<Vec<Out>> {
    let members = answer.as_object()?;
    let mut events = Vec::new();
    let mut head = Map::new();
    for name in ["model", "created_at"] {
        head.extend(members.get(name).map(|value| (name.to_owned(), value.clone())));
    }
    let mut line = |name: &str, value: Value| {
        let mut line = head.clone();
        line.insert(name.to_owned(), value);
        line.insert("done".to_owned(), json!(false));
        events.push(Value::Object(line));
    };
    let mut last = members.clone();
    if let Some(message) = members.get("message").and_then(Value::as_object) {
        let role = message.get("role").cloned().unwrap_or_else(|| json!("assistant"));
        for name in ["thinking", "content"] {
            for piece in message.get(name).and_then(Value::as_str).map(pieces).unwrap_or_default() {
                let mut said = Map::from_iter([("role".to_owned(), role.clone()), ("content".to_owned(), json!(""))]);
                said.insert(name.to_owned(), json!(piece));
                line("message", Value::Object(said));
            }
        }
        let mut rest = without(message, &["thinking"]);
        rest.insert("content".to_owned(), json!(""));
        last.insert("message".to_owned(), Value::Object(rest));
    }
    for name in ["thinking", "response"] {
        for piece in members.get(name).and_then(Value::as_str).map(pieces).unwrap_or_default() {
            line(name, json!(piece));
        }
        if members.get(name).is_some_and(Value::is_string) {
            last.insert(name.to_owned(), json!(""));
        }
    }
    events.push(Value::Object(last));
    Some(events.into_iter().map(Out::plain).collect())
}
