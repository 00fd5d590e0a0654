//! The composition of the operator's parts.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kube::runtime::events::{Recorder, Reporter};
use kube::{Client, Config};
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::args::{Args, CertificateMode};
use crate::certificates::{self, Certificates};
use crate::client::answered_within;
use crate::context::{Clients, Context};
use crate::controller::plan::Settings;
use crate::controller::watch::{Watches, watch_runs};
use crate::hub::{Hub, HubAddress};
use crate::inject::{Installation, Resources};
use crate::leader::{Candidate, LeaderError};
use crate::metrics::Metrics;
use crate::templates::Injected;
use crate::webhook::{self, Webhook, WebhookError};

/// For requests for admission that come or are under way when the process is told to stop; a pod is given 30 s.
const DRAIN: Duration = Duration::from_secs(18);

/// A request of a look that is not answered within this has hung. Watches are silent for longer, and the API server may take a minute to delete
/// a collection.
const ANSWER: Duration = Duration::from_secs(30);

/// Why the operator ended.
#[derive(Debug, Error)]
pub enum StartError {
    /// There is no cluster to talk to.
    #[error("find the cluster")]
    Cluster(#[source] Box<kube::Error>),
    /// A file that a flag names.
    #[error("read {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The port for health and metrics.
    #[error("serve health and metrics")]
    Admin(#[source] std::io::Error),
    /// Admission.
    #[error("answer for pods and AgentRuns")]
    Webhook(#[source] WebhookError),
    /// A part ended by itself.
    #[error("serve {0}: it ended by itself")]
    Ended(&'static str),
    /// A task of ours ended by itself.
    #[error("run the controller")]
    Task(#[source] tokio::task::JoinError),
    /// Another replica leads.
    #[error("lead")]
    Leader(#[source] LeaderError),
}

/// Runs the operator until it is told to stop, or must.
///
/// # Errors
/// What keeps it from starting, or from going on. A replica that has lost the lead ends, and is started anew by its Deployment.
pub async fn start(args: Args, stop: CancellationToken) -> Result<(), StartError> {
    let config = Config::infer().await.map_err(|source| StartError::Cluster(Box::new(kube::Error::InferConfig(source))))?;
    let client = Client::try_from(config.clone()).map_err(|source| StartError::Cluster(Box::new(source)))?;
    let prompt = answered_within(ANSWER, config).map_err(|source| StartError::Cluster(Box::new(source)))?;
    let installation = installation(&args)?;
    let mut registry = Metrics::registry();
    let (leads, watches_lead) = watch::channel(false);
    let certificates = certificates(&args);
    let authority = match (&args.hub_ca_file, &certificates) {
        (Some(path), _) => watch::channel(read(path)?).1,
        (None, Some(certificates)) => certificates.hub_ca(),
        (None, None) => watch::channel(String::new()).1,
    };
    let admission = certificates.as_ref().map(|certificates| {
        let shared_cache_namespaces = args.shared_cache_namespaces.clone();
        let settings = webhook::Settings { installation: installation.clone(), hub_ca: authority.clone(), shared_cache_namespaces };
        Webhook::new(client.clone(), settings, &mut registry, certificates).serve(
            args.webhook_address,
            certificates.resolver(),
            stop.clone(),
        )
    });
    let metrics = Arc::new(Metrics::new(registry));
    match certificates {
        Some(certificates) => {
            tokio::spawn(follow_readiness(certificates.clone(), metrics.clone()));
            let (client, stop) = (client.clone(), stop.clone());
            tokio::spawn(async move { certificates.run(client, watches_lead, stop).await });
        }
        None => metrics.set_ready(true),
    }
    let (failed, mut failures) = mpsc::channel(1);
    let admin = crate::admin::serve(args.metrics_address, metrics.clone(), stop.clone());
    needed("health and metrics", async move { admin.await.map_err(StartError::Admin) }, &failed, &stop);
    let admission =
        admission.map(|admission| needed("admission", async move { admission.await.map_err(StartError::Webhook) }, &failed, &stop));
    let outcome = tokio::select! {
        outcome = lead(&args, installation, Clients { prompt, patient: client }, authority, &metrics, &leads, &stop) => outcome,
        Some(error) = failures.recv() => Err(error),
    };
    metrics.lead(false);
    if let Some(admission) = admission.filter(|_| stop.is_cancelled()) {
        // Requests for admission that are under way get their answers.
        tokio::time::timeout(DRAIN, admission).await.ok();
    }
    outcome
}

/// Starts a part that the process cannot be without: if it ends before it is told to, so does the process.
fn needed(
    what: &'static str,
    part: impl Future<Output = Result<(), StartError>> + Send + 'static,
    failed: &mpsc::Sender<StartError>,
    stop: &CancellationToken,
) -> JoinHandle<()> {
    let (failed, stop) = (failed.clone(), stop.clone());
    tokio::spawn(async move {
        let ended = part.await;
        if !stop.is_cancelled() {
            failed.send(ended.err().unwrap_or(StartError::Ended(what))).await.ok();
        }
    })
}

/// Waits for the lead, and reconciles while this replica has it.
async fn lead(
    args: &Args,
    installation: Installation,
    clients: Clients,
    authority: watch::Receiver<String>,
    metrics: &Arc<Metrics>,
    leads: &watch::Sender<bool>,
    stop: &CancellationToken,
) -> Result<(), StartError> {
    let identity = args.identity.clone().unwrap_or_else(random_identity);
    let mut candidate =
        Candidate::new(clients.patient.clone(), &args.namespace, identity.clone(), Duration::from_secs(args.lease_seconds.into()));
    tokio::select! {
        () = candidate.acquire() => {}
        () = stop.cancelled() => return Ok(()),
    }
    tracing::info!(identity, "this replica leads");
    leads.send_replace(true);
    metrics.lead(true);
    let watches = Watches::default();
    let client = clients.patient.clone();
    let context = Arc::new(context(args, installation, clients, authority, &watches, metrics.clone(), identity));
    let (namespace, concurrency, stop) = (args.watch_namespace.clone(), args.concurrency, stop.clone());
    let mut work = tokio::spawn(async move { watch_runs(client, namespace.as_deref(), watches, context, concurrency, stop).await });
    let outcome = tokio::select! {
        // The process ends with it, and whatever is under way.
        lost = candidate.hold() => return Err(StartError::Leader(lost)),
        ended = &mut work => ended.map_err(StartError::Task),
    };
    candidate.release().await;
    outcome
}

/// Who makes certificates, where they are ours to look after.
fn certificates(args: &Args) -> Option<Certificates> {
    let mode = match args.certificates {
        CertificateMode::Auto => certificates::Mode::Auto,
        CertificateMode::Secret => certificates::Mode::Secret,
        CertificateMode::None => return None,
    };
    let mut settings = certificates::Settings::new(&args.namespace, mode);
    settings.webhook_secret.clone_from(&args.webhook_secret);
    settings.hub_secret.clone_from(&args.hub_secret);
    Some(Certificates::new(settings))
}

/// A replica serves once the API server would accept its certificate, and while it would.
async fn follow_readiness(certificates: Certificates, metrics: Arc<Metrics>) {
    let mut changes = certificates.changes();
    loop {
        metrics.set_ready(certificates.is_ready());
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// What is the same in all pods.
fn installation(args: &Args) -> Result<Installation, StartError> {
    Ok(Installation {
        image: args.sidecar_image.clone(),
        image_pull_policy: args.sidecar_pull_policy.clone(),
        hub_url: args.hub_url.clone(),
        hub_ca: String::new(),
        roots: args.roots_file.as_ref().map(read).transpose()?.unwrap_or_default(),
        resources: Resources {
            cpu: args.sidecar_cpu.clone(),
            memory: args.sidecar_memory.clone(),
            ephemeral_storage: args.sidecar_storage.clone(),
        },
        spool_size: args.sidecar_spool.clone(),
        log: args.sidecar_log.clone(),
    })
}

fn context(
    args: &Args,
    installation: Installation,
    clients: Clients,
    authority: watch::Receiver<String>,
    watches: &Watches,
    metrics: Arc<Metrics>,
    identity: String,
) -> Context {
    let address = HubAddress {
        url: args.hub_address.clone().unwrap_or_else(|| args.hub_url.clone()),
        server_name: args.hub_server_name.clone(),
        token_file: args.hub_token_file.clone(),
    };
    let reporter = Reporter { controller: agentrun_protocol::names::MANAGER.to_owned(), instance: Some(identity) };
    Context {
        hub: Hub::new(address, authority.clone()),
        jobs: watches.jobs(),
        failed: watches.failed(),
        templates: Box::new(Injected::new(installation, authority.clone())),
        settings: Settings { pending_seconds: args.pending_seconds, image_seconds: args.image_seconds },
        recorder: Recorder::new(clients.prompt.clone(), reporter),
        metrics,
        hub_patience: Duration::from_secs(args.hub_patience_seconds),
        memory: Default::default(),
        clients,
    }
}

fn read(path: &PathBuf) -> Result<String, StartError> {
    std::fs::read_to_string(path).map_err(|source| StartError::File { path: path.clone(), source })
}

/// Unique enough among a few replicas, where nobody named them.
fn random_identity() -> String {
    let started = jiff::Timestamp::now().as_nanosecond();
    format!("{}-{}-{started}", agentrun_protocol::names::MANAGER, std::process::id())
}
