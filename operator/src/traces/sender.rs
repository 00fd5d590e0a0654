//! Sends batches of spans with the connections and the TLS of everything else. Not with kube's client: each of its requests is a span, which
//! would have to be sent.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::Uri;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use kube::client::ConfigExt as _;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use thiserror::Error;
use tokio::runtime::Handle;

use super::TracesError;

/// The longest that a batch may take.
const WHOLE_TIMEOUT: Duration = Duration::from_secs(10);
/// The most bytes of an answer.
const ANSWER_BYTES: usize = 64 << 10;

/// Why a batch was not taken.
#[derive(Debug, Error)]
enum SendError {
    #[error("reach the collector")]
    Unreachable(#[source] legacy::Error),
    #[error("read the collector's answer: {0}")]
    Answer(Box<dyn std::error::Error + Send + Sync>),
    #[error("the collector did not answer in {} s", WHOLE_TIMEOUT.as_secs())]
    Timeout,
    #[error("wait for the batch to be sent")]
    Task(#[source] tokio::task::JoinError),
}

type Client = legacy::Client<hyper_rustls::HttpsConnector<legacy::connect::HttpConnector>, Full<Bytes>>;

/// The client of a collector.
pub(super) struct Sender {
    client: Client,
    runtime: Handle,
    fails: AtomicBool,
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Sender")
    }
}

impl Sender {
    /// A client for the collector's host, which is known by the public roots and `roots` (PEM). It works on the runtime that it is made on.
    pub(super) fn new(endpoint: &Uri, roots: &str) -> Result<Self, TracesError> {
        let mut config = kube::Config::new(endpoint.clone());
        let ours: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(roots.as_bytes()).collect();
        let ours = ours.map_err(|error| TracesError::Roots(error.to_string()))?;
        let public = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
        config.root_cert = Some(public.chain(&ours).map(|certificate| certificate.to_vec()).collect());
        let connector = config.rustls_https_connector().map_err(|error| TracesError::Client(Box::new(error)))?;
        let client = legacy::Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { client, runtime: Handle::current(), fails: AtomicBool::new(false) })
    }

    /// Whether the last batch was lost.
    pub(super) fn loses(&self) -> bool {
        self.fails.load(Ordering::Relaxed)
    }

    /// Tells that batches are lost, and that they no longer are; each once.
    fn note(&self, problem: Option<String>) {
        let failed = self.loses();
        self.fails.store(problem.is_some(), Ordering::Relaxed);
        match problem {
            Some(problem) if !failed => tracing::warn!(problem, "traces are lost: the collector does not take them"),
            None if failed => tracing::info!("the collector takes traces again"),
            _ => {}
        }
    }
}

#[async_trait::async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let exchange = exchange(self.client.clone(), request);
        let exchange = async { tokio::time::timeout(WHOLE_TIMEOUT, exchange).await.unwrap_or(Err(SendError::Timeout)) };
        // Batches come from a thread without a runtime.
        let sent = self.runtime.spawn(exchange).await;
        let sent = sent.unwrap_or_else(|error| Err(SendError::Task(error)));
        self.note(match &sent {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(format!("it answers {}", response.status())),
            Err(error) => Some(crate::sentence(error)),
        });
        Ok(sent?)
    }
}

async fn exchange(client: Client, request: Request<Bytes>) -> Result<Response<Bytes>, SendError> {
    let response = client.request(request.map(Full::new)).await.map_err(SendError::Unreachable)?;
    let (head, body) = response.into_parts();
    let body = Limited::new(body, ANSWER_BYTES).collect().await.map_err(SendError::Answer)?;
    Ok(Response::from_parts(head, body.to_bytes()))
}
