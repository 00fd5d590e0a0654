//! Many trials at once: every record is its own trial's, and equal calls in flight are one.

use std::collections::{BTreeMap, BTreeSet};

use agentrun_tests::stage::{Stage, told};
use serde_json::{Value, json};

const DATAPOINTS: usize = 100;
const COMBOS: [&str; 2] = ["gpt-4.1-mini", "gpt-4.1-nano"];
const CALLS: usize = 5;

fn manifest() -> Value {
    let agent = concat!(env!("CARGO_MANIFEST_DIR"), "/agents/caller.py");
    let items: Vec<Value> = (0..DATAPOINTS)
        .map(|index| json!({"id": format!("d{index}"), "input": format!("input {index}"), "expected": format!("{CALLS} answers")}))
        .collect();
    json!({
        "apiVersion": "agentrun.dev/v1alpha1", "kind": "AgentRun", "metadata": {"name": "crowd"},
        "spec": {
            "roles": [{"name": "solver", "models": COMBOS}],
            "dataset": {"items": items},
            "agent": {"timeoutSeconds": 300},
            "template": {"spec": {"containers": [{
                "name": "agent", "image": "none", "command": ["python3", "-S", agent],
                "env": [{"name": "CALLS", "value": CALLS.to_string()}, {"name": "SHARED_DELAY", "value": "15000"}]
            }]}},
            "scoring": {"contains": {}},
            "limits": {"parallelism": DATAPOINTS * COMBOS.len()}
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn two_hundred_trials_leave_a_thousand_records_of_their_own() {
    let stage = Stage::new(&["api.openai.com"]).await;
    let file = stage.folder().join("crowd.json");
    std::fs::write(&file, manifest().to_string()).expect("the stage's folder can be written");
    let upstream = stage.upstream_arguments();
    let mut arguments = vec!["run", "-o", "json", "-f", "crowd.json"];
    arguments.extend(upstream.iter().map(String::as_str));
    let output = stage.agentrun(&arguments).output().await.expect("agentrun starts");
    assert!(output.status.success(), "{}", told(&output));

    let trials = DATAPOINTS * COMBOS.len();
    let run: Value = serde_json::from_slice(&output.stdout).expect("-o json prints the run");
    assert_eq!(run["status"]["trials"]["succeeded"], trials, "{:#}", run["status"]);
    assert_eq!(run["status"]["calls"]["total"], trials * CALLS);

    let records = stage.calls(&[]).await;
    assert_eq!(records.len(), trials * CALLS);
    let mut calls_of = BTreeMap::<(String, String), BTreeSet<String>>::new();
    for record in &records {
        let text = |key: &str| record[key].as_str().unwrap_or_default().to_owned();
        assert_eq!(record["outcome"], "complete", "{record:#}");
        let prompt = record["request_body"]["messages"][0]["content"].as_str().expect("the request is in the record").to_owned();
        let own = format!("trial {}/{} ", text("combo_id"), text("data_id"));
        assert!(prompt == "the shared question" || prompt.starts_with(&own), "{prompt:?} is recorded for {own}");
        calls_of.entry((text("combo_id"), text("data_id"))).or_default().insert(prompt);
    }
    assert_eq!(calls_of.len(), trials);
    assert!(calls_of.values().all(|prompts| prompts.len() == CALLS), "a trial has another's call, or lacks one of its own");

    let counts = stage.origin().log().counts();
    assert_eq!(counts.len(), trials * (CALLS - 1) + 1);
    let repeated: Vec<_> = counts.iter().filter(|(_, count)| **count != 1).collect();
    assert_eq!(repeated, Vec::new(), "equal calls in flight are one call upstream");
    assert_eq!(records.iter().filter(|record| record["cached"] == false).count(), counts.len());
    let in_flight = records.iter().filter(|record| record["cache_layer"] == "flight").count();
    assert!(in_flight > 1, "the shared call is held for long enough to be shared in flight, not {in_flight} times");
}
