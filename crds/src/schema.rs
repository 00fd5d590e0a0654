//! The JSON schema of the resource, made from its types.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use crate::agent_run::AgentRun;

/// The schema of an AgentRun: JSON Schema 2020-12, without references. Where a field may be left out it may not be null, as
/// Kubernetes has it. `x-kubernetes-*` say what lists are; `x-rule` says a pattern in words.
pub fn agent_run() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<AgentRun>().to_value();
    normalize(&mut schema);
    schema
}

/// The committed form: indented, with a line end.
pub fn agent_run_text() -> String {
    let text = serde_json::to_string_pretty(&agent_run()).expect("a JSON value is always written");
    format!("{text}\n")
}

/// Takes off what says that an optional field may be null, and formats that Kubernetes does not know.
fn normalize(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(normalize),
        Value::Object(fields) => {
            unwrap_nullable(fields);
            if fields.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint")) {
                fields.shift_remove("format");
            }
            if fields.get("default").is_some_and(Value::is_null) {
                fields.shift_remove("default");
            }
            fields.values_mut().for_each(normalize);
        }
        _ => {}
    }
}

fn unwrap_nullable(fields: &mut Map<String, Value>) {
    if let Some(Value::Array(kinds)) = fields.get_mut("type") {
        kinds.retain(|kind| kind != "null");
        if let [only] = kinds.as_slice() {
            let only = only.clone();
            fields.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(choices)) = fields.get_mut("anyOf") {
        choices.retain(|choice| choice.get("type").is_none_or(|kind| kind != "null"));
        if let [Value::Object(only)] = choices.as_slice() {
            let only = only.clone();
            fields.shift_remove("anyOf");
            for (key, value) in only {
                fields.entry(key).or_insert(value);
            }
        }
    }
}
