//! A sidecar that is killed when its pod's other containers have ended is not started again, and its Job counts the trial as done.

use agentrun_tests::cluster::{Namespace, PYTHON, agent_pod_spec, agent_run, kill_process, sidecars, with_namespace_alone};
use serde_json::{Value, json};

#[tokio::test]
async fn a_trial_whose_sidecar_died_at_its_very_end_is_tried_again() {
    with_namespace_alone("late-sidecar", async |space| {
        let pod = agent_pod_spec(PYTHON, &["python3", "/tests/misbehave.py", "answer-when-released"]);
        let mut run = agent_run("late", &["gpt-4.1-mini"], &["late sidecar"], pod);
        run["spec"]["limits"] = json!({"parallelism": 1, "retries": 1});
        space.create(&run).await;
        space.until("agentrun/late", "running", |run| run["status"]["trials"]["running"] == 1).await;
        // Without the hub the sidecar is held at its end, with the agent gone.
        space
            .cluster
            .without_hub(async {
                space.release("late").await;
                let agent_has_ended = |pods: &Value| {
                    let agents = pods["status"]["containerStatuses"].as_array().into_iter().flatten();
                    agents.into_iter().any(|agent| !agent["state"]["terminated"].is_null())
                };
                let name = space.kubectl(&["get", "pods", "-l", "agentrun.dev/run=late", "-o", "name"]).await;
                space.until(name.trim(), "past its agent's end", agent_has_ended).await;
                let uid = space.get(name.trim()).await["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
                let sidecar = sidecars().into_iter().find(|(_, of)| *of == uid).expect("the sidecar waits for the hub");
                assert!(kill_process(&sidecar.0));
                space.until(name.trim(), "ended", |pod| matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))).await;
            })
            .await;
        let is_ready = |job: &Value| job["status"]["ready"] == 1;
        space.until("job/late-c0-k0-r1", "at its second try", is_ready).await;
        space.release("late").await;
        let ended = space.run_ends("late").await;
        let status = &ended["status"];
        assert_eq!((&status["phase"], &status["trials"]["succeeded"]), (&"Complete".into(), &1.into()), "{status:#}");
        assert_eq!(Namespace::condition(&ended, "RecordsComplete"), "True/AllObserved", "{status:#}");
        let attempts: Vec<_> = space.run_items("late", "trials").await.iter().map(|trial| trial["attempts"].as_i64()).collect();
        assert_eq!(attempts, [Some(2)]);
    })
    .await;
}
