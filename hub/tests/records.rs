//! Records that pods bring.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use agentrun_llm::call::{CallId, CallRecord, Capture};
use agentrun_protocol::trial::FIRST_SEQUENCE_HEADER;
use bytes::Bytes;
use futures::StreamExt;
use http::Method;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};

use crate::rig::{Answered, Client, Hub, Pod};

/// Records `first` to `last` of a pod, as lines.
pub(crate) fn lines(first: u64, last: u64) -> String {
    let line = |number: u64| {
        let mut random = [0; 10];
        random[2..].copy_from_slice(&number.to_be_bytes());
        let at = "2026-11-20T10:00:00Z".parse().unwrap();
        let mut record = CallRecord::begin(CallId::new(at, random), at, Capture::Connect);
        record.model = format!("model-{number}");
        record.latency_seconds = 0.5;
        record.status_code = 200;
        record.outcome = agentrun_llm::call::Outcome::Complete;
        serde_json::to_string(&record).unwrap() + "\n"
    };
    (first..=last).map(line).collect()
}

pub(crate) async fn bring(pod: &Client, first: u64, lines: impl Into<Bytes>) -> Answered {
    pod.clone().with(FIRST_SEQUENCE_HEADER, first.to_string()).post("/v1/trial/records", lines).await
}

/// The models of the records that a run has, in order.
async fn stored(hub: &Hub, run: &str) -> Vec<String> {
    let calls = hub.reader("team").get(&format!("/v1/runs/team/{run}/calls")).await.json();
    calls["items"].as_array().unwrap().iter().map(|call| call["model"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_batch_is_stored_once_however_often_it_comes() {
    let hub = Hub::start().await;
    let pod = hub.pod(Pod::foreign("team", "run", "pod"));
    assert_eq!(bring(&pod, 1, lines(1, 3)).await.json()["sequence"], 3);
    assert_eq!(bring(&pod, 1, lines(1, 3)).await.json()["sequence"], 3);
    // One that overlaps brings only what is new.
    assert_eq!(bring(&pod, 2, lines(2, 5)).await.json()["sequence"], 5);
    assert_eq!(stored(&hub, "run").await, ["model-1", "model-2", "model-3", "model-4", "model-5"]);
    assert!(bring(&pod, 7, lines(7, 7)).await.error(409).contains("send from record 6 on"));
    let hub = hub.restart(std::time::Duration::ZERO).await;
    let pod = hub.pod(Pod::foreign("team", "run", "pod"));
    assert_eq!(bring(&pod, 4, lines(4, 6)).await.json()["sequence"], 6);
    assert_eq!(stored(&hub, "run").await.len(), 6);
}

#[tokio::test]
async fn a_pod_of_others_brings_its_records_on_when_its_run_is_deleted() {
    let hub = Hub::start().await;
    crate::end_to_end::register(&hub, "run", "run-uid", serde_json::json!({})).await;
    let pod = hub.pod(Pod::foreign("team", "run", "pod"));
    assert_eq!(bring(&pod, 1, lines(1, 3)).await.json()["sequence"], 3);
    hub.operator().delete("/v1/runs/team/run?uid=run-uid").await.done();
    assert_eq!(bring(&pod, 4, lines(4, 5)).await.json()["sequence"], 5);
    assert_eq!(stored(&hub, "run").await, ["model-4", "model-5"]);
}

#[tokio::test]
async fn a_batch_with_a_bad_line_stores_nothing() {
    let hub = Hub::start().await;
    let pod = hub.pod(Pod::foreign("team", "run", "pod"));
    bring(&pod, 1, lines(1, 1)).await.json();
    let third = |line: &[u8]| [lines(2, 3).as_bytes(), line, b"\n", lines(5, 5).as_bytes()].concat();
    for bad in [&b"{"[..], b"[]", b"{}", b"null", b"\xff\xfe", &[b'['; 100_000]] {
        let sentence = bring(&pod, 2, third(bad)).await.error(400);
        assert!(sentence.starts_with("line 3 of the batch is no record: "), "{sentence}");
    }
    assert_eq!(stored(&hub, "run").await, ["model-1"]);
    assert_eq!(bring(&pod, 2, lines(2, 2)).await.json()["sequence"], 2);
}

#[tokio::test]
async fn a_batch_says_where_it_begins() {
    let hub = Hub::start().await;
    let pod = hub.pod(Pod::foreign("team", "run", "pod"));
    assert!(pod.post("/v1/trial/records", lines(1, 1)).await.error(400).contains(FIRST_SEQUENCE_HEADER));
    for wrong in ["0", "-1", "x", "99999999999999999999"] {
        let sentence = pod.clone().with(FIRST_SEQUENCE_HEADER, wrong).post("/v1/trial/records", lines(1, 1)).await.error(400);
        assert!(sentence.contains(FIRST_SEQUENCE_HEADER), "{wrong}: {sentence}");
    }
}

#[tokio::test]
async fn a_store_that_is_full_says_so_and_loses_nothing() {
    let hub = Hub::holding(1 << 20).await;
    let pod = hub.pod(Pod::foreign("team", "run", "pod"));
    let mut stored = 0;
    let refused = loop {
        let answered = bring(&pod, stored + 1, lines(stored + 1, stored + 100)).await;
        if answered.status != 200 {
            break answered;
        }
        stored += 100;
        assert!(stored < 100_000, "the store has a limit");
    };
    assert!(refused.error(503).contains("full"));
    assert_eq!(refused.headers["retry-after"], "10");
    let run = hub.reader("team").get("/v1/runs/team/run").await.json();
    assert_eq!(run["calls"], stored);
}

/// A body of `length` bytes, made as it is sent, and how many bytes of it were asked for.
fn endless(length: usize) -> (http_body_util::combinators::BoxBody<Bytes, std::io::Error>, Arc<AtomicUsize>) {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    let frames = futures::stream::iter(0..length / 65_536).map(move |_| {
        count.fetch_add(65_536, Ordering::Relaxed);
        Ok(Frame::data(Bytes::from_static(&[b'x'; 65_536])))
    });
    (BodyExt::boxed(StreamBody::new(frames)), sent)
}

#[tokio::test]
async fn a_batch_of_a_gibibyte_is_refused_unread() {
    let hub = Hub::start().await;
    let pod = hub.pod(Pod::foreign("team", "run", "pod")).with(FIRST_SEQUENCE_HEADER, "1");
    for says_so in [true, false] {
        let (body, sent) = endless(1 << 30);
        let pod = if says_so { pod.clone().with("content-length", (1_u64 << 30).to_string()) } else { pod.clone() };
        let answered = pod.stream(Method::POST, "/v1/trial/records", body).await.unwrap();
        assert!(answered.error(413).contains("8388608"));
        // What is on the way when the answer comes is a connection's window and buffers.
        let most = if says_so { 8 << 20 } else { 16 << 20 };
        assert!(sent.load(Ordering::Relaxed) <= most, "{} bytes were taken", sent.load(Ordering::Relaxed));
    }
    hub.reader("team").get("/v1/runs").await.json();
}

#[tokio::test]
async fn an_output_is_bounded_and_replaced() {
    let hub = Hub::start().await;
    let pod = hub.pod(Pod::foreign("team", "run", "pod"));
    pod.put("/v1/trial/output", "first").await.done();
    pod.put("/v1/trial/output", "second").await.done();
    assert!(pod.put("/v1/trial/output", vec![b'x'; (1 << 20) + 1]).await.error(413).contains("1048576"));
    let trials = hub.reader("team").get("/v1/runs/team/run/trials").await.json();
    assert_eq!(trials["items"][0]["output"], "second");
    for wrong in ["", "{", "[]", r#"{"last_sequence": -1, "output": "present"}"#] {
        pod.post("/v1/trial/end", wrong).await.error(400);
    }
    let early = pod.post("/v1/trial/end", r#"{"last_sequence": 3, "output": "present"}"#).await;
    assert!(early.error(409).contains("cannot end yet"));
}
