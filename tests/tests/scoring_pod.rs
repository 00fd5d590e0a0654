//! A scoring pod: outputs go to the user's program, and its answers become scores.

use std::net::TcpListener;
use std::process::Stdio;
use std::time::{Duration, Instant};

use agentrun_protocol::query::Filter;
use agentrun_tests::hub::{self, Hub, NAMESPACE, RUN};
use agentrun_tests::pod::{Pod, sidecar_binary, told};
use agentrun_tests::stage::Stage;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// Reads a question a line and answers it; without `PYTHONUNBUFFERED` its answers stay in its buffer until it ends.
const SCORER: &str = "
import json, sys
for line in sys.stdin:
    question = json.loads(line)
    good = question['expected'] in question['output']
    print(json.dumps({'score': 1.0 if good else 0.25, 'reason': question['input']}))
";

/// Two finished trials, with the outputs `ok then` and `no`.
async fn finished(hub: &Hub) {
    let stage = Stage::new(&["api.openai.com"]).await;
    hub.register(&["first", "second"], &json!({"scoring": {"container": {"image": "scorer", "command": ["score"]}}})).await;
    for (index, output) in ["ok then", "no"].iter().enumerate() {
        let mut pod = Pod::new(&format!("trial-0-{index}"), hub, &stage.upstream_arguments(), &["--output=output", "--wrapped"]);
        pod.start().await;
        assert_eq!(told(&pod.ask(output, &[]).output().await.expect("curl starts")).1, 200);
        std::fs::write(pod.exchange("output"), output).expect("the folder can be written");
        // The end of a wrapped command is its trial's, whatever the Job controller says later.
        assert!(pod.wrapped(&[], &["true"]).status().await.expect("the wrapper starts").success());
        let (code, _, log) = pod.stop().await;
        assert_eq!(code, Some(0), "{log}");
    }
}

/// A scoring pod's two processes: the sidecar, and the wrapper around `program`, which asks the sidecar how it went.
async fn score(hub: &Hub, program: &[&str]) -> (Child, Child, TempDir) {
    score_with(hub, &[], program).await
}

/// The same with further `flags` of the sidecar.
async fn score_with(hub: &Hub, flags: &[&str], program: &[&str]) -> (Child, Child, TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("token"), hub::token("scoring")).expect("the temporary folder can be written");
    let admin = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free").local_addr().expect("it has an address");
    let mut sidecar = Command::new(sidecar_binary());
    sidecar.args(["score", &format!("--admin={admin}")]).args(flags).env_clear().kill_on_drop(true).stderr(Stdio::piped());
    for (flag, value) in [
        ("hub", hub.url()),
        ("hub-ca", hub.ca_pem().to_owned()),
        ("token", path("token")),
        ("exchange-dir", folder.path().display().to_string()),
        ("trust-dir", folder.path().display().to_string()),
    ] {
        sidecar.arg(format!("--{flag}={value}"));
    }
    let sidecar = sidecar.spawn().expect("the sidecar starts");
    let began = Instant::now();
    while !folder.path().join("agentrun-wrap").exists() {
        assert!(began.elapsed() < Duration::from_secs(60), "the sidecar does not start");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut wrapper = Command::new(path("agentrun-wrap"));
    wrapper
        .arg(format!("--score={}", path("score.sock")))
        .arg(format!("--sidecar={admin}"))
        .arg("--")
        .args(program)
        .kill_on_drop(true)
        .stderr(Stdio::piped());
    (sidecar, wrapper.spawn().expect("the wrapper starts"), folder)
}

async fn trials(hub: &Hub) -> Vec<Value> {
    let run = hub.archive().find(NAMESPACE, RUN, None).await.expect("the run is known");
    let page = hub.archive().trials(run, &Filter::default()).await.expect("the store answers");
    let all = page.items.into_iter().map(|trial| serde_json::to_value(trial).expect("a trial is JSON"));
    all.filter(|trial| trial["pod"] != Value::Null).collect()
}

async fn terminate(sidecar: &Child) {
    let process = sidecar.id().expect("it runs").to_string();
    assert!(Command::new("kill").arg(process).status().await.expect("there is kill").success());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_output_gets_its_score_from_the_users_program() {
    let hub = Hub::start().await;
    finished(&hub).await;
    // -E: without Python's variables.
    let (sidecar, mut wrapper, _folder) = score(&hub, &["python3", "-E", "-c", SCORER]).await;
    assert!(wrapper.wait().await.expect("it is our process").success());
    terminate(&sidecar).await;
    let ended = sidecar.wait_with_output().await.expect("it is our process");
    let log = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{log}");
    let trials = trials(&hub).await;
    let scores: Vec<_> = trials.iter().map(|trial| (&trial["state"], &trial["score"], &trial["score_reason"])).collect();
    let succeeded = json!("Succeeded");
    assert_eq!(scores, [(&succeeded, &json!(1.0), &json!("first")), (&succeeded, &json!(0.25), &json!("second"))], "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_talks_is_not_believed() {
    let hub = Hub::start().await;
    finished(&hub).await;
    // It hears nothing of its failure, and ends well: its pod must not.
    let (sidecar, wrapper, _folder) = score(&hub, &["sh", "-c", "echo loading model; cat > /dev/null"]).await;
    let ended = wrapper.wait_with_output().await.expect("it is our process");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success() && said.contains("no answer: `loading model`"), "{said}");
    terminate(&sidecar).await;
    let ended = sidecar.wait_with_output().await.expect("it is our process");
    let log = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success() && log.contains("no answer: `loading model`"), "{log}");
    assert!(trials(&hub).await.iter().all(|trial| trial["score"].is_null()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_ends_before_it_is_asked_has_scored_nothing() {
    let hub = Hub::start().await;
    finished(&hub).await;
    let (sidecar, wrapper, _folder) = score(&hub, &["true"]).await;
    let ended = wrapper.wait_with_output().await.expect("it is our process");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success() && said.contains("the scoring program ended before it"), "{said}");
    terminate(&sidecar).await;
    assert!(!sidecar.wait_with_output().await.expect("it is our process").status.success());
    assert!(trials(&hub).await.iter().all(|trial| trial["score"].is_null()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_does_not_answer_is_ended() {
    let hub = Hub::start().await;
    finished(&hub).await;
    let (sidecar, wrapper, _folder) = score_with(&hub, &["--answer-timeout=1"], &["sleep", "3600"]).await;
    let ended = wrapper.wait_with_output().await.expect("it is our process");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success() && said.contains("gave no answer for 1 s"), "{said}");
    terminate(&sidecar).await;
    assert!(!sidecar.wait_with_output().await.expect("it is our process").status.success());
    assert!(trials(&hub).await.iter().all(|trial| trial["score"].is_null()));
}
