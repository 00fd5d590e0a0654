//! A Job that another tool could have made, with our label: `examples/cluster/plain-job.yaml`.

use agentrun_tests::cluster::{Cluster, Provider, with_namespace};

const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/cluster/plain-job.yaml");

#[tokio::test]
async fn a_labelled_job_is_injected_and_recorded() {
    with_namespace("plain-job", async |space| {
        Provider(Cluster::get()).forget("Say hello.").await;
        space.kubectl(&["create", "-f", MANIFEST]).await;
        space.kubectl(&["wait", "job/plain-job", "--for=condition=Complete", "--timeout=120s"]).await;

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
