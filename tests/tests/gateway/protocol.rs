//! The control plane's requests and answers, by their bytes.

use agentrun_tests::gateway::Rig;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tokio::net::TcpStream;

fn error(body: &[u8]) -> String {
    let told: Value = serde_json::from_slice(body).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(body)));
    told["error"].as_str().expect("an error is a text").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_an_id_a_port_and_the_authority() {
    let rig = Rig::start().await;
    let health = rig.send("GET /health", "", b"").await;
    assert_eq!((health.status, health.body.as_slice()), (200, &br#"{"ok":true}"#[..]));
    assert_eq!(health.header("content-type"), Some("application/json; charset=utf-8"));
    let session = rig.open(&json!({"data_id": "q1", "combo_id": "a", "agent_id": null})).await;
    let id = session.id.strip_prefix("sess_").expect("ids begin so");
    assert!(id.len() == 12 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{id}");
    assert_ne!(session.address.port(), rig.address().port());
    TcpStream::connect(session.address).await.expect("the port is open when the session is told");
    assert!(session.ca_pem.starts_with("-----BEGIN CERTIFICATE-----"));
    assert_eq!(rig.get("/ca").await, json!({"ca_pem_b64": BASE64_STANDARD.encode(&session.ca_pem)}));
    assert_eq!(rig.send("POST /sessions", "", b"").await.status, 200, "no body is no ids");
    for _ in 0..2 {
        rig.close(&session.id).await;
    }
    rig.close("sess_000000000000").await;
    assert_eq!(rig.send("POST /cache/flush", "", b"").await.status, 204);
    for path in ["/records", "/usage", "/cached_latency"] {
        let empty = rig.get(&format!("{path}?combo_id=never")).await;
        assert_eq!(
            empty,
            [json!([]), json!({}), json!({"seconds": 0})]
                [["/records", "/usage", "/cached_latency"].iter().position(|known| *known == path).expect("it is one of them")]
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_is_told_as_before() {
    let rig = Rig::start().await;
    let missing = rig.send("GET /nothing", "", b"").await;
    assert_eq!((missing.status, missing.body.as_slice()), (404, &b"404: Not Found"[..]));
    assert!(missing.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")));
    let method = rig.send("PUT /records", "", b"").await;
    assert_eq!((method.status, method.body.as_slice()), (405, &b"405: Method Not Allowed"[..]));
    assert!(method.header("allow").is_some_and(|allow| allow.contains("GET")), "{}", method.head);
    for path in ["/health", "/records", "/usage", "/cached_latency", "/ca", "/metrics"] {
        let head = rig.send(&format!("HEAD {path}"), "", b"").await;
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
    }
    let metrics = rig.send("GET /metrics", "", b"").await;
    assert!(String::from_utf8_lossy(&metrics.body).contains("agentrun_sessions 0"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_requests_are_told_what_is_wrong() {
    let rig = Rig::start().await;
    let long = format!(r#"{{"data_id": "{}"}}"#, "x".repeat(9000));
    for (request, body, text) in [
        ("POST /sessions", "{", "no JSON object"),
        ("POST /sessions", "[]", "no JSON object"),
        ("POST /sessions", "null", "no JSON object"),
        ("POST /sessions", "{} {}", "no JSON object"),
        ("POST /sessions", "\u{0}", "no JSON object"),
        ("POST /sessions", long.as_str(), "`data_id` is longer"),
        ("POST /sessions", r#"{"router": "random"}"#, "`router`"),
        ("POST /sessions", r#"{"router": {"kwargs": {}}}"#, "`policy` is missing"),
        ("POST /sessions", r#"{"router": {"policy": "no_such_policy", "kwargs": {}}}"#, "Unknown routing policy"),
        ("POST /sessions", r#"{"router": {"policy": "random", "kwargs": null}}"#, "`kwargs`"),
        ("POST /providers", "", "no JSON object"),
        ("POST /providers", r#"{"name": "n"}"#, "`base_url` is missing"),
        ("POST /providers", r#"{"name": "n", "base_url": "https://a.example"}"#, "`path_patterns` is missing"),
        ("POST /providers", r#"{"name": "n", "base_url": "https://a.example", "path_patterns": "/v1"}"#, "`path_patterns` is not"),
        ("POST /providers", r#"{"name": "n", "base_url": "a.example", "path_patterns": []}"#, "has no scheme"),
        ("POST /providers", r#"{"name": " ", "base_url": "https://a.example", "path_patterns": []}"#, "empty name"),
        ("POST /providers", r#"{"name": "n", "base_url": "https://a.example", "path_patterns": [], "shape": "cobol"}"#, "no shape `cobol`"),
        ("GET /records?limit=x", "", "`limit`"),
        ("GET /records?since=yesterday", "", "`since`"),
        ("GET /usage?v=7", "", "`v=7`"),
    ] {
        let answer = rig.send(request, "", body.as_bytes()).await;
        assert_eq!(answer.status, 400, "{request} {body}");
        assert!(error(&answer.body).contains(text), "{request} {body}: {}", error(&answer.body));
    }
    let large = vec![b' '; (1 << 20) + 1];
    assert_eq!(rig.send("POST /sessions", "", &large).await.status, 413);
    assert!(error(&rig.send("POST /sessions", "", &large).await.body).contains("1048576"));
    rig.open(&json!({"data_id": "after all that"})).await;
}
