//! A call that upstream answers.

use std::{
    future::Future,
    pin::Pin,
    sync::Once,
    task::{Context, Poll, ready},
};

use agentrun_llm::{price::PriceTable, provider::Framing};
use http::{HeaderValue, Response, header, request::Parts};

use crate::{
    body::{AnswerBody, OriginBody, RequestBody},
    cache::flight::Leader,
    error::Refusal,
    exchange::{Changed, mark, outgoing, strip_connection_headers},
    record::Call,
    target::Target,
    tee::{Head, Tee},
    upstream::{Answering, UpstreamError},
};

/// Asks upstream, and passes the answer on frame by frame while it is read for the record and the cache.
pub(crate) async fn ask(
    call: Call,
    leader: Option<Leader>,
    target: Target,
    mut parts: Parts,
    changed: Changed,
    body: RequestBody,
) -> Result<Response<AnswerBody>, Refusal> {
    if call.reading().is_some_and(|reading| reading.hide_usage) {
        // A chunk can be hidden only in bytes that can be read.
        parts.headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
    if changed.body.is_some() {
        parts.headers.remove(header::CONTENT_LENGTH);
    }
    let path = changed.path.as_deref().unwrap_or(target.path.as_str()).to_owned();
    let request = outgoing(&call, &target, parts, &path, body)?;
    let sending = call.proxy().origin.send(request);
    warm_prices();
    let waiting = Waiting { sending: Some(sending), pending: Some((call, leader)) };
    let (call, leader, answered) = waiting.await;
    match answered {
        Ok(response) => Ok(teed(call, leader, response)),
        Err(error) => {
            let refusal = Refusal::Upstream(error);
            let response = refusal.response(call.shape());
            call.refused(&refusal);
            Ok(response)
        }
    }
}

fn teed(call: Call, leader: Option<Leader>, response: Response<OriginBody>) -> Response<AnswerBody> {
    let (mut parts, body) = response.into_parts();
    strip_connection_headers(&mut parts.headers);
    let head = Head::of(&parts, wanted(&call));
    let hides = call.reading().is_some_and(|reading| reading.hide_usage) && head.framing == Framing::Sse && head.encoding.is_none();
    if hides {
        parts.headers.remove(header::CONTENT_LENGTH);
    }
    mark(&mut parts.headers, "miss");
    let tee = Tee::new(call, leader, head, body, hides);
    Response::from_parts(parts, AnswerBody::Teed(Box::new(tee)))
}

/// A call that waits for its answer's head. If its client goes away, the answer is read to its end all the same: it will be
/// paid for, and an equal call may be waiting for it.
struct Waiting {
    sending: Option<Answering>,
    pending: Option<(Call, Option<Leader>)>,
}

impl Future for Waiting {
    type Output = (Call, Option<Leader>, Result<Response<OriginBody>, UpstreamError>);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let sending = self.sending.as_mut().expect("polled until it is ready");
        let answered = ready!(sending.as_mut().poll(context));
        self.sending = None;
        let (call, leader) = self.pending.take().expect("taken with the answer");
        Poll::Ready((call, leader, answered))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let (Some(sending), Some((call, leader))) = (self.sending.take(), self.pending.take()) else { return };
        tokio::spawn(drain(sending, call, leader));
    }
}

async fn drain(sending: Answering, call: Call, leader: Option<Leader>) {
    let within = call.proxy().limits.drain_timeout;
    let stopping = call.session_drain();
    let answered = tokio::select! {
        answered = tokio::time::timeout(within, sending) => answered,
        () = stopping.ended() => return call.client_gone(),
    };
    match answered {
        Ok(Ok(response)) => {
            let (parts, body) = response.into_parts();
            let head = Head::of(&parts, wanted(&call));
            let tee = Tee::new(call, leader, head, body, false);
            // Its client has gone: dropping it reads it to its end.
            drop(tee);
        }
        Ok(Err(error)) => call.refused(&Refusal::Upstream(error)),
        Err(_) => call.client_gone(),
    }
}

/// The framing to take an answer for that does not say.
fn wanted(call: &Call) -> Framing {
    call.reading().map_or(Framing::Json, |reading| reading.wanted)
}

/// Has the price table read while the first answer is on its way: it takes some milliseconds, and an idle proxy needs none.
fn warm_prices() {
    static WARM: Once = Once::new();
    WARM.call_once(|| drop(tokio::task::spawn_blocking(PriceTable::builtin)));
}
