//! Who may say and read what at the hub: a pod its own trial, a reader their own namespace, nobody else anything.

use agentrun_llm::call::{CallId, CallRecord, Capture};
use agentrun_protocol::trial::FIRST_SEQUENCE_HEADER;
use agentrun_tests::cluster::{Cluster, Namespace, PYTHON, agent_pod_spec, agent_run, with_namespace};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

#[tokio::test]
async fn tokens_that_are_not_for_the_hub_are_refused() {
    with_namespace("tokens", async |space| {
        let hub = Cluster::get();
        let path = format!("/v1/runs/{}/none", space.name);
        let other_audience = space.kubectl(&["create", "token", "default", "--audience", "elsewhere"]).await;
        let api_servers = space.kubectl(&["create", "token", "default"]).await;
        let good = space.reader_token().await;
        let (head, signature) = good.rsplit_once('.').expect("a token has three parts");
        let forged = format!("{head}.{}", signature.chars().rev().collect::<String>());
        let claims = json!({
            "iss": "https://kubernetes.default.svc", "aud": ["agentrun-hub"], "exp": 4_000_000_000_u64,
            "sub": "system:serviceaccount:agentrun-system:agentrun-operator"
        });
        let encoded = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let unsigned = format!("{}.{}.", encoded(&json!({"alg": "none", "typ": "JWT"})), encoded(&claims));
        for (what, token) in [
            ("none", ""),
            ("the operator's, unsigned", &unsigned),
            ("noise", "noise"),
            ("another audience", other_audience.trim()),
            ("the API server's", api_servers.trim()),
            ("forged", &forged),
        ] {
            let (status, body) = hub.hub(token, "GET", &path, "").await;
            assert_eq!(status, 401, "{what}: {body}");
            assert!(!body.contains(signature) && !body.contains("eyJ"), "{what}: the answer holds the token: {body}");
        }
        let (status, body) = hub.hub(&good, "GET", &path, "").await;
        assert_eq!(status, 404, "the same with a good token: {body}");
    })
    .await;
}

#[tokio::test]
async fn a_reader_sees_the_own_namespace_alone_and_writes_nothing() {
    with_namespace("reader", async |space| {
        let hub = Cluster::get();
        let token = space.reader_token().await;
        for path in ["/v1/runs/default/any", "/v1/runs/kube-system/any/calls"] {
            let (status, body) = hub.hub(&token, "GET", path, "").await;
            assert_eq!(status, 403, "{path}: {body}");
        }
        let own = format!("/v1/runs/{}/mine", space.name);
        let registration = json!({"uid": "u", "generation": 1, "spec": {}, "datapoints": []}).to_string();
        for (method, path, body) in
            [("PUT", own.as_str(), registration.as_str()), ("DELETE", &format!("{own}?uid=u"), ""), ("POST", "/v1/trial/end", "{}")]
        {
            let (status, said) = hub.hub(&token, method, path, body).await;
            assert_eq!(status, 403, "{method} {path}: {said}");
        }
    })
    .await;
}

/// A token that is bound to a pod.
async fn token_of(space: &Namespace, pod: &Value, audience: &str) -> String {
    let text = |key: &str| pod["metadata"][key].as_str().unwrap_or_default().to_owned();
    let (name, uid) = (text("name"), text("uid"));
    let bound = ["--bound-object-kind=Pod", &format!("--bound-object-name={name}"), &format!("--bound-object-uid={uid}")];
    space.kubectl(&[&["create", "token", "default", "--audience", audience][..], &bound].concat()).await.trim().to_owned()
}

/// A labelled pod that runs and makes no call; what its sidecar may do at the hub, its token may.
async fn idle_pod(space: &Namespace, name: &str, labels: Value, annotations: Value) -> Value {
    let mut spec = agent_pod_spec(PYTHON, &["sleep", "600"]);
    spec["terminationGracePeriodSeconds"] = json!(1);
    let metadata = json!({"name": name, "labels": labels, "annotations": annotations});
    space.create(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})).await;
    space.until(&format!("pod/{name}"), "running", |pod| pod["status"]["phase"] == "Running").await
}

#[tokio::test]
async fn a_pod_without_a_run_is_nobody() {
    with_namespace("pod-token", async |space| {
        let hub = Cluster::get();
        let pod = idle_pod(&space, "bearer", json!({}), json!({})).await;
        let token = token_of(&space, &pod, "agentrun-hub").await;
        for path in ["/v1/trial", "/v1/runs/default/any/calls", &format!("/v1/runs/{}/any/calls", space.name)] {
            let (status, body) = hub.hub(&token, "GET", path, "").await;
            assert_eq!(status, 403, "{path}: {body}");
        }
    })
    .await;
}

/// Two trials run, and a pod of the same namespace wears the labels and annotations of one of them.
#[tokio::test]
async fn a_pod_is_told_of_no_trial_but_its_own() {
    with_namespace("own-trial", async |space| {
        let hub = Cluster::get();
        let agent = agent_pod_spec(PYTHON, &["python3", "/tests/misbehave.py", "answer-when-released"]);
        space.create(&agent_run("own", &["gpt-4.1-mini"], &["own trial: zero", "own trial: one"], agent)).await;
        let both = |run: &Value| run["status"]["trials"]["running"] == 2;
        space.until("agentrun/own", "running both trials", both).await;
        let pods: Value = serde_json::from_str(&space.kubectl(&["get", "pods", "-l", "agentrun.dev/run=own", "-o", "json"]).await)
            .expect("kubectl prints JSON");
        let mut trials = Vec::new();
        for pod in pods["items"].as_array().into_iter().flatten() {
            let token = token_of(&space, pod, "agentrun-hub").await;
            let index = pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"].as_str().unwrap_or_default().to_owned();
            let (status, body) = hub.hub(&token, "GET", "/v1/trial", "").await;
            let told: Value = serde_json::from_str(&body).unwrap_or_default();
            let expected = if index == "0" { ("d0", "own trial: zero") } else { ("d1", "own trial: one") };
            assert_eq!((status, &told["data_id"], &told["input"]), (200, &json!(expected.0), &json!(expected.1)), "index {index}: {body}");
            trials.push(token);
            // The same pod, for somebody else than the hub.
            let elsewhere = token_of(&space, pod, "elsewhere").await;
            assert_eq!(hub.hub(&elsewhere, "GET", "/v1/trial", "").await.0, 401);
        }
        assert_eq!(trials.len(), 2);

        let worn = &pods["items"][0]["metadata"];
        let annotations =
            json!({"batch.kubernetes.io/job-completion-index": worn["annotations"]["batch.kubernetes.io/job-completion-index"]});
        let mut labels = worn["labels"].clone();
        // The Job's own selector would have it adopted.
        for theirs in ["batch.kubernetes.io/controller-uid", "controller-uid", "batch.kubernetes.io/job-name", "job-name"] {
            labels.as_object_mut().expect("labels are an object").remove(theirs);
        }
        let impostor = idle_pod(&space, "impostor", labels, annotations).await;
        let token = token_of(&space, &impostor, "agentrun-hub").await;
        let (status, body) = hub.hub(&token, "GET", "/v1/trial", "").await;
        let told: Value = serde_json::from_str(&body).unwrap_or_default();
        assert_eq!((status, &told["data_id"], &told["input"]), (200, &json!("impostor"), &Value::Null), "{body}");
        let (status, body) = hub.hub(&token, "PUT", "/v1/trial/output", "forged").await;
        assert!(status == 204 || status >= 400, "{status}: {body}");
        let (status, body) = hub.hub(&token, "POST", "/v1/trial/end", r#"{"last_sequence": 0, "output": "present"}"#).await;
        assert!(status == 204 || status >= 400, "{status}: {body}");
        space.kubectl(&["delete", "pod", "impostor", "--grace-period=1"]).await;

        space.release("own").await;
        let ended = space.run_ends("own").await;
        let trials = &ended["status"]["trials"];
        assert_eq!((&trials["total"], &trials["succeeded"]), (&json!(2), &json!(2)), "{:#}", ended["status"]);
        let of_run = space.run_items("own", "trials").await;
        let own = |id: &str| of_run.iter().filter(|trial| trial["data_id"] == id).count();
        assert_eq!((own("d0"), own("d1")), (1, 1), "{of_run:#?}");
    })
    .await;
}

/// Records as a sidecar sends them.
fn records(first: u64, last: u64) -> String {
    let line = |number: u64| {
        let mut random = [0; 10];
        random[2..].copy_from_slice(&number.to_be_bytes());
        let at = "2026-11-20T10:00:00Z".parse().expect("it is a time");
        let mut record = CallRecord::begin(CallId::new(at, random), at, Capture::Connect);
        record.model = format!("model-{number}");
        record.status_code = 200;
        serde_json::to_string(&record).expect("a record serialises") + "\n"
    };
    (first..=last).map(line).collect()
}

#[tokio::test]
async fn a_batch_that_is_replayed_counts_once() {
    with_namespace("replayed", async |space| {
        let hub = Cluster::get();
        let pod = idle_pod(&space, "replayer", json!({"agentrun.dev/run": "replayed"}), json!({})).await;
        let token = token_of(&space, &pod, "agentrun-hub").await;
        for (first, last) in [(1, 3), (1, 3), (2, 5), (1, 3)] {
            let header = format!("{FIRST_SEQUENCE_HEADER}: {first}");
            let (status, body) = hub.hub_with(&token, "POST", "/v1/trial/records", &[&header], &records(first, last)).await;
            assert_eq!(status, 200, "{first} to {last}: {body}");
        }
        let mut models: Vec<String> = Vec::new();
        for call in space.run_items("replayed", "calls").await {
            assert_eq!(call["data_id"], "replayer", "{call:#}");
            models.push(call["model"].as_str().unwrap_or_default().to_owned());
        }
        models.sort();
        assert_eq!(models, ["model-1", "model-2", "model-3", "model-4", "model-5"]);
    })
    .await;
}

#[tokio::test]
async fn a_gigabyte_is_refused_in_little_memory() {
    with_namespace("gigabyte", async |space| {
        let hub = Cluster::get();
        let pod = idle_pod(&space, "sender", json!({"agentrun.dev/run": "gigabyte"}), json!({})).await;
        let token = token_of(&space, &pod, "agentrun-hub").await;
        let before = hub.hub_peak_memory().await;
        // One that says how long it is, and one that does not.
        for chunked in [false, true] {
            let status = hub.post_gigabyte(&token, "/v1/trial/records", &[&format!("{FIRST_SEQUENCE_HEADER}: 1")], chunked).await;
            // Who says nothing of the length is told to go on, and may still be sending when the connection is closed.
            assert!(status == 413 || (chunked && status < 200), "chunked: {chunked}: {status}");
        }
        let after = hub.hub_peak_memory().await;
        assert!(after.saturating_sub(before) < 64, "from {before} MiB to {after} MiB");
        let (status, body) = hub.hub(&token, "GET", "/v1/trial", "").await;
        assert_eq!(status, 200, "it is there as before: {body}");
    })
    .await;
}
