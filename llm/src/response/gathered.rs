//! What a dialect makes of an answer's events.

use serde_json::Value;

use super::frame::{Body, Frame};

/// What a dialect makes of an answer's events.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gathered {
    /// The answer as a call without streaming would have returned it, as far as it came.
    pub(crate) message: Option<Value>,
    /// What the provider says went wrong.
    pub(crate) error: Option<String>,
    /// Whether the event that ends an answer was seen.
    pub(crate) complete: bool,
    /// Offset just after the first event with content.
    pub(crate) first_content: Option<usize>,
    /// Whether the output tokens in `message` are a first guess that no later event corrected.
    pub(crate) output_uncounted: bool,
    /// Whether `message` holds all that the events said, so that it may stand for them.
    pub(crate) exact: bool,
}

impl Gathered {
    /// Nothing seen, nothing lost.
    pub(crate) fn new() -> Self {
        Self { exact: true, ..Self::default() }
    }

    /// The document of an event. An exception is noted as an error.
    pub(crate) fn document<'a>(&mut self, frame: &'a Frame) -> Option<&'a Value> {
        match &frame.body {
            Body::Json { value, .. } => Some(value),
            Body::Done => None,
            Body::Exception(error) => {
                self.fail(error.clone());
                None
            }
        }
    }

    /// Notes an error; the first one stands.
    pub(crate) fn fail(&mut self, error: impl Into<String>) {
        self.error.get_or_insert_with(|| error.into());
    }

    /// Notes that content has come by offset `end`.
    pub(crate) fn content(&mut self, end: usize) {
        self.first_content.get_or_insert(end);
    }
}

/// What an error payload says, whichever provider's shape it has; `None` when the value is no error.
pub(crate) fn error_of(value: &Value) -> Option<String> {
    let object = value.as_object()?;
    match object.get("error") {
        None | Some(Value::Null) => {}
        Some(Value::String(said)) if said.is_empty() => {}
        Some(Value::String(said)) => return Some(said.clone()),
        Some(Value::Object(error)) => {
            let kind = ["type", "status", "code"].iter().find_map(|name| match error.get(*name)? {
                Value::String(kind) if !kind.is_empty() => Some(kind.clone()),
                Value::Number(kind) => Some(kind.to_string()),
                _ => None,
            });
            let said = error.get("message").and_then(Value::as_str).unwrap_or("no message").to_owned();
            return Some(kind.map_or_else(|| said.clone(), |kind| format!("{kind}: {said}")));
        }
        Some(Value::Bool(false)) => {}
        Some(other) => return Some(other.to_string()),
    }
    // Bedrock, Mistral and Cohere say `message` at the top, where answers have an object or nothing.
    let is_answer = ["choices", "output", "content", "text", "candidates", "usage", "id", "response_id", "done"];
    let said = object.get("message").or_else(|| object.get("Message")).and_then(Value::as_str)?;
    let is_error =
        object.get("object").and_then(Value::as_str) == Some("error") || !is_answer.iter().any(|name| object.contains_key(*name));
    is_error.then(|| said.to_owned())
}
