//! One form of an answer made from another: JSON from a stream, a stream from JSON.

use super::dialect::{self, Dialect};
use super::filter::UsageChunkFilter;
use super::frame::{self, Body, Frames};
use super::gathered::error_of;
use super::out::{self, Out};
use crate::provider::{Endpoint, Format, Framing};

/// The answer `body`, which came as `from`, in the form `to`; `with_usage_chunk` says whether the client of an OpenAI
/// stream asked for the chunk with the usage.
///
/// `None` where the form cannot be had faithfully: an incomplete or failed answer, members that have no place in the
/// other form, or a form the endpoint does not have. The caller then treats the cached answer as absent.
pub fn convert(endpoint: &Endpoint, from: Framing, to: Framing, body: &[u8], with_usage_chunk: bool) -> Option<Vec<u8>> {
    if !endpoint.is_chat_like() {
        return (from == to).then(|| body.to_vec());
    }
    if !framings(endpoint.format).contains(&to) {
        return None;
    }
    let frames = frame::split(endpoint.format, from, body);
    if !frames.exact {
        return None;
    }
    let dialect = Dialect::of(endpoint.format, frames.values().next()?);
    if frames.plain {
        return from_plain(endpoint, dialect, &frames, to, body, with_usage_chunk);
    }
    let gathered = dialect::gather(dialect, &frames);
    if !gathered.complete || gathered.error.is_some() {
        return None;
    }
    let counts = matches!(dialect, Dialect::Chat | Dialect::Completion);
    let counted = gathered.message.as_ref().is_some_and(|message| message.get("usage").is_some());
    if to == Framing::Json {
        // A plain answer of these always says its usage.
        return (gathered.exact && (counted || !counts))
            .then_some(gathered.message)
            .flatten()
            // Where only the body tells its shape, a plain answer that does not could not be read again.
            .filter(|message| Dialect::of(endpoint.format, message) == dialect)
            .map(|message| message.to_string().into_bytes());
    }
    if from == to && counts && endpoint.format != Format::BedrockInvoke {
        return if with_usage_chunk { counted.then(|| body.to_vec()) } else { Some(hide_usage_chunk(body)) };
    }
    if from == to {
        return Some(body.to_vec());
    }
    out::join(endpoint.format, to, &replayed(frames)?)
}

fn from_plain(endpoint: &Endpoint, dialect: Dialect, frames: &Frames, to: Framing, body: &[u8], with_usage_chunk: bool) -> Option<Vec<u8>> {
    let message = frames.values().next()?;
    if error_of(message).is_some() {
        return None;
    }
    if to == Framing::Json {
        return Some(body.to_vec());
    }
    let events = dialect::spread(dialect, endpoint.format, endpoint.shape, message, with_usage_chunk)?;
    out::join(endpoint.format, to, &events)
}

/// The forms a format's answers have.
fn framings(format: Format) -> &'static [Framing] {
    match format {
        Format::Gemini | Format::CodeAssist => &[Framing::Json, Framing::Sse, Framing::JsonArray],
        Format::BedrockConverse | Format::BedrockInvoke => &[Framing::Json, Framing::EventStream],
        Format::CohereV1Chat | Format::Ollama => &[Framing::Json, Framing::Lines],
        _ => &[Framing::Json, Framing::Sse],
    }
}

/// The same events for another framing.
fn replayed(frames: Frames) -> Option<Vec<Out>> {
    let out = |frame: frame::Frame| match frame.body {
        Body::Json { name, value } => Some(Out { name, value: Some(value) }),
        Body::Done => Some(Out::done()),
        Body::Exception(_) => None,
    };
    frames.list.into_iter().map(out).collect()
}

fn hide_usage_chunk(body: &[u8]) -> Vec<u8> {
    let mut filter = UsageChunkFilter::new();
    let mut out = Vec::with_capacity(body.len());
    filter.push(body, &mut out);
    filter.finish(&mut out);
    out
}
