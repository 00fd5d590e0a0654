//! Looking for what keeps pods from starting: they wait, or the API server does not take them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, Namespace};
use kube::api::{Api, ListParams};

use super::Error;
use super::plan::Refused;
use crate::context::{Context, Memory};
use crate::diagnose;
use crate::objects::job::{JobView, Place};
use crate::objects::scoring::ScoringView;
use crate::pods;
use crate::run::Run;
use crate::slim_pod::SlimPod;

/// How often pods and Events are asked for while a run is held up.
const INTERVAL: Duration = Duration::from_secs(5);

/// Looks for what holds a run's trials up, if something seems to, and not too often: what is found stays in the memory.
///
/// # Errors
/// The API server's.
pub async fn look(context: &Context, run: &Run, jobs: &BTreeMap<Place, JobView>, memory: &mut Memory, now: Timestamp) -> Result<(), Error> {
    let running = || jobs.values().filter(|job| !job.suspended && !job.deleting && job.need() > 0);
    let not_ready = running().any(|job| job.active > job.ready);
    let too_few: BTreeMap<&str, &JobView> =
        running().filter(|job| job.active < job.need().min(job.parallelism)).map(|job| (job.uid.as_str(), job)).collect();
    if !not_ready {
        memory.waiting.clear();
    }
    if too_few.is_empty() {
        memory.refused = None;
    }
    if (!not_ready && too_few.is_empty()) || memory.looked_at.is_some_and(|at| at.elapsed() < INTERVAL) {
        return Ok(());
    }
    memory.looked_at = Some(Instant::now());
    // Jobs whose pods come and go lack some all the time. Events are read from the API server's disk: only for one that got no further since,
    // and for as long as something was refused.
    let is_stuck = |job: &JobView| memory.refused.is_some() || memory.pods_made.get(&job.uid) == Some(&job.pods_made());
    let stuck = too_few.values().copied().find(|job| is_stuck(job));
    memory.pods_made = too_few.iter().map(|(uid, job)| ((*uid).to_owned(), job.pods_made())).collect();
    let waiting = async {
        let api: Api<SlimPod> = Api::namespaced(context.clients.prompt.clone(), &run.namespace);
        if not_ready { pods::waiting(&api, &run.name, now).await.map_err(|source| Error::Pods(Box::new(source))) } else { Ok(Vec::new()) }
    };
    let refused = async {
        let Some(job) = stuck else { return Ok((false, None)) };
        futures::try_join!(is_ending(context, run), refusal(context, run, job, now))
    };
    let (waiting, (is_namespace_ending, refused)) = futures::try_join!(waiting, refused)?;
    memory.waiting = waiting;
    if !too_few.is_empty() {
        (memory.is_namespace_ending, memory.refused) = (is_namespace_ending, refused);
    }
    Ok(())
}

/// Looks at the pods of a scoring Job that failed, or that takes its time.
///
/// # Errors
/// The API server's.
pub async fn scoring(context: &Context, run: &Run, scoring: &mut ScoringView, memory: &mut Memory, now: Timestamp) -> Result<(), Error> {
    let (at, known) = &mut memory.scoring;
    let is_due = scoring.active > 0 && at.is_none_or(|at| at.elapsed() >= INTERVAL);
    // What is said of a failure lasts.
    if is_due || scoring.failed.is_some() {
        let api: Api<SlimPod> = Api::namespaced(context.clients.prompt.clone(), &run.namespace);
        *known = pods::scoring(&api, &run.name, now).await.map_err(|source| Error::Pods(Box::new(source)))?;
        *at = Some(Instant::now());
    }
    scoring.problem.clone_from(known);
    Ok(())
}

/// Whether the run's namespace is being deleted.
async fn is_ending(context: &Context, run: &Run) -> Result<bool, Error> {
    let api: Api<Namespace> = Api::all(context.clients.prompt.clone());
    let found = api.get_metadata_opt(&run.namespace).await.map_err(|source| Error::Namespace(Box::new(source)))?;
    Ok(found.is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_some()))
}

/// Why a Job's pods cannot be made, as its controller tells by Events.
async fn refusal(context: &Context, run: &Run, job: &JobView, now: Timestamp) -> Result<Option<Refused>, Error> {
    let api: Api<Event> = Api::namespaced(context.clients.prompt.clone(), &run.namespace);
    let params = ListParams::default().fields(&format!("involvedObject.uid={},reason=FailedCreate", job.uid)).limit(50);
    let events = api.list(&params).await.map_err(|source| Error::Events(Box::new(source)))?;
    let latest = events.items.into_iter().filter_map(|event| {
        let time = event.last_timestamp.as_ref().map(|time| time.0).or(event.event_time.as_ref().map(|time| time.0));
        Some((time.or(event.metadata.creation_timestamp.map(|time| time.0))?, event.message?))
    });
    // The Job controller waits longer each time, up to ten minutes.
    let recent = latest.filter(|(time, _)| now.duration_since(*time).as_secs() < 660).max_by_key(|(time, _)| *time);
    Ok(recent.map(|(_, message)| refused(&message)))
}

/// What a sentence of the API server about a pod means.
pub fn refused(message: &str) -> Refused {
    let message: String = message.chars().take(500).collect();
    let reason = if message.contains("exceeded quota") { "QuotaExceeded" } else { "PodRefused" };
    let advice = diagnose::advice(&message);
    Refused { reason, message: format!("the API server does not take the run's pods: {message}{advice}"), is_final: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_told_from_other_refusals() {
        let quota = refused("pods \"x\" is forbidden: exceeded quota: compute, requested: pods=1, used: pods=5, limited: pods=5");
        assert_eq!((quota.reason, quota.is_final), ("QuotaExceeded", false));
        let unsaid = refused("pods \"x\" is forbidden: failed quota: strict: must specify limits.cpu for: agent; limits.memory for: agent");
        assert_eq!(unsaid.reason, "PodRefused", "it is not full");
        assert!(unsaid.message.ends_with("or give the namespace a LimitRange with defaults"), "{}", unsaid.message);
        let policy = refused("pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false");
        assert_eq!(policy.reason, "PodRefused");
        assert!(policy.message.contains("violates PodSecurity"));
    }
}
