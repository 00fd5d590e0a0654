//! A gateway in the test's own process, between a client of bare bytes and an origin.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use agentrun_llm::provider::Hosts;
use agentrun_sidecar::gateway::{Gateway, Settings};
use agentrun_sidecar::{CacheConfig, CacheScope, Config, Retention, Session, Sidecar};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;

use crate::origin::{Options, Origin};
use crate::proxy::HOST;
use crate::wire::{self, Answer};

/// The hosts that the origin answers for.
const HOSTS: [&str; 3] = [HOST, "api.deepseek.com", "generativelanguage.googleapis.com"];
/// How long calls in flight may go on when the gateway stops.
const GRACE: Duration = Duration::from_secs(10);

/// A gateway, and the origin behind it.
pub struct Rig {
    /// The origin: it answers for [`HOST`] and a few others.
    pub origin: Origin,
    folder: TempDir,
    retention: Retention,
    running: Option<Running>,
}

struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

/// A session as the gateway told it.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Its id.
    pub id: String,
    /// Where its proxy listens.
    pub address: SocketAddr,
    /// The authority to trust, PEM.
    pub ca_pem: String,
}

impl Rig {
    /// Starts an origin and a gateway on free ports of loopback.
    ///
    /// # Panics
    /// One of them does not start: no test can go on.
    pub async fn start() -> Self {
        Self::with(|settings| settings).await
    }

    /// As [`Rig::start`], with other settings.
    ///
    /// # Panics
    /// As [`Rig::start`].
    pub async fn with(change: impl FnOnce(Settings) -> Settings) -> Self {
        Self::kept(Retention::default(), change).await
    }

    /// As [`Rig::start`], with no more than so many records kept.
    ///
    /// # Panics
    /// As [`Rig::start`].
    pub async fn keeping(records: u64) -> Self {
        Self::kept(Retention { age: None, records }, |settings| settings).await
    }

    async fn kept(retention: Retention, change: impl FnOnce(Settings) -> Settings) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let origin = Origin::start(Options::default()).await.expect("an origin starts on a free port");
        std::fs::write(folder.path().join("origin-ca.pem"), origin.ca_pem()).expect("the temporary folder can be written");
        let mut rig = Self { origin, folder, retention, running: None };
        rig.serve(change).await;
        rig
    }

    /// Starts a gateway on what an earlier one left behind.
    ///
    /// # Panics
    /// It does not start.
    pub async fn serve(&mut self, change: impl FnOnce(Settings) -> Settings) {
        let journal = self.folder.path().join("calls.db");
        let config = Config {
            hosts: Hosts::builtin().with_plain(),
            upstreams: HOSTS.iter().map(|host| format!("{host}={}", self.origin.url()).parse().expect("the rule is well formed")).collect(),
            upstream_ca: vec![self.folder.path().join("origin-ca.pem")],
            upstream_proxy: false,
            cache: CacheConfig {
                path: Some(self.folder.path().join("cache.db")),
                agentopt: Some(CacheScope::Credential),
                ..CacheConfig::default()
            },
            journal: Some(journal.clone()),
            asked: true,
            retention: Some(self.retention),
            ..Config::default()
        };
        let sidecar = Sidecar::start(config).expect("the proxy starts");
        let session = Session { by_credential: true, ..Session::default() };
        let settings = change(Settings { journal, names: Some(Vec::new()), session, ..Settings::default() });
        let gateway = Gateway::open(sidecar, ([127, 0, 0, 1], 0).into(), settings).await.expect("a gateway opens on a free port");
        let address = gateway.address();
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(gateway.serve(async { drop(stopped.await) }, GRACE));
        self.running = Some(Running { address, stop, serving });
    }

    /// Stops the gateway, and waits until it has.
    ///
    /// # Panics
    /// It panicked.
    pub async fn stop(&mut self) {
        let Some(Running { stop, serving, .. }) = self.running.take() else { return };
        drop(stop);
        serving.await.expect("the gateway ends");
    }

    /// Where the control plane listens.
    ///
    /// # Panics
    /// It is stopped.
    pub fn address(&self) -> SocketAddr {
        self.running.as_ref().expect("the gateway runs").address
    }

    /// The folder that holds the journal.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Sends one request; `head` is its first line and headers but for Host and length, each with its line end.
    ///
    /// # Panics
    /// There is no answer.
    pub async fn send(&self, first_line: &str, headers: &str, body: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address()).await.expect("the control plane takes connections");
        let host = if headers.to_ascii_lowercase().contains("host:") { String::new() } else { format!("host: {}\r\n", self.address()) };
        let length = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
        let head = format!("{first_line} HTTP/1.1\r\n{host}{headers}{length}\r\n");
        let request = [head.as_bytes(), body].concat();
        tokio::io::AsyncWriteExt::write_all(&mut stream, &request).await.expect("a request can be sent");
        wire::answer(&mut stream, !first_line.starts_with("HEAD")).await.expect("every request is answered")
    }

    /// `GET path`, answered with 200 and JSON.
    ///
    /// # Panics
    /// It is not.
    pub async fn get(&self, path: &str) -> Value {
        let answer = self.send(&format!("GET {path}"), "", b"").await;
        assert_eq!(answer.status, 200, "{path}: {}", String::from_utf8_lossy(&answer.body));
        serde_json::from_slice(&answer.body).expect("it answers in JSON")
    }

    /// Opens a session.
    ///
    /// # Panics
    /// It is refused.
    pub async fn open(&self, body: &Value) -> Opened {
        let answer = self.send("POST /sessions", "", body.to_string().as_bytes()).await;
        let told: Value = serde_json::from_slice(&answer.body).expect("it answers in JSON");
        assert_eq!(answer.status, 200, "{told}");
        let text = |name: &str| told[name].as_str().expect("a string").to_owned();
        let port = told["proxy_port"].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port");
        let pem = BASE64_STANDARD.decode(text("ca_pem_b64")).expect("base64");
        let ca_pem = String::from_utf8(pem).expect("PEM is text");
        Opened { id: text("session_id"), address: SocketAddr::new(self.address().ip(), port), ca_pem }
    }

    /// Closes a session.
    ///
    /// # Panics
    /// It is refused.
    pub async fn close(&self, id: &str) {
        assert_eq!(self.send(&format!("DELETE /sessions/{id}"), "", b"").await.status, 204);
    }
}

impl Opened {
    /// A connection to [`HOST`] through the session.
    ///
    /// # Panics
    /// It is refused.
    pub async fn connect(&self) -> TlsStream<TcpStream> {
        self.connect_to(HOST).await
    }

    /// A connection to another host of the origin's through the session.
    ///
    /// # Panics
    /// It is refused.
    pub async fn connect_to(&self, host: &str) -> TlsStream<TcpStream> {
        let tunnel = wire::tunnel(self.address, &format!("{host}:443")).await.expect("the session opens tunnels");
        wire::tls(tunnel, &self.ca_pem, host, &[]).await.expect("its certificate is trusted")
    }

    /// A chat completion asked through the session.
    ///
    /// # Panics
    /// There is no answer.
    pub async fn ask(&self, model: &str, prompt: &str) -> Answer {
        self.ask_as("", model, prompt).await
    }

    /// The same with headers, each ended by CR LF.
    ///
    /// # Panics
    /// There is no answer.
    pub async fn ask_as(&self, headers: &str, model: &str, prompt: &str) -> Answer {
        let body = serde_json::json!({"model": model, "messages": [{"role": "user", "content": prompt}]}).to_string();
        let mut stream = self.connect().await;
        wire::exchange(&mut stream, &wire::chat(HOST, headers, body.as_bytes())).await.expect("the proxy answers")
    }
}
