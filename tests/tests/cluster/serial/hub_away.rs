//! The hub is gone, full or started anew while a run is going: agents' calls go on, and nothing is lost.

use std::collections::BTreeSet;

use agentrun_tests::cluster::{Namespace, PYTHON, Provider, SYSTEM, agent_pod_spec, agent_run, answering_run, with_namespace_alone};
use agentrun_tests::origin::Rule;
use serde_json::{Value, json};

/// What the hub has of a run: each trial once, at its first try, and each of so many calls that the provider answered.
async fn everything_is_there(space: &Namespace, run: &str, trials: usize, marker: &str) {
    let found = space.run_items(run, "trials").await;
    let states: Vec<_> = found.iter().map(|trial| (trial["state"].as_str().unwrap_or_default(), trial["attempts"].as_i64())).collect();
    assert_eq!(states, vec![("Succeeded", Some(1)); trials]);
    let records = space.run_items(run, "calls").await;
    let recorded: BTreeSet<_> = records.iter().filter_map(|record| record["response_body"]["id"].as_str()).collect();
    let asked = Provider(space.cluster).counts(marker).await;
    assert!(asked.values().all(|count| *count == 1), "{asked:#?}");
    assert_eq!((recorded.len(), records.len()), (asked.len(), asked.len()), "{asked:#?}");
}

fn progressing(run: &Value) -> (String, String) {
    let conditions = run["status"]["conditions"].as_array().into_iter().flatten();
    let found = conditions.into_iter().find(|condition| condition["type"] == "Progressing").unwrap_or(&Value::Null);
    let word = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
    (word("reason"), word("message"))
}

/// Each of two agents asks once before, and five times while the hub is gone: the first of these waits half a minute for the hub.
#[tokio::test]
async fn a_hub_that_is_gone_for_a_minute_is_not_missed() {
    with_namespace_alone("hub-gone", async |space| {
        let provider = Provider(space.cluster);
        let marker = format!("{}: question", space.name);
        let questions = [format!("{marker} a"), format!("{marker} b"), format!("{marker} c")];
        let questions: Vec<&str> = questions.iter().map(String::as_str).collect();
        let pod = agent_pod_spec(PYTHON, &["python3", "/tests/misbehave.py", "calls", "5", "8"]);
        let mut run = agent_run("patient", &["gpt-4.1-mini"], &questions, pod);
        run["spec"]["limits"] = json!({"parallelism": 2, "retries": 0});
        space.create(&run).await;
        space.until("agentrun/patient", "running", |run| run["status"]["trials"]["running"] == 2).await;
        provider.until(&marker, 2).await;
        space
            .cluster
            .without_hub(async {
                space.until("agentrun/patient", "told to lack its hub", |run| progressing(run).0 == "HubUnavailable").await;
                provider.until(&marker, 12).await;
                let run = space.get("agentrun/patient").await;
                assert_eq!((&run["status"]["phase"], &run["status"]["trials"]["succeeded"]), (&"Running".into(), &0.into()));
            })
            .await;
        let ended = space.run_ends("patient").await;
        let status = &ended["status"];
        assert_eq!((&status["phase"], &status["trials"]["succeeded"]), (&"Complete".into(), &3.into()), "{status:#}");
        everything_is_there(&space, "patient", 3, &marker).await;
    })
    .await;
}

#[tokio::test]
async fn a_hub_that_dies_with_calls_in_flight_goes_on_where_it_was() {
    with_namespace_alone("hub-dies", async |space| {
        let provider = Provider(space.cluster);
        let marker = format!("{}: question", space.name);
        let slow = Rule { contains: vec![marker.clone()], delay_milliseconds: 8000, ..Rule::default() };
        provider.rules("hub-dies", &[slow]).await;
        let questions = [format!("{marker} a"), format!("{marker} b"), format!("{marker} c"), format!("{marker} d")];
        let questions: Vec<&str> = questions.iter().map(String::as_str).collect();
        let mut run = answering_run("steady", &["gpt-4.1-mini"], &questions);
        run["spec"]["limits"] = json!({"parallelism": 2, "retries": 0});
        space.create(&run).await;
        for calls in [1, 3] {
            provider.until(&marker, calls).await;
            let uid = |pod: &Value| pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
            let cluster = space.cluster;
            let before = uid(&cluster.until(SYSTEM, "pod/agentrun-hub-0", "there", |pod| pod["status"]["phase"] == "Running").await);
            cluster.kubectl(&["-n", SYSTEM, "delete", "pod/agentrun-hub-0", "--force", "--grace-period=0"]).await;
            let is_ready = |pod: &Value| {
                let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
                uid(pod) != before && conditions.into_iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
            };
            cluster.until(SYSTEM, "pod/agentrun-hub-0", "another, and ready", is_ready).await;
        }
        let ended = space.run_ends("steady").await;
        let status = &ended["status"];
        assert_eq!((&status["phase"], &status["trials"]["succeeded"]), (&"Complete".into(), &4.into()), "{status:#}");
        everything_is_there(&space, "steady", 4, &marker).await;
    })
    .await;
}

/// Outputs of a quarter of a megabyte in a store of two: those of both runs together do not fit.
#[tokio::test]
async fn a_full_hub_takes_nothing_more_says_so_and_goes_on_when_a_run_is_deleted() {
    with_namespace_alone("hub-full", async |space| {
        let marker = format!("{}: question", space.name);
        let long = Rule { contains: vec![marker.clone()], text: Some("long ".repeat(50_000)), ..Rule::default() };
        Provider(space.cluster).rules("hub-full", &[long]).await;
        let large = |name: &str| {
            let questions: Vec<String> = (0..3).map(|index| format!("{marker} {name} {index}")).collect();
            let questions: Vec<&str> = questions.iter().map(String::as_str).collect();
            let mut run = answering_run(name, &["gpt-4.1-mini"], &questions);
            run["spec"]["cache"] = json!({"mode": "Off"});
            run["spec"]["limits"] = json!({"parallelism": 1, "retries": 0});
            run
        };
        space
            .cluster
            .with_small_hub("2Mi", async {
                space.create(&large("early")).await;
                let early = space.run_ends("early").await;
                assert_eq!(early["status"]["trials"]["succeeded"], 3, "{:#}", early["status"]);
                space.create(&large("late")).await;
                let full = |run: &Value| progressing(run).0 == "HubUnavailable" && progressing(run).1.contains("full");
                space.until("agentrun/late", "told that the hub is full", full).await;
                let metrics = format!("/api/v1/namespaces/{SYSTEM}/pods/agentrun-hub-0:8080/proxy/metrics");
                assert!(space.cluster.kubectl(&["get", "--raw", &metrics]).await.contains("agentrun_hub_store_full 1"));
                let late = space.get("agentrun/late").await;
                assert!(late["status"]["trials"]["succeeded"].as_i64() < Some(3), "{:#}", late["status"]);
                space.kubectl(&["delete", "agentrun", "early", "--timeout=180s"]).await;
                let ended = space.run_ends("late").await;
                let status = &ended["status"];
                assert_eq!((&status["phase"], &status["trials"]["succeeded"]), (&"Complete".into(), &3.into()), "{status:#}");
                everything_is_there(&space, "late", 3, &format!("{marker} late")).await;
            })
            .await;
    })
    .await;
}
