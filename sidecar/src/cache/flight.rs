//! Equal calls in flight are one upstream call: the first leads, the others wait for what it brings.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

use super::{Key, entry::Entry, remote::lease::Lease};

/// How a leader's call ended for those who wait.
#[derive(Clone, Debug)]
pub(crate) enum Landing {
    /// A complete answer, of any status.
    Answered(Arc<Entry>),
    /// An answer that others can get only by asking themselves: not JSON-sized, not allowed to be shared.
    Alone,
    /// No complete answer. One of those who wait leads next.
    Lost,
}

type State = Option<Landing>;

/// The calls in flight by cache key.
#[derive(Clone, Default)]
pub(crate) struct Flights(Arc<Mutex<HashMap<Key, watch::Receiver<State>>>>);

/// What a call becomes that wants an answer.
pub(crate) enum Role {
    /// It asks upstream.
    Leader(Leader),
    /// It waits for an equal call.
    Follower(watch::Receiver<State>),
}

impl Flights {
    /// Joins the flight of `key`, or begins one.
    pub(crate) fn join(&self, key: Key) -> Role {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiting) = flights.get(&key) {
            return Role::Follower(waiting.clone());
        }
        let (land, waiting) = watch::channel(None);
        flights.insert(key, waiting);
        Role::Leader(Leader { flights: self.clone(), key, land, lease: None })
    }

    /// Lets nobody join the calls that are in flight now. Those who wait already still get what they bring.
    pub(crate) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Waits for the leader. A leader that vanished is a lost one.
pub(crate) async fn landed(mut waiting: watch::Receiver<State>) -> Landing {
    match waiting.wait_for(Option::is_some).await {
        Ok(landing) => landing.clone().unwrap_or(Landing::Lost),
        Err(_) => Landing::Lost,
    }
}

/// The call that asks upstream for all equal ones. Dropped without [`Leader::land`], its flight is lost.
pub(crate) struct Leader {
    flights: Flights,
    key: Key,
    land: watch::Sender<State>,
    /// The lead among all pods too.
    lease: Option<Lease>,
}

impl Leader {
    /// Leads the equal calls of other pods as well.
    pub(crate) fn of_all_pods(mut self, lease: Lease) -> Self {
        self.lease = Some(lease);
        self
    }

    /// The lead among all pods, which ends by itself.
    pub(crate) fn lease(&mut self) -> Option<Lease> {
        self.lease.take()
    }

    /// Ends the flight. What is to be found in the cache must be there before.
    pub(crate) fn land(self, landing: Landing) {
        self.end(landing);
    }

    fn end(&self, landing: Landing) {
        // Out of the map first: a call that comes now must look into the cache, not wait for a flight that is over.
        let mut flights = self.flights.0.lock().unwrap_or_else(PoisonError::into_inner);
        if flights.get(&self.key).is_some_and(|flight| flight.same_channel(&self.land.subscribe())) {
            flights.remove(&self.key);
        }
        drop(flights);
        self.land.send_replace(Some(landing));
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        if self.land.borrow().is_none() {
            self.end(Landing::Lost);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leader(role: Role) -> Leader {
        match role {
            Role::Leader(leader) => leader,
            Role::Follower(_) => panic!("expected to lead"),
        }
    }

    fn follower(role: Role) -> watch::Receiver<State> {
        match role {
            Role::Follower(waiting) => waiting,
            Role::Leader(_) => panic!("expected to follow"),
        }
    }

    #[tokio::test]
    async fn a_lost_leader_leaves_the_lead_to_one_follower() {
        let flights = Flights::default();
        let first = leader(flights.join([1; 32]));
        let (second, third) = (follower(flights.join([1; 32])), follower(flights.join([1; 32])));
        drop(first);
        assert!(matches!(landed(second).await, Landing::Lost));
        assert!(matches!(landed(third).await, Landing::Lost));
        let next = leader(flights.join([1; 32]));
        let waiting = follower(flights.join([1; 32]));
        next.land(Landing::Alone);
        assert!(matches!(landed(waiting).await, Landing::Alone));
    }

    #[tokio::test]
    async fn a_forgotten_flight_lands_for_those_who_wait_and_leaves_the_next_alone() {
        let flights = Flights::default();
        let old = leader(flights.join([1; 32]));
        let waiting = follower(flights.join([1; 32]));
        flights.forget();
        let _new = leader(flights.join([1; 32]));
        old.land(Landing::Alone);
        assert!(matches!(landed(waiting).await, Landing::Alone));
        follower(flights.join([1; 32]));
    }

    #[tokio::test]
    async fn different_keys_fly_apart() {
        let flights = Flights::default();
        let _first = leader(flights.join([1; 32]));
        let _second = leader(flights.join([2; 32]));
    }
}
