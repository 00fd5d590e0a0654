//! From the manifest's schema to what Kubernetes calls a structural schema.
//!
//! Kubernetes drops or refuses unknown fields by itself and does not take `additionalProperties: false` beside properties. It owns
//! `apiVersion`, `kind` and `metadata`. Choices between fields (`oneOf`) and patterns become expressions, whose refusal is a sentence
//! where the schema's own would be a regular expression.

use serde_json::{Map, Value, json};

/// Keys that mean nothing to an API server, or that it refuses.
const DROPPED: [&str; 4] = ["$schema", "title", "oneOf", "x-rule"];

/// The schema as an API server takes it.
pub(super) fn structural(mut schema: Value) -> Value {
    convert(&mut schema);
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert("apiVersion".to_owned(), json!({"type": "string"}));
        properties.insert("kind".to_owned(), json!({"type": "string"}));
        properties.insert("metadata".to_owned(), json!({"type": "object", "properties": {"name": {"type": "string"}}}));
        // A status is written by the operator alone, which says what it means; an invented zero would be taken for a count.
        if let Some(status) = properties.get_mut("status") {
            without_defaults(status);
        }
    }
    schema
}

/// One schema and all that are in it.
fn convert(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else { return };
    choice_rule(fields);
    pattern_rule(fields);
    for key in DROPPED {
        fields.shift_remove(key);
    }
    if fields.get("additionalProperties") == Some(&Value::Bool(false)) {
        fields.shift_remove("additionalProperties");
    }
    // Bounds say more than this format, and API servers do not list it among theirs for every version.
    if fields.get("format").is_some_and(|format| format == "double") {
        fields.shift_remove("format");
    }
    for property in fields.get_mut("properties").and_then(Value::as_object_mut).into_iter().flat_map(|properties| properties.values_mut()) {
        convert(property);
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(inner) = fields.get_mut(inner) {
            convert(inner);
        }
    }
}

/// `oneOf` of single required fields: exactly one of them is set.
fn choice_rule(fields: &mut Map<String, Value>) {
    let Some(choices) = fields.get("oneOf").and_then(Value::as_array) else { return };
    let names: Option<Vec<String>> = choices.iter().map(|choice| choice["required"][0].as_str().map(str::to_owned)).collect();
    // Other choices are an enumeration's documented values: `enum` says them too.
    let Some(names) = names else { return };
    let set: Vec<String> = names.iter().map(|name| format!("has(self.{name})")).collect();
    add_rule(
        fields,
        &format!("[{}].exists_one(set, set)", set.join(", ")),
        &format!("exactly one of {} must be set", names.join(", ")),
        None,
    );
}

/// A pattern that the schema says in words.
fn pattern_rule(fields: &mut Map<String, Value>) {
    let Some(pattern) = fields.get("pattern").and_then(Value::as_str).map(str::to_owned) else { return };
    let words = fields.get("x-rule").and_then(Value::as_str).unwrap_or("text without blanks around it").to_owned();
    // A raw literal has no way to write its own quote.
    if pattern.contains('\'') {
        return;
    }
    fields.shift_remove("pattern");
    add_rule(fields, &format!("self.matches(r'{pattern}')"), &format!("write {words}"), None);
}

/// Adds an expression that must hold, what is said when it does not, and of which field below if not of this one.
pub(super) fn add_rule(fields: &mut Map<String, Value>, rule: &str, message: &str, told: Option<&str>) {
    let mut rule = json!({"rule": rule, "message": message});
    if let Some(told) = told {
        rule["fieldPath"] = told.into();
    }
    if let Some(rules) = fields.entry("x-kubernetes-validations").or_insert_with(|| json!([])).as_array_mut() {
        rules.push(rule);
    }
}

fn without_defaults(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else { return };
    fields.shift_remove("default");
    for property in fields.get_mut("properties").and_then(Value::as_object_mut).into_iter().flat_map(|properties| properties.values_mut()) {
        without_defaults(property);
    }
    if let Some(items) = fields.get_mut("items") {
        without_defaults(items);
    }
}
