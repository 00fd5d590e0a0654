//! AgentRuns that are edited, suspended, deleted or robbed of their dataset, in each phase.

use agentrun_tests::cluster::{Cluster, Namespace, PYTHON, Provider, agent_pod_spec, agent_run, with_namespace};
use agentrun_tests::origin::Rule;
use serde_json::{Value, json};

/// A run over the ConfigMap `questions`, which is not there yet.
fn waiting(name: &str) -> Value {
    let pod = agent_pod_spec(PYTHON, &["python3", "/tests/misbehave.py", "answer"]);
    let mut run = agent_run(name, &["gpt-4.1-mini"], &[], pod);
    run["spec"]["dataset"] = json!({"configMap": {"name": "questions", "key": "dataset.jsonl"}});
    run["spec"]["scoring"] = json!({"contains": {}});
    run["spec"]["limits"]["parallelism"] = json!(1);
    run
}

/// Two questions; `mark` is the last word of the second.
fn questions(space: &Namespace, expected: &str, mark: &str) -> Value {
    let line = |id: &str, mark: &str| json!({"id": id, "input": format!("{}: {id} {mark}", space.name), "expected": expected}).to_string();
    let lines = format!("{}\n{}\n", line("one", ""), line("two", mark));
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "questions"}, "data": {"dataset.jsonl": lines}})
}

async fn answer_yes(space: &Namespace) {
    let rule = Rule { contains: vec![space.name.clone()], text: Some("yes".to_owned()), ..Rule::default() };
    Provider(space.cluster).rules(&space.name, &[rule]).await;
}

async fn patch(space: &Namespace, run: &str, spec: Value) -> Result<String, String> {
    let patch = json!({"spec": spec}).to_string();
    space.cluster.try_kubectl(&["-n", &space.name, "patch", "agentrun", run, "--type=merge", "-p", &patch]).await
}

/// Deletes a run, and sees that nothing of it is left.
async fn goes(space: &Namespace, run: &str) {
    space.kubectl(&["delete", "agentrun", run, "--timeout=180s"]).await;
    space.pods_go(run).await;
    let jobs = space.kubectl(&["get", "jobs", "-l", &format!("agentrun.dev/run={run}"), "-o", "name"]).await;
    assert_eq!(jobs, "");
    let token = space.reader_token().await;
    let (status, body) = Cluster::get().hub(&token, "GET", &format!("/v1/runs/{}/{run}", space.name), "").await;
    assert_eq!(status, 404, "{body}");
}

fn phase(run: &Value) -> &str {
    run["status"]["phase"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_run_that_waits_can_be_edited_suspended_and_deleted() {
    with_namespace("phase-pending", async |space| {
        answer_yes(&space).await;
        for name in ["edited", "held", "dropped"] {
            space.create(&waiting(name)).await;
            space.until(&format!("agentrun/{name}"), "waiting for its dataset", |run| phase(run) == "Pending").await;
        }
        goes(&space, "dropped").await;
        patch(&space, "held", json!({"suspend": true})).await.expect("a run that waits can be suspended");
        space.until("agentrun/held", "suspended", |run| phase(run) == "Suspended").await;
        let roles = json!([{"name": "solver", "models": ["gpt-4.1"]}]);
        patch(&space, "edited", json!({"roles": roles, "samples": 2})).await.expect("nothing has run yet");
        space.create(&questions(&space, "yes", "")).await;

        let ended = space.run_ends("edited").await;
        assert_eq!((&ended["status"]["trials"]["succeeded"], &ended["status"]["trials"]["total"]), (&4.into(), &4.into()), "{ended:#}");
        assert_eq!(ended["status"]["results"][0]["combo"], "solver=gpt-4.1", "{:#}", ended["status"]);
        let held = space.get("agentrun/held").await;
        assert_eq!(phase(&held), "Suspended", "{:#}", held["status"]);
        assert_eq!(space.kubectl(&["get", "jobs,pods", "-l", "agentrun.dev/run=held", "-o", "name"]).await, "");
        patch(&space, "held", json!({"suspend": false})).await.expect("it goes on");
        assert_eq!(space.run_ends("held").await["status"]["trials"]["succeeded"], 2);
    })
    .await;
}

#[tokio::test]
async fn a_suspended_run_keeps_its_datapoints_whatever_becomes_of_their_source() {
    with_namespace("phase-suspended", async |space| {
        answer_yes(&space).await;
        // The second trial does not end before its run is suspended.
        space.create(&questions(&space, "yes", "held")).await;
        for name in ["kept", "dropped"] {
            space.create(&waiting(name)).await;
            space.until(&format!("agentrun/{name}"), "past its first trial", |run| run["status"]["trials"]["succeeded"] == 1).await;
            space.calls_are_recorded(name, 2).await;
            patch(&space, name, json!({"suspend": true})).await.expect("a run can be suspended");
            let stopped = |run: &Value| phase(run) == "Suspended" && run["status"]["trials"]["running"] == 0;
            space.until(&format!("agentrun/{name}"), "suspended", stopped).await;
        }
        goes(&space, "dropped").await;
        let error = patch(&space, "kept", json!({"samples": 2})).await.expect_err("it has started");
        assert!(error.contains("cannot be changed"), "{error}");

        let tells = |word: &'static str| {
            move |run: &Value| {
                Namespace::condition(run, "Accepted") == "True/DatasetChanged" && run["status"]["conditions"].to_string().contains(word)
            }
        };
        space.try_apply(&questions(&space, "no", "")).await.expect("a ConfigMap can be changed");
        space.until("agentrun/kept", "told that its dataset has changed", tells("has changed since")).await;
        space.kubectl(&["delete", "configmap", "questions"]).await;
        space.until("agentrun/kept", "told that its dataset is gone", tells("is gone since")).await;
        patch(&space, "kept", json!({"suspend": false})).await.expect("it goes on");
        let ended = space.run_ends("kept").await;
        assert_eq!(ended["status"]["trials"]["succeeded"], 2, "{:#}", ended["status"]);
        assert_eq!(ended["status"]["results"][0]["score"], "1.0000", "scored by what was expected when it started");
    })
    .await;
}

#[tokio::test]
async fn a_complete_run_stays_complete_and_goes_with_all_it_has() {
    with_namespace("phase-complete", async |space| {
        answer_yes(&space).await;
        space.create(&questions(&space, "yes", "")).await;
        space.create(&waiting("over")).await;
        let before = space.run_ends("over").await;
        assert_eq!(phase(&before), "Complete");
        let error = patch(&space, "over", json!({"scoring": {"contains": null, "exact": {}}})).await.expect_err("it has run");
        assert!(error.contains("cannot be changed"), "{error}");
        patch(&space, "over", json!({"suspend": true, "limits": {"parallelism": 2}})).await.expect("there is nothing to stop");
        let generation = before["metadata"]["generation"].as_i64().map(|generation| generation + 1);
        let seen = space.until("agentrun/over", "looked at again", |run| run["status"]["observedGeneration"].as_i64() == generation).await;
        assert_eq!((phase(&seen), &seen["status"]["trials"]), ("Complete", &before["status"]["trials"]));
        assert_eq!(seen["status"]["completionTime"], before["status"]["completionTime"]);
        goes(&space, "over").await;
    })
    .await;
}
