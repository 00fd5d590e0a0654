//! The origin's own door, plain HTTP/1.1, for tests in another process or pod.
//!
//! - `GET /calls`, `GET /calls?contains=TEXT`: a JSON array of the calls whose body holds TEXT (percent-encoded), oldest first;
//! - `POST /forget?contains=TEXT`: forgets those calls;
//! - `POST /rules?name=NAME`: a JSON array of rules, which replaces those of that name; rules of several names are tried in the names' order;
//! - `POST /release?gate=TOKEN&frames=N`: lets streams at a gate go on;
//! - `GET /healthz`.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::log::Log;

/// Serves for ever; dropping the future closes the listener and every connection.
pub(super) async fn serve(listener: TcpListener, log: Arc<Log>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((tcp, _)) = accepted else { continue };
                let log = log.clone();
                let service = service_fn(move |request| answer(request, log.clone()));
                connections.spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(tcp), service));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn answer(request: Request<Incoming>, log: Arc<Log>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let query = head.uri.query().unwrap_or_default();
    let query: HashMap<String, String> =
        query.split('&').filter_map(|pair| pair.split_once('=')).map(|(name, value)| (name.to_owned(), decoded(value))).collect();
    let value = |name: &str| query.get(name).map_or("", String::as_str);
    // Read in any case: an answer before the request's end breaks some clients' connections.
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let (status, text) = match (&head.method, head.uri.path()) {
        (&Method::GET, "/healthz") => (StatusCode::OK, "ok".to_owned()),
        (&Method::GET, "/calls") => {
            let calls: Vec<_> = log.calls().into_iter().filter(|call| call.body.contains(value("contains"))).collect();
            (StatusCode::OK, serde_json::to_string(&calls).expect("strings and numbers serialise"))
        }
        (&Method::POST, "/forget") => {
            log.forget(value("contains"));
            (StatusCode::OK, "{}".to_owned())
        }
        (&Method::POST, "/rules") => match serde_json::from_slice(&body) {
            Ok(rules) => {
                log.set_rules(value("name"), rules);
                (StatusCode::OK, "{}".to_owned())
            }
            Err(error) => (StatusCode::BAD_REQUEST, format!("no array of rules: {error}")),
        },
        (&Method::POST, "/release") => match value("frames").parse() {
            Ok(frames) => {
                log.release(value("gate"), frames);
                (StatusCode::OK, "{}".to_owned())
            }
            Err(error) => (StatusCode::BAD_REQUEST, format!("frames: {error}")),
        },
        _ => (StatusCode::NOT_FOUND, "known are /calls, /forget, /rules, /release, /healthz".to_owned()),
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    Ok(response)
}

/// Percent-decoded, `+` for a space; what is no valid escape stays as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escape = (first == b'%').then(|| after.get(..2)).flatten();
        let byte = escape.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        bytes.push(byte.unwrap_or(if first == b'+' { b' ' } else { first }));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
