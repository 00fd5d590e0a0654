//! What goes wrong around an agent: its image, its pod, its namespace.

use agentrun_tests::cluster::{Namespace, PYTHON, agent_pod_spec, agent_run, with_namespace};
use serde_json::{Value, json};

#[tokio::test]
async fn an_image_that_does_not_exist_fails_the_run_with_one_event() {
    with_namespace("no-image", async |space| {
        let mut pod = agent_pod_spec("registry.test/no-such-image:1", &["true"]);
        // The kubelet then need not ask a registry that is not there.
        pod["containers"][0]["imagePullPolicy"] = json!("Never");
        let questions = ["no image: a", "no image: b", "no image: c"];
        let mut run = agent_run("imageless", &["gpt-4.1", "gpt-4.1-mini"], &questions, pod);
        run["spec"]["limits"] = json!({"parallelism": 1, "retries": 0});
        space.create(&run).await;
        let ended = space.run_ends("imageless").await;
        assert_eq!((&ended["status"]["phase"], Namespace::condition(&ended, "Failed")), (&"Failed".into(), "True/ImagePull".to_owned()));
        assert_eq!(ended["status"]["results"], Value::Null, "nothing is ranked: {:#}", ended["status"]);
        let failure = &ended["status"]["failures"][0];
        assert!(failure["reason"] == "ImagePull" && failure["message"].as_str().unwrap_or_default().contains("no-such-image"), "{failure}");
        let events =
            space.kubectl(&["get", "events", "-o", "json", "--field-selector", "reason=ImagePull,involvedObject.kind=AgentRun"]).await;
        let events: Value = serde_json::from_str(&events).expect("kubectl prints JSON");
        assert_eq!(events["items"].as_array().map(Vec::len), Some(1), "{events:#}");
    })
    .await;
}

#[tokio::test]
async fn a_pod_that_is_deleted_is_tried_again_and_counted() {
    with_namespace("deleted-pod", async |space| {
        let pod = agent_pod_spec(PYTHON, &["python3", "/tests/misbehave.py", "answer"]);
        space.create(&agent_run("robust", &["gpt-4.1-mini"], &["deleted pod: held"], pod)).await;
        space.calls_are_recorded("robust", 1).await;
        space.kubectl(&["delete", "pod", "-l", "agentrun.dev/run=robust", "--grace-period=20", "--wait=false"]).await;
        let ended = space.run_ends("robust").await;
        assert_eq!(
            (&ended["status"]["phase"], &ended["status"]["trials"]["succeeded"]),
            (&"Complete".into(), &1.into()),
            "{:#}",
            ended["status"]
        );
        assert_eq!(ended["status"]["interruptions"][0]["reason"], "Evicted", "{:#}", ended["status"]);
    })
    .await;
}

/// Kubernetes counts an exit code that is not SIGTERM's at once: the trial is tried again by a Job of its own.
#[tokio::test]
async fn a_deleted_pod_whose_agent_ignores_sigterm_is_tried_again() {
    with_namespace("deaf-agent", async |space| {
        let mut pod = agent_pod_spec(PYTHON, &["python3", "/tests/misbehave.py", "deaf-answer"]);
        pod["terminationGracePeriodSeconds"] = json!(3);
        let mut run = agent_run("deaf", &["gpt-4.1-mini"], &["deaf agent: a", "deaf agent: b held"], pod);
        run["spec"]["limits"] = json!({"parallelism": 2, "retries": 1});
        space.create(&run).await;
        space.calls_are_recorded("deaf", 2).await;
        let pods = "agentrun.dev/run=deaf,batch.kubernetes.io/job-completion-index=1";
        space.kubectl(&["delete", "pod", "-l", pods, "--wait=false"]).await;
        let ended = space.run_ends("deaf").await;
        let status = &ended["status"];
        assert_eq!((&status["phase"], &status["trials"]["succeeded"]), (&"Complete".into(), &2.into()), "{status:#}");
        assert_eq!(status["interruptions"][0]["reason"], "Evicted", "{status:#}");
        let mut attempts: Vec<_> = space.run_items("deaf", "trials").await.iter().map(|trial| trial["attempts"].as_i64()).collect();
        attempts.sort_unstable();
        assert_eq!(attempts, [Some(1), Some(2)], "the other trial is not run again");
        space.pods_go("deaf").await;
    })
    .await;
}

/// A Job keeps a failed pod until it has made the next, which it cannot where the namespace ends: the operator has to see to it.
#[tokio::test]
async fn a_namespace_that_is_deleted_goes_with_the_runs_in_it() {
    with_namespace("going-namespace", async |space| {
        let pod = agent_pod_spec(PYTHON, &["python3", "/tests/misbehave.py", "hang"]);
        space.create(&agent_run("going", &["gpt-4.1-mini"], &["going: a", "going: b"], pod)).await;
        space.until("agentrun/going", "running", |run| run["status"]["trials"]["running"] == 2).await;
        space.kubectl(&["delete", "namespace", &space.name, "--timeout=180s"]).await;
    })
    .await;
}
