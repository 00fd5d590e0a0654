//! A pod's sidecar with a real hub: its trial, its records, its output, its end, whatever becomes of either.

use std::time::{Duration, Instant};

use agentrun_hub::archive::Archive;
use agentrun_protocol::query::Filter;
use agentrun_tests::hub::{Hub, NAMESPACE, RUN};
use agentrun_tests::pod::{Pod, told};
use agentrun_tests::stage::Stage;
use serde_json::{Value, json};

/// What the sidecar says of a call.
const WAITS: &str = "a call waits for the hub";
const TRIAL: [&str; 4] = ["--input=input", "--output=output", "--timeout=60", "--wrapped"];

async fn stage() -> (Stage, Hub) {
    tokio::join!(Stage::new(&["api.openai.com"]), Hub::start())
}

fn pod(name: &str, stage: &Stage, hub: &Hub, flags: &[&str]) -> Pod {
    Pod::new(name, hub, &stage.upstream_arguments(), flags)
}

/// Every record of the run, oldest first.
async fn records(archive: &Archive) -> Vec<Value> {
    let run = archive.find(NAMESPACE, RUN, None).await.expect("the run is known");
    let page = archive.calls(run, &Filter::default()).await.expect("the store answers");
    page.items.iter().map(|record| serde_json::from_str(record.get()).expect("a record is JSON")).collect()
}

/// The trials of the run that have anything to tell.
async fn trials(archive: &Archive) -> Vec<Value> {
    let run = archive.find(NAMESPACE, RUN, None).await.expect("the run is known");
    let page = archive.trials(run, &Filter::default()).await.expect("the store answers");
    let all = page.items.into_iter().map(|trial| serde_json::to_value(trial).expect("a trial is JSON"));
    all.filter(|trial| trial["pod"] != Value::Null).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_gets_its_input_and_hands_over_records_output_and_its_end() {
    let (stage, hub) = stage().await;
    hub.register(&["two plus two"], &json!({})).await;
    let mut pod = pod("trial-0-0", &stage, &hub, &TRIAL);
    pod.start().await;
    assert_eq!(std::fs::read_to_string(pod.exchange("input")).unwrap(), "two plus two");
    let question = r#"{"model": "gpt-4.1-nano", "messages": [{"role": "user", "content": "q"}]}"#;
    let script = format!(
        "echo $AGENTRUN_DATA_ID $AGENTRUN_SAMPLE; cat; for i in 1 2; do curl -sSf -H 'content-type: application/json' -d '{question}' \
         https://api.openai.com/v1/chat/completions >/dev/null || exit 1; done"
    );
    let flags = [format!("--stdin={}", pod.exchange("input").display()), format!("--stdout={}", pod.exchange("output").display())];
    let agent = pod.wrapped(&[&flags[0], &flags[1]], &["sh", "-c", &script]).output().await.unwrap();
    assert!(agent.status.success(), "{}", String::from_utf8_lossy(&agent.stderr));
    let (code, took, log) = pod.stop().await;
    assert_eq!(code, Some(0), "{log}");
    assert!(took < Duration::from_secs(2), "a sidecar may be left with 2 s, this one took {took:?}\n{log}");
    let calls = records(hub.archive()).await;
    assert_eq!(calls.len(), 2, "{calls:?}");
    for call in &calls {
        assert_eq!((&call["run"], &call["data_id"], &call["sample"]), (&json!(RUN), &json!("q0"), &json!(0)));
        assert!(call["combo_id"].as_str().is_some_and(|combo| combo.contains('a')), "{call}");
    }
    assert_eq!((&calls[0]["cached"], &calls[1]["cached"]), (&json!(false), &json!(true)));
    assert_eq!(calls[0]["request_body"]["messages"][0]["content"], "q");
    let trials = trials(hub.archive()).await;
    assert_eq!(trials.len(), 1, "{trials:?}");
    assert_eq!((&trials[0]["output"], &trials[0]["calls"]), (&json!("q0 0\ntwo plus two"), &json!(2)));
    assert_eq!(trials[0]["state"], "Succeeded", "{}", trials[0]);
    assert!(trials[0]["latency_seconds"].as_f64().is_some_and(|seconds| (0.0..30.0).contains(&seconds)), "{}", trials[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_hub_calls_work_and_everything_follows_when_it_is_back() {
    let (stage, mut hub) = stage().await;
    hub.register(&["q"], &json!({})).await;
    let mut pod = pod("trial-0-0", &stage, &hub, &TRIAL);
    pod.start().await;
    hub.stop().await;
    // The hub was there, so that the call waits for it before it goes without.
    let began = Instant::now();
    assert_eq!(told(&pod.ask("one", &[]).output().await.unwrap()).1, 200);
    assert!(began.elapsed() > Duration::from_secs(25), "it did not wait: {:?}", began.elapsed());
    assert_eq!(told(&pod.ask("two", &[]).output().await.unwrap()).1, 200);
    std::fs::write(pod.exchange("output"), "done").unwrap();
    pod.signal("TERM").await;
    hub.start_again().await;
    let (code, log) = pod.ended().await;
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(log.matches(WAITS).count(), 1, "the second call waited once more\n{log}");
    assert_eq!(records(hub.archive()).await.len(), 2, "{log}");
    let trials = trials(hub.archive()).await;
    assert_eq!((&trials[0]["output"], &trials[0]["calls"]), (&json!("done"), &json!(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_of_others_begins_without_the_hub_and_its_records_follow() {
    let (stage, mut hub) = stage().await;
    hub.stop().await;
    let mut pod = pod("somebody", &stage, &hub, &[]);
    pod.start().await;
    assert_eq!(told(&pod.ask("one", &[]).output().await.unwrap()).1, 200);
    hub.start_again().await;
    let (code, _, log) = pod.stop().await;
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains(WAITS), "a call waited for a hub that was never there\n{log}");
    let calls = records(hub.archive()).await;
    assert_eq!(calls.len(), 1, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_that_was_killed_goes_on_where_it_was() {
    let (stage, mut hub) = stage().await;
    hub.register(&["q"], &json!({})).await;
    let mut pod = pod("trial-0-0", &stage, &hub, &TRIAL);
    pod.start().await;
    assert_eq!(told(&pod.ask("one", &[]).output().await.unwrap()).1, 200);
    // The answer goes to the hub before its record does.
    while records(hub.archive()).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    hub.stop().await;
    assert_eq!(told(&pod.ask("one", &[]).output().await.unwrap()).1, 200, "a stored answer needs no hub");
    // Its record is on disk within 100 ms.
    tokio::time::sleep(Duration::from_millis(500)).await;
    pod.kill().await;
    hub.start_again().await;
    pod.start().await;
    assert_eq!(told(&pod.ask("one", &[]).output().await.unwrap()).1, 200);
    let (code, _, log) = pod.stop().await;
    assert_eq!(code, Some(0), "{log}");
    let calls = records(hub.archive()).await;
    let layers: Vec<&Value> = calls.iter().map(|call| &call["cache_layer"]).collect();
    assert_eq!(layers, [&json!(null), &json!("memory"), &json!("hub")], "{log}");
    assert_eq!(stage.origin().log().calls().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_the_hub_has_lost_are_sent_again() {
    let (stage, mut hub) = stage().await;
    hub.register(&["q"], &json!({})).await;
    let mut pod = pod("trial-0-0", &stage, &hub, &TRIAL);
    pod.start().await;
    assert_eq!(told(&pod.ask("one", &[]).output().await.unwrap()).1, 200);
    while records(hub.archive()).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The sidecar knows that the hub has it.
    while !pod.spool().join("calls.shipped").exists() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    hub.lose().await;
    hub.start_again().await;
    hub.register(&["q"], &json!({})).await;
    assert_eq!(told(&pod.ask("two", &[]).output().await.unwrap()).1, 200);
    std::fs::write(pod.exchange("output"), "done").unwrap();
    let (code, _, log) = pod.stop().await;
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(records(hub.archive()).await.len(), 2, "{log}");
    let trials = trials(hub.archive()).await;
    assert_eq!((&trials[0]["output"], &trials[0]["calls"]), (&json!("done"), &json!(2)), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_signals_leave_the_spool_as_it_is() {
    let (stage, mut hub) = stage().await;
    hub.register(&["q"], &json!({})).await;
    let mut pod = pod("trial-0-0", &stage, &hub, &TRIAL);
    pod.start().await;
    assert_eq!(told(&pod.ask("one", &[]).output().await.unwrap()).1, 200);
    hub.stop().await;
    assert_eq!(told(&pod.ask("one", &[]).output().await.unwrap()).1, 200);
    pod.signal("TERM").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    pod.signal("TERM").await;
    let (_, log) = pod.ended().await;
    assert!(log.contains("stays in the spool") && !log.contains("the hub has everything"), "{log}");
    let journal = agentrun_sidecar::journal::Reader::open(&pod.spool().join("calls.db")).unwrap();
    assert_eq!(journal.calls(&agentrun_sidecar::journal::Filter::default()).unwrap().len(), 2);
}
