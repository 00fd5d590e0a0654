//! The gateway: a long-lived proxy whose sessions are opened, and whose records are read, over HTTP. The requests are those of AgentOpt's
//! daemon, so that its client works with this one.
//!
//! `routes` says which requests there are.

mod access;
mod body;
mod id;
mod policy;
mod providers;
mod records;
mod refusal;
mod sessions;
mod shape;

use std::{convert::Infallible, io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use axum::{
    Router as Routes,
    body::Body,
    extract::State as Shared,
    middleware,
    response::Response,
    routing::{delete, get, post},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderValue, StatusCode, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{MissedTickBehavior, interval, sleep},
};
use tower_service::Service;

use self::{access::Access, records::Records, refusal::Refusal, sessions::Sessions};
pub use self::{access::Token, access::TokenError};
use crate::{
    Session, Sidecar, admin,
    drain::Drain,
    intercept::until_closed,
    open::{ListenError, listen},
};

/// Connections to the control plane at a time; further ones wait in the listen queue.
const CONNECTIONS: usize = 1024;
/// For a client to send a request's head; an idle connection is closed after it too.
const HEAD: Duration = Duration::from_secs(120);
/// How long accepting waits after it failed: out of file descriptors, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// As aiohttp calls it.
const JSON: &str = "application/json; charset=utf-8";
/// How often is looked for what nobody uses and nobody wants to keep any more.
const LOOK: Duration = Duration::from_secs(60);

/// How a gateway is opened.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The journal that the proxy was given: records are read there.
    pub journal: PathBuf,
    /// What callers must show. Without one, everybody who reaches the port may do everything.
    pub token: Option<Token>,
    /// Further names of this machine that requests may be for, beside its loopback names; `None`: any name. A web page can make names of its
    /// own lead to this machine, so it is for gateways that demand a token.
    pub names: Option<Vec<String>>,
    /// What sessions are that say nothing else. A router is shared, and so are its draws.
    pub session: Session,
}

/// What all requests share.
struct State {
    sidecar: Sidecar,
    access: Access,
    sessions: Sessions,
    records: Records,
    session: Session,
    /// Where the control plane listens.
    address: SocketAddr,
}

/// A gateway that listens.
pub struct Gateway {
    state: Arc<State>,
    listener: TcpListener,
}

impl Gateway {
    /// Opens the control plane at `address`; connections wait until [`Gateway::serve`].
    ///
    /// # Errors
    /// The address cannot be listened at.
    pub async fn open(sidecar: Sidecar, address: SocketAddr, settings: Settings) -> Result<Self, ListenError> {
        let (listener, address) = listen(address).await?;
        sidecar.proxy.network.ourselves().opened(address);
        let Settings { journal, token, names, session } = settings;
        let access = Access::new(token, names, address);
        let state = State { access, sessions: Sessions::default(), records: Records::new(journal), session, address, sidecar };
        Ok(Self { state: Arc::new(state), listener })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.state.address
    }

    /// Serves until `stop` resolves. Then new calls and requests are refused, running ones have `grace` to end, and everything is written.
    pub async fn serve(self, stop: impl Future<Output = ()>, grace: Duration) {
        let Self { state, listener } = self;
        let drain = Drain::default();
        let routes = routes(state.clone());
        let looking = tokio::spawn(look(state.clone()));
        let accepting = tokio::spawn(accept(listener, routes, drain.clone()));
        stop.await;
        looking.abort();
        // Whoever asks now is answered while calls end.
        tokio::join!(drain.close(grace), state.sidecar.stop(grace));
        accepting.abort();
    }
}

/// Which requests there are.
fn routes(state: Arc<State>) -> Routes {
    Routes::new()
        .route("/health", get(async || answer(&json!({"ok": true}))))
        .route("/ca", get(ca))
        .route("/sessions", post(sessions::open))
        .route("/sessions/{id}", delete(sessions::close))
        .route("/records", get(records::records))
        .route("/usage", get(records::usage))
        .route("/cached_latency", get(records::cached_latency))
        .route("/cache/flush", post(flush))
        .route("/cache/clear", post(clear))
        .route("/providers", post(providers::add))
        .route("/metrics", get(metrics))
        .method_not_allowed_fallback(async || Refusal::Method)
        .fallback(async || Refusal::Path)
        .layer(middleware::from_fn_with_state(state.clone(), access::guard))
        .with_state(state)
}

impl State {
    /// The authority's certificate, as clients are given it.
    fn certificate(&self) -> String {
        BASE64_STANDARD.encode(self.sidecar.ca_pem())
    }
}

/// An answer in JSON.
fn answer(value: &impl Serialize) -> Response {
    let text = serde_json::to_vec(value).expect("what is answered has no keys but strings");
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    response
}

async fn ca(Shared(state): Shared<Arc<State>>) -> Response {
    answer(&json!({"ca_pem_b64": state.certificate()}))
}

async fn metrics(Shared(state): Shared<Arc<State>>) -> Response {
    admin::told(&state.sidecar.proxy)
}

async fn flush(Shared(state): Shared<Arc<State>>) -> StatusCode {
    state.sidecar.flush().await;
    StatusCode::NO_CONTENT
}

async fn clear(Shared(state): Shared<Arc<State>>) -> Result<StatusCode, Refusal> {
    state.sidecar.clear_cache().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Closes sessions that nobody uses, and lets the journal drop what is old, while nothing else happens.
async fn look(state: Arc<State>) {
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        state.sessions.close_idle(&state.sidecar);
        state.sidecar.flush().await;
    }
}

/// Accepts connections until the door closes.
async fn accept(listener: TcpListener, routes: Routes, drain: Drain) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let permit = room.clone().acquire_owned().await;
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = drain.closing() => return,
        };
        let (Ok(permit), Ok((stream, peer)), Some(admitted)) = (permit, accepted, drain.admit()) else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let (routes, drain) = (routes.clone(), drain.clone());
        tokio::spawn(async move {
            if let Err(error) = converse(stream, peer, routes, &drain).await {
                tracing::debug!(%peer, %error, "connection to the control plane ended");
            }
            drop((permit, admitted));
        });
    }
}

/// Serves one connection.
async fn converse(stream: TcpStream, peer: SocketAddr, routes: Routes, drain: &Drain) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let service = service_fn(move |mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(sessions::Peer(peer.ip()));
        let answered = routes.clone().call(request.map(Body::new));
        async move { Ok::<Response, Infallible>(answered.await.unwrap_or_else(|never| match never {})) }
    });
    let serving = http1::Builder::new().timer(TokioTimer::new()).header_read_timeout(HEAD).serve_connection(TokioIo::new(stream), service);
    until_closed(serving, http1::Connection::graceful_shutdown, drain).await
}
