//! A real TLS origin on a loopback port that answers for the providers' own host names.
//!
//! Answers are hand-written templates in the providers' shapes; the official SDKs check them by parsing them. Every answer carries a number that
//! no other answer of the same origin carries, so a repeated text proves a cached answer. Nothing here uses the code under test.

mod answer;
mod anthropic;
mod ask;
mod bedrock;
mod cohere;
mod connection;
mod control;
mod encoding;
mod event_stream;
mod gemini;
mod log;
mod openai;
mod rule;
mod script;
mod tls;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

pub use answer::Tokens;
pub use ask::Family;
pub use event_stream::{crc32, encode};
pub use log::{Call, Log};
pub use rule::Rule;
pub use tls::{Authority, HOSTS};

/// The tokens every answer reports, in the project's normal form: all input with the cached part in it, all output with the reasoning in it.
pub const TOKENS: Tokens = Tokens { input: 21, cached: 5, output: 9, reasoning: 2 };

/// What an origin is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The address it listens on; loopback by default.
    pub address: IpAddr,
    /// Its port; 0 takes a free one.
    pub port: u16,
    /// Offers `h2` beside `http/1.1`. Scripts that need the bare wire are for HTTP/1.1 alone.
    pub http2: bool,
    /// Host names beside [`HOSTS`] that the certificate names.
    pub hosts: Vec<String>,
    /// A file that gets one JSON line for every call received.
    pub log: Option<PathBuf>,
    /// Port of the control door ([`control`](self) requests over plain HTTP); none by default.
    pub control: Option<u16>,
    /// Serves with this certificate chain and key (PEM files) instead of with an authority of its own.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

impl Default for Options {
    fn default() -> Self {
        Self { address: Ipv4Addr::LOCALHOST.into(), port: 0, http2: true, hosts: Vec::new(), log: None, control: None, certificate: None }
    }
}

/// A running origin. Dropping it, or [`Origin::stop`], closes its port and every connection at once.
pub struct Origin {
    address: SocketAddr,
    authority: Authority,
    log: Arc<Log>,
    accepting: JoinHandle<()>,
    controlling: Option<JoinHandle<()>>,
}

impl Origin {
    /// Binds, makes a certificate authority of its own and serves until it is stopped.
    ///
    /// # Errors
    /// A port is taken, the log file cannot be opened or the certificate cannot be made or read.
    pub async fn start(options: Options) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let authority = Authority::new(&options.hosts)?;
        let log = Arc::new(Log::new(options.log.as_deref())?);
        let listener = TcpListener::bind((options.address, options.port)).await?;
        let address = listener.local_addr()?;
        let config = match &options.certificate {
            Some((chain, key)) => tls::read_config(chain, key, options.http2)?,
            None => authority.server_config(options.http2)?,
        };
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let controlling = match options.control {
            Some(port) => Some(tokio::spawn(control::serve(TcpListener::bind((options.address, port)).await?, log.clone()))),
            None => None,
        };
        let accepting = tokio::spawn(connection::accept(listener, acceptor, log.clone()));
        Ok(Self { address, authority, log, accepting, controlling })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its base URL by address, as an upstream mapping names it.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The authority's certificate, PEM.
    pub fn ca_pem(&self) -> String {
        self.authority.pem()
    }

    /// What it has received and what it waits for.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Closes the port and all connections; a later connect is refused.
    pub async fn stop(self) {
        self.accepting.abort();
        // The listener is closed when the task has ended, not when it was told to.
        while !self.accepting.is_finished() {
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.accepting.abort();
        self.controlling.iter().for_each(JoinHandle::abort);
    }
}
