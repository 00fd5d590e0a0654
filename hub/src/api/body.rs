//! Bodies of requests: refused before they are read where they say that they are too long, and bounded in all that they hold.

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::{HeaderMap, header};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::refusal::Refusal;

/// How long a body may take to arrive.
const ARRIVES: Duration = Duration::from_secs(30);
/// How long a request waits for room for its body.
const ROOM: Duration = Duration::from_secs(5);
/// What room is counted in.
const UNIT: usize = 1024;

/// The memory that bodies may hold at once.
pub(super) struct Room {
    units: Arc<Semaphore>,
    most: usize,
}

/// A body, and its share of the room until all copies of the bytes are gone.
struct Held {
    bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Room {
    pub(super) fn new(bytes: usize) -> Self {
        let most = (bytes / UNIT).clamp(1, Semaphore::MAX_PERMITS);
        Self { units: Arc::new(Semaphore::new(most)), most }
    }

    /// Reads a body of at most `limit` bytes.
    pub(super) async fn read(&self, headers: &HeaderMap, body: Body, limit: usize) -> Result<Bytes, Refusal> {
        if headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
            return Err(Refusal::encoded());
        }
        let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if length.is_some_and(|length| length > limit) {
            return Err(Refusal::too_large(limit));
        }
        let most = length.unwrap_or(limit);
        // One body may be as large as all the room: it then waits until it is alone.
        let units = u32::try_from(most.div_ceil(UNIT).min(self.most)).unwrap_or(u32::MAX);
        let room = tokio::time::timeout(ROOM, self.units.clone().acquire_many_owned(units)).await;
        let room = room.ok().and_then(Result::ok).ok_or_else(|| Refusal::busy("too many bodies arrive at once: ask again later"))?;
        let read = tokio::time::timeout(ARRIVES, collect(body, length.unwrap_or(0), limit)).await;
        let bytes = read.map_err(|_| Refusal::late_body(ARRIVES))??;
        Ok(Bytes::from_owner(Held { bytes, _room: room }))
    }
}

async fn collect(body: Body, length: usize, limit: usize) -> Result<Bytes, Refusal> {
    let mut frames = body.into_data_stream();
    let mut bytes = BytesMut::with_capacity(length);
    while let Some(frame) = frames.next().await {
        let frame = frame.map_err(|error| Refusal::bad(format!("reading the body: {error}")))?;
        if bytes.len() + frame.len() > limit {
            return Err(Refusal::too_large(limit));
        }
        bytes.extend_from_slice(&frame);
    }
    Ok(bytes.freeze())
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;
    use futures::stream;

    use super::*;

    fn frames(count: usize) -> Body {
        Body::from_stream(stream::iter((0..count).map(|_| Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; 1000])))))
    }

    fn length(length: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_LENGTH, length.parse().unwrap())])
    }

    async fn status(read: Result<Bytes, Refusal>) -> u16 {
        read.map_or_else(|refusal| refusal.into_response().status().as_u16(), |_| 200)
    }

    #[tokio::test]
    async fn a_body_that_says_that_it_is_too_long_is_not_read() {
        let room = Room::new(1 << 20);
        let never = || Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        assert_eq!(status(room.read(&length("1073741824"), never(), 8 << 20).await).await, 413);
        let encoded = HeaderMap::from_iter([(header::CONTENT_ENCODING, "gzip".parse().unwrap())]);
        assert_eq!(status(room.read(&encoded, never(), 8 << 20).await).await, 415);
    }

    #[tokio::test]
    async fn a_body_that_does_not_say_how_long_it_is_is_read_to_the_limit() {
        let room = Room::new(1 << 20);
        assert_eq!(status(room.read(&HeaderMap::new(), frames(8), 8000).await).await, 200);
        assert_eq!(status(room.read(&HeaderMap::new(), frames(9), 8000).await).await, 413);
    }

    #[tokio::test]
    async fn the_room_is_given_back_with_the_last_copy() {
        let room = Room::new(8 * UNIT);
        let kept = room.read(&length("8000"), frames(8), 8000).await.unwrap();
        assert_eq!(room.units.available_permits(), 0);
        let copy = kept.slice(..10);
        drop(kept);
        assert_eq!(room.units.available_permits(), 0);
        drop(copy);
        assert_eq!(room.units.available_permits(), 8);
    }
}
