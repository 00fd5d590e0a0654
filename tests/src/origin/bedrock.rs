//! Bedrock's shapes: Converse and InvokeModel, their streams in AWS event stream frames. Converse counts cached input beside `inputTokens`.

use base64::Engine;
use bytes::Bytes;
use serde_json::{Value, json};

use super::answer::Answer;
use super::ask::Ask;
use super::event_stream::encode;
use super::{TOKENS, anthropic};

const EVENT_STREAM: &str = "application/vnd.amazon.eventstream";

fn event(kind: &str, payload: &Value) -> Bytes {
    let headers = [(":event-type", kind), (":content-type", "application/json"), (":message-type", "event")];
    encode(&headers, payload.to_string().as_bytes())
}

fn converse_usage() -> Value {
    json!({
        "inputTokens": TOKENS.input - TOKENS.cached, "outputTokens": TOKENS.output, "totalTokens": TOKENS.input + TOKENS.output,
        "cacheReadInputTokens": TOKENS.cached, "cacheWriteInputTokens": 0
    })
}

pub(super) fn converse(ask: &Ask) -> Answer {
    if !ask.wants_stream() {
        let message = json!({"role": "assistant", "content": [{"text": ask.text()}]});
        return Answer::json(
            200,
            &json!({"output": {"message": message}, "stopReason": "end_turn", "usage": converse_usage(), "metrics": {"latencyMs": 7}}),
        );
    }
    let mut frames = vec![event("messageStart", &json!({"role": "assistant", "p": "abcd"}))];
    for piece in ask.pieces() {
        frames.push(event("contentBlockDelta", &json!({"contentBlockIndex": 0, "delta": {"text": piece}, "p": "abcdefgh"})));
    }
    frames.push(event("contentBlockStop", &json!({"contentBlockIndex": 0, "p": "ab"})));
    frames.push(event("messageStop", &json!({"stopReason": "end_turn", "p": "abc"})));
    frames.push(event("metadata", &json!({"usage": converse_usage(), "metrics": {"latencyMs": 7}, "p": "a"})));
    Answer::stream(EVENT_STREAM, frames)
}

/// Anthropic's models answer with Anthropic's message; the others as Amazon's Titan does.
pub(super) fn invoke(ask: &Ask) -> Answer {
    let anthropic = ask.model().contains("anthropic.");
    if !ask.wants_stream() {
        let body = if anthropic { anthropic::message(ask) } else { titan(ask) };
        return Answer::json(200, &body)
            .with_header("x-amzn-bedrock-input-token-count", &TOKENS.input.to_string())
            .with_header("x-amzn-bedrock-output-token-count", &TOKENS.output.to_string());
    }
    let mut chunks: Vec<Value> =
        if anthropic { anthropic::events(ask).into_iter().map(|(_, data)| data).collect() } else { titan_chunks(ask) };
    if let Some(last) = chunks.last_mut() {
        last["amazon-bedrock-invocationMetrics"] = json!({
            "inputTokenCount": TOKENS.input, "outputTokenCount": TOKENS.output, "invocationLatency": 7, "firstByteLatency": 3
        });
    }
    let wrap = |chunk: &Value| json!({"bytes": base64::engine::general_purpose::STANDARD.encode(chunk.to_string()), "p": "abc"});
    Answer::stream(EVENT_STREAM, chunks.iter().map(|chunk| event("chunk", &wrap(chunk))).collect())
}

fn titan(ask: &Ask) -> Value {
    let result = json!({"tokenCount": TOKENS.output, "outputText": ask.text(), "completionReason": "FINISH"});
    json!({"inputTextTokenCount": TOKENS.input, "results": [result]})
}

fn titan_chunks(ask: &Ask) -> Vec<Value> {
    let pieces = ask.pieces();
    let last = pieces.len() - 1;
    let chunk = |(index, piece): (usize, &String)| {
        let done = index == last;
        json!({
            "outputText": piece, "index": index, "totalOutputTextTokenCount": if done { json!(TOKENS.output) } else { Value::Null },
            "completionReason": if done { json!("FINISH") } else { Value::Null }, "inputTextTokenCount": TOKENS.input
        })
    };
    pieces.iter().enumerate().map(chunk).collect()
}
