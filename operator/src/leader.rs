//! Leader election by a Lease: one replica reconciles, all of them serve admission.
//!
//! [`evaluate`] decides and is pure. Time is each replica's own: a lease is over when it was seen unchanged for its whole duration, so
//! that clocks need not agree. Who loses the lease ends its process: nothing of it may go on writing.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::PostParams;
use kube::{Api, Client};
use thiserror::Error;

/// The Lease's name.
pub const LEASE: &str = "agentrun-operator";

/// What a replica does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nobody leads: take the lease.
    Acquire,
    /// It is ours: say so again.
    Renew,
    /// Another leads.
    Wait,
}

/// What was seen of the lease, and for how long it has not changed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seen<'a> {
    /// Who holds it; empty after it was given up.
    pub holder: &'a str,
    /// Its duration, seconds.
    pub seconds: u64,
    /// Seconds since it was last seen to change.
    pub unchanged: f64,
}

/// Decides; `None` where there is no lease yet.
pub fn evaluate(seen: Option<Seen<'_>>, identity: &str) -> Step {
    match seen {
        None => Step::Acquire,
        Some(seen) if seen.holder == identity => Step::Renew,
        Some(seen) if seen.holder.is_empty() || seen.unchanged >= seen.seconds as f64 => Step::Acquire,
        Some(_) => Step::Wait,
    }
}

/// Why the lease could not be asked for.
#[derive(Debug, Error)]
pub enum LeaderError {
    /// Another replica took it, or it could not be renewed in time.
    #[error("the lease was lost")]
    Lost,
}

/// A replica that wants to lead.
pub struct Candidate {
    api: Api<Lease>,
    identity: String,
    duration: Duration,
    seen: Option<(Lease, Instant)>,
}

impl Candidate {
    /// A candidate under a name that no other replica has.
    pub fn new(client: Client, namespace: &str, identity: String, duration: Duration) -> Self {
        Self { api: Api::namespaced(client, namespace), identity, duration, seen: None }
    }

    /// Waits until this replica leads.
    pub async fn acquire(&mut self) {
        loop {
            match tokio::time::timeout(self.duration / 3, self.attempt()).await {
                Ok(Ok(true)) => return,
                Ok(Ok(false)) => {}
                Ok(Err(error)) => tracing::warn!(error = %crate::sentence(&error), "could not ask for the lease"),
                Err(_) => tracing::warn!("to ask for the lease took too long"),
            }
            tokio::time::sleep(self.duration / 4).await;
        }
    }

    /// Holds the lease until it is lost.
    pub async fn hold(&mut self) -> LeaderError {
        let mut renewed = Instant::now();
        // One that cannot renew stops before another may start.
        let patience = self.duration * 2 / 3;
        loop {
            tokio::time::sleep(self.duration / 5).await;
            let left = patience.saturating_sub(renewed.elapsed());
            match tokio::time::timeout(left.min(self.duration / 3), self.attempt()).await {
                Ok(Ok(true)) => renewed = Instant::now(),
                Ok(Ok(false)) => return LeaderError::Lost,
                Ok(Err(error)) => tracing::warn!(error = %crate::sentence(&error), "could not renew the lease"),
                Err(_) => tracing::warn!("the lease's renewal took too long"),
            }
            if renewed.elapsed() >= patience {
                return LeaderError::Lost;
            }
        }
    }

    /// Gives the lease up, so that another replica need not wait for its end.
    pub async fn release(&mut self) {
        if tokio::time::timeout(self.duration / 3, self.let_go()).await.is_err() {
            tracing::warn!("to give the lease up took too long");
        }
    }

    async fn let_go(&self) {
        let Ok(Some(mut lease)) = self.api.get_opt(LEASE).await else { return };
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() == Some(&self.identity) {
            spec.holder_identity = Some(String::new());
            spec.renew_time = Some(MicroTime(Timestamp::now()));
            if let Err(error) = self.api.replace(LEASE, &PostParams::default(), &lease).await {
                tracing::warn!(error = %crate::sentence(&error), "could not give the lease up");
            }
        }
    }

    /// One look and, where it is due, one write. Whether this replica leads now. A write bears the version that was seen: of two replicas
    /// that write at once, one fails.
    async fn attempt(&mut self) -> Result<bool, kube::Error> {
        let lease = self.api.get_opt(LEASE).await?;
        let step = self.look(lease.as_ref());
        let written = match (step, lease) {
            (Step::Wait, _) => return Ok(false),
            (_, None) => self.api.create(&PostParams::default(), &self.fresh()).await,
            (step, Some(lease)) => self.api.replace(LEASE, &PostParams::default(), &self.taken(lease, step)).await,
        };
        match written {
            Ok(lease) => {
                self.seen = Some((lease, Instant::now()));
                Ok(true)
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn look(&mut self, lease: Option<&Lease>) -> Step {
        let Some(lease) = lease else { return Step::Acquire };
        if self.seen.as_ref().is_none_or(|(before, _)| before.spec != lease.spec) {
            self.seen = Some((lease.clone(), Instant::now()));
        }
        let since = self.seen.as_ref().map_or(0.0, |(_, since)| since.elapsed().as_secs_f64());
        let spec = lease.spec.clone().unwrap_or_default();
        let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(self.duration.as_secs());
        evaluate(Some(Seen { holder: spec.holder_identity.as_deref().unwrap_or_default(), seconds, unchanged: since }), &self.identity)
    }

    fn fresh(&self) -> Lease {
        let mut lease = Lease::default();
        lease.metadata.name = Some(LEASE.to_owned());
        lease.spec = Some(LeaseSpec { lease_transitions: Some(0), ..self.spec() });
        lease
    }

    fn taken(&self, mut lease: Lease, step: Step) -> Lease {
        let before = lease.spec.take().unwrap_or_default();
        let transitions = before.lease_transitions.unwrap_or_default() + i32::from(step == Step::Acquire);
        let mut spec = LeaseSpec { lease_transitions: Some(transitions), ..self.spec() };
        if step == Step::Renew {
            spec.acquire_time = before.acquire_time;
        }
        lease.spec = Some(spec);
        lease
    }

    fn spec(&self) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(self.duration.as_secs()).ok(),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            ..LeaseSpec::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_leads_until_it_is_silent_or_gives_up() {
        let seen = |holder, unchanged| Some(Seen { holder, seconds: 15, unchanged });
        let table = [
            (None, Step::Acquire),
            (seen("me", 0.0), Step::Renew),
            (seen("me", 99.0), Step::Renew),
            (seen("", 0.0), Step::Acquire),
            (seen("other", 14.9), Step::Wait),
            (seen("other", 15.0), Step::Acquire),
        ];
        for (seen, step) in table {
            assert_eq!(evaluate(seen, "me"), step, "{seen:?}");
        }
    }
}
