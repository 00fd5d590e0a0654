//! Doing what the plan says: Jobs are made and changed, pods that do not start are given up, the status is written if it has changed.

use std::time::Instant;

use agentrun_protocol::run::Observation;
use futures::StreamExt as _;
use k8s_openapi::api::batch::v1::Job;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::core::Status;
use kube::runtime::events::{Event, EventType};
use serde_json::{Value, json};

use super::plan::waiting::Waiting;
use super::plan::{Plan, Refused, notes::Note, status};
use super::{Error, held_up, removal};
use crate::context::{Context, Memory};
use crate::run::Run;

/// Jobs made or changed at once.
const AT_ONCE: usize = 8;

/// Makes and changes Jobs. What the API server refuses for good is told, not an error: asking again would not help.
///
/// # Errors
/// The API server's, where asking again may help.
pub async fn jobs(context: &Context, run: &Run, plan: &Plan) -> Result<Option<Refused>, Error> {
    let api: Api<Job> = Api::namespaced(context.clients.prompt.clone(), &run.namespace);
    for name in &plan.delete {
        context.metrics.wrote("delete", "jobs");
        match api.delete(name, &DeleteParams::background()).await {
            Err(error) if !is(&error, 404) => return Err(Error::Job(Box::new(error))),
            _ => {}
        }
    }
    let changed: Vec<_> = plan.change.iter().map(|change| set_window(context, &api, change)).collect();
    let outcomes: Vec<Result<(), Error>> = futures::stream::iter(changed).buffer_unordered(AT_ONCE).collect().await;
    outcomes.into_iter().collect::<Result<(), Error>>()?;
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
        Err(kube::Error::Api(status)) if status.code == 403 && !is_namespace_ending(&status) => Ok(Some(held_up::refused(&status.message))),
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
    let message =
        format!("there is a Job `{name}` that the operator did not make: delete it and make the run anew, or name the run otherwise");
    Ok(Some(Refused { reason: "NameTaken", message, is_final: true }))
}

/// Tells the hub of pods that will not start, and deletes them: the Job controller counts each as a failed try.
///
/// # Errors
/// The API server's. Without the hub they stay as they are.
pub async fn give_up(context: &Context, run: &Run, given_up: &[Waiting], memory: &mut Memory) -> Result<(), Error> {
    if given_up.is_empty() {
        return Ok(());
    }
    let pods = given_up.iter().map(Waiting::failure).collect();
    let observation = Observation { uid: run.uid.clone(), pods, ..Observation::default() };
    if let Err(error) = context.hub.observe(&run.namespace, &run.name, &observation).await {
        tracing::warn!(error = error.sentence(), "could not tell the hub of pods that do not start");
        return Ok(());
    }
    // The pods that take their place wait from the beginning: nobody answers for them with what was asked before.
    memory.waiting.retain(|waiting| !given_up.contains(waiting));
    memory.inquiry = None;
    let pods = given_up.iter().map(|waiting| (waiting.place, waiting.own)).collect();
    removal::of_waiting(context, run, pods).await
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
