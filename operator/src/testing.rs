//! Runs and specs for the tests of this crate.

use agentrun_crds::AgentRunSpec;
use serde_json::{Value, json};

use crate::run::Run;

/// A small spec with some of its fields replaced: 2 combos, a ConfigMap, 1 sample.
pub(crate) fn spec(changes: Value) -> AgentRunSpec {
    let mut spec = json!({
        "roles": [{"name": "solver", "models": ["gpt-4.1", "gpt-4.1-mini"]}],
        "dataset": {"configMap": {"name": "questions", "key": "questions.jsonl"}},
        "template": {"spec": {"containers": [{"name": "agent", "image": "example.test/agent:1"}]}},
        "scoring": {"exact": {}},
        "limits": {"parallelism": 8, "retries": 2},
    });
    for (key, value) in changes.as_object().expect("changes are an object") {
        spec[key] = value.clone();
    }
    serde_json::from_value(spec).expect("the spec is readable")
}

/// A run of that spec, registered with so many datapoints.
pub(crate) fn run(changes: Value, datapoints: u64) -> Run {
    let spec = spec(changes);
    Run {
        namespace: "evals".into(),
        name: "math".into(),
        uid: "11111111-2222-3333-4444-555555555555".into(),
        generation: 1,
        deleted_at: None,
        has_finalizer: true,
        queue: None,
        raw_spec: serde_json::to_value(&spec).expect("a spec is JSON"),
        spec: Ok(spec),
        status: json!({"dataset": {"datapoints": datapoints, "digest": "d"}}),
    }
}
