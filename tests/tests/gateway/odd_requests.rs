//! The control plane under requests that nobody would write: generated, the same in every run.

use agentrun_tests::gateway::Rig;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value, json};

/// Enough to have met each path with each kind of body.
const CASES: u32 = 3000;

const PATHS: &[&str] = &[
    "/health",
    "/sessions",
    "/sessions",
    "/sessions",
    "/sessions",
    "/sessions/",
    "/records",
    "/usage",
    "/cached_latency",
    "/cache/flush",
    "/cache/clear",
    "/providers",
    "/ca",
    "/metrics",
    "/",
];
const PARAMETERS: &[&str] = &["data_id", "combo_id", "agent_id", "run", "since", "limit", "offset", "v", "other"];
const MEMBERS: &[&str] = &[
    "data_id",
    "combo_id",
    "agent_id",
    "run",
    "router",
    "policy",
    "kwargs",
    "candidates",
    "seed",
    "rules",
    "when",
    "model",
    "url",
    "name",
    "base_url",
    "path_patterns",
    "shape",
];
const VALUES: &[&str] = &[
    "random",
    "rules",
    "webhook",
    "os:system",
    "https://a.example",
    "http://[::1]:99999",
    "a.example",
    "http://169.254.169.254/",
    "unix:///dev/null",
    "openai",
    "/v1/chat/completions",
    "true",
    "size(request) > 0",
    "json:5",
    "",
];
/// Numbers that a reader may trip over, as they are written.
const NUMBERS: &[&str] = &["0", "-1", "1e400", "18446744073709551616", "9223372036854775808", "0.5", "-0", "1e-400"];

#[derive(Clone, Debug)]
struct Odd {
    method: &'static str,
    target: String,
    headers: String,
    body: Vec<u8>,
}

/// Bytes of a target: each as it is where HTTP allows it, else by its number.
fn written(bytes: &[u8]) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/,+".contains(&byte);
    bytes.iter().map(|&byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![4 => select(VALUES).prop_map(str::to_owned), 1 => any::<String>(), 1 => select(NUMBERS).prop_map(str::to_owned)]
}

fn target() -> impl Strategy<Value = String> {
    let segment = prop_oneof![3 => Just(String::new()), 1 => vec(any::<u8>(), 0..40).prop_map(|bytes| written(&bytes))];
    let value = prop_oneof![
        text().prop_map(|text| written(text.as_bytes())),
        vec(any::<u8>(), 0..60).prop_map(|bytes| written(&bytes)),
        Just("%".to_owned())
    ];
    (select(PATHS), segment, vec((select(PARAMETERS), value), 0..4)).prop_map(|(path, segment, parameters)| {
        let query: Vec<String> = parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("{path}{segment}{}{}", if query.is_empty() { "" } else { "?" }, query.join("&"))
    })
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        text().prop_map(Value::from)
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        let object = vec((select(MEMBERS), inner.clone()), 0..5);
        prop_oneof![
            vec(inner, 0..4).prop_map(Value::from),
            object.prop_map(|members| members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>().into())
        ]
    })
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let object = vec((select(MEMBERS), value()), 0..6)
        .prop_map(|members| {
            let members: Map<String, Value> = members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            Value::from(members).to_string().into_bytes()
        })
        .boxed();
    let number = (select(MEMBERS), select(NUMBERS)).prop_map(|(name, number)| format!("{{\"{name}\": {number}}}").into_bytes());
    let router = (select(VALUES), value())
        .prop_map(|(policy, kwargs)| json!({"router": {"policy": policy, "kwargs": kwargs}}).to_string().into_bytes());
    let cut = (object.clone(), any::<proptest::sample::Index>()).prop_map(|(mut body, at)| {
        body.truncate(at.index(body.len()));
        body
    });
    let deep = (1..5000_usize).prop_map(|depth| format!("{{\"data_id\": {}", "[".repeat(depth)).into_bytes());
    prop_oneof![3 => object, 2 => router, 1 => number, 1 => cut, 1 => deep, 1 => vec(any::<u8>(), 0..200), 1 => Just(Vec::new())]
}

fn odd() -> impl Strategy<Value = Odd> {
    let method = select(&["GET", "POST", "POST", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS", "BREW"][..]);
    let header = select(
        &[
            "",
            "",
            "",
            "origin: null\r\n",
            "origin: https://evil.example\r\n",
            "host: evil.example\r\n",
            "host: [::1]:9000\r\n",
            "content-type: text/plain\r\n",
            "authorization: Basic %%%\r\n",
            "expect: something\r\n",
            "x-odd: \u{e9}\r\n",
        ][..],
    );
    (method, target(), header, body()).prop_map(|(method, target, headers, body)| Odd { method, target, headers: headers.to_owned(), body })
}

#[test]
fn every_request_is_answered_and_none_is_the_gateways_own_fault() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime starts");
    let rig = runtime.block_on(Rig::start());
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(CASES);
    let mut runner = TestRunner::new_with_rng(Config { cases, failure_persistence: None, ..Config::default() }, rng());
    let opened = std::cell::RefCell::new(Vec::new());
    let ran = runner.run(&odd(), |odd| {
        let answer = runtime.block_on(rig.send(&format!("{} {}", odd.method, odd.target), &odd.headers, &odd.body));
        prop_assert!((200..500).contains(&answer.status), "{} {}", answer.head, String::from_utf8_lossy(&answer.body));
        let told = serde_json::from_slice::<Value>(&answer.body);
        if answer.status == 400
            && odd.method != "HEAD"
            && answer.header("content-type").is_some_and(|kind| kind.starts_with("application/json"))
        {
            prop_assert!(told.as_ref().is_ok_and(|told| told["error"].as_str().is_some_and(|error| !error.is_empty())), "{answer:?}");
        }
        if let Some(id) = told.ok().as_ref().and_then(|told| told["session_id"].as_str()) {
            opened.borrow_mut().push(id.to_owned());
        }
        Ok(())
    });
    ran.unwrap_or_else(|failed| panic!("{failed}"));
    let opened = opened.into_inner();
    assert!(opened.len() > 20, "{} sessions: the generator has lost its aim", opened.len());
    runtime.block_on(async {
        // What was answered is what there is; and it goes.
        let metrics = async || String::from_utf8_lossy(&rig.send("GET /metrics", "", b"").await.body).into_owned();
        assert!(metrics().await.contains(&format!("agentrun_sessions {}\n", opened.len())), "{}", metrics().await);
        for id in &opened {
            rig.close(id).await;
        }
        assert!(metrics().await.contains("agentrun_sessions 0\n"));
        let session = rig.open(&json!({"data_id": "after all that"})).await;
        assert_eq!(session.ask("gpt-4.1", "x").await.status, 200);
        assert_eq!(rig.get("/records?data_id=after+all+that").await.as_array().map(Vec::len), Some(1));
    });
}

/// The same numbers in each run.
fn rng() -> proptest::test_runner::TestRng {
    proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha)
}
