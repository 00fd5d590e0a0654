//! A body cut into its events.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::eventstream::EventStreamDecoder;
use crate::json::Json;
use crate::provider::{Format, Framing};
use crate::sse::SseDecoder;

/// One event of an answer; a plain answer is one event.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// What the event holds.
    pub(crate) body: Body,
    /// Offset in the answer's body just after the event.
    pub(crate) end: usize,
}

/// What an event holds.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    /// A JSON document. `name` is the event's type where the framing has one.
    Json { name: Option<String>, value: Value },
    /// `[DONE]`.
    Done,
    /// An exception of the event stream, or an event named `error` that is not JSON.
    Exception(String),
}

/// An answer's events.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    /// The events that were understood, in order.
    pub(crate) list: Vec<Frame>,
    /// Whether every byte was understood, so that the events are the answer.
    pub(crate) exact: bool,
    /// Whether they are one plain answer and no stream.
    pub(crate) plain: bool,
    /// Why the first event that was not understood was not.
    pub(crate) trouble: Option<String>,
}

impl Frames {
    /// The JSON documents in order.
    pub(crate) fn values(&self) -> impl Iterator<Item = &Value> {
        self.list.iter().filter_map(|frame| match &frame.body {
            Body::Json { value, .. } => Some(value),
            _ => None,
        })
    }

    /// The first JSON document, taken out.
    pub(crate) fn into_first(self) -> Option<Value> {
        self.list.into_iter().find_map(|frame| match frame.body {
            Body::Json { value, .. } => Some(value),
            _ => None,
        })
    }

    fn push(&mut self, body: Body, end: usize) {
        self.list.push(Frame { body, end });
    }

    fn spoil(&mut self, why: impl Into<String>) {
        self.exact = false;
        self.trouble.get_or_insert_with(|| why.into());
    }

    fn push_text(&mut self, name: Option<String>, data: &[u8], end: usize) {
        match parse(data) {
            Ok((value, exact)) => {
                self.push(Body::Json { name, value }, end);
                if !exact {
                    self.spoil("an event has text or numbers that plain JSON cannot carry");
                }
            }
            Err(why) if name.as_deref() == Some("error") => {
                self.push(Body::Exception(String::from_utf8_lossy(data).into_owned()), end);
                self.spoil(why);
            }
            Err(why) => self.spoil(why),
        }
    }
}

/// Reads one JSON document; the flag says whether the value is all that the text said. Python's extensions (`NaN`, lone
/// surrogates, integers beyond 64 bits) are read, with a loss.
pub(crate) fn parse(data: &[u8]) -> Result<(Value, bool), String> {
    match serde_json::from_slice::<Value>(data) {
        Ok(value) => Ok((value, true)),
        Err(strict) => Json::parse(data)
            .ok()
            .and_then(|json| json.to_strict())
            .and_then(|text| serde_json::from_str(&text).ok())
            .map(|value| (value, false))
            .ok_or_else(|| format!("parsing JSON: {strict}")),
    }
}

/// Cuts `body` into events.
pub(crate) fn split(format: Format, framing: Framing, body: &[u8]) -> Frames {
    let mut frames = Frames { exact: true, ..Frames::default() };
    match effective(format, framing, body) {
        Framing::Json => {
            frames.plain = true;
            if body.iter().all(u8::is_ascii_whitespace) {
                frames.spoil("the body is empty");
            } else {
                frames.push_text(None, body, body.len());
            }
        }
        Framing::Sse => split_sse(&mut frames, body),
        Framing::JsonArray => split_array(&mut frames, body),
        Framing::Lines => split_lines(&mut frames, body),
        Framing::EventStream => split_event_stream(&mut frames, format, body),
    }
    frames
}

/// The framing the bytes show where the content type cannot tell: Gemini's array is `application/json`, and servers
/// leave out or mistake the type of a stream.
fn effective(format: Format, framing: Framing, body: &[u8]) -> Framing {
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace()).copied();
    match (framing, first) {
        (Framing::Json, Some(b'[')) if matches!(format, Format::Gemini | Format::CodeAssist) => Framing::JsonArray,
        (Framing::JsonArray, Some(b'{')) => Framing::Json,
        (Framing::JsonArray | Framing::Json, Some(b'd' | b'e' | b':')) if format != Format::Other => Framing::Sse,
        (Framing::Json, Some(b'{')) if matches!(format, Format::Ollama | Format::CohereV1Chat) && is_many_lines(body) => Framing::Lines,
        _ => framing,
    }
}

fn is_many_lines(body: &[u8]) -> bool {
    body.split(|byte| *byte == b'\n')
        .next()
        .is_some_and(|line| line.len() < body.len() && serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok())
}

fn split_sse(frames: &mut Frames, body: &[u8]) {
    // The body is in memory already, so an event of any size in it may be read.
    let mut decoder = SseDecoder::new(usize::MAX);
    let mut events = Vec::new();
    let pushed = decoder.push(body, &mut events);
    events.extend(decoder.finish());
    for event in events {
        let end = offset(event.end);
        if event.data.trim_ascii().is_empty() {
            continue;
        }
        if event.data.trim_ascii() == b"[DONE]" {
            frames.push(Body::Done, end);
        } else {
            frames.push_text(event.event, &event.data, end);
        }
    }
    if let Err(error) = pushed {
        frames.spoil(error.to_string());
    }
}

/// An offset in a body, which is in memory.
fn offset(end: u64) -> usize {
    usize::try_from(end).unwrap_or(usize::MAX)
}

fn split_lines(frames: &mut Frames, body: &[u8]) {
    let mut start = 0;
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        start += line.len();
        if !line.trim_ascii().is_empty() {
            frames.push_text(None, line, start);
        }
    }
}

/// The elements of an array that may be cut off anywhere.
fn split_array(frames: &mut Frames, body: &[u8]) {
    let Some(open) = body.iter().position(|byte| *byte == b'[') else {
        return frames.spoil("the body is not a JSON array");
    };
    let mut at = open + 1;
    loop {
        while at < body.len() && (body[at].is_ascii_whitespace() || body[at] == b',') {
            at += 1;
        }
        match body.get(at) {
            None => return frames.spoil("the array has no end"),
            Some(b']') => return,
            Some(_) => {}
        }
        let Some(length) = element_length(&body[at..]) else { return frames.spoil("the array's last element has no end") };
        frames.push_text(None, &body[at..at + length], at + length);
        at += length;
    }
}

/// How many bytes the JSON object or array at the start of `text` takes.
fn element_length(text: &[u8]) -> Option<usize> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (index, byte) in text.iter().enumerate() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(index + 1);
                }
            }
            b',' if depth == 0 => return Some(index),
            _ => {}
        }
    }
    None
}

fn split_event_stream(frames: &mut Frames, format: Format, body: &[u8]) {
    let mut decoder = EventStreamDecoder::new(usize::MAX);
    let mut messages = Vec::new();
    let read = decoder.push(body, &mut messages).and_then(|()| decoder.finish());
    for message in messages {
        let end = offset(message.end);
        let kind = message.header(":message-type").unwrap_or("event").to_owned();
        if kind != "event" {
            let name = message.header(":exception-type").or_else(|| message.header(":error-code")).unwrap_or("exception").to_owned();
            let said = parse(&message.payload).ok().and_then(|(value, _)| value.get("message")?.as_str().map(str::to_owned));
            let said = said.or_else(|| message.header(":error-message").map(str::to_owned));
            frames.push(Body::Exception(said.map_or_else(|| name.clone(), |said| format!("{name}: {said}"))), end);
            continue;
        }
        let name = message.header(":event-type").map(str::to_owned);
        if format == Format::BedrockConverse {
            frames.push_text(name, &message.payload, end);
            continue;
        }
        match unwrap_chunk(&message.payload) {
            Some(inner) => frames.push_text(None, &inner, end),
            None => frames.spoil("an event has no base64 bytes"),
        }
    }
    if let Err(error) = read {
        frames.spoil(error.to_string());
    }
}

/// The model maker's event inside a Bedrock chunk, `{"bytes": base64}`.
fn unwrap_chunk(payload: &[u8]) -> Option<Vec<u8>> {
    let chunk: Value = serde_json::from_slice(payload).ok()?;
    STANDARD.decode(chunk.get("bytes")?.as_str()?).ok()
}

/// `value[name]` as a non-empty string.
pub(crate) fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name)?.as_str().filter(|text| !text.is_empty())
}

/// `value[name]` as a place in a list. Larger numbers than a real answer has are refused, since lists are made as long.
pub(crate) fn place(value: &Value, name: &str) -> Option<usize> {
    const MOST: u64 = 65_536;
    value.get(name)?.as_u64().filter(|index| *index < MOST).and_then(|index| usize::try_from(index).ok())
}

/// An object's members without those named.
pub(crate) fn without(object: &Map<String, Value>, names: &[&str]) -> Map<String, Value> {
    object.iter().filter(|(name, _)| !names.contains(&name.as_str())).map(|(name, value)| (name.clone(), value.clone())).collect()
}
