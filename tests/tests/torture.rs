//! `kill -9` at any moment of a run, many times: the same command completes it, scores every trial once and pays every finished call once.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use agentrun_tests::stage::{Stage, told};
use serde_json::{Value, json};

const KILLS: u32 = 50;
const TRIALS: usize = 200;
const CALLS: usize = 3;

fn manifest() -> Value {
    let agent = concat!(env!("CARGO_MANIFEST_DIR"), "/agents/caller.py");
    let items: Vec<Value> = (0..TRIALS)
        .map(|index| json!({"id": format!("d{index}"), "input": format!("input {index}"), "expected": format!("{CALLS} answers")}))
        .collect();
    json!({
        "apiVersion": "agentrun.dev/v1alpha1", "kind": "AgentRun", "metadata": {"name": "torture"},
        "spec": {
            "roles": [{"name": "solver", "models": ["gpt-4.1-mini"]}],
            "dataset": {"items": items},
            "template": {"spec": {"containers": [{
                "name": "agent", "image": "none", "command": ["python3", "-S", agent],
                "env": [{"name": "CALLS", "value": CALLS.to_string()}, {"name": "OWN_DELAY", "value": "150"}]
            }]}},
            "scoring": {"contains": {}},
            "limits": {"parallelism": 4}
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn fifty_kills_lose_nothing_and_repeat_nothing() {
    let stage = Stage::new(&["api.openai.com"]).await;
    std::fs::write(stage.folder().join("torture.json"), manifest().to_string()).expect("the stage's folder can be written");
    let upstream = stage.upstream_arguments();
    let mut arguments = vec!["run", "-o", "json", "-f", "torture.json"];
    arguments.extend(upstream.iter().map(String::as_str));

    // Moments spread over a start and several trials by a fixed sequence: a failure can be run again.
    let mut moment = 12_345_u64;
    let mut killed = 0;
    while killed < KILLS {
        let mut run = stage.agentrun(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("agentrun starts");
        moment = moment.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let wait = Duration::from_millis(20 + (moment >> 33) % 780);
        if let Ok(ended) = tokio::time::timeout(wait, run.wait()).await {
            panic!("after {killed} kills the run ended by itself: {:?}", ended.expect("agentrun can be waited for"));
        }
        run.kill().await.expect("a running process can be killed");
        killed += 1;
    }

    let output = stage.agentrun(&arguments).output().await.expect("agentrun starts");
    assert!(output.status.success(), "{}", told(&output));
    let run: Value = serde_json::from_slice(&output.stdout).expect("-o json prints the run");
    assert_eq!(run["status"]["trials"]["total"], TRIALS);
    assert_eq!(run["status"]["trials"]["succeeded"], TRIALS, "{:#}", run["status"]);
    assert_eq!(run["status"]["results"][0]["trials"], TRIALS, "every trial is scored once");
    assert_eq!(run["status"]["results"][0]["score"], "1.0000");

    let mut paid = BTreeMap::<String, usize>::new();
    for record in stage.calls(&[]).await.iter().filter(|record| record["outcome"] == "complete") {
        let times = paid.entry(record["cache_key"].as_str().expect("a chat completion has a key").to_owned()).or_default();
        *times += usize::from(record["cached"] == false);
    }
    assert_eq!(paid.len(), TRIALS * (CALLS - 1) + 1, "every call is recorded");
    let twice: Vec<_> = paid.iter().filter(|(_, times)| **times > 1).collect();
    assert_eq!(twice, Vec::new(), "a finished call is paid again");
    // An answer is durable before its record is: a kill between the two leaves one that was paid and is told as cached ever after.
    let told_as_cached = paid.values().filter(|times| **times == 0).count();
    assert!(told_as_cached <= KILLS as usize, "{told_as_cached} calls were paid without a record of it");
}
