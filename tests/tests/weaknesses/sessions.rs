//! Sessions: their routers, their streams, and what is counted.

use std::collections::BTreeSet;
use std::time::Duration;

use agentrun_tests::gateway::Rig;
use agentrun_tests::proxy::HOST;
use agentrun_tests::wire;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{chat, records};

/// Long enough for a loaded machine; a frame that is held back never comes at all.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w21_sessions_draw_by_their_datapoints() {
    let rig = Rig::start().await;
    let router = json!({"policy": "random", "kwargs": {"candidates": ["a", "b", "c"], "seed": 42, "perDatapoint": true}});
    let mut drawn = Vec::new();
    for data_id in ["q1", "q2", "q3", "q4", "q5", "q6", "q1"] {
        let session = rig.open(&json!({"data_id": data_id, "combo_id": "routed", "router": router})).await;
        assert_eq!(session.ask("asked", data_id).await.status, 200);
        let told = records(&rig, &format!("data_id={data_id}")).await;
        drawn.push(told.last().expect("a call")["model"].as_str().unwrap_or_default().to_owned());
    }
    // CPython's first draws by the rule of docs/decisions/0005-draws.md: 2 for q1, 0 for q2.
    assert_eq!((drawn[0].as_str(), drawn[1].as_str()), ("c", "a"));
    assert_eq!(drawn[0], drawn[6], "a datapoint draws the same again");
    assert!(drawn.iter().collect::<BTreeSet<_>>().len() > 1, "{drawn:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w24_no_module_is_imported() {
    let rig = Rig::start().await;
    let body = json!({"router": {"policy": "antigravity:Router", "kwargs": {}}}).to_string();
    let answer = rig.send("POST /sessions", "", body.as_bytes()).await;
    let told = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(answer.status == 400 && told.contains("this gateway runs no Python"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w32_a_stream_passes_frame_by_frame() {
    let rig = Rig::start().await;
    let session = rig.open(&json!({})).await;
    let mut body = chat("m", "hello");
    body["stream"] = json!(true);
    let mut stream = session.connect().await;
    stream.write_all(&wire::chat(HOST, "x-origin-gate: frames\r\n", body.to_string().as_bytes())).await.expect("the connection is open");
    let mut told = String::new();
    // The next frame is let go when the last one has arrived: one that is held back never comes.
    for frames in 1..4 {
        rig.origin.log().release("frames", 1);
        while told.matches("data: ").count() < frames {
            let mut buffer = [0; 4096];
            let read = tokio::time::timeout(PATIENCE, stream.read(&mut buffer)).await;
            let count = read.unwrap_or_else(|_| panic!("frame {frames} is held back: {told}")).expect("the answer goes on");
            assert!(count > 0, "the answer ends: {told}");
            told.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
        assert_eq!(told.matches("data: ").count(), frames, "{told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w36_metrics_count_calls() {
    let rig = Rig::start().await;
    let session = rig.open(&json!({})).await;
    for _ in 0..2 {
        session.ask("m", "hello").await;
    }
    let answer = rig.send("GET /metrics", "", b"").await;
    let told = String::from_utf8_lossy(&answer.body).into_owned();
    let calls = |cache: &str| {
        let labels = format!("outcome=\"complete\",cache=\"{cache}\"");
        told.lines().any(|line| line.starts_with("agentrun_calls_total{") && line.contains(&labels) && line.ends_with(" 1"))
    };
    assert!(answer.status == 200 && calls("none") && calls("memory"), "{told}");
}
