//! What is passed on without being read: hosts that are not LLM hosts, and upgraded connections.

use std::sync::Arc;

use agentrun_llm::{
    call::Outcome,
    provider::{Endpoint, Provider, Shape},
};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::{body::Incoming, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;

use crate::{
    body::{AnswerBody, RequestBody},
    cache::entry::Facts,
    error::Refusal,
    exchange::{Reading, outgoing, strip_connection_headers},
    front::Connection,
    proxy::Proxy,
    record::{Call, End},
    target::Target,
    upstream::Origin,
};

/// Passes a plain-text request for a host that is not read, as any proxy would.
pub(crate) async fn forward(proxy: &Arc<Proxy>, target: Target, request: Request<Incoming>) -> Response<AnswerBody> {
    let Some(_admitted) = proxy.drain.admit() else { return Refusal::Draining.response(Shape::OpenAi) };
    if request.method() == Method::CONNECT {
        return refused(StatusCode::BAD_REQUEST, "CONNECT must be the first request of a connection");
    }
    let (mut parts, body) = request.into_parts();
    crate::exchange::forwarded_headers(&mut parts.headers);
    parts.headers.remove(header::HOST);
    let Ok(uri) = target.uri(target.path.as_str()) else { return Refusal::NoHost.response(Shape::OpenAi) };
    let mut request = Request::new(RequestBody::streamed(bytes::Bytes::new(), body));
    *request.method_mut() = parts.method;
    *request.uri_mut() = uri;
    *request.headers_mut() = parts.headers;
    match proxy.network.send(request).await {
        Err(error) => Refusal::Upstream(error).response(Shape::OpenAi),
        Ok(response) => {
            let (mut parts, body) = response.into_parts();
            strip_connection_headers(&mut parts.headers);
            Response::from_parts(parts, AnswerBody::Passed(body))
        }
    }
}

fn refused(status: StatusCode, text: &'static str) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::whole(bytes::Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response
}

/// Answers a request that has no target, and records it where it was meant for an LLM host.
pub(crate) fn refuse(connection: &Connection, request: &Request<Incoming>, refusal: &Refusal) -> Response<AnswerBody> {
    let Some(opened) = &connection.opened_for else { return refusal.response(Shape::OpenAi) };
    let hosts = connection.proxy.hosts();
    let provider = hosts.find(&opened.host);
    if let Some(provider) = provider {
        Call::begin(connection, provider, request.method(), &opened.target(request.uri())).refused(refusal);
    }
    refusal.response(provider.map_or(Shape::OpenAi, |provider| provider.shape))
}

/// Whether the client wants another protocol on this connection, a WebSocket most likely.
pub(crate) fn is_upgrade(request: &Request<Incoming>) -> bool {
    request.headers().contains_key(header::UPGRADE) && request.extensions().get::<OnUpgrade>().is_some()
}

/// Passes an upgrade on. What flows after it is not read; the call is recorded as `unreadable` when it ends.
pub(crate) async fn upgrade(
    call: &mut Call,
    provider: &Provider,
    target: Target,
    mut request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Refusal> {
    let client = hyper::upgrade::on(&mut request);
    let (parts, _) = request.into_parts();
    let (upgrade, connection) = (parts.headers.get(header::UPGRADE).cloned(), parts.headers.get(header::CONNECTION).cloned());
    let path = target.path.as_str().to_owned();
    let mut sent = outgoing(call, &target, parts, &path, RequestBody::whole(bytes::Bytes::new()))?;
    if let (Some(upgrade), Some(connection)) = (upgrade, connection) {
        sent.headers_mut().insert(header::UPGRADE, upgrade);
        sent.headers_mut().insert(header::CONNECTION, connection);
    }
    call.read(Arc::new(Reading::unread(Endpoint::of(provider, "GET", &path), &path)));
    let call = call.take();
    let mut answer = match call.proxy().network.upgrade(sent).await {
        Ok(answer) => answer,
        Err(error) => {
            let refusal = Refusal::Upstream(error);
            let response = refusal.response(call.shape());
            call.refused(&refusal);
            return Ok(response);
        }
    };
    let status = answer.status();
    if status != StatusCode::SWITCHING_PROTOCOLS {
        let (parts, body) = answer.into_parts();
        let end = unread(&call, status, Outcome::HttpError, format!("HTTP {} to an upgrade", status.as_u16()), 0);
        call.end(end);
        return Ok(Response::from_parts(parts, AnswerBody::Passed(body.map_err(Into::into).boxed_unsync())));
    }
    let server = hyper::upgrade::on(&mut answer);
    tokio::spawn(async move {
        let copied = async {
            let (client, server) = tokio::try_join!(client, server)?;
            let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(tokio::io::copy_bidirectional(&mut client, &mut server).await?)
        };
        let received = copied.await.map_or(0, |(_, received)| received);
        let end = unread(&call, status, Outcome::Unreadable, "an upgraded connection is passed on unread".to_owned(), received);
        call.end(end);
    });
    Ok(answer.map(|_| AnswerBody::empty()))
}

fn unread(call: &Call, status: StatusCode, outcome: Outcome, error: String, response_bytes: u64) -> End {
    let took = call.started().elapsed();
    let facts = Facts { usage_error: Some(error.clone()), latency_seconds: took.as_secs_f64(), ..Facts::default() };
    End { status: status.as_u16(), outcome, error: Some(error), facts, cached: None, answer: None, entry: None, response_bytes, took }
}
