//! What else a platform puts into pods or before Jobs: a mesh's containers beside our sidecar, a queue that admits Jobs.

use agentrun_tests::cluster::{Cluster, Namespace, PYTHON, Provider, agent_pod_spec, answering_run, restricted, with_namespace};
use serde_json::{Value, json};

/// A container of somebody else's that would run for ever.
fn neighbour(name: &str) -> Value {
    json!({
        "name": name, "image": PYTHON, "imagePullPolicy": "IfNotPresent", "securityContext": restricted(), "restartPolicy": "Always",
        // As the first process of its container it is told to end, and does.
        "command": ["python3", "-c", "import signal\nsignal.sigwait({signal.SIGTERM})"],
        "startupProbe": {"exec": {"command": ["true"]}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "128Mi"}}
    })
}

fn names(pod: &Value, list: &str) -> Vec<String> {
    let containers = pod["spec"][list].as_array().into_iter().flatten();
    containers.map(|container| container["name"].as_str().unwrap_or_default().to_owned()).collect()
}

/// A pod that a mesh has been at: native sidecars of its own, one of them with the mesh's variables, an init container, and its annotations.
#[tokio::test]
async fn a_meshs_pod_is_seen_from_its_first_container_on_and_ends() {
    with_namespace("mesh", async |space| {
        Provider(Cluster::get()).forget("mesh: ").await;
        let ask = |who: &str| {
            let script = format!(
                "from openai import OpenAI\nprint(OpenAI(api_key='sk-test').chat.completions.create(model='gpt-4.1-mini', messages=[{{'role': 'user', 'content': 'mesh: {who}'}}]).choices[0].message.content)"
            );
            let mut container = agent_pod_spec(PYTHON, &["python3", "-c", &script])["containers"][0].clone();
            container["name"] = json!(who);
            container
        };
        let mut mesh = neighbour("istio-proxy");
        mesh["env"] = json!([{"name": "ISTIO_META_INTERCEPTION_MODE", "value": "REDIRECT"}]);
        mesh["ports"] = json!([{"containerPort": 15090, "name": "http-envoy-prom"}]);
        let mut spec = agent_pod_spec(PYTHON, &["true"]);
        spec["initContainers"] = json!([mesh, neighbour("log-shipper"), ask("first")]);
        spec["containers"] = json!([ask("main")]);
        spec["restartPolicy"] = json!("Never");
        let template = json!({
            "metadata": {
                "labels": {"agentrun.dev/run": "meshed", "security.istio.io/tlsMode": "istio"},
                "annotations": {"sidecar.istio.io/status": "{}", "prometheus.io/port": "15020"}
            },
            "spec": spec
        });
        let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "meshed"}, "spec": {"backoffLimit": 0, "template": template}});
        space.create(&job).await;
        space.kubectl(&["wait", "job/meshed", "--for=condition=Complete", "--timeout=180s"]).await;
        let pod = space.get("pods").await["items"][0].clone();
        assert_eq!(names(&pod, "initContainers"), ["agentrun-sidecar", "istio-proxy", "log-shipper", "first"]);
        let calls = space.run_items("meshed", "calls").await;
        assert_eq!(calls.len(), 2, "the init container's and the main one's: {calls:#?}");
        assert!(calls.iter().all(|call| call["outcome"] == "complete"), "{calls:#?}");
    })
    .await;
}

/// As Istio's webhook does where it is called after ours: its container is put first, and one of the pod's is changed. Ours is called again.
#[tokio::test]
async fn what_a_mesh_adds_after_us_is_completed() {
    with_namespace("mesh-late", async |space| {
        let mut spec = agent_pod_spec(PYTHON, &["true"]);
        spec["restartPolicy"] = json!("Never");
        let pod =
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "late", "labels": {"agentrun.dev/run": "late"}}, "spec": spec});
        let injected = dry_run(&space, &pod).await;
        let mut meshed = injected.clone();
        for field in ["uid", "creationTimestamp", "managedFields"] {
            meshed["metadata"].as_object_mut().expect("a pod has metadata").remove(field);
        }
        meshed.as_object_mut().expect("a pod is an object").remove("status");
        meshed["spec"]["initContainers"].as_array_mut().expect("it has the sidecar").insert(0, neighbour("istio-proxy"));
        let again = dry_run(&space, &meshed).await;
        assert_eq!(names(&again, "initContainers"), ["agentrun-sidecar", "istio-proxy"]);
        let proxies = |container: &Value| {
            let variables = container["env"].as_array().into_iter().flatten();
            variables.filter(|variable| variable["name"] == "HTTPS_PROXY").count()
        };
        assert_eq!(proxies(&again["spec"]["initContainers"][1]), 1, "the new one is seen too: {again:#}");
        assert_eq!(proxies(&again["spec"]["containers"][0]), 1, "and the first not twice");
    })
    .await;
}

async fn dry_run(space: &Namespace, manifest: &Value) -> Value {
    let arguments = ["-n", &space.name, "create", "--dry-run=server", "-o", "json", "-f", "-"];
    let said = space.cluster.try_kubectl_with(&arguments, manifest).await.unwrap_or_else(|error| panic!("{error}"));
    serde_json::from_str(&said).expect("kubectl prints JSON")
}

async fn suspended_jobs(space: &Namespace) -> Vec<(String, bool)> {
    let jobs = space.kubectl(&["get", "jobs", "-l", "agentrun.dev/run=queued", "-o", "json"]).await;
    let jobs: Value = serde_json::from_str(&jobs).expect("kubectl prints JSON");
    let mut found = Vec::new();
    for job in jobs["items"].as_array().into_iter().flatten() {
        assert_eq!(job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"], "evaluations", "{job:#}");
        let sidecars = &job["spec"]["template"]["spec"]["initContainers"];
        assert_eq!(sidecars[0]["name"], "agentrun-sidecar", "the queue counts what the sidecar asks for: {job:#}");
        found.push((job["metadata"]["name"].as_str().unwrap_or_default().to_owned(), job["spec"]["suspend"] == true));
    }
    found.sort();
    found
}

/// Kueue itself is not here: who admits is the test.
#[tokio::test]
async fn a_queues_jobs_wait_until_they_are_admitted() {
    with_namespace("queue", async |space| {
        let mut queued = answering_run("queued", &["gpt-4.1", "gpt-4.1-mini"], &["queue: a", "queue: b"]);
        queued["metadata"]["labels"] = json!({"kueue.x-k8s.io/queue-name": "evaluations"});
        space.create(&queued).await;
        for job in ["job/queued-c0-k0", "job/queued-c1-k0"] {
            space.until(job, "made and held back", |job| job["spec"]["suspend"] == true).await;
        }
        // Looks at another run in the meantime change nothing.
        space.create(&answering_run("free", &["gpt-4.1-mini"], &["queue: a", "queue: b"])).await;
        assert_eq!(space.run_ends("free").await["status"]["trials"]["succeeded"], 2);
        let (first, second) = ("queued-c0-k0".to_owned(), "queued-c1-k0".to_owned());
        assert_eq!(suspended_jobs(&space).await, [(first.clone(), true), (second.clone(), true)]);

        let admit = async |job: &str| space.kubectl(&["patch", "job", job, "--type=merge", "-p", r#"{"spec": {"suspend": false}}"#]).await;
        admit(&first).await;
        space.until("agentrun/queued", "half done", |run| run["status"]["trials"]["succeeded"] == 2).await;
        assert_eq!(suspended_jobs(&space).await, [(first, false), (second.clone(), true)]);
        admit(&second).await;
        let ended = space.run_ends("queued").await;
        assert_eq!(
            (&ended["status"]["phase"], &ended["status"]["trials"]["succeeded"]),
            (&json!("Complete"), &json!(4)),
            "{:#}",
            ended["status"]
        );
    })
    .await;
}
