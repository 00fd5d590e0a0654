//! Cohere's shapes: `/v1/chat` (a stream is one JSON object a line) and `/v2/chat` (server-sent events).

use bytes::Bytes;
use serde_json::{Value, json};

use super::TOKENS;
use super::answer::Answer;
use super::ask::Ask;

fn tokens() -> Value {
    json!({"input_tokens": TOKENS.input, "output_tokens": TOKENS.output})
}

pub(super) fn v1(ask: &Ask) -> Answer {
    let whole = json!({
        "response_id": format!("r-{}", ask.number), "generation_id": format!("g-{}", ask.number), "text": ask.text(),
        "chat_history": [{"role": "USER", "message": "…"}, {"role": "CHATBOT", "message": ask.text()}], "finish_reason": "COMPLETE",
        "meta": {"api_version": {"version": "1"}, "billed_units": tokens(), "tokens": tokens()}
    });
    if !ask.wants_stream() {
        return Answer::json(200, &whole);
    }
    let mut lines = vec![json!({"is_finished": false, "event_type": "stream-start", "generation_id": format!("g-{}", ask.number)})];
    for piece in ask.pieces() {
        lines.push(json!({"is_finished": false, "event_type": "text-generation", "text": piece}));
    }
    lines.push(json!({"is_finished": true, "event_type": "stream-end", "response": whole, "finish_reason": "COMPLETE"}));
    Answer::stream("application/stream+json", lines.iter().map(|line| Bytes::from(format!("{line}\n"))).collect())
}

pub(super) fn v2(ask: &Ask) -> Answer {
    let id = format!("c-{}", ask.number);
    let usage = json!({"billed_units": tokens(), "tokens": tokens()});
    if !ask.wants_stream() {
        let message = json!({"role": "assistant", "content": [{"type": "text", "text": ask.text()}]});
        return Answer::json(200, &json!({"id": id, "message": message, "finish_reason": "COMPLETE", "usage": usage}));
    }
    let start = json!({"message": {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}});
    let mut events = vec![
        ("message-start", json!({"id": id, "type": "message-start", "delta": start})),
        ("content-start", json!({"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "text", "text": ""}}}})),
    ];
    for piece in ask.pieces() {
        events.push(("content-delta", json!({"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": piece}}}})));
    }
    events.push(("content-end", json!({"type": "content-end", "index": 0})));
    events.push(("message-end", json!({"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": usage}})));
    Answer::sse(&events)
}
