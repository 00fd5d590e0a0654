//! Gemini's shapes, as the Gemini API and Vertex AI send them: whole, as server-sent events, or as one JSON array that grows.

use bytes::Bytes;
use serde_json::{Value, json};

use super::TOKENS;
use super::answer::Answer;
use super::ask::Ask;

/// Gemini counts thinking beside the candidates' tokens, and cached input in the prompt's.
fn usage() -> Value {
    json!({
        "promptTokenCount": TOKENS.input, "cachedContentTokenCount": TOKENS.cached,
        "candidatesTokenCount": TOKENS.output - TOKENS.reasoning, "thoughtsTokenCount": TOKENS.reasoning,
        "totalTokenCount": TOKENS.input + TOKENS.output,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": TOKENS.input}]
    })
}

fn object(ask: &Ask, text: &str, finish: Option<&str>) -> Value {
    let mut candidate = json!({"content": {"parts": [{"text": text}], "role": "model"}, "index": 0});
    if let Some(finish) = finish {
        candidate["finishReason"] = json!(finish);
    }
    json!({
        "candidates": [candidate], "usageMetadata": usage(), "modelVersion": ask.model(), "responseId": format!("gem-{}", ask.number)
    })
}

pub(super) fn generate(ask: &Ask) -> Answer {
    if !ask.wants_stream() {
        return Answer::json(200, &object(ask, &ask.text(), Some("STOP")));
    }
    let pieces = ask.pieces();
    let last = pieces.len() - 1;
    let objects: Vec<Value> =
        pieces.iter().enumerate().map(|(index, piece)| object(ask, piece, (index == last).then_some("STOP"))).collect();
    if ask.path_and_query.contains("alt=sse") {
        let events: Vec<(&str, Value)> = objects.into_iter().map(|object| ("", object)).collect();
        return Answer::sse(&events);
    }
    let mut frames: Vec<Bytes> = Vec::new();
    for (index, object) in objects.iter().enumerate() {
        frames.push(format!("{}{object}", if index == 0 { "[" } else { ",\r\n" }).into());
    }
    frames.push("]".into());
    Answer::stream("application/json; charset=UTF-8", frames)
}

pub(super) fn count_tokens() -> Answer {
    Answer::json(200, &json!({"totalTokens": TOKENS.input}))
}
