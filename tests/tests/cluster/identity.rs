//! Who may say and read what at the hub: a pod its own trial, a reader their own namespace, nobody else anything.

use agentrun_tests::cluster::{Cluster, Namespace, agent_pod_spec, with_namespace};
use serde_json::json;

/// A running pod of somebody's, without a sidecar, and a token that is bound to it.
async fn pod_token(space: &Namespace, audience: &str) -> String {
    let spec = agent_pod_spec("ghcr.io/agentrun/example-agent:0.1.0", &["sleep", "300"]);
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bearer"}, "spec": spec});
    space.try_apply(&pod).await.expect("the pod can be made");
    let bound = ["create", "token", "default", "--audience", audience, "--bound-object-kind", "Pod", "--bound-object-name", "bearer"];
    space.kubectl(&bound).await.trim().to_owned()
}

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
        for (what, token) in [
            ("none", ""),
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

#[tokio::test]
async fn a_pod_is_told_of_no_trial_but_its_own() {
    with_namespace("pod-token", async |space| {
        let hub = Cluster::get();
        let token = pod_token(&space, "agentrun-hub").await;
        // It has no label: it belongs to no run.
        let (status, body) = hub.hub(&token, "GET", "/v1/trial", "").await;
        assert_eq!(status, 403, "{body}");
        let (status, body) = hub.hub(&token, "GET", "/v1/runs/default/any/calls", "").await;
        assert_eq!(status, 403, "{body}");
        space.kubectl(&["delete", "pod", "bearer", "--grace-period=0", "--force"]).await;
        // The API server vouches for a pod's token only as long as the pod is there; the hub may remember for a minute.
    })
    .await;
}
