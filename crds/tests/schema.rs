//! The committed schema is the one the types make, and fit for Kubernetes.

use agentrun_crds::schema;
use serde_json::Value;

#[test]
fn the_committed_schema_is_up_to_date() {
    let committed = include_str!("../schema/agentrun.json");
    assert!(committed == schema::agent_run_text(), "run: cargo run -p agentrun-crds --bin crdgen -- schema > crds/schema/agentrun.json");
}

#[test]
fn the_schema_is_structural() {
    fn walk(schema: &Value, path: &str, found: &mut Vec<String>) {
        let Some(fields) = schema.as_object() else { return };
        for forbidden in ["$ref", "$defs", "definitions", "anyOf", "const", "uniqueItems"] {
            if fields.contains_key(forbidden) {
                found.push(format!("{path} has {forbidden}"));
            }
        }
        if fields.get("type").is_some_and(Value::is_array) {
            found.push(format!("{path} has several types"));
        }
        if fields.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint")) {
            found.push(format!("{path} is unsigned"));
        }
        for (name, property) in fields.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let typed = property.get("type").is_some() || property.get("x-kubernetes-preserve-unknown-fields").is_some();
            if !typed {
                found.push(format!("{path}.{name} has no type"));
            }
            walk(property, &format!("{path}.{name}"), found);
        }
        for inner in ["items", "additionalProperties"] {
            walk(&schema[inner], &format!("{path}.{inner}"), found);
        }
    }
    let mut found = Vec::new();
    walk(&schema::agent_run(), "", &mut found);
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn every_field_is_described() {
    fn walk(schema: &Value, path: &str, found: &mut Vec<String>) {
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            if property["description"].as_str().is_none_or(str::is_empty) {
                found.push(format!("{path}.{name}"));
            }
            walk(property, &format!("{path}.{name}"), found);
        }
        if schema.get("items").is_some() {
            walk(&schema["items"], path, found);
        }
    }
    let mut found = Vec::new();
    walk(&schema::agent_run(), "", &mut found);
    assert_eq!(found, Vec::<String>::new());
}
