//! Scripted texts: what a model says to a request, so that a test knows beforehand which model is right.

use serde::{Deserialize, Serialize};

use super::ask::Ask;

/// One rule. The first that fits gives the answer's text; where none does, the origin's own is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Fits this model alone; absent, every one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Fits a request whose strings hold all of these texts.
    #[serde(default)]
    pub contains: Vec<String>,
    /// The answer's text; absent, the origin's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Milliseconds before the answer begins.
    #[serde(default)]
    pub delay_milliseconds: u64,
}

impl Rule {
    pub(super) fn fits(&self, ask: &Ask) -> bool {
        self.model.as_ref().is_none_or(|model| *model == ask.model()) && self.contains.iter().all(|text| holds(&ask.json, text))
    }
}

/// Whether a string anywhere in `value` holds `text`.
fn holds(value: &serde_json::Value, text: &str) -> bool {
    match value {
        serde_json::Value::String(string) => string.contains(text),
        serde_json::Value::Array(items) => items.iter().any(|item| holds(item, text)),
        serde_json::Value::Object(fields) => fields.values().any(|field| holds(field, text)),
        _ => false,
    }
}
