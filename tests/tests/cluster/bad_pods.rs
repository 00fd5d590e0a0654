//! Pods of others with our label: refused with a reason, left alone with a warning, or injected whatever else they have.

use agentrun_tests::cluster::{Cluster, Namespace, PYTHON, Provider, agent_pod_spec, with_namespace};
use serde_json::{Value, json};

fn pod(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"agentrun.dev/run": "pods"}}, "spec": spec})
}

fn spec() -> Value {
    let mut spec = agent_pod_spec(PYTHON, &["true"]);
    spec["restartPolicy"] = json!("Never");
    spec
}

async fn dry_run(space: &Namespace, manifest: &Value) -> Result<Value, String> {
    let arguments = ["-n", &space.name, "create", "--dry-run=server", "-o", "json", "-f", "-"];
    let said = space.cluster.try_kubectl_with(&arguments, manifest).await?;
    Ok(serde_json::from_str(&said).expect("kubectl prints JSON"))
}

#[tokio::test]
async fn pods_that_cannot_be_seen_are_refused_with_a_reason() {
    let with = |pointer: &str, value: Value| {
        let mut pod = pod("refused", spec());
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer has a slash");
        pod.pointer_mut(parent).expect("the parent is there")[key] = value;
        pod
    };
    let container = "/spec/containers/0";
    let cases: Vec<(Value, &str)> = vec![
        (with("/spec/nodeSelector", json!({"kubernetes.io/os": "windows"})), "Windows"),
        (with(&format!("{container}/name"), json!("agentrun-sidecar")), "NameClash"),
        (with("/spec/volumes", json!([{"name": "agentrun-trust", "emptyDir": {}}])), "NameClash"),
        (with(&format!("{container}/ports"), json!([{"containerPort": 15080}])), "PortClash"),
        (with("/metadata/annotations", json!({"agentrun.dev/capture": "Magic"})), "BadAnnotation"),
        (
            {
                let mut pod = with("/metadata/annotations", json!({"agentrun.dev/proxy-policy": "Deny"}));
                pod["spec"]["containers"][0]["env"] = json!([{"name": "HTTPS_PROXY", "value": "http://proxy.example:3128"}]);
                pod
            },
            "ProxyConflict",
        ),
        (
            {
                let mut pod = with("/spec/volumes", json!([{"name": "mine", "emptyDir": {}}]));
                pod["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "mine", "mountPath": "/var/run/agentrun/trust"}]);
                pod
            },
            "MountPathClash",
        ),
    ];
    with_namespace("bad-pods", async |space| {
        for (manifest, reason) in &cases {
            let error = dry_run(&space, manifest).await.expect_err("it is refused");
            assert!(error.contains(reason) && error.contains("denied"), "should be {reason}: {error}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_pod_on_the_nodes_network_is_left_alone_and_its_maker_warned() {
    with_namespace("host-network", async |space| {
        // Pod Security would refuse it first.
        space.cluster.kubectl(&["label", "namespace", &space.name, "--overwrite", "pod-security.kubernetes.io/enforce=privileged"]).await;
        let mut manifest = pod("on-the-node", spec());
        manifest["spec"]["hostNetwork"] = json!(true);
        let made = dry_run(&space, &manifest).await.expect("it is admitted");
        assert_eq!(made["spec"]["initContainers"], Value::Null);
        assert!(made["metadata"]["annotations"]["agentrun.dev/injected"].as_str().unwrap_or_default().contains("HostNetwork"), "{made:#}");
    })
    .await;
}

#[tokio::test]
async fn fifty_containers_all_get_the_sidecars_address() {
    with_namespace("fifty", async |space| {
        let mut manifest = pod("fifty", spec());
        let first = manifest["spec"]["containers"][0].clone();
        manifest["spec"]["containers"] = (0..50)
            .map(|index| {
                let mut container = first.clone();
                container["name"] = json!(format!("c{index}"));
                container
            })
            .collect();
        let made = dry_run(&space, &manifest).await.expect("it is admitted");
        let containers = made["spec"]["containers"].as_array().expect("a pod has containers");
        assert_eq!(containers.len(), 50);
        for container in containers {
            let variable = container["env"].as_array().into_iter().flatten().find(|variable| variable["name"] == "HTTPS_PROXY");
            assert_eq!(variable.map(|variable| &variable["value"]), Some(&json!("http://127.0.0.1:15080")), "{container:#}");
        }
    })
    .await;
}

/// A sidecar that never gets ready keeps the agent from starting, and must not keep the pod from going.
#[tokio::test]
async fn a_pod_whose_sidecar_never_starts_can_be_deleted() {
    with_namespace("never-started", async |space| {
        let mut made = dry_run(&space, &pod("stuck", spec())).await.expect("it is admitted");
        for field in ["uid", "creationTimestamp", "managedFields"] {
            made["metadata"].as_object_mut().expect("a pod has metadata").remove(field);
        }
        made.as_object_mut().expect("a pod is an object").remove("status");
        // What is not ours in it is left as it is found, its image too.
        made["spec"]["initContainers"][0]["image"] = json!(PYTHON);
        made["spec"]["initContainers"][0]["command"] = json!(["sleep", "600"]);
        made["spec"]["initContainers"][0].as_object_mut().expect("a container is an object").remove("args");
        made["spec"]["terminationGracePeriodSeconds"] = json!(5);
        space.create(&made).await;
        let runs = |pod: &Value| pod["status"]["initContainerStatuses"][0]["state"]["running"].is_object();
        let stuck = space.until("pod/stuck", "with a running sidecar", runs).await;
        assert_eq!(stuck["status"]["phase"], "Pending", "{:#}", stuck["status"]);
        space.kubectl(&["delete", "pod", "stuck", "--timeout=180s"]).await;
    })
    .await;
}

/// Everything that makes pods hard at once: an init container that calls, no root but ours, our own user, a read-only root, a quota that wants
/// limits, no service account token.
#[tokio::test]
async fn a_hard_pod_is_seen_from_its_first_init_container_on() {
    with_namespace("hard-pod", async |space| {
        Provider(Cluster::get()).forget("hard pod:").await;
        space
            .create(&json!({
                "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "strict"},
                "spec": {"hard": {"limits.cpu": "4", "limits.memory": "2Gi", "requests.cpu": "2", "requests.memory": "2Gi", "requests.ephemeral-storage": "8Gi", "limits.ephemeral-storage": "8Gi"}}
            }))
            .await;
        let ask = |who: &str| {
            let script = format!(
                "from openai import OpenAI\nprint(OpenAI(api_key='sk-test').chat.completions.create(model='gpt-4.1-mini', messages=[{{'role': 'user', 'content': 'hard pod: {who}'}}]).choices[0].message.content)"
            );
            let mut container = agent_pod_spec(PYTHON, &["python3", "-c", &script])["containers"][0].clone();
            container["name"] = json!(who);
            container["securityContext"]["readOnlyRootFilesystem"] = json!(true);
            container["securityContext"]["runAsUser"] = json!(65532);
            container["resources"] = json!({
                "requests": {"cpu": "20m", "memory": "64Mi", "ephemeral-storage": "10Mi"},
                "limits": {"cpu": "500m", "memory": "256Mi", "ephemeral-storage": "100Mi"}
            });
            container
        };
        let mut manifest = pod("hard", spec());
        manifest["spec"]["initContainers"] = json!([ask("first")]);
        manifest["spec"]["containers"] = json!([ask("main")]);
        space.create(&manifest).await;
        let ended = |pod: &Value| matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        let made = space.until("pod/hard", "ended", ended).await;
        assert_eq!(made["status"]["phase"], "Succeeded", "{:#}", made["status"]);
        assert_eq!(made["spec"]["initContainers"][0]["name"], "agentrun-sidecar");
        let calls = space.run_items("pods", "calls").await;
        assert_eq!(calls.len(), 2, "{calls:#?}");
        assert!(calls.iter().all(|call| call["data_id"] == "hard"), "a pod without annotations is known by its name: {calls:#?}");
        assert_eq!(Provider(Cluster::get()).counts("hard pod:").await.len(), 2);
    })
    .await;
}
