//! A body whose pieces come one by one.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::time::{Sleep, sleep};

/// Pieces of a body with the same pause before each but the first.
pub(crate) struct Paced {
    pieces: VecDeque<Bytes>,
    pause: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Paced {
    /// A body that takes `duration` in all.
    pub(crate) fn new(pieces: VecDeque<Bytes>, duration: Duration) -> Self {
        let pauses = u32::try_from(pieces.len().saturating_sub(1)).unwrap_or(u32::MAX).max(1);
        Self { pieces, pause: duration / pauses, waiting: None }
    }
}

impl Body for Paced {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(waiting) = &mut self.waiting {
            ready!(waiting.as_mut().poll(context));
            self.waiting = None;
        }
        let piece = self.pieces.pop_front();
        if piece.is_some() && !self.pieces.is_empty() {
            self.waiting = Some(Box::pin(sleep(self.pause)));
        }
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }
}

/// Cuts a stream after each event that a blank line ends; any other body stays whole.
pub(crate) fn events(body: Vec<u8>) -> VecDeque<Bytes> {
    let body = Bytes::from(body);
    let mut pieces = VecDeque::new();
    let mut start = 0;
    let ends = body.windows(2).enumerate().filter(|(_, pair)| *pair == b"\n\n").map(|(position, _)| position + 2);
    for end in ends.collect::<Vec<_>>() {
        pieces.push_back(body.slice(start..end));
        start = end;
    }
    if start < body.len() {
        pieces.push_back(body.slice(start..));
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_cut_between_its_events_and_nothing_is_lost() {
        let pieces = events(b"data: 1\n\ndata: 2\n\ntail".to_vec());
        assert_eq!(pieces, ["data: 1\n\n", "data: 2\n\n", "tail"].map(Bytes::from));
        assert_eq!(events(b"{\"a\": 1}\n".to_vec()).len(), 1);
        assert!(events(Vec::new()).is_empty());
    }
}
