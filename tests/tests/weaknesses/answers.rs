//! Stored answers: whose they are, in which shape, and which are kept.

use agentrun_tests::gateway::Rig;
use agentrun_tests::origin::TOKENS;
use agentrun_tests::proxy::HOST;
use agentrun_tests::wire;
use rusqlite::Connection;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use super::{chat, post, records};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w5_a_stored_stream_answers_a_plain_request_as_json() {
    let rig = Rig::start().await;
    let session = rig.open(&json!({"data_id": "q1"})).await;
    let asked = |input: &str, stream: bool| json!({"model": "m", "input": input, "stream": stream}).to_string().into_bytes();
    let ask = async |input: &str, stream: bool| post(&session, HOST, "/v1/responses", "", &asked(input, stream)).await;
    ask("streamed first", true).await;
    let plain = ask("streamed first", false).await;
    let body: Value =
        serde_json::from_slice(&plain.body).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&plain.body)));
    assert_eq!((body["object"].as_str(), plain.header("content-type")), (Some("response"), Some("application/json")));
    ask("plain first", false).await;
    let streamed = ask("plain first", true).await;
    assert!(String::from_utf8_lossy(&streamed.body).contains("event: response.completed"), "{}", streamed.head);
    assert_eq!(rig.origin.log().calls().len(), 2, "both second calls are answered from the store");
    for record in records(&rig, "data_id=q1").await {
        assert_eq!((&record["prompt_tokens"], &record["error"]), (&json!(TOKENS.input), &Value::Null), "{record}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w6_another_credential_pays_for_itself() {
    let rig = Rig::start().await;
    let session = rig.open(&json!({})).await;
    let body = chat("m", "equal").to_string().into_bytes();
    let mut texts = Vec::new();
    for header in ["authorization: Bearer sk-one\r\n", "authorization: Bearer sk-two\r\n", "authorization: Bearer sk-one\r\n", ""] {
        texts.push(post(&session, HOST, "/v1/chat/completions", header, &body).await.body);
    }
    assert_eq!(texts[0], texts[2], "an equal credential has its answer");
    let keys: Vec<_> = rig.origin.log().calls().iter().map(|call| call.headers.get("authorization").cloned()).collect();
    assert_eq!(keys, [Some("Bearer sk-one".to_owned()), Some("Bearer sk-two".to_owned()), None]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w7_another_host_is_asked_itself() {
    let rig = Rig::start().await;
    let session = rig.open(&json!({})).await;
    let body = chat("m", "equal").to_string().into_bytes();
    for host in [HOST, "api.deepseek.com", HOST] {
        assert_eq!(post(&session, host, "/v1/chat/completions", "", &body).await.status, 200);
    }
    let hosts: Vec<String> = rig.origin.log().calls().into_iter().map(|call| call.host).collect();
    assert_eq!(hosts, [HOST, "api.deepseek.com"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w9_what_is_no_good_answer_is_asked_for_again() {
    let rig = Rig::start().await;
    let session = rig.open(&json!({})).await;
    for script in ["error-in-200", "not-json", "cut"] {
        let body = chat("m", script).to_string().into_bytes();
        for headers in [format!("x-origin-script: {script}\r\n"), String::new(), String::new()] {
            let mut stream = session.connect().await;
            stream.write_all(&wire::chat(HOST, &headers, &body)).await.expect("the connection is open");
            let answer = wire::answer(&mut stream, true).await;
            assert!(
                !headers.is_empty() || answer.is_ok_and(|answer| answer.status == 200 && answer.body.starts_with(b"{\"id\"")),
                "{script}"
            );
        }
        let asked = rig.origin.log().calls().iter().filter(|call| call.body.contains(script)).count();
        assert_eq!(asked, 2, "{script}: the first answer is not kept, the second is");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w10_equal_calls_in_flight_are_one() {
    let rig = Rig::start().await;
    let session = rig.open(&json!({"data_id": "q1"})).await;
    let body = chat("m", "equal").to_string();
    let mut streams = Vec::new();
    for _ in 0..5 {
        let mut stream = session.connect().await;
        stream.write_all(&wire::chat(HOST, "x-origin-gate: equal\r\n", body.as_bytes())).await.expect("the connection is open");
        streams.push(stream);
    }
    while rig.origin.log().calls().is_empty() {
        tokio::task::yield_now().await;
    }
    rig.origin.log().release("equal", 1000);
    for stream in &mut streams {
        assert_eq!(wire::answer(stream, true).await.expect("each is answered").status, 200);
    }
    assert_eq!(rig.origin.log().calls().len(), 1);
    let cached = records(&rig, "data_id=q1").await.iter().filter(|record| record["cached"] == true).count();
    assert_eq!(cached, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w12_a_query_counts_in_the_key() {
    let rig = Rig::start().await;
    let session = rig.open(&json!({})).await;
    let body = chat("m", "equal").to_string().into_bytes();
    let versions = ["?api-version=2024-10-21", "?api-version=2025-01-01", "", "?api-version=2024-10-21"];
    for version in versions {
        assert_eq!(post(&session, HOST, &format!("/v1/chat/completions{version}"), "", &body).await.status, 200);
    }
    let paths: Vec<String> = rig.origin.log().calls().into_iter().map(|call| call.path).collect();
    assert_eq!(paths, versions[..3].iter().map(|version| format!("/v1/chat/completions{version}")).collect::<Vec<_>>());
    assert_eq!(rig.send("POST /cache/flush", "", b"").await.status, 204);
    let file = Connection::open(rig.folder().join("cache.db")).expect("the cache can be read");
    let mut keys = file.prepare("SELECT key FROM cache ORDER BY key").expect("AgentOpt's table is there");
    let keys: Vec<String> = keys.query_map([], |row| row.get(0)).and_then(Iterator::collect).expect("a key is text");
    // `_make_cache_key` of AgentOpt for these paths and this body.
    assert_eq!(
        keys,
        [
            "0a4cf0b4301a280a5b4a7c5f12df7a1968a6646049e75f33ca9cf5abcbd1aa5f",
            "51770a6cb23e5ff539e5adbe543f63514dd9e14cf44ccf3205def165cd2a7253",
            "d0456ead20b98f1f77738d48a39ce7a971a0881be3d6f57ed3cd279685587866"
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w23_a_session_may_go_without_the_cache() {
    let rig = Rig::start().await;
    for (cache, calls) in [("ReadWrite", 1), ("Off", 2), ("Refresh", 2)] {
        let session = rig.open(&json!({"cache": cache})).await;
        let before = rig.origin.log().calls().len();
        for _ in 0..2 {
            assert_eq!(session.ask("m", cache).await.status, 200);
        }
        assert_eq!(rig.origin.log().calls().len() - before, calls, "{cache}");
    }
    let answer = rig.send("POST /sessions", "", br#"{"cache": "off"}"#).await;
    assert_eq!(answer.status, 400);
    assert!(String::from_utf8_lossy(&answer.body).contains("ReadWrite, ReadOnly, Refresh, ReplayOnly"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w31_a_hit_brings_no_cookies() {
    let rig = Rig::start().await;
    let session = rig.open(&json!({})).await;
    let body = chat("m", "cookies").to_string().into_bytes();
    let first = post(&session, HOST, "/v1/chat/completions", "x-origin-script: cookies\r\n", &body).await;
    assert!(first.head.contains("set-cookie: tenant=one") && first.head.contains("set-cookie: other=two"), "a miss's pass: {}", first.head);
    let hit = post(&session, HOST, "/v1/chat/completions", "", &body).await;
    assert_eq!(
        (hit.header("x-agentrun-cache"), hit.header("set-cookie"), first.body == hit.body),
        (Some("hit"), None, true),
        "{}",
        hit.head
    );
}
