#[cfg(feature = "cluster")]
mod cluster;
mod http;
mod pods;
mod runs;

use serde_json::{Value, json};

use super::*;

/// A question about an object.
fn review(kind: &str, object: Value) -> Value {
    json!({
        "kind": "AdmissionReview",
        "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": "", "version": "v1", "kind": kind},
            "namespace": "evals",
            "operation": "CREATE",
            "object": object,
            "oldObject": null,
            "dryRun": false,
        },
    })
}

fn request(kind: &str, object: Value) -> Request {
    review::read(review(kind, object).to_string().as_bytes()).unwrap()
}

fn installation() -> Installation {
    Installation { image: "sidecar:1".to_owned(), ..Installation::default() }
}

fn agent_run() -> Value {
    json!({
        "apiVersion": "agentrun.dev/v1alpha1",
        "kind": "AgentRun",
        "metadata": {"name": "math", "namespace": "evals", "generateName": "m-", "selfLink": "x"},
        "spec": {
            "roles": [{"name": "solver", "models": ["gpt-4.1"]}],
            "dataset": {"configMap": {"name": "questions", "key": "q.jsonl"}},
            "template": {"spec": {"containers": [{"name": "agent", "image": "agent:1"}]}},
            "scoring": {"exact": {}},
        },
    })
}
