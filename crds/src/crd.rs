//! The CustomResourceDefinition that teaches a Kubernetes API server the resource, made from the same types as the manifest's schema.

mod rules;
mod structural;

use serde_json::{Value, json};

use crate::agent_run::{API_VERSION, KIND};
use crate::schema;

/// The definition's name: the resource's plural and its group.
pub const NAME: &str = "agentruns.agentrun.dev";

/// The definition as JSON.
pub fn definition() -> Value {
    let (group, version) = API_VERSION.split_once('/').expect("the API version has a group");
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": NAME},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": format!("{KIND}List"),
                "plural": "agentruns",
                "singular": "agentrun",
                "shortNames": ["ar"],
                "categories": ["all"],
            },
            "versions": [{
                "name": version,
                "served": true,
                "storage": true,
                "subresources": {"status": {}},
                "additionalPrinterColumns": columns(),
                "schema": {"openAPIV3Schema": server_schema()},
            }],
        },
    })
}

/// The committed form: YAML, with a line that says how it is made.
pub fn definition_text() -> String {
    let yaml = serde_saphyr::to_string(&definition()).expect("a JSON value is always written");
    format!(
        "# Generated from crds/src by: cargo run -p agentrun-crds --bin crdgen -- definition > charts/agentrun/files/agentruns.yaml\n{yaml}"
    )
}

/// The resource's schema as an API server takes it: structural, with the rules that need an expression.
fn server_schema() -> Value {
    let mut schema = structural::structural(schema::agent_run());
    rules::add(&mut schema);
    schema
}

/// What `kubectl get` shows; the last ones with `-o wide` alone. A column shows one field, hence `status.progress`.
fn columns() -> Value {
    json!([
        {"name": "Phase", "type": "string", "jsonPath": ".status.phase"},
        {"name": "Trials", "type": "string", "jsonPath": ".status.progress", "description": "Trials that have ended, of all."},
        {"name": "Best", "type": "string", "jsonPath": ".status.best.combo", "description": "The combo that leads the ranking."},
        {"name": "Score", "type": "string", "jsonPath": ".status.results[0].score", "description": "Its mean score."},
        {"name": "Spent", "type": "string", "jsonPath": ".status.spend.usd", "description": "US dollars."},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        {"name": "Failed", "type": "integer", "jsonPath": ".status.trials.failed", "priority": 1},
        {"name": "Unobserved", "type": "integer", "jsonPath": ".status.trials.unobserved", "priority": 1},
        {"name": "Calls", "type": "integer", "jsonPath": ".status.calls.total", "priority": 1},
        {"name": "Cached", "type": "integer", "jsonPath": ".status.calls.cached", "priority": 1},
        {"name": "Saved", "type": "string", "jsonPath": ".status.spend.savedUsd", "description": "US dollars.", "priority": 1},
    ])
}
