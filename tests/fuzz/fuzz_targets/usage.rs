//! Whatever an answer holds, it is read without panic, and what is made of it says the same. The first two bytes choose
//! the endpoint and the framing.
#![no_main]

use std::sync::LazyLock;

use agentrun_llm::provider::{Endpoint, Framing, Hosts};
use agentrun_llm::response::{convert, read, read_tail};
use libfuzzer_sys::fuzz_target;

const PATHS: &[(&str, &str)] = &[
    ("api.openai.com", "/v1/chat/completions"),
    ("api.openai.com", "/v1/completions"),
    ("api.openai.com", "/v1/responses"),
    ("api.openai.com", "/v1/embeddings"),
    ("api.openai.com", "/api/chat"),
    ("api.x.ai", "/v1/chat/completions"),
    ("api.mistral.ai", "/v1/chat/completions"),
    ("api.anthropic.com", "/v1/messages"),
    ("api.anthropic.com", "/v1/files"),
    ("generativelanguage.googleapis.com", "/v1beta/models/m:streamGenerateContent"),
    ("cloudcode-pa.googleapis.com", "/v1internal:streamGenerateContent"),
    ("api.cohere.com", "/v1/chat"),
    ("api.cohere.com", "/v2/chat"),
    ("bedrock-runtime.us-east-1.amazonaws.com", "/model/m/converse-stream"),
    ("bedrock-runtime.us-east-1.amazonaws.com", "/model/m/invoke-with-response-stream"),
];

const FRAMINGS: &[Framing] = &[Framing::Json, Framing::Sse, Framing::JsonArray, Framing::EventStream, Framing::Lines];

static ENDPOINTS: LazyLock<Vec<Endpoint>> = LazyLock::new(|| {
    let hosts = Hosts::builtin();
    PATHS.iter().map(|(host, path)| Endpoint::of(hosts.find(host).expect("it is in the table"), "POST", path)).collect()
});

fuzz_target!(|input: &[u8]| {
    let [endpoint, framing, body @ ..] = input else { return };
    let endpoint = &ENDPOINTS[usize::from(*endpoint) % PATHS.len()];
    let framing = FRAMINGS[usize::from(*framing) % FRAMINGS.len()];
    let answer = read(endpoint, framing, body, None);
    assert!(answer.first_content.is_none_or(|end| end <= body.len()));
    read_tail(endpoint, framing, body, None);
    for to in FRAMINGS {
        let Some(made) = convert(endpoint, framing, *to, body, true) else { continue };
        let again = read(endpoint, *to, &made, None);
        assert_eq!(again.usage.ok(), answer.usage.clone().ok(), "{endpoint:?} {framing:?} to {to:?}");
    }
});
