//! Upstreams that misbehave: each call leaves one record that says what happened, and nothing but a whole good answer is kept.

use agentrun_tests::origin::Options;
use agentrun_tests::stage::{Stage, told};
use serde_json::Value;

/// What a script must leave behind.
struct Case {
    script: &'static str,
    stream: bool,
    /// curl's own exit status: 0 the answer was whole, anything else it was not.
    curl_succeeds: bool,
    outcome: &'static [&'static str],
    status: u16,
    /// Whether tokens were read.
    usage: bool,
    /// Whether the repeated call is a hit.
    stored: bool,
}

const fn whole(script: &'static str, stream: bool) -> Case {
    Case { script, stream, curl_succeeds: true, outcome: &["complete"], status: 200, usage: true, stored: true }
}

/// The answer came whole and cannot be read: passed, recorded, never a guess.
const fn unread(script: &'static str) -> Case {
    Case { usage: false, stored: false, outcome: &["unreadable"], ..whole(script, false) }
}

const fn refused(script: &'static str, status: u16) -> Case {
    Case { usage: false, stored: false, outcome: &["http_error"], status, ..whole(script, false) }
}

const fn cut(script: &'static str, stream: bool) -> Case {
    Case { curl_succeeds: false, usage: false, stored: false, outcome: &["upstream_cut"], status: 0, ..whole(script, stream) }
}

const CASES: &[Case] = &[
    whole("gzip", false),
    whole("gzip", true),
    whole("deflate", false),
    whole("br", false),
    whole("br", true),
    whole("zstd", false),
    whole("trailers", true),
    whole("one-byte", true),
    whole("split-utf8", true),
    whole("split-utf8", false),
    whole("early-hints", false),
    whole("until-close", true),
    whole("huge-event", true),
    unread("lying-encoding"),
    unread("not-json"),
    Case { usage: false, ..whole("wrong-types", false) },
    unread("bomb"),
    Case { outcome: &["complete"], ..unread("huge-body") },
    refused("status-400", 400),
    refused("status-401", 401),
    refused("status-429", 429),
    refused("status-500", 500),
    refused("status-503", 503),
    Case { outcome: &["provider_error"], ..unread("error-in-200") },
    Case { outcome: &["provider_error"], stream: true, ..unread("error-event") },
    Case { outcome: &["upstream_cut"], stream: true, ..unread("no-end") },
    cut("cut", true),
    cut("cut", false),
    cut("cut-mid-utf8", true),
    cut("cut-mid-chunk", true),
    cut("reset-mid-chunk", true),
    // All of the answer came, less than was promised: what it cost is known, and it is not kept.
    Case { usage: true, ..cut("short-body", false) },
    Case { usage: true, ..cut("short-body", true) },
    cut("bad-chunk", true),
];

/// Scripts that fail before there is an answer: the client gets the proxy's own 5xx.
const NO_ANSWER: &[&str] = &["reset", "close", "bad-head", "huge-head"];

async fn call(stage: &Stage, script: &str, stream: bool, limit: &str) -> std::process::Output {
    let body = format!(r#"{{"model": "script/{script}", "messages": [{{"role": "user", "content": "x"}}], "stream": {stream}}}"#);
    let url = "https://api.openai.com/v1/chat/completions";
    let command = ["curl", "-sS", "--max-time", limit, "-o", "answer", "-w", "%{http_code}", "--compressed", "-d", &body, url];
    stage.exec(&[], &command.map(str::to_owned)).output().await.expect("agentrun starts")
}

async fn only_record(stage: &Stage) -> Value {
    let mut records = stage.calls(&[]).await;
    assert_eq!(records.len(), 1, "{records:#?}");
    records.remove(0)
}

async fn check(case: &Case) {
    let at = format!("{} {}", case.script, if case.stream { "stream" } else { "plain" });
    let stage = Stage::with(&["api.openai.com"], Options { http2: false, ..Options::default() }).await;
    let output = call(&stage, case.script, case.stream, "60").await;
    // curl itself cannot decode what lies about its coding; all the same its bytes came through.
    let decoded = case.script != "lying-encoding";
    assert_eq!(output.status.success(), case.curl_succeeds && decoded, "{at}: {}", told(&output));
    let record = only_record(&stage).await;
    assert!(case.outcome.contains(&record["outcome"].as_str().unwrap_or_default()), "{at}: {record:#}");
    assert_eq!(record["status_code"], case.status, "{at}: {record:#}");
    assert_eq!(record["usage"].is_object(), case.usage, "{at}: {record:#}");
    assert_eq!(record["usage_error"].is_string(), !case.usage, "{at}: {record:#}");
    if case.usage {
        assert_eq!(record["prompt_tokens"], 21, "{at}");
    }
    if case.usage && case.curl_succeeds {
        let body = String::from_utf8(std::fs::read(stage.folder().join("answer")).expect("curl wrote it")).expect("the answer is UTF-8");
        assert!(body.contains("Grüße"), "{at}: {body}");
    }
    call(&stage, case.script, case.stream, "60").await;
    let received = stage.origin().log().calls().len();
    assert_eq!(received, if case.stored { 1 } else { 2 }, "{at}: whether the repeated call is a hit");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_ending_leaves_its_record() {
    for case in CASES {
        check(case).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_gives_no_answer_is_an_error_that_says_so() {
    for script in NO_ANSWER {
        let stage = Stage::with(&["api.openai.com"], Options { http2: false, ..Options::default() }).await;
        let output = call(&stage, script, false, "60").await;
        assert!(output.stdout.starts_with(b"50"), "{script}: {}", told(&output));
        let error: Value = serde_json::from_slice(&std::fs::read(stage.folder().join("answer")).expect("curl wrote it"))
            .unwrap_or_else(|error| panic!("{script}: the error is not in the provider's shape: {error}"));
        assert!(error["error"]["message"].is_string(), "{script}: {error}");
        let record = only_record(&stage).await;
        assert_ne!(record["outcome"], "complete", "{script}");
        assert_eq!(record["status_code"], 0, "{script}: {record:#}");
        assert!(record["error"].is_string(), "{script}: {record:#}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_connection_is_recorded() {
    let mut stage = Stage::new(&["api.openai.com"]).await;
    stage.switch_origin_off().await;
    let output = call(&stage, "gzip", false, "60").await;
    assert_eq!(output.stdout, b"502", "{}", told(&output));
    assert_eq!(only_record(&stage).await["outcome"], "upstream_refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_with_a_strangers_certificate_is_recorded() {
    let stage = Stage::new(&["api.openai.com"]).await;
    let url = format!("api.openai.com={}", stage.origin().url());
    let arguments = ["exec", "--upstream", &url, "--", "curl", "-sS", "-d", "{}", "https://api.openai.com/v1/chat/completions"];
    stage.agentrun(&arguments).output().await.expect("agentrun starts");
    assert_eq!(only_record(&stage).await["outcome"], "upstream_tls");
    assert_eq!(stage.origin().log().calls().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_away_is_recorded() {
    for script in ["hang-head", "hang-body", "endless"] {
        let stage = Stage::with(&["api.openai.com"], Options { http2: false, ..Options::default() }).await;
        let output = call(&stage, script, true, "1").await;
        assert_eq!(output.status.code(), Some(28), "curl's time is up: {}", told(&output));
        let record = only_record(&stage).await;
        assert_eq!(record["outcome"], "client_gone", "{script}: {record:#}");
        assert_eq!(record["status_code"], 0, "{script}: {record:#}");
    }
}
