//! A trial as the hub sees it: its sidecar asks what to do, brings records and output, and tells the end.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use agentrun_protocol::paths;
use agentrun_protocol::trial::{Assignment, End, FIRST_SEQUENCE_HEADER, Output};
use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::shape::{self, CALLS, Cell, Shape};

/// The name that the hub's certificate bears.
pub(crate) const HUB_NAME: &str = "agentrun-hub.agentrun-system.svc";
/// How often a request is sent again that the hub has no room for.
const TRIES: u32 = 30;

type Connection = SendRequest<Full<Bytes>>;

/// The hub, as sidecars reach it.
pub(crate) struct Hub {
    address: SocketAddr,
    connector: TlsConnector,
    idle: Mutex<Vec<Connection>>,
    combos: Mutex<HashMap<u64, String>>,
    requests: AtomicU64,
    seconds: Mutex<Vec<f64>>,
}

impl Hub {
    /// The hub at an address, known by its authority's certificates (PEM).
    ///
    /// # Errors
    /// They are of no use.
    pub(crate) fn new(address: SocketAddr, ca: String) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
            roots.add(certificate.context("read the hub's authority")?)?;
        }
        let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        // Each pod is a process of its own, and shakes hands in full.
        config.resumption = rustls::client::Resumption::disabled();
        let connector = TlsConnector::from(Arc::new(config));
        Ok(Self {
            address,
            connector,
            idle: Mutex::default(),
            combos: Mutex::default(),
            requests: AtomicU64::new(0),
            seconds: Mutex::default(),
        })
    }

    /// The id of a combo, once a trial of it was seen.
    pub(crate) fn combo(&self, combo: u64) -> Option<String> {
        self.combos.lock().unwrap_or_else(PoisonError::into_inner).get(&combo).cloned()
    }

    /// Requests made so far.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// How long the hub took for a trial's four requests, sorted.
    pub(crate) fn seconds(&self) -> Vec<f64> {
        let mut seconds = self.seconds.lock().unwrap_or_else(PoisonError::into_inner).clone();
        seconds.sort_by(f64::total_cmp);
        seconds
    }

    /// A pod's whole trial, on a connection of its own.
    ///
    /// # Errors
    /// The hub refuses, or gives the pod another trial.
    pub(crate) async fn pod(&self, shape: &Shape, cell: Cell, token: &str) -> Result<()> {
        let mut connection = self.connect().await?;
        self.trial(&mut connection, shape, cell, token).await
    }

    /// A trial without a pod, on a connection that others use after it.
    ///
    /// # Errors
    /// As [`Hub::pod`].
    pub(crate) async fn pooled(&self, shape: &Shape, cell: Cell, token: &str) -> Result<()> {
        let mut connection = self.idle_or_new().await?;
        self.trial(&mut connection, shape, cell, token).await?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        Ok(())
    }

    /// A connection that the hub has not closed, as it does with those that are idle for half a minute.
    async fn idle_or_new(&self) -> Result<Connection> {
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(mut connection) = idle else { return self.connect().await };
            if connection.ready().await.is_ok() {
                return Ok(connection);
            }
        }
    }

    async fn connect(&self) -> Result<Connection> {
        let stream = TcpStream::connect(self.address).await.context("reach the hub")?;
        stream.set_nodelay(true)?;
        let stream = self.connector.connect(ServerName::try_from(HUB_NAME)?, stream).await.context("shake hands with the hub")?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn trial(&self, connection: &mut Connection, shape: &Shape, cell: Cell, token: &str) -> Result<()> {
        let begun = Instant::now();
        let assigned = self.ask(connection, Method::GET, paths::TRIAL, token, Bytes::new()).await?;
        let assigned: Assignment = serde_json::from_slice(&assigned).context("read a trial")?;
        let expected = shape::id(shape.datapoint(cell));
        ensure!(
            assigned.data_id.as_ref() == Some(&expected),
            "the hub gives {cell:?} datapoint {:?}, and not {expected}",
            assigned.data_id
        );
        if let Some(id) = assigned.combo_id {
            self.combos.lock().unwrap_or_else(PoisonError::into_inner).entry(cell.combo).or_insert(id);
        }
        self.ask(connection, Method::POST, paths::TRIAL_RECORDS, token, shape::records(shape, cell)?.into()).await?;
        self.ask(connection, Method::PUT, paths::TRIAL_OUTPUT, token, Bytes::from_static(shape.output(cell).as_bytes())).await?;
        let end = End { last_sequence: CALLS, output: Output::Present, exit_code: Some(0), wall_seconds: 2.0, ..End::default() };
        self.ask(connection, Method::POST, paths::TRIAL_END, token, serde_json::to_vec(&end)?.into()).await?;
        self.seconds.lock().unwrap_or_else(PoisonError::into_inner).push(begun.elapsed().as_secs_f64());
        Ok(())
    }

    async fn ask(&self, connection: &mut Connection, method: Method, path: &'static str, token: &str, body: Bytes) -> Result<Bytes> {
        for attempt in 1.. {
            connection.ready().await.context("keep a connection to the hub")?;
            let request = Request::builder().method(&method).uri(path).header(header::HOST, HUB_NAME);
            let request = request.header(header::AUTHORIZATION, format!("Bearer {token}")).header(FIRST_SEQUENCE_HEADER, "1");
            let answer =
                connection.send_request(request.body(Full::new(body.clone()))?).await.with_context(|| format!("{method} {path}"))?;
            self.requests.fetch_add(1, Ordering::Relaxed);
            let status = answer.status();
            let text = answer.into_body().collect().await?.to_bytes();
            let is_busy = status == StatusCode::SERVICE_UNAVAILABLE || status == StatusCode::TOO_MANY_REQUESTS;
            match status {
                _ if status.is_success() => return Ok(text),
                _ if is_busy && attempt < TRIES => tokio::time::sleep(Duration::from_millis(200)).await,
                _ => bail!("{method} {path}: the hub answers {status}: {}", String::from_utf8_lossy(&text)),
            }
        }
        bail!("{method} {path}: the hub has no room")
    }
}
