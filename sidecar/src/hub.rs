//! The hub, as a pod's sidecar asks it: over TLS that is checked against the installation's own authority, with the pod's own token.

use std::{
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use agentrun_protocol::{query::Problem, trial::FIRST_SEQUENCE_HEADER};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject},
};
use thiserror::Error;
use tokio::sync::watch;

pub(crate) use crate::hub::{ask::Ask, backoff::Backoff};
use crate::{hub::names::Names, upstream::last_cause};

mod ask;
mod backoff;
mod names;

/// For a connection to the hub to be made.
const CONNECT: Duration = Duration::from_secs(5);
/// Between two looks whether the other end of a quiet connection is still there, and for it to say so.
const PING: Duration = Duration::from_secs(4);
/// How long calls wait for a hub that was there and is not: a restart takes less.
const PATIENCE: Duration = Duration::from_secs(30);

/// What can go wrong with the hub.
#[derive(Debug, Error)]
pub enum HubError {
    /// Its URL cannot be used.
    #[error("`{0}` cannot be the hub's URL; write https://HOST:PORT")]
    Url(String),
    /// The certificates that it is checked against cannot be used.
    #[error("read the certificates of the hub's authority: {0}")]
    Certificates(String),
    /// rustls refuses its configuration.
    #[error("set up TLS towards the hub")]
    Tls(#[from] rustls::Error),
    /// The pod's token cannot be read.
    #[error("read the token {path}: {source}")]
    Token {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It cannot be reached, or does not answer.
    #[error("ask the hub: {0}")]
    Away(String),
    /// It refuses.
    #[error("the hub answered {status}: {problem}")]
    Refused {
        /// Its status.
        status: StatusCode,
        /// What it says.
        problem: String,
    },
    /// Its answer is not what was asked for.
    #[error("read the hub's answer: {0}")]
    Answer(String),
}

impl HubError {
    /// Whether the same may work later.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Away(_) | Self::Token { .. } => true,
            Self::Refused { status, .. } => {
                status.is_server_error() || matches!(*status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
            }
            _ => false,
        }
    }
}

/// Whether the hub is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// It has not answered yet.
    Never,
    /// It answered the last time.
    Reached,
    /// It answered once, and since then no more.
    Away(Instant),
}

type Http = Client<HttpsConnector<HttpConnector<Names>>, Full<Bytes>>;

/// A client of the hub.
pub struct Hub {
    /// For requests that the hub lets wait: they must not hold up the others by filling a connection.
    waiting: Http,
    telling: Http,
    base: String,
    token: PathBuf,
    reach: watch::Sender<Reach>,
}

impl fmt::Debug for Hub {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Hub").field("base", &self.base).finish_non_exhaustive()
    }
}

impl Hub {
    /// A client of the hub at `url` (`https://HOST:PORT`), whose certificate must chain to one of `authority` (PEM), and to which the token in
    /// the file `token` says who asks.
    ///
    /// # Errors
    /// The URL is no https URL, or there is no certificate.
    pub fn new(url: &str, authority: &str, token: PathBuf) -> Result<Self, HubError> {
        let base = url.trim_end_matches('/');
        let uri: Uri = base.parse().map_err(|_| HubError::Url(url.to_owned()))?;
        if uri.scheme() != Some(&http::uri::Scheme::HTTPS) || uri.host().is_none() || uri.path() != "/" || uri.query().is_some() {
            return Err(HubError::Url(url.to_owned()));
        }
        let (tls, names) = (tls(authority)?, Names::new());
        let (waiting, telling) = (client(tls.clone(), names.clone()), client(tls, names));
        Ok(Self { waiting, telling, base: base.to_owned(), token, reach: watch::Sender::new(Reach::Never) })
    }

    /// Asks once. The token is read anew each time: the kubelet replaces it.
    pub(crate) async fn ask(&self, ask: Ask<'_>) -> Result<Response<Bytes>, HubError> {
        let answered = self.ask_once(ask).await;
        match &answered {
            Err(error) if error.is_passing() => self.reach.send_if_modified(|reach| {
                let lost = *reach == Reach::Reached;
                if lost {
                    tracing::warn!(%error, "the hub is away");
                    *reach = Reach::Away(Instant::now());
                }
                lost
            }),
            _ => self.reach.send_if_modified(|reach| {
                let found = *reach != Reach::Reached;
                *reach = Reach::Reached;
                found
            }),
        };
        answered
    }

    /// Asks for a message in JSON.
    pub(crate) async fn message<T: serde::de::DeserializeOwned>(&self, ask: Ask<'_>) -> Result<T, HubError> {
        let answer = self.ask(ask).await?;
        serde_json::from_slice(answer.body()).map_err(|error| HubError::Answer(error.to_string()))
    }

    /// Asks until the hub answers, for ever.
    pub(crate) async fn insist<'a>(&self, ask: impl Fn() -> Ask<'a>) -> Result<Response<Bytes>, HubError> {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        loop {
            match self.ask(ask()).await {
                Err(error) if error.is_passing() => tokio::time::sleep(backoff.pause()).await,
                answered => return answered,
            }
        }
    }

    /// Whether the hub is there.
    pub(crate) fn reach(&self) -> watch::Receiver<Reach> {
        self.reach.subscribe()
    }

    /// How long a call may still wait for a hub that does not answer; `None` where there is nothing to wait for.
    pub(crate) fn patience(&self) -> Option<Duration> {
        match *self.reach.borrow() {
            Reach::Never => None,
            Reach::Reached => Some(PATIENCE),
            Reach::Away(since) => PATIENCE.checked_sub(since.elapsed()).filter(|left| !left.is_zero()),
        }
    }

    async fn ask_once(&self, ask: Ask<'_>) -> Result<Response<Bytes>, HubError> {
        let (within, limit) = (ask.within, ask.limit);
        let client = if ask.waits { &self.waiting } else { &self.telling };
        let request = self.request(ask)?;
        let answering = async {
            let answer = client.request(request).await.map_err(|error| HubError::Away(last_cause(&error)))?;
            let (parts, body) = answer.into_parts();
            let body = Limited::new(body, limit).collect().await.map_err(|error| HubError::Away(last_cause(error.as_ref())))?;
            Ok::<_, HubError>(Response::from_parts(parts, body.to_bytes()))
        };
        let silent = |_| HubError::Away(format!("no answer within {} s", within.as_secs()));
        let answer: Response<Bytes> = tokio::time::timeout(within, answering).await.map_err(silent)??;
        let status = answer.status();
        // That something is not stored is an answer.
        if status.is_success() || status == StatusCode::NOT_FOUND && answer.headers().contains_key(agentrun_protocol::lease::LEASE_HEADER) {
            return Ok(answer);
        }
        let problem = serde_json::from_slice::<Problem>(answer.body()).map(|problem| problem.error).unwrap_or_default();
        Err(HubError::Refused { status, problem })
    }

    fn request(&self, ask: Ask<'_>) -> Result<Request<Full<Bytes>>, HubError> {
        let unreadable = |source| HubError::Token { path: self.token.clone(), source };
        let token = std::fs::read_to_string(&self.token).map_err(unreadable)?;
        let mut authorization = HeaderValue::try_from(format!("Bearer {}", token.trim()))
            .map_err(|_| unreadable(std::io::Error::other("it holds more than one line of text")))?;
        authorization.set_sensitive(true);
        let mut request = Request::builder().method(ask.method).uri(format!("{}{}", self.base, ask.path));
        request = request.header(header::AUTHORIZATION, authorization);
        if !ask.content_type.is_empty() {
            request = request.header(header::CONTENT_TYPE, ask.content_type);
        }
        if let Some(first) = ask.first_sequence {
            request = request.header(FIRST_SEQUENCE_HEADER, first);
        }
        request.body(Full::new(ask.body)).map_err(|error| HubError::Url(error.to_string()))
    }
}

fn tls(authority: &str) -> Result<ClientConfig, HubError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority.as_bytes()) {
        let certificate = certificate.map_err(|error| HubError::Certificates(error.to_string()))?;
        roots.add(certificate).map_err(|error| HubError::Certificates(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(HubError::Certificates("there is none".to_owned()));
    }
    Ok(crate::tls::client::config(Arc::new(aws_lc_rs::default_provider()), Arc::new(roots))?)
}

fn client(tls: ClientConfig, names: Names) -> Http {
    let mut tcp = HttpConnector::new_with_resolver(names);
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT));
    tcp.set_keepalive(Some(PING));
    tcp.set_keepalive_interval(Some(PING));
    tcp.set_keepalive_retries(Some(2));
    #[cfg(target_os = "linux")]
    tcp.set_tcp_user_timeout(Some(PING * 3));
    let https = HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1().enable_http2().wrap_connector(tcp);
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(600))
        .http2_keep_alive_interval(PING)
        .http2_keep_alive_timeout(PING)
        .http2_keep_alive_while_idle(true)
        .http2_adaptive_window(true)
        .build(https)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority() -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        rcgen::CertificateParams::new(vec!["hub".to_owned()]).unwrap().self_signed(&key).unwrap().pem()
    }

    #[test]
    fn a_hub_is_an_https_url_and_an_authority() {
        let made = |url: &str, authority: &str| Hub::new(url, authority, PathBuf::from("token")).map(|hub| hub.base);
        assert_eq!(made("https://hub.svc:8443/", &authority()).unwrap(), "https://hub.svc:8443");
        for url in ["http://hub:8443", "hub:8443", "https://", "", "https://hub/path", "https://hub?x=1", "https://h u b"] {
            let error = made(url, &authority()).unwrap_err().to_string();
            assert!(error.contains("https://HOST:PORT"), "{url}: {error}");
        }
        for pem in ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(matches!(made("https://hub", pem), Err(HubError::Certificates(_))), "{pem}");
        }
    }

    #[tokio::test]
    async fn a_hub_that_never_answered_is_not_waited_for_and_the_token_is_in_no_error() {
        let folder = tempfile::tempdir().unwrap();
        let token = folder.path().join("token");
        let hub = Hub::new("https://127.0.0.1:1", &authority(), token.clone()).unwrap();
        let error = hub.ask(Ask::get("/v1/trial")).await.unwrap_err();
        assert!(error.to_string().contains(&token.display().to_string()) && error.is_passing(), "{error}");
        std::fs::write(&token, "secret-1\n").unwrap();
        let error = hub.ask(Ask::get("/v1/trial")).await.unwrap_err();
        assert!(matches!(error, HubError::Away(_)) && !error.to_string().contains("secret"), "{error}");
        std::fs::write(&token, "secret-2\nsecret-3\n").unwrap();
        let error = hub.ask(Ask::get("/v1/trial")).await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret-"), "{error}");
        assert_eq!((hub.patience(), *hub.reach().borrow()), (None, Reach::Never));
    }

    #[test]
    fn what_passes_is_told_from_what_stays() {
        let refused = |status: u16| HubError::Refused { status: status.try_into().unwrap(), problem: String::new() };
        for status in [408, 429, 500, 502, 503, 504, 507] {
            assert!(refused(status).is_passing(), "{status}");
        }
        for status in [400, 401, 403, 404, 409, 413] {
            assert!(!refused(status).is_passing(), "{status}");
        }
    }
}
