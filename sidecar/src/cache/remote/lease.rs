//! Leases that this pod holds: renewed while its calls run, given up when they are lost.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use agentrun_llm::key::hex;
use agentrun_protocol::{
    lease::{RENEW_SECONDS, Renewal, Renewed},
    paths,
};
use tokio::sync::Notify;

use super::Remote;
use crate::{
    cache::Key,
    hub::{Ask, Hub},
};

/// After a renewal that failed: several fit into the time that a lease lives.
const AGAIN: Duration = Duration::from_millis(500);

/// The lead of a key among all pods. Dropped, it is given up, and another pod leads.
pub(crate) struct Lease {
    remote: Arc<Remote>,
    key: Key,
    id: String,
    ended: bool,
}

impl Lease {
    /// A lease to ask for.
    pub(super) fn new(remote: Arc<Remote>, key: Key) -> Self {
        Self { remote, key, id: uuid::Uuid::now_v7().simple().to_string(), ended: false }
    }

    /// What the hub knows it by.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Ends it without a word: the hub knows, or never gave it.
    pub(super) fn forget(mut self) {
        self.end();
    }

    /// Ends it without an answer that could be handed over: all that wait ask upstream.
    pub(super) async fn leave_alone(mut self) {
        let path = self.path("&alone=true");
        let told = self.remote.persistently(|| Ask::delete(&path)).await;
        if let Err(error) = told {
            tracing::debug!(%error, "cannot tell the hub that a call's answer cannot be shared");
        }
        self.end();
    }

    fn path(&self, more: &str) -> String {
        format!("{}?lease={}{more}", paths::cache(&hex(&self.key)), self.id)
    }

    fn end(&mut self) {
        self.ended = true;
        self.remote.held.release(&self.id);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        self.end();
        let (remote, path) = (self.remote.clone(), self.path(""));
        self.remote.tell(async move {
            if let Err(error) = remote.persistently(|| Ask::delete(&path)).await {
                tracing::debug!(%error, "cannot give a lease back: it runs out by itself");
            }
        });
    }
}

/// The leases to renew: ids, and their keys.
#[derive(Clone, Default)]
pub(super) struct Held(Arc<Leases>);

#[derive(Default)]
struct Leases {
    keys: Mutex<HashMap<String, Key>>,
    first: Notify,
}

impl Held {
    fn keys(&self) -> MutexGuard<'_, HashMap<String, Key>> {
        self.0.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn hold(&self, lease: &Lease) {
        self.keys().insert(lease.id.clone(), lease.key);
        self.0.first.notify_one();
    }

    fn release(&self, id: &str) {
        self.keys().remove(id);
    }

    fn renewal(&self) -> Option<Renewal> {
        let leases: Vec<(String, String)> = self.keys().iter().map(|(id, key)| (hex(key), id.clone())).collect();
        (!leases.is_empty()).then_some(Renewal { leases })
    }

    /// Renews no longer what the hub has given to another.
    fn lose(&self, lost: &[String]) {
        self.keys().retain(|_, key| !lost.contains(&hex(key)));
    }
}

/// Renews what is held, for ever.
pub(super) async fn renew(hub: Arc<Hub>, held: Held) {
    let often = Duration::from_secs(RENEW_SECONDS);
    loop {
        let Some(renewal) = held.renewal() else {
            held.0.first.notified().await;
            // It was granted just now, and most calls end before it must be renewed.
            tokio::time::sleep(often).await;
            continue;
        };
        let pause = match hub.message::<Renewed>(Ask::post(paths::LEASES, &renewal)).await {
            Ok(renewed) => {
                if !renewed.lost.is_empty() {
                    tracing::warn!(leases = renewed.lost.len(), "another pod leads calls that this one is still waiting for");
                    held.lose(&renewed.lost);
                }
                often
            }
            Err(error) => {
                tracing::debug!(%error, "cannot renew leases");
                AGAIN
            }
        };
        tokio::time::sleep(pause).await;
    }
}
