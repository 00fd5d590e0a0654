//! Looking for what keeps pods from starting: they wait, or the API server does not take them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, Namespace};
use kube::Client;
use kube::api::{Api, ListParams};
use tokio::task::JoinHandle;

use super::Error;
use super::plan::Refused;
use super::plan::waiting::Waiting;
use crate::context::{Context, Memory};
use crate::diagnose;
use crate::objects::job::{JobView, Place};
use crate::objects::scoring::ScoringView;
use crate::pods;
use crate::run::Run;
use crate::slim_pod::SlimPod;

/// How often pods and Events are asked for while a run is held up.
const INTERVAL: Duration = Duration::from_secs(5);
/// So long a look waits for what is asked. An API server with thousands of pods takes seconds for a list of them: then a later look has the answer.
const MOMENT: Duration = Duration::from_millis(25);

/// A question to the API server that may outlast the look that asked it.
#[derive(Debug)]
pub struct Inquiry(JoinHandle<Result<Found, Error>>);

/// What holds a run up.
#[derive(Debug, Default)]
struct Found {
    waiting: Vec<Waiting>,
    refused: Option<Refused>,
    is_namespace_ending: bool,
}

/// Looks for what holds a run's trials up, if something seems to, and not too often: what is found stays in the memory.
///
/// # Errors
/// The API server's.
pub async fn look(context: &Context, run: &Run, jobs: &BTreeMap<Place, JobView>, memory: &mut Memory, now: Timestamp) -> Result<(), Error> {
    let running = || jobs.values().filter(|job| !job.suspended && !job.deleting && job.need() > 0);
    let not_ready = running().any(|job| job.active > job.ready);
    let too_few: Vec<&JobView> = running().filter(|job| job.active < job.need().min(job.parallelism)).collect();
    let is_due = memory.inquiry.is_none() && memory.asked_at.is_none_or(|at| at.elapsed() >= INTERVAL);
    if is_due && (not_ready || !too_few.is_empty()) {
        memory.asked_at = Some(Instant::now());
        let client = context.clients.prompt.clone();
        let stuck = stuck(&too_few, memory);
        memory.inquiry = Some(Inquiry(tokio::spawn(ask(client, run.namespace.clone(), run.name.clone(), not_ready, stuck, now))));
    }
    answered(memory).await?;
    if !not_ready {
        memory.waiting.clear();
    }
    if too_few.is_empty() {
        memory.refused = None;
    }
    Ok(())
}

/// The uid of a Job that gets no pods. Jobs whose pods come and go lack some all the time, and Events are read from the API server's disk: one that
/// got no further since, and any for as long as something was refused.
fn stuck(too_few: &[&JobView], memory: &mut Memory) -> Option<String> {
    let is_stuck = |job: &&&JobView| memory.refused.is_some() || memory.pods_made.get(&job.uid) == Some(&job.pods_made());
    let stuck = too_few.iter().find(is_stuck).map(|job| job.uid.clone());
    memory.pods_made = too_few.iter().map(|job| (job.uid.clone(), job.pods_made())).collect();
    stuck
}

/// Notes what was found, unless that takes longer than a moment.
async fn answered(memory: &mut Memory) -> Result<(), Error> {
    let Some(Inquiry(task)) = &mut memory.inquiry else { return Ok(()) };
    let Ok(outcome) = tokio::time::timeout(MOMENT, task).await else { return Ok(()) };
    memory.inquiry = None;
    let found = outcome.map_err(Error::Task)??;
    (memory.waiting, memory.refused) = (found.waiting, found.refused);
    // It does not come back.
    memory.is_namespace_ending |= found.is_namespace_ending;
    Ok(())
}

async fn ask(
    client: Client,
    namespace: String,
    run: String,
    not_ready: bool,
    stuck: Option<String>,
    now: Timestamp,
) -> Result<Found, Error> {
    let waiting = async {
        let api: Api<SlimPod> = Api::namespaced(client.clone(), &namespace);
        if not_ready { pods::waiting(&api, &run, now).await.map_err(|source| Error::Pods(Box::new(source))) } else { Ok(Vec::new()) }
    };
    let refused = async {
        let Some(job) = stuck else { return Ok((false, None)) };
        futures::try_join!(is_ending(&client, &namespace), refusal(&client, &namespace, &job, now))
    };
    let (waiting, (is_namespace_ending, refused)) = futures::try_join!(waiting, refused)?;
    Ok(Found { waiting, refused, is_namespace_ending })
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
async fn is_ending(client: &Client, namespace: &str) -> Result<bool, Error> {
    let api: Api<Namespace> = Api::all(client.clone());
    let found = api.get_metadata_opt(namespace).await.map_err(|source| Error::Namespace(Box::new(source)))?;
    Ok(found.is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_some()))
}

/// Why a Job's pods cannot be made, as its controller tells by Events.
async fn refusal(client: &Client, namespace: &str, job: &str, now: Timestamp) -> Result<Option<Refused>, Error> {
    let api: Api<Event> = Api::namespaced(client.clone(), namespace);
    let params = ListParams::default().fields(&format!("involvedObject.uid={job},reason=FailedCreate")).limit(50);
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

    async fn after(outcome: impl Future<Output = Result<Found, Error>> + Send + 'static) -> (Result<(), Error>, Memory) {
        let refused = Some(refused("exceeded quota"));
        let mut memory = Memory { inquiry: Some(Inquiry(tokio::spawn(outcome))), refused, is_namespace_ending: true, ..Memory::default() };
        (answered(&mut memory).await, memory)
    }

    #[tokio::test]
    async fn a_look_notes_what_was_found_and_does_not_wait_for_a_slow_answer() {
        let (ended, memory) = after(async { Ok(Found::default()) }).await;
        assert!(ended.is_ok() && memory.inquiry.is_none() && memory.refused.is_none() && memory.is_namespace_ending, "{memory:?}");

        let (ended, memory) = after(async { Err(Error::Timeout) }).await;
        assert!(matches!(ended, Err(Error::Timeout)) && memory.inquiry.is_none() && memory.refused.is_some(), "{memory:?}");

        let (answer, asked) = tokio::sync::oneshot::channel();
        let (ended, mut memory) = after(async { asked.await.map_err(|_| Error::Timeout) }).await;
        assert!(ended.is_ok() && memory.inquiry.is_some() && memory.refused.is_some(), "{memory:?}");
        answer.send(Found::default()).unwrap();
        while memory.inquiry.is_some() {
            answered(&mut memory).await.unwrap();
        }
        assert!(memory.refused.is_none(), "{memory:?}");
    }

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
