//! A request, read as far as an answer needs it.

use bytes::Bytes;
use http::{HeaderMap, Method, Version};
use serde_json::Value;

/// Whose shape a path asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// OpenAI chat completions, and every host compatible with it.
    OpenAiChat,
    /// OpenAI completions, the old ones.
    OpenAiCompletion,
    /// OpenAI responses.
    OpenAiResponses,
    /// OpenAI embeddings.
    OpenAiEmbeddings,
    /// Anthropic messages.
    AnthropicMessages,
    /// Anthropic's token count.
    AnthropicCountTokens,
    /// Gemini and Vertex `generateContent`, `streamGenerateContent`.
    Gemini,
    /// Gemini `countTokens`.
    GeminiCountTokens,
    /// Cohere `/v1/chat`.
    CohereV1,
    /// Cohere `/v2/chat`.
    CohereV2,
    /// Bedrock Converse and ConverseStream.
    BedrockConverse,
    /// Bedrock InvokeModel, and its stream.
    BedrockInvoke,
    /// Not an LLM path.
    Other,
}

/// One request.
pub(super) struct Ask {
    pub(super) number: u64,
    pub(super) version: Version,
    pub(super) sni: Option<String>,
    pub(super) host: String,
    pub(super) method: Method,
    pub(super) path_and_query: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// The body as JSON; null where it is none.
    pub(super) json: Value,
    /// What a rule makes of it: the answer's text.
    pub(super) scripted: Option<String>,
}

impl Ask {
    pub(super) fn path(&self) -> &str {
        self.path_and_query.split('?').next().unwrap_or_default()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(super) fn header_millis(&self, name: &str) -> std::time::Duration {
        std::time::Duration::from_millis(self.header(name).and_then(|text| text.parse().ok()).unwrap_or(0))
    }

    pub(super) fn family(&self) -> Family {
        let path = self.path();
        let ends = |tail: &str| path.ends_with(tail);
        match () {
            () if ends("/chat/completions") => Family::OpenAiChat,
            () if ends("/completions") => Family::OpenAiCompletion,
            () if ends("/responses") => Family::OpenAiResponses,
            () if ends("/embeddings") => Family::OpenAiEmbeddings,
            () if ends("/messages/count_tokens") => Family::AnthropicCountTokens,
            () if ends("/messages") => Family::AnthropicMessages,
            () if ends(":generateContent") || ends(":streamGenerateContent") => Family::Gemini,
            () if ends(":countTokens") => Family::GeminiCountTokens,
            () if ends("/v1/chat") => Family::CohereV1,
            () if ends("/v2/chat") => Family::CohereV2,
            () if ends("/converse") || ends("/converse-stream") => Family::BedrockConverse,
            () if ends("/invoke") || ends("/invoke-with-response-stream") => Family::BedrockInvoke,
            () => Family::Other,
        }
    }

    /// The model asked for: in the body, or in the path (`/models/M:verb`, `/model/M/verb`, `/deployments/M/`).
    pub(super) fn model(&self) -> String {
        if let Some(model) = self.json.get("model").and_then(Value::as_str) {
            return model.to_owned();
        }
        let path = self.path();
        let after = |mark: &str| path.split_once(mark).map(|(_, rest)| rest);
        let model = after("/models/").and_then(|rest| rest.rsplit_once(':').map(|(model, _)| model));
        let model = model.or_else(|| after("/model/").and_then(|rest| rest.rsplit_once('/').map(|(model, _)| model)));
        let model = model.or_else(|| after("/deployments/").and_then(|rest| rest.split('/').next()));
        model.unwrap_or("unnamed").replace("%3A", ":").replace("%2F", "/")
    }

    pub(super) fn wants_stream(&self) -> bool {
        let path = self.path();
        self.json.get("stream").and_then(Value::as_bool).unwrap_or(false)
            || path.ends_with(":streamGenerateContent")
            || path.ends_with("/converse-stream")
            || path.ends_with("/invoke-with-response-stream")
    }

    /// The scripted behaviour wanted: header `x-origin-script`, or a model named `script/NAME`.
    pub(super) fn script(&self) -> Option<String> {
        let named = self.header("x-origin-script").map(str::to_owned);
        named.or_else(|| self.model().strip_prefix("script/").map(str::to_owned))
    }

    /// The answer's text: a rule's, or one as long as a sentence, not ASCII alone, and different for each call of one origin.
    pub(super) fn text(&self) -> String {
        if let Some(text) = &self.scripted {
            return text.clone();
        }
        format!("Grüße from the origin 🦀: answer {}", self.number)
    }

    /// The text in the pieces in which a stream sends it.
    pub(super) fn pieces(&self) -> Vec<String> {
        self.text().split_inclusive(' ').map(str::to_owned).collect()
    }
}
