//! Records: which calls leave one, and what is in it.

use std::net::TcpListener;

use agentrun_tests::gateway::Rig;
use agentrun_tests::proxy::HOST;
use agentrun_tests::wire;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::{chat, post, records};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w11_every_ending_leaves_a_record() {
    let rig = Rig::start().await;
    let session = rig.open(&json!({"data_id": "q1"})).await;
    for script in ["cut", "not-json", "error-in-200", "status-500"] {
        let mut stream = session.connect().await;
        let request = wire::chat(HOST, &format!("x-origin-script: {script}\r\n"), chat("m", script).to_string().as_bytes());
        stream.write_all(&request).await.expect("the connection is open");
        // An answer that breaks off is none.
        drop(wire::answer(&mut stream, true).await);
    }
    // A port that nobody listens at.
    let closed = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port is free");
    let body = chat("m", "refused").to_string();
    let head = format!("POST http://{closed}/v1/chat/completions HTTP/1.1\r\nhost: {closed}\r\ncontent-length: {}\r\n\r\n", body.len());
    let mut stream = TcpStream::connect(session.address).await.expect("the port is open");
    wire::exchange(&mut stream, [head, body].concat().as_bytes()).await.expect("the proxy answers");
    let told: Vec<(String, u64)> = records(&rig, "data_id=q1").await.iter().map(prompt_and_status).collect();
    let expected = [("cut", 0), ("not-json", 200), ("error-in-200", 200), ("status-500", 500), ("refused", 0)];
    assert_eq!(told, expected.map(|(prompt, status)| (prompt.to_owned(), status)));
    assert!(records(&rig, "data_id=q1").await.iter().all(|record| record["error"].is_string()), "each says what went wrong");
}

fn prompt_and_status(record: &Value) -> (String, u64) {
    let prompt = record["request_body"]["messages"][0]["content"].as_str().unwrap_or_default().to_owned();
    (prompt, record["status_code"].as_u64().unwrap_or(u64::MAX))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w14_what_is_no_chat_keeps_its_model() {
    let rig = Rig::start().await;
    let router = json!({"policy": "random", "kwargs": {"candidates": ["chat-model"]}});
    let session = rig.open(&json!({"data_id": "q1", "router": router})).await;
    let embedding = json!({"model": "text-embedding-3-small", "input": "words"}).to_string();
    assert_eq!(post(&session, HOST, "/v1/embeddings", "", embedding.as_bytes()).await.status, 200);
    let mut stream = session.connect().await;
    let listing = format!("GET /v1/models HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
    wire::exchange(&mut stream, listing.as_bytes()).await.expect("the proxy answers");
    assert_eq!(session.ask("asked", "hello").await.status, 200);
    let sent: Vec<Value> = rig.origin.log().calls().iter().map(|call| serde_json::from_str(&call.body).unwrap_or_default()).collect();
    let models: Vec<&Value> = sent.iter().map(|body| &body["model"]).collect();
    assert_eq!(models, [&json!("text-embedding-3-small"), &Value::Null, &json!("chat-model")]);
    let usage = rig.get("/usage?data_id=q1").await;
    assert!(usage.get("<parse-failed>").is_none(), "{usage}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w16_a_key_in_a_url_is_in_no_record() {
    const KEY: &str = "AIzaSyNotARealKeyButItLooksLikeOne0000";
    let mut rig = Rig::start().await;
    let session = rig.open(&json!({"data_id": "q1"})).await;
    let host = "generativelanguage.googleapis.com";
    let path = format!("/v1beta/models/gemini-2.0-flash:generateContent?alt=json&key={KEY}");
    let body = json!({"contents": [{"parts": [{"text": "hello"}]}]}).to_string();
    assert_eq!(post(&session, host, &path, "", body.as_bytes()).await.status, 200);
    assert!(rig.origin.log().calls()[0].path.contains(KEY), "the provider gets it");
    for query in ["data_id=q1", "data_id=q1&v=2"] {
        let told = records(&rig, query).await;
        assert!(told[0]["request_url"].as_str().is_some_and(|url| url.ends_with(":generateContent?alt=json")), "{told:?}");
        assert!(!json!(told).to_string().contains(KEY));
    }
    rig.stop().await;
    for entry in std::fs::read_dir(rig.folder()).expect("the folder is there") {
        let path = entry.expect("it can be read").path();
        let bytes = std::fs::read(&path).expect("it can be read");
        assert!(!bytes.windows(KEY.len()).any(|window| window == KEY.as_bytes()), "{} holds the key", path.display());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w18_a_rerun_is_told_from_what_was_before() {
    let rig = Rig::start().await;
    let evaluate = async |run: &str, model: &str| {
        let session = rig.open(&json!({"data_id": "q1", "combo_id": "a", "run": run})).await;
        assert_eq!(session.ask(model, model).await.status, 200);
        rig.close(&session.id).await;
    };
    let models = async |query: &str| -> Vec<Value> { records(&rig, query).await.iter().map(|record| record["model"].clone()).collect() };
    evaluate("monday", "first").await;
    evaluate("tuesday", "again").await;
    assert_eq!(models("combo_id=a").await, ["first", "again"]);
    assert_eq!(models("combo_id=a&run=tuesday").await, ["again"]);
    assert_eq!(
        rig.get("/usage?combo_id=a&run=monday").await.as_object().map(|usage| usage.keys().cloned().collect()),
        Some(vec!["first".to_owned()])
    );
    // A client that gives no run asks for what came since: what ended at that very moment is in.
    let times: Vec<Value> = records(&rig, "combo_id=a").await.iter().map(|record| record["timestamp"].clone()).collect();
    let since = |time: &Value| format!("combo_id=a&since={}", time.as_str().expect("a time").replace("+00:00", "Z"));
    assert_eq!(models(&since(&times[1])).await, ["again"]);
    assert_eq!(models(&since(&times[0])).await, ["first", "again"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w20_a_call_is_one_record_before_and_after_its_session_closes() {
    let rig = Rig::start().await;
    let session = rig.open(&json!({"data_id": "q1"})).await;
    for prompt in ["one", "two", "one"] {
        assert_eq!(session.ask("m", prompt).await.status, 200);
    }
    let open = records(&rig, "data_id=q1").await;
    rig.close(&session.id).await;
    rig.close(&session.id).await;
    assert_eq!((open.len(), records(&rig, "data_id=q1").await), (3, open));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w26_odd_bodies_are_answered_and_recorded() {
    let rig = Rig::start().await;
    let router = json!({"policy": "random", "kwargs": {"candidates": ["routed"]}});
    let session = rig.open(&json!({"data_id": "q1", "router": router})).await;
    let with = |member: &str| format!(r#"{{"model": "asked", "messages": [{{"role": "user", "content": "hi"}}], "odd": {member}}}"#);
    let nested = |levels: usize| with(&format!("{}1{}", "[".repeat(levels), "]".repeat(levels)));
    // The first two are more than is read of a body; they go on as they are.
    let bodies = [with(&"9".repeat(5000)), nested(2000), with(r#""\ud800""#), with("NaN"), nested(500)];
    for body in &bodies {
        assert_eq!(post(&session, HOST, "/v1/chat/completions", "", body.as_bytes()).await.status, 200, "{:.80}", body);
    }
    let headers = "x-origin-script: wrong-types\r\n";
    assert_eq!(post(&session, HOST, "/v1/chat/completions", headers, with("1").as_bytes()).await.status, 200);
    let told = records(&rig, "data_id=q1").await;
    assert_eq!(told.len(), bodies.len() + 1);
    for (index, record) in told[..bodies.len()].iter().enumerate() {
        let model = if index < 2 { "unnamed" } else { "routed" };
        assert_eq!((&record["model"], &record["error"]), (&json!(model), &Value::Null), "{:.300}", record.to_string());
    }
    assert!(told[bodies.len()]["error"].is_string(), "usage of no known kind is told");
}
