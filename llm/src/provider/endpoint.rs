//! What an address means: who answers, which operation it is, in which dialect, with which model.

use percent_encoding::percent_decode_str;

use super::format::{Format, chat_of, format_of, operation_of, path_model_span};
use super::{Framing, Provider, Shape};
use crate::call::Operation;
use crate::redact;

/// One call's address, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Who answers, as [`Provider::name`].
    pub provider: String,
    /// The host's shape.
    pub shape: Shape,
    /// What kind of call it is.
    pub operation: Operation,
    /// The dialect.
    pub format: Format,
    /// The model the path names (Gemini, Bedrock, Azure deployments), percent-decoded.
    pub path_model: Option<String>,
    /// The framing of the stream, where the path and not the body asks for one.
    pub streams_by_path: Option<Framing>,
}

impl Endpoint {
    /// Reads method and path. Only a POST is an LLM call; everything else is [`Format::Other`].
    pub fn of(provider: &Provider, method: &str, path_and_query: &str) -> Self {
        let (path, query) = split_query(path_and_query);
        let format = match format_of(provider.shape, path) {
            _ if method != "POST" => Format::Other,
            Format::Other if provider.names(path) => chat_of(provider.shape),
            format => format,
        };
        let streams_by_path = match format {
            Format::Gemini | Format::CodeAssist if path.ends_with(":streamGenerateContent") => {
                Some(if asks_for_sse(query) { Framing::Sse } else { Framing::JsonArray })
            }
            Format::VertexRaw if path.ends_with(":streamRawPredict") => Some(Framing::Sse),
            Format::BedrockConverse if path.ends_with("/converse-stream") => Some(Framing::EventStream),
            Format::BedrockInvoke if path.ends_with("/invoke-with-response-stream") => Some(Framing::EventStream),
            _ => None,
        };
        let path_model =
            path_model_span(format, path).map(|(from, to)| percent_decode_str(&path[from..to]).decode_utf8_lossy().into_owned());
        Self {
            provider: provider.name.clone(),
            shape: provider.shape,
            operation: operation_of(format),
            format,
            path_model,
            streams_by_path,
        }
    }

    /// The path as the cache key sees it: without secrets, and with the streaming twin of a path folded into the plain
    /// one, since a stored answer serves both.
    pub fn key_path(path_and_query: &str) -> String {
        let clean = redact::url(path_and_query);
        let (path, query) = split_query(&clean);
        let mut key = match STREAM_TWINS.iter().find(|(twin, _)| path.ends_with(twin)) {
            Some((twin, plain)) => format!("{}{plain}", &path[..path.len() - twin.len()]),
            None => path.to_owned(),
        };
        for (index, pair) in query.split('&').filter(|pair| !pair.is_empty() && *pair != "alt=sse").enumerate() {
            key.push(if index == 0 { '?' } else { '&' });
            key.push_str(pair);
        }
        key
    }

    /// The top-level members of the body that ask for a form of the answer and not for another answer.
    pub fn key_ignored_members(&self) -> &'static [&'static str] {
        match self.format {
            Format::OpenAiChat | Format::OpenAiCompletion => &["stream", "stream_options"],
            _ => &["stream"],
        }
    }

    /// Whether answers here can be one cached form of another: JSON from a stream and the other way round.
    pub fn is_chat_like(&self) -> bool {
        matches!(self.operation, Operation::Chat | Operation::Responses | Operation::Completion)
    }
}

/// Ends of paths that stream, each with the end of its plain twin.
const STREAM_TWINS: &[(&str, &str)] = &[
    (":streamGenerateContent", ":generateContent"),
    (":streamRawPredict", ":rawPredict"),
    ("/converse-stream", "/converse"),
    ("/invoke-with-response-stream", "/invoke"),
];

pub(crate) fn split_query(path_and_query: &str) -> (&str, &str) {
    let path_and_query = path_and_query.split('#').next().unwrap_or_default();
    path_and_query.split_once('?').unwrap_or((path_and_query, ""))
}

fn asks_for_sse(query: &str) -> bool {
    query.split('&').any(|pair| pair == "alt=sse")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::Hosts;

    fn endpoint(host: &str, path: &str) -> Endpoint {
        Endpoint::of(Hosts::builtin().find(host).unwrap(), "POST", path)
    }

    #[test]
    fn paths_name_their_dialect() {
        use Format::*;
        let vertex = "us-east1-aiplatform.googleapis.com";
        let bedrock = "bedrock-runtime.us-east-1.amazonaws.com";
        let azure = "contoso.openai.azure.com";
        let cases = [
            ("api.openai.com", "/v1/chat/completions", OpenAiChat, None),
            ("api.openai.com", "/v1/completions", OpenAiCompletion, None),
            ("api.openai.com", "/v1/responses", OpenAiResponses, None),
            ("api.openai.com", "/v1/responses/input_tokens", OpenAiCountTokens, None),
            ("api.openai.com", "/v1/responses/resp_1/cancel", Other, None),
            ("api.openai.com", "/v1/embeddings", OpenAiEmbeddings, None),
            ("api.openai.com", "/v1/files", Other, None),
            ("api.mistral.ai", "/v1/fim/completions", OpenAiChat, None),
            ("api.deepseek.com", "/anthropic/v1/messages", AnthropicMessages, None),
            ("api.anthropic.com", "/v1/messages?beta=true", AnthropicMessages, None),
            ("api.anthropic.com", "/v1/messages/count_tokens", AnthropicCountTokens, None),
            ("api.anthropic.com", "/v1/messages/batches", Other, None),
            (azure, "/openai/deployments/my%20gpt/chat/completions?api-version=2024-10-21", OpenAiChat, Some("my gpt")),
            (azure, "/openai/v1/responses", OpenAiResponses, None),
            (
                "generativelanguage.googleapis.com",
                "/v1beta/models/gemini-2.5-flash:generateContent?key=k",
                Gemini,
                Some("gemini-2.5-flash"),
            ),
            ("generativelanguage.googleapis.com", "/v1beta/openai/chat/completions", OpenAiChat, None),
            ("generativelanguage.googleapis.com", "/v1beta/models/e:batchEmbedContents", GeminiEmbeddings, Some("e")),
            ("generativelanguage.googleapis.com", "/v1beta/models/g:countTokens", GeminiCountTokens, Some("g")),
            ("generativelanguage.googleapis.com", "/v1beta/models/:generateContent", Gemini, None),
            (
                vertex,
                "/v1/projects/p/locations/l/publishers/anthropic/models/claude-sonnet-4@20250514:streamRawPredict",
                VertexRaw,
                Some("claude-sonnet-4@20250514"),
            ),
            (vertex, "/v1/projects/p/locations/l/publishers/anthropic/models/count-tokens:rawPredict", AnthropicCountTokens, None),
            (
                vertex,
                "/v1/projects/p/locations/l/publishers/google/models/gemini-embedding-001:predict",
                GeminiEmbeddings,
                Some("gemini-embedding-001"),
            ),
            ("cloudcode-pa.googleapis.com", "/v1internal:streamGenerateContent?alt=sse", CodeAssist, None),
            ("cloudcode-pa.googleapis.com", "/v1internal:loadCodeAssist", Other, None),
            ("api.cohere.com", "/v1/chat", CohereV1Chat, None),
            ("api.cohere.com", "/v2/chat", CohereV2Chat, None),
            ("api.cohere.com", "/v2/embed", CohereEmbed, None),
            ("api.cohere.com", "/compatibility/v1/chat/completions", OpenAiChat, None),
            (
                bedrock,
                "/model/anthropic.claude-3-haiku-20240307-v1%3A0/converse",
                BedrockConverse,
                Some("anthropic.claude-3-haiku-20240307-v1:0"),
            ),
            (
                bedrock,
                "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.x/invoke",
                BedrockInvoke,
                Some("arn:aws:bedrock:us-east-1:1:inference-profile/us.x"),
            ),
            (bedrock, "/model/x/count-tokens", BedrockCountTokens, Some("x")),
            (bedrock, "/openai/v1/chat/completions", OpenAiChat, None),
            (bedrock, "/model//converse", BedrockConverse, None),
            (bedrock, "/guardrail/g/version/1/apply", Other, None),
        ];
        for (host, path, format, model) in cases {
            let endpoint = endpoint(host, path);
            assert_eq!((endpoint.format, endpoint.path_model.as_deref()), (format, model), "{host}{path}");
        }
        let get = Endpoint::of(Hosts::builtin().find("api.openai.com").unwrap(), "GET", "/v1/chat/completions");
        assert_eq!((get.format, get.operation), (Format::Other, Operation::Other));
    }

    #[test]
    fn the_path_may_ask_for_a_stream() {
        let google = "generativelanguage.googleapis.com";
        let bedrock = "bedrock-runtime.us-east-1.amazonaws.com";
        let cases = [
            (google, "/v1beta/models/g:streamGenerateContent?alt=sse", Some(Framing::Sse)),
            (google, "/v1beta/models/g:streamGenerateContent?key=k", Some(Framing::JsonArray)),
            (google, "/v1beta/models/g:generateContent?alt=sse", None),
            ("cloudcode-pa.googleapis.com", "/v1internal:streamGenerateContent?alt=sse", Some(Framing::Sse)),
            (bedrock, "/model/m/converse-stream", Some(Framing::EventStream)),
            (bedrock, "/model/m/invoke-with-response-stream", Some(Framing::EventStream)),
            (bedrock, "/model/m/invoke", None),
            ("api.openai.com", "/v1/chat/completions", None),
        ];
        for (host, path, framing) in cases {
            assert_eq!(endpoint(host, path).streams_by_path, framing, "{path}");
        }
    }

    #[test]
    fn key_paths_fold_twins_and_drop_secrets() {
        let cases = [
            ("/v1beta/models/g:streamGenerateContent?alt=sse&key=AIza", "/v1beta/models/g:generateContent"),
            ("/v1beta/models/g:generateContent?key=AIza", "/v1beta/models/g:generateContent"),
            ("/model/m/converse-stream", "/model/m/converse"),
            ("/model/m/invoke-with-response-stream", "/model/m/invoke"),
            ("/x/models/c:streamRawPredict", "/x/models/c:rawPredict"),
            (
                "/openai/deployments/d/chat/completions?api-version=2024-10-21&api-key=s",
                "/openai/deployments/d/chat/completions?api-version=2024-10-21",
            ),
            ("/v1/chat/completions", "/v1/chat/completions"),
            ("/v1/messages?beta=true&X-Amz-Signature=1&%6Bey=2", "/v1/messages?beta=true"),
            ("/converse-stream/x", "/converse-stream/x"),
            ("/a?", "/a"),
        ];
        for (path, key) in cases {
            assert_eq!(Endpoint::key_path(path), key, "{path}");
        }
    }
}
