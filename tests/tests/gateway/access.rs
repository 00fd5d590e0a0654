//! Who is let in.

use std::path::Path;

use agentrun_sidecar::gateway::{Settings, Token};
use agentrun_tests::gateway::Rig;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn token(folder: &Path) -> Token {
    let path = folder.join("token");
    std::fs::write(&path, format!("{SECRET}\n")).expect("the temporary folder can be written");
    Token::read(&path).expect("it is a token")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_web_page_opens_a_session_or_reads_records() {
    let rig = Rig::start().await;
    for (request, headers) in [
        ("POST /sessions", "origin: http://evil.example\r\n".to_owned()),
        ("POST /sessions", "origin: null\r\ncontent-type: text/plain\r\n".to_owned()),
        ("DELETE /sessions/x", "origin: https://evil.example\r\n".to_owned()),
        ("GET /records", format!("host: evil.example:{}\r\n", rig.address().port())),
        ("GET /records", "sec-fetch-site: cross-site\r\n".to_owned()),
        ("GET /nothing", "origin: http://evil.example\r\n".to_owned()),
    ] {
        assert_eq!(rig.send(request, &headers, b"").await.status, 403, "{request} {headers}");
    }
    let metrics = rig.send("GET /metrics", "", b"").await;
    assert!(String::from_utf8_lossy(&metrics.body).contains("agentrun_sessions 0"), "none was opened");
    let own = format!("origin: http://{}\r\n", rig.address());
    assert_eq!(rig.send("POST /sessions", &own, b"").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_token_is_demanded_everywhere_but_at_health() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let token = token(folder.path());
    let rig = Rig::with(|settings| Settings { token: Some(token), names: None, ..settings }).await;
    for request in
        ["POST /sessions", "DELETE /sessions/x", "GET /records", "GET /usage", "GET /ca", "GET /metrics", "POST /providers", "GET /nothing"]
    {
        let refused = rig.send(request, "host: gate.example\r\n", b"").await;
        assert_eq!(refused.status, 401, "{request}");
        assert!(refused.header("www-authenticate").is_some_and(|how| how.contains("Basic")));
        assert!(!String::from_utf8_lossy(&refused.body).contains(SECRET));
    }
    assert_eq!(rig.send("GET /health", "", b"").await.status, 200);
    // httpx sends the user and password of a URL so.
    let basic = format!("authorization: Basic {}\r\n", BASE64_STANDARD.encode(format!("agentrun:{SECRET}")));
    for shown in [basic, format!("authorization: Bearer {SECRET}\r\n")] {
        assert_eq!(rig.send("GET /records", &shown, b"").await.status, 200);
    }
}
