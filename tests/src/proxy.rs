//! The sidecar in the test's own process, between a client of bare bytes and an origin.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use agentrun_llm::call::CallRecord;
use agentrun_sidecar::journal::{Filter, Reader};
use agentrun_sidecar::{Config, Limits, OpenSession, Session, Sidecar};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::origin::{Options, Origin};
use crate::wire::{self, Answer};

/// The host that the tests of the proxy call.
pub const HOST: &str = "api.openai.com";
/// All hosts that the origin answers for.
pub const HOSTS: [&str; 3] = [HOST, "api.anthropic.com", "api.groq.com"];

/// A proxy with one session, and the origin behind it.
pub struct Proxy {
    /// The origin.
    pub origin: Origin,
    folder: TempDir,
    sidecar: Sidecar,
    session: OpenSession,
}

impl Proxy {
    /// Starts an origin that answers for [`HOSTS`], and a proxy before it.
    ///
    /// # Panics
    /// One of them does not start: no test can go on.
    pub async fn start(options: Options, limits: Limits) -> Self {
        Self::with(options, Session::default(), |config| config.limits = limits).await
    }

    /// The same with a session of one's own, and a configuration changed by `change`.
    ///
    /// # Panics
    /// As [`Proxy::start`].
    pub async fn with(options: Options, session: Session, change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let origin = Origin::start(options).await.expect("an origin starts on a free port");
        let ca = folder.path().join("origin-ca.pem");
        std::fs::write(&ca, origin.ca_pem()).expect("the temporary folder can be written");
        let rule = |host: &&str| format!("{host}={}", origin.url()).parse().expect("the rule is well formed");
        let mut config = Config {
            upstreams: HOSTS.iter().map(rule).collect(),
            upstream_ca: vec![ca],
            upstream_proxy: false,
            journal: Some(folder.path().join("calls.db")),
            ..Config::default()
        };
        change(&mut config);
        let sidecar = Sidecar::start(config).expect("the proxy starts");
        let session = sidecar.open(session).await.expect("a session opens on a free port");
        Self { origin, folder, sidecar, session }
    }

    /// The proxy itself.
    pub fn sidecar(&self) -> &Sidecar {
        &self.sidecar
    }

    /// Asks `host` by its base URL, with `headers` each ended by CR LF.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn ask(&self, host: &str, path: &str, headers: &str, body: &[u8]) -> io::Result<Answer> {
        self.ask_at(self.address(), host, path, headers, body).await
    }

    /// The same in the session that listens at `address`.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn ask_at(&self, address: SocketAddr, host: &str, path: &str, headers: &str, body: &[u8]) -> io::Result<Answer> {
        let head = format!("POST /{host}{path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
        let mut stream = TcpStream::connect(address).await?;
        wire::exchange(&mut stream, &[head.as_bytes(), body].concat()).await
    }

    /// Where the session listens.
    pub fn address(&self) -> SocketAddr {
        self.session.address()
    }

    /// The proxy's own authority, PEM.
    pub fn ca_pem(&self) -> &str {
        self.sidecar.ca_pem()
    }

    /// A connection to [`HOST`] through the proxy, as a well-behaved client makes it.
    ///
    /// # Errors
    /// The tunnel is refused or the handshake fails.
    pub async fn open(&self) -> io::Result<TlsStream<TcpStream>> {
        let tunnel = wire::tunnel(self.address(), &format!("{HOST}:443")).await?;
        wire::tls(tunnel, self.ca_pem(), HOST, &[]).await
    }

    /// One good call; the proxy still works.
    ///
    /// # Panics
    /// It fails.
    pub async fn assert_alive(&self, prompt: &str) {
        let body = format!(r#"{{"model": "gpt-4.1", "messages": [{{"role": "user", "content": "{prompt}"}}]}}"#);
        let mut stream = self.open().await.expect("the proxy takes connections");
        let answer = wire::exchange(&mut stream, &wire::chat(HOST, "", body.as_bytes())).await.expect("the proxy answers");
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    }

    /// Ends the session and gives its records, oldest first, as JSON.
    ///
    /// # Panics
    /// The journal cannot be read.
    pub async fn records(self) -> Vec<serde_json::Value> {
        self.session.close(Duration::from_secs(10)).await;
        self.sidecar.stop(Duration::from_secs(10)).await;
        let reader = Reader::open(&self.folder.path().join("calls.db")).expect("the journal opens");
        let records = reader.calls(&Filter::default()).expect("the journal is readable");
        let mut records: Vec<_> = records.into_iter().map(json).collect();
        records.sort_by_key(|record| record["id"].as_str().unwrap_or_default().to_owned());
        records
    }
}

/// A record as JSON. A request's body may be deeper, or its numbers larger, than `serde_json` reads; it is left out then.
fn json(mut record: CallRecord) -> serde_json::Value {
    serde_json::to_value(&record).unwrap_or_else(|_| {
        record.request_body = None;
        serde_json::to_value(&record).expect("a record without its bodies is small and flat")
    })
}
