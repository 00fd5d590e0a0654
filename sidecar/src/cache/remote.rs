//! The hub's cache below this pod's: answers that other pods stored, and leases that make equal calls of several pods one upstream call.
//!
//! The rules are [`agentrun_protocol::lease`]'s. Whatever becomes of the hub, a call gets its answer: without the hub it asks upstream.

use std::{sync::Arc, time::Duration};

use agentrun_llm::key::hex;
use agentrun_protocol::{
    lease::{ENTRY_BYTES, LANDED_HEADER, LEASE_HEADER, Renewal, WAIT_SECONDS},
    paths,
};
use http::StatusCode;
use tokio::{sync::Semaphore, task::JoinHandle};
use tokio_util::task::TaskTracker;

use super::{Key, entry::Entry};
use crate::{
    cache::remote::lease::{Held, Lease},
    hub::{Ask, Backoff, Hub, HubError, Reach},
};

mod coded;
pub(crate) mod lease;

/// The first pause before a hub that is away is asked again, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// The most bytes of answers that wait for a hub that is away.
const WAITING_BYTES: usize = 16 << 20;
/// What they are counted in.
const UNIT: usize = 1024;

/// The hub's cache.
pub(crate) struct Remote {
    hub: Arc<Hub>,
    held: Held,
    /// What is on its way to the hub.
    telling: TaskTracker,
    /// What answers that wait for the hub may hold.
    room: Semaphore,
    tasks: [JoinHandle<()>; 2],
}

/// What the hub says of a call.
pub(crate) enum Claimed {
    /// It has the answer.
    Stored(Arc<Entry>),
    /// An equal call of another pod got this answer, which is not stored.
    Landed(Arc<Entry>),
    /// This pod asks upstream, for all.
    Lead(Lease),
    /// This call asks upstream, for itself.
    Alone,
}

enum Answer {
    /// Whether it is stored.
    Entry(Arc<Entry>, bool),
    Lead,
    Wait,
    Nothing,
}

impl Remote {
    pub(crate) fn start(hub: Arc<Hub>) -> Arc<Self> {
        let held = Held::default();
        let tasks = [tokio::spawn(lease::renew(hub.clone(), held.clone())), tokio::spawn(look_out(hub.clone()))];
        Arc::new(Self { hub, held, telling: TaskTracker::new(), room: Semaphore::new(WAITING_BYTES / UNIT), tasks })
    }

    /// A stored answer, without asking for the lead.
    pub(crate) async fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        let path = paths::cache(&hex(key));
        match self.patiently(&path).await {
            Ok(Answer::Entry(entry, true)) => Some(entry),
            Ok(_) => None,
            Err(error) => {
                tracing::warn!(%error, "cannot ask the hub for a stored answer: taken as a miss");
                None
            }
        }
    }

    /// Asks for a stored answer, waits for that of an equal call in another pod, or leads. One round trip where neither is there.
    pub(crate) async fn claim(self: &Arc<Self>, key: Key) -> Claimed {
        // Made before it is granted: a call that is given up while the hub answers gives up what it may have got.
        let lease = Lease::new(self.clone(), key);
        let path = format!("{}?lease={}&wait={WAIT_SECONDS}", paths::cache(&hex(&key)), lease.id());
        loop {
            match self.patiently(&path).await {
                Ok(Answer::Entry(entry, stored)) => {
                    lease.forget();
                    return if stored { Claimed::Stored(entry) } else { Claimed::Landed(entry) };
                }
                Ok(Answer::Lead) => {
                    self.held.hold(&lease);
                    return Claimed::Lead(lease);
                }
                Ok(Answer::Wait) => {}
                Ok(Answer::Nothing) => {
                    lease.forget();
                    return Claimed::Alone;
                }
                Err(error) => {
                    lease.forget();
                    tracing::debug!(%error, "cannot ask the hub for the lead: asking upstream");
                    return Claimed::Alone;
                }
            }
        }
    }

    /// Asks, and waits for a hub that was there and is not, but not for ever.
    async fn patiently(&self, path: &str) -> Result<Answer, HubError> {
        let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
        let mut told = false;
        loop {
            // One that is known to be away for long is not even asked.
            if self.hub.patience().is_none() {
                return Ok(Answer::Nothing);
            }
            match self.ask(path).await {
                Err(error) if error.is_passing() => {
                    let Some(left) = self.hub.patience() else { return Err(error) };
                    if !told {
                        tracing::debug!(%error, "a call waits for the hub");
                        told = true;
                    }
                    tokio::time::sleep(backoff.pause().min(left)).await;
                }
                answered => return answered,
            }
        }
    }

    async fn ask(&self, path: &str) -> Result<Answer, HubError> {
        let answer = match self.hub.ask(Ask::get(path).waiting(Duration::from_secs(WAIT_SECONDS))).await {
            Err(HubError::Refused { status: StatusCode::NOT_FOUND, .. }) => return Ok(Answer::Nothing),
            answer => answer?,
        };
        Ok(match answer.status() {
            StatusCode::ACCEPTED => Answer::Wait,
            _ if answer.headers().contains_key(LEASE_HEADER) => Answer::Lead,
            // What another version stored is as good as nothing; this call's answer will be stored over it.
            _ => coded::decode(answer.body())
                .map_or(Answer::Nothing, |entry| Answer::Entry(Arc::new(entry), !answer.headers().contains_key(LANDED_HEADER))),
        })
    }

    /// Tells the hub how a call ended, in the background: stores `entry` if it is to be `kept`, hands it to those that wait, or lets them ask
    /// by themselves.
    pub(crate) fn end(self: &Arc<Self>, key: Key, lease: Option<Lease>, entry: Option<Arc<Entry>>, kept: bool) {
        if lease.is_none() && !kept {
            return;
        }
        let this = self.clone();
        self.tell(async move {
            let put = match &entry {
                Some(entry) => this.put(&key, lease.as_ref().map(Lease::id), entry, kept).await,
                None => false,
            };
            match lease {
                Some(lease) if put => lease.forget(),
                Some(lease) => lease.leave_alone().await,
                None => {}
            }
        });
    }

    /// Puts an answer; whether that is done.
    async fn put(&self, key: &Key, lease: Option<&str>, entry: &Entry, kept: bool) -> bool {
        let Some(bytes) = coded::encode(entry).filter(|bytes| bytes.len() as u64 <= ENTRY_BYTES) else { return false };
        let mut path = format!("{}?keep={kept}", paths::cache(&hex(key)));
        if let Some(lease) = lease {
            path.push_str("&lease=");
            path.push_str(lease);
        }
        let units = u32::try_from(bytes.len().div_ceil(UNIT)).unwrap_or(u32::MAX);
        let Ok(_room) = self.room.try_acquire_many(units) else {
            tracing::warn!("the hub is away for long: an answer is not kept for it, and equal calls of other pods are paid again");
            return false;
        };
        // However late it comes, it is of use to pods that begin later.
        let put = self.hub.insist(|| Ask::put(&path, bytes.clone())).await;
        if let Err(error) = &put {
            tracing::warn!(%error, "cannot hand an answer to the hub: equal calls of other pods are paid again");
        }
        put.is_ok()
    }

    /// Asks until it is done, or until there is no use in it.
    async fn persistently<'a>(&self, ask: impl Fn() -> Ask<'a>) -> Result<(), HubError> {
        let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
        loop {
            match self.hub.ask(ask()).await {
                Err(error) if error.is_passing() => match self.hub.patience() {
                    Some(left) => tokio::time::sleep(backoff.pause().min(left)).await,
                    None => return Err(error),
                },
                answered => return answered.map(drop),
            }
        }
    }

    fn tell(&self, told: impl Future<Output = ()> + Send + 'static) {
        // Calls that are dropped with their runtime have nobody left to tell.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            self.telling.spawn_on(told, &runtime);
        }
    }

    /// Waits until the hub has been told of all calls that have ended, `within` at most.
    pub(crate) async fn settle(&self, within: Duration) {
        self.telling.close();
        tokio::time::timeout(within, self.telling.wait()).await.ok();
        self.telling.reopen();
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Asks a hub that is not there until it is: calls that no longer wait for it would not notice that it is back.
async fn look_out(hub: Arc<Hub>) {
    let mut reach = hub.reach();
    loop {
        if reach.wait_for(|reach| *reach != Reach::Reached).await.is_err() {
            return;
        }
        let mut backoff = Backoff::new(PAUSES.0, PAUSES.1 * 2);
        while *hub.reach().borrow() != Reach::Reached {
            // An empty renewal costs the hub nothing.
            if hub.ask(Ask::post(paths::LEASES, &Renewal::default())).await.is_err() {
                tokio::time::sleep(backoff.pause()).await;
            }
        }
    }
}
