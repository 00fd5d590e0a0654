//! Sessions: whose calls are whose, and how they end.

use std::net::IpAddr;
use std::time::Duration;

use agentrun_sidecar::gateway::Settings;
use agentrun_sidecar::route::{Policy, RandomPolicy, Router};
use agentrun_sidecar::{Config, Limits, Session, Sidecar};
use agentrun_tests::gateway::Rig;
use agentrun_tests::proxy::HOST;
use agentrun_tests::wire;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

async fn models(rig: &Rig, query: &str) -> Vec<String> {
    let records = rig.get(&format!("/records?{query}")).await;
    let model = |record: &Value| record["model"].as_str().expect("a model").to_owned();
    records.as_array().expect("an array").iter().map(model).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_many_sessions_at_once_are_never_mixed() {
    const SESSIONS: usize = 100;
    const CALLS: usize = 3;
    let rig = Rig::start().await;
    let mut sessions = Vec::new();
    for number in 0..SESSIONS {
        let router = json!({"policy": "random", "kwargs": {"candidates": [format!("model-{number}")]}});
        sessions.push(rig.open(&json!({"data_id": format!("q{number}"), "router": router})).await);
    }
    let mut calls = JoinSet::new();
    for call in 0..CALLS {
        for (number, session) in sessions.iter().cloned().enumerate() {
            calls.spawn(async move { (number, session.ask("asked", &format!("{number} {call}")).await.status) });
        }
    }
    while let Some(asked) = calls.join_next().await {
        let (number, status) = asked.expect("no call panics");
        assert_eq!(status, 200, "{number}");
    }
    for number in 0..SESSIONS {
        let records = rig.get(&format!("/records?data_id=q{number}")).await;
        let records = records.as_array().expect("an array");
        assert_eq!(records.len(), CALLS, "{number}");
        for record in records {
            assert_eq!(record["model"], format!("model-{number}"), "its own router");
            let prompt = record["request_body"]["messages"][0]["content"].as_str().expect("a text");
            assert!(prompt.starts_with(&format!("{number} ")), "{prompt} is not of {number}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_session_takes_no_calls_and_lets_those_in_flight_end() {
    let rig = Rig::start().await;
    let session = rig.open(&json!({"data_id": "q1"})).await;
    let body = json!({"model": "m", "stream": true, "messages": [{"role": "user", "content": "hello"}]}).to_string();
    let mut stream = session.connect().await;
    let request = wire::chat(HOST, "x-origin-gate: until-closed\r\n", body.as_bytes());
    stream.write_all(&request).await.expect("the connection is open");
    while rig.origin.log().calls().is_empty() {
        tokio::task::yield_now().await;
    }
    rig.close(&session.id).await;
    assert!(TcpStream::connect(session.address).await.is_err(), "the port is closed");
    assert_eq!(models(&rig, "data_id=q1").await, [""; 0], "the call goes on");
    rig.origin.log().release("until-closed", 1000);
    let answer = wire::answer(&mut stream, true).await.expect("the call ends");
    assert!(String::from_utf8_lossy(&answer.body).contains("[DONE]"), "{}", answer.head);
    assert_eq!(models(&rig, "data_id=q1").await, ["m"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_takes_connections_from_its_own_client_alone() {
    let sidecar = Sidecar::start(Config { upstream_proxy: false, ..Config::default() }).expect("the proxy starts");
    let client = |ip: [u8; 4]| Session { client: Some(IpAddr::from(ip)), ..Session::default() };
    let elsewhere = sidecar.open(client([192, 0, 2, 1])).await.expect("a session opens on a free port");
    let mut stream = TcpStream::connect(elsewhere.address()).await.expect("the port is open");
    stream.write_all(format!("CONNECT {HOST}:443 HTTP/1.1\r\nhost: {HOST}:443\r\n\r\n").as_bytes()).await.ok();
    let read = tokio::time::timeout(Duration::from_secs(60), stream.read(&mut [0; 1])).await.expect("the connection ends");
    assert!(read.map_or(true, |count| count == 0), "nothing is answered");
    let here = sidecar.open(client([127, 0, 0, 2])).await.expect("a session opens on a free port");
    wire::tunnel(here.address(), &format!("{HOST}:443")).await.expect("loopback is one client");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_brings_its_router_or_has_the_gateways() {
    let candidates = ["a", "b", "c"].map(str::to_owned).to_vec();
    let policy = Policy::Random(RandomPolicy { candidates, seed: Some(0), ..RandomPolicy::default() });
    let router = Router::new(&policy).expect("it can be used");
    let rig = Rig::with(|settings| Settings { session: Session { router: Some(router), ..settings.session }, ..settings }).await;
    let own = json!({"policy": "random", "kwargs": {"candidates": ["a", "b", "c"], "seed": 0}});
    for (data_id, router) in
        [("first", None), ("second", None), ("own", Some(own.clone())), ("again", Some(own)), ("none", Some(Value::Null))]
    {
        let mut body = json!({"data_id": data_id});
        if let Some(router) = router {
            body["router"] = router;
        }
        let session = rig.open(&body).await;
        for call in 0..3 {
            session.ask("asked", &format!("{data_id} {call}")).await;
        }
    }
    // CPython draws 1, 1, 0, 1, 2, 1 from seed 0 and three candidates.
    for (query, drawn) in [
        ("first", ["b", "b", "a"]),
        ("second", ["b", "c", "b"]),
        ("own", ["b", "b", "a"]),
        ("again", ["b", "b", "a"]),
        ("none", ["asked"; 3]),
    ] {
        assert_eq!(models(&rig, &format!("data_id={query}")).await, drawn, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_wait_take_no_room_from_those_that_work() {
    let limits = Limits { connections: 1, ..Limits::default() };
    let sidecar = Sidecar::start(Config { upstream_proxy: false, limits, ..Config::default() }).expect("the proxy starts");
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(sidecar.open(Session::default()).await.expect("a session opens on a free port"));
    }
    for session in &sessions {
        wire::tunnel(session.address(), &format!("{HOST}:443")).await.expect("a connection is served once the one before has ended");
    }
}
