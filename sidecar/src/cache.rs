//! The answer cache: memory over disk over the hub, and calls in flight.

use std::sync::Arc;

use quick_cache::{Weighter, sync::Cache as Weighted};

use crate::{
    cache::{
        disk::Disk,
        entry::Entry,
        flight::{Flights, Landing, Leader},
        remote::{Remote, lease::Lease},
    },
    config::CacheConfig,
    exchange::Reading,
    fingerprint::Fingerprint,
    hub::Hub,
};

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
}

impl Cache {
    /// With a `hub`, equal calls of several pods share answers; it needs a runtime.
    pub(crate) fn open(config: &CacheConfig, hub: Option<Arc<Hub>>) -> Result<Self, CacheError> {
        let disk = config.path.as_deref().map(|path| Disk::open(path, config.disk_bytes).map(Arc::new)).transpose()?;
        let entries = usize::try_from(config.memory_bytes / 2048).unwrap_or(usize::MAX).max(16);
        Ok(Self {
            memory: Weighted::with_weighter(entries, config.memory_bytes, Bytes),
            seen: Weighted::new(SEEN_REQUESTS),
            disk,
            remote: hub.map(Remote::start),
            flights: Flights::default(),
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

    /// A stored answer, and the layer that had it.
    pub(crate) fn get(&self, key: &Key) -> Option<(Arc<Entry>, Layer)> {
        if let Some(entry) = self.memory.get(key) {
            return Some((entry, Layer::Memory));
        }
        let entry = Arc::new(self.disk.as_ref()?.get(key)?);
        self.memory.insert(*key, entry.clone());
        Some((entry, Layer::Disk))
    }

    /// Stores an answer over whatever was there.
    pub(crate) fn put(&self, key: Key, entry: Arc<Entry>) {
        if let Some(disk) = &self.disk {
            disk.put(key, entry.clone());
        }
        self.memory.insert(key, entry);
    }

    /// The layer below those of this machine.
    pub(crate) fn remote(&self) -> Option<&Arc<Remote>> {
        self.remote.as_ref()
    }

    /// Keeps an answer of the hub's at hand.
    pub(crate) fn keep(&self, key: Key, entry: Arc<Entry>) {
        self.memory.insert(key, entry);
    }

    /// Ends an upstream call for all that may want its answer: stores it if it is `good`, and lands the flight that it led.
    pub(crate) fn end(&self, key: Option<Key>, leader: Option<Leader>, landing: Landing, good: bool) {
        let Some(key) = key else { return };
        let entry = match &landing {
            Landing::Answered(entry) => Some(entry.clone()),
            _ => None,
        };
        if let Some(entry) = entry.clone().filter(|_| good) {
            self.put(key, entry);
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
