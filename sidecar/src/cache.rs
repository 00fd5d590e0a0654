//! The answer cache: memory over disk over the hub, and calls in flight.

use std::{
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
    time::Duration,
};

use quick_cache::{Weighter, sync::Cache as Weighted};

use crate::{
    cache::{
        agentopt::Row,
        disk::Disk,
        entry::{Entry, now},
        flight::{Flights, Landing, Leader},
        remote::{Remote, lease::Lease},
    },
    config::{CacheConfig, CacheScope},
    exchange::Reading,
    fingerprint::Fingerprint,
    hub::Hub,
};

pub(crate) mod agentopt;
pub(crate) mod disk;
pub(crate) mod entry;
pub(crate) mod flight;
pub(crate) mod remote;

pub(crate) use disk::CacheError;

/// SHA-256 of what makes a call equal to another.
pub(crate) type Key = [u8; 32];

/// Requests whose bytes have been seen before and need not be read again; each is some 200 bytes.
const SEEN_REQUESTS: usize = 32 << 10;
/// What an entry costs beside its bytes: its struct, its map slot, its headers' slots.
const ENTRY_OVERHEAD: u64 = 512;

/// A layer that had the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layer {
    Memory,
    Disk,
}

/// Stored answers by [`Key`].
pub(crate) struct Cache {
    memory: Weighted<Key, Arc<Entry>, Bytes>,
    seen: Weighted<Fingerprint, Arc<Reading>>,
    disk: Option<Arc<Disk>>,
    remote: Option<Arc<Remote>>,
    pub(crate) flights: Flights,
    agentopt: Option<CacheScope>,
    max_age: Option<Duration>,
    /// How many times it was cleared. What is put in is put in under its lock, so that nothing of before a clear comes in after it.
    epoch: RwLock<u64>,
}

impl Cache {
    /// Answers of more than `entry_bytes` are not kept. With a `hub`, equal calls of several pods share answers; it needs a runtime.
    pub(crate) fn open(config: &CacheConfig, entry_bytes: usize, hub: Option<Arc<Hub>>) -> Result<Self, CacheError> {
        let disk = config.path.as_deref().map(|path| Disk::open(path, config, entry_bytes).map(Arc::new)).transpose()?;
        let entries = usize::try_from(config.memory_bytes / 2048).unwrap_or(usize::MAX).max(16);
        Ok(Self {
            memory: Weighted::with_weighter(entries, config.memory_bytes, Bytes),
            seen: Weighted::new(SEEN_REQUESTS),
            disk,
            remote: hub.map(Remote::start),
            flights: Flights::default(),
            agentopt: config.agentopt,
            max_age: config.max_age,
            epoch: RwLock::default(),
        })
    }

    /// What was read of a request with this fingerprint.
    pub(crate) fn seen(&self, fingerprint: &Fingerprint) -> Option<Arc<Reading>> {
        self.seen.get(fingerprint)
    }

    /// Remembers what was read of a request with this fingerprint.
    pub(crate) fn remember(&self, fingerprint: Fingerprint, reading: Arc<Reading>) {
        self.seen.insert(fingerprint, reading);
    }

    /// For whom AgentOpt's table is read and written, if it is.
    pub(crate) fn agentopt(&self) -> Option<CacheScope> {
        self.agentopt
    }

    /// The present time of the cache: it ends when the cache is cleared.
    pub(crate) fn epoch(&self) -> u64 {
        *self.lock()
    }

    /// A stored answer, and the layer that had it.
    pub(crate) fn get(&self, key: &Key) -> Option<(Arc<Entry>, Layer)> {
        if let Some(entry) = self.memory.get(key) {
            if self.is_fresh(&entry) {
                return Some((entry, Layer::Memory));
            }
            self.memory.remove(key);
        }
        let disk = self.disk.as_ref()?;
        let epoch = self.epoch();
        let entry = Arc::new(disk.get(key)?);
        self.keep(*key, entry.clone(), epoch);
        Some((entry, Layer::Disk))
    }

    /// What AgentOpt's table has for the call of this key of AgentOpt's.
    pub(crate) async fn row(&self, key: Key) -> Option<Row> {
        let disk = self.disk.clone().filter(|disk| disk.may_have_row(&key))?;
        // It may be megabytes of base64.
        tokio::task::spawn_blocking(move || disk.row(&key)).await.ok().flatten()
    }

    /// Stores an answer over whatever was there, if the epoch of its call is not over.
    fn put(&self, key: Key, row: Option<Key>, entry: Arc<Entry>, epoch: u64) {
        let now = self.lock();
        if *now != epoch {
            return;
        }
        if let Some(disk) = &self.disk {
            disk.put(key, row, entry.clone());
        }
        self.memory.insert(key, entry);
    }

    /// Forgets every answer, whoever wrote it. Calls that have begun get theirs, and it is not stored; calls that begin now join none of them.
    pub(crate) async fn clear(&self) -> Result<(), CacheError> {
        {
            let mut epoch = self.epoch.write().unwrap_or_else(PoisonError::into_inner);
            *epoch += 1;
            if let Some(disk) = &self.disk {
                disk.clear();
            }
            self.memory.clear();
            self.seen.clear();
            self.flights.forget();
        }
        self.flush().await.map_err(CacheError::Clear)
    }

    fn lock(&self) -> RwLockReadGuard<'_, u64> {
        self.epoch.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_fresh(&self, entry: &Entry) -> bool {
        self.max_age.is_none_or(|max_age| u64::try_from(now() - entry.written_at).unwrap_or_default() <= max_age.as_secs())
    }

    /// The layer below those of this machine.
    pub(crate) fn remote(&self) -> Option<&Arc<Remote>> {
        self.remote.as_ref()
    }

    /// Keeps an answer of a layer below at hand, if the epoch in which it was asked for is not over.
    pub(crate) fn keep(&self, key: Key, entry: Arc<Entry>, epoch: u64) {
        let now = self.lock();
        if *now == epoch {
            self.memory.insert(key, entry);
        }
    }

    /// Ends an upstream call for all that may want its answer: stores it if it is `good`, and lands the flight that it led. `epoch` is its call's.
    pub(crate) fn end(&self, reading: &Reading, epoch: u64, leader: Option<Leader>, landing: Landing, good: bool) {
        let Some(key) = reading.key else { return };
        let entry = match &landing {
            Landing::Answered(entry) => Some(entry.clone()),
            _ => None,
        };
        if let Some(entry) = entry.clone().filter(|_| good) {
            self.put(key, reading.row, entry, epoch);
        }
        let Some(mut leader) = leader else {
            self.share(key, None, entry, good);
            return;
        };
        match (leader.lease(), &landing) {
            // Dropped: another pod leads.
            (Some(lost), Landing::Lost) => drop(lost),
            (lease, _) => self.share(key, lease, entry, good),
        }
        leader.land(landing);
    }

    fn share(&self, key: Key, lease: Option<Lease>, entry: Option<Arc<Entry>>, good: bool) {
        if let Some(remote) = &self.remote {
            remote.end(key, lease, entry, good);
        }
    }

    /// Waits until all that was stored is on disk, or could not be written.
    pub(crate) async fn flush(&self) -> Result<(), String> {
        match &self.disk {
            Some(disk) => disk.flush().await,
            None => Ok(()),
        }
    }

    /// The layer below memory.
    pub(crate) fn disk(&self) -> Option<Arc<Disk>> {
        self.disk.clone()
    }

    /// (entries, bytes) in memory.
    pub(crate) fn size(&self) -> (u64, u64) {
        (self.memory.len() as u64, self.memory.weight())
    }
}

#[derive(Clone)]
struct Bytes;

impl Weighter<Key, Arc<Entry>> for Bytes {
    fn weight(&self, _: &Key, entry: &Arc<Entry>) -> u64 {
        ENTRY_OVERHEAD + entry.bytes()
    }
}
