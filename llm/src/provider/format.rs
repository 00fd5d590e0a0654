//! The dialects, and which one a path speaks.

use super::Shape;
use crate::call::Operation;

/// The exact dialect of a call: the shape of its request, its answer and its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// `/chat/completions`, and Mistral's agents and fill-in-the-middle, which answer alike.
    OpenAiChat,
    /// `/completions`, the older text completions.
    OpenAiCompletion,
    /// `/responses`.
    OpenAiResponses,
    /// `/responses/input_tokens`.
    OpenAiCountTokens,
    /// `/embeddings`.
    OpenAiEmbeddings,
    /// `/v1/messages`.
    AnthropicMessages,
    /// `/v1/messages/count_tokens`.
    AnthropicCountTokens,
    /// `:generateContent` and `:streamGenerateContent`.
    Gemini,
    /// `:embedContent`, `:batchEmbedContents`, and Vertex's `:predict` of an embedding model.
    GeminiEmbeddings,
    /// `:countTokens`.
    GeminiCountTokens,
    /// `/v1internal:generateContent`: Gemini's answer under `response`.
    CodeAssist,
    /// `/v1/chat` of Cohere.
    CohereV1Chat,
    /// `/v2/chat` of Cohere.
    CohereV2Chat,
    /// `/v1/embed` and `/v2/embed` of Cohere.
    CohereEmbed,
    /// `/model/ID/converse` and `/converse-stream`.
    BedrockConverse,
    /// `/model/ID/invoke` and `/invoke-with-response-stream`: the model maker's own body.
    BedrockInvoke,
    /// `/model/ID/count-tokens`.
    BedrockCountTokens,
    /// Vertex's `:rawPredict` and `:streamRawPredict`: the model maker's own body (Anthropic, Mistral).
    VertexRaw,
    /// Ollama's own `/api/chat` and `/api/generate`.
    Ollama,
    /// Ollama's `/api/embed`.
    OllamaEmbeddings,
    /// Anything else on the host: models, files, batches, audio.
    Other,
}

/// What a call of a dialect asks for.
pub(super) fn operation_of(format: Format) -> Operation {
    match format {
        Format::OpenAiResponses => Operation::Responses,
        Format::OpenAiCompletion => Operation::Completion,
        Format::OpenAiEmbeddings | Format::GeminiEmbeddings | Format::CohereEmbed | Format::OllamaEmbeddings => Operation::Embeddings,
        Format::OpenAiCountTokens | Format::AnthropicCountTokens | Format::GeminiCountTokens | Format::BedrockCountTokens => {
            Operation::CountTokens
        }
        Format::Other => Operation::Other,
        _ => Operation::Chat,
    }
}

/// The dialect that a path of a host of this shape speaks.
pub(super) fn format_of(shape: Shape, path: &str) -> Format {
    let path = path.strip_suffix('/').unwrap_or(path);
    if shape == Shape::Bedrock && path.starts_with("/model/") {
        return match path.rsplit('/').next() {
            Some("converse" | "converse-stream") => Format::BedrockConverse,
            Some("invoke" | "invoke-with-response-stream") => Format::BedrockInvoke,
            Some("count-tokens") => Format::BedrockCountTokens,
            _ => Format::Other,
        };
    }
    if shape == Shape::Gemini
        && let Some((resource, verb)) = path.rsplit_once(':')
    {
        return google_format(resource, verb);
    }
    if matches!(shape, Shape::Cohere) || path.ends_with("/v2/chat") {
        match path.rsplit_once('/') {
            Some((version, "chat")) if version.ends_with("/v2") => return Format::CohereV2Chat,
            Some((version, "chat")) if version.ends_with("/v1") => return Format::CohereV1Chat,
            Some((version, "embed")) if version.ends_with("/v1") || version.ends_with("/v2") => return Format::CohereEmbed,
            _ => {}
        }
    }
    let ends = |end: &str| path.ends_with(end);
    if ends("/chat/completions") || ends("/fim/completions") || ends("/agents/completions") {
        Format::OpenAiChat
    } else if ends("/completions") {
        Format::OpenAiCompletion
    } else if ends("/responses") {
        Format::OpenAiResponses
    } else if ends("/responses/input_tokens") {
        Format::OpenAiCountTokens
    } else if ends("/embeddings") {
        Format::OpenAiEmbeddings
    } else if ends("/v1/messages") {
        Format::AnthropicMessages
    } else if ends("/v1/messages/count_tokens") {
        Format::AnthropicCountTokens
    } else if ends("/api/chat") || ends("/api/generate") {
        Format::Ollama
    } else if ends("/api/embed") {
        Format::OllamaEmbeddings
    } else {
        Format::Other
    }
}

/// The dialect of a chat call whose path says nothing.
pub(super) fn chat_of(shape: Shape) -> Format {
    match shape {
        // Bedrock's own dialects need the model in the path.
        Shape::OpenAi | Shape::Mistral | Shape::Bedrock => Format::OpenAiChat,
        Shape::Anthropic => Format::AnthropicMessages,
        Shape::Gemini => Format::Gemini,
        Shape::Cohere => Format::CohereV2Chat,
    }
}

/// Google's custom verbs. Code Assist has them on the version (`/v1internal:generateContent`), all others on a model.
fn google_format(resource: &str, verb: &str) -> Format {
    let code_assist = resource.ends_with("/v1internal");
    match verb {
        "generateContent" | "streamGenerateContent" if code_assist => Format::CodeAssist,
        "generateContent" | "streamGenerateContent" => Format::Gemini,
        "embedContent" | "batchEmbedContents" => Format::GeminiEmbeddings,
        "predict" if resource.contains("embedding") => Format::GeminiEmbeddings,
        "countTokens" => Format::GeminiCountTokens,
        "rawPredict" if resource.contains("/count-tokens") => Format::AnthropicCountTokens,
        "rawPredict" | "streamRawPredict" => Format::VertexRaw,
        _ => Format::Other,
    }
}

/// Where in the path the model's name stands.
pub(crate) fn path_model_span(format: Format, path: &str) -> Option<(usize, usize)> {
    let between = |before: &str, after: char| {
        let from = path.rfind(before)? + before.len();
        let to = path[from..].find(after).map_or(path.len(), |length| from + length);
        (to > from).then_some((from, to))
    };
    match format {
        Format::Gemini | Format::GeminiEmbeddings | Format::GeminiCountTokens | Format::VertexRaw => {
            let (from, _) = between("/models/", ':')?;
            let to = path.rfind(':').filter(|&to| to > from)?;
            Some((from, to))
        }
        Format::BedrockConverse | Format::BedrockInvoke | Format::BedrockCountTokens => {
            let from = "/model/".len();
            let to = path.trim_end_matches('/').rfind('/').filter(|&to| to > from)?;
            Some((from, to))
        }
        Format::Other | Format::AnthropicCountTokens | Format::CodeAssist => None,
        _ => between("/openai/deployments/", '/'),
    }
}
