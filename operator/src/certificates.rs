//! Certificates of webhook and hub: made or found, watched through the API, served, and told to the API server.
//!
//! Every replica watches the Secrets and serves what they hold; a certificate that changes counts from the next connection. A replica may make a Secret
//! that is missing (only the first succeeds); everything else is written by the leader alone, as long as the API server would accept what this replica
//! serves. What is written is decided by [`plan`].

mod authority;
mod leaf;
mod pem;
mod plan;
mod store;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use jiff::Timestamp;
use kube::Client;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use authority::AuthorityError;
pub use leaf::LeafError;
pub use pem::PemError;

use self::leaf::Leaf;
use self::plan::{Server, is_agreed, may_replace, plan};
use self::store::{Objects, Store};

/// Annotation on the authority's Secret: any value asks for a new authority. It is taken off when that is made.
pub const ROTATE_ANNOTATION: &str = "agentrun.dev/rotate";
/// How long the API server is given to take a bundle in.
const SETTLE: Duration = Duration::from_secs(5);
/// How often clocks are looked at: certificates age while nothing changes.
const TICK: Duration = Duration::from_secs(30);
/// The least time between two rounds of writes: whatever goes wrong, the API server is not flooded.
const PACE: Duration = Duration::from_millis(200);
/// The first wait after a failed write, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// Who makes the certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// We do.
    Auto,
    /// They come in Secrets: from cert-manager, or from the user.
    Secret,
}

/// Where certificates are, and for how long.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who makes them.
    pub mode: Mode,
    /// The namespace of the Secrets.
    pub namespace: String,
    /// The Secret with our authority.
    pub authority_secret: String,
    /// The Secret with the webhook's certificate.
    pub webhook_secret: String,
    /// The names that the webhook's certificate is for; the first is what the API server asks for.
    pub webhook_names: Vec<String>,
    /// The Secret with the hub's certificate.
    pub hub_secret: String,
    /// The names that the hub's certificate is for.
    pub hub_names: Vec<String>,
    /// The name of both webhook configurations.
    pub configuration: String,
    /// Seconds that an authority lives; it is replaced at half of them.
    pub authority_seconds: i64,
    /// Seconds that a server's certificate lives; it is replaced at half of them.
    pub leaf_seconds: i64,
}

impl Settings {
    /// As the chart has them.
    pub fn new(namespace: &str, mode: Mode) -> Self {
        let names = |service: &str| {
            ["", ".cluster.local"].map(|suffix| format!("{service}.{namespace}.svc{suffix}")).into_iter().collect::<Vec<String>>()
        };
        let mut hub_names = names("agentrun-hub");
        hub_names.extend([format!("agentrun-hub.{namespace}"), "agentrun-hub".to_owned()]);
        Self {
            mode,
            namespace: namespace.to_owned(),
            authority_secret: "agentrun-ca".to_owned(),
            webhook_secret: "agentrun-webhook-tls".to_owned(),
            webhook_names: names("agentrun-webhook"),
            hub_secret: "agentrun-hub-tls".to_owned(),
            hub_names,
            configuration: "agentrun".to_owned(),
            authority_seconds: 10 * 365 * 24 * 3600,
            leaf_seconds: 24 * 3600,
        }
    }

    fn names(&self, server: Server) -> &[String] {
        match server {
            Server::Webhook => &self.webhook_names,
            Server::Hub => &self.hub_names,
        }
    }
}

/// The certificates, as this replica knows them. Clones are the same.
#[derive(Clone)]
pub struct Certificates {
    settings: Arc<Settings>,
    provider: Arc<CryptoProvider>,
    current: Arc<RwLock<Current>>,
    hub_ca: Arc<watch::Sender<String>>,
    changes: Arc<watch::Sender<u64>>,
}

#[derive(Default)]
struct Current {
    key: Option<Arc<CertifiedKey>>,
    ends: [Option<i64>; 3],
    is_ready: bool,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Certificates")
    }
}

/// Gives each handshake the certificate of the moment.
struct Resolver(Arc<RwLock<Current>>);

impl fmt::Debug for Resolver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Resolver")
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).key.clone()
    }
}

impl Certificates {
    /// Nothing is known yet; see [`Self::run`].
    pub fn new(settings: Settings) -> Self {
        Self {
            settings: Arc::new(settings),
            provider: Arc::new(aws_lc_rs::default_provider()),
            current: Arc::default(),
            hub_ca: Arc::new(watch::Sender::new(String::new())),
            changes: Arc::new(watch::Sender::new(0)),
        }
    }

    /// The webhook's certificate for each connection; connections before there is one are closed.
    pub fn resolver(&self) -> Arc<dyn ResolvesServerCert> {
        Arc::new(Resolver(self.current.clone()))
    }

    /// Certificates (PEM) that the hub's chains to; empty while none is known.
    pub fn hub_ca(&self) -> watch::Receiver<String> {
        self.hub_ca.subscribe()
    }

    /// Whether the API server would accept what we serve.
    pub fn is_ready(&self) -> bool {
        self.current.read().unwrap_or_else(PoisonError::into_inner).is_ready
    }

    /// When the certificates end, seconds since 1970: the authority's, the webhook's, the hub's.
    pub fn ends(&self) -> [(&'static str, Option<i64>); 3] {
        let ends = self.current.read().unwrap_or_else(PoisonError::into_inner).ends;
        [("authority", ends[0]), ("webhook", ends[1]), ("hub", ends[2])]
    }

    /// Changes whenever anything above may have.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Watches, writes what is to be written, and serves what is there, until it is told to stop. `leads` says whether this replica leads.
    pub async fn run(&self, client: Client, mut leads: watch::Receiver<bool>, stop: CancellationToken) {
        let store = Store::new(client, self.settings.clone());
        let mut events = store.watch();
        let mut objects = Objects::default();
        let mut wrote: Option<Instant> = None;
        let mut trusted_since: Option<(Vec<Vec<u8>>, Instant)> = None;
        let mut retry = RETRY.0;
        let mut wait = TICK;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                event = events.next() => match event {
                    Some(event) => objects.apply(event),
                    None => return,
                },
                changed = leads.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(wait) => {}
            }
            wait = TICK;
            if !objects.is_complete() {
                continue;
            }
            let seen = objects.seen();
            if trusted_since.as_ref().is_none_or(|(bundles, _)| *bundles != seen.bundles) {
                trusted_since = Some((seen.bundles.clone(), Instant::now()));
            }
            let since = trusted_since.as_ref().map_or(Duration::ZERO, |(_, since)| since.elapsed());
            if since < SETTLE {
                wait = SETTLE - since;
            }
            self.publish(&seen);
            if let Some(early) = wrote.and_then(|wrote| PACE.checked_sub(wrote.elapsed())) {
                wait = wait.min(early);
                continue;
            }
            wrote = Some(Instant::now());
            let leads_now = *leads.borrow();
            if let Err(error) = self.write(&store, &objects, since >= SETTLE, leads_now).await {
                tracing::warn!(error = %crate::sentence(&*error), "certificates could not be written");
                wait = wait.min(retry);
                retry = (retry * 2).min(RETRY.1);
            } else {
                retry = RETRY.0;
            }
        }
    }

    async fn write(
        &self,
        store: &Store,
        objects: &Objects,
        settled: bool,
        leads: bool,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let (seen, now) = (objects.seen(), Timestamp::now());
        let may_replace = may_replace(leads, &seen, &self.settings, now, &self.provider);
        for action in plan(&seen, &self.settings, now, settled, &self.provider)? {
            store.write(action, objects, may_replace).await?;
        }
        Ok(())
    }

    /// Takes what the cluster holds for what is served and told.
    fn publish(&self, seen: &plan::Seen) {
        let now = Timestamp::now();
        let read = |data: &Option<authority::Data>, what: &'static str| {
            let data = data.as_ref()?;
            Leaf::read(data, &self.provider)
                .inspect_err(|error| tracing::warn!(error = %crate::sentence(error), what, "a Secret is of no use"))
                .ok()
        };
        let (webhook, hub) = (read(&seen.webhook, "webhook"), read(&seen.hub, "hub"));
        let authority = seen.authority.as_ref().and_then(|data| authority::Authority::read(data).ok());
        let roots = authority.iter().flat_map(authority::Authority::trusted).chain(hub.iter().flat_map(|hub| &hub.trusted));
        let hub_ca = pem::text(roots);
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        current.is_ready = is_agreed(seen, &self.settings, now, &self.provider);
        current.ends = [
            authority.as_ref().and_then(|authority| pem::validity(&authority.certificate)).map(|validity| validity.1),
            webhook.as_ref().map(|leaf| leaf.not_after),
            hub.as_ref().map(|leaf| leaf.not_after),
        ];
        // A Secret that was emptied by mistake does not take away what still works.
        if let Some(webhook) = webhook {
            current.key = Some(webhook.key);
        }
        drop(current);
        if !hub_ca.is_empty() {
            self.hub_ca.send_if_modified(|known| std::mem::replace(known, hub_ca.clone()) != hub_ca);
        }
        self.changes.send_modify(|version| *version += 1);
    }
}
