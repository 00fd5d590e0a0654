//! The answer cache: memory over disk, and calls in flight.

use std::sync::Arc;

use quick_cache::{Weighter, sync::Cache as Weighted};

use crate::{
    cache::{disk::Disk, entry::Entry, flight::Flights},
    config::CacheConfig,
    exchange::Reading,
    fingerprint::Fingerprint,
};

pub(crate) mod disk;
pub(crate) mod entry;
pub(crate) mod flight;

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
    pub(crate) flights: Flights,
}

impl Cache {
    pub(crate) fn open(config: &CacheConfig) -> Result<Self, CacheError> {
        let disk = config.path.as_deref().map(|path| Disk::open(path, config.disk_bytes).map(Arc::new)).transpose()?;
        let entries = usize::try_from(config.memory_bytes / 2048).unwrap_or(usize::MAX).max(16);
        Ok(Self {
            memory: Weighted::with_weighter(entries, config.memory_bytes, Bytes),
            seen: Weighted::new(SEEN_REQUESTS),
            disk,
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
