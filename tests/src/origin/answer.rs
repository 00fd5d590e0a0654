//! An answer as data: whole, in frames, or as bytes on the bare wire.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::ask::{Ask, Family};
use super::{anthropic, bedrock, cohere, gemini, openai};

/// Token counts of an answer in the normal form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// All input tokens, the cached ones included.
    pub input: u64,
    /// Those of them read from the provider's prompt cache.
    pub cached: u64,
    /// All output tokens, reasoning included.
    pub output: u64,
    /// Those of them spent on reasoning.
    pub reasoning: u64,
}

/// One step of an answer's body.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// A frame; a gated stream waits for a release before it.
    Frame(Bytes),
    /// Trailers: the last step.
    Trailers(HeaderMap),
    /// The body breaks off: HTTP/1.1 closes without the last chunk, HTTP/2 resets the stream.
    Cut,
    /// Nothing more comes, and the connection stays.
    Hang,
    /// All steps again from the given one, for ever.
    Again(usize),
}

/// What is sent back.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// Through the HTTP library. One step is sent with its length, more are sent chunked.
    Http { status: u16, headers: HeaderMap, steps: Vec<Step>, pace: Duration },
    /// Bytes on the bare HTTP/1.1 connection.
    Wire(Vec<Wire>),
}

/// One step on the bare wire.
#[derive(Clone, Debug)]
pub(super) enum Wire {
    /// Bytes as they are.
    Bytes(Bytes),
    /// Wait.
    Pause(Duration),
    /// TCP reset.
    Reset,
}

impl Answer {
    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self::whole(status, "application/json", body.to_string())
    }

    pub(super) fn whole(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        Self::Http { status, headers: content_type_header(content_type), steps: vec![Step::Frame(body.into())], pace: Duration::ZERO }
    }

    pub(super) fn stream(content_type: &str, frames: Vec<Bytes>) -> Self {
        let steps = frames.into_iter().map(Step::Frame).collect();
        Self::Http { status: 200, headers: content_type_header(content_type), steps, pace: Duration::ZERO }
    }

    /// Server-sent events; an unnamed event has an empty name.
    pub(super) fn sse(events: &[(&str, Value)]) -> Self {
        Self::stream("text/event-stream", events.iter().map(|(name, data)| sse_frame(name, data)).collect())
    }

    pub(super) fn with_header(mut self, name: &'static str, value: &str) -> Self {
        if let Self::Http { headers, .. } = &mut self {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).expect("the tests' own header values are valid"));
        }
        self
    }

    /// One more header of a name that may be there.
    pub(super) fn and_header(mut self, name: &'static str, value: &str) -> Self {
        if let Self::Http { headers, .. } = &mut self {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).expect("the tests' own header values are valid"));
        }
        self
    }

    pub(super) fn with_pace(mut self, every: Duration) -> Self {
        if let Self::Http { pace, .. } = &mut self {
            *pace = every;
        }
        self
    }

    /// The body's frames in one piece.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let Self::Http { steps, .. } = self else { return Vec::new() };
        steps.iter().flat_map(|step| if let Step::Frame(bytes) = step { bytes.to_vec() } else { Vec::new() }).collect()
    }
}

/// The well-behaved answer to a request.
pub(super) fn answer(ask: &Ask) -> Answer {
    match ask.family() {
        Family::OpenAiChat => openai::chat(ask),
        Family::OpenAiCompletion => openai::completion(ask),
        Family::OpenAiResponses => openai::responses(ask),
        Family::OpenAiEmbeddings => openai::embeddings(ask),
        Family::AnthropicMessages => anthropic::messages(ask),
        Family::AnthropicCountTokens => anthropic::count_tokens(),
        Family::Gemini => gemini::generate(ask),
        Family::GeminiCountTokens => gemini::count_tokens(),
        Family::CohereV1 => cohere::v1(ask),
        Family::CohereV2 => cohere::v2(ask),
        Family::BedrockConverse => bedrock::converse(ask),
        Family::BedrockInvoke => bedrock::invoke(ask),
        Family::Other => Answer::whole(200, "text/plain; charset=utf-8", format!("a plain page, call {}\n", ask.number)),
    }
}

/// An error in the shape of the family's own errors.
pub(super) fn error(family: Family, status: u16, message: &str) -> Answer {
    let body = match family {
        Family::AnthropicMessages | Family::AnthropicCountTokens => {
            let kind = if status == 429 { "rate_limit_error" } else { "api_error" };
            json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_test"})
        }
        Family::Gemini | Family::GeminiCountTokens => {
            json!({"error": {"code": status, "message": message, "status": if status == 429 { "RESOURCE_EXHAUSTED" } else { "INTERNAL" }}})
        }
        Family::CohereV1 | Family::CohereV2 | Family::BedrockConverse | Family::BedrockInvoke => json!({"message": message}),
        _ => json!({"error": {"message": message, "type": "server_error", "param": null, "code": null}}),
    };
    let answer = Answer::json(status, &body);
    let bedrock = matches!(family, Family::BedrockConverse | Family::BedrockInvoke);
    let kind = if status == 429 { "ThrottlingException" } else { "InternalServerException" };
    if bedrock { answer.with_header("x-amzn-errortype", kind) } else { answer }
}

pub(super) fn sse_frame(name: &str, data: &Value) -> Bytes {
    let event = if name.is_empty() { String::new() } else { format!("event: {name}\n") };
    Bytes::from(format!("{event}data: {data}\n\n"))
}

fn content_type_header(content_type: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_str(content_type).expect("the tests' own content types are valid"));
    headers
}
