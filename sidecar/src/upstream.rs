//! Upstream: whoever really answers a call.

use std::{error::Error as StdError, future::Future, pin::Pin, sync::Arc, time::Duration};

use http::{Request, Response, Uri, uri::PathAndQuery};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioTimer},
};
use rustls::ClientConfig;
use thiserror::Error;
use tokio::net::TcpStream;
use tower_service::Service;

use crate::{
    body::{OriginBody, RequestBody},
    config::{Limits, UpstreamRule},
    resolve::Resolver,
    upstream::{
        connect::{Connect, Connector, TimedOut},
        ourselves::Ourselves,
    },
};

pub(crate) mod connect;
pub(crate) mod ourselves;

/// Connections kept open to one host while no call uses them.
const IDLE_CONNECTIONS: Duration = Duration::from_secs(60);

/// An answer on its way.
pub type Answering = Pin<Box<dyn Future<Output = Result<Response<OriginBody>, UpstreamError>> + Send>>;

/// Who answers calls: the network, or a simulation of it.
pub trait Origin: Send + Sync {
    /// Sends a request in absolute form (`https://HOST/PATH`). Its extensions hold the [`crate::session::Attribution`].
    fn send(&self, request: Request<RequestBody>) -> Answering;
}

/// Why a call got no answer from upstream. Each variant is an outcome of its own in the record.
#[derive(Debug, Error)]
pub enum UpstreamError {
    /// No connection: name not found, nobody listens, unreachable, refused by a proxy on the way.
    #[error("connect to {host}: {reason}")]
    Refused {
        /// Whom the call was for.
        host: String,
        /// The last cause.
        reason: String,
    },
    /// A connection, but no TLS that can be trusted.
    #[error("agree on TLS with {host}: {reason}")]
    Tls {
        /// Whom the call was for.
        host: String,
        /// The last cause.
        reason: String,
    },
    /// Nothing within the time allowed.
    #[error("{host} did not {what} within {} s", after.as_secs())]
    Timeout {
        /// Whom the call was for.
        host: String,
        /// What did not happen.
        what: &'static str,
        /// The time allowed.
        after: Duration,
    },
    /// The connection ended before the answer's head.
    #[error("{host} ended the connection before it answered: {reason}")]
    Cut {
        /// Whom the call was for.
        host: String,
        /// The last cause.
        reason: String,
    },
}

/// The network, behind a pool of connections.
pub(crate) struct Network {
    client: Client<Connect<HttpsConnector<Connector>>, RequestBody>,
    /// HTTP/1.1 only: the one that can be upgraded.
    upgrading: Client<Connect<HttpsConnector<Connector>>, RequestBody>,
    tcp: Connector,
    ourselves: Arc<Ourselves>,
    rules: Arc<[UpstreamRule]>,
    limits: Limits,
}

impl Network {
    /// With `proxied`, connections that no rule names go through the environment's proxy. Names are looked up by `resolver`, or as the system
    /// does.
    pub(crate) fn new(tls: ClientConfig, rules: Vec<UpstreamRule>, proxied: bool, resolver: Option<Resolver>, limits: &Limits) -> Self {
        let ourselves = Arc::new(Ourselves::default());
        let tcp = Connector::new(&rules, proxied, resolver, ourselves.clone());
        let https = HttpsConnectorBuilder::new().with_tls_config(tls.clone()).https_or_http().enable_http1().enable_http2();
        let http1 = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
        Self {
            client: client(https.wrap_connector(tcp.clone()), limits),
            upgrading: client(http1.wrap_connector(tcp.clone()), limits),
            tcp,
            ourselves,
            rules: rules.into(),
            limits: limits.clone(),
        }
    }

    /// The ports that upstream connections must not lead to.
    pub(crate) fn ourselves(&self) -> &Ourselves {
        &self.ourselves
    }

    /// Sends a request to upgrade its connection; what the answer says is the caller's to look at.
    pub(crate) async fn upgrade(&self, mut request: Request<RequestBody>) -> Result<Response<Incoming>, UpstreamError> {
        let host = request.uri().host().unwrap_or_default().to_owned();
        if let Some(rule) = self.rules.iter().find(|rule| rule.host == host) {
            redirect(&mut request, rule);
        }
        self.upgrading.request(request).await.map_err(|error| classify(host, &error, self.limits.connect_timeout))
    }

    /// A raw connection to a host that is not read.
    pub(crate) async fn tunnel(&self, host: &str, port: u16) -> Result<TcpStream, UpstreamError> {
        let refused = |reason: String| UpstreamError::Refused { host: host.to_owned(), reason };
        let authority = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        // As https, so that the environment's HTTPS_PROXY is the one that is asked.
        let uri =
            Uri::builder().scheme("https").authority(authority).path_and_query("/").build().map_err(|error| refused(error.to_string()))?;
        let after = self.limits.connect_timeout;
        match tokio::time::timeout(after, self.tcp.clone().call(uri)).await {
            Err(_) => Err(UpstreamError::Timeout { host: host.to_owned(), what: "accept a connection", after }),
            Ok(Err(error)) => Err(refused(last_cause(error.as_ref()))),
            Ok(Ok(stream)) => Ok(stream.into_inner()),
        }
    }
}

fn client(connector: HttpsConnector<Connector>, limits: &Limits) -> Client<Connect<HttpsConnector<Connector>>, RequestBody> {
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_CONNECTIONS)
        .http1_max_buf_size(limits.head_bytes.max(8 << 10))
        .http2_adaptive_window(true)
        .build(Connect::new(connector, limits.connect_timeout))
}

impl Origin for Network {
    fn send(&self, mut request: Request<RequestBody>) -> Answering {
        let host = request.uri().host().unwrap_or_default().to_owned();
        if let Some(rule) = self.rules.iter().find(|rule| rule.host == host) {
            redirect(&mut request, rule);
        }
        let answer = self.client.request(request);
        let (first_byte, connect) = (self.limits.first_byte_timeout, self.limits.connect_timeout);
        Box::pin(async move {
            match tokio::time::timeout(first_byte, answer).await {
                Err(_) => Err(UpstreamError::Timeout { host, what: "start to answer", after: first_byte }),
                Ok(Err(error)) => Err(classify(host, &error, connect)),
                Ok(Ok(response)) => Ok(response.map(|body| body.map_err(Into::into).boxed_unsync())),
            }
        })
    }
}

/// Turns a request for a rule's host into one for the rule's URL. An IP address changes only where the connection goes
/// (see [`Connector`]), so the name in the request stays.
fn redirect(request: &mut Request<RequestBody>, rule: &UpstreamRule) {
    let authority = match rule.url.host() {
        Some(url::Host::Domain(name)) => match rule.url.port() {
            Some(port) => format!("{name}:{port}"),
            None => name.to_owned(),
        },
        _ => rule.host.clone(),
    };
    let path = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
    let prefix = rule.url.path().trim_end_matches('/');
    let uri = Uri::builder().scheme(rule.url.scheme()).authority(authority.as_str()).path_and_query(format!("{prefix}{path}")).build();
    // Both halves were URLs before; joined they are one too.
    if let Ok(uri) = uri {
        *request.uri_mut() = uri;
        if authority != rule.host {
            request.headers_mut().remove(http::header::HOST);
        }
    }
}

fn classify(host: String, error: &hyper_util::client::legacy::Error, connect: Duration) -> UpstreamError {
    if find::<TimedOut>(error).is_some() {
        return UpstreamError::Timeout { host, what: "accept a connection", after: connect };
    }
    let reason = last_cause(error);
    if !error.is_connect() {
        return UpstreamError::Cut { host, reason };
    }
    if find::<rustls::Error>(error).is_some() {
        return UpstreamError::Tls { host, reason };
    }
    UpstreamError::Refused { host, reason }
}

fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        // An io::Error made from another error shows that error only here.
        if let Some(inner) = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref)
            && let Some(found) = find::<E>(inner)
        {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// The innermost cause, which names what happened; those around it only repeat where.
pub(crate) fn last_cause(error: &(dyn StdError + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
