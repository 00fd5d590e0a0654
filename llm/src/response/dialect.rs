//! Which shape an answer has, and what each shape does to read and write it.

use serde_json::Value;

use super::count::Counts;
use super::frame::{Body, Frames};
use super::gathered::Gathered;
use super::out::Out;
use crate::provider::{Format, Shape, anthropic, bedrock, chat, cohere, gemini, ollama, responses};
use crate::usage::Usage;

/// The shape of an answer. Mostly the endpoint decides; where the path passes any maker's body through, the body does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Chat,
    Completion,
    Responses,
    OpenAiEmbeddings,
    Messages,
    Gemini,
    GeminiEmbeddings,
    CodeAssist,
    CohereV1,
    CohereV2,
    CohereEmbed,
    Converse,
    /// Converse's events, each wrapped in its type: Amazon's Nova under InvokeModel.
    Nova,
    /// Other makers under InvokeModel.
    Invoke,
    Ollama,
    CountTokens,
    Unknown,
}

impl Dialect {
    /// The dialect of answers of `format`, of which `first` is the first event.
    pub(crate) fn of(format: Format, first: &Value) -> Self {
        match format {
            Format::OpenAiChat => Self::Chat,
            Format::OpenAiCompletion => Self::Completion,
            Format::OpenAiResponses => Self::Responses,
            Format::OpenAiEmbeddings => Self::OpenAiEmbeddings,
            Format::AnthropicMessages => Self::Messages,
            Format::Gemini => Self::Gemini,
            Format::GeminiEmbeddings => Self::GeminiEmbeddings,
            Format::CodeAssist => Self::CodeAssist,
            Format::CohereV1Chat => Self::CohereV1,
            Format::CohereV2Chat => Self::CohereV2,
            Format::CohereEmbed => Self::CohereEmbed,
            Format::BedrockConverse => Self::Converse,
            Format::Ollama | Format::OllamaEmbeddings => Self::Ollama,
            Format::OpenAiCountTokens | Format::AnthropicCountTokens | Format::GeminiCountTokens | Format::BedrockCountTokens => {
                Self::CountTokens
            }
            Format::BedrockInvoke => match Self::sniffed(first) {
                Self::Unknown => Self::Invoke,
                Self::Converse => Self::Nova,
                known => known,
            },
            Format::VertexRaw | Format::Other => Self::sniffed(first),
        }
    }

    /// The dialect a document shows by its members.
    fn sniffed(value: &Value) -> Self {
        let word = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
        let has = |place: &str| value.pointer(place).is_some();
        match (word("type"), word("object")) {
            ("message" | "message_start" | "message_delta" | "message_stop", _) => return Self::Messages,
            (kind, _) if kind.starts_with("content_block_") => return Self::Messages,
            ("message-start", _) => return Self::CohereV2,
            (kind, _) if kind.starts_with("response.") => return Self::Responses,
            (_, "response") => return Self::Responses,
            (_, "text_completion") => return Self::Completion,
            (_, object) if object.starts_with("chat.completion") => return Self::Chat,
            _ => {}
        }
        if has("/choices/0/message") || has("/choices/0/delta") {
            Self::Chat
        } else if has("/candidates") || has("/usageMetadata") {
            Self::Gemini
        } else if has("/response/candidates") {
            Self::CodeAssist
        } else if has("/output/message") || CONVERSE_EVENTS.iter().any(|name| value.get(*name).is_some()) {
            Self::Converse
        } else if has("/event_type") {
            Self::CohereV1
        } else if has("/meta/billed_units") {
            Self::CohereEmbed
        } else if has("/usage/prompt_tokens") {
            Self::Chat
        } else if has("/usage/input_tokens") {
            Self::Responses
        } else {
            Self::Unknown
        }
    }
}

/// The types of Converse's events, which Nova wraps its events in.
const CONVERSE_EVENTS: &[&str] = &["messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop"];

/// Puts a stream's events together as a whole answer.
pub(crate) fn gather(dialect: Dialect, frames: &Frames) -> Gathered {
    match dialect {
        Dialect::Chat => chat::gather(frames, "chat.completion"),
        Dialect::Completion => chat::gather(frames, "text_completion"),
        Dialect::Responses => responses::gather(frames),
        Dialect::Messages => anthropic::gather(frames),
        Dialect::Gemini => gemini::gather(frames),
        Dialect::CodeAssist => {
            let (inner, mut beside) = gemini::unwrap(frames);
            let mut gathered = gemini::gather(&inner);
            gathered.message = gathered.message.map(|message| {
                let mut wrapper = serde_json::Map::from_iter([("response".to_owned(), message)]);
                wrapper.append(&mut beside);
                Value::Object(wrapper)
            });
            gathered
        }
        Dialect::CohereV1 => cohere::gather_v1(frames),
        Dialect::CohereV2 => cohere::gather_v2(frames),
        Dialect::Converse => bedrock::gather(frames, false),
        Dialect::Nova => bedrock::gather(frames, true),
        Dialect::Invoke => bedrock::gather_invoke(frames),
        Dialect::Ollama => ollama::gather(frames),
        Dialect::OpenAiEmbeddings | Dialect::GeminiEmbeddings | Dialect::CohereEmbed | Dialect::CountTokens | Dialect::Unknown => {
            gather_last(frames)
        }
    }
}

/// Of a stream of unknown shape: its last document, its errors.
fn gather_last(frames: &Frames) -> Gathered {
    let mut gathered = Gathered { exact: false, ..Gathered::new() };
    for frame in &frames.list {
        match &frame.body {
            Body::Json { value, .. } => {
                if let Some(error) = super::gathered::error_of(value) {
                    gathered.fail(error);
                }
                gathered.content(frame.end);
                gathered.message = Some(value.clone());
            }
            Body::Done => gathered.complete = true,
            Body::Exception(error) => gathered.fail(error.clone()),
        }
    }
    gathered
}

/// Reads the usage of a whole answer.
pub(crate) fn usage(dialect: Dialect, message: &Value, provider: &str) -> Result<Usage, String> {
    match dialect {
        Dialect::Chat | Dialect::Completion | Dialect::OpenAiEmbeddings => chat::usage(message, provider),
        Dialect::Responses => responses::usage(message),
        Dialect::Messages => anthropic::usage(message),
        Dialect::Gemini => gemini::usage(message),
        Dialect::GeminiEmbeddings => gemini::embedding_usage(message),
        Dialect::CodeAssist => gemini::usage(message.get("response").ok_or("the answer has no response")?),
        Dialect::CohereV1 | Dialect::CohereV2 | Dialect::CohereEmbed => cohere::usage(message),
        Dialect::Converse | Dialect::Nova => bedrock::usage(message),
        Dialect::Invoke => bedrock::invoke_usage(message),
        Dialect::Ollama => ollama::usage(message),
        Dialect::CountTokens => {
            if message.get("totalTokens").is_some() {
                return gemini::count_usage(message);
            }
            let mut counts = Counts::of(message)?;
            let input_tokens = counts.first(&[&["input_tokens"], &["inputTokens"]]);
            counts.finish(Usage { input_tokens, ..Usage::default() })
        }
        Dialect::Unknown => Err("the answer has no usage of a known shape".to_owned()),
    }
}

/// A stream that says what `message` says; `None` where none can.
pub(crate) fn spread(dialect: Dialect, format: Format, shape: Shape, message: &Value, with_usage_chunk: bool) -> Option<Vec<Out>> {
    let bedrock = format == Format::BedrockInvoke;
    match dialect {
        Dialect::Chat if bedrock => {
            let events = chat::spread_chat(message, shape, true)?;
            Some(events.into_iter().filter(|event| event.value.is_some()).collect())
        }
        Dialect::Chat => chat::spread_chat(message, shape, with_usage_chunk),
        Dialect::Completion => chat::spread_completion(message, shape, with_usage_chunk),
        Dialect::Responses => responses::spread(message),
        Dialect::Messages => anthropic::spread(message, bedrock),
        Dialect::Gemini => gemini::spread(message),
        Dialect::CodeAssist => {
            let mut beside = message.as_object()?.clone();
            let inner = beside.shift_remove("response")?;
            Some(gemini::wrap(gemini::spread(&inner)?, &beside))
        }
        Dialect::CohereV1 => cohere::spread_v1(message),
        Dialect::CohereV2 => cohere::spread_v2(message),
        Dialect::Converse => bedrock::spread(message, false),
        Dialect::Nova => bedrock::spread(message, true),
        Dialect::Ollama => ollama::spread(message),
        _ => None,
    }
}
