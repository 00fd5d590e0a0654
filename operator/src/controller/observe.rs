//! Looking: Jobs from the watch, the dataset once, the hub with one request, pods and Events only where something is held up.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use agentrun_crds::AgentRunSpec;
use agentrun_crds::dataset::DatasetSource;
use agentrun_protocol::run::{Aggregate, Observation, Registration};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::Api;

use super::plan::{DatasetView, HubView, Observed, again};
use super::{Error, held_up};
use crate::context::{Context, Memory};
use crate::dataset::{self, Datapoints, Problem, Source};
use crate::diagnose;
use crate::hub::HubError;
use crate::objects::job::{JobView, Place};
use crate::objects::scoring::ScoringView;
use crate::pods::FailedPod;
use crate::run::Run;

/// How often the dataset's source is compared with what the run was started with.
const DRIFT_INTERVAL: Duration = Duration::from_secs(30);

/// What a look found, and how long the hub took for it.
pub struct Look {
    /// For the plan.
    pub observed: Observed,
    /// Seconds.
    pub hub_seconds: f64,
}

/// Looks at a run.
///
/// # Errors
/// The API server's. That the hub is away is no error, but something seen.
pub async fn look(context: &Context, run: &Run, memory: &mut Memory, now: Timestamp) -> Result<Look, Error> {
    let (jobs, scoring) = children(context, run);
    let mut observed = Observed {
        jobs,
        scoring,
        dataset: DatasetView::Waiting,
        drift: None,
        hub: HubView::NotAsked,
        waiting: Vec::new(),
        refused: None,
        is_namespace_ending: false,
    };
    let mut hub_seconds = 0.0;
    let Ok(spec) = &run.spec else { return Ok(Look { observed, hub_seconds }) };
    if run.status_text("phase") == Some("Complete") {
        observed.dataset = known(run).unwrap_or(DatasetView::Waiting);
        return Ok(Look { observed, hub_seconds });
    }
    let begun = Instant::now();
    observed.dataset = match registered(context, run, spec, memory).await? {
        Ok(view) => view,
        Err(error) => {
            observed.hub = HubView::Away(error.sentence());
            known(run).unwrap_or(DatasetView::Waiting)
        }
    };
    if matches!(observed.dataset, DatasetView::Ready { .. }) && !matches!(observed.hub, HubView::Away(_)) {
        observed.hub = sums(context, run, &observed.jobs, memory).await;
    }
    hub_seconds += begun.elapsed().as_secs_f64();
    if matches!(observed.dataset, DatasetView::Ready { .. }) {
        observed.drift = drift(context, run, spec, memory).await?;
    }
    held_up::look(context, run, &observed.jobs, memory, now).await?;
    if let Some(scoring) = &mut observed.scoring {
        held_up::scoring(context, run, scoring, memory, now).await?;
    }
    observed.waiting = memory.waiting.clone();
    observed.refused = memory.refused.clone();
    observed.is_namespace_ending = memory.is_namespace_ending;
    Ok(Look { observed, hub_seconds })
}

/// The run's Jobs, from the watch.
fn children(context: &Context, run: &Run) -> (BTreeMap<Place, JobView>, Option<ScoringView>) {
    let mut jobs = BTreeMap::new();
    let mut scoring = None;
    for job in context.jobs.state() {
        if is_of(&job, run) {
            jobs.extend(JobView::read(&job));
            scoring = scoring.or_else(|| ScoringView::read(&job));
        }
    }
    (jobs, scoring)
}

fn is_of(job: &Job, run: &Run) -> bool {
    let owners = job.metadata.owner_references.as_deref().unwrap_or_default();
    job.metadata.namespace.as_deref() == Some(&run.namespace) && owners.iter().any(|owner| owner.uid == run.uid)
}

fn known(run: &Run) -> Option<DatasetView> {
    run.dataset().map(|(datapoints, digest)| DatasetView::Ready { datapoints, digest: digest.to_owned() })
}

/// Sees to it that the hub knows the run as it is now. The datapoints are read when it does not know them.
async fn registered(
    context: &Context,
    run: &Run,
    spec: &AgentRunSpec,
    memory: &mut Memory,
) -> Result<Result<DatasetView, HubError>, Error> {
    if let Some(view) = known(run) {
        if memory.registered == Some(run.generation) {
            return Ok(Ok(view));
        }
        match register(context, run, Vec::new()).await {
            Ok(()) => {
                memory.registered = Some(run.generation);
                return Ok(Ok(view));
            }
            Err(error) if error.is_unknown() => {}
            Err(error) => return Ok(Err(error)),
        }
    }
    let read = match read(context, run, spec).await? {
        Ok(read) => read,
        Err(problem) => return Ok(Ok(DatasetView::Problem(problem))),
    };
    if let Some((_, digest)) = run.dataset()
        && digest != read.digest
    {
        let message = "they are others than those that the run was started with".to_owned();
        return Ok(Ok(DatasetView::Problem(Problem { reason: "DatasetChanged", message })));
    }
    let view = DatasetView::Ready { datapoints: read.items.len() as u64, digest: read.digest };
    match register(context, run, read.items).await {
        Ok(()) => {}
        // We told it before, and did not come to write the status: the source has changed since.
        Err(error) if error.is_conflict() => return Ok(taken_before(context, run, spec).await),
        Err(error) => return Ok(Err(error)),
    }
    memory.registered = Some(run.generation);
    Ok(Ok(view))
}

async fn register(context: &Context, run: &Run, datapoints: Vec<serde_json::Value>) -> Result<(), HubError> {
    let registration = Registration { uid: run.uid.clone(), generation: run.generation, spec: run.raw_spec.clone(), datapoints };
    context.hub.register(&run.namespace, &run.name, &registration).await
}

/// How many datapoints the hub has of a run whose status does not say so.
async fn taken_before(context: &Context, run: &Run, spec: &AgentRunSpec) -> Result<DatasetView, HubError> {
    let observation = Observation { uid: run.uid.clone(), ..Observation::default() };
    let told = context.hub.observe(&run.namespace, &run.name, &observation).await?;
    let total = told.status.pointer("/trials/total").and_then(serde_json::Value::as_u64).unwrap_or_default();
    let samples = u64::try_from(spec.samples).unwrap_or(1).max(1);
    let combos = spec.combos().map_or(1, |combos| combos.len() as u64);
    Ok(DatasetView::Ready { datapoints: total / (samples * combos).max(1), digest: "unknown".to_owned() })
}

/// Reads the datapoints from where the spec says they are.
async fn read(context: &Context, run: &Run, spec: &AgentRunSpec) -> Result<Result<Datapoints, Problem>, Error> {
    let source = source(context, run, spec).await?;
    let spec = spec.clone();
    // A megabyte of JSON lines takes its time: other runs do not wait for it.
    tokio::task::spawn_blocking(move || dataset::read(&spec, &source)).await.map_err(Error::Task)
}

async fn source(context: &Context, run: &Run, spec: &AgentRunSpec) -> Result<Source, Error> {
    let DatasetSource::ConfigMap(key) = spec.dataset.source() else { return Ok(Source::Inline) };
    let api: Api<ConfigMap> = Api::namespaced(context.clients.prompt.clone(), &run.namespace);
    let Some(found) = api.get_opt(&key.name).await.map_err(|source| Error::Dataset(Box::new(source)))? else {
        return Ok(Source::NoConfigMap);
    };
    let (mut text, mut binary) = (found.data.unwrap_or_default(), found.binary_data.unwrap_or_default());
    if let Some(text) = text.remove(&key.key) {
        return Ok(Source::Found(text.into_bytes()));
    }
    if let Some(bytes) = binary.remove(&key.key) {
        return Ok(Source::Found(bytes.0));
    }
    Ok(Source::NoKey(text.into_keys().chain(binary.into_keys()).take(20).collect()))
}

/// Tells the hub of Jobs and failed pods, and asks for its sums.
async fn sums(context: &Context, run: &Run, jobs: &BTreeMap<Place, JobView>, memory: &mut Memory) -> HubView {
    let pods = context.failed.of(&run.namespace, &run.name, |uid| jobs.values().any(|job| job.uid == uid));
    // A Job that was suspended has its pods deleted: that is our own doing, and nothing is wrong with them.
    let (stopped, pods): (Vec<FailedPod>, Vec<FailedPod>) = pods.into_iter().partition(|pod| was_stopped(pod, jobs));
    context.failed.told(&run.namespace, &run.name, &stopped);
    let retries = run.spec.as_ref().map_or(0, |spec| u64::try_from(spec.limits.retries).unwrap_or_default());
    let told = pods.iter().map(|pod| pod.failure.clone()).collect();
    let stopped = run.spec.as_ref().is_ok_and(|spec| spec.suspend) && jobs.values().all(|job| job.active == 0);
    let observation = Observation { uid: run.uid.clone(), jobs: again::progress(jobs, retries), pods: told, stopped };
    match context.hub.observe(&run.namespace, &run.name, &observation).await {
        Ok(told) => {
            note_told(context, run, memory, &pods);
            HubView::Told(Box::<Aggregate>::new(told))
        }
        Err(error) => {
            // It has lost the run: the next look registers it again.
            if error.is_unknown() {
                memory.registered = None;
            }
            HubView::Away(error.sentence())
        }
    }
}

fn was_stopped(pod: &FailedPod, jobs: &BTreeMap<Place, JobView>) -> bool {
    pod.failure.message == diagnose::DELETED && jobs.get(&pod.place).is_some_and(|job| job.suspended)
}

/// The hub knows of these pods: they may go.
pub fn note_told(context: &Context, run: &Run, memory: &mut Memory, pods: &[FailedPod]) {
    context.failed.told(&run.namespace, &run.name, pods);
    memory.told.extend(pods.iter().map(|pod| (pod.place, pod.own)));
}

/// Whether the dataset's source is still what the run was started with.
async fn drift(context: &Context, run: &Run, spec: &AgentRunSpec, memory: &mut Memory) -> Result<Option<String>, Error> {
    let (DatasetSource::ConfigMap(key), Some((_, digest))) = (spec.dataset.source(), run.dataset()) else { return Ok(None) };
    if let Some((at, drift)) = &memory.drift
        && at.elapsed() < DRIFT_INTERVAL
    {
        return Ok(drift.clone());
    }
    let what = match read(context, run, spec).await? {
        Ok(read) if read.digest == digest || digest == "unknown" => None,
        Ok(_) => Some("has changed"),
        Err(problem) if problem.reason == "DatasetMissing" => Some("is gone"),
        Err(_) => Some("has changed, and cannot be read"),
    };
    let drift = what.map(|what| {
        format!("ConfigMap `{}` {what} since the run started; the run keeps the datapoints that it read: delete it and apply it again for others", key.name)
    });
    memory.drift = Some((Instant::now(), drift.clone()));
    Ok(drift)
}

#[cfg(test)]
mod tests {
    use agentrun_protocol::run::PodFailure;

    use super::*;

    #[test]
    fn only_pods_that_were_deleted_under_a_suspended_job_were_stopped_by_us() {
        let jobs = |suspended| BTreeMap::from([(Place::first(0, 0), JobView { suspended, ..JobView::default() })]);
        let failure = |message: &str| PodFailure {
            pod_uid: "a".into(),
            combo: 0,
            chunk: 0,
            index: 0,
            reason: "Evicted".into(),
            message: message.into(),
            exit_code: None,
        };
        let pod = |message| FailedPod { job: "j".into(), place: Place::first(0, 0), own: 0, failure: failure(message) };
        assert!(was_stopped(&pod(diagnose::DELETED), &jobs(true)));
        assert!(!was_stopped(&pod(diagnose::DELETED), &jobs(false)));
        assert!(!was_stopped(&pod("The node was low on memory"), &jobs(true)));
    }
}
