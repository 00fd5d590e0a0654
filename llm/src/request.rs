//! What a request asks for, and the two changes made to it: usage in streams, and another model.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::json::{Json, Object};
use crate::provider::{Endpoint, Format, Framing, Shape, path_model_span, split_query};

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The model, from the body or else from the path.
    pub model: Option<String>,
    /// Whether a stream is asked for.
    pub stream: bool,
    /// The framing the answer will have if it succeeds.
    pub framing: Framing,
    /// Whether the client itself asked for the usage chunk of an OpenAI stream. Read it before [`include_usage`] does.
    pub wants_usage_chunk: bool,
}

/// Reads a request. A body of another shape than expected asks for nothing that it does not say.
pub fn read(endpoint: &Endpoint, _path_and_query: &str, body: &Json) -> Ask {
    let in_body = body.get("model").and_then(Json::as_str).filter(|model| !model.is_empty());
    let model = match endpoint.format {
        // What the path names is what answers; an Azure client repeats its own name for it in the body.
        Format::BedrockConverse | Format::BedrockInvoke | Format::Gemini => endpoint.path_model.as_deref().or(in_body),
        _ => in_body.or(endpoint.path_model.as_deref()),
    };
    let asked = match body.get("stream") {
        Some(Json::Bool(stream)) => *stream,
        // Ollama streams unless told otherwise.
        _ => endpoint.format == Format::Ollama,
    };
    let by_body = asked && endpoint.is_chat_like() && !by_path_only(endpoint.format);
    let framing = match (endpoint.streams_by_path, by_body) {
        (Some(framing), _) => framing,
        (None, false) => Framing::Json,
        (None, true) => match endpoint.format {
            Format::CohereV1Chat | Format::Ollama => Framing::Lines,
            _ => Framing::Sse,
        },
    };
    let usage_asked = body.at(&["stream_options", "include_usage"]).and_then(Json::as_bool) == Some(true);
    let wants_usage_chunk = usage_asked && matches!(endpoint.format, Format::OpenAiChat | Format::OpenAiCompletion);
    Ask { model: model.map(str::to_owned), stream: framing.is_stream(), framing, wants_usage_chunk }
}

/// Formats whose path alone says whether they stream.
fn by_path_only(format: Format) -> bool {
    matches!(format, Format::Gemini | Format::CodeAssist | Format::BedrockConverse | Format::BedrockInvoke | Format::VertexRaw)
}

/// Asks an OpenAI stream for its usage, where the client did not. True when the body was changed, so that the extra
/// chunk must be hidden from the client ([`crate::response::UsageChunkFilter`]).
///
/// Other members of `stream_options` are kept. Left alone are hosts that always send usage and refuse the option
/// (Mistral), that send it unasked (Perplexity), and Azure's versions from before the option.
pub fn include_usage(endpoint: &Endpoint, path_and_query: &str, body: &mut Json) -> bool {
    if !matches!(endpoint.format, Format::OpenAiChat | Format::OpenAiCompletion) || !takes_include_usage(endpoint, path_and_query) {
        return false;
    }
    if body.get("stream").and_then(Json::as_bool) != Some(true) {
        return false;
    }
    let Some(members) = body.as_object_mut() else { return false };
    match members.get_mut("stream_options") {
        Some(Json::Object(options)) => {
            if options.get("include_usage").and_then(Json::as_bool) == Some(true) {
                return false;
            }
            options.insert("include_usage", true);
        }
        _ => {
            members.insert("stream_options", Object::from_iter([("include_usage", true)]));
        }
    }
    true
}

fn takes_include_usage(endpoint: &Endpoint, path_and_query: &str) -> bool {
    if endpoint.shape == Shape::Mistral || endpoint.provider == "perplexity" {
        return false;
    }
    let (path, query) = split_query(path_and_query);
    if path.ends_with("/fim/completions") || path.ends_with("/agents/completions") {
        return false;
    }
    if endpoint.provider != "azure" || path.contains("/openai/v1/") {
        return true;
    }
    // Versions are dates, so they compare as text; the option came with this one. Azure's model inference API
    // (`/models/…`) refuses members it does not know.
    let version = query.split('&').find_map(|pair| pair.strip_prefix("api-version="));
    path.contains("/openai/deployments/") && version.is_some_and(|version| version >= "2024-09-01")
}

/// Why a request's model cannot be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetModelError {
    /// The endpoint has no model.
    #[error("setting the model: requests to this path name none")]
    NoModel,
    /// The body is not a JSON object.
    #[error("setting the model: the request's body is not a JSON object")]
    NotAnObject,
    /// The body should name a model and does not.
    #[error("setting the model: the request's body has no member \"model\"")]
    NotNamed,
    /// The new name is empty.
    #[error("setting the model: the new model's name is empty")]
    Empty,
}

/// Replaces the model in body and path, whichever name it. Returns the new path and query where the path changed.
///
/// # Errors
/// When the request names no model that could be replaced, or `model` is empty.
pub fn set_model(endpoint: &Endpoint, path_and_query: &str, body: &mut Json, model: &str) -> Result<Option<String>, SetModelError> {
    if model.is_empty() {
        return Err(SetModelError::Empty);
    }
    if endpoint.format == Format::Other {
        return Err(SetModelError::NoModel);
    }
    let new_path = with_path_model(endpoint, path_and_query, model);
    let Some(members) = body.as_object_mut() else {
        return if new_path.is_some() { Ok(new_path) } else { Err(SetModelError::NotAnObject) };
    };
    if let Some(Json::Array(requests)) = members.get_mut("requests") {
        // Gemini's batch of embeddings names the model in every request once more.
        for request in requests.iter_mut().filter_map(|request| request.get_mut("model")) {
            *request = Json::from(format!("models/{model}"));
        }
    }
    match members.get_mut("model") {
        Some(place) if endpoint.shape == Shape::Gemini && place.as_str().is_some_and(|old| old.starts_with("models/")) => {
            *place = Json::from(format!("models/{model}"));
        }
        Some(place) => *place = Json::from(model),
        None if new_path.is_none() => return Err(SetModelError::NotNamed),
        None => {}
    }
    Ok(new_path)
}

/// What a path segment may hold unescaped, as SDKs write it. Bedrock's ids have colons, which AWS SDKs escape.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// Vertex writes `claude-sonnet-4@20250514` with its `@`.
const GOOGLE_SEGMENT: &AsciiSet = &SEGMENT.remove(b'@');

fn with_path_model(endpoint: &Endpoint, path_and_query: &str, model: &str) -> Option<String> {
    let (path, _) = split_query(path_and_query);
    let (from, to) = path_model_span(endpoint.format, path)?;
    let escapes = if endpoint.shape == Shape::Gemini { GOOGLE_SEGMENT } else { SEGMENT };
    let model = utf8_percent_encode(model, escapes);
    Some(format!("{}{model}{}", &path_and_query[..from], &path_and_query[to..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::Hosts;

    const GOOGLE: &str = "generativelanguage.googleapis.com";
    const BEDROCK: &str = "bedrock-runtime.us-east-1.amazonaws.com";
    const AZURE: &str = "contoso.openai.azure.com";

    fn endpoint(host: &str, path: &str) -> Endpoint {
        Endpoint::of(Hosts::builtin().find(host).unwrap(), "POST", path)
    }

    fn json(text: &str) -> Json {
        Json::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn reads_model_and_framing_where_each_provider_says_them() {
        let cases = [
            ("api.openai.com", "/v1/chat/completions", r#"{"model":"gpt-5","stream":true}"#, Some("gpt-5"), Framing::Sse),
            ("api.openai.com", "/v1/chat/completions", r#"{"model":"gpt-5","stream":"yes"}"#, Some("gpt-5"), Framing::Json),
            ("api.openai.com", "/v1/chat/completions", r#"{"model":["a"]}"#, None, Framing::Json),
            ("api.openai.com", "/v1/chat/completions", r#"[1]"#, None, Framing::Json),
            ("api.openai.com", "/v1/embeddings", r#"{"model":"e","stream":true}"#, Some("e"), Framing::Json),
            ("api.cohere.com", "/v1/chat", r#"{"model":"command-r","stream":true}"#, Some("command-r"), Framing::Lines),
            ("api.cohere.com", "/v2/chat", r#"{"model":"command-a","stream":true}"#, Some("command-a"), Framing::Sse),
            (GOOGLE, "/v1beta/models/g:streamGenerateContent", r#"{"contents":[]}"#, Some("g"), Framing::JsonArray),
            (GOOGLE, "/v1beta/models/g:generateContent", r#"{"stream":true}"#, Some("g"), Framing::Json),
            ("cloudcode-pa.googleapis.com", "/v1internal:streamGenerateContent?alt=sse", r#"{"model":"g"}"#, Some("g"), Framing::Sse),
            (BEDROCK, "/model/us.amazon.nova-lite-v1%3A0/converse-stream", "{}", Some("us.amazon.nova-lite-v1:0"), Framing::EventStream),
            (AZURE, "/openai/deployments/d/chat/completions", r#"{"messages":[]}"#, Some("d"), Framing::Json),
        ];
        for (host, path, body, model, framing) in cases {
            let ask = read(&endpoint(host, path), path, &json(body));
            assert_eq!((ask.model.as_deref(), ask.framing, ask.stream), (model, framing, framing != Framing::Json), "{host}{path} {body}");
        }
    }

    #[test]
    fn usage_is_asked_for_only_where_that_is_understood() {
        let chat = "/v1/chat/completions";
        let cases = [
            ("api.openai.com", chat, r#"{"stream":true}"#, Some(r#"{"stream":true,"stream_options":{"include_usage":true}}"#)),
            (
                "api.openai.com",
                chat,
                r#"{"stream":true,"stream_options":{"include_usage":false,"include_obfuscation":false}}"#,
                Some(r#"{"stream":true,"stream_options":{"include_usage":true,"include_obfuscation":false}}"#),
            ),
            (
                "api.openai.com",
                chat,
                r#"{"stream":true,"stream_options":null}"#,
                Some(r#"{"stream":true,"stream_options":{"include_usage":true}}"#),
            ),
            ("api.openai.com", chat, r#"{"stream":true,"stream_options":{"include_usage":true}}"#, None),
            ("api.openai.com", chat, r#"{"stream":1}"#, None),
            ("api.openai.com", chat, r#"{}"#, None),
            ("api.openai.com", "/v1/responses", r#"{"stream":true}"#, None),
            ("api.openai.com", "/v1/completions", r#"{"stream":true}"#, Some(r#"{"stream":true,"stream_options":{"include_usage":true}}"#)),
            (
                "api.groq.com",
                "/openai/v1/chat/completions",
                r#"{"stream":true}"#,
                Some(r#"{"stream":true,"stream_options":{"include_usage":true}}"#),
            ),
            ("api.mistral.ai", chat, r#"{"stream":true}"#, None),
            ("api.perplexity.ai", "/chat/completions", r#"{"stream":true}"#, None),
            (AZURE, "/openai/deployments/d/chat/completions?api-version=2024-02-01", r#"{"stream":true}"#, None),
            (
                AZURE,
                "/openai/deployments/d/chat/completions?api-version=2024-10-21",
                r#"{"stream":true}"#,
                Some(r#"{"stream":true,"stream_options":{"include_usage":true}}"#),
            ),
        ];
        for (host, path, before, after) in cases {
            let mut body = json(before);
            let changed = include_usage(&endpoint(host, path), path, &mut body);
            assert_eq!((changed, body.compact().as_str()), (after.is_some(), after.unwrap_or(before)), "{host}{path} {before}");
        }
    }

    #[test]
    fn the_model_is_replaced_where_it_stands() {
        let cases = [
            ("api.openai.com", "/v1/chat/completions", r#"{"model":"a","n":1}"#, Ok(None), r#"{"model":"x/y:z","n":1}"#),
            (
                GOOGLE,
                "/v1beta/models/g:generateContent?key=k",
                r#"{"contents":[]}"#,
                Ok(Some("/v1beta/models/x%2Fy%3Az:generateContent?key=k")),
                r#"{"contents":[]}"#,
            ),
            (BEDROCK, "/model/a%3A0/converse", "{}", Ok(Some("/model/x%2Fy%3Az/converse")), "{}"),
            (
                AZURE,
                "/openai/deployments/d/chat/completions?api-version=1",
                r#"{"model":"d"}"#,
                Ok(Some("/openai/deployments/x%2Fy%3Az/chat/completions?api-version=1")),
                r#"{"model":"x/y:z"}"#,
            ),
            ("cloudcode-pa.googleapis.com", "/v1internal:generateContent", r#"{"model":"g"}"#, Ok(None), r#"{"model":"x/y:z"}"#),
            (
                GOOGLE,
                "/v1beta/models/e:batchEmbedContents",
                r#"{"requests":[{"model":"models/e"}]}"#,
                Ok(Some("/v1beta/models/x%2Fy%3Az:batchEmbedContents")),
                r#"{"requests":[{"model":"models/x/y:z"}]}"#,
            ),
            ("api.openai.com", "/v1/chat/completions", r#"{"n":1}"#, Err(SetModelError::NotNamed), r#"{"n":1}"#),
            ("api.openai.com", "/v1/chat/completions", "[]", Err(SetModelError::NotAnObject), "[]"),
            ("api.openai.com", "/v1/files", r#"{"model":"a"}"#, Err(SetModelError::NoModel), r#"{"model":"a"}"#),
        ];
        for (host, path, before, result, after) in cases {
            let mut body = json(before);
            let set = set_model(&endpoint(host, path), path, &mut body, "x/y:z");
            assert_eq!((set, body.compact().as_str()), (result.map(|path: Option<&str>| path.map(str::to_owned)), after), "{host}{path}");
        }
        assert_eq!(set_model(&endpoint(GOOGLE, "/v1beta/models/g:countTokens"), "/x", &mut json("{}"), ""), Err(SetModelError::Empty));
    }
}
