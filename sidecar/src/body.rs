//! The bodies that travel through the proxy.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;

use crate::tee::Tee;

/// The error of any body.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// The body of an answer as an upstream gives it.
pub type OriginBody = UnsyncBoxBody<Bytes, BodyError>;

/// The body of a request on its way upstream: whole, or what was read of it and the rest as it arrives.
#[derive(Debug)]
pub struct RequestBody {
    first: Option<Bytes>,
    rest: Option<Incoming>,
}

impl RequestBody {
    /// A body that is there whole.
    pub fn whole(bytes: Bytes) -> Self {
        Self { first: Some(bytes).filter(|bytes| !bytes.is_empty()), rest: None }
    }

    /// `first`, then what `rest` still brings.
    pub(crate) fn streamed(first: Bytes, rest: Incoming) -> Self {
        Self { first: Some(first).filter(|bytes| !bytes.is_empty()), rest: Some(rest) }
    }

    /// The bytes of a whole body; of a streamed one, those that were read.
    pub fn bytes(&self) -> &[u8] {
        self.first.as_deref().unwrap_or_default()
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        let Some(rest) = &mut self.rest else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(rest).poll_frame(context));
        if frame.is_none() {
            self.rest = None;
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let first = self.first.as_ref().map_or(0, Bytes::len) as u64;
        match &self.rest {
            None => SizeHint::with_exact(first),
            Some(rest) => {
                let hint = rest.size_hint();
                let mut sum = SizeHint::new();
                sum.set_lower(first + hint.lower());
                if let Some(upper) = hint.upper() {
                    sum.set_upper(first + upper);
                }
                sum
            }
        }
    }
}

/// The body of an answer to a client.
pub(crate) enum AnswerBody {
    /// There whole: a stored answer, or a refusal.
    Whole(Option<Bytes>),
    /// Passed on as it arrives, and read on the way.
    Teed(Box<Tee>),
    /// Passed on unread.
    Passed(OriginBody),
}

impl AnswerBody {
    pub(crate) fn empty() -> Self {
        Self::Whole(None)
    }

    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self::Whole(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Teed(tee) => Pin::new(tee.as_mut()).poll_frame(context),
            Self::Passed(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Teed(tee) => tee.is_end_stream(),
            Self::Passed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Teed(tee) => tee.size_hint(),
            Self::Passed(body) => body.size_hint(),
        }
    }
}
