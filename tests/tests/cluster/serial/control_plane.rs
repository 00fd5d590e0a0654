//! The operator's replicas and the API server die while a run is going: no trial is run twice.

use agentrun_tests::cluster::{Namespace, Provider, SYSTEM, agent_pod_spec, agent_run, with_namespace_alone};
use agentrun_tests::origin::Rule;
use serde_json::{Value, json};

const TRIALS: usize = 6;

/// A run of six slow trials, two at a time.
async fn begun(space: &Namespace, name: &str) -> String {
    let marker = format!("{}: question", space.name);
    let slow = Rule { contains: vec![marker.clone()], delay_milliseconds: 6000, ..Rule::default() };
    Provider(space.cluster).rules(name, &[slow]).await;
    let questions: Vec<String> = (0..TRIALS).map(|index| format!("{marker} {index}")).collect();
    let questions: Vec<&str> = questions.iter().map(String::as_str).collect();
    let mut run = agent_run(name, &["gpt-4.1-mini"], &questions, agent_pod_spec("registry.test/agent-go:1", &["/chat"]));
    run["spec"]["capture"] = json!(["Connect", "Dns"]);
    run["spec"]["limits"] = json!({"parallelism": 2, "retries": 0});
    space.create(&run).await;
    space.until(&format!("agentrun/{name}"), "running", |run| run["status"]["trials"]["running"].as_i64() > Some(0)).await;
    marker
}

async fn every_trial_ran_once(space: &Namespace, name: &str, marker: &str) {
    let ended = space.run_ends(name).await;
    let status = &ended["status"];
    assert_eq!((&status["phase"], &status["trials"]["succeeded"]), (&"Complete".into(), &TRIALS.into()), "{status:#}");
    let found = space.run_items(name, "trials").await;
    let attempts: Vec<_> = found.iter().map(|trial| trial["attempts"].as_i64()).collect();
    assert_eq!(attempts, [Some(1); TRIALS]);
    let asked = Provider(space.cluster).counts(marker).await;
    assert_eq!(asked.values().copied().collect::<Vec<_>>(), [1; TRIALS], "{asked:#?}");
}

fn ended_trials(run: &Value) -> usize {
    run["status"]["trials"]["succeeded"].as_u64().and_then(|ended| usize::try_from(ended).ok()).unwrap_or_default()
}

/// Whether more trials have ended, or all of them: slow machines may be at the last when the control plane is back.
fn went_on(run: &Value, before: usize) -> bool {
    ended_trials(run) > before || ended_trials(run) == TRIALS
}

#[tokio::test]
async fn another_replica_takes_over_when_the_leading_operator_dies() {
    with_namespace_alone("leader-dies", async |space| {
        let cluster = space.cluster;
        let marker = begun(&space, "led").await;
        let mut leader = cluster.leader("").await;
        for _ in 0..2 {
            let done = ended_trials(&space.get("agentrun/led").await);
            cluster.kubectl(&["-n", SYSTEM, "delete", "pod", &leader, "--force", "--grace-period=0"]).await;
            leader = cluster.leader(&leader).await;
            space.until("agentrun/led", "led by another", |run| went_on(run, done)).await;
        }
        every_trial_ran_once(&space, "led", &marker).await;
        cluster.kubectl(&["-n", SYSTEM, "rollout", "status", "deployment/agentrun-operator", "--timeout=180s"]).await;
    })
    .await;
}

#[tokio::test]
async fn a_run_does_not_feel_the_api_server_start_anew() {
    with_namespace_alone("api-server", async |space| {
        let cluster = space.cluster;
        let _supervision = cluster.supervise();
        let marker = begun(&space, "held").await;
        for _ in 0..2 {
            let done = ended_trials(&space.get("agentrun/held").await);
            cluster.rig(&["kill", "kube-apiserver"]).await;
            assert!(cluster.try_kubectl(&["get", "--raw", "/readyz"]).await.is_err(), "nothing answers");
            cluster.rig(&["start", "kube-apiserver"]).await;
            space.until("agentrun/held", "going on", |run| went_on(run, done)).await;
        }
        every_trial_ran_once(&space, "held", &marker).await;
    })
    .await;
}
