//! Reading a request's body: whole up to a limit, as it comes beyond.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::{
    config::Limits,
    error::Refusal,
    held::{Bodies, Held},
};

/// A request's body.
pub(crate) enum Gathered {
    /// All of it.
    Whole(Bytes),
    /// It is larger than what is read: its beginning, and the rest still to come.
    Large(Bytes, Incoming),
}

/// Gathers `body`, and says what memory it holds. More than `limits.request_bytes` announced is refused before it is read. One that says its
/// size waits until there is room; one that does not is large when there is none.
pub(crate) async fn gather(mut body: Incoming, limits: &Limits, bodies: &Bodies) -> Result<(Gathered, Held), Refusal> {
    let announced = body.size_hint();
    if announced.lower() > limits.request_bytes {
        return Err(Refusal::BodyTooLarge { limit: limits.request_bytes });
    }
    if announced.exact() == Some(0) {
        return Ok((Gathered::Whole(Bytes::new()), Held::default()));
    }
    let expected = usize::try_from(announced.lower()).unwrap_or(usize::MAX);
    let mut held = if expected > limits.entry_bytes { Held::default() } else { bodies.room(expected).await };
    let Some(first) = frame(&mut body, limits.idle_timeout).await? else { return Ok((Gathered::Whole(Bytes::new()), held)) };
    if body.is_end_stream() {
        return Ok((Gathered::Whole(first), held));
    }
    if expected > limits.entry_bytes {
        return Ok((Gathered::Large(first, body), held));
    }
    let mut bytes = BytesMut::with_capacity(expected.max(first.len()));
    bytes.extend_from_slice(&first);
    drop(first);
    while let Some(more) = frame(&mut body, limits.idle_timeout).await? {
        bytes.extend_from_slice(&more);
        if bytes.len() > limits.entry_bytes || !bodies.grow(&mut held, bytes.len()) {
            return Ok((Gathered::Large(bytes.freeze(), body), held));
        }
    }
    Ok((Gathered::Whole(bytes.freeze()), held))
}

async fn frame(body: &mut Incoming, idle: Duration) -> Result<Option<Bytes>, Refusal> {
    loop {
        let frame = tokio::time::timeout(idle, body.frame()).await.map_err(|_| Refusal::BodyTimeout(idle.as_secs()))?;
        match frame {
            None => return Ok(None),
            Some(Err(error)) => return Err(Refusal::BodyRead(crate::upstream::last_cause(&error))),
            // Trailers of a request say nothing to an LLM.
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}
