//! Jobs that another tool could have made, with our label: `examples/cluster/plain-job.yaml` and `batch-job.yaml`.

use agentrun_tests::cluster::{Cluster, Provider, with_namespace};

const PLAIN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/cluster/plain-job.yaml");
const BATCH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/cluster/batch-job.yaml");

#[tokio::test]
async fn a_labelled_job_is_injected_and_recorded() {
    with_namespace("plain-job", async |space| {
        Provider(Cluster::get()).forget("Say hello.").await;
        space.kubectl(&["create", "-f", PLAIN]).await;
        space.kubectl(&["wait", "job/plain-job", "--for=condition=Complete", "--timeout=180s"]).await;

        let pods = space.get("pods").await;
        let pod = &pods["items"][0];
        assert_eq!(pod["spec"]["initContainers"][0]["name"], "agentrun-sidecar");
        assert_eq!(pod["spec"]["initContainers"][0]["restartPolicy"], "Always");
        assert!(space.kubectl(&["logs", "job/plain-job"]).await.contains("origin"), "the default container is the agent's");

        let calls = space.run_items("plain-job", "calls").await;
        assert_eq!(calls.len(), 1, "{calls:#?}");
        let said = |key: &str| calls[0][key].as_str().unwrap_or_default().to_owned();
        assert_eq!(
            (said("data_id"), said("combo_id"), said("model")),
            ("greeting".to_owned(), "gpt-4.1-mini".to_owned(), "gpt-4.1-mini".to_owned())
        );
        let asked = Provider(Cluster::get()).counts("Say hello.").await;
        assert_eq!(asked.values().copied().collect::<Vec<_>>(), [1]);
    })
    .await;
}

#[tokio::test]
async fn a_pod_opens_a_session_for_each_datapoint_of_its_batch() {
    with_namespace("batch-job", async |space| {
        Provider(Cluster::get()).forget("Sum up ").await;
        space.kubectl(&["create", "-f", BATCH]).await;
        space.kubectl(&["wait", "job/batch-job", "--for=condition=Complete", "--timeout=180s"]).await;
        let calls = space.run_items("batch-job", "calls").await;
        let mut said: Vec<_> = calls
            .iter()
            .map(|call| {
                let id = |key: &str| call[key].as_str().unwrap_or_default().to_owned();
                (id("data_id"), id("combo_id"), call["cached"] == true)
            })
            .collect();
        said.sort();
        let expected = [("q1", false), ("q2", false), ("q3", true)];
        assert_eq!(said, expected.map(|(data_id, cached)| (data_id.to_owned(), "gpt-4.1-mini".to_owned(), cached)), "{calls:#?}");
        assert_eq!(Provider(Cluster::get()).counts("Sum up ").await.values().copied().collect::<Vec<_>>(), [1, 1]);
        let path = format!("/v1/runs/{}/batch-job/calls?data_id=q2", space.name);
        let (status, found) = Cluster::get().hub(&space.reader_token().await, "GET", &path, "").await;
        assert_eq!((status, found.matches("\"data_id\":\"q2\"").count()), (200, 1), "{found}");
        assert!(!found.contains("\"data_id\":\"q1\""), "{found}");
    })
    .await;
}
