//! Equal calls of several pods are one upstream call, through the hub: stored answers, leases, and what is handed over without being stored.

use std::time::{Duration, Instant};

use agentrun_protocol::query::Filter;
use agentrun_tests::hub::{Hub, NAMESPACE, RUN};
use agentrun_tests::pod::{Pod, told};
use agentrun_tests::stage::Stage;
use serde_json::{Value, json};

/// Long enough for other pods' calls to come meanwhile.
const SLOW: [&str; 2] = ["-H", "x-origin-delay-ms: 1500"];

/// Pods of one run, each a trial of the same datapoint, as many as there are combos.
async fn pods(stage: &Stage, hub: &Hub, spec: &Value, count: usize) -> Vec<Pod> {
    hub.register(&["q"], spec).await;
    let mut pods = Vec::new();
    for combo in 0..count {
        let mut pod = Pod::new(&format!("trial-{combo}-0"), hub, &stage.upstream_arguments(), &["--output=output"]);
        pod.start().await;
        pods.push(pod);
    }
    pods
}

fn models(count: usize) -> Value {
    let models: Vec<String> = (0..count).map(|number| format!("m{number}")).collect();
    json!({"roles": [{"name": "solver", "models": models}]})
}

/// `(cached, layer, status)` of every record, sorted, after all pods have ended.
async fn layers(hub: &Hub, pods: Vec<Pod>) -> Vec<(bool, String, u64)> {
    for mut pod in pods {
        let (code, _, log) = pod.stop().await;
        assert_eq!(code, Some(0), "{log}");
    }
    let run = hub.archive().find(NAMESPACE, RUN, None).await.expect("the run is known");
    let page = hub.archive().calls(run, &Filter::default()).await.expect("the store answers");
    let records = page.items.iter().map(|record| serde_json::from_str::<Value>(record.get()).expect("a record is JSON"));
    let layer = |record: Value| {
        (
            record["cached"].as_bool().unwrap_or_default(),
            record["cache_layer"].as_str().unwrap_or("paid").to_owned(),
            record["status_code"].as_u64().unwrap_or_default(),
        )
    };
    let mut layers: Vec<_> = records.map(layer).collect();
    layers.sort();
    layers
}

/// Waits until the origin has been asked `count` times.
async fn asked(stage: &Stage, count: usize) {
    let began = Instant::now();
    while stage.origin().log().calls().len() < count {
        assert!(began.elapsed() < Duration::from_secs(60), "the origin was asked {} times", stage.origin().log().calls().len());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn paid(status: u64) -> (bool, String, u64) {
    (false, "paid".to_owned(), status)
}

async fn stage() -> (Stage, Hub) {
    tokio::join!(Stage::new(&["api.openai.com"]), Hub::start())
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_calls_of_many_pods_are_one_upstream_call() {
    let (stage, hub) = stage().await;
    let pods = pods(&stage, &hub, &models(4), 4).await;
    let asking = pods[..3].iter().map(|pod| pod.ask("one", &SLOW).output());
    let answers: Vec<_> = futures::future::join_all(asking).await.iter().map(|output| told(output.as_ref().unwrap())).collect();
    assert!(answers.iter().all(|answer| *answer == answers[0] && answer.1 == 200), "{answers:?}");
    // One that comes later, and one that the pod itself has.
    for pod in [3, 3] {
        assert_eq!(told(&pods[pod].ask("one", &[]).output().await.unwrap()), answers[0]);
    }
    assert_eq!(stage.origin().log().calls().len(), 1);
    let layers = layers(&hub, pods).await;
    assert_eq!((layers.len(), layers.iter().filter(|layer| **layer == paid(200)).count()), (5, 1), "{layers:?}");
    assert!(layers.contains(&(true, "memory".to_owned(), 200)) && layers.contains(&(true, "hub".to_owned(), 200)), "{layers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_leading_pod_dies_another_leads() {
    let (stage, hub) = stage().await;
    let mut pods = pods(&stage, &hub, &models(2), 2).await;
    let hanging = pods[0].ask("one", &["-H", "x-origin-script: hang-head"]).spawn().unwrap();
    asked(&stage, 1).await;
    let following = pods[1].ask("one", &[]).spawn().unwrap();
    // Longer than a lease that is not renewed: it is.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(stage.origin().log().calls().len(), 1, "a follower did not wait");
    pods[0].kill().await;
    let answer = told(&following.wait_with_output().await.unwrap());
    assert_eq!(answer.1, 200);
    assert_eq!(stage.origin().log().calls().len(), 2);
    drop(hanging);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_is_handed_to_those_that_wait_and_not_kept() {
    let (stage, hub) = stage().await;
    let pods = pods(&stage, &hub, &models(2), 2).await;
    let failing = [SLOW[0], SLOW[1], "-H", "x-origin-script: status-429"];
    let leading = pods[0].ask("one", &failing).spawn().unwrap();
    asked(&stage, 1).await;
    let following = pods[1].ask("one", &[]).spawn().unwrap();
    for call in [leading, following] {
        assert_eq!(told(&call.wait_with_output().await.unwrap()).1, 429);
    }
    assert_eq!(stage.origin().log().calls().len(), 1);
    assert_eq!(told(&pods[1].ask("one", &[]).output().await.unwrap()).1, 200);
    assert_eq!(stage.origin().log().calls().len(), 2);
    assert_eq!(layers(&hub, pods).await, [(false, "flight".to_owned(), 429), paid(200), paid(429)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_whose_client_went_away_is_read_to_its_end_and_shared() {
    let (stage, hub) = stage().await;
    let pods = pods(&stage, &hub, &models(2), 2).await;
    let mut impatient = pods[0].ask("one", &SLOW).spawn().unwrap();
    asked(&stage, 1).await;
    impatient.kill().await.unwrap();
    assert_eq!(told(&pods[1].ask("one", &[]).output().await.unwrap()).1, 200);
    assert_eq!(stage.origin().log().calls().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_to_be_shared_is_asked_for_by_each() {
    let (stage, hub) = stage().await;
    let pods = pods(&stage, &hub, &models(2), 2).await;
    let huge = [SLOW[0], SLOW[1], "-H", "x-origin-script: huge-body", "-o", "/dev/null"];
    let leading = pods[0].ask("one", &huge).spawn().unwrap();
    asked(&stage, 1).await;
    let following = pods[1].ask("one", &[]).spawn().unwrap();
    for call in [leading, following] {
        assert_eq!(told(&call.wait_with_output().await.unwrap()).1, 200);
    }
    assert_eq!(stage.origin().log().calls().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_another_pod_comes_in_the_shape_asked_for() {
    let (stage, hub) = stage().await;
    let pods = pods(&stage, &hub, &models(2), 2).await;
    let body =
        |stream: bool| json!({"model": "gpt-4.1-nano", "messages": [{"role": "user", "content": "one"}], "stream": stream}).to_string();
    let ask = |pod: &Pod, stream: bool| {
        let body = body(stream);
        pod.agent(&["curl", "-sSf", "-H", "content-type: application/json", "-d", &body, "https://api.openai.com/v1/chat/completions"])
            .output()
    };
    let plain = ask(&pods[0], false).await.unwrap();
    let stream = ask(&pods[1], true).await.unwrap();
    let (plain, stream) = (String::from_utf8(plain.stdout).unwrap(), String::from_utf8(stream.stdout).unwrap());
    let message: Value = serde_json::from_str(&plain).unwrap();
    assert!(message["choices"][0]["message"]["content"].as_str().is_some_and(|text| text.contains("answer 1")), "{plain}");
    assert!(stream.starts_with("data: ") && stream.trim_end().ends_with("data: [DONE]") && stream.contains("answer 1"), "{stream}");
    assert_eq!(stage.origin().log().calls().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_may_only_replay_gets_what_others_stored_and_nothing_else() {
    let (stage, hub) = stage().await;
    let first = pods(&stage, &hub, &models(2), 1).await;
    assert_eq!(told(&first[0].ask("one", &[]).output().await.unwrap()).1, 200);
    assert_eq!(layers(&hub, first).await, [paid(200)]);
    let mut spec = models(2);
    spec["cache"] = json!({"mode": "ReplayOnly"});
    let again = pods(&stage, &hub, &spec, 2).await;
    assert_eq!(told(&again[1].ask("one", &[]).output().await.unwrap()).1, 200);
    assert_eq!(told(&again[1].ask("two", &[]).output().await.unwrap()).1, 409);
    assert_eq!(stage.origin().log().calls().len(), 1);
}
