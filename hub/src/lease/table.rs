//! Who leads which key. Pure: time is told, nothing waits.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
};

use tokio::{sync::watch, time::Instant};

use super::{Bounds, Ended, Holder, LeaseError};

struct Lease {
    holder: Holder,
    until: Instant,
    ended: watch::Sender<Option<Ended>>,
}

/// What a claim came to for now.
pub(super) enum Claim {
    /// The caller leads, until it ends or loses the lease.
    Leads,
    /// Another leads: until `ended` says how it ended, and at least until `until`.
    Follows { ended: watch::Receiver<Option<Ended>>, until: Instant },
    /// Nobody may lead before `until`: a leader of before the restart may still renew.
    Grace { until: Instant },
}

/// The leases, each with one holder.
pub(super) struct Table<K> {
    bounds: Bounds,
    grace: Instant,
    leases: HashMap<K, Lease>,
    of_pods: HashMap<String, usize>,
}

impl<K: Clone + Eq + Hash> Table<K> {
    /// A table that gives no lease before `grace`, and lets any pod renew one of before.
    pub(super) fn new(bounds: Bounds, grace: Instant) -> Self {
        Self { bounds, grace, leases: HashMap::new(), of_pods: HashMap::new() }
    }

    /// Leads the key unless another does. A holder that claims again leads on.
    pub(super) fn claim(&mut self, key: &K, holder: &Holder, now: Instant) -> Result<Claim, LeaseError> {
        if let Some(lease) = self.leases.get_mut(key) {
            if lease.holder == *holder {
                lease.until = now + self.bounds.length;
                return Ok(Claim::Leads);
            }
            if now < lease.until {
                return Ok(Claim::Follows { ended: lease.ended.subscribe(), until: lease.until });
            }
        }
        if now < self.grace {
            return Ok(Claim::Grace { until: self.grace });
        }
        self.give(key, holder, now)?;
        Ok(Claim::Leads)
    }

    /// Renews a lease; false if it is not, or no longer, the holder's.
    pub(super) fn renew(&mut self, key: &K, holder: &Holder, now: Instant) -> bool {
        match self.leases.get_mut(key) {
            // One that ran out, but that nobody has taken since, is still its holder's.
            Some(lease) if lease.holder == *holder => {
                lease.until = now + self.bounds.length;
                true
            }
            Some(lease) if now < lease.until => false,
            _ => now < self.grace && self.give(key, holder, now).is_ok(),
        }
    }

    pub(super) fn is_held_by(&self, key: &K, holder: &Holder) -> bool {
        self.leases.get(key).is_some_and(|lease| lease.holder == *holder)
    }

    /// Ends the key's lease, if there is one, and tells those that wait.
    pub(super) fn end(&mut self, key: &K, ended: Ended) {
        if let Some(lease) = self.leases.remove(key) {
            self.forget(&lease.holder.pod);
            lease.ended.send_replace(Some(ended));
        }
    }

    /// Forgets leases that ran out a whole lease ago: whoever waited for them has claimed since.
    pub(super) fn sweep(&mut self, now: Instant) {
        let lost: Vec<K> =
            self.leases.iter().filter(|(_, lease)| lease.until + self.bounds.length <= now).map(|(key, _)| key.clone()).collect();
        for key in lost {
            self.end(&key, Ended::Vacant);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.leases.len()
    }

    /// Gives the lease to `holder`, over one that ran out; those that waited for that one wait on.
    fn give(&mut self, key: &K, holder: &Holder, now: Instant) -> Result<(), LeaseError> {
        if self.of_pods.get(&holder.pod).is_some_and(|leases| *leases >= self.bounds.leases_of_a_pod) {
            return Err(LeaseError::PodFull);
        }
        let full = self.leases.len() >= self.bounds.leases;
        let before = match self.leases.entry(key.clone()) {
            Entry::Occupied(mut taken) => {
                let lease = taken.get_mut();
                lease.until = now + self.bounds.length;
                Some(std::mem::replace(&mut lease.holder, holder.clone()))
            }
            Entry::Vacant(_) if full => return Err(LeaseError::Full),
            Entry::Vacant(room) => {
                room.insert(Lease { holder: holder.clone(), until: now + self.bounds.length, ended: watch::Sender::new(None) });
                None
            }
        };
        if let Some(before) = before {
            self.forget(&before.pod);
        }
        *self.of_pods.entry(holder.pod.clone()).or_default() += 1;
        Ok(())
    }

    fn forget(&mut self, pod: &str) {
        if let Some(leases) = self.of_pods.get_mut(pod) {
            *leases -= 1;
            if *leases == 0 {
                self.of_pods.remove(pod);
            }
        }
    }
}
