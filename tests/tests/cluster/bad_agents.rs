//! Agents that fail, each in its own way: a reason in the status, a score of 0, no retry.

use agentrun_tests::cluster::{Cluster, Namespace, PYTHON, Provider, agent_pod_spec, agent_run, with_namespace};
use agentrun_tests::origin::Rule;
use serde_json::{Value, json};

/// (name, arguments of misbehave.py, the failure's reason, a word that its message has)
const WAYS: [(&str, &[&str], &str, &str); 8] = [
    ("exits", &["exit", "3"], "AgentExit", "3"),
    ("is-killed", &["signal"], "AgentSignal", ""),
    ("hangs", &["hang"], "Timeout", ""),
    ("ignores-sigterm", &["ignore-sigterm"], "Timeout", ""),
    ("eats-memory", &["memory"], "AgentOutOfMemory", ""),
    ("says-nothing", &["no-output"], "NoOutput", ""),
    ("says-too-much", &["large-output"], "OutputTooLarge", ""),
    ("says-no-text", &["binary-output"], "OutputNotText", ""),
];

async fn create(space: &Namespace, name: &str, way: &[&str], reason: &str) {
    let command = [&["python3", "/tests/misbehave.py"], way].concat();
    let mut run = agent_run(name, &["gpt-4.1-mini"], &[&format!("bad agents: {name}")], agent_pod_spec(PYTHON, &command));
    // Long enough for an interpreter to start on a machine that is busy, and short where the limit is waited for.
    run["spec"]["agent"]["timeoutSeconds"] = json!(if reason == "Timeout" { 45 } else { 240 });
    run["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(3);
    space.create(&run).await;
}

#[tokio::test]
async fn each_failure_of_the_agent_has_its_reason_scores_zero_and_is_not_tried_again() {
    with_namespace("bad-agents", async |space| {
        let provider = Provider(Cluster::get());
        provider.forget("bad agents:").await;
        provider
            .rules("bad-agents", &[Rule { contains: vec!["bad agents:".to_owned()], text: Some("fine".to_owned()), ..Rule::default() }])
            .await;
        for (name, way, reason, _) in WAYS {
            create(&space, name, way, reason).await;
        }
        let mut wrong = Vec::new();
        for (name, _, reason, word) in WAYS {
            let run = space.run_ends(name).await;
            let status = &run["status"];
            let failure = &status["failures"][0];
            let told = failure["reason"] == reason && failure["message"].as_str().unwrap_or_default().contains(word);
            let scored = status["results"][0]["score"] == "0.0000" && status["results"][0]["failed"] == 1;
            let paid: usize = provider.counts(&format!("bad agents: {name}")).await.values().sum();
            if !(told && scored && status["trials"]["failed"] == 1 && paid == 1) {
                wrong.push(format!("{name} should be {reason}, asked {paid} times: {status:#}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    })
    .await;
}

#[tokio::test]
async fn an_agent_that_makes_no_call_is_unobserved() {
    with_namespace("no-call", async |space| {
        let mut pod = agent_pod_spec(PYTHON, &["python3", "/tests/misbehave.py", "answer"]);
        pod["containers"][0]["env"] = json!([{"name": "NO_CALL", "value": "1"}]);
        space.create(&agent_run("silent", &["gpt-4.1-mini"], &["no call"], pod)).await;
        let run = space.run_ends("silent").await;
        assert_eq!(run["status"]["trials"]["unobserved"], 1, "{:#}", run["status"]);
        assert_eq!(run["status"]["results"], Value::Null, "nothing is ranked: {:#}", run["status"]);
    })
    .await;
}
