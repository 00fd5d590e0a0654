//! The proxy: it intercepts, records and caches the LLM calls of agents that know nothing of it.
//!
//! [`Sidecar::start`] puts it together; `exchange.rs` is a call's way through it.

#![forbid(unsafe_code)]

mod admin;
pub mod args;
mod batch;
mod body;
mod cache;
pub mod config;
mod decode;
mod drain;
mod error;
mod exchange;
mod fingerprint;
mod front;
pub mod gateway;
mod held;
mod hit;
pub mod hub;
mod intercept;
pub mod journal;
mod memory;
mod metrics;
mod miss;
mod open;
mod pass;
pub mod pod;
mod proxy;
mod record;
mod resolve;
pub mod route;
pub mod score;
mod session;
mod ship;
mod sqlite;
mod target;
mod tee;
mod tls;
pub mod upstream;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use agentrun_llm::provider::{HostError, Shape};
use rustls::crypto::aws_lc_rs;
use thiserror::Error;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::Semaphore,
};
use tokio_util::task::TaskTracker;

use crate::{
    args::Args,
    cache::Cache,
    drain::Drain,
    fingerprint::Fingerprints,
    held::Bodies,
    journal::Journal,
    metrics::Metrics,
    open::{Port, listen},
    proxy::{Proxy, random},
    resolve::Resolver,
    tls::{
        ca::{Authority, CaError},
        client, files,
        trust::{Trust, TrustError},
    },
    upstream::Network,
};
pub use agentrun_protocol::sentence;

pub use crate::{
    body::{BodyError, OriginBody, RequestBody},
    cache::disk::{CacheError, CacheStats, clear as clear_cache, stats as cache_stats},
    config::{CacheConfig, CacheMode, CacheScope, CaptureMode, Config, Limits, Retention, UpstreamRule},
    journal::JournalError,
    open::{ListenError, OpenSession},
    session::{Attribution, Session, Totals},
    sqlite::SqliteError,
    tls::files::TrustFileError,
    upstream::{Answering, Origin, UpstreamError},
};

/// Why the proxy cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// No certificate authority.
    #[error(transparent)]
    Authority(#[from] CaError),
    /// A file of roots is unusable.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// rustls refuses its configuration.
    #[error("set up TLS towards upstream")]
    Tls(#[from] rustls::Error),
    /// The cache's file is unusable.
    #[error("open the cache")]
    Cache(#[from] CacheError),
    /// The journal's file is unusable.
    #[error("open the journal")]
    Journal(#[from] JournalError),
}

/// A running proxy. Nothing is open until a session is. Clones are the same one.
#[derive(Clone)]
pub struct Sidecar {
    proxy: Arc<Proxy>,
    bundle: Arc<str>,
}

impl Sidecar {
    /// Puts the proxy together: certificates, cache, journal, upstream.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let resolver = config.name_servers().map(|path| Resolver::new(&path).with_hosts(Path::new("/etc/hosts")));
        let Config { hosts, upstreams, upstream_proxy, cache, journal, asked, retention, capture, limits, origin, hub, .. } = config;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let authority = Authority::new(provider.clone(), config.authority_name.as_deref())?;
        let trust = Trust::load(&config.upstream_ca, config.upstream_ca_pem.as_deref())?;
        let bundle = trust.bundle(authority.pem());
        let tls = client::config(provider, trust.store())?;
        let network = Arc::new(Network::new(tls, upstreams, upstream_proxy, resolver, &limits));
        let cache = Cache::open(&cache, limits.entry_bytes, hub)?;
        let journal = journal.map(|path| Journal::open(&path, &limits, cache.disk(), retention, asked)).transpose()?;
        let settling = TaskTracker::new();
        // Closed, it can be waited for; it still takes tasks.
        settling.close();
        let proxy = Proxy {
            hosts: RwLock::new(Arc::new(hosts)),
            open_to_connect: capture.contains(&CaptureMode::Connect),
            open_to_base_url: capture.contains(&CaptureMode::BaseUrl),
            authority,
            cache,
            fingerprints: Fingerprints::default(),
            journal,
            origin: origin.unwrap_or_else(|| network.clone()),
            network,
            metrics: Metrics::new(),
            drain: Drain::default(),
            settling,
            connections: Arc::new(Semaphore::new(limits.connections)),
            bodies: Bodies::new(limits.body_bytes),
            warned: Mutex::default(),
            distrusted: Mutex::default(),
            random: random(),
            counted: AtomicU64::new(0),
            ready: AtomicBool::new(false),
            limits,
        };
        Ok(Self { proxy: Arc::new(proxy), bundle: bundle.into() })
    }

    /// The certificate that agents must trust, PEM.
    pub fn ca_pem(&self) -> &str {
        self.proxy.authority.pem()
    }

    /// The public roots and ours, PEM: for clients whose setting replaces their roots.
    pub fn bundle_pem(&self) -> &str {
        &self.bundle
    }

    /// Writes `ca.pem` and `bundle.pem` into `folder`, readable by all: they are what agents must trust, and no secret.
    pub fn write_certificates(&self, folder: &Path) -> io::Result<()> {
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join("ca.pem"), self.ca_pem())?;
        std::fs::write(folder.join("bundle.pem"), self.bundle_pem())
    }

    /// Writes everything that clients in a pod may need into `folder`, by the names of [`agentrun_protocol::names`], readable by any user: the
    /// certificates as PEM and as PKCS #12, and settings for PHP and wget that name them by their paths in `folder`.
    pub fn write_trust(&self, folder: &Path) -> Result<(), TrustFileError> {
        files::write(folder, self.ca_pem(), self.bundle_pem())
    }

    /// Declares that what agents need is in place: from here on `/startupz` answers 200.
    pub fn declare_ready(&self) {
        self.proxy.ready.store(true, Ordering::Release);
    }

    /// Opens a session on a loopback port of its own, which takes calls when this returns.
    pub async fn open(&self, session: Session) -> Result<OpenSession, ListenError> {
        self.open_at(Ipv4Addr::LOCALHOST.into(), session).await
    }

    /// As [`Sidecar::open`], on a free port of another address of this machine.
    pub async fn open_at(&self, address: IpAddr, session: Session) -> Result<OpenSession, ListenError> {
        let port = listen(SocketAddr::from((address, 0))).await?;
        Ok(self.serve(session, port))
    }

    /// Reads the calls of one more LLM host from now on, in all sessions. A POST whose path has one of `paths` in it is a chat call there,
    /// whatever dialects say of it.
    ///
    /// # Errors
    /// The base URL has no scheme or no host, or the name is blank.
    pub fn add_provider(&self, name: &str, base_url: &str, shape: Shape, paths: Vec<String>) -> Result<(), HostError> {
        let mut hosts = self.proxy.hosts.write().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut hosts).add_with_paths(name, base_url, shape, paths)
    }

    /// How many LLM hosts are known.
    pub fn count_hosts(&self) -> usize {
        self.proxy.hosts().count()
    }

    /// Opens a session on a port that is bound already.
    fn serve(&self, session: Session, port: Port) -> OpenSession {
        OpenSession::new(self.proxy.clone(), session, port)
    }

    /// Opens the admin port: `/startupz`, `/readyz`, `/healthz`, `/metrics`. Returns its address.
    pub async fn open_admin(&self, address: SocketAddr) -> Result<SocketAddr, ListenError> {
        let port = match listen(address).await {
            // A machine without IPv6 has no `[::]`; where there is one, it takes IPv4 too.
            Err(_) if address.ip() == Ipv6Addr::UNSPECIFIED => listen((Ipv4Addr::UNSPECIFIED, address.port()).into()).await,
            port => port,
        };
        let (listener, address) = port?;
        self.proxy.network.ourselves().opened(address);
        tokio::spawn(admin::serve(self.proxy.clone(), listener));
        Ok(address)
    }

    /// Forgets every stored answer: in memory, on disk, and in AgentOpt's table where that is used. Calls that have begun are answered, and their
    /// answers are not stored.
    ///
    /// # Errors
    /// The file cannot be written now. Nothing of it is given all the same, and it is cleared as soon as it can be.
    pub async fn clear_cache(&self) -> Result<(), CacheError> {
        self.proxy.cache.clear().await
    }

    /// Waits until every answer and record so far is on disk.
    pub async fn flush(&self) {
        self.proxy.flush().await;
    }

    /// Stops: new calls get 503, running ones have `grace` to end, then everything is written. Returns whether all ended.
    pub async fn stop(&self, grace: Duration) -> bool {
        let ended = self.proxy.drain.close(grace).await;
        self.flush().await;
        ended
    }
}

/// Runs a proxy with one session until SIGTERM or SIGINT, as the binary does.
pub async fn run(args: &Args) -> Result<(), BodyError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // Bound before anything else is made: whoever connects meanwhile waits instead of being refused.
    let port = listen(args.listen).await?;
    let sidecar = Sidecar::start(args.config()?)?;
    if let Some(folder) = &args.ca_dir {
        sidecar.write_certificates(folder)?;
    }
    let mut session = sidecar.serve(args.session()?, port);
    if args.capture.contains(&CaptureMode::Dns) {
        session.open_dns(args.listen_dns).await?;
    }
    if let Some(address) = args.admin {
        sidecar.open_admin(address).await?;
    }
    sidecar.declare_ready();
    tracing::info!(address = %session.address(), "taking calls");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!(grace_seconds = args.grace, "stopping: running calls may end, new ones are refused");
    if !sidecar.stop(Duration::from_secs(args.grace)).await {
        tracing::warn!("some calls did not end within the grace");
    }
    Ok(())
}

/// What stands in place of `https://HOST` for clients that take a base URL.
pub fn base_url(address: SocketAddr, host: &str) -> String {
    format!("http://{address}/{host}")
}
