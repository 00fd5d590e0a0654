//! A stored answer becomes an answer: in the shape that was asked for, or not at all.

use agentrun_llm::{
    provider::{Format, Framing},
    response,
};
use bytes::Bytes;
use http::{HeaderValue, Response, header};

use crate::{
    body::AnswerBody,
    cache::entry::Entry,
    exchange::{Reading, mark},
};

/// The answer that `entry` gives to a request that was read as `reading`; `None` where it cannot be given in that shape.
pub(crate) fn response(entry: &Entry, reading: &Reading) -> Option<Response<AnswerBody>> {
    let body = body(entry, reading)?;
    let mut response = Response::new(AnswerBody::whole(body));
    *response.status_mut() = entry.status.try_into().ok()?;
    let headers = response.headers_mut();
    headers.reserve(entry.headers.len() + 2);
    for (name, value) in &entry.headers {
        headers.append(name, value.clone());
    }
    if framing(entry, reading) != entry.framing {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(reading.wanted.content_type()));
    }
    mark(response.headers_mut(), "hit");
    Some(response)
}

/// An error keeps its own framing: providers answer streams that fail with plain JSON.
fn framing(entry: &Entry, reading: &Reading) -> Framing {
    if entry.status == 200 { reading.wanted } else { entry.framing }
}

fn body(entry: &Entry, reading: &Reading) -> Option<Bytes> {
    let wanted = framing(entry, reading);
    let streams_usage = matches!(reading.endpoint.format, Format::OpenAiChat | Format::OpenAiCompletion) && wanted == Framing::Sse;
    if wanted == entry.framing && !streams_usage {
        return Some(entry.body.clone());
    }
    // Also from a stream to the same stream, with or without its usage chunk.
    response::convert(&reading.endpoint, entry.framing, wanted, &entry.body, reading.usage_chunk).map(Bytes::from)
}
