//! The answer's body on its way to the client, read as it passes.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use agentrun_llm::{provider::Framing, response::UsageChunkFilter};
use bytes::Bytes;
use http::{header, response::Parts};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::Sleep;

use crate::{
    body::{BodyError, OriginBody},
    cache::{
        entry::{Header, stored_headers},
        flight::Leader,
    },
    record::{Call, finish::Finished},
    upstream::{UpstreamError, last_cause},
};

/// Frames whose arrival is remembered, to say when the first content came.
const MARKS: usize = 64;
/// What is kept of the end of an answer that is too large to be kept whole: its usage stands there.
const TAIL_BYTES: usize = 256 << 10;

/// An answer's head, as far as the record and the cache want it.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    /// By content type; what was asked for where that says nothing.
    pub(crate) framing: Framing,
    pub(crate) encoding: Option<String>,
    pub(crate) headers: Vec<Header>,
}

impl Head {
    pub(crate) fn of(parts: &Parts, wanted: Framing) -> Self {
        let text = |name| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let framing = match text(header::CONTENT_TYPE).map(Framing::of_content_type) {
            // A streamed JSON array has no content type of its own.
            Some(Framing::Json) if wanted == Framing::JsonArray && parts.status == 200 => Framing::JsonArray,
            Some(named) => named,
            None => wanted,
        };
        let encoding = text(header::CONTENT_ENCODING).filter(|encoding| !encoding.eq_ignore_ascii_case("identity")).map(str::to_owned);
        Self { status: parts.status.as_u16(), framing, encoding, headers: stored_headers(&parts.headers) }
    }
}

/// How a body ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Ending {
    /// With its last frame.
    Complete,
    /// Its connection did not bring all of it.
    Cut(String),
    /// It fell silent.
    Silent(Duration),
    /// It was read on without its client until time or bytes ran out.
    Abandoned,
    /// The proxy or its session stopped.
    Stopped,
}

/// What was read of a body: all of it up to a limit; of a larger one, its end.
#[derive(Debug, Default)]
pub(crate) struct Captured {
    pub(crate) bytes: Vec<u8>,
    pub(crate) total: u64,
    pub(crate) whole: bool,
    marks: Vec<(u64, Duration)>,
}

impl Captured {
    fn new() -> Self {
        Self { whole: true, ..Self::default() }
    }

    fn push(&mut self, data: &[u8], call: &mut Call) {
        self.total += data.len() as u64;
        if self.marks.len() < MARKS {
            self.marks.push((self.total, call.started().elapsed()));
        }
        let (length, limit) = (self.bytes.len() + data.len(), call.proxy().limits.entry_bytes);
        if self.whole && (length > limit || !call.has_room(length)) {
            self.whole = false;
            self.cut(TAIL_BYTES);
            self.bytes.shrink_to(2 * TAIL_BYTES);
            call.let_go();
        }
        if !self.whole && length > 2 * TAIL_BYTES {
            self.cut(TAIL_BYTES.saturating_sub(data.len()));
            return self.bytes.extend_from_slice(&data[data.len().saturating_sub(TAIL_BYTES)..]);
        }
        if length > self.bytes.capacity() {
            // Doubling a large one would take three times its size for a moment.
            let spare = if length < TAIL_BYTES { length } else { length / 4 };
            self.bytes.reserve_exact(length.saturating_add(spare).min(limit.max(2 * TAIL_BYTES)) - self.bytes.len());
        }
        self.bytes.extend_from_slice(data);
    }

    /// Keeps the last `kept` bytes.
    fn cut(&mut self, kept: usize) {
        let surplus = self.bytes.len().saturating_sub(kept);
        self.bytes.drain(..surplus);
    }

    /// When the byte before `offset` had arrived, counted from the call's start.
    pub(crate) fn arrival(&self, offset: usize) -> Option<Duration> {
        self.marks.iter().find(|(end, _)| *end >= offset as u64).map(|(_, arrived)| *arrived)
    }
}

/// Passes a body on, and ends its call when the body ends, however it ends.
pub(crate) struct Tee {
    body: OriginBody,
    filter: Option<UsageChunkFilter>,
    captured: Captured,
    silence: Option<Pin<Box<Sleep>>>,
    last_frame: Instant,
    /// Its client has gone, and it is read to its end.
    draining: bool,
    open: Option<Open>,
}

struct Open {
    call: Call,
    leader: Option<Leader>,
    head: Head,
}

impl Tee {
    /// With `hides`, the usage chunk that the client did not ask for is left out of what it gets.
    pub(crate) fn new(call: Call, leader: Option<Leader>, head: Head, body: OriginBody, hides: bool) -> Self {
        let mut tee = Self {
            filter: hides.then(UsageChunkFilter::default),
            captured: Captured::new(),
            silence: None,
            last_frame: Instant::now(),
            draining: false,
            open: Some(Open { call, leader, head }),
            body,
        };
        if tee.body.is_end_stream() {
            tee.end(Ending::Complete, true);
        }
        tee
    }

    fn end(&mut self, ending: Ending, heard: bool) {
        let Some(Open { call, leader, head }) = self.open.take() else { return };
        let captured = std::mem::replace(&mut self.captured, Captured::new());
        let took = call.started().elapsed();
        Finished { call, leader, head, captured, ending, heard, took }.settle();
    }

    fn arrived(&mut self, frame: &Frame<Bytes>) {
        if let (Some(data), Some(open)) = (frame.data_ref(), &mut self.open) {
            self.captured.push(data, &mut open.call);
        }
    }

    /// Polls the body, and gives up on one that has been silent for too long.
    fn poll_body(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if polled.is_ready() {
            self.last_frame = Instant::now();
            return polled;
        }
        let Some(idle) = self.open.as_ref().map(|open| open.call.proxy().limits.idle_timeout) else { return polled };
        let silence = self.silence.get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
        while silence.as_mut().poll(context).is_ready() {
            let quiet = self.last_frame.elapsed();
            if quiet >= idle {
                let host = self.open.as_ref().map(|open| open.call.host()).unwrap_or_default();
                self.end(Ending::Silent(idle), true);
                return Poll::Ready(Some(Err(UpstreamError::Timeout { host, what: "go on answering", after: idle }.into())));
            }
            silence.as_mut().reset(tokio::time::Instant::now() + (idle - quiet));
        }
        Poll::Pending
    }
}

impl Body for Tee {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        loop {
            let frame = std::task::ready!(this.poll_body(context));
            match frame {
                None => {
                    this.end(Ending::Complete, true);
                    return Poll::Ready(rest(&mut this.filter));
                }
                Some(Err(error)) => {
                    this.end(Ending::Cut(last_cause(error.as_ref())), true);
                    return Poll::Ready(Some(Err(error)));
                }
                Some(Ok(frame)) => {
                    this.arrived(&frame);
                    // hyper does not ask again after trailers, nor after the last frame of a body of known length.
                    if frame.is_trailers() || this.body.is_end_stream() {
                        this.end(Ending::Complete, true);
                    }
                    let Some(filter) = &mut this.filter else { return Poll::Ready(Some(Ok(frame))) };
                    match frame.into_data() {
                        Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                        Ok(data) => {
                            let mut shown = Vec::with_capacity(data.len());
                            filter.push(&data, &mut shown);
                            if this.body.is_end_stream() {
                                filter.finish(&mut shown);
                            }
                            if !shown.is_empty() {
                                return Poll::Ready(Some(Ok(Frame::data(shown.into()))));
                            }
                        }
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream() && self.filter.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.filter.is_some() { SizeHint::default() } else { self.body.size_hint() }
    }
}

/// What a filter still held when the body ended.
fn rest(filter: &mut Option<UsageChunkFilter>) -> Option<Result<Frame<Bytes>, BodyError>> {
    let mut shown = Vec::new();
    filter.take()?.finish(&mut shown);
    (!shown.is_empty()).then(|| Ok(Frame::data(shown.into())))
}

impl Drop for Tee {
    /// The client has gone. What upstream still sends is paid for: it is read to its end, within bounds.
    fn drop(&mut self) {
        let Some(open) = &self.open else { return };
        let within = open.call.proxy().limits.drain_timeout;
        let stopping = open.call.session_drain();
        // A task that is dropped with its runtime must not begin another.
        let runtime = tokio::runtime::Handle::try_current().ok().filter(|_| !self.draining);
        let Some(runtime) = runtime else { return self.end(Ending::Stopped, false) };
        let body = std::mem::replace(&mut self.body, http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync());
        let mut rest = Self {
            body,
            filter: None,
            captured: std::mem::replace(&mut self.captured, Captured::new()),
            silence: None,
            last_frame: self.last_frame,
            draining: true,
            open: self.open.take(),
        };
        runtime.spawn(async move {
            let ending = tokio::select! {
                drained = tokio::time::timeout(within, rest.drain()) => drained.unwrap_or(Ending::Abandoned),
                () = stopping.ended() => Ending::Stopped,
            };
            rest.end(ending, false);
        });
    }
}

impl Tee {
    async fn drain(&mut self) -> Ending {
        let limit = self.open.as_ref().map_or(0, |open| open.call.proxy().limits.entry_bytes as u64);
        while let Some(frame) = self.body.frame().await {
            match frame {
                Ok(frame) => self.arrived(&frame),
                Err(error) => return Ending::Cut(last_cause(error.as_ref())),
            }
            if self.captured.total > limit {
                return Ending::Abandoned;
            }
            if self.body.is_end_stream() {
                break;
            }
        }
        Ending::Complete
    }
}
