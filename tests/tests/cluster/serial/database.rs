//! The hub on PostgreSQL, by the chart's value: a real server, over verified TLS, with a password.

use agentrun_tests::cluster::{Cluster, Postgres, SYSTEM, with_namespace_alone};
use serde_json::json;

use crate::example;

#[tokio::test]
async fn the_example_completes_on_postgresql_and_outlives_the_hubs_pod() {
    with_namespace_alone("postgres", async |space| {
        let cluster = Cluster::get();
        let address = "jsonpath={.items[0].status.addresses[?(@.type=='InternalIP')].address}";
        let address = cluster.kubectl(&["get", "nodes", "-o", address]).await;
        let server = Postgres::start(address.trim());
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "agentrun-database", "namespace": SYSTEM},
            "stringData": {"url": server.url("/etc/agentrun/postgres/ca.crt"), "ca.crt": server.roots()}
        });
        cluster.try_kubectl_with(&["apply", "-f", "-"], &secret).await.expect("the Secret can be made");
        let values = ["hub.postgres.existingSecret=agentrun-database", "hub.postgres.caKey=ca.crt"];
        let before = ["hub.postgres.existingSecret=", "hub.postgres.caKey="];
        cluster
            .restoring(&before, async || {
                cluster.upgrade(&values).await.unwrap_or_else(|error| panic!("{error}"));
                example::completes(&space).await;
                assert_eq!((server.count("runs"), server.count("calls")), (1, 80), "it is in PostgreSQL");
                let claims = "jsonpath={.spec.volumes[*].persistentVolumeClaim.claimName}";
                assert_eq!(cluster.kubectl(&["-n", SYSTEM, "get", "pod", "agentrun-hub-0", "-o", claims]).await, "", "it needs no volume");

                let said = cluster.kubectl(&["-n", SYSTEM, "logs", "agentrun-hub-0"]).await;
                assert!(!said.contains(Postgres::PASSWORD), "the password is in the hub's log: {said}");
                cluster.kubectl(&["-n", SYSTEM, "delete", "pod", "agentrun-hub-0", "--timeout=180s"]).await;
                cluster.kubectl(&["-n", SYSTEM, "rollout", "status", "statefulset/agentrun-hub", "--timeout=180s"]).await;
                assert_eq!(space.run_items("word-problems", "calls").await.len(), 80);
                space.kubectl(&["delete", "agentrun", "word-problems", "--timeout=180s"]).await;
                assert_eq!(server.count("calls"), 0, "a deleted run leaves nothing");
            })
            .await;
        cluster.kubectl(&["-n", SYSTEM, "delete", "secret", "agentrun-database"]).await;
    })
    .await;
}
