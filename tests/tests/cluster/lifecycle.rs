//! Runs that are changed, stopped, deleted or fed badly while they are under way.

use agentrun_tests::cluster::{Cluster, Provider, answering_run, with_namespace};
use agentrun_tests::origin::Rule;
use serde_json::{Value, json};

fn answering(name: &str, questions: &[&str]) -> Value {
    answering_run(name, &["gpt-4.1-mini"], questions)
}

fn started(run: &Value) -> bool {
    run["status"]["trials"]["running"].as_i64().unwrap_or_default() > 0
}

#[tokio::test]
async fn a_suspended_run_stops_its_pods_and_goes_on_where_it_was() {
    with_namespace("suspend", async |space| {
        let mut run = answering("pausing", &["suspend: a", "suspend: b held", "suspend: c"]);
        run["spec"]["limits"]["parallelism"] = json!(1);
        space.create(&run).await;
        space.until("agentrun/pausing", "past its first trial", |run| run["status"]["trials"]["succeeded"] == 1).await;
        space.calls_are_recorded("pausing", 2).await;
        space.kubectl(&["patch", "agentrun", "pausing", "--type=merge", "-p", r#"{"spec": {"suspend": true}}"#]).await;
        let paused = space
            .until("agentrun/pausing", "suspended", |run| run["status"]["phase"] == "Suspended" && run["status"]["trials"]["running"] == 0)
            .await;
        assert_eq!(paused["status"]["trials"]["succeeded"], 1, "{:#}", paused["status"]);
        space.kubectl(&["patch", "agentrun", "pausing", "--type=merge", "-p", r#"{"spec": {"suspend": false}}"#]).await;
        let ended = space.run_ends("pausing").await;
        assert_eq!(ended["status"]["trials"]["succeeded"], 3, "{:#}", ended["status"]);
    })
    .await;
}

#[tokio::test]
async fn a_deleted_run_takes_its_pods_its_jobs_and_its_data_along() {
    with_namespace("delete", async |space| {
        space.create(&answering("going", &["delete: a held", "delete: b held"])).await;
        space.until("agentrun/going", "running", started).await;
        space.kubectl(&["delete", "agentrun", "going", "--timeout=180s"]).await;
        space.kubectl(&["wait", "job", "--all", "--for=delete", "--timeout=180s"]).await;
        space.pods_go("going").await;
        let token = space.reader_token().await;
        let (status, body) = Cluster::get().hub(&token, "GET", &format!("/v1/runs/{}/going", space.name), "").await;
        assert_eq!(status, 404, "{body}");
    })
    .await;
}

#[tokio::test]
async fn what_a_run_is_about_cannot_change_once_it_has_started() {
    with_namespace("edit", async |space| {
        space.create(&answering("fixed", &["edit: a held"])).await;
        space.until("agentrun/fixed", "running", started).await;
        for patch in [
            json!({"spec": {"roles": [{"name": "solver", "models": ["gpt-4.1"]}]}}),
            json!({"spec": {"samples": 2}}),
            json!({"spec": {"dataset": {"items": [{"id": "other", "input": "other"}]}}}),
            json!({"spec": {"scoring": {"regex": null, "exact": {}}}}),
        ] {
            let arguments = ["-n", &space.name, "patch", "agentrun", "fixed", "--type=merge", "-p", &patch.to_string()];
            let error = space.cluster.try_kubectl(&arguments).await.expect_err("the run has started");
            assert!(error.contains("immutable") || error.contains("cannot") || error.contains("start"), "{patch}: {error}");
        }
        space.kubectl(&["patch", "agentrun", "fixed", "--type=merge", "-p", r#"{"spec": {"limits": {"parallelism": 2}}}"#]).await;
    })
    .await;
}

#[tokio::test]
async fn a_dataset_that_is_missing_is_waited_for_and_one_that_changes_later_changes_nothing() {
    with_namespace("dataset", async |space| {
        let provider = Provider(Cluster::get());
        provider.rules("dataset", &[Rule { contains: vec!["dataset:".to_owned()], text: Some("yes".to_owned()), ..Rule::default() }]).await;
        let mut run = answering("late", &[]);
        run["spec"]["dataset"] = json!({"configMap": {"name": "questions", "key": "dataset.jsonl"}});
        run["spec"]["scoring"] = json!({"contains": {}});
        run["spec"]["limits"]["parallelism"] = json!(1);
        space.create(&run).await;
        let says_so = |run: &Value| run["status"]["conditions"].to_string().contains("questions");
        space.until("agentrun/late", "said to miss its dataset", says_so).await;

        let line = |id: &str| json!({"id": id, "input": format!("dataset: {id}"), "expected": "yes"}).to_string();
        let lines = format!("{}\n{}\n", line("one"), line("two"));
        space
            .create(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "questions"}, "data": {"dataset.jsonl": lines}}))
            .await;
        let has_begun = |run: &Value| run["status"]["dataset"]["datapoints"] == 2;
        space.until("agentrun/late", "past its beginning", has_begun).await;
        space.kubectl(&["patch", "configmap", "questions", "--type=merge", "-p", r#"{"data": {"dataset.jsonl": ""}}"#]).await;
        let ended = space.run_ends("late").await;
        assert_eq!(ended["status"]["trials"]["succeeded"], 2, "{:#}", ended["status"]);
        assert_eq!(ended["status"]["results"][0]["score"], "1.0000");
    })
    .await;
}
