//! OpenAI's shapes: chat completions, completions, responses, embeddings.

use base64::Engine;
use serde_json::{Value, json};

use super::TOKENS;
use super::answer::{Answer, sse_frame};
use super::ask::Ask;

const CREATED: u64 = 1_767_225_600;

fn chat_usage() -> Value {
    json!({
        "prompt_tokens": TOKENS.input, "completion_tokens": TOKENS.output, "total_tokens": TOKENS.input + TOKENS.output,
        "prompt_tokens_details": {"cached_tokens": TOKENS.cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": TOKENS.reasoning, "audio_tokens": 0, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0
        }
    })
}

fn wants_usage(ask: &Ask) -> bool {
    ask.json.pointer("/stream_options/include_usage").and_then(Value::as_bool).unwrap_or(false)
}

/// Mistral speaks the same shape, but always ends a stream with its usage on the last choice's chunk.
fn is_mistral(ask: &Ask) -> bool {
    ask.host.ends_with("mistral.ai")
}

pub(super) fn chat(ask: &Ask) -> Answer {
    if ask.wants_stream() {
        return chat_stream(ask);
    }
    Answer::json(
        200,
        &json!({
            "id": format!("chatcmpl-{}", ask.number), "object": "chat.completion", "created": CREATED, "model": ask.model(),
            "choices": [{
                "index": 0, "finish_reason": "stop", "logprobs": null,
                "message": {"role": "assistant", "content": ask.text(), "refusal": null, "annotations": []}
            }],
            "usage": chat_usage(), "service_tier": "default", "system_fingerprint": "fp_test"
        }),
    )
}

fn chat_stream(ask: &Ask) -> Answer {
    let usage = wants_usage(ask);
    let chunk = |choices: Value, usage_field: Value| {
        let mut chunk = json!({
            "id": format!("chatcmpl-{}", ask.number), "object": "chat.completion.chunk", "created": CREATED, "model": ask.model(),
            "service_tier": "default", "system_fingerprint": "fp_test", "choices": choices
        });
        if usage {
            chunk["usage"] = usage_field;
        }
        sse_frame("", &chunk)
    };
    let choice = |delta: Value, finish: Value| json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]);
    let mut frames = vec![chunk(choice(json!({"role": "assistant", "content": "", "refusal": null}), Value::Null), Value::Null)];
    for piece in ask.pieces() {
        frames.push(chunk(choice(json!({"content": piece}), Value::Null), Value::Null));
    }
    let end = choice(json!({"content": ""}), json!("stop"));
    if is_mistral(ask) {
        frames.push(sse_frame(
            "",
            &json!({
                "id": format!("chatcmpl-{}", ask.number), "object": "chat.completion.chunk", "created": CREATED, "model": ask.model(),
                "choices": end,
                "usage": {"prompt_tokens": TOKENS.input, "completion_tokens": TOKENS.output, "total_tokens": TOKENS.input + TOKENS.output}
            }),
        ));
    } else {
        frames.push(chunk(end, Value::Null));
        if usage {
            frames.push(chunk(json!([]), chat_usage()));
        }
    }
    frames.push("data: [DONE]\n\n".into());
    Answer::stream("text/event-stream; charset=utf-8", frames)
}

pub(super) fn completion(ask: &Ask) -> Answer {
    let object = |text: &str, finish: Value| {
        json!({
            "id": format!("cmpl-{}", ask.number), "object": "text_completion", "created": CREATED, "model": ask.model(),
            "choices": [{"index": 0, "text": text, "logprobs": null, "finish_reason": finish}]
        })
    };
    if !ask.wants_stream() {
        let mut whole = object(&ask.text(), json!("stop"));
        whole["usage"] = chat_usage();
        return Answer::json(200, &whole);
    }
    let mut frames: Vec<_> = ask.pieces().iter().map(|piece| sse_frame("", &object(piece, Value::Null))).collect();
    frames.push(sse_frame("", &object("", json!("stop"))));
    if wants_usage(ask) {
        let mut last = object("", Value::Null);
        last["choices"] = json!([]);
        last["usage"] = chat_usage();
        frames.push(sse_frame("", &last));
    }
    frames.push("data: [DONE]\n\n".into());
    Answer::stream("text/event-stream", frames)
}

fn response_object(ask: &Ask, status: &str, output: Value, usage: Value) -> Value {
    json!({
        "id": format!("resp_{}", ask.number), "object": "response", "created_at": CREATED, "status": status, "background": false,
        "error": null, "incomplete_details": null, "instructions": null, "max_output_tokens": null, "model": ask.model(), "output": output,
        "parallel_tool_calls": true, "previous_response_id": null, "reasoning": {"effort": null, "summary": null}, "store": true,
        "temperature": 1.0, "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [], "top_p": 1.0, "truncation": "disabled",
        "usage": usage, "user": null, "metadata": {}
    })
}

pub(super) fn responses(ask: &Ask) -> Answer {
    let item = format!("msg_{}", ask.number);
    let part = |text: &str| json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []});
    let message =
        |status: &str, content: Value| json!({"id": item, "type": "message", "status": status, "role": "assistant", "content": content});
    let usage = json!({
        "input_tokens": TOKENS.input, "input_tokens_details": {"cached_tokens": TOKENS.cached},
        "output_tokens": TOKENS.output, "output_tokens_details": {"reasoning_tokens": TOKENS.reasoning},
        "total_tokens": TOKENS.input + TOKENS.output
    });
    let done = response_object(ask, "completed", json!([message("completed", json!([part(&ask.text())]))]), usage);
    if !ask.wants_stream() {
        return Answer::json(200, &done);
    }
    let started = response_object(ask, "in_progress", json!([]), Value::Null);
    let place = json!({"item_id": item, "output_index": 0, "content_index": 0});
    let with = |extra: Value| {
        let mut object = place.clone();
        for (key, value) in extra.as_object().expect("callers pass objects") {
            object[key] = value.clone();
        }
        object
    };
    let mut events = vec![
        ("response.created", json!({"response": started})),
        ("response.in_progress", json!({"response": started})),
        ("response.output_item.added", json!({"output_index": 0, "item": message("in_progress", json!([]))})),
        ("response.content_part.added", with(json!({"part": part("")}))),
    ];
    for piece in ask.pieces() {
        events.push(("response.output_text.delta", with(json!({"delta": piece, "logprobs": []}))));
    }
    events.push(("response.output_text.done", with(json!({"text": ask.text(), "logprobs": []}))));
    events.push(("response.content_part.done", with(json!({"part": part(&ask.text())}))));
    events.push(("response.output_item.done", json!({"output_index": 0, "item": message("completed", json!([part(&ask.text())]))})));
    events.push(("response.completed", json!({"response": done})));
    for (sequence, (name, data)) in events.iter_mut().enumerate() {
        data["type"] = json!(*name);
        data["sequence_number"] = json!(sequence);
    }
    Answer::sse(&events)
}

pub(super) fn embeddings(ask: &Ask) -> Answer {
    let vector = [0.25f32, -0.5, f32::from(u16::try_from(ask.number % 1000).expect("below 1,000"))];
    let embedding = if ask.json.get("encoding_format").and_then(Value::as_str) == Some("base64") {
        let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
        json!(base64::engine::general_purpose::STANDARD.encode(bytes))
    } else {
        json!(vector)
    };
    Answer::json(
        200,
        &json!({
            "object": "list", "model": ask.model(), "data": [{"object": "embedding", "index": 0, "embedding": embedding}],
            "usage": {"prompt_tokens": TOKENS.input, "total_tokens": TOKENS.input}
        }),
    )
}
