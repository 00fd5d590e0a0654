//! Models chosen by a policy: before the key is made, and told in the records.

use std::path::Path;
use std::process::Output;

use agentrun_protocol::query::Filter;
use agentrun_sidecar::route::{Policy, Router};
use agentrun_sidecar::{Limits, Session};
use agentrun_tests::hub::{Hub, NAMESPACE, RUN};
use agentrun_tests::origin::Options;
use agentrun_tests::pod::Pod;
use agentrun_tests::proxy::{HOST, Proxy};
use agentrun_tests::stage::{Stage, told};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::task::JoinHandle;

/// Asks with one prompt after the other, each for `large`; prints the statuses.
const ASK: &str = r#"for prompt in "$@"; do
    curl -sS --max-time 60 -o answer -w '%{http_code} ' -d "{\"model\": \"large\", \"messages\": [{\"role\": \"user\", \"content\": \"$prompt\"}]}" \
        https://api.openai.com/v1/chat/completions || exit 1
done"#;

async fn asked(stage: &Stage, policy: &Value, prompts: &[&str]) -> Output {
    std::fs::write(stage.folder().join("routing.yaml"), policy.to_string()).expect("the stage's folder can be written");
    let command = [&["sh", "-c", ASK, "ask"], prompts].concat().iter().map(|part| (*part).to_owned()).collect::<Vec<_>>();
    stage.exec(&["--routing", "routing.yaml"], &command).output().await.expect("agentrun starts")
}

/// (asked, sent, cached) of every call.
async fn models(stage: &Stage) -> Vec<(String, String, bool)> {
    let text = |call: &Value, key: &str| call[key].as_str().unwrap_or_default().to_owned();
    let told = |call: &Value| (text(call, "requested_model"), text(call, "model"), call["cached"] == true);
    stage.calls(&[]).await.iter().map(told).collect()
}

fn sent(model: &str, cached: bool) -> (String, String, bool) {
    ("large".to_owned(), model.to_owned(), cached)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_drawn_is_sent_and_is_the_keys_model() {
    let stage = Stage::new(&["api.openai.com"]).await;
    let policy = json!({"random": {"candidates": ["a", "b", "c"], "seed": 0}});
    let output = asked(&stage, &policy, &["x", "x", "x", "x", "x", "y"]).await;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "200 200 200 200 200 200 ", "{}", told(&output));
    // CPython draws 1, 1, 0, 1, 2, 1 from seed 0; equal prompts to equal models are paid once.
    let expected = [sent("b", false), sent("b", true), sent("a", false), sent("b", true), sent("c", false), sent("b", false)];
    assert_eq!(models(&stage).await, expected);
    let body = |text: &str| serde_json::from_str::<Value>(text).expect("it is what curl was given");
    let received: Vec<Value> = stage.origin().log().calls().iter().map(|call| body(&call.body)["model"].clone()).collect();
    assert_eq!(received, [json!("b"), json!("a"), json!("c"), json!("b")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_look_at_the_request_and_at_the_calls_before() {
    let stage = Stage::new(&["api.openai.com"]).await;
    let policy = json!({"rules": {"rules": [
        {"when": "request.messages[0].content.startsWith('easy')", "model": "small"},
        {"when": "history.filter(call, call.model == 'large').size() >= 2", "model": "medium"},
    ]}});
    let output = asked(&stage, &policy, &["one", "easy", "two", "three"]).await;
    assert!(output.status.success(), "{}", told(&output));
    assert_eq!(models(&stage).await, [sent("large", false), sent("small", false), sent("large", false), sent("medium", false)]);
}

/// A policy of another process: answers each question with `answer`, and hands out what it was asked.
fn policy(socket: &Path, answer: &'static str) -> JoinHandle<Vec<Value>> {
    let listener = UnixListener::bind(socket).expect("the stage's folder can be written");
    tokio::spawn(async move {
        let mut questions = Vec::new();
        while questions.len() < 2 {
            let (mut stream, _) = listener.accept().await.expect("somebody asks");
            let mut bytes = Vec::new();
            let question = loop {
                let mut buffer = [0; 4096];
                let count = stream.read(&mut buffer).await.expect("it asks to the end");
                assert!(count > 0, "it went away");
                bytes.extend_from_slice(&buffer[..count]);
                let text = String::from_utf8_lossy(&bytes);
                if let Some(question) = text.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str(body).ok()) {
                    break question;
                }
            };
            questions.push(question);
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", answer.len());
            stream.write_all(format!("{head}{answer}").as_bytes()).await.expect("it listens");
        }
        questions
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_decides() {
    let stage = Stage::new(&["api.openai.com"]).await;
    let socket = stage.folder().join("policy.sock");
    let asking = policy(&socket, r#"{"model": "medium"}"#);
    let webhook = json!({"webhook": {"url": format!("unix://{}", socket.display()), "timeoutMilliseconds": 30_000}});
    let output = asked(&stage, &webhook, &["one", "two"]).await;
    assert!(output.status.success(), "{}", told(&output));
    assert_eq!(models(&stage).await, [sent("medium", false), sent("medium", false)]);
    let questions = asking.await.expect("the policy runs to its end");
    assert_eq!((&questions[0]["model"], &questions[0]["provider"]), (&json!("large"), &json!("openai")));
    assert_eq!(questions[0]["request"]["messages"][0]["content"], "one");
    assert_eq!(questions[0]["history"], json!([]));
    assert_eq!((&questions[1]["history"][0]["model"], &questions[1]["history"][0]["status"]), (&json!("medium"), &json!(200)));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_decision_calls_keep_their_model_or_are_refused() {
    let stage = Stage::new(&["api.openai.com"]).await;
    let webhook = |failure: &str| json!({"webhook": {"url": "unix:///nobody/is/here", "failure": failure}});
    let output = asked(&stage, &webhook("Open"), &["one"]).await;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "200 ", "{}", told(&output));
    let output = asked(&stage, &webhook("Closed"), &["two"]).await;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "503 ", "{}", told(&output));
    let answer = std::fs::read_to_string(stage.folder().join("answer")).expect("curl wrote it");
    assert!(answer.contains("the routing webhook gave no decision"), "{answer}");
    assert_eq!(stage.origin().log().calls().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_is_none_is_refused_before_anything_runs() {
    let stage = Stage::new(&["api.openai.com"]).await;
    for (policy, says) in [
        (json!({"random": {"candidates": []}}), "at least one candidate"),
        (json!({"rules": {"rules": [{"when": "modle == 'a'", "model": "b"}]}}), "rules[0].when: there is no `modle`"),
        (json!({"dice": {}}), "dice"),
    ] {
        let output = asked(&stage, &policy, &["one"]).await;
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && told.contains(says) && told.contains("routing.yaml"), "{told}");
        assert!(output.stdout.is_empty());
    }
}

/// What a run of the models `m` and `n` on two datapoints draws of `a`, `b` and `c` with seed 7, three calls a trial, as CPython draws it by the rule of
/// docs/decisions/0005-draws.md.
const DRAWN: [(&str, &str, [&str; 3]); 4] = [
    ("solver=m", "q0", ["a", "c", "a"]),
    ("solver=m", "q1", ["b", "a", "b"]),
    ("solver=n", "q0", ["b", "b", "a"]),
    ("solver=n", "q1", ["c", "b", "a"]),
];
const THREE: &str = r#"for prompt in one two three; do
    curl -sSf -o /dev/null -d "{\"model\": \"$AGENTRUN_MODEL_SOLVER\", \"messages\": [{\"role\": \"user\", \"content\": \"$prompt\"}]}" \
        https://api.openai.com/v1/chat/completions || exit 1
done; echo ok"#;

fn routing() -> Value {
    json!({"random": {"candidates": ["a", "b", "c"], "seed": 7}})
}

/// The models of a trial's calls in the order they ended.
fn sent_by(records: &[Value], combo: &str, datapoint: &str) -> Vec<String> {
    let own = records.iter().filter(|record| record["combo_id"] == combo && record["data_id"] == datapoint);
    own.map(|record| record["model"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trials_of_a_run_draw_from_the_seed_and_the_trial() {
    let stage = Stage::new(&["api.openai.com"]).await;
    let manifest = json!({
        "apiVersion": "agentrun.dev/v1alpha1", "kind": "AgentRun", "metadata": {"name": "drawn"},
        "spec": {
            "roles": [{"name": "solver", "models": ["m", "n"]}],
            "dataset": {"items": [{"id": "q0", "input": "zero", "expected": "ok"}, {"id": "q1", "input": "one", "expected": "ok"}]},
            "agent": {"output": {"stdout": true}, "input": {"stdin": true}},
            "template": {"spec": {"containers": [{"name": "agent", "image": "none", "command": ["sh", "-c", THREE]}]}},
            "scoring": {"contains": {}},
            "routing": routing(),
        }
    });
    std::fs::write(stage.folder().join("drawn.json"), manifest.to_string()).expect("the stage's folder can be written");
    let upstream = stage.upstream_arguments();
    let arguments = ["run", "-f", "drawn.json"].into_iter().chain(upstream.iter().map(String::as_str)).collect::<Vec<_>>();
    let output = stage.agentrun(&arguments).output().await.expect("agentrun starts");
    assert!(output.status.success(), "{}", told(&output));
    let records = stage.calls(&[]).await;
    for (combo, datapoint, models) in DRAWN {
        assert_eq!(sent_by(&records, combo, datapoint), models, "{combo}, {datapoint}");
    }
    let asked =
        records.iter().all(|record| record["combo_id"] == format!("solver={}", record["requested_model"].as_str().unwrap_or_default()));
    assert!(asked, "what was asked for stays the combo's: {records:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pods_trial_draws_as_it_does_on_one_machine() {
    let (stage, hub) = tokio::join!(Stage::new(&["api.openai.com"]), Hub::start());
    hub.register(&["zero", "one"], &json!({"roles": [{"name": "solver", "models": ["m", "n"]}], "routing": routing()})).await;
    for (name, model, (combo, datapoint, models)) in [("trial-0-1", "m", DRAWN[1]), ("trial-1-0", "n", DRAWN[2])] {
        let mut pod = Pod::new(name, &hub, &stage.upstream_arguments(), &["--input=input", "--output=output", "--timeout=60", "--wrapped"]);
        pod.start().await;
        let mut agent = pod.wrapped(&[], &["sh", "-c", THREE]);
        let output = agent.env("AGENTRUN_MODEL_SOLVER", model).output().await.expect("the agent starts");
        assert!(output.status.success(), "{}", told(&output));
        let (code, _, log) = pod.stop().await;
        assert_eq!(code, Some(0), "{log}");
        let archive = hub.archive();
        let run = archive.find(NAMESPACE, RUN, None).await.expect("the run is known");
        let page = archive.calls(run, &Filter::default()).await.expect("the store answers");
        let records: Vec<Value> = page.items.iter().map(|record| serde_json::from_str(record.get()).expect("a record is JSON")).collect();
        assert_eq!(sent_by(&records, combo, datapoint), models, "{combo}, {datapoint}");
    }
}

#[tokio::test]
async fn what_is_too_large_to_be_routed_is_refused() {
    let policy: Policy = serde_json::from_value(json!({"random": {"candidates": ["small"]}})).expect("it is a policy");
    let router = Router::new(&policy).expect("it can be used");
    let session = Session { router: Some(router), ..Session::default() };
    let limits = Limits { entry_bytes: 64 << 10, ..Limits::default() };
    let proxy = Proxy::with(Options::default(), session, |config| config.limits = limits).await;
    let large = json!({"model": "large", "messages": [{"role": "user", "content": "x".repeat(2 << 20)}], "input": "x"}).to_string();
    let refused = proxy.ask(HOST, "/v1/chat/completions", "", large.as_bytes()).await.expect("it is answered");
    assert_eq!(refused.status, 413, "its model cannot be seen, and the one it asks for is not the one that is chosen");
    let passed = proxy.ask(HOST, "/v1/embeddings", "", large.as_bytes()).await.expect("it is answered");
    assert_eq!(passed.status, 200, "its model would not be chosen");
    assert_eq!(proxy.origin.log().calls().len(), 1);
}
