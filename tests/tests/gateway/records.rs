//! What is recorded, and how it is asked for.

use agentrun_tests::gateway::Rig;
use agentrun_tests::origin::TOKENS;
use serde_json::{Value, json};

/// The keys of AgentOpt's record: its client takes these and no others.
const KEYS: [&str; 14] = [
    "data_id",
    "combo_id",
    "agent_id",
    "model",
    "prompt_tokens",
    "completion_tokens",
    "latency_seconds",
    "request_url",
    "request_body",
    "response_body",
    "timestamp",
    "cached",
    "status_code",
    "error",
];

fn list(records: &Value) -> &[Value] {
    records.as_array().expect("records are an array")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_in_the_records_once_its_client_has_the_answer() {
    let rig = Rig::start().await;
    let session = rig.open(&json!({"data_id": "q1", "combo_id": "a"})).await;
    for _ in 0..2 {
        assert_eq!(session.ask("gpt-4o-mini", "hello").await.status, 200);
    }
    let records = rig.get("/records?combo_id=a").await;
    let [first, second] = list(&records) else { panic!("two calls: {records}") };
    assert_eq!(first.as_object().expect("an object").keys().collect::<Vec<_>>(), KEYS);
    assert_eq!((&first["data_id"], &first["combo_id"], &first["agent_id"]), (&json!("q1"), &json!("a"), &Value::Null));
    assert_eq!((&first["model"], &first["status_code"], &first["error"]), (&json!("gpt-4o-mini"), &json!(200), &Value::Null));
    assert_eq!((&first["prompt_tokens"], &first["completion_tokens"]), (&json!(TOKENS.input), &json!(TOKENS.output)));
    assert_eq!(first["request_url"], "https://api.openai.com/v1/chat/completions");
    assert_eq!(first["request_body"]["messages"][0]["content"], "hello");
    assert_eq!(first["response_body"]["object"], "chat.completion");
    assert!(first["timestamp"].as_str().is_some_and(|time| time.len() == 32 && time.ends_with("+00:00")), "{first}");
    assert_eq!((&first["cached"], &second["cached"]), (&json!(false), &json!(true)));
    assert_eq!(first["latency_seconds"], second["latency_seconds"], "a hit has the time of its call");
    assert_eq!(rig.get("/usage?data_id=q1").await, json!({"gpt-4o-mini": [2 * TOKENS.input, 2 * TOKENS.output]}));
    assert_eq!(rig.get("/cached_latency?data_id=q1").await["seconds"], second["latency_seconds"]);
    rig.close(&session.id).await;
    assert_eq!(list(&rig.get("/records?combo_id=a&data_id=q1").await).len(), 2, "the session's end loses nothing");
    for other in ["combo_id=b", "combo_id=a&data_id=q2", "agent_id=", "run=mine"] {
        assert_eq!(rig.get(&format!("/records?{other}")).await, json!([]), "{other}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_not_be_read_is_no_usage_and_an_error() {
    let rig = Rig::start().await;
    let session = rig.open(&json!({"data_id": "q1"})).await;
    assert_eq!(session.ask("script/status-429", "hello").await.status, 429);
    let records = rig.get("/records").await;
    let [failed] = list(&records) else { panic!("one call: {records}") };
    assert_eq!((&failed["status_code"], &failed["prompt_tokens"], &failed["completion_tokens"]), (&json!(429), &json!(0), &json!(0)));
    assert_eq!(failed["error"], "HTTP 429");
    assert!(failed["response_body"]["error"].is_object(), "{failed}");
    let whole = rig.get("/records?v=2").await;
    assert_eq!((&whole[0]["error"], &whole[0]["usage"]), (&json!("HTTP 429: server_error: scripted error"), &Value::Null));
    assert_eq!(rig.get("/usage").await, json!({"script/status-429": [0, 0]}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_of_any_kind_come_back_unchanged() {
    let rig = Rig::start().await;
    let ids = [json!("text"), json!(""), json!(5), json!([1, {"a": null}]), json!(true), json!("json:5")];
    for id in &ids {
        let session = rig.open(&json!({"data_id": id, "run": "mine"})).await;
        session.ask("m", "hello").await;
    }
    let records = rig.get("/records").await;
    assert_eq!(list(&records).iter().map(|record| record["data_id"].clone()).collect::<Vec<_>>(), ids);
    let whole = rig.get("/records?v=2&run=mine").await;
    assert_eq!(list(&whole).iter().map(|record| record["data_id"].clone()).collect::<Vec<_>>(), ids);
    assert!(list(&whole).iter().all(|record| record["run"] == "mine" && record["usage"].is_object()), "{whole}");
    for (query, found) in [("data_id=5", 0), ("data_id=json:5", 1), ("data_id=", 1), ("data_id=text", 1)] {
        assert_eq!(list(&rig.get(&format!("/records?{query}")).await).len(), found, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_records_come_in_order_and_in_pages() {
    let rig = Rig::start().await;
    let (one, other) = (rig.open(&json!({"data_id": "one"})).await, rig.open(&json!({"data_id": "other"})).await);
    for index in 0..20 {
        let session = if index % 2 == 0 { &one } else { &other };
        session.ask("m", &format!("{index} {}", "long ".repeat(4000))).await;
    }
    let prompts = |records: &Value| -> Vec<String> {
        let prompt = |record: &Value| record["request_body"]["messages"][0]["content"].as_str().expect("a text").to_owned();
        list(records).iter().map(|record| prompt(record).split(' ').next().expect("a word").to_owned()).collect()
    };
    let all: Vec<String> = (0..20).map(|index| index.to_string()).collect();
    let records = rig.get("/records").await;
    assert_eq!(prompts(&records), all, "in the order they ended, whatever session they are of");
    assert_eq!(prompts(&rig.get("/records?offset=5&limit=3").await), all[5..8]);
    assert_eq!(prompts(&rig.get("/records?offset=50").await), Vec::<String>::new());
    let since = list(&records)[15]["timestamp"].as_str().expect("a time");
    assert_eq!(prompts(&rig.get(&format!("/records?since={since}")).await), all[15..]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_gateway_does_not_show_the_records_of_an_earlier_one() {
    let mut rig = Rig::start().await;
    rig.open(&json!({"data_id": "q1"})).await.ask("m", "before").await;
    rig.stop().await;
    rig.serve(|settings| settings).await;
    rig.open(&json!({"data_id": "q1"})).await.ask("m", "after").await;
    let records = rig.get("/records?data_id=q1").await;
    assert_eq!(list(&records).len(), 1);
    assert_eq!(list(&records)[0]["request_body"]["messages"][0]["content"], "after");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_records_are_kept_and_new_ones_still_come() {
    let rig = Rig::keeping(3).await;
    let session = rig.open(&json!({"data_id": "q1"})).await;
    for round in 0..3 {
        // One that is paid for, and hits of it and of the earlier ones, whose rows may be gone.
        for prompt in ["first", "second", "first", &format!("round {round}"), "second"] {
            assert_eq!(session.ask("m", prompt).await.status, 200);
        }
        let records = rig.get("/records").await;
        let prompts: Vec<_> = list(&records).iter().map(|record| record["request_body"]["messages"][0]["content"].as_str()).collect();
        assert_eq!(prompts, [Some("first"), Some(&format!("round {round}")), Some("second")]);
        assert!(list(&records).iter().all(|record| record["response_body"].get("choices").is_some()), "{records}");
        assert_eq!(rig.get("/usage?data_id=q1").await, json!({"m": [3 * TOKENS.input, 3 * TOKENS.output]}));
    }
}
