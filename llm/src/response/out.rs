//! Events put together as a body.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::eventstream::{HeaderValue, Message};
use crate::provider::{Format, Framing};

/// An event to be written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Out {
    /// Its type, for framings that name it.
    pub(crate) name: Option<String>,
    /// Its document; `None` is `[DONE]`.
    pub(crate) value: Option<Value>,
}

impl Out {
    /// An event without a name.
    pub(crate) fn plain(value: Value) -> Self {
        Self { name: None, value: Some(value) }
    }

    /// An event with a name.
    pub(crate) fn named(name: &str, value: Value) -> Self {
        Self { name: Some(name.to_owned()), value: Some(value) }
    }

    /// `[DONE]`.
    pub(crate) fn done() -> Self {
        Self { name: None, value: None }
    }
}

/// Writes events as a body.
pub(crate) fn join(format: Format, framing: Framing, events: &[Out]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    match framing {
        Framing::Json => return None,
        Framing::Sse => {
            // Google's streams end lines with CR LF, all others with LF.
            let line = if matches!(format, Format::Gemini | Format::CodeAssist) { "\r\n" } else { "\n" };
            for event in events {
                if let Some(name) = &event.name {
                    body.extend_from_slice(format!("event: {name}{line}").as_bytes());
                }
                let data = event.value.as_ref().map_or_else(|| "[DONE]".to_owned(), Value::to_string);
                body.extend_from_slice(format!("data: {data}{line}{line}").as_bytes());
            }
        }
        Framing::Lines => {
            for value in events.iter().filter_map(|event| event.value.as_ref()) {
                body.extend_from_slice(value.to_string().as_bytes());
                body.push(b'\n');
            }
        }
        Framing::JsonArray => {
            body.push(b'[');
            for (index, value) in events.iter().filter_map(|event| event.value.as_ref()).enumerate() {
                if index > 0 {
                    body.extend_from_slice(b"\n,\r\n");
                }
                body.extend_from_slice(value.to_string().as_bytes());
            }
            body.extend_from_slice(b"\n]\n");
        }
        Framing::EventStream => {
            for event in events {
                let value = event.value.as_ref()?;
                let (name, payload) = if format == Format::BedrockConverse {
                    (event.name.as_deref()?, value.to_string())
                } else {
                    ("chunk", json!({ "bytes": STANDARD.encode(value.to_string()) }).to_string())
                };
                let headers = [(":event-type", name), (":content-type", "application/json"), (":message-type", "event")];
                let headers = headers.map(|(name, value)| (name.to_owned(), HeaderValue::String(value.to_owned()))).to_vec();
                body.extend(Message { headers, payload: payload.into_bytes(), end: 0 }.encode().ok()?);
            }
        }
    }
    Some(body)
}

/// Text in pieces that end after white space, each a few words long, so that a stream made from a whole answer still
/// comes in steps. Joined they are the text; an empty text is no piece.
pub(crate) fn pieces(text: &str) -> Vec<&str> {
    const FEW_WORDS: usize = 40;
    const MOST_PIECES: usize = 256;
    let least = FEW_WORDS.max(text.len() / MOST_PIECES);
    let mut pieces = Vec::new();
    let mut rest = text;
    while rest.len() > least {
        let from = rest.ceil_char_boundary(least);
        let Some(cut) = rest[from..].find(char::is_whitespace).map(|index| from + index) else { break };
        let cut = cut + rest[cut..].chars().next().map_or(0, char::len_utf8);
        let (piece, after) = rest.split_at(cut);
        pieces.push(piece);
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(rest);
    }
    pieces
}
