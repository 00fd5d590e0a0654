//! Answers made up in a provider's shape, for the simulator.

use serde_json::{Map, Value, json};

use crate::provider::{Endpoint, Format, Shape};
use crate::usage::Usage;

/// A plain answer that says `text` and used `usage`, in the shape of the endpoint; streams of it come by
/// [`crate::response::convert`]. `id_seed` makes the ids, `created` is seconds since 1970. Equal arguments give equal
/// answers. Counts that `usage` leaves open are left out, or 0 where the shape demands one.
///
/// `None` where the endpoint answers with something that is no text, embedding or count.
pub fn compose(endpoint: &Endpoint, model: &str, text: &str, usage: &Usage, id_seed: u64, created: i64) -> Option<Value> {
    let answer = Made { model, text, usage, seed: id_seed, created };
    Some(match endpoint.format {
        Format::OpenAiChat => answer.chat(endpoint.shape),
        Format::OpenAiCompletion => answer.completion(),
        Format::OpenAiResponses => answer.response(),
        Format::OpenAiEmbeddings => answer.embeddings(),
        Format::OpenAiCountTokens => json!({ "object": "response.input_tokens", "input_tokens": answer.input() }),
        Format::AnthropicMessages => answer.message(),
        Format::VertexRaw | Format::BedrockInvoke if is_anthropic(model) => answer.message(),
        Format::BedrockInvoke if model.contains("amazon.nova") => answer.converse(),
        Format::VertexRaw | Format::BedrockInvoke => answer.chat(Shape::OpenAi),
        Format::AnthropicCountTokens => json!({ "input_tokens": answer.input() }),
        Format::Gemini => answer.gemini(),
        Format::GeminiEmbeddings => answer.gemini_embedding(),
        Format::GeminiCountTokens => {
            json!({ "totalTokens": answer.input(), "promptTokensDetails": [{ "modality": "TEXT", "tokenCount": answer.input() }] })
        }
        Format::CodeAssist => json!({ "response": answer.gemini(), "traceId": format!("{id_seed:016x}") }),
        Format::CohereV1Chat => answer.cohere_v1(),
        Format::CohereV2Chat => answer.cohere_v2(),
        Format::CohereEmbed => answer.cohere_embed(),
        Format::BedrockConverse => answer.converse(),
        Format::BedrockCountTokens => json!({ "inputTokens": answer.input() }),
        Format::Ollama => answer.ollama(),
        Format::OllamaEmbeddings => json!({ "model": model, "embeddings": [answer.vector()], "prompt_eval_count": answer.input() }),
        Format::Other => return None,
    })
}

fn is_anthropic(model: &str) -> bool {
    model.contains("anthropic") || model.contains("claude")
}

struct Made<'a> {
    model: &'a str,
    text: &'a str,
    usage: &'a Usage,
    seed: u64,
    created: i64,
}

impl Made<'_> {
    fn input(&self) -> u64 {
        self.usage.input_tokens.unwrap_or(0)
    }

    fn output(&self) -> u64 {
        self.usage.output_tokens.unwrap_or(0)
    }

    fn read(&self) -> u64 {
        self.usage.cache_read_tokens.unwrap_or(0)
    }

    fn written(&self) -> u64 {
        self.usage.cache_write_tokens.unwrap_or(0)
    }

    /// Input as the providers count it that leave cached tokens out.
    fn plain_input(&self) -> u64 {
        self.input().saturating_sub(self.read()).saturating_sub(self.written())
    }

    fn id(&self, prefix: &str) -> String {
        format!("{prefix}{:024x}", self.seed)
    }

    /// A small vector of unit length that the seed decides.
    fn vector(&self) -> Vec<f64> {
        let raw: Vec<f64> = (0..8_u64).map(|index| ((self.seed.wrapping_mul(31).wrapping_add(index * 17)) % 97) as f64 + 1.0).collect();
        let length = raw.iter().map(|value| value * value).sum::<f64>().sqrt();
        raw.into_iter().map(|value| (value / length * 1e6).round() / 1e6).collect()
    }

    fn openai_usage(&self) -> Value {
        let mut prompt = Map::from_iter([
            ("cached_tokens".to_owned(), json!(self.read())),
            ("audio_tokens".to_owned(), json!(self.usage.input_audio_tokens.unwrap_or(0))),
        ]);
        prompt.extend(self.usage.cache_write_tokens.map(|written| ("cache_write_tokens".to_owned(), json!(written))));
        json!({
            "prompt_tokens": self.input(),
            "completion_tokens": self.output(),
            "total_tokens": self.input() + self.output(),
            "prompt_tokens_details": prompt,
            "completion_tokens_details": {
                "reasoning_tokens": self.usage.reasoning_tokens.unwrap_or(0),
                "audio_tokens": self.usage.output_audio_tokens.unwrap_or(0),
            },
        })
    }

    fn chat(&self, shape: Shape) -> Value {
        let mut message = json!({ "role": "assistant", "content": self.text });
        if shape == Shape::OpenAi {
            message["refusal"] = Value::Null;
        }
        json!({
            "id": self.id("chatcmpl-"),
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "choices": [{ "index": 0, "message": message, "logprobs": null, "finish_reason": "stop" }],
            "usage": self.openai_usage(),
        })
    }

    fn completion(&self) -> Value {
        json!({
            "id": self.id("cmpl-"),
            "object": "text_completion",
            "created": self.created,
            "model": self.model,
            "choices": [{ "text": self.text, "index": 0, "logprobs": null, "finish_reason": "stop" }],
            "usage": self.openai_usage(),
        })
    }

    fn response(&self) -> Value {
        let part = json!({ "type": "output_text", "annotations": [], "logprobs": [], "text": self.text });
        json!({
            "id": self.id("resp_"),
            "object": "response",
            "created_at": self.created,
            "status": "completed",
            "background": false,
            "error": null,
            "incomplete_details": null,
            "instructions": null,
            "max_output_tokens": null,
            "metadata": {},
            "model": self.model,
            "output": [{ "id": self.id("msg_"), "type": "message", "status": "completed", "role": "assistant", "content": [part] }],
            "parallel_tool_calls": true,
            "previous_response_id": null,
            "reasoning": { "effort": null, "summary": null },
            "store": true,
            "temperature": 1.0,
            "text": { "format": { "type": "text" } },
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "truncation": "disabled",
            "usage": {
                "input_tokens": self.input(),
                "input_tokens_details": { "cached_tokens": self.read(), "cache_write_tokens": self.written() },
                "output_tokens": self.output(),
                "output_tokens_details": { "reasoning_tokens": self.usage.reasoning_tokens.unwrap_or(0) },
                "total_tokens": self.input() + self.output(),
            },
            "user": null,
        })
    }

    fn embeddings(&self) -> Value {
        json!({
            "object": "list",
            "data": [{ "object": "embedding", "index": 0, "embedding": self.vector() }],
            "model": self.model,
            "usage": { "prompt_tokens": self.input(), "total_tokens": self.input() },
        })
    }

    fn message(&self) -> Value {
        let long = self.usage.cache_write_1h_tokens.unwrap_or(0);
        let mut usage = json!({
            "input_tokens": self.plain_input(),
            "cache_creation_input_tokens": self.written(),
            "cache_read_input_tokens": self.read(),
            "cache_creation": { "ephemeral_5m_input_tokens": self.written().saturating_sub(long), "ephemeral_1h_input_tokens": long },
            "output_tokens": self.output(),
            "service_tier": "standard",
        });
        if let Some(searches) = self.usage.web_searches {
            usage["server_tool_use"] = json!({ "web_search_requests": searches, "web_fetch_requests": 0 });
        }
        json!({
            "id": self.id("msg_"),
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": [{ "type": "text", "text": self.text }],
            "stop_reason": "end_turn",
            "stop_sequence": null,
            "usage": usage,
        })
    }

    fn gemini(&self) -> Value {
        let thoughts = self.usage.reasoning_tokens.unwrap_or(0);
        let mut metadata = json!({
            "promptTokenCount": self.input(),
            "candidatesTokenCount": self.output().saturating_sub(thoughts),
            "totalTokenCount": self.input() + self.output(),
            "promptTokensDetails": [{ "modality": "TEXT", "tokenCount": self.input() }],
        });
        for (name, count) in
            [("thoughtsTokenCount", self.usage.reasoning_tokens), ("cachedContentTokenCount", self.usage.cache_read_tokens)]
        {
            if let Some(count) = count.filter(|count| *count > 0) {
                metadata[name] = json!(count);
            }
        }
        json!({
            "candidates": [{ "content": { "parts": [{ "text": self.text }], "role": "model" }, "finishReason": "STOP", "index": 0 }],
            "usageMetadata": metadata,
            "modelVersion": self.model,
            "responseId": self.id(""),
        })
    }

    /// Both shapes in one: `embedContent` reads `embedding`, `batchEmbedContents` reads `embeddings`, Vertex `predictions`.
    fn gemini_embedding(&self) -> Value {
        let vector = self.vector();
        let statistics = json!({ "truncated": false, "token_count": self.input() });
        json!({
            "embedding": { "values": vector },
            "embeddings": [{ "values": vector }],
            "predictions": [{ "embeddings": { "values": vector, "statistics": statistics } }],
            "usageMetadata": { "promptTokenCount": self.input(), "totalTokenCount": self.input() },
        })
    }

    fn cohere_units(&self) -> Value {
        json!({
            "billed_units": { "input_tokens": self.input(), "output_tokens": self.output() },
            "tokens": { "input_tokens": self.input(), "output_tokens": self.output() },
        })
    }

    fn cohere_v1(&self) -> Value {
        let mut meta = self.cohere_units();
        meta["api_version"] = json!({ "version": "1" });
        json!({
            "response_id": self.id(""),
            "text": self.text,
            "generation_id": self.id("g"),
            "chat_history": [{ "role": "CHATBOT", "message": self.text }],
            "finish_reason": "COMPLETE",
            "meta": meta,
        })
    }

    fn cohere_v2(&self) -> Value {
        json!({
            "id": self.id(""),
            "message": { "role": "assistant", "content": [{ "type": "text", "text": self.text }] },
            "finish_reason": "COMPLETE",
            "usage": self.cohere_units(),
        })
    }

    fn cohere_embed(&self) -> Value {
        json!({
            "id": self.id(""),
            "embeddings": { "float": [self.vector()] },
            "texts": [self.text],
            "meta": { "api_version": { "version": "2" }, "billed_units": { "input_tokens": self.input() } },
            "response_type": "embeddings_by_type",
        })
    }

    fn converse(&self) -> Value {
        json!({
            "output": { "message": { "role": "assistant", "content": [{ "text": self.text }] } },
            "stopReason": "end_turn",
            "usage": {
                "inputTokens": self.plain_input(),
                "outputTokens": self.output(),
                "totalTokens": self.input() + self.output(),
                "cacheReadInputTokens": self.read(),
                "cacheWriteInputTokens": self.written(),
            },
            "metrics": { "latencyMs": 0 },
        })
    }

    fn ollama(&self) -> Value {
        let created = jiff::Timestamp::from_second(self.created).unwrap_or_default().to_string();
        json!({
            "model": self.model,
            "created_at": created,
            "message": { "role": "assistant", "content": self.text },
            "response": self.text,
            "done": true,
            "done_reason": "stop",
            "prompt_eval_count": self.input(),
            "eval_count": self.output(),
        })
    }
}
