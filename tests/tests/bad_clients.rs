//! Clients that misbehave: on the wire, in their requests, or by going away. Each gets a clear answer or is cut off, and the next one is served.

use std::time::Duration;

use agentrun_sidecar::Limits;
use agentrun_tests::origin::Options;
use agentrun_tests::proxy::{HOST, Proxy};
use agentrun_tests::wire::{self, chat, exchange, slow_start, tls, tunnel};
use http::Request;
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const GOOD: &[u8] = br#"{"model": "gpt-4.1", "messages": [{"role": "user", "content": "x"}]}"#;
/// For what must happen, without saying when.
const PATIENCE: Duration = Duration::from_secs(60);

async fn start() -> Proxy {
    Proxy::start(Options::default(), Limits::default()).await
}

#[tokio::test]
async fn a_hello_that_comes_byte_by_byte_is_still_read() {
    let proxy = start().await;
    let slow = slow_start(tunnel(proxy.address(), "api.openai.com:443").await.unwrap(), 6, Duration::from_millis(20));
    let mut stream = tls(slow, proxy.ca_pem(), HOST, &[]).await.expect("the proxy's own certificate is shown");
    assert_eq!(exchange(&mut stream, &chat(HOST, "", GOOD)).await.unwrap().status, 200);
    assert_eq!(proxy.records().await.len(), 1);
}

#[tokio::test]
async fn a_tunnel_for_one_host_serves_no_other() {
    let proxy = start().await;
    let stream = tunnel(proxy.address(), "api.openai.com:443").await.unwrap();
    let mut stream = tls(stream, proxy.ca_pem(), "api.anthropic.com", &[]).await.unwrap();
    assert_eq!(exchange(&mut stream, &chat("api.anthropic.com", "", GOOD)).await.unwrap().status, 421, "SNI");

    let stream = tunnel(proxy.address(), "plain.test:443").await;
    assert!(stream.is_err(), "a host that is not read is dialled before the tunnel is granted");

    let mut stream = proxy.open().await.unwrap();
    assert_eq!(exchange(&mut stream, &chat("api.anthropic.com", "", GOOD)).await.unwrap().status, 421, "Host");

    let stream = tunnel(proxy.address(), "api.openai.com:443").await.unwrap();
    let stream = tls(stream, proxy.ca_pem(), HOST, &["h2"]).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post("https://api.anthropic.com/v1/messages").body(Empty::<bytes::Bytes>::new()).unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), 421, ":authority");

    assert_eq!(proxy.origin.log().calls().len(), 0);
    for record in proxy.records().await {
        assert_eq!(record["outcome"], "refused", "{record:#}");
    }
}

#[tokio::test]
async fn a_tunnel_to_an_address_is_read_by_its_server_name() {
    let proxy = start().await;
    let address = proxy.origin.address().to_string();
    let stream = tunnel(proxy.address(), &address).await.unwrap();
    let mut stream = tls(stream, proxy.ca_pem(), HOST, &[]).await.expect("the proxy's own certificate is shown");
    assert_eq!(exchange(&mut stream, &chat(HOST, "", GOOD)).await.unwrap().status, 200);
    let records = proxy.records().await;
    assert_eq!(records[0]["provider"], "openai");
}

#[tokio::test]
async fn a_host_that_is_not_read_is_tunnelled_untouched() {
    let proxy = start().await;
    let stream = tunnel(proxy.address(), &proxy.origin.address().to_string()).await.unwrap();
    let mut stream = tls(stream, &proxy.origin.ca_pem(), "plain.test", &[]).await.expect("the origin's own certificate is shown");
    let answer = exchange(&mut stream, b"GET /page HTTP/1.1\r\nhost: plain.test\r\n\r\n").await.unwrap();
    assert_eq!(answer.body, b"a plain page, call 1\n");
    assert_eq!(proxy.origin.log().calls()[0].sni.as_deref(), Some("plain.test"));
    assert_eq!(proxy.records().await.len(), 0);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let proxy = start().await;
    let mut stream = proxy.open().await.unwrap();
    let other = br#"{"model": "gpt-4.1-mini", "messages": [{"role": "user", "content": "y"}]}"#;
    stream.write_all(&[chat(HOST, "x-origin-delay-ms: 200\r\n", GOOD), chat(HOST, "", other)].concat()).await.unwrap();
    for model in ["\"gpt-4.1\"", "\"gpt-4.1-mini\""] {
        let answer = wire::answer(&mut stream, true).await.unwrap();
        let body = String::from_utf8(answer.body).unwrap();
        assert!(body.contains(&format!("\"model\":{model}")), "{model} is next, not {body}");
    }
    assert_eq!(proxy.records().await.len(), 2);
}

#[tokio::test]
async fn expect_100_continue_is_answered_before_the_body() {
    let proxy = start().await;
    let mut stream = proxy.open().await.unwrap();
    let request = chat(HOST, "expect: 100-continue\r\n", GOOD);
    let (head, body) = request.split_at(request.len() - GOOD.len());
    assert_eq!(exchange(&mut stream, head).await.unwrap().status, 100);
    assert_eq!(exchange(&mut stream, body).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_head_request_has_no_body_and_leaves_the_connection_usable() {
    let proxy = start().await;
    let mut stream = proxy.open().await.unwrap();
    stream.write_all(format!("HEAD /v1/models HTTP/1.1\r\nhost: {HOST}\r\n\r\n").as_bytes()).await.unwrap();
    assert_eq!(wire::answer(&mut stream, false).await.unwrap().status, 200);
    assert_eq!(exchange(&mut stream, &chat(HOST, "", GOOD)).await.unwrap().status, 200);
}

#[tokio::test]
async fn answers_without_a_body_pass() {
    let proxy = start().await;
    let mut stream = proxy.open().await.unwrap();
    for status in [204, 304] {
        let answer = exchange(&mut stream, &chat(HOST, &format!("x-origin-script: status-{status}\r\n"), GOOD)).await.unwrap();
        assert_eq!((answer.status, answer.body.len()), (status, 0));
    }
    assert_eq!(proxy.records().await.len(), 2);
}

/// Bodies as no SDK would write them, and whether they can be read as a call to a model.
fn bodies() -> Vec<(&'static str, Vec<u8>)> {
    let message = |text: &str| format!(r#"{{"model": "gpt-4.1", "messages": [{{"role": "user", "content": {text}}}]}}"#).into_bytes();
    vec![
        ("empty", Vec::new()),
        ("not JSON", b"model=gpt-4.1".to_vec()),
        ("cut off", GOOD[..20].to_vec()),
        ("not UTF-8", vec![0xFF; 100]),
        ("a list", b"[1, 2]".to_vec()),
        ("wrong types", br#"{"model": ["gpt-4.1"], "messages": 7, "stream": "yes"}"#.to_vec()),
        ("a NUL", message("\"\\u0000\"")),
        ("a lone surrogate", message("\"\\ud83e\"")),
        ("NaN", br#"{"model": "gpt-4.1", "temperature": NaN, "seed": -Infinity}"#.to_vec()),
        ("a huge integer", format!(r#"{{"model": "gpt-4.1", "seed": {}}}"#, "9".repeat(10_000)).into_bytes()),
        ("duplicate keys", br#"{"model": "gpt-4.1", "model": "gpt-4.1-mini", "messages": []}"#.to_vec()),
        ("deep nesting", [b"[".repeat(10_000), b"]".repeat(10_000)].concat()),
        ("deep nesting, not closed", br#"{"a":"#.repeat(10_000)),
        ("64 MiB", message(&format!("\"{}\"", "x".repeat(64 << 20)))),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_cannot_be_read_is_the_upstreams_to_judge() {
    let proxy = start().await;
    let bodies = bodies();
    for (name, body) in &bodies {
        let mut stream = proxy.open().await.unwrap();
        let answer = exchange(&mut stream, &chat(HOST, "", body)).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(answer.status, 200, "{name}: {}", String::from_utf8_lossy(&answer.body));
    }
    let received = proxy.origin.log().calls();
    assert_eq!(received.len(), bodies.len());
    for ((name, sent), received) in bodies.iter().zip(received) {
        assert!(String::from_utf8_lossy(sent) == received.body, "{name}: the body was changed on its way");
    }
    let records = proxy.records().await;
    assert_eq!(records.len(), bodies.len());
    for (record, (name, body)) in records.iter().zip(&bodies) {
        assert_eq!(record["status_code"], 200, "{name}: {record:#}");
        let names_a_model = body.windows(17).any(|window| window == br#""model": "gpt-4.1"#);
        // Python, whose reading of JSON is the measure for requests, refuses integers of more than 4,300 digits.
        // A body past the size that is read is passed on unread.
        let readable = !matches!(*name, "cut off" | "a huge integer" | "64 MiB");
        assert_eq!(record["requested_model"].is_string(), names_a_model && readable, "{name}: {record:#}");
        assert!(body.len() < 1 << 20 || record["request_body"].is_null(), "{name}: a record does not hold it all");
    }
}

#[tokio::test]
async fn a_body_past_the_limit_is_refused_with_its_size() {
    let limits = Limits { request_bytes: 1 << 20, ..Limits::default() };
    let proxy = Proxy::start(Options::default(), limits).await;
    let mut stream = proxy.open().await.unwrap();
    let answer = exchange(&mut stream, &chat(HOST, "", &vec![b' '; (1 << 20) + 1])).await.unwrap();
    assert_eq!(answer.status, 413);
    let text = String::from_utf8(answer.body).unwrap();
    assert!(text.contains("1048576"), "{text}");
    proxy.assert_alive("after a large body").await;
    assert_eq!(proxy.origin.log().calls().len(), 1);
}

#[tokio::test]
async fn heads_that_are_none_are_refused_and_the_next_client_is_served() {
    let limits = Limits { head_timeout: Duration::from_secs(1), ..Limits::default() };
    let proxy = Proxy::start(Options::default(), limits).await;
    let heads: [(&str, Vec<u8>); 6] = [
        ("not HTTP", b"\x00\x01\x02\x03 what\r\n\r\n".to_vec()),
        ("a broken CONNECT", b"CONNECT api.openai.com:https HTTP/1.1\r\n\r\n".to_vec()),
        ("a CONNECT without a target", b"CONNECT  HTTP/1.1\r\n\r\n".to_vec()),
        ("a huge head", [b"GET / HTTP/1.1\r\nx-filler: ".to_vec(), vec![b'x'; 1 << 20], b"\r\n\r\n".to_vec()].concat()),
        ("a huge CONNECT", [b"CONNECT api.openai.com:443 HTTP/1.1\r\nx: ".to_vec(), vec![b'x'; 1 << 20], b"\r\n\r\n".to_vec()].concat()),
        ("no host", b"GET /v1/models HTTP/1.1\r\n\r\n".to_vec()),
    ];
    for (name, head) in heads {
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        // The proxy may answer and close before it has read all of it.
        stream.write_all(&head).await.ok();
        let mut answer = Vec::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        let refused = answer.starts_with(b"HTTP/1.1 4") || read.unwrap_or_else(|_| panic!("{name}: no answer and no end")).is_err();
        assert!(refused || answer.is_empty(), "{name}: {}", String::from_utf8_lossy(&answer));
        proxy.assert_alive(name).await;
    }
    assert_eq!(proxy.origin.log().calls().len(), 6, "nothing but the good calls went on");
}

#[tokio::test]
async fn a_client_that_never_ends_its_head_is_cut_off() {
    let limits = Limits { head_timeout: Duration::from_millis(300), ..Limits::default() };
    let proxy = Proxy::start(Options::default(), limits).await;
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    let trickle = async {
        while stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, trickle).await.expect("a head that never ends is cut off");
    proxy.assert_alive("after a slow one").await;
}

#[tokio::test]
async fn a_client_may_go_away_at_every_stage() {
    // An answer is read on after its client has gone, but not for ever.
    let limits = Limits { drain_timeout: Duration::from_millis(300), ..Limits::default() };
    let proxy = Proxy::start(Options { http2: false, ..Options::default() }, limits).await;
    drop(TcpStream::connect(proxy.address()).await.unwrap());
    drop(tunnel(proxy.address(), "api.openai.com:443").await.unwrap());
    let mut half_hello = tunnel(proxy.address(), "api.openai.com:443").await.unwrap();
    half_hello.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]).await.unwrap();
    drop(half_hello);
    drop(proxy.open().await.unwrap());
    let request = chat(HOST, "", GOOD);
    for part in [10, request.len() - 10] {
        let mut stream = proxy.open().await.unwrap();
        stream.write_all(&request[..part]).await.unwrap();
        stream.flush().await.unwrap();
        drop(stream);
    }
    proxy.assert_alive("after those that asked nothing").await;
    assert_eq!(proxy.origin.log().calls().len(), 1, "no half request went on");

    // Those that did ask leave a record each, however little of the answer they saw.
    for (script, read) in [("hang-head", false), ("hang-body", true), ("endless", true)] {
        let body = format!(r#"{{"model": "script/{script}", "messages": [], "stream": true}}"#);
        let mut stream = proxy.open().await.unwrap();
        stream.write_all(&chat(HOST, "", body.as_bytes())).await.unwrap();
        if read {
            stream.read_u8().await.expect("the answer begins");
        } else {
            while !proxy.origin.log().calls().iter().any(|call| call.body.contains(script)) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
    proxy.assert_alive("after those that left").await;
    let records = proxy.records().await;
    let gone: Vec<_> =
        records.iter().filter(|record| record["outcome"] == "client_gone").map(|record| &record["requested_model"]).collect();
    for script in ["script/hang-head", "script/hang-body", "script/endless"] {
        assert_eq!(gone.iter().filter(|model| **model == script).count(), 1, "{script}: {records:#?}");
    }
}
