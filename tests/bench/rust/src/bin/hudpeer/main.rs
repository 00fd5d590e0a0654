//! The naive Rust peer: hudsucker as it comes, LLM hosts intercepted, the request body buffered and hashed, a `HashMap` of whole
//! replies. No records, no usage, no disk.
//!
//! Flags: `--listen IP:PORT --ca-cert PEM --ca-key PEM --upstream-ca PEM --hosts a,b`
//! - `--nodelay`: `TCP_NODELAY` on both sides, which hudsucker does not set. It takes its connections from a listener of its own, so the
//!   client side is done on the listening socket, from which Linux hands it on to each accepted one.
//! - `--copy`: store copies of the replies.
//! - `--front`: an entrance that reads CONNECT and the ClientHello stands before hudsucker, which listens on a private port.
use agentrun_bench::{
    Flags,
    cache::{Cache, Key, keepable},
    peer,
};
use http_body_util::{BodyExt, Full};
use hudsucker::{
    Body, HttpContext, HttpHandler, Proxy, RequestOrResponse,
    hyper::{Method, Request, Response},
};
use std::sync::Arc;
use tokio::net::TcpListener;

mod front;

#[derive(Clone)]
struct Handler {
    hosts: Arc<Vec<String>>,
    cache: Cache,
    /// Of the request that is being answered.
    key: Option<Key>,
}

impl HttpHandler for Handler {
    async fn handle_request(&mut self, _: &HttpContext, request: Request<Body>) -> RequestOrResponse {
        self.key = None;
        if request.method() != Method::POST {
            return request.into();
        }
        let (parts, body) = request.into_parts();
        let Ok(body) = body.collect().await else {
            return empty(400).into();
        };
        let body = body.to_bytes();
        let key = Cache::key(parts.uri.path(), &body);
        if let Some((headers, bytes)) = self.cache.get(&key) {
            let mut response = Response::new(Body::from(Full::new(bytes)));
            *response.headers_mut() = headers;
            return response.into();
        }
        self.key = Some(key);
        Request::from_parts(parts, Body::from(Full::new(body))).into()
    }

    async fn handle_response(&mut self, _: &HttpContext, response: Response<Body>) -> Response<Body> {
        let Some(key) = self.key.take().filter(|_| keepable(&response)) else {
            return response;
        };
        let (parts, body) = response.into_parts();
        let Ok(body) = body.collect().await else {
            return empty(502);
        };
        let bytes = body.to_bytes();
        self.cache.put(key, &parts.headers, &bytes);
        Response::from_parts(parts, Body::from(Full::new(bytes)))
    }

    async fn should_intercept_connect(&mut self, _: &HttpContext, request: &Request<Body>) -> bool {
        let host = request.uri().host().unwrap_or_default();
        self.hosts.iter().any(|known| known == host)
    }
}

fn empty(status: u16) -> Response<Body> {
    Response::builder().status(status).body(Body::empty()).expect("a known status")
}

#[tokio::main]
async fn main() {
    let flags = Flags::parse();
    let nodelay = flags.has("nodelay");
    let address = flags.need("listen");
    let entrance = if flags.has("front") { "127.0.0.1:0" } else { &address };
    let listener = TcpListener::bind(entrance).await.expect("listening");
    socket2::SockRef::from(&listener).set_tcp_nodelay(nodelay).expect("setting TCP_NODELAY");
    if flags.has("front") {
        let private = listener.local_addr().expect("it is bound");
        tokio::spawn(front::serve(TcpListener::bind(&address).await.expect("--listen is free"), private));
    }
    let cache = Cache::new(flags.has("copy"));
    let proxy = Proxy::builder()
        .with_listener(listener)
        .with_ca(peer::authority(&flags))
        .with_http_connector(peer::connector(&flags, nodelay))
        .with_http_handler(Handler { hosts: peer::hosts(&flags), cache, key: None })
        .build()
        .expect("every part is set");
    proxy.start().await.expect("serving");
}
