//! The hub in a cluster: the composition of everything, from flags to its last answer. Read this first.

mod admin;
mod limit;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum_server::{Handle, accept::NoDelayAcceptor, tls_rustls::RustlsAcceptor};
use hyper_util::rt::TokioTimer;
use kube::Client;
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
    time::Instant,
};

use crate::{
    api::{self, State},
    archive::{Archive, ArchiveError, Retention},
    auth::{Authenticator, Cluster, Kubernetes},
    config::{Args, ConfigError},
    lease::Bounds,
    retention,
    tls::{self, Current, Source},
};
use limit::Limited;

/// How long a request's head may take to arrive, and a connection may be idle.
const HEAD: Duration = Duration::from_secs(30);
/// The most bytes of a request's head.
const HEAD_BYTES: usize = 64 << 10;
/// Requests on one HTTP/2 connection at once.
const STREAMS: u32 = 1024;
/// A run that nobody asks for in so long is not held in memory.
const IDLE: Duration = Duration::from_secs(600);
/// Between two looks whether the other end of an HTTP/2 connection is still there.
const PING: Duration = Duration::from_secs(20);

/// Why the hub cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The flags are of no use.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The API server is not known.
    #[error("finding the API server: in a pod its service account says where it is, elsewhere a kubeconfig")]
    Client(#[from] kube::Error),
    /// The store cannot be opened.
    #[error("opening the store")]
    Archive(#[from] ArchiveError),
    /// An address is taken, or not ours.
    #[error("listening on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// What a hub is started with, apart from its store and the API server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the API listens.
    pub listen: SocketAddr,
    /// Where health, readiness and metrics are answered.
    pub admin_listen: SocketAddr,
    /// Where the certificate comes from.
    pub certificate: Source,
    /// The operator's service account.
    pub operator: String,
    /// The audience that tokens must be meant for.
    pub audience: String,
    /// Bounds on leases.
    pub leases: Bounds,
    /// How long no lease is given after the start, so that leaders of before can renew theirs.
    pub grace: Duration,
    /// Which runs' data is kept.
    pub retention: Retention,
    /// The most connections at once.
    pub connections: usize,
    /// The most bytes that bodies hold at once.
    pub body_bytes: usize,
    /// How long requests may take to end when the hub stops.
    pub drain: Duration,
}

impl Settings {
    /// What the flags say.
    ///
    /// # Errors
    /// No certificate is named.
    pub fn new(args: &Args) -> Result<Self, ConfigError> {
        Ok(Self {
            listen: args.listen,
            admin_listen: args.admin_listen,
            certificate: args.certificate()?,
            operator: args.operator.clone(),
            audience: args.audience.clone(),
            leases: Bounds::default(),
            grace: Bounds::default().length,
            retention: args.retention(),
            connections: args.max_connections,
            body_bytes: usize::try_from(args.body_memory).unwrap_or(usize::MAX),
            drain: Duration::from_secs(args.drain_seconds),
        })
    }
}

/// A hub at work.
pub struct Service {
    /// Where the API listens.
    pub address: SocketAddr,
    /// Where health, readiness and metrics are answered.
    pub admin_address: SocketAddr,
    state: Arc<State>,
    handle: Handle<SocketAddr>,
    serving: JoinHandle<()>,
    background: JoinSet<()>,
    drain: Duration,
}

/// Runs a hub until `stop` resolves and all requests have ended.
///
/// # Errors
/// Why it cannot start.
pub async fn run(args: &Args, stop: impl Future<Output = ()>) -> Result<(), ServiceError> {
    let settings = Settings::new(args)?;
    let client = Client::try_default().await?;
    let certificate = tls::follow(settings.certificate.clone(), Some(client.clone()));
    let archive = Archive::open(args.archive()?).await?;
    let service = Service::start(settings, archive, Arc::new(Kubernetes(client)), certificate).await?;
    tracing::info!(address = %service.address, admin = %service.admin_address, "the hub listens");
    stop.await;
    tracing::info!("the hub stops");
    service.stop().await;
    Ok(())
}

impl Service {
    /// Starts a hub. It answers as soon as there is a certificate.
    ///
    /// # Errors
    /// An address cannot be listened on.
    pub async fn start(
        settings: Settings,
        archive: Archive,
        cluster: Arc<dyn Cluster>,
        certificate: Current,
    ) -> Result<Self, ServiceError> {
        let (listener, address) = listen(settings.listen).await?;
        let (admin, admin_address) = listen(settings.admin_listen).await?;
        let authenticator = Authenticator::new(cluster, &settings.audience, &settings.operator);
        let grace = Instant::now() + settings.grace;
        let state = Arc::new(State::new(archive, authenticator, settings.leases, grace, settings.body_bytes));
        let handle = Handle::new();
        let mut background = JoinSet::new();
        background.spawn(admin::serve(state.clone(), admin, certificate.clone()));
        background.spawn(retention::keep(state.clone(), settings.retention));
        background.spawn(sweep(state.clone(), settings.leases.length));
        let serving = tokio::spawn(serve(state.clone(), listener, certificate, handle.clone(), settings.connections));
        Ok(Self { address, admin_address, state, handle, serving, background, drain: settings.drain })
    }

    /// Takes no new connections, lets requests end, and returns. Who waits for a leader is told to ask again.
    pub async fn stop(self) {
        self.state.closing.cancel();
        self.handle.graceful_shutdown(Some(self.drain));
        if tokio::time::timeout(self.drain + Duration::from_secs(1), self.serving).await.is_err() {
            tracing::warn!("requests were cut off as they did not end in time");
        }
        // Health is answered to the last.
        drop(self.background);
    }
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), ServiceError> {
    let failed = |source| ServiceError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

async fn serve(state: Arc<State>, listener: TcpListener, mut certificate: Current, handle: Handle<SocketAddr>, connections: usize) {
    let config = tokio::select! {
        certificate = certificate.wait_for(Option::is_some) => certificate.ok().and_then(|certificate| certificate.clone()),
        () = state.closing.cancelled() => return,
    };
    let Some(config) = config else {
        tracing::error!("no certificate will come: the API is not served");
        return;
    };
    let tls = RustlsAcceptor::new(config).acceptor(NoDelayAcceptor::new());
    let acceptor = Limited::new(tls, connections, state.clone());
    let mut server = axum_server::Server::<SocketAddr>::from_listener(listener).acceptor(acceptor).handle(handle);
    let http = server.http_builder();
    http.http1().timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(HEAD_BYTES);
    http.http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(HEAD_BYTES).unwrap_or(u32::MAX))
        .max_concurrent_streams(STREAMS)
        .adaptive_window(true)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING);
    let served = server.serve(api::routes(state).into_make_service()).await;
    if let Err(error) = served {
        tracing::error!(%error, "the API is not served any more");
    }
}

async fn sweep(state: Arc<State>, often: Duration) {
    loop {
        tokio::time::sleep(often).await;
        state.leases.sweep();
        state.archive.forget_idle(IDLE);
    }
}
