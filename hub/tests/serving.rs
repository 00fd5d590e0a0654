//! The server itself: certificates, limits, errors, its end.

use std::{path::Path, time::Duration};

use agentrun_hub::tls::Source;
use http_body_util::{BodyExt, Empty};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};

use crate::rig::{Authority, Hub, Pod};

async fn admin(hub: &Hub, path: &str) -> (u16, String) {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<bytes::Bytes>>();
    let answer = client.get(format!("http://{}{path}", hub.service.admin_address).parse().unwrap()).await.unwrap();
    let status = answer.status().as_u16();
    (status, String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap())
}

#[tokio::test]
async fn it_is_not_ready_before_it_has_a_certificate() {
    let later = tempfile::tempdir().unwrap();
    let source = Source::Files { certificate: later.path().join("tls.crt"), key: later.path().join("tls.key") };
    let mut hub = Hub::with(|settings| settings.certificate = source).await;
    assert_eq!(admin(&hub, "/healthz").await, (200, "ok\n".into()));
    assert_eq!(admin(&hub, "/readyz").await, (503, "waiting for the certificate\n".into()));
    hub.authority = Authority::new();
    hub.authority.write(later.path());
    // A connection waits in the listener until there is one.
    hub.reader("team").get("/v1/runs").await.json();
    assert_eq!(admin(&hub, "/readyz").await, (200, "ok\n".into()));
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_to_new_connections() {
    let mut hub = Hub::start().await;
    let before = hub.reader("team");
    before.get("/v1/runs").await.json();
    let renewed = Authority::new();
    renewed.write(Path::new(hub.folder.path()));
    hub.authority = renewed;
    let after = hub.reader("team");
    let shown = async {
        while after.stream(http::Method::GET, "/v1/runs", empty()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), shown).await.expect("the new certificate is shown");
    before.get("/v1/runs").await.json();
}

fn empty() -> http_body_util::combinators::BoxBody<bytes::Bytes, std::io::Error> {
    Empty::new().map_err(|never| match never {}).boxed()
}

#[tokio::test]
async fn errors_are_sentences() {
    let hub = Hub::start().await;
    let reader = hub.reader("team");
    assert_eq!(reader.get("/v2/nothing").await.error(404), "there is no such path");
    assert_eq!(reader.post("/v1/runs", "").await.error(405), "the path does not take this method");
    assert!(reader.get("/v1/runs/team/none").await.error(404).contains("none"));
    assert!(reader.get("/v1/runs/team/none/calls?cached=perhaps").await.error(400).starts_with("reading the query"));
    assert!(hub.operator().get("/v1/runs").await.error(400).contains("`namespace` is missing"));
    assert!(hub.operator().put("/v1/runs/team/run", "{}").await.error(400).starts_with("reading the body"));
    let head = reader.clone().with("x-long", "x".repeat(200_000)).stream(http::Method::GET, "/v1/runs", empty()).await;
    assert!(head.as_ref().map_or(true, |answered| answered.status == 431), "{head:?}");
    reader.get("/v1/runs").await.json();
}

#[tokio::test]
async fn connections_above_the_limit_are_closed() {
    let hub = Hub::with(|settings| settings.connections = 2).await;
    let (first, second, third) = (hub.reader("team"), hub.reader("team"), hub.reader("team"));
    first.get("/v1/runs").await.json();
    second.get("/v1/runs").await.json();
    assert!(third.stream(http::Method::GET, "/v1/runs", empty()).await.is_err());
    first.get("/v1/runs").await.json();
    assert!(admin(&hub, "/metrics").await.1.contains("agentrun_hub_refused_connections_total 1"));
    drop(first);
    let taken = async {
        while third.stream(http::Method::GET, "/v1/runs", empty()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), taken).await.expect("a place that was given back is taken");
}

#[tokio::test]
async fn when_it_stops_those_that_wait_are_told_to_ask_again() {
    let hub = Hub::start().await;
    let (leader, follower) = (hub.pod(Pod::foreign("team", "run", "leader")), hub.pod(Pod::foreign("team", "run", "follower")));
    let path = format!("/v1/cache/{}?lease=a&wait=20", "ab".repeat(32));
    assert_eq!(leader.get(&path).await.status, 404);
    let waiting = tokio::spawn(async move { follower.get(&path).await.status });
    let busy = async {
        while !admin(&hub, "/metrics").await.1.contains("agentrun_hub_connections 2") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), busy).await.expect("both are connected");
    let address = hub.service.address;
    tokio::time::timeout(Duration::from_secs(9), hub.service.stop()).await.expect("nobody is waited for");
    assert_eq!(waiting.await.unwrap(), 202);
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn metrics_tell_what_was_asked_and_no_token() {
    let hub = Hub::start().await;
    hub.reader("team").get("/v1/runs").await.json();
    hub.client().get("/v1/runs").await.error(401);
    let (status, text) = admin(&hub, "/metrics").await;
    assert_eq!(status, 200);
    for line in [
        r#"agentrun_hub_requests_total{method="GET",path="/v1/runs",status="200"} 1"#,
        r#"agentrun_hub_requests_total{method="GET",path="/v1/runs",status="401"} 1"#,
        r#"agentrun_hub_callers_total{known="false"} 1"#,
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
    assert!(!text.contains("e30."));
}
