//! The operator's client of the hub: TLS with the installation's own authority, a token that is read again as it changes.

use std::path::PathBuf;
use std::time::Duration;

use agentrun_protocol::paths;
use agentrun_protocol::query::Problem;
use agentrun_protocol::run::{Aggregate, Observation, Registration};
use http::{Method, Request, StatusCode};
use kube::config::AuthInfo;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::sync::{Mutex, watch};

use crate::client::answered_within;

/// The longest that the hub may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The longest that the hub may be silent.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// The longest that a whole exchange may take. A million datapoints take their time.
const WHOLE_TIMEOUT: Duration = Duration::from_secs(90);
/// The most bytes of an answer.
const ANSWER_BYTES: usize = 64 << 20;

/// Where the hub is, and how it is known.
#[derive(Debug, Clone)]
pub struct HubAddress {
    /// Its URL.
    pub url: String,
    /// The name on its certificate, where it is not the URL's host.
    pub server_name: Option<String>,
    /// The file with our token.
    pub token_file: PathBuf,
}

/// Why the hub did not do what it was asked.
#[derive(Debug, Error)]
pub enum HubError {
    /// The URL is of no use.
    #[error("read the hub's address `{url}`")]
    Address {
        /// As it was given.
        url: String,
        /// What is wrong with it.
        #[source]
        source: http::uri::InvalidUri,
    },
    /// There is no certificate to know the hub by yet.
    #[error("the certificate authority that the hub is known by is not made yet")]
    NoAuthority,
    /// A certificate cannot be read.
    #[error("read the certificates that the hub is known by: {0}")]
    Authority(String),
    /// A client cannot be made, as where the token's file is missing.
    #[error("prepare to ask the hub")]
    Client(#[source] Box<kube::Error>),
    /// A message cannot be written.
    #[error("write a message to the hub")]
    Write(#[source] serde_json::Error),
    /// No answer came.
    #[error("ask the hub")]
    Unreachable(#[source] Box<kube::Error>),
    /// No answer came in time.
    #[error("the hub did not answer in {} s", WHOLE_TIMEOUT.as_secs())]
    Timeout,
    /// The answer broke off.
    #[error("read the hub's answer")]
    Answer(#[source] Box<kube::Error>),
    /// The answer is no message.
    #[error("understand the hub's answer")]
    Understand(#[source] serde_json::Error),
    /// The hub does not want to.
    #[error("the hub refuses ({status}): {message}")]
    Refused {
        /// HTTP's status.
        status: StatusCode,
        /// The hub's sentence.
        message: String,
    },
}

impl HubError {
    /// Whether the hub does not know the run.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Refused { status: StatusCode::NOT_FOUND, .. })
    }

    /// Whether the hub has other datapoints for the run.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { status: StatusCode::CONFLICT, .. })
    }

    /// The error with its causes, in one bounded line for a condition.
    pub fn sentence(&self) -> String {
        crate::sentence(self).chars().take(500).collect()
    }
}

/// The client. It follows the authority's certificate.
#[derive(Debug)]
pub struct Hub {
    address: HubAddress,
    authority: watch::Receiver<String>,
    client: Mutex<Option<(String, Client)>>,
}

#[derive(Clone)]
struct Client(kube::Client);

impl std::fmt::Debug for Client {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Client")
    }
}

impl Hub {
    /// A client. `authority` holds the certificates (PEM) that the hub's must chain to; empty until they are known.
    pub fn new(address: HubAddress, authority: watch::Receiver<String>) -> Self {
        Self { address, authority, client: Mutex::new(None) }
    }

    /// Tells the hub of a run.
    ///
    /// # Errors
    /// As [`HubError`]; [`HubError::is_conflict`] where the hub has other datapoints for the uid, [`HubError::is_unknown`] where it was
    /// given none and has none.
    pub async fn register(&self, namespace: &str, name: &str, registration: &Registration) -> Result<(), HubError> {
        let body = serde_json::to_vec(registration).map_err(HubError::Write)?;
        self.ask(Method::PUT, &paths::run(namespace, name), body).await.map(drop)
    }

    /// Tells the hub what was seen of a run, and asks for its sums.
    ///
    /// # Errors
    /// As [`HubError`]; [`HubError::is_unknown`] where the run has to be registered first.
    pub async fn observe(&self, namespace: &str, name: &str, observation: &Observation) -> Result<Aggregate, HubError> {
        let body = serde_json::to_vec(observation).map_err(HubError::Write)?;
        let answer = self.ask(Method::POST, &format!("{}/observe", paths::run(namespace, name)), body).await?;
        understood(&answer)
    }

    /// Removes everything of a run. A run that the hub does not know is removed already.
    ///
    /// # Errors
    /// As [`HubError`].
    pub async fn delete(&self, namespace: &str, name: &str, uid: &str) -> Result<(), HubError> {
        match self.ask(Method::DELETE, &format!("{}?uid={uid}", paths::run(namespace, name)), Vec::new()).await {
            Err(error) if error.is_unknown() => Ok(()),
            answer => answer.map(drop),
        }
    }

    async fn ask(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Vec<u8>, HubError> {
        match tokio::time::timeout(WHOLE_TIMEOUT, self.exchange(method, path, body)).await {
            Ok(answer) => answer,
            Err(_) => Err(HubError::Timeout),
        }
    }

    async fn exchange(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Vec<u8>, HubError> {
        let client = self.client().await?;
        let request = Request::builder().method(method).uri(path).header(http::header::CONTENT_TYPE, "application/json");
        let request = request.body(kube::client::Body::from(body)).expect("a path of names and a known method make a request");
        let response = client.0.send(request).await.map_err(|error| HubError::Unreachable(Box::new(error)))?;
        let status = response.status();
        let answer = collected(response.into_body()).await?;
        if status.is_success() {
            return Ok(answer);
        }
        let told: Result<Problem, _> = serde_json::from_slice(&answer);
        let message = told.map_or_else(|_| String::from_utf8_lossy(&answer).chars().take(200).collect(), |problem| problem.error);
        Err(HubError::Refused { status, message })
    }

    /// A client for the authority as it is now: another certificate makes another client.
    async fn client(&self) -> Result<Client, HubError> {
        let authority = self.authority.borrow().clone();
        if authority.trim().is_empty() {
            return Err(HubError::NoAuthority);
        }
        let mut kept = self.client.lock().await;
        if let Some((_, client)) = kept.as_ref().filter(|(before, _)| *before == authority) {
            return Ok(client.clone());
        }
        let client = self.connect(&authority)?;
        *kept = Some((authority, client.clone()));
        Ok(client)
    }

    fn connect(&self, authority: &str) -> Result<Client, HubError> {
        let url = self.address.url.parse().map_err(|source| HubError::Address { url: self.address.url.clone(), source })?;
        let roots: Result<Vec<Vec<u8>>, _> =
            CertificateDer::pem_slice_iter(authority.as_bytes()).map(|found| found.map(|certificate| certificate.to_vec())).collect();
        let mut config = kube::Config::new(url);
        config.root_cert = Some(roots.map_err(|error| HubError::Authority(error.to_string()))?);
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        config.default_retry = false;
        config.tls_server_name = self.address.server_name.clone();
        let token_file = self.address.token_file.to_string_lossy().into_owned();
        config.auth_info = AuthInfo { token_file: Some(token_file), ..AuthInfo::default() };
        answered_within(ANSWER_TIMEOUT, config).map(Client).map_err(|error| HubError::Client(Box::new(error)))
    }
}

fn understood<T: DeserializeOwned>(answer: &[u8]) -> Result<T, HubError> {
    serde_json::from_slice(answer).map_err(HubError::Understand)
}

async fn collected(body: kube::client::Body) -> Result<Vec<u8>, HubError> {
    use http_body_util::{BodyExt as _, Limited};
    let whole = Limited::new(body, ANSWER_BYTES).collect().await;
    let whole = whole.map_err(|error| HubError::Answer(Box::new(kube::Error::Service(error))))?;
    Ok(whole.to_bytes().to_vec())
}
