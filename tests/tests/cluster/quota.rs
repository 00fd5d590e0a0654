//! Namespaces with a ResourceQuota: pods that say too little, runs that do, a quota that is full.

use agentrun_tests::cluster::{Namespace, PYTHON, agent_pod_spec, agent_run, with_namespace};
use serde_json::{Value, json};

/// A quota that takes account of what pods may use, and so wants to be told.
async fn strict_quota(space: &Namespace) {
    let hard = json!({
        "requests.cpu": "4", "limits.cpu": "8", "requests.memory": "4Gi", "limits.memory": "8Gi",
        "requests.ephemeral-storage": "16Gi", "limits.ephemeral-storage": "16Gi"
    });
    quota(space, "strict", hard).await;
}

async fn quota(space: &Namespace, name: &str, hard: Value) {
    space.create(&json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}, "spec": {"hard": hard}})).await;
    // Until then everything is let in.
    let counted = |quota: &Value| quota["status"]["hard"].is_object();
    space.until(&format!("resourcequota/{name}"), "counted", counted).await;
}

fn agent(resources: Value) -> Value {
    let mut spec = agent_pod_spec(PYTHON, &["python3", "/tests/misbehave.py", "answer"]);
    spec["containers"][0]["resources"] = resources;
    spec
}

fn all_said() -> Value {
    json!({
        "requests": {"cpu": "20m", "memory": "64Mi", "ephemeral-storage": "10Mi"},
        "limits": {"cpu": "500m", "memory": "256Mi", "ephemeral-storage": "100Mi"}
    })
}

fn condition(run: &Value, kind: &str) -> (String, String) {
    let found = run["status"]["conditions"].as_array().into_iter().flatten().find(|condition| condition["type"] == kind);
    let text = |key: &str| found.and_then(|condition| condition[key].as_str()).unwrap_or_default().to_owned();
    (text("reason"), text("message"))
}

#[tokio::test]
async fn who_says_too_little_is_told_what_is_missing_and_who_says_all_runs() {
    with_namespace("strict-quota", async |space| {
        strict_quota(&space).await;
        let labelled = json!({"name": "terse", "labels": {"agentrun.dev/run": "quota"}});
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": labelled, "spec": agent(json!({"requests": {"cpu": "20m"}}))});
        let error = space.try_create(&pod).await.expect_err("the quota is not told of limits");
        assert!(error.contains("must specify") && error.contains("limits.cpu for: agent"), "{error}");

        let terse = agent_run("terse", &["gpt-4.1-mini"], &["quota: a"], agent(json!({})));
        let error = space.try_create(&terse).await.expect_err("its pods would be refused");
        for word in ["spec.template", "must specify", "limits.memory for: agent", "LimitRange"] {
            assert!(error.contains(word), "it should say {word:?}: {error}");
        }

        space.create(&agent_run("full", &["gpt-4.1-mini"], &["quota: a", "quota: b"], agent(all_said()))).await;
        let ended = space.run_ends("full").await;
        assert_eq!(ended["status"]["trials"]["succeeded"], 2, "{:#}", ended["status"]);
    })
    .await;
}

/// With a user's scorer, whose container nobody but us can give limits.
#[tokio::test]
async fn a_scoring_pod_is_let_in_by_the_quota_that_the_trials_are() {
    with_namespace("quota-scoring", async |space| {
        strict_quota(&space).await;
        let mut run = agent_run("scored", &["gpt-4.1-mini"], &["quota scored: a"], agent(all_said()));
        let command = ["python3", "-c", "import sys\nfor line in sys.stdin: print(0.5)"];
        run["spec"]["scoring"] = json!({"container": {"image": PYTHON, "command": command}});
        space.create(&run).await;
        let ended = space.run_ends("scored").await;
        assert_eq!(ended["status"]["results"][0]["score"], "0.5000", "{:#}", ended["status"]);
    })
    .await;
}

#[tokio::test]
async fn a_quota_that_comes_later_holds_the_run_up_and_is_named() {
    with_namespace("late-quota", async |space| {
        let mut run = agent_run("waiting", &["gpt-4.1-mini"], &["late quota: a", "late quota: b"], agent(all_said()));
        run["spec"]["suspend"] = json!(true);
        space.create(&run).await;
        space.until("agentrun/waiting", "suspended", |run| run["status"]["phase"] == "Suspended").await;
        quota(&space, "none", json!({"pods": "0"})).await;
        space.kubectl(&["patch", "agentrun", "waiting", "--type=merge", "-p", r#"{"spec": {"suspend": false}}"#]).await;
        let held_up = |run: &Value| condition(run, "Progressing").0 == "QuotaExceeded";
        let run = space.until("agentrun/waiting", "held up by the quota", held_up).await;
        let (_, message) = condition(&run, "Progressing");
        assert!(message.contains("exceeded quota: none") && message.contains("goes on when there is room"), "{message}");
        // One at a time is enough.
        space.kubectl(&["patch", "resourcequota", "none", "--type=merge", "-p", r#"{"spec": {"hard": {"pods": "1"}}}"#]).await;
        let ended = space.run_ends("waiting").await;
        assert_eq!(ended["status"]["trials"]["succeeded"], 2, "{:#}", ended["status"]);
    })
    .await;
}
