//! A pod's sidecar, from its start to its end. Read [`run`] from top to bottom.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use agentrun_protocol::names::{GATEWAY_PORT, WRAPPER_FILE};
use thiserror::Error;
use tokio::signal::unix::{Signal, SignalKind, signal};

pub use crate::pod::{args::PodArgs, assignment::AssignmentError, exchange::ExchangeError};
use crate::{
    ListenError, OpenSession, Session, Sidecar, StartError,
    args::ArgsError,
    gateway::{self, Gateway},
    hub::{Hub, HubError},
    listen,
    pod::{
        delivery::Delivery,
        end::{Times, end},
        exchange::Exchange,
    },
    ship::Shipping,
};

mod args;
mod assignment;
mod delivery;
mod end;
mod exchange;
mod files;
mod starts;

/// The most bytes of output where the hub does not say: the resource's own limit.
const OUTPUT_BYTES: u64 = 1 << 20;

/// Why a pod's sidecar ended early.
#[derive(Debug, Error)]
pub enum PodError {
    /// Signals cannot be taken.
    #[error("wait for signals")]
    Signals(#[source] io::Error),
    /// The flags make no configuration.
    #[error(transparent)]
    Args(#[from] ArgsError),
    /// The hub cannot be asked at all.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// The proxy cannot start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A port cannot be opened.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// There is no trial.
    #[error(transparent)]
    Assignment(#[from] AssignmentError),
    /// The input cannot be handed over.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// The certificates cannot be handed over.
    #[error("write what the agent must trust into {path}")]
    Trust {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: crate::TrustFileError,
    },
    /// The wrapper cannot be handed over.
    #[error("copy the wrapper from {path}; it belongs beside this program")]
    Wrapper {
        /// Where it should be.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The hub does not take the trial's end.
    #[error("tell the hub that the trial has ended")]
    End(#[source] HubError),
}

/// A pod at work.
struct Pod {
    hub: Arc<Hub>,
    sidecar: Sidecar,
    session: OpenSession,
    shipping: Shipping,
    delivery: Option<Arc<Delivery>>,
    journal: PathBuf,
    restarts: u32,
    grace: Duration,
}

/// Runs beside an agent until the kubelet ends the pod, as `agentrun-sidecar pod` does.
///
/// # Errors
/// Something that the agent cannot do without is missing; the pod does not start then.
pub async fn run(args: &PodArgs) -> Result<(), PodError> {
    let mut stop = Stop::new().map_err(PodError::Signals)?;
    let started = tokio::select! {
        started = start(args) => started?,
        () = stop.told() => return Ok(()),
    };
    let ready = SystemTime::now();
    let early = started.delivery.as_ref().map(Delivery::early);
    stop.told().await;
    if let Some(early) = early {
        early.abort();
    }
    let stopped = SystemTime::now();
    tokio::select! {
        ended = end(&started, Times { ready, stopped }) => {
            ended?;
            tracing::info!(seconds = stopped.elapsed().unwrap_or_default().as_secs_f64(), "the hub has everything");
        }
        () = stop.told() => tracing::warn!("told twice to stop: what the hub does not have stays in the spool"),
    }
    Ok(())
}

/// Puts everything in place that the agent needs, and says so to the startup probe last.
async fn start(args: &PodArgs) -> Result<Pod, PodError> {
    // Counted before the port opens: whoever finds it open again can see why it was closed.
    let restarts = starts::count(&args.spool_dir);
    if restarts > 0 && args.is_trial() {
        exchange(args).tell_restart()?;
    }
    // Bound before anything else is made: whoever connects meanwhile waits instead of being refused.
    let port = listen(args.listen).await?;
    let hub = Arc::new(args.hub()?);
    let sidecar = Sidecar::start(args.config(hub.clone())?)?;
    sidecar.open_admin(args.admin).await?;
    let journal = args.journal();
    let shipping = shipping(&sidecar, hub.clone(), &journal);
    let assignment = assignment::fetch(&hub, args.is_trial()).await?;
    let session = assignment.as_ref().map_or_else(|| Ok(args.session_without_hub()), assignment::session)?;
    let delivery = match assignment.as_ref().filter(|_| args.is_trial()) {
        None => None,
        Some(assignment) => {
            let exchange = exchange(args);
            exchange.hand_over(assignment)?;
            let limit = Some(assignment.output_limit).filter(|limit| *limit > 0).unwrap_or(OUTPUT_BYTES);
            Some(Delivery::new(hub.clone(), exchange, limit))
        }
    };
    sidecar.write_trust(&args.trust_dir).map_err(|source| PodError::Trust { path: args.trust_dir.clone(), source })?;
    if args.wrapped {
        copy_wrapper(&args.trust_dir)?;
    }
    if args.gateway {
        open_gateway(&sidecar, &session, &journal, Duration::from_millis(args.grace)).await?;
    }
    let mut session = sidecar.serve(session, port);
    if args.capture.contains(&crate::CaptureMode::Dns) {
        session.open_dns(args.listen_dns).await?;
    }
    sidecar.declare_ready();
    tracing::info!(address = %session.address(), trial = args.is_trial(), restarts, "taking calls");
    let grace = Duration::from_millis(args.grace);
    Ok(Pod { hub, sidecar, session, shipping, delivery, journal, restarts, grace })
}

fn exchange(args: &PodArgs) -> Exchange {
    Exchange {
        folder: args.exchange_dir.clone(),
        input: args.input.clone(),
        input_env: args.input_env.clone(),
        output: args.output.clone(),
    }
}

/// Lets the pod's containers open sessions: what those do not say is as in the pod's own. They end with the proxy.
async fn open_gateway(sidecar: &Sidecar, session: &Session, journal: &Path, grace: Duration) -> Result<(), ListenError> {
    let settings = gateway::Settings { journal: journal.to_owned(), token: None, names: Some(Vec::new()), session: session.clone() };
    let gateway = Gateway::open(sidecar.clone(), SocketAddr::from((Ipv4Addr::LOCALHOST, GATEWAY_PORT)), settings).await?;
    let drain = sidecar.proxy.drain.clone();
    tokio::spawn(gateway.serve(async move { drain.closing().await }, grace));
    Ok(())
}

/// Ships what is in the journal, from a start before this one too.
fn shipping(sidecar: &Sidecar, hub: Arc<Hub>, path: &Path) -> Shipping {
    let proxy = Arc::downgrade(&sidecar.proxy);
    let journal = sidecar.proxy.journal.as_ref().and_then(|journal| journal.spool().cloned());
    let spool = journal.expect("a pod's configuration names a journal and its room");
    let room = move || {
        let Some(proxy) = proxy.upgrade() else { return };
        // Writing makes room first, also where nothing is to be written.
        tokio::spawn(async move { proxy.flush().await });
    };
    Shipping::start(hub, path, spool, room)
}

/// Hands the wrapper over, which lies beside this program.
pub(crate) fn copy_wrapper(folder: &Path) -> Result<(), PodError> {
    let beside = |program: PathBuf| program.with_file_name(WRAPPER_FILE);
    let path = std::env::current_exe().map_or_else(|_| PathBuf::from(WRAPPER_FILE), beside);
    files::copy_program(&path, &folder.join(WRAPPER_FILE)).map_err(|source| PodError::Wrapper { path, source })
}

/// What ends a pod.
pub(crate) struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next signal that ends the pod.
    pub(crate) async fn told(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
