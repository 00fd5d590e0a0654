//! The committed CustomResourceDefinition is the one the types make, and what an API server takes.

use agentrun_crds::crd;
use serde_json::Value;

const COMMITTED: &str = include_str!("../../charts/agentrun/files/agentruns.yaml");

/// Every schema below one, with its path.
fn schemas<'a>(schema: &'a Value, path: &str, found: &mut Vec<(String, &'a Value)>) {
    if !schema.is_object() {
        return;
    }
    found.push((path.to_owned(), schema));
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        schemas(property, &format!("{path}.{name}"), found);
    }
    for inner in ["items", "additionalProperties"] {
        schemas(&schema[inner], &format!("{path}[{inner}]"), found);
    }
}

fn all(definition: &Value) -> Vec<(String, &Value)> {
    let mut found = Vec::new();
    schemas(&definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"], "", &mut found);
    found
}

#[test]
fn the_committed_definition_is_up_to_date_and_small() {
    assert!(
        COMMITTED == crd::definition_text(),
        "run: cargo run -p agentrun-crds --bin crdgen -- definition > charts/agentrun/files/agentruns.yaml"
    );
    assert!(COMMITTED.len() <= 100_000, "the definition has {} bytes", COMMITTED.len());
}

#[test]
fn an_independent_reader_reads_what_was_meant() {
    assert!(serde_yaml::from_str::<Value>(COMMITTED).unwrap() == crd::definition());
}

#[test]
fn nothing_is_left_that_an_api_server_refuses() {
    let definition = crd::definition();
    for (path, schema) in all(&definition) {
        for forbidden in ["$schema", "$ref", "title", "oneOf", "anyOf", "const", "x-rule", "pattern"] {
            assert!(schema.get(forbidden).is_none(), "{path} has {forbidden}");
        }
        assert!(!schema["additionalProperties"].is_boolean(), "{path} has a boolean for additionalProperties");
        assert!(schema.get("properties").is_none() || schema.get("additionalProperties").is_none(), "{path} has both kinds of properties");
        let free = schema.get("x-kubernetes-preserve-unknown-fields").is_some();
        assert!(schema.get("type").is_some() || free, "{path} has no type");
    }
}

#[test]
fn a_status_is_never_filled_with_defaults() {
    let definition = crd::definition();
    let invented: Vec<String> = all(&definition)
        .into_iter()
        .filter(|(path, schema)| path.starts_with(".status") && schema.get("default").is_some())
        .map(|(path, _)| path)
        .collect();
    assert_eq!(invented, Vec::<String>::new());
}

#[test]
fn every_expression_tells_a_sentence() {
    let definition = crd::definition();
    let mut rules = 0;
    for (path, schema) in all(&definition) {
        for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
            let message = rule["message"].as_str().unwrap_or_default();
            assert!(message.contains(' ') && !message.contains('\n') && message.len() < 300, "{path}: {message:?}");
            rules += 1;
        }
    }
    assert!(rules > 25, "{rules} expressions");
}

/// A field that is new in the spec must be thought about: either it is fixed once a trial has started, or it is one of these.
#[test]
fn what_may_change_in_a_started_run_is_listed_here() {
    const MAY_CHANGE: [&str; 4] = ["objective", "selection", "limits", "suspend"];
    let definition = crd::definition();
    let schemas = all(&definition);
    let rules = schemas[0].1["x-kubernetes-validations"].as_array().unwrap();
    let fixed: Vec<&str> = rules.iter().filter_map(|rule| rule["fieldPath"].as_str()?.strip_prefix(".spec.")).collect();
    let spec = &schemas.iter().find(|(path, _)| path == ".spec").unwrap().1["properties"];
    for field in spec.as_object().unwrap().keys() {
        let named = |list: &[&str]| list.contains(&field.as_str());
        assert!(named(&fixed) != named(&MAY_CHANGE), "spec.{field} is in both lists or in none");
    }
}

/// What an expression walks through has a bound, or an API server cannot tell what the expression costs.
#[test]
fn every_list_map_and_text_of_the_spec_is_bounded() {
    let definition = crd::definition();
    for (path, schema) in all(&definition).into_iter().filter(|(path, _)| path.starts_with(".spec")) {
        let bound = match schema["type"].as_str() {
            Some("array") => "maxItems",
            Some("string") if schema.get("enum").is_none() => "maxLength",
            Some("object") if schema.get("additionalProperties").is_some() => "maxProperties",
            _ => continue,
        };
        assert!(schema[bound].is_number(), "{path} has no {bound}");
    }
}
