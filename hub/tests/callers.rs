//! Who may do what.

use serde_json::json;

use crate::rig::{Client, Hub, Pod};

const EVERYTHING: [(&str, &str); 14] = [
    ("GET", "/v1/trial"),
    ("POST", "/v1/trial/records"),
    ("PUT", "/v1/trial/output"),
    ("POST", "/v1/trial/end"),
    ("GET", "/v1/cache/00"),
    ("POST", "/v1/leases"),
    ("GET", "/v1/scoring/items"),
    ("POST", "/v1/scoring/scores"),
    ("GET", "/v1/runs?namespace=team"),
    ("PUT", "/v1/runs/team/run"),
    ("DELETE", "/v1/runs/team/run?uid=u"),
    ("POST", "/v1/runs/team/run/observe"),
    ("GET", "/v1/runs/team/run"),
    ("GET", "/v1/runs/team/run/calls"),
];

async fn ask(client: &Client, method: &str, path: &str) -> crate::rig::Answered {
    match method {
        "GET" => client.get(path).await,
        "PUT" => client.put(path, "").await,
        "POST" => client.post(path, "").await,
        _ => client.delete(path).await,
    }
}

#[tokio::test]
async fn nothing_is_answered_without_a_good_token() {
    let hub = Hub::start().await;
    let payload = |audience: &str, expires: u64| json!({"aud": [audience], "exp": expires, "account": "team:default", "pod": null});
    let bearing = |payload: &serde_json::Value, signature: &str| hub.client().bearing(crate::rig::sealed(payload, signature));
    let callers = [
        ("no token", hub.client(), "the request has no token: send `Authorization: Bearer TOKEN`"),
        ("another scheme", hub.client().with("authorization", "Basic abc"), "the request has no token: send `Authorization: Bearer TOKEN`"),
        ("nonsense", hub.client().bearing("nonsense".into()), "the token is of no use here: it is no service account's token"),
        ("expired", bearing(&payload("agentrun-hub", 1), "signed"), "the token is of no use here: it has expired"),
        ("audience", bearing(&payload("other", u64::MAX), "signed"), "the token is of no use here: it is meant for another audience"),
        (
            "forged",
            bearing(&payload("agentrun-hub", u64::MAX), "forged"),
            "the API server does not accept the token for audience `agentrun-hub`",
        ),
    ];
    for (name, client, sentence) in callers {
        for (method, path) in EVERYTHING {
            assert_eq!(ask(&client, method, path).await.error(401), sentence, "{name}: {method} {path}");
        }
    }
}

#[tokio::test]
async fn each_kind_of_caller_may_do_its_own_alone() {
    let hub = Hub::start().await;
    let run = ("run", "run-uid");
    type May = fn(&str, &str) -> bool;
    let of_pods: May = |_, path| ["/v1/trial", "/v1/cache", "/v1/leases"].iter().any(|start| path.starts_with(start));
    let callers: [(&str, Client, May); 6] = [
        ("a pod of others", hub.pod(Pod::foreign("team", "run", "pod")), of_pods),
        ("a trial's pod", hub.pod(Pod::trial("team", run, 0, 0)), of_pods),
        ("a scoring pod", hub.pod(Pod::scoring("team", run)), |_, path| path.starts_with("/v1/scoring")),
        ("a reader", hub.reader("team"), |method, path| method == "GET" && path.starts_with("/v1/runs")),
        ("a reader of another namespace", hub.reader("other"), |_, _| false),
        ("the operator", hub.operator(), |_, path| path.starts_with("/v1/runs")),
    ];
    for (name, client, may) in callers {
        for (method, path) in EVERYTHING {
            let status = ask(&client, method, path).await.status;
            assert_eq!(status != 403, may(method, path), "{name}: {method} {path} is {status}");
        }
    }
}

#[tokio::test]
async fn a_token_is_good_for_the_pod_that_it_is_bound_to_alone() {
    let hub = Hub::start().await;
    let before = hub.pod(Pod::foreign("team", "run", "pod"));
    let other = Pod::foreign("team", "run", "pod").with_uid("another-uid");
    let after = hub.pod(other);
    let gone = "pod pod, which the token is bound to, or its Job is gone";
    assert_eq!(before.get("/v1/trial").await.error(401), gone);
    assert_eq!(after.get("/v1/trial").await.json()["data_id"], "pod");
    let unlabelled = hub.pod(Pod::foreign("team", "", "stranger"));
    assert!(unlabelled.get("/v1/trial").await.error(403).contains("agentrun.dev/run"));
}

#[tokio::test]
async fn the_service_proxys_header_is_as_good() {
    let hub = Hub::start().await;
    let token = crate::rig::token("team:default", None);
    let through_proxy = hub.client().with("agentrun-authorization", format!("Bearer {token}"));
    assert_eq!(through_proxy.get("/v1/runs").await.json()["items"], json!([]));
    // What the proxy leaves in the usual header does not count.
    let both = through_proxy.with("authorization", "Bearer nonsense");
    assert_eq!(both.get("/v1/runs").await.json()["items"], json!([]));
}

#[tokio::test]
async fn an_api_server_that_is_away_is_no_refusal() {
    let hub = Hub::start().await;
    let known = hub.reader("team");
    known.get("/v1/runs").await.json();
    hub.api_server.go_away(true);
    known.get("/v1/runs").await.json();
    let answered = hub.reader("other").get("/v1/runs").await;
    assert!(answered.error(503).contains("connection refused"));
    assert_eq!(answered.headers["retry-after"], "1");
    hub.api_server.go_away(false);
    hub.reader("other").get("/v1/runs").await.json();
}
