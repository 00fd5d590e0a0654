//! An HTTP client that checks the hub's certificate.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client as Http, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{ClientConfig, crypto::aws_lc_rs};
use serde_json::Value;

use super::Authority;

type Body = BoxBody<Bytes, std::io::Error>;

/// A client with a connection of its own.
#[derive(Clone)]
pub(crate) struct Client {
    http: Http<HttpsConnector<HttpConnector>, Body>,
    base: String,
    headers: Vec<(String, String)>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Client {
    pub(crate) fn new(address: SocketAddr, authority: &Authority) -> Self {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let tls = tls.with_root_certificates(authority.roots()).with_no_client_auth();
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1().enable_http2().build();
        let http = Http::builder(TokioExecutor::new()).build(connector);
        Self { http, base: format!("https://{address}"), headers: Vec::new() }
    }

    pub(crate) fn bearing(self, token: String) -> Self {
        self.with("authorization", format!("Bearer {token}"))
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) async fn get(&self, path: &str) -> Answered {
        self.send(Method::GET, path, "").await
    }

    pub(crate) async fn put(&self, path: &str, body: impl Into<Bytes>) -> Answered {
        self.send(Method::PUT, path, body).await
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<Bytes>) -> Answered {
        self.send(Method::POST, path, body).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answered {
        self.send(Method::DELETE, path, "").await
    }

    async fn send(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Answered {
        let body = Full::new(body.into()).map_err(|never| match never {}).boxed();
        self.stream(method, path, body).await.unwrap()
    }

    /// Sends a body that may be of any kind.
    pub(crate) async fn stream(&self, method: Method, path: &str, body: Body) -> Result<Answered, String> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let answer = self.http.request(request.body(body).unwrap()).await.map_err(|error| format!("{error:?}"))?;
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.map_err(|error| format!("{error:?}"))?.to_bytes();
        Ok(Answered { status: parts.status, headers: parts.headers, body })
    }
}

impl Answered {
    /// The answer as JSON, which must be one of success.
    pub(crate) fn json(&self) -> Value {
        assert!(self.status.is_success(), "{self:?}");
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The sentence of an error with this status.
    pub(crate) fn error(&self, status: u16) -> String {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        let problem: Value = serde_json::from_slice(&self.body).unwrap();
        problem["error"].as_str().unwrap().to_owned()
    }

    /// Panics unless the answer is an empty success.
    pub(crate) fn done(&self) {
        assert_eq!(self.status, StatusCode::NO_CONTENT, "{self:?}");
    }
}
