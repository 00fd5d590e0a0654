//! Connections: TLS, HTTP/1.1 and HTTP/2 by ALPN, and the bare wire for scripts that need it.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::answer::{Answer, Step, Wire, answer};
use super::ask::Ask;
use super::log::Log;
use super::script;

type AnyError = Box<dyn std::error::Error + Send + Sync>;
type AnyBody = BoxBody<Bytes, AnyError>;

/// Accepts for ever; dropping the future closes the listener and every connection.
pub(super) async fn accept(listener: TcpListener, acceptor: TlsAcceptor, log: Arc<Log>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((tcp, _)) = accepted else { continue };
                connections.spawn(connection(tcp, acceptor.clone(), log.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// What a scripted call asks of its connection: to stop speaking HTTP and play these steps.
#[derive(Default)]
struct Takeover {
    steps: Mutex<Option<Vec<Wire>>>,
    asked: Notify,
}

async fn connection(tcp: TcpStream, acceptor: TlsAcceptor, log: Arc<Log>) {
    tcp.set_nodelay(true).ok();
    // A client that breaks the handshake off is the client's affair.
    let Ok(tls) = acceptor.accept(tcp).await else { return };
    let sni = tls.get_ref().1.server_name().map(str::to_owned);
    let http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
    let takeover = Arc::new(Takeover::default());
    let service = {
        let takeover = takeover.clone();
        service_fn(move |request| {
            let serving: Pin<Box<dyn Future<Output = Result<Response<AnyBody>, Infallible>> + Send>> =
                Box::pin(serve(request, sni.clone(), log.clone(), takeover.clone()));
            serving
        })
    };
    let io = TokioIo::new(tls);
    if http2 {
        let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, service);
        serving.await.ok();
        return;
    }
    let mut serving = hyper::server::conn::http1::Builder::new().serve_connection(io, service);
    let over = tokio::select! {
        _ = &mut serving => None,
        () = takeover.asked.notified() => Some(serving.into_parts().io.into_inner()),
    };
    if let Some(tls) = over {
        let steps = takeover.steps.lock().expect("no panic happens under this lock").take().unwrap_or_default();
        play(tls, steps).await;
    }
}

async fn play(mut tls: TlsStream<TcpStream>, steps: Vec<Wire>) {
    for step in steps {
        match step {
            Wire::Bytes(bytes) => {
                if tls.write_all(&bytes).await.is_err() || tls.flush().await.is_err() {
                    return;
                }
            }
            Wire::Pause(time) => tokio::time::sleep(time).await,
            Wire::Reset => {
                socket2::SockRef::from(tls.get_ref().0).set_linger(Some(std::time::Duration::ZERO)).ok();
                return;
            }
        }
    }
    tls.shutdown().await.ok();
}

async fn serve(
    request: Request<Incoming>,
    sni: Option<String>,
    log: Arc<Log>,
    takeover: Arc<Takeover>,
) -> Result<Response<AnyBody>, Infallible> {
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        return Ok(status_only(StatusCode::BAD_REQUEST));
    };
    let body = body.to_bytes();
    let host = head.uri.authority().map(ToString::to_string);
    let host = host.or_else(|| head.headers.get("host").and_then(|host| host.to_str().ok()).map(str::to_owned)).unwrap_or_default();
    let mut ask = Ask {
        number: log.next_number(),
        version: head.version,
        sni,
        host,
        method: head.method,
        path_and_query: head.uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
        json: serde_json::from_slice(&body).unwrap_or_default(),
        headers: head.headers,
        body,
        scripted: None,
    };
    log.add(&ask);
    let rule = log.rule(&ask).unwrap_or_default();
    ask.scripted = rule.text;
    tokio::time::sleep(ask.header_millis("x-origin-delay-ms").max(std::time::Duration::from_millis(rule.delay_milliseconds))).await;
    let gate = ask.header("x-origin-gate").map(|token| log.gate(token));
    let made = match ask.script() {
        Some(name) => script::play(&name, &ask),
        None => answer(&ask),
    };
    match made {
        Answer::Wire(steps) => {
            *takeover.steps.lock().expect("no panic happens under this lock") = Some(steps);
            takeover.asked.notify_one();
            // The connection is taken from under this call, or, in HTTP/2, the call hangs.
            std::future::pending().await
        }
        Answer::Http { status, headers, steps, pace } => {
            let pace = pace.max(ask.header_millis("x-origin-pace-ms"));
            let mut response = Response::new(body_of(steps, pace, gate));
            *response.status_mut() = StatusCode::from_u16(status).expect("scripts name valid statuses");
            *response.headers_mut() = headers;
            Ok(response)
        }
    }
}

fn status_only(status: StatusCode) -> Response<AnyBody> {
    let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed());
    *response.status_mut() = status;
    response
}

fn body_of(mut steps: Vec<Step>, pace: std::time::Duration, gate: Option<Arc<Semaphore>>) -> AnyBody {
    if gate.is_none() {
        if steps.is_empty() {
            return Empty::new().map_err(|never| match never {}).boxed();
        }
        if let [Step::Frame(only)] = &mut steps[..] {
            return Full::new(std::mem::take(only)).map_err(|never| match never {}).boxed();
        }
    }
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(send(steps, pace, gate, sender));
    BoxBody::new(Frames(receiver))
}

async fn send(steps: Vec<Step>, pace: std::time::Duration, gate: Option<Arc<Semaphore>>, to: mpsc::Sender<Result<Frame<Bytes>, AnyError>>) {
    let mut at = 0;
    while let Some(step) = steps.get(at) {
        at += 1;
        let sent = match step {
            Step::Frame(bytes) => {
                if let Some(gate) = &gate {
                    gate.acquire().await.expect("a gate is never closed").forget();
                }
                to.send(Ok(Frame::data(bytes.clone()))).await
            }
            Step::Trailers(trailers) => to.send(Ok(Frame::trailers(trailers.clone()))).await,
            Step::Cut => to.send(Err("the script cuts here".into())).await,
            Step::Hang => return to.closed().await,
            Step::Again(from) => {
                at = *from;
                Ok(())
            }
        };
        if sent.is_err() {
            return;
        }
        if !pace.is_zero() {
            tokio::time::sleep(pace).await;
        }
    }
}

/// A body whose frames come from a channel.
struct Frames(mpsc::Receiver<Result<Frame<Bytes>, AnyError>>);

impl Body for Frames {
    type Data = Bytes;
    type Error = AnyError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AnyError>>> {
        self.0.poll_recv(context)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
