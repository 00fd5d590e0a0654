//! Doing what the plan says: Jobs are made and changed, pods that are of no more use go, the status is written if it has changed.

use std::time::Instant;

use agentrun_protocol::run::Observation;
use futures::StreamExt as _;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::Status;
use kube::runtime::events::{Event, EventType};
use serde_json::{Value, json};

use super::plan::harvest::{self, Collected, Collection};
use super::plan::waiting::Waiting;
use super::plan::{Observed, Plan, Refused, done, notes::Note, status};
use super::{Error, observe};
use crate::context::{Context, Memory};
use crate::objects::job::Place;
use crate::objects::labels;
use crate::run::Run;

/// Jobs made at once.
const AT_ONCE: usize = 8;
/// Failed pods are removed when there are so many,
const WORTH_A_REQUEST: usize = 50;
/// or when the last removal is so many seconds ago.
const REMOVAL_SECONDS: u64 = 15;
/// Indexes in one selector.
const IN_ONE_SELECTOR: usize = 200;

/// Makes and changes Jobs. What the API server refuses for good is told, not an error: asking again would not help.
///
/// # Errors
/// The API server's, where asking again may help.
pub async fn jobs(context: &Context, run: &Run, plan: &Plan) -> Result<Option<Refused>, Error> {
    let api: Api<Job> = Api::namespaced(context.client.clone(), &run.namespace);
    for name in &plan.delete {
        context.metrics.wrote("delete", "jobs");
        match api.delete(name, &DeleteParams::background()).await {
            Err(error) if !is(&error, 404) => return Err(Error::Job(Box::new(error))),
            _ => {}
        }
    }
    for change in &plan.change {
        set_window(context, &api, change).await?;
    }
    let made: Vec<_> = plan.create.iter().map(|object| create(context, &api, run, object)).collect();
    let outcomes: Vec<Result<Option<Refused>, Error>> = futures::stream::iter(made).buffer_unordered(AT_ONCE).collect().await;
    let mut refused = None;
    for outcome in outcomes {
        refused = refused.or(outcome?);
    }
    Ok(refused)
}

async fn set_window(context: &Context, api: &Api<Job>, change: &Value) -> Result<(), Error> {
    let name = change.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    context.metrics.wrote("patch", "jobs");
    match api.patch(name, &PatchParams::apply(&super::manager("window")).force(), &Patch::Apply(change)).await {
        // Gone, or another of the same name: the next look sees it.
        Err(error) if is(&error, 404) || is(&error, 409) => Ok(()),
        Err(error) => Err(Error::Job(Box::new(error))),
        Ok(_) => Ok(()),
    }
}

async fn create(context: &Context, api: &Api<Job>, run: &Run, object: &Value) -> Result<Option<Refused>, Error> {
    let job: Job = match serde_json::from_value(object.clone()) {
        Ok(job) => job,
        Err(error) => return Ok(Some(template_refused(&error.to_string()))),
    };
    context.metrics.wrote("create", "jobs");
    let params = PostParams { field_manager: Some(agentrun_protocol::names::MANAGER.to_owned()), ..PostParams::default() };
    match api.create(&params, &job).await {
        Ok(_) => Ok(None),
        Err(error) if is(&error, 409) => taken(api, run, &job).await,
        Err(kube::Error::Api(status)) if status.code == 422 || status.code == 400 => Ok(Some(template_refused(&status.message))),
        Err(kube::Error::Api(status)) if status.code == 403 && !is_namespace_ending(&status) => Ok(Some(observe::refused(&status.message))),
        Err(error) => Err(Error::Job(Box::new(error))),
    }
}

fn template_refused(message: &str) -> Refused {
    let message: String = message.chars().take(1000).collect();
    Refused { reason: "TemplateRefused", message: format!("the API server does not take the run's Job: {message}"), is_final: true }
}

fn is_namespace_ending(status: &Status) -> bool {
    status.message.contains("being terminated")
}

/// A Job of that name is there: ours, as the watch is behind; one that is going; or a stranger's.
async fn taken(api: &Api<Job>, run: &Run, job: &Job) -> Result<Option<Refused>, Error> {
    let name = job.metadata.name.as_deref().unwrap_or_default();
    let Some(found) = api.get_opt(name).await.map_err(|source| Error::Job(Box::new(source)))? else { return Ok(None) };
    let owners = found.metadata.owner_references.as_deref().unwrap_or_default();
    if owners.iter().any(|owner| owner.uid == run.uid) || found.metadata.deletion_timestamp.is_some() {
        return Ok(None);
    }
    let was_ours = found.metadata.labels.as_ref().and_then(|labels| labels.get(agentrun_protocol::names::RUN_LABEL)) == Some(&run.name);
    if was_ours && owners.iter().any(|owner| owner.kind == agentrun_crds::agent_run::KIND) {
        // A run of the same name that was deleted: its Job goes soon.
        return Ok(None);
    }
    let message = format!("there is a Job `{name}` that the operator did not make: delete it, or name the run otherwise");
    Ok(Some(Refused { reason: "NameTaken", message, is_final: true }))
}

/// Tells the hub of pods that will not start, and deletes them: the Job controller counts each as a failed try.
///
/// # Errors
/// The API server's. Without the hub they stay as they are.
pub async fn give_up(context: &Context, run: &Run, given_up: &[Waiting]) -> Result<(), Error> {
    if given_up.is_empty() {
        return Ok(());
    }
    let pods = given_up.iter().map(Waiting::failure).collect();
    let observation = Observation { uid: run.uid.clone(), jobs: Vec::new(), pods };
    if let Err(error) = context.hub.observe(&run.namespace, &run.name, &observation).await {
        tracing::warn!(error = error.sentence(), "could not tell the hub of pods that do not start");
        return Ok(());
    }
    let pods = given_up.iter().map(|waiting| (waiting.place, waiting.own)).collect();
    remove(context, run, pods, "status.phase=Pending").await
}

/// Removes pods that are of no more use.
///
/// # Errors
/// The API server's.
pub async fn harvest(context: &Context, run: &Run, observed: &Observed, memory: &mut Memory, idle: bool) -> Result<(), Error> {
    let old = |at: Option<Instant>, seconds: u64| at.is_none_or(|at| at.elapsed().as_secs() >= seconds);
    if !memory.told.is_empty() && (idle || memory.told.len() >= WORTH_A_REQUEST || old(memory.removed_at, REMOVAL_SECONDS)) {
        remove(context, run, std::mem::take(&mut memory.told), "status.phase=Failed").await?;
        memory.removed_at = Some(Instant::now());
    }
    let Some(told) = observed.hub.aggregate() else { return Ok(()) };
    let seconds = memory.collected_at.get_or_insert_with(Instant::now).elapsed().as_secs();
    let collected = Collected { succeeded: std::mem::take(&mut memory.collected), seconds };
    let limit = run.spec.as_ref().map_or(1, |spec| u64::try_from(spec.limits.parallelism).unwrap_or(1));
    let collections = harvest::collections(&observed.jobs, &done(told), &collected, limit, idle);
    memory.collected = collected.succeeded;
    for collection in collections {
        let selector = match &collection {
            Collection::All(_) => labels::trials_of(&run.name),
            Collection::One(place, _) => labels::job_of(&run.name, *place),
        };
        delete_pods(context, run, &selector, "status.phase=Succeeded").await?;
        memory.collected.extend(collection.jobs());
        memory.collected_at = Some(Instant::now());
    }
    Ok(())
}

/// Removes what is left of an ended run's pods. One request to look, and one to remove if there is something.
///
/// # Errors
/// The API server's.
pub async fn sweep(context: &Context, run: &Run) -> Result<(), Error> {
    let api: Api<Pod> = Api::namespaced(context.client.clone(), &run.namespace);
    for phase in ["status.phase=Succeeded", "status.phase=Failed"] {
        let params = ListParams::default().labels(&labels::of_run(&run.name)).fields(phase).limit(1);
        let left = api.list_metadata(&params).await.map_err(|source| Error::Pods(Box::new(source)))?;
        if !left.items.is_empty() {
            delete_pods(context, run, &labels::of_run(&run.name), phase).await?;
        }
    }
    Ok(())
}

/// Removes pods by their Jobs and their own indexes in them.
async fn remove(context: &Context, run: &Run, mut pods: Vec<(Place, u64)>, phase: &str) -> Result<(), Error> {
    pods.sort_unstable();
    pods.dedup();
    for of_job in pods.chunk_by(|left, right| left.0 == right.0) {
        for part in of_job.chunks(IN_ONE_SELECTOR) {
            let indexes: Vec<u64> = part.iter().map(|(_, index)| *index).collect();
            delete_pods(context, run, &labels::indexes_of(&run.name, of_job[0].0, &indexes), phase).await?;
        }
    }
    Ok(())
}

async fn delete_pods(context: &Context, run: &Run, selector: &str, phase: &str) -> Result<(), Error> {
    let api: Api<Pod> = Api::namespaced(context.client.clone(), &run.namespace);
    context.metrics.wrote("deletecollection", "pods");
    let params = ListParams::default().labels(selector).fields(phase);
    api.delete_collection(&DeleteParams::background(), &params).await.map_err(|source| Error::Pods(Box::new(source)))?;
    Ok(())
}

/// Writes the status if it has changed and cannot wait, and tells what is new. Whether it is written as planned.
///
/// # Errors
/// The API server's.
pub async fn status(context: &Context, run: &Run, plan: &Plan, memory: &mut Memory) -> Result<bool, Error> {
    if run.status == plan.status {
        return Ok(true);
    }
    let since = memory.written.map_or(f64::INFINITY, |at| at.elapsed().as_secs_f64());
    if status::can_wait(&run.status, &plan.status, since) {
        return Ok(false);
    }
    let body = json!({
        "apiVersion": agentrun_crds::agent_run::API_VERSION,
        "kind": agentrun_crds::agent_run::KIND,
        "metadata": {"name": run.name, "namespace": run.namespace, "uid": run.uid},
        "status": plan.status,
    });
    context.metrics.wrote("patch", "agentruns/status");
    let params = PatchParams::apply(&super::manager("status")).force();
    let written = match context.runs(&run.namespace).patch_status(&run.name, &params, &Patch::Apply(&body)).await {
        // It was deleted meanwhile, or made anew.
        Err(error) if is(&error, 404) || is(&error, 409) => return Ok(true),
        outcome => outcome.map_err(|source| Error::Status(Box::new(source)))?,
    };
    memory.status = Some(written.data.get("status").cloned().unwrap_or(Value::Null));
    memory.written = Some(Instant::now());
    for note in &plan.notes {
        tell(context, run, note).await;
    }
    Ok(true)
}

/// Publishes an Event. A run does not wait for one that cannot be published.
pub async fn tell(context: &Context, run: &Run, note: &Note) {
    let reference = k8s_openapi::api::core::v1::ObjectReference {
        api_version: Some(agentrun_crds::agent_run::API_VERSION.to_owned()),
        kind: Some(agentrun_crds::agent_run::KIND.to_owned()),
        name: Some(run.name.clone()),
        namespace: Some(run.namespace.clone()),
        uid: Some(run.uid.clone()),
        ..Default::default()
    };
    let event = Event {
        type_: if note.warning { EventType::Warning } else { EventType::Normal },
        reason: note.reason.clone(),
        note: Some(note.message.chars().take(1000).collect()),
        action: "Reconcile".to_owned(),
        secondary: None,
    };
    context.metrics.wrote("create", "events");
    if let Err(error) = context.recorder.publish(&event, &reference).await {
        tracing::warn!(error = %crate::sentence(&error), reason = note.reason, "could not publish an event");
    }
}

/// Whether an error is the API server's with this code.
pub fn is(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}
