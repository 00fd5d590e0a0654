//! Real clients, unmodified, streaming and not: each call leaves one right record, and its repetition is a hit while the origin is switched off.

use agentrun_tests::client::{CLIENTS, Client};
use agentrun_tests::origin::TOKENS;
use agentrun_tests::stage::{KEYS, Stage, told};
use serde_json::{Value, json};

/// Runs the client once and gives the line that it printed.
async fn call(stage: &Stage, client: &Client, stream: bool) -> Value {
    let options = ["--data-id", "q1", "--combo-id", "cheap", "--agent-id", client.name, "--capture", client.capture];
    let output = stage.exec(&options, &client.command(stream, "Say hello.")).output().await.expect("agentrun starts");
    assert!(output.status.success(), "{} failed: {}", client.name, told(&output));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{}: {error}: {}", client.name, told(&output)))
}

fn assert_record(record: &Value, client: &Client, stream: bool) {
    let expected = json!({
        "data_id": "q1", "combo_id": "cheap", "agent_id": client.name, "sample": 0,
        "provider": client.provider, "operation": client.operation, "capture": client.capture,
        "requested_model": client.model, "model": client.model,
        "stream": stream, "status_code": 200, "outcome": "complete", "error": null, "usage_error": null,
        "prompt_tokens": TOKENS.input, "completion_tokens": if client.has_output { TOKENS.output } else { 0 },
    });
    for (key, value) in expected.as_object().expect("it is written as an object above") {
        assert_eq!(&record[key], value, "{key} of {record:#}");
    }
    let url = record["request_url"].as_str().expect("a record has a URL");
    assert!(url.starts_with(&format!("https://{}/", client.host)), "{url}");
    assert_eq!(record["usage"]["input_tokens"], TOKENS.input);
    if record["cached"] == false {
        assert_eq!(record["first_token_seconds"].is_number(), stream, "{record:#}");
    }
    let stored = record.to_string();
    for (name, secret) in KEYS {
        assert!(!stored.contains(secret), "{name} is in {record:#}");
    }
}

async fn one_call_one_record_then_a_hit(name: &str, stream: bool) {
    let client = Client::named(name);
    let mut stage = Stage::new(&[client.host]).await;

    let first = call(&stage, client, stream).await;
    let seen = stage.origin().log().calls();
    assert_eq!(seen.len(), 1, "{seen:#?}");
    assert_eq!(seen[0].host, client.host);
    assert_eq!(seen[0].sni.as_deref(), Some(client.host));
    let records = stage.calls(&[]).await;
    assert_eq!(records.len(), 1, "{records:#?}");
    assert_record(&records[0], client, stream);
    assert_eq!(records[0]["cached"], false);

    stage.switch_origin_off().await;
    let second = call(&stage, client, stream).await;
    assert_eq!(second, first, "the repeated call gave another answer");
    let records = stage.calls(&[]).await;
    assert_eq!(records.len(), 2, "{records:#?}");
    assert_record(&records[1], client, stream);
    for key in ["cached", "cache_layer", "cache_key", "latency_seconds"] {
        let expected = match key {
            "cached" => json!(true),
            "cache_layer" => json!("disk"),
            _ => records[0][key].clone(),
        };
        assert_eq!(records[1][key], expected, "{key}");
    }
    if client.streams {
        let other = call(&stage, client, !stream).await;
        assert_eq!(other["text"], first["text"], "the same call in the other shape gave another answer");
        let records = stage.calls(&[]).await;
        assert_record(&records[2], client, !stream);
        assert_eq!(records[2]["cached"], true);
    }
}

macro_rules! clients {
    ($($name:ident)*) => {
        const TESTED: &[&str] = &[$(stringify!($name)),*];
        $(mod $name {
            #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
            async fn plain() {
                super::one_call_one_record_then_a_hit(stringify!($name), false).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
            async fn stream() {
                if super::Client::named(stringify!($name)).streams {
                    super::one_call_one_record_then_a_hit(stringify!($name), true).await;
                }
            }
        })*
    };
}

clients! {
    openai_chat openai_usage openai_responses openai_embeddings openai_azure anthropic_messages anthropic_count_tokens google_genai mistral
    cohere_v1 cohere_v2 bedrock_converse bedrock_invoke litellm_chat litellm_anthropic langchain_chat
    plain_requests plain_httpx plain_aiohttp plain_urllib node_openai node_anthropic node_fetch node_axios
    machine_node_fetch base_url_openai base_url_anthropic go_net_http curl
}

#[test]
fn every_client_of_the_table_is_tested() {
    let table: Vec<&str> = CLIENTS.iter().map(|client| client.name).collect();
    assert_eq!(table, TESTED);
}
