//! Names of runs: the longest there may be, and one whose Job is somebody else's.

use agentrun_tests::cluster::{Namespace, PYTHON, agent_pod_spec, answering_run, with_namespace};
use serde_json::{Value, json};

fn answering(name: &str, question: &str) -> Value {
    answering_run(name, &["gpt-4.1-mini"], &[question])
}

#[tokio::test]
async fn the_longest_name_is_as_good_as_any() {
    with_namespace("long-name", async |space| {
        let name = "n".repeat(63);
        space.create(&answering(&name, "long name: a")).await;
        let status = space.run_ends(&name).await["status"].take();
        assert_eq!((&status["phase"], &status["trials"]["succeeded"]), (&"Complete".into(), &1.into()), "{status:#}");
    })
    .await;
}

#[tokio::test]
async fn a_run_whose_name_is_taken_has_not_begun_and_may_be_changed() {
    with_namespace("name-taken", async |space| {
        let mut pod = agent_pod_spec(PYTHON, &["true"]);
        pod["restartPolicy"] = json!("Never");
        let strangers = json!({"suspend": true, "template": {"spec": pod}});
        space.create(&json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "taken-c0-k0"}, "spec": strangers})).await;
        space.create(&answering("taken", "name taken: a")).await;
        let ended = space.run_ends("taken").await;
        assert_eq!(Namespace::condition(&ended, "Failed"), "True/NameTaken", "{:#}", ended["status"]);
        assert_eq!(ended["status"]["startTime"], Value::Null, "{:#}", ended["status"]);
        space.kubectl(&["delete", "job", "taken-c0-k0"]).await;
        space.kubectl(&["patch", "agentrun", "taken", "--type=merge", "-p", r#"{"spec": {"agent": {"timeoutSeconds": 239}}}"#]).await;
        let goes_on = |run: &Value| run["status"]["phase"] == "Complete";
        let status = space.until("agentrun/taken", "complete", goes_on).await["status"].take();
        assert_eq!(status["trials"]["succeeded"], 1, "{status:#}");
    })
    .await;
}
