//! The chart as it is installed: its own checks, helm's test, and who may do what.

use agentrun_tests::cluster::{Cluster, PYTHON, SYSTEM, agent_pod_spec, with_namespace};
use serde_json::{Value, json};

#[tokio::test]
async fn it_is_in_order() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/check");
    let checked = tokio::process::Command::new(script).arg(Cluster::get().program("helm")).output().await.expect("bash starts");
    let told = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success(), "{told}{}", String::from_utf8_lossy(&checked.stderr));
}

#[tokio::test]
async fn helm_test_shows_that_pods_are_seen_to() {
    let cluster = Cluster::get();
    let _turn = cluster.shared().await;
    let told = cluster.try_helm(&["test", "agentrun", "--namespace", SYSTEM, "--timeout", "90s"]).await;
    assert!(told.as_ref().is_ok_and(|told| told.contains("Succeeded")), "{told:?}");
}

#[tokio::test]
async fn pods_are_seen_to_where_they_should_and_nowhere_else() {
    with_namespace("chart-selectors", async |space| {
        let pod = |labels: Value| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "asked", "labels": labels}, "spec": agent_pod_spec(PYTHON, &[])});
        let asked = async |namespace: &str, labels: Value| -> usize {
            let arguments = ["-n", namespace, "create", "--dry-run=server", "-o", "json", "-f", "-"];
            let made = space.cluster.try_kubectl_with(&arguments, &pod(labels)).await.expect("the pod is taken");
            let made: Value = serde_json::from_str(&made).expect("kubectl prints JSON");
            made["spec"]["initContainers"].as_array().map_or(0, Vec::len)
        };
        let label = json!({"agentrun.dev/run": "asked"});
        assert_eq!(asked(&space.name, label.clone()).await, 1, "a labelled pod gets its sidecar");
        assert_eq!(asked(&space.name, json!({"app": "other"})).await, 0, "another does not");
        assert_eq!(asked("kube-system", label.clone()).await, 0, "nor one of the system's");
        assert_eq!(asked(SYSTEM, label).await, 0, "nor one of ours");
    })
    .await;
}

/// Who, what (`resource/name` or `resource:subresource`), where, and whether.
const RIGHTS: [(&str, &str, &str, &str, bool); 25] = [
    ("operator", "get", "secrets", "default", false),
    ("operator", "list", "secrets", SYSTEM, false),
    ("operator", "get", "secrets/agentrun-ca", SYSTEM, true),
    ("operator", "get", "secrets/other", SYSTEM, false),
    ("operator", "list", "configmaps", "default", false),
    ("operator", "get", "configmaps", "default", true),
    ("operator", "update", "agentruns", "default", false),
    ("operator", "update", "jobs", "default", false),
    ("operator", "create", "jobs", "default", true),
    ("operator", "delete", "pods", "default", false),
    ("operator", "deletecollection", "pods", "default", true),
    ("operator", "update", "pods", "default", false),
    ("operator", "create", "pods:exec", "default", false),
    ("operator", "patch", "mutatingwebhookconfigurations/agentrun", "default", true),
    ("operator", "patch", "mutatingwebhookconfigurations/other", "default", false),
    ("operator", "create", "serviceaccounts:token", "default", false),
    ("hub", "get", "secrets", "default", false),
    ("hub", "get", "secrets/agentrun-hub-tls", SYSTEM, true),
    ("hub", "get", "secrets/agentrun-ca", SYSTEM, false),
    ("hub", "get", "pods", "default", true),
    ("hub", "list", "pods", "default", false),
    ("hub", "create", "tokenreviews", "default", true),
    ("hub", "create", "jobs", "default", false),
    ("hub", "get", "agentruns", "default", false),
    ("hub", "get", "configmaps", "default", false),
];

#[tokio::test]
async fn each_part_may_do_what_it_needs() {
    let cluster = Cluster::get();
    let _turn = cluster.shared().await;
    let mut wrong = Vec::new();
    for (part, verb, resource, namespace, may) in RIGHTS {
        let account = format!("--as=system:serviceaccount:{SYSTEM}:agentrun-{part}");
        // `auth can-i` exits with 1 where the answer is no.
        let (resource, subresource) = resource.split_once(':').unwrap_or((resource, ""));
        let subresource_flag = format!("--subresource={subresource}");
        let answer = cluster.try_kubectl(&["auth", "can-i", verb, resource, &subresource_flag, "-n", namespace, &account]).await;
        if answer.is_ok() != may {
            wrong.push(format!("{part} {verb} {resource}:{subresource} in {namespace}: {answer:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
