//! The schema's part of the check: unknown fields, types, bounds, choices, duplicates, wherever the schema names them.

use std::collections::HashMap;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value};

use super::{Mistakes, joined, nearest};
use crate::pod_template;
use crate::schema;
use crate::yaml::{Content, Field, Node};

/// The resource's schema, with the template's part widened to what a trial reads of it.
static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let mut schema = schema::agent_run();
    if let Some(template) = schema.pointer_mut("/properties/spec/properties/template") {
        *template = pod_template::checked_schema();
    }
    schema
});

/// Checks the whole tree against the schema.
pub(super) fn check(tree: &Node, mistakes: &mut Mistakes) {
    Checker { mistakes, patterns: HashMap::new() }.node(&SCHEMA, tree, "");
}

/// The tree as JSON, without the nulls of fields that the schema knows: there null means that the field is not set.
pub(super) fn without_nulls(tree: &Node) -> Value {
    pruned(&SCHEMA, tree)
}

fn pruned(schema: &Value, node: &Node) -> Value {
    match &node.content {
        Content::Scalar(value) => value.clone(),
        Content::List(items) => Value::Array(items.iter().map(|item| pruned(&schema["items"], item)).collect()),
        Content::Fields(fields) => {
            let known = &schema["properties"];
            let free = |key: &str| known.get(key).is_some_and(is_free);
            let kept = fields.iter().filter(|field| !field.value.is_null() || known.get(&field.key).is_none() || free(&field.key));
            let pruned = kept.map(|field| (field.key.clone(), pruned(known.get(&field.key).unwrap_or(&Value::Null), &field.value)));
            Value::Object(pruned.collect::<Map<_, _>>())
        }
    }
}

/// Whether any JSON may stand here.
fn is_free(schema: &Value) -> bool {
    schema == &Value::Bool(true) || (schema.get("type").is_none() && schema.get("properties").is_none())
}

struct Checker<'a> {
    mistakes: &'a mut Mistakes,
    /// Compiled patterns of the schema.
    patterns: HashMap<&'static str, Option<Regex>>,
}

impl Checker<'_> {
    fn node(&mut self, schema: &'static Value, node: &Node, path: &str) {
        let Some(expected) = schema.get("type").and_then(Value::as_str) else { return };
        match (&node.content, expected) {
            (Content::Fields(fields), "object") => self.object(schema, node, fields, path),
            (Content::List(items), "array") => self.array(schema, node, items, path),
            (Content::Scalar(Value::String(text)), "string") => self.string(schema, node, text, path),
            (Content::Scalar(Value::Bool(value)), "boolean") => self.choice(schema, node, &Value::Bool(*value), path),
            (Content::Scalar(Value::Number(number)), "integer" | "number") => {
                let whole = number.is_i64() || number.is_u64();
                if expected == "integer" && !whole && number.as_f64().is_none_or(|number| number.fract() != 0.0 || number.abs() < 1e15) {
                    self.add(node, path, format!("{number} is not a whole number"));
                } else {
                    self.bounds(schema, node, number.as_f64().unwrap_or(f64::INFINITY), path);
                }
            }
            _ => self.add(node, path, wrong_type(schema, expected, node)),
        }
    }

    fn add(&mut self, node: &Node, path: &str, message: String) {
        self.mistakes.add(node.place, path, message);
    }

    fn object(&mut self, schema: &'static Value, node: &Node, fields: &[Field], path: &str) {
        let properties = schema.get("properties").and_then(Value::as_object);
        let rest = schema.get("additionalProperties").filter(|rest| rest.is_object());
        let closed = properties.is_some() && schema.get("x-kubernetes-preserve-unknown-fields").is_none();
        for field in fields {
            let path = joined(path, &field.key);
            match (properties.and_then(|properties| properties.get(&field.key)), rest) {
                (Some(property), _) if field.value.is_null() && !is_free(property) => {}
                (Some(property), _) => self.node(property, &field.value, &path),
                (None, Some(rest)) => self.node(rest, &field.value, &path),
                (None, None) if closed => self.unknown(properties, field, &path),
                (None, None) => {}
            }
        }
        self.required(schema, node, path);
        self.exactly_one(schema, node, path);
    }

    fn unknown(&mut self, properties: Option<&'static Map<String, Value>>, field: &Field, path: &str) {
        if self.mistakes.is_full() {
            return self.mistakes.add(field.place, path, String::new());
        }
        let names = || properties.into_iter().flat_map(|properties| properties.keys()).map(String::as_str);
        let message = match nearest(&field.key, names()) {
            Some(near) => format!("there is no such field: did you mean `{near}`?"),
            None => format!("there is no such field: the fields here are {}", names().collect::<Vec<_>>().join(", ")),
        };
        self.mistakes.add(field.place, path, message);
    }

    fn required(&mut self, schema: &'static Value, node: &Node, path: &str) {
        for name in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            let property = &schema["properties"][name];
            let given = node.fields().iter().any(|field| field.key == name && (is_free(property) || !field.value.is_null()));
            if !given {
                let about = property.get("description").and_then(Value::as_str).map(first_sentence).unwrap_or_default();
                let message = format!("this field is missing{}{about}", if about.is_empty() { "" } else { ": " });
                self.add(node, &joined(path, name), message);
            }
        }
    }

    fn exactly_one(&mut self, schema: &'static Value, node: &Node, path: &str) {
        let Some(choices) = schema.get("oneOf").and_then(Value::as_array) else { return };
        let names: Vec<&str> = choices.iter().filter_map(|choice| choice["required"][0].as_str()).collect();
        let set: Vec<&str> = names.iter().copied().filter(|name| node.get(name).is_some()).collect();
        match set.as_slice() {
            [_] => {}
            [] => self.add(node, path, format!("exactly one of {} must be set, and none is", names.join(", "))),
            [.., last] => {
                let place = node.fields().iter().find(|field| field.key == *last).map_or(node.place, |field| field.place);
                let message = format!("exactly one of {} must be set: leave out all but one of {}", names.join(", "), set.join(", "));
                self.mistakes.add(place, path, message);
            }
        }
    }

    fn array(&mut self, schema: &'static Value, node: &Node, items: &[Node], path: &str) {
        let bound = |name: &str| schema.get(name).and_then(Value::as_u64).map(|bound| bound as usize);
        match (bound("minItems"), bound("maxItems")) {
            (Some(1), _) if items.is_empty() => self.add(node, path, "the list is empty: at least one item is needed".to_owned()),
            (_, Some(most)) if items.len() > most => {
                self.add(node, path, format!("the list has {} items, and at most {most} are allowed", items.len()));
            }
            _ => {}
        }
        if let Some(item_schema) = schema.get("items") {
            for (position, item) in items.iter().enumerate() {
                self.node(item_schema, item, &format!("{path}[{position}]"));
            }
        }
        self.duplicates(schema, items, path);
    }

    /// Lists that are sets, or maps by one key.
    fn duplicates(&mut self, schema: &'static Value, items: &[Node], path: &str) {
        let key = match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
            Some("set") => None,
            Some("map") => schema["x-kubernetes-list-map-keys"][0].as_str(),
            _ => return,
        };
        let mut seen: HashMap<String, usize> = HashMap::new();
        for (position, item) in items.iter().enumerate() {
            let value = match key {
                Some(key) => item.get(key),
                None => Some(item),
            };
            let Some(value) = value else { continue };
            if let Some(first) = seen.insert(value.to_value().to_string(), value.place.line) {
                let path = format!("{path}[{position}]");
                let path = key.map_or(path.clone(), |key| joined(&path, key));
                let message = format!("{} stands twice, first on line {first}: leave one out", shown(&value.to_value()));
                self.add(value, &path, message);
            }
        }
    }

    fn string(&mut self, schema: &'static Value, node: &Node, text: &str, path: &str) {
        let length = text.chars().count() as u64;
        let bound = |name: &str| schema.get(name).and_then(Value::as_u64);
        if length < bound("minLength").unwrap_or_default() {
            return self.add(node, path, "this is empty: give it a value".to_owned());
        }
        if let Some(most) = bound("maxLength").filter(|most| length > *most) {
            return self.add(node, path, format!("this is {length} characters long, and at most {most} are allowed"));
        }
        if let Some(pattern) = schema.get("pattern").and_then(Value::as_str) {
            let compiled = self.patterns.entry(pattern).or_insert_with(|| Regex::new(pattern).ok());
            if compiled.as_ref().is_some_and(|compiled| !compiled.is_match(text)) {
                let rule = schema.get("x-rule").and_then(Value::as_str).unwrap_or("text without blanks around it");
                return self.add(node, path, format!("{} is not allowed: write {rule}", shown(&Value::from(text))));
            }
        }
        self.choice(schema, node, &Value::from(text), path);
    }

    fn choice(&mut self, schema: &'static Value, node: &Node, value: &Value, path: &str) {
        let Some(choices) = schema.get("enum").and_then(Value::as_array).filter(|choices| !choices.contains(value)) else { return };
        let near = value.as_str().and_then(|text| nearest(text, choices.iter().filter_map(Value::as_str)));
        let hint = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
        self.add(node, path, format!("{} is not allowed: write {}{hint}", shown(value), listed(choices)));
    }

    fn bounds(&mut self, schema: &'static Value, node: &Node, value: f64, path: &str) {
        let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
        let (least, most) = (bound("minimum"), bound("maximum"));
        if least.is_some_and(|least| value < least) || most.is_some_and(|most| value > most) {
            let range = match (least, most) {
                (Some(least), Some(most)) => format!("from {least} to {most}"),
                (Some(least), None) => format!("of at least {least}"),
                (None, most) => format!("of at most {}", most.unwrap_or_default()),
            };
            self.add(node, path, format!("{value} is not allowed: write a number {range}"));
        }
    }
}

fn wrong_type(schema: &Value, expected: &str, node: &Node) -> String {
    let found = match &node.content {
        Content::Scalar(Value::Null) => "empty".to_owned(),
        Content::Scalar(Value::String(text)) => format!("the text {}", shown(&Value::from(text.as_str()))),
        Content::Scalar(Value::Bool(value)) => format!("the boolean {value}"),
        Content::Scalar(value) => format!("the number {value}"),
        Content::List(_) => "a list".to_owned(),
        Content::Fields(_) => "a mapping".to_owned(),
    };
    let wanted = match expected {
        "object" => "a mapping",
        "array" => "a list",
        "string" => "text",
        "boolean" => "true or false",
        "integer" => "a whole number",
        _ => "a number",
    };
    let hint = match (&node.content, expected, schema.get("enum").and_then(Value::as_array)) {
        (_, "string", Some(choices)) => format!(": write {}", listed(choices)),
        (Content::Scalar(value), "string", None) if !value.is_null() => format!(": put it in quotes, \"{value}\""),
        (Content::Scalar(value), "array", _) if !value.is_null() => format!(": write [{}]", shown(value)),
        (Content::Scalar(Value::String(text)), "integer" | "number" | "boolean", _) if serde_json::from_str::<Value>(text).is_ok() => {
            ": take the quotes off".to_owned()
        }
        _ => String::new(),
    };
    format!("this is {found}, and must be {wanted}{hint}")
}

fn listed(choices: &[Value]) -> String {
    let shown: Vec<String> = choices.iter().map(|choice| choice.as_str().map_or_else(|| choice.to_string(), str::to_owned)).collect();
    match shown.as_slice() {
        [only] => only.clone(),
        _ => format!("one of {}", shown.join(", ")),
    }
}

/// A value for a message: text in backticks, shortened.
fn shown(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let short: String = text.chars().take(60).collect();
    let dots = if short.len() < text.len() { "…" } else { "" };
    format!("`{}{dots}`", short.escape_debug())
}

fn first_sentence(text: &str) -> String {
    let line = text.replace('\n', " ");
    line.split_once(". ").map_or(line.trim_end_matches('.').to_owned(), |(first, _)| first.to_owned())
}
