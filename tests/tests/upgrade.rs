//! An upgraded connection is passed on in both directions, and recorded as one that was not read.

use std::io;
use std::time::Duration;

use agentrun_sidecar::journal::{Filter, Reader};
use agentrun_sidecar::{Config, Session, Sidecar};
use agentrun_tests::wire;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const HOST: &str = "api.openai.com";

/// Takes one upgrade, then sends back what it gets in capitals.
async fn shouting(listener: TcpListener) -> io::Result<String> {
    let (mut stream, _) = listener.accept().await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    stream
        .write_all(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: x\r\n\r\n")
        .await?;
    let mut heard = [0; 5];
    stream.read_exact(&mut heard).await?;
    stream.write_all(&heard.to_ascii_uppercase()).await?;
    Ok(String::from_utf8_lossy(&head).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_passes_both_ways_and_is_recorded_as_unreadable() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let rule = format!("{HOST}=http://{}", listener.local_addr().unwrap());
    let journal = folder.path().join("calls.db");
    let config =
        Config { upstreams: vec![rule.parse().unwrap()], upstream_proxy: false, journal: Some(journal.clone()), ..Config::default() };
    let sidecar = Sidecar::start(config).unwrap();
    let session = sidecar.open(Session::default()).await.unwrap();
    let server = tokio::spawn(shouting(listener));

    let tunnel = wire::tunnel(session.address(), &format!("{HOST}:443")).await.unwrap();
    let mut stream = wire::tls(tunnel, sidecar.ca_pem(), HOST, &[]).await.unwrap();
    let request = format!(
        "GET /v1/realtime?model=gpt-realtime HTTP/1.1\r\nhost: {HOST}\r\nconnection: Upgrade\r\nupgrade: websocket\r\nauthorization: Bearer sk-secret\r\n\r\n"
    );
    let answer = wire::exchange(&mut stream, request.as_bytes()).await.unwrap();
    assert_eq!(answer.status, 101, "{}", answer.head);
    stream.write_all(b"hello").await.unwrap();
    let mut heard = [0; 5];
    stream.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"HELLO");
    let head = server.await.unwrap().unwrap().to_ascii_lowercase();
    assert!(head.contains("upgrade: websocket") && head.contains("authorization: bearer sk-secret"), "{head}");
    drop(stream);

    session.close(Duration::from_secs(10)).await;
    sidecar.stop(Duration::from_secs(10)).await;
    let records = Reader::open(&journal).unwrap().calls(&Filter::default()).unwrap();
    assert_eq!(records.len(), 1);
    assert_eq!(serde_json::to_value(records[0].outcome).unwrap(), "unreadable");
    assert_eq!(records[0].status_code, 101);
    assert!(records[0].usage().is_none());
}
