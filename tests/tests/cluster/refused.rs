//! AgentRuns and pods that the API server must refuse, with a sentence that says what to do.

use agentrun_tests::cluster::{Namespace, PYTHON, agent_pod_spec, agent_run, with_namespace};
use serde_json::{Value, json};

fn good() -> Value {
    agent_run("refused", &["gpt-4.1-mini"], &["one"], agent_pod_spec(PYTHON, &["python3", "agent.py"]))
}

/// `good` with the value at a JSON pointer set.
fn with(pointer: &str, value: Value) -> Value {
    let mut run = good();
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer has a slash");
    let parent = run.pointer_mut(parent).expect("the parent is there");
    match key.parse::<usize>() {
        Ok(index) if parent.is_array() => parent[index] = value,
        _ => parent[key] = value,
    }
    run
}

async fn refusal(space: &Namespace, manifest: &Value) -> String {
    match space.cluster.try_kubectl_with(&["-n", &space.name, "create", "--dry-run=server", "-f", "-"], manifest).await {
        Ok(_) => "it is not refused".to_owned(),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_good_run_is_not_refused() {
    with_namespace("refused-none", async |space| {
        assert_eq!(refusal(&space, &good()).await, "it is not refused");
    })
    .await;
}

#[tokio::test]
async fn bad_runs_are_refused_with_a_reason() {
    let container = "/spec/template/spec/containers/0";
    let cases: Vec<(&str, Value, &str)> = vec![
        ("no roles", with("/spec/roles", json!([])), "roles"),
        ("two roles of one name", with("/spec/roles", json!([{"name": "a", "models": ["m"]}, {"name": "a", "models": ["n"]}])), "uplicate"),
        ("a combo that lacks a role", with("/spec/combos", json!([{"models": {"other": "m"}}])), "role"),
        ("two sources of the dataset", with("/spec/dataset/configMap", json!({"name": "d", "key": "k"})), "exactly one"),
        ("two scorers", with("/spec/scoring/exact", json!({})), "exactly one"),
        ("a scoring command", with("/spec/scoring", json!({"command": ["true"]})), "agentrun run"),
        ("samples beyond the bound", with("/spec/samples", json!(1000)), "samples"),
        ("an unknown field", with("/spec/smaples", json!(2)), "smaples"),
        ("hostNetwork", with("/spec/template/spec/hostNetwork", json!(true)), "hostNetwork"),
        ("Windows", with("/spec/template/spec/os", json!({"name": "windows"})), "indows"),
        ("a container named like ours", with(&format!("{container}/name"), json!("agentrun-sidecar")), "agentrun-sidecar"),
        ("a container that must be named", with("/spec/agent/container", json!("other")), "other"),
        ("root in a restricted namespace", with("/spec/template/spec/securityContext", json!({})), "restricted"),
        ("an input file over /etc", with("/spec/agent/input", json!({"file": "/etc/input"})), "/etc"),
        ("a container without image", with(&format!("{container}/image"), json!("")), "image"),
        ("a pod template that the API server does not know", with(&format!("{container}/ports"), json!("many")), "ports"),
    ];
    with_namespace("refused", async |space| {
        let mut wrong = Vec::new();
        for (what, manifest, word) in &cases {
            let error = refusal(&space, manifest).await;
            if !error.contains(word) {
                wrong.push(format!("{what}: should say {word:?}: {error}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    })
    .await;
}
