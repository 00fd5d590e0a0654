//! A deleted AgentRun: its Jobs end, its data leaves the hub, then our finalizer lets it go.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::plan::notes::Note;
use super::{Error, apply, collection};
use crate::context::Context;
use crate::objects::labels;
use crate::run::Run;

/// How long pods may take to end before the data goes nevertheless.
const PODS_SECONDS: u64 = 90;

/// What is done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The Jobs are deleted; they stay until their pods have ended.
    DeleteJobs,
    /// The data is deleted.
    DeleteData,
    /// The object goes, and people are told that data was left.
    LetGo,
}

/// Decides. A pod that still runs would bring records to a hub that has forgotten its run, hence Jobs go first, but not for ever.
pub fn step(jobs_left: bool, hub_failed: bool, seconds: u64, patience: Duration) -> Step {
    if jobs_left && seconds < PODS_SECONDS {
        return Step::DeleteJobs;
    }
    if hub_failed && seconds >= patience.as_secs() {
        return Step::LetGo;
    }
    Step::DeleteData
}

/// Cleans up as far as it gets; when to look again. `jobs` are those that are left, each with whether it is being deleted.
///
/// # Errors
/// The API server's.
pub async fn clean(context: &Context, run: &Run, jobs: &[bool], now: Timestamp) -> Result<Option<Duration>, Error> {
    let deleted: Option<Timestamp> = run.deleted_at.as_deref().and_then(|time| time.parse().ok());
    let seconds = deleted.and_then(|deleted| u64::try_from(now.duration_since(deleted).as_secs()).ok()).unwrap_or_default();
    match step(!jobs.is_empty(), false, seconds, context.hub_patience) {
        Step::DeleteJobs => {
            if jobs.iter().any(|is_ending| !is_ending) {
                delete_jobs(context, run).await?;
            }
            return Ok(Some(Duration::from_secs(5)));
        }
        Step::DeleteData | Step::LetGo => {}
    }
    if let Err(error) = context.hub.delete(&run.namespace, &run.name, &run.uid).await {
        let message = error.sentence();
        if step(false, true, seconds, context.hub_patience) != Step::LetGo {
            tracing::warn!(namespace = run.namespace, run = run.name, error = message, "could not delete a run's data; trying again");
            return Ok(Some(Duration::from_secs(5)));
        }
        let message = format!("the hub still holds the run's data, as it could not be asked to delete it: {message}");
        apply::tell(context, run, &Note { warning: true, reason: "HubDataLeft".to_owned(), message }).await;
    }
    set_finalizer(context, run, false).await?;
    context.failed.forget(&run.namespace, &run.name);
    context.forget(&run.uid);
    Ok(None)
}

async fn delete_jobs(context: &Context, run: &Run) -> Result<(), Error> {
    context.metrics.wrote("deletecollection", "jobs");
    let which = ListParams::default().labels(&labels::of_run(&run.name));
    let deleted = collection::delete::<Job>(&context.clients.patient, &run.namespace, &DeleteParams::foreground(), &which).await;
    deleted.map_err(|source| Error::Job(Box::new(source)))?;
    Ok(())
}

/// Puts our finalizer on a run, or takes it off. The version that was seen must still be there, as others may change the list too.
///
/// # Errors
/// The API server's; a conflict is one, and the next look finds the new list.
pub async fn set_finalizer(context: &Context, run: &Run, wanted: bool) -> Result<(), Error> {
    let api = context.runs(&run.namespace);
    let Some(object) = api.get_metadata_opt(&run.name).await.map_err(|source| Error::Finalizer(Box::new(source)))? else { return Ok(()) };
    if object.metadata.uid.as_deref() != Some(&run.uid) {
        return Ok(());
    }
    let mut finalizers = object.metadata.finalizers.unwrap_or_default();
    let ours = agentrun_protocol::names::FINALIZER;
    if finalizers.iter().any(|name| name == ours) == wanted {
        return Ok(());
    }
    finalizers.retain(|name| name != ours);
    if wanted {
        finalizers.push(ours.to_owned());
    }
    let patch = json!({"metadata": {"finalizers": finalizers, "resourceVersion": object.metadata.resource_version}});
    context.metrics.wrote("patch", "agentruns");
    let params = PatchParams { field_manager: Some(agentrun_protocol::names::MANAGER.to_owned()), ..PatchParams::default() };
    match api.patch_metadata(&run.name, &params, &Patch::<Value>::Merge(patch)).await {
        Err(error) if apply::is(&error, 404) => Ok(()),
        outcome => outcome.map(drop).map_err(|source| Error::Finalizer(Box::new(source))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_end_first_and_an_absent_hub_does_not_hold_a_run_for_ever() {
        let patience = Duration::from_secs(120);
        let table = [
            (true, false, 0, Step::DeleteJobs),
            (true, true, 89, Step::DeleteJobs),
            (true, false, 90, Step::DeleteData),
            (false, false, 0, Step::DeleteData),
            (false, true, 119, Step::DeleteData),
            (false, true, 120, Step::LetGo),
            (true, true, 120, Step::LetGo),
        ];
        for (jobs_left, hub_failed, seconds, expected) in table {
            assert_eq!(step(jobs_left, hub_failed, seconds, patience), expected, "{jobs_left} {hub_failed} {seconds}");
        }
    }
}
