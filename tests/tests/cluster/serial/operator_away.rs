//! No operator at all: what waits for it, and what does not.

use agentrun_tests::cluster::{PYTHON, SYSTEM, agent_pod_spec, agent_run, with_namespace_alone};
use serde_json::{Value, json};

#[tokio::test]
async fn labelled_pods_are_refused_others_are_made_and_trials_go_on() {
    with_namespace_alone("operator-away", async |space| {
        let cluster = space.cluster;
        let scaled = async |replicas: &str| {
            cluster.kubectl(&["-n", SYSTEM, "scale", "deployment/agentrun-operator", &format!("--replicas={replicas}")]).await;
        };
        let agent = agent_pod_spec(PYTHON, &["python3", "/tests/misbehave.py", "answer-when-released"]);
        let mut run = agent_run("unattended", &["gpt-4.1-mini"], &["operator away: a", "operator away: b", "operator away: c"], agent);
        run["spec"]["limits"]["parallelism"] = json!(1);
        space.create(&run).await;
        space.until("agentrun/unattended", "under way", |run| run["status"]["trials"]["running"] == 1).await;
        scaled("0").await;
        let gone = ["-n", SYSTEM, "wait", "pod", "--for=delete", "-l", "app.kubernetes.io/component=operator", "--timeout=180s"];
        cluster.kubectl(&gone).await;

        let pod = |labels: Value| {
            let metadata = json!({"name": "asked", "labels": labels});
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": agent_pod_spec(PYTHON, &["true"])})
        };
        let ask = ["-n", &space.name, "create", "--dry-run=server", "-f", "-"];
        let refused = cluster.try_kubectl_with(&ask, &pod(json!({"agentrun.dev/run": "asked"}))).await;
        let others = cluster.try_kubectl_with(&ask, &pod(json!({"app": "other"}))).await;
        // The Job controller makes the pods of the other trials, whose template has the sidecar.
        let trials = std::panic::AssertUnwindSafe(async {
            for ended in 0..3 {
                let is_next = |job: &Value| job["status"]["ready"] == 1 && job["status"]["succeeded"].as_u64().unwrap_or_default() == ended;
                space.until("job/unattended-c0-k0", "at its next trial", is_next).await;
                space.release("unattended").await;
            }
            space.until("job/unattended-c0-k0", "ended without an operator", |job| job["status"]["succeeded"] == 3).await;
        });
        let trials = futures::FutureExt::catch_unwind(trials).await;
        scaled("2").await;
        cluster.kubectl(&["-n", SYSTEM, "rollout", "status", "deployment/agentrun-operator", "--timeout=180s"]).await;

        let refused = refused.expect_err("it would run unseen");
        assert!(refused.contains("failed calling webhook \"pods.agentrun.dev\""), "{refused}");
        assert!(others.is_ok(), "{others:?}");
        assert!(trials.is_ok(), "the run's other trials wait for an operator");
        let ended = space.run_ends("unattended").await;
        assert_eq!(
            (&ended["status"]["phase"], &ended["status"]["trials"]["succeeded"]),
            (&json!("Complete"), &json!(3)),
            "{:#}",
            ended["status"]
        );
    })
    .await;
}
