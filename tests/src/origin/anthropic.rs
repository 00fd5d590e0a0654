//! Anthropic's shapes: messages, and the count of their tokens. Anthropic counts cached input beside `input_tokens`, not in it.

use serde_json::{Value, json};

use super::TOKENS;
use super::answer::Answer;
use super::ask::Ask;

fn input_usage() -> Value {
    json!({
        "input_tokens": TOKENS.input - TOKENS.cached, "cache_creation_input_tokens": 0, "cache_read_input_tokens": TOKENS.cached,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0}, "output_tokens": 1, "service_tier": "standard"
    })
}

pub(super) fn message(ask: &Ask) -> Value {
    let mut usage = input_usage();
    usage["output_tokens"] = json!(TOKENS.output);
    json!({
        "id": format!("msg_{}", ask.number), "type": "message", "role": "assistant", "model": ask.model(),
        "content": [{"type": "text", "text": ask.text()}], "stop_reason": "end_turn", "stop_sequence": null, "usage": usage
    })
}

pub(super) fn events(ask: &Ask) -> Vec<(&'static str, Value)> {
    let mut start = message(ask);
    start["content"] = json!([]);
    start["stop_reason"] = Value::Null;
    start["usage"] = input_usage();
    let mut events = vec![
        ("message_start", json!({"type": "message_start", "message": start})),
        ("content_block_start", json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})),
        ("ping", json!({"type": "ping"})),
    ];
    for piece in ask.pieces() {
        let delta = json!({"type": "text_delta", "text": piece});
        events.push(("content_block_delta", json!({"type": "content_block_delta", "index": 0, "delta": delta})));
    }
    events.push(("content_block_stop", json!({"type": "content_block_stop", "index": 0})));
    let delta = json!({"stop_reason": "end_turn", "stop_sequence": null});
    events.push(("message_delta", json!({"type": "message_delta", "delta": delta, "usage": {"output_tokens": TOKENS.output}})));
    events.push(("message_stop", json!({"type": "message_stop"})));
    events
}

pub(super) fn messages(ask: &Ask) -> Answer {
    let answer = if ask.wants_stream() { Answer::sse(&events(ask)) } else { Answer::json(200, &message(ask)) };
    answer.with_header("request-id", &format!("req_{}", ask.number))
}

pub(super) fn count_tokens() -> Answer {
    Answer::json(200, &json!({"input_tokens": TOKENS.input}))
}
