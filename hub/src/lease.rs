//! Equal calls of several pods are one upstream call: at most one pod leads a key, the others wait for its answer.
//!
//! Everything is in memory. The table ([`table::Table`]) holds all decisions and never waits; here is what waits for it.

mod table;
#[cfg(test)]
mod tests;

use std::{
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use agentrun_protocol::lease::{LEASE_SECONDS, Renewal, WAIT_SECONDS};
use bytes::Bytes;
use tokio::{sync::Semaphore, time::Instant};

use table::{Claim, Table};

/// Who holds a lease: another pod cannot take it by naming its id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Holder {
    /// The pod's uid.
    pub(crate) pod: String,
    /// The id that the pod chose.
    pub(crate) id: String,
}

/// Bounds on what the leases hold, and how long.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// How long a lease lives without being renewed.
    pub length: Duration,
    /// Leases in all.
    pub leases: usize,
    /// Leases of one pod.
    pub leases_of_a_pod: usize,
    /// Requests that wait.
    pub waiting: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { length: Duration::from_secs(LEASE_SECONDS), leases: 100_000, leases_of_a_pod: 1024, waiting: 20_000 }
    }
}

/// How a lease ended, as those that wait are told.
#[derive(Clone, Debug)]
pub(crate) enum Ended {
    /// The leader's complete answer, and whether it is stored.
    Answered { answer: Bytes, kept: bool },
    /// All ask upstream by themselves.
    Alone,
    /// The leader gave up: one of those that wait leads.
    Vacant,
}

/// What a claim came to.
#[derive(Clone, Debug)]
pub(crate) enum Claimed {
    /// The caller leads.
    Leads,
    /// Another led, and this is its answer.
    Answered { answer: Bytes, kept: bool },
    /// Another led, and said that each is to ask by itself.
    Alone,
    /// Another leads still.
    Undecided,
}

/// There is no room for one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LeaseError {
    #[error("the hub keeps as many leases as it may: ask again later")]
    Full,
    #[error("the pod holds as many leases as it may: end some first")]
    PodFull,
    #[error("as many requests wait for a leader as may: ask again later")]
    WaitingFull,
}

/// All leases of this hub.
pub(crate) struct Leases<K> {
    table: Mutex<Table<K>>,
    waiting: Semaphore,
}

impl<K: Clone + Eq + Hash> Leases<K> {
    /// No lease is given before `grace`, so that leaders of before a restart can renew theirs.
    pub(crate) fn new(bounds: Bounds, grace: Instant) -> Self {
        Self { table: Mutex::new(Table::new(bounds, grace)), waiting: Semaphore::new(bounds.waiting) }
    }

    /// Leads `key`, or waits for the one that does: `wait` at most, and never longer than [`WAIT_SECONDS`].
    pub(crate) async fn claim(&self, key: &K, holder: &Holder, wait: Duration) -> Result<Claimed, LeaseError> {
        let deadline = Instant::now() + wait.min(Duration::from_secs(WAIT_SECONDS));
        let mut permit = None;
        loop {
            let claim = self.table().claim(key, holder, Instant::now())?;
            if let Claim::Leads = claim {
                return Ok(Claimed::Leads);
            }
            if Instant::now() >= deadline {
                return Ok(Claimed::Undecided);
            }
            if permit.is_none() {
                permit = Some(self.waiting.try_acquire().map_err(|_| LeaseError::WaitingFull)?);
            }
            match claim {
                Claim::Leads => return Ok(Claimed::Leads),
                Claim::Grace { until } => tokio::time::sleep_until(until.min(deadline)).await,
                Claim::Follows { mut ended, until } => {
                    // The sender goes with the lease, which always says how it ended first.
                    let ending = async { ended.wait_for(Option::is_some).await.ok().and_then(|end| end.clone()) };
                    match tokio::time::timeout_at(until.min(deadline), ending).await {
                        Ok(Some(Ended::Answered { answer, kept })) => return Ok(Claimed::Answered { answer, kept }),
                        Ok(Some(Ended::Alone)) => return Ok(Claimed::Alone),
                        Ok(Some(Ended::Vacant) | None) | Err(_) => {}
                    }
                }
            }
        }
    }

    /// Renews what is still the caller's pod's; `keys` gives each renewal's key, in order. Returns the texts of those that are lost.
    pub(crate) fn renew(&self, pod: &str, renewal: Renewal, key_of: impl Fn(&str) -> Option<K>) -> Vec<String> {
        let now = Instant::now();
        let mut table = self.table();
        let lost = |(text, id): (String, String)| {
            let holder = Holder { pod: pod.to_owned(), id };
            let held = key_of(&text).is_some_and(|key| table.renew(&key, &holder, now));
            (!held).then_some(text)
        };
        renewal.leases.into_iter().filter_map(lost).collect()
    }

    /// An answer came. A stored one ends the lease whoever brings it; one that is not stored only if the caller leads.
    pub(crate) fn answer(&self, key: &K, holder: Option<&Holder>, answer: &Bytes, kept: bool) {
        let mut table = self.table();
        if kept || holder.is_some_and(|holder| table.is_held_by(key, holder)) {
            table.end(key, Ended::Answered { answer: answer.clone(), kept });
        }
    }

    /// The caller leads no longer, without an answer. Nothing happens if it did not lead.
    pub(crate) fn give_up(&self, key: &K, holder: &Holder, alone: bool) {
        let mut table = self.table();
        if table.is_held_by(key, holder) {
            table.end(key, if alone { Ended::Alone } else { Ended::Vacant });
        }
    }

    /// Forgets leases that were lost long ago.
    pub(crate) fn sweep(&self) {
        self.table().sweep(Instant::now());
    }

    /// How many leases there are.
    pub(crate) fn count(&self) -> usize {
        self.table().len()
    }

    /// The table; a panic elsewhere leaves it whole, as no step of it can be half done.
    fn table(&self) -> MutexGuard<'_, Table<K>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
