//! One form of an answer made from another says the same, or is refused.

use agentrun_llm::compose::compose;
use agentrun_llm::provider::{Endpoint, Format, Framing, Hosts};
use agentrun_llm::response::{convert, read};
use agentrun_llm::usage::Usage;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::golden::{bytes, endpoint, framing, names, twins};

fn parsed(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap()
}

/// Makers whose streams cannot be told from their plain answers' members are not converted.
fn is_converted(name: &str) -> bool {
    !name.contains("invoke_titan") && !name.contains("invoke_llama")
}

#[test]
fn a_recorded_stream_becomes_its_plain_twin() {
    for (stream, plain) in twins() {
        let json = convert(&endpoint(&stream), framing(&stream), Framing::Json, &bytes(&stream), false);
        if is_converted(&stream) {
            assert_eq!(parsed(&json.unwrap_or_else(|| panic!("{stream} is refused"))), parsed(&bytes(&plain)), "{stream}");
        } else {
            assert_eq!(json, None, "{stream}");
        }
    }
}

#[test]
fn a_plain_answer_becomes_a_stream_that_reads_the_same() {
    for (stream, plain) in twins().into_iter().filter(|(stream, _)| is_converted(stream)) {
        let (endpoint, framing, body) = (endpoint(&stream), framing(&stream), bytes(&plain));
        let made = convert(&endpoint, Framing::Json, framing, &body, true).unwrap_or_else(|| panic!("{plain} is refused"));
        let answer = read(&endpoint, framing, &made, None);
        assert_eq!(answer.message, Some(parsed(&body)), "{plain}");
        assert!(answer.complete && answer.error.is_none(), "{plain}");
        assert!(answer.first_content.is_some_and(|end| end < made.len()), "{plain}");
        assert_eq!(answer.usage, read(&endpoint, Framing::Json, &body, None).usage, "{plain}");
    }
}

#[test]
fn broken_and_failed_answers_are_not_converted() {
    for name in names().into_iter().filter(|name| name.contains("cut") || name.contains("error") || name.contains("failed")) {
        for to in [Framing::Json, Framing::Sse, Framing::JsonArray, Framing::Lines, Framing::EventStream] {
            assert_eq!(convert(&endpoint(&name), framing(&name), to, &bytes(&name), true), None, "{name}");
        }
    }
    let error = br#"{"error":{"message":"m","type":"t"}}"#;
    assert_eq!(convert(&endpoint("openai/chat.json"), Framing::Json, Framing::Sse, error, true), None);
    let failed = br#"{"object":"response","status":"failed","output":[]}"#;
    assert_eq!(convert(&endpoint("openai/responses.json"), Framing::Json, Framing::Sse, failed, true), None);
}

#[test]
fn a_stream_that_never_counted_its_output_is_not_made_a_plain_answer() {
    let (name, stream) = ("anthropic/citations.sse", String::from_utf8(bytes("anthropic/citations.sse")).unwrap());
    let uncounted: String = stream.split_inclusive("\r\r").filter(|event| !event.contains("message_delta")).collect();
    let answer = read(&endpoint(name), Framing::Sse, uncounted.as_bytes(), None);
    assert_eq!((answer.complete, answer.usage.unwrap().output_tokens), (true, None));
    assert_eq!(convert(&endpoint(name), Framing::Sse, Framing::Json, uncounted.as_bytes(), false), None);
}

#[test]
fn a_stream_whose_plain_answer_would_not_show_its_shape_is_not_made_one() {
    let stream = bytes("cohere/v2.sse");
    assert!(convert(&endpoint("cohere/v2.sse"), Framing::Sse, Framing::Json, &stream, false).is_some());
    assert_eq!(convert(&endpoint("bedrock/invoke_titan.bin"), Framing::Sse, Framing::Json, &stream, false), None);
}

#[test]
fn a_tool_input_that_is_no_json_is_not_passed_on_as_one() {
    let stream = String::from_utf8(bytes("anthropic/messages.sse")).unwrap();
    let broken = stream.replace(r#"{\"city\": \"Par"#, r#"{\"city\": Par"#);
    assert_ne!(stream, broken);
    let endpoint = endpoint("anthropic/messages.sse");
    assert_eq!(convert(&endpoint, Framing::Sse, Framing::Json, broken.as_bytes(), false), None);
    // As the stream it is, it may be given again.
    assert_eq!(convert(&endpoint, Framing::Sse, Framing::Sse, broken.as_bytes(), false), Some(broken.into_bytes()));
}

#[test]
fn a_form_the_endpoint_does_not_have_is_refused() {
    let cases = [
        ("openai/chat.json", Framing::EventStream),
        ("openai/chat.json", Framing::Lines),
        ("bedrock/converse.json", Framing::Sse),
        ("cohere/v1.json", Framing::Sse),
        ("openai/embeddings.json", Framing::Sse),
    ];
    for (name, to) in cases {
        assert_eq!(convert(&endpoint(name), Framing::Json, to, &bytes(name), true), None, "{name}");
    }
    assert_eq!(convert(&endpoint("openai/embeddings.json"), Framing::Json, Framing::Json, b"{}", true), Some(b"{}".to_vec()));
}

#[test]
fn what_a_stream_cannot_say_is_refused() {
    let cases = [
        ("openai/chat.json", json!({ "choices": [{ "index": 0, "message": { "content": null, "audio": { "id": "a", "data": "" } } }] })),
        ("mistral/chat.json", json!({ "choices": [], "usage": { "prompt_tokens": 16, "total_tokens": 20 } })),
        (
            "openai/responses.json",
            json!({ "object": "response", "status": "completed", "output": [{ "type": "image_generation_call", "id": "i" }] }),
        ),
        ("openai/responses.json", json!({ "object": "response", "status": "in_progress", "output": [] })),
        ("cohere/v2.json", json!({ "id": "i", "message": { "content": [] }, "logprobs": [{ "text": "a" }] })),
        ("bedrock/converse.json", json!({ "output": { "message": { "role": "assistant", "content": [{ "image": {} }] } } })),
    ];
    for (name, message) in cases {
        let to = framing(&twins().into_iter().find(|(_, plain)| plain == name).unwrap().0);
        assert_eq!(convert(&endpoint(name), Framing::Json, to, message.to_string().as_bytes(), true), None, "{message}");
    }
}

#[test]
fn the_usage_chunk_is_there_for_who_asked_and_for_nobody_else() {
    let endpoint = endpoint("openai/chat.sse");
    let stored = bytes("openai/chat.sse");
    let usage_chunks = |body: &[u8]| String::from_utf8_lossy(body).matches(r#""usage":{"#).count();
    let shown = convert(&endpoint, Framing::Sse, Framing::Sse, &stored, true).unwrap();
    assert_eq!(shown, stored);
    let hidden = convert(&endpoint, Framing::Sse, Framing::Sse, &stored, false).unwrap();
    assert_eq!(usage_chunks(&hidden), 0);
    // A stream without usage cannot answer who asked for it, nor be made a plain answer.
    assert_eq!(convert(&endpoint, Framing::Sse, Framing::Sse, &hidden, true), None);
    assert_eq!(convert(&endpoint, Framing::Sse, Framing::Json, &hidden, false), None);
    let plain = bytes("openai/chat.json");
    assert_eq!(usage_chunks(&convert(&endpoint, Framing::Json, Framing::Sse, &plain, false).unwrap()), 0);
    assert_eq!(usage_chunks(&convert(&endpoint, Framing::Json, Framing::Sse, &plain, true).unwrap()), 1);
}

#[test]
fn geminis_two_streams_are_made_of_each_other() {
    let endpoint = endpoint("gemini/generate.sse");
    let array = convert(&endpoint, Framing::Sse, Framing::JsonArray, &bytes("gemini/generate.sse"), false).unwrap();
    assert_eq!(parsed(&array), parsed(&bytes("gemini/generate.array")));
    let sse = convert(&endpoint, Framing::JsonArray, Framing::Sse, &bytes("gemini/generate.array"), false).unwrap();
    assert_eq!(sse, bytes("gemini/generate.sse"));
}

#[test]
fn responses_begin_empty_and_number_their_events() {
    let body = convert(&endpoint("openai/responses.sse"), Framing::Json, Framing::Sse, &bytes("openai/responses.json"), false).unwrap();
    let text = String::from_utf8(body).unwrap();
    let events: Vec<Value> =
        text.lines().filter_map(|line| line.strip_prefix("data: ")).map(|data| serde_json::from_str(data).unwrap()).collect();
    let names: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    assert_eq!(names, events.iter().map(|event| event["type"].as_str().unwrap()).collect::<Vec<_>>());
    assert_eq!(names[..3], ["response.created", "response.in_progress", "response.output_item.added"]);
    assert_eq!(events[0]["response"]["output"], json!([]));
    assert_eq!(events[0]["response"]["status"], "in_progress");
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number);
    }
    let recorded = bytes("openai/responses.sse");
    let recorded = String::from_utf8(recorded).unwrap();
    // Deltas may be cut elsewhere; the kinds of events and their order are the provider's.
    let kinds = |names: Vec<&str>| {
        let mut names: Vec<String> = names.into_iter().map(str::to_owned).collect();
        names.dedup();
        names
    };
    assert_eq!(kinds(names), kinds(recorded.lines().filter_map(|line| line.strip_prefix("event: ")).collect()));
}

/// Every endpoint whose answers are text.
const CHATS: &[(&str, &str)] = &[
    ("api.openai.com", "/v1/chat/completions"),
    ("api.openai.com", "/v1/completions"),
    ("api.openai.com", "/v1/responses"),
    ("api.openai.com", "/api/chat"),
    ("api.mistral.ai", "/v1/chat/completions"),
    ("api.anthropic.com", "/v1/messages"),
    ("generativelanguage.googleapis.com", "/v1beta/models/gemini-2.5-pro:generateContent"),
    ("us-east5-aiplatform.googleapis.com", "/v1/publishers/anthropic/models/claude-sonnet-4:rawPredict"),
    ("us-east5-aiplatform.googleapis.com", "/v1/publishers/mistralai/models/mistral-large:rawPredict"),
    ("cloudcode-pa.googleapis.com", "/v1internal:generateContent"),
    ("api.cohere.com", "/v1/chat"),
    ("api.cohere.com", "/v2/chat"),
    ("bedrock-runtime.us-east-1.amazonaws.com", "/model/amazon.nova-lite-v1%3A0/converse"),
    ("bedrock-runtime.us-east-1.amazonaws.com", "/model/anthropic.claude-sonnet-4-20250514-v1%3A0/invoke"),
    ("bedrock-runtime.us-east-1.amazonaws.com", "/model/us.amazon.nova-lite-v1%3A0/invoke"),
    ("bedrock-runtime.us-east-1.amazonaws.com", "/model/openai.gpt-oss-20b-1%3A0/invoke"),
];

fn stream_framing(format: Format) -> Framing {
    match format {
        Format::BedrockConverse | Format::BedrockInvoke => Framing::EventStream,
        Format::CohereV1Chat | Format::Ollama => Framing::Lines,
        Format::CodeAssist => Framing::JsonArray,
        _ => Framing::Sse,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_composed_answer_survives_the_way_through_a_stream(
        text in prop_oneof!["\\PC{0,300}", "([a-z\u{2028}é]{1,12}[ \n]){0,60}"],
        input in 0_u64..100_000, output in 0_u64..100_000, read_tokens in 0_u64..100, seed in any::<u64>(),
    ) {
        let usage = Usage { input_tokens: Some(input + read_tokens), output_tokens: Some(output), cache_read_tokens: Some(read_tokens), ..Usage::default() };
        for (host, path) in CHATS {
            let endpoint = Endpoint::of(Hosts::builtin().find(host).unwrap(), "POST", path);
            let model = endpoint.path_model.clone().unwrap_or_else(|| "some-model".to_owned());
            let message = compose(&endpoint, &model, &text, &usage, seed, 1_763_700_000).unwrap();
            let plain = message.to_string().into_bytes();
            let said = read(&endpoint, Framing::Json, &plain, None).usage.unwrap();
            prop_assert_eq!((said.input_tokens, said.output_tokens), (usage.input_tokens, usage.output_tokens), "{}", path);
            let framing = stream_framing(endpoint.format);
            let stream = convert(&endpoint, Framing::Json, framing, &plain, true).unwrap();
            let answer = read(&endpoint, framing, &stream, None);
            prop_assert_eq!(answer.message.as_ref(), Some(&message), "{}", path);
            prop_assert_eq!(answer.usage, Ok(said), "{}", path);
            prop_assert!(answer.complete);
            let back = convert(&endpoint, framing, Framing::Json, &stream, true).unwrap();
            prop_assert_eq!(parsed(&back), message, "{}", path);
        }
    }
}

#[test]
fn composed_embeddings_and_counts_say_their_usage() {
    let usage = Usage { input_tokens: Some(12), ..Usage::default() };
    let cases = [
        ("api.openai.com", "/v1/embeddings"),
        ("api.openai.com", "/v1/responses/input_tokens"),
        ("api.openai.com", "/api/embed"),
        ("api.anthropic.com", "/v1/messages/count_tokens"),
        ("generativelanguage.googleapis.com", "/v1beta/models/gemini-embedding-001:batchEmbedContents"),
        ("generativelanguage.googleapis.com", "/v1beta/models/gemini-2.5-pro:countTokens"),
        ("api.cohere.com", "/v2/embed"),
        ("bedrock-runtime.us-east-1.amazonaws.com", "/model/m/count-tokens"),
    ];
    for (host, path) in cases {
        let endpoint = Endpoint::of(Hosts::builtin().find(host).unwrap(), "POST", path);
        let answer = compose(&endpoint, "m", "text", &usage, 7, 0).unwrap();
        let read = read(&endpoint, Framing::Json, answer.to_string().as_bytes(), None).usage.unwrap();
        assert_eq!(read.input_tokens, Some(12), "{path}");
    }
}
