//! Which calls are read.

use agentrun_tests::gateway::{Opened, Rig};
use agentrun_tests::wire;
use serde_json::{Value, json};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A server without TLS that answers everything with one completion.
async fn plain_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut bytes = Vec::new();
                let mut buffer = [0; 4096];
                // Each test's request ends with its JSON's last brace.
                while !bytes.ends_with(b"}") && !bytes.ends_with(b"\r\n\r\n") {
                    let Ok(count @ 1..) = stream.read(&mut buffer).await else { return };
                    bytes.extend_from_slice(&buffer[..count]);
                }
                let body = r#"{"model": "served", "usage": {"prompt_tokens": 10, "completion_tokens": 5}, "choices": [{"message": {"role": "assistant", "content": "Paris"}}]}"#;
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    body.len()
                );
                stream.write_all([head, body.to_owned()].concat().as_bytes()).await.ok();
            });
        }
    });
    address
}

/// A request in absolute form, as a client sends it through its proxy.
async fn through(session: &Opened, method: &str, server: SocketAddr, path: &str) -> u16 {
    let body = if method == "POST" {
        json!({"model": "asked", "messages": [{"role": "user", "content": path}]}).to_string()
    } else {
        String::new()
    };
    let request = format!("{method} http://{server}{path} HTTP/1.1\r\nhost: {server}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let mut stream = TcpStream::connect(session.address).await.expect("the port is open");
    wire::exchange(&mut stream, request.as_bytes()).await.expect("it is answered").status
}

fn urls(records: &Value) -> Vec<&str> {
    records.as_array().expect("an array").iter().map(|record| record["request_url"].as_str().expect("a text")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_calls_are_read_by_their_paths_whomever_they_are_for() {
    let rig = Rig::start().await;
    let server = plain_server().await;
    let session = rig.open(&json!({"data_id": "q1"})).await;
    assert_eq!(through(&session, "POST", server, "/v1/chat/completions").await, 200);
    assert_eq!(through(&session, "POST", server, "/v1/chat/completions").await, 200);
    // No calls: another method, another path.
    assert_eq!(through(&session, "GET", server, "/v1/chat/completions").await, 200);
    assert_eq!(through(&session, "POST", server, "/login").await, 200);
    let records = rig.get("/records").await;
    let url = format!("http://{server}/v1/chat/completions");
    assert_eq!(urls(&records), [&url, &url]);
    assert_eq!(rig.get("/usage").await, json!({"asked": [20, 10]}));
    assert_eq!([&records[0]["cached"], &records[1]["cached"]], [&json!(false), &json!(true)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_is_read_from_the_moment_it_is_named() {
    let rig = Rig::start().await;
    let server = plain_server().await;
    let session = rig.open(&json!({"data_id": "q1"})).await;
    assert_eq!(through(&session, "POST", server, "/custom/respond").await, 200);
    assert_eq!(rig.get("/records").await, json!([]));
    for paths in [json!(["/other"]), json!(["/custom/respond", ""])] {
        let provider = json!({"name": "own", "base_url": format!("http://{server}"), "path_patterns": paths});
        assert_eq!(rig.send("POST /providers", "", provider.to_string().as_bytes()).await.status, 204);
    }
    assert_eq!(through(&session, "POST", server, "/custom/respond").await, 200);
    let whole = rig.get("/records?v=2").await;
    assert_eq!(urls(&whole), [format!("http://{server}/custom/respond")]);
    assert_eq!((&whole[0]["provider"], &whole[0]["operation"], &whole[0]["prompt_tokens"]), (&json!("own"), &json!("chat"), &json!(10)));
    // AgentOpt's client is told of a mistake that would have been silent.
    let nameless = json!({"name": "own", "base_url": "models.internal", "path_patterns": []});
    assert_eq!(rig.send("POST /providers", "", nameless.to_string().as_bytes()).await.status, 400);
}
