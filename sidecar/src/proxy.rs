//! What all sessions of a proxy share.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use agentrun_llm::provider::Hosts;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::{
    cache::Cache,
    config::Limits,
    drain::Drain,
    error::Refusal,
    fingerprint::Fingerprints,
    held::Bodies,
    journal::Journal,
    metrics::Metrics,
    tls::ca::Authority,
    upstream::{Network, Origin},
};

/// What all sessions of a proxy share.
pub(crate) struct Proxy {
    pub(crate) hosts: RwLock<Arc<Hosts>>,
    pub(crate) limits: Limits,
    pub(crate) open_to_connect: bool,
    pub(crate) open_to_base_url: bool,
    pub(crate) authority: Authority,
    pub(crate) cache: Cache,
    pub(crate) fingerprints: Fingerprints,
    pub(crate) journal: Option<Journal>,
    pub(crate) network: Arc<Network>,
    pub(crate) origin: Arc<dyn Origin>,
    pub(crate) metrics: Metrics,
    pub(crate) drain: Drain,
    /// Answers whose clients have them, and whose records are still being made.
    pub(crate) settling: TaskTracker,
    pub(crate) connections: Arc<Semaphore>,
    pub(crate) bodies: Bodies,
    /// Hosts whose unreadable usage has been warned of.
    pub(crate) warned: Mutex<HashSet<String>>,
    /// Hosts whose clients' distrust of our certificate has been warned of.
    pub(crate) distrusted: Mutex<HashSet<String>>,
    pub(crate) random: [u8; 10],
    pub(crate) counted: AtomicU64,
    /// Whether everything that agents need is there.
    pub(crate) ready: AtomicBool,
}

/// How long a flush waits for records that are being made: what comes meanwhile must not hold it up for ever.
const SETTLED: Duration = Duration::from_secs(5);

impl Proxy {
    /// Which hosts are LLM hosts, by now.
    pub(crate) fn hosts(&self) -> Arc<Hosts> {
        self.hosts.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The part of an id that is not its time: random for each process, counted within it.
    pub(crate) fn unique(&self) -> [u8; 10] {
        let mut unique = self.random;
        let count = self.counted.fetch_add(1, Ordering::Relaxed);
        let (_, low) = unique.split_last_chunk_mut::<8>().expect("8 of 10 bytes");
        *low = u64::from_be_bytes(*low).wrapping_add(count).to_be_bytes();
        unique
    }

    /// Slows calls down while records wait for a disk that cannot follow.
    pub(crate) async fn room_for_records(&self) -> Result<(), Refusal> {
        match &self.journal {
            Some(journal) => journal.room().await.map_err(Refusal::Records),
            None => Ok(()),
        }
    }

    /// Waits until every answer and record so far is on disk, and says so where one cannot be written.
    pub(crate) async fn flush(&self) {
        tokio::time::timeout(SETTLED, self.settling.wait()).await.ok();
        let journal = async {
            match &self.journal {
                Some(journal) => journal.flush().await,
                None => Ok(()),
            }
        };
        let (cache, journal) = tokio::join!(self.cache.flush(), journal);
        for (what, written) in [("answers", cache), ("records", journal)] {
            if let Err(failure) = written {
                tracing::error!(what, %failure, "could not be written");
            }
        }
    }
}

pub(crate) fn random() -> [u8; 10] {
    let mut random = [0; 10];
    // A UUID of version 7 begins with its time; its randomness is behind.
    random.copy_from_slice(&uuid::Uuid::now_v7().as_bytes()[6..]);
    random
}
