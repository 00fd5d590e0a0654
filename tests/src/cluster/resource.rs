//! Manifests that tests start from.

use serde_json::{Value, json};

/// The example's image: Python with the SDKs, and the tests' agents in `/tests`.
pub const PYTHON: &str = "ghcr.io/agentrun/example-agent:0.1.0";

/// A container's security context that Pod Security *restricted* lets pass.
pub fn restricted() -> Value {
    json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}})
}

/// A pod's spec with one container `agent` of an image.
pub fn agent_pod_spec(image: &str, command: &[&str]) -> Value {
    let mut container = json!({
        "name": "agent", "image": image, "imagePullPolicy": "IfNotPresent", "securityContext": restricted(),
        "resources": {"requests": {"cpu": "20m", "memory": "32Mi"}, "limits": {"memory": "256Mi"}}
    });
    if !command.is_empty() {
        container["command"] = json!(command);
    }
    json!({
        "automountServiceAccountToken": false, "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container]
    })
}

/// An AgentRun with one role `solver`, its models, and datapoints whose inputs are `questions`; every output is right.
pub fn agent_run(name: &str, models: &[&str], questions: &[&str], pod: Value) -> Value {
    let items: Vec<Value> = questions
        .iter()
        .enumerate()
        .map(|(index, question)| json!({"id": format!("d{index}"), "input": question, "expected": ""}))
        .collect();
    json!({
        "apiVersion": "agentrun.dev/v1alpha1", "kind": "AgentRun", "metadata": {"name": name},
        "spec": {
            "roles": [{"name": "solver", "models": models}],
            "dataset": {"items": items},
            "agent": {"timeoutSeconds": 240},
            "template": {"spec": pod},
            "scoring": {"regex": {"pattern": "^()"}},
            "limits": {"parallelism": 8}
        }
    })
}

/// [`agent_run`] whose agent asks its question and gives the answer as its output. Trials whose questions have the word `held` do not end at their
/// first try.
pub fn answering_run(name: &str, models: &[&str], questions: &[&str]) -> Value {
    agent_run(name, models, questions, agent_pod_spec(PYTHON, &["python3", "/tests/misbehave.py", "answer"]))
}
