//! Recorded answers of every provider, found by their path under `tests/golden`.

use std::path::Path;

use agentrun_llm::provider::{Endpoint, Framing, Hosts};

/// Where each kind of answer comes from.
pub(crate) const ENDPOINTS: &[(&str, &str, &str)] = &[
    ("openai/chat", "api.openai.com", "/v1/chat/completions"),
    ("openai/completion", "api.openai.com", "/v1/completions"),
    ("openai/embeddings", "api.openai.com", "/v1/embeddings"),
    ("openai/responses", "api.openai.com", "/v1/responses"),
    ("azure/chat", "contoso.openai.azure.com", "/openai/deployments/mine/chat/completions?api-version=2024-10-21"),
    ("anthropic/count_tokens", "api.anthropic.com", "/v1/messages/count_tokens"),
    ("anthropic/", "api.anthropic.com", "/v1/messages"),
    ("gemini/code_assist", "cloudcode-pa.googleapis.com", "/v1internal:streamGenerateContent?alt=sse"),
    ("gemini/vertex_embeddings", "us-central1-aiplatform.googleapis.com", "/v1/publishers/google/models/text-embedding-005:predict"),
    ("gemini/count_tokens", "generativelanguage.googleapis.com", "/v1beta/models/gemini-2.5-flash:countTokens"),
    ("gemini/", "generativelanguage.googleapis.com", "/v1beta/models/gemini-2.5-flash:streamGenerateContent"),
    ("mistral/", "api.mistral.ai", "/v1/chat/completions"),
    ("cohere/v1", "api.cohere.com", "/v1/chat"),
    ("cohere/v2", "api.cohere.com", "/v2/chat"),
    ("cohere/embed", "api.cohere.com", "/v2/embed"),
    ("bedrock/converse", "bedrock-runtime.us-east-1.amazonaws.com", "/model/us.amazon.nova-pro-v1%3A0/converse-stream"),
    ("bedrock/invoke", "bedrock-runtime.us-east-1.amazonaws.com", "/model/some.model/invoke-with-response-stream"),
    ("bedrock/count_tokens", "bedrock-runtime.us-east-1.amazonaws.com", "/model/m/count-tokens"),
    ("compatible/xai", "api.x.ai", "/v1/chat/completions"),
    ("compatible/perplexity", "api.perplexity.ai", "/chat/completions"),
    ("compatible/deepseek", "api.deepseek.com", "/chat/completions"),
    ("compatible/groq", "api.groq.com", "/openai/v1/chat/completions"),
    ("compatible/reasoning", "openrouter.ai", "/api/v1/chat/completions"),
    ("compatible/ollama", "api.openai.com", "/api/chat"),
];

/// The endpoint a recorded answer came from.
pub(crate) fn endpoint(name: &str) -> Endpoint {
    let (_, host, path) = ENDPOINTS.iter().find(|(prefix, _, _)| name.starts_with(prefix)).unwrap();
    Endpoint::of(Hosts::builtin().find(host).unwrap(), "POST", path)
}

/// The framing a recorded answer came in.
pub(crate) fn framing(name: &str) -> Framing {
    match Path::new(name).extension().unwrap().to_str().unwrap() {
        "sse" => Framing::Sse,
        "array" => Framing::JsonArray,
        "lines" => Framing::Lines,
        "bin" => Framing::EventStream,
        _ => Framing::Json,
    }
}

/// A recorded answer's bytes.
pub(crate) fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)).unwrap()
}

/// Every recorded answer, in order.
pub(crate) fn names() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut names = Vec::new();
    for folder in std::fs::read_dir(root).unwrap() {
        let folder = folder.unwrap();
        for file in std::fs::read_dir(folder.path()).unwrap() {
            names.push(format!("{}/{}", folder.file_name().to_str().unwrap(), file.unwrap().file_name().to_str().unwrap()));
        }
    }
    names.sort();
    names
}

/// Every recorded stream that has a plain twin, with the twin.
pub(crate) fn twins() -> Vec<(String, String)> {
    let names = names();
    let twin = |name: &String| {
        let plain = format!("{}.json", name.rsplit_once('.')?.0);
        (framing(name).is_stream() && names.contains(&plain)).then(|| (name.clone(), plain))
    };
    names.iter().filter_map(twin).collect()
}
