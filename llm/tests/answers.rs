//! What is read from every provider's answers, plain and streamed.

use agentrun_llm::provider::Framing;
use agentrun_llm::response::{Answer, read, read_tail};
use agentrun_llm::usage::Usage;
use proptest::prelude::*;

use crate::golden::{bytes, endpoint, framing, names, twins};

fn answer(name: &str) -> Answer {
    read(&endpoint(name), framing(name), &bytes(name), Some("asked"))
}

/// What a usage says, without what it does not.
fn said(usage: &Usage) -> String {
    let value = serde_json::to_value(usage).unwrap();
    let known = value.as_object().unwrap().iter().filter(|(_, count)| !count.is_null());
    known.map(|(name, count)| format!("{}={count}", name.trim_end_matches("_tokens"))).collect::<Vec<_>>().join(" ")
}

/// Name, model, usage or the reason it is missing.
const USAGES: &[(&str, &str, Result<&str, &str>)] = &[
    ("openai/chat.sse", "gpt-4o-mini-2024-07-18", Ok("input=19 output=10 cache_read=4 reasoning=3 input_audio=0 output_audio=0")),
    ("openai/chat_tools.sse", "gpt-4o-mini-2024-07-18", Ok("input=50 output=21")),
    ("openai/chat_cut.sse", "gpt-4o-mini-2024-07-18", Err("the stream ended early: the answer has no usage")),
    ("openai/chat_error.sse", "gpt-4o-mini-2024-07-18", Err("the provider answered with an error: server_error: The server had an error")),
    ("openai/completion.sse", "gpt-3.5-turbo-instruct", Ok("input=3 output=2")),
    ("openai/embeddings.json", "text-embedding-3-small", Ok("input=8")),
    ("openai/responses.sse", "gpt-5-2025-08-07", Ok("input=37 output=90 cache_read=16 cache_write=5 reasoning=64")),
    ("openai/responses_incomplete.sse", "gpt-5-2025-08-07", Ok("input=37 output=90 cache_read=16 cache_write=5 reasoning=64")),
    ("openai/responses_failed.sse", "gpt-5-2025-08-07", Err("the provider answered with an error: server_error: The model failed")),
    ("openai/responses_cut.sse", "gpt-5-2025-08-07", Err("the stream ended early: the answer's usage is null")),
    ("azure/chat.sse", "gpt-4o-2024-11-20", Ok("input=8 output=2")),
    (
        "anthropic/messages.sse",
        "claude-sonnet-4-5-20250929",
        Ok("input=131 output=42 cache_read=100 cache_write=20 cache_write_1h=8 web_searches=1"),
    ),
    ("anthropic/messages_cut.sse", "claude-sonnet-4-5-20250929", Ok("input=131 cache_read=100 cache_write=20 cache_write_1h=8")),
    ("anthropic/messages_error.sse", "claude-sonnet-4-5-20250929", Ok("input=131 cache_read=100 cache_write=20 cache_write_1h=8")),
    ("anthropic/citations.sse", "claude-sonnet-4-5-20250929", Ok("input=9 output=6")),
    ("anthropic/count_tokens.json", "asked", Ok("input=2095")),
    ("gemini/generate.sse", "gemini-2.5-flash", Ok("input=17 output=38 cache_read=4 reasoning=30 input_image=3")),
    ("gemini/generate.array", "gemini-2.5-flash", Ok("input=17 output=38 cache_read=4 reasoning=30 input_image=3")),
    ("gemini/generate_cut.array", "gemini-2.5-flash", Ok("input=12 output=0")),
    ("gemini/blocked.json", "gemini-2.5-flash", Ok("input=4 output=0")),
    ("gemini/code_assist.sse", "gemini-2.5-flash", Ok("input=17 output=38 cache_read=4 reasoning=30 input_image=3")),
    ("gemini/vertex_embeddings.json", "asked", Ok("input=13")),
    ("gemini/count_tokens.json", "asked", Ok("input=31")),
    ("mistral/chat.sse", "mistral-small-latest", Ok("input=16 output=4")),
    ("cohere/v1.lines", "asked", Ok("input=3 output=12")),
    ("cohere/v2.sse", "asked", Ok("input=17 output=12 cache_read=16")),
    ("cohere/embed.json", "asked", Ok("input=2")),
    ("bedrock/converse.bin", "asked", Ok("input=50 output=25 cache_read=15 cache_write=5 cache_write_1h=3")),
    ("bedrock/converse_error.bin", "asked", Err("the provider answered with an error: throttlingException: Too many tokens")),
    (
        "bedrock/invoke_anthropic.bin",
        "claude-sonnet-4-5-20250929",
        Ok("input=131 output=42 cache_read=100 cache_write=20 cache_write_1h=8"),
    ),
    ("bedrock/invoke_nova.bin", "asked", Ok("input=6 output=9 cache_read=0 cache_write=0")),
    ("bedrock/invoke_titan.bin", "asked", Ok("input=5 output=3")),
    ("bedrock/invoke_titan.json", "asked", Ok("input=5 output=3")),
    ("bedrock/invoke_llama.bin", "asked", Ok("input=14 output=2")),
    ("bedrock/invoke_llama.json", "asked", Ok("input=14 output=2")),
    ("bedrock/count_tokens.json", "asked", Ok("input=12")),
    ("compatible/xai.json", "grok-4", Ok("input=32 output=103 cache_read=6 reasoning=94 input_audio=0 output_audio=0 input_image=0")),
    ("compatible/perplexity.json", "sonar-deep-research", Ok("input=14 output=35 reasoning=20 web_searches=2")),
    ("compatible/deepseek.json", "deepseek-reasoner", Ok("input=20 output=11 cache_read=16 reasoning=7")),
    ("compatible/groq.sse", "llama-3.3-70b-versatile", Ok("input=38 output=2")),
    ("compatible/reasoning.sse", "deepseek/deepseek-r1", Ok("input=7 output=9 cache_read=0 cache_write=2")),
    ("compatible/ollama.lines", "llama3.2", Ok("input=26 output=8")),
];

#[test]
fn model_and_usage_are_read_from_every_shape() {
    for (name, model, usage) in USAGES {
        let answer = answer(name);
        assert_eq!(answer.model.as_deref(), Some(*model), "{name}");
        match (usage, &answer.usage) {
            (Ok(expected), Ok(read)) => assert_eq!(&said(read), expected, "{name}"),
            (Err(expected), Err(why)) => assert!(why.starts_with(expected), "{name}: {why}"),
            (expected, read) => panic!("{name}: expected {expected:?}, read {read:?}"),
        }
    }
}

#[test]
fn a_stream_reads_as_its_plain_twin() {
    for (stream, plain) in twins() {
        let (streamed, whole) = (answer(&stream), answer(&plain));
        assert_eq!(streamed.usage, whole.usage, "{stream}");
        if !stream.contains("invoke_titan") && !stream.contains("invoke_llama") {
            assert_eq!(streamed.message, whole.message, "{stream}");
        }
    }
}

#[test]
fn an_answer_is_complete_only_when_its_end_was_seen() {
    for name in names() {
        let expected = !name.contains("cut") && !name.contains("error");
        assert_eq!(answer(&name).complete, expected, "{name}");
    }
}

#[test]
fn errors_inside_a_200_are_named() {
    let cases = [
        ("openai/chat_error.sse", "server_error: The server had an error while processing your request"),
        ("openai/responses_failed.sse", "server_error: The model failed to generate a response."),
        ("anthropic/messages_error.sse", "overloaded_error: Overloaded"),
        ("gemini/error.array", "UNAVAILABLE: The model is overloaded."),
        ("bedrock/converse_error.bin", "throttlingException: Too many tokens, please wait before trying again."),
    ];
    for name in names() {
        let expected = cases.iter().find(|(case, _)| *case == name).map(|(_, error)| *error);
        assert_eq!(answer(&name).error.as_deref(), expected, "{name}");
    }
    let plain = [
        ("openai/chat.json", r#"{"error":{"message":"m","type":"t"}}"#, Some("t: m")),
        ("openai/chat.json", r#"{"error":"m"}"#, Some("m")),
        ("openai/responses.json", r#"{"object":"response","status":"failed","error":null}"#, Some("the response failed")),
        ("openai/responses.json", r#"{"object":"response","status":"completed","error":null}"#, None),
        ("anthropic/messages.json", r#"{"type":"error","error":{"type":"rate_limit_error","message":"m"}}"#, Some("rate_limit_error: m")),
        ("cohere/v2.json", r#"{"message":"invalid api token"}"#, Some("invalid api token")),
        ("bedrock/converse.json", r#"{"message":"no access"}"#, Some("no access")),
        ("mistral/chat.json", r#"{"object":"error","message":"bad model","type":"invalid_model"}"#, Some("bad model")),
    ];
    for (name, body, error) in plain {
        assert_eq!(read(&endpoint(name), Framing::Json, body.as_bytes(), None).error.as_deref(), error, "{body}");
    }
}

#[test]
fn the_first_content_is_where_a_reader_first_sees_some() {
    let cases = [
        ("openai/chat.sse", "Hé"),
        ("openai/chat_tools.sse", "get_weather"),
        ("anthropic/messages.sse", "thinking_delta"),
        ("openai/responses.sse", "Thinking about weather."),
        ("gemini/generate.sse", "Planning"),
        ("gemini/generate.array", "Planning"),
        ("cohere/v2.sse", "I will"),
        ("cohere/v1.lines", "Hello"),
        ("compatible/ollama.lines", "The "),
        ("bedrock/converse.bin", "Hmm"),
    ];
    for (name, word) in cases {
        let body = bytes(name);
        let end = answer(name).first_content.unwrap();
        let before = String::from_utf8_lossy(&body[..end]);
        assert!(before.contains(word), "{name}");
        // The event just before must not have had any.
        assert_eq!(before.matches(word).count(), 1, "{name}");
        assert!(end < body.len(), "{name}");
    }
    assert_eq!(answer("openai/chat.json").first_content, None);
}

#[test]
fn counts_that_are_none_give_a_reason() {
    let chat = |usage: &str| format!(r#"{{"choices":[],"model":"m","usage":{usage}}}"#);
    let cases = [
        (chat("[1]"), "usage is a list and not an object"),
        (chat(r#""12""#), "usage is a string and not an object"),
        (chat(r#"{"prompt_tokens":"12","completion_tokens":1}"#), "prompt_tokens is a string and not a count of tokens"),
        (chat(r#"{"prompt_tokens":-1,"completion_tokens":1}"#), "prompt_tokens is a number out of range"),
        (chat(r#"{"prompt_tokens":1.5}"#), "prompt_tokens is a number out of range"),
        (chat(r#"{"prompt_tokens":99999999999999999999}"#), "prompt_tokens is a number out of range"),
        (chat("{}"), "usage has neither input nor output tokens"),
        (chat("null"), "the answer's usage is null"),
        ("{}".to_owned(), "the answer has no usage"),
        (String::new(), "the body is empty"),
        ("<html>".to_owned(), "parsing JSON: expected value"),
        ("{\"usage\":".to_owned(), "parsing JSON: EOF"),
        ("[".repeat(100_000), "parsing JSON: recursion limit"),
    ];
    for (body, reason) in cases {
        let answer = read(&endpoint("openai/chat.json"), Framing::Json, body.as_bytes(), None);
        let why = answer.usage.unwrap_err();
        assert!(why.starts_with(reason), "{why}");
    }
    let half = read(&endpoint("openai/chat.json"), Framing::Json, chat(r#"{"prompt_tokens":7,"completion_tokens":null}"#).as_bytes(), None);
    assert_eq!(said(&half.usage.unwrap()), "input=7");
}

#[test]
fn providers_differ_in_what_their_counts_leave_out() {
    let cases = [
        (
            "compatible/xai.json",
            r#"{"usage":{"prompt_tokens":5,"completion_tokens":2,"completion_tokens_details":{"reasoning_tokens":3}}}"#,
            "input=5 output=5 reasoning=3",
        ),
        (
            "openai/chat.json",
            r#"{"usage":{"prompt_tokens":5,"completion_tokens":2,"completion_tokens_details":{"reasoning_tokens":1}}}"#,
            "input=5 output=2 reasoning=1",
        ),
        ("cohere/v2.json", r#"{"usage":{"billed_units":{"input_tokens":3,"output_tokens":2},"cached_tokens":64}}"#, "input=3 output=2"),
        (
            "cohere/v2.json",
            r#"{"usage":{"tokens":{"input_tokens":80,"output_tokens":2},"cached_tokens":64}}"#,
            "input=80 output=2 cache_read=64",
        ),
    ];
    for (name, body, usage) in cases {
        assert_eq!(said(&read(&endpoint(name), Framing::Json, body.as_bytes(), None).usage.unwrap()), usage, "{body}");
    }
}

#[test]
fn an_error_event_need_not_be_json() {
    let body = b"event: error\ndata: upstream went away\n\n";
    let answer = read(&endpoint("openai/chat.sse"), Framing::Sse, body, None);
    assert_eq!((answer.error.as_deref(), answer.complete), (Some("upstream went away"), false));
}

#[test]
fn python_only_json_is_read_all_the_same() {
    let body = br#"{"choices":[{"message":{"content":"\ud800"},"logprobs":NaN}],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#;
    let answer = read(&endpoint("openai/chat.json"), Framing::Json, body, None);
    assert_eq!(said(&answer.usage.unwrap()), "input=1 output=2");
}

#[test]
fn the_tail_of_an_answer_still_says_what_it_used() {
    for (name, _, usage) in USAGES.iter().filter(|(name, _, usage)| {
        usage.is_ok()
            && !["cut", "error", "embeddings", "count_tokens", "invoke_titan.json", "invoke_llama.json"]
                .iter()
                .any(|word| name.contains(word))
    }) {
        let (endpoint, framing, body) = (endpoint(name), framing(name), bytes(name));
        let whole = read_tail(&endpoint, framing, &body, None);
        let reads = |answer: &Answer| answer.usage.as_ref().map(said).map_err(Clone::clone);
        assert!(whole.usage.is_ok(), "{name}: {:?}", whole.usage);
        // The later two thirds have the end; Anthropic's last counts are complete in themselves.
        let tail = read_tail(&endpoint, framing, &body[body.len() / 3..], None);
        if matches!(
            *name,
            "openai/chat.sse"
                | "openai/completion.sse"
                | "gemini/generate.sse"
                | "gemini/generate.array"
                | "cohere/v2.sse"
                | "bedrock/converse.bin"
                | "bedrock/invoke_nova.bin"
                | "openai/responses.sse"
                | "compatible/ollama.lines"
        ) {
            assert_eq!(reads(&tail), usage.map(str::to_owned).map_err(str::to_owned), "{name}");
            assert!(tail.complete, "{name}");
        }
    }
    let large = format!(
        r#"{{"text":"\"usage\":{{\"prompt_tokens\":9}}{}","usage":{{"prompt_tokens":1,"completion_tokens":2}},"x":"\"usage\":1"}}"#,
        "a".repeat(1000)
    );
    let tail = read_tail(&endpoint("openai/chat.json"), Framing::Json, &large.as_bytes()[20..], None);
    assert_eq!(said(&tail.usage.unwrap()), "input=1 output=2");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn damage_never_panics(pick in any::<prop::sample::Index>(), edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8), cut in any::<prop::sample::Index>()) {
        let names = names();
        let name = &names[pick.index(names.len())];
        let mut body = bytes(name);
        for (at, byte) in edits {
            let at = at.index(body.len());
            body[at] = byte;
        }
        body.truncate(cut.index(body.len()) + 1);
        let endpoint = endpoint(name);
        for framing in [framing(name), Framing::Json, Framing::Sse, Framing::JsonArray, Framing::Lines, Framing::EventStream] {
            read(&endpoint, framing, &body, None);
            read_tail(&endpoint, framing, &body, None);
            agentrun_llm::response::convert(&endpoint, framing, Framing::Json, &body, true);
            agentrun_llm::response::convert(&endpoint, framing, Framing::Sse, &body, false);
        }
    }
}
