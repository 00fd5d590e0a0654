//! Pods that are of no more use go, beside the looks: the API server deletes a collection pod by pod, which takes it seconds for a thousand.

use std::time::Instant;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams};
use tokio::task::JoinHandle;

use super::plan::harvest::{self, Collected, Collection};
use super::plan::{Observed, done};
use super::{Error, collection};
use crate::context::{Context, Memory};
use crate::objects::job::Place;
use crate::objects::labels;
use crate::run::Run;

/// Failed pods are removed when there are so many,
const WORTH_A_REQUEST: usize = 50;
/// or when the last removal is so many seconds ago.
const REMOVAL_SECONDS: u64 = 15;
/// Indexes in one selector.
const IN_ONE_SELECTOR: usize = 200;
const FAILED: &str = "status.phase=Failed";
const SUCCEEDED: &str = "status.phase=Succeeded";
const PENDING: &str = "status.phase=Pending";

/// Which pods: a selector of labels, and one of fields.
type Selection = (String, &'static str);

/// A removal under way.
#[derive(Debug)]
pub struct Removal {
    task: JoinHandle<Result<(), kube::Error>>,
    /// Jobs, each with how many of its indexes had succeeded.
    collected: Vec<(Place, u64)>,
    /// Failed pods.
    told: Vec<(Place, u64)>,
    /// Whether it is the last one of an ended run.
    is_sweep: bool,
}

/// Removes pods that are of no more use, unless a removal is under way: what that one does not take is the next one's.
///
/// # Errors
/// The API server's, about the removal before.
pub async fn harvest(context: &Context, run: &Run, observed: &Observed, memory: &mut Memory, idle: bool) -> Result<(), Error> {
    if !has_ended(memory).await? {
        return Ok(());
    }
    let (mut selections, mut collected, mut told) = (Vec::new(), Vec::new(), Vec::new());
    let old = |at: Option<Instant>, seconds: u64| at.is_none_or(|at| at.elapsed().as_secs() >= seconds);
    if !memory.told.is_empty() && (idle || memory.told.len() >= WORTH_A_REQUEST || old(memory.removed_at, REMOVAL_SECONDS)) {
        told = std::mem::take(&mut memory.told);
        selections = selected(run, told.clone(), FAILED);
        memory.removed_at = Some(Instant::now());
    }
    for collection in collections(run, observed, memory, idle) {
        let selector = match &collection {
            Collection::All(_) => labels::trials_of(&run.name),
            Collection::One(place, _) => labels::job_of(&run.name, *place),
        };
        selections.push((selector, SUCCEEDED));
        collected.extend(collection.jobs());
        memory.collected_at = Some(Instant::now());
    }
    if !selections.is_empty() {
        memory.removal = Some(Removal { task: start(context, run, selections), collected, told, is_sweep: false });
    }
    Ok(())
}

fn collections(run: &Run, observed: &Observed, memory: &mut Memory, idle: bool) -> Vec<Collection> {
    let Some(told) = observed.hub.aggregate() else { return Vec::new() };
    let seconds = memory.collected_at.get_or_insert_with(Instant::now).elapsed().as_secs();
    let collected = Collected { succeeded: std::mem::take(&mut memory.collected), seconds };
    let limit = run.spec.as_ref().map_or(1, |spec| u64::try_from(spec.limits.parallelism).unwrap_or(1));
    let collections = harvest::collections(&observed.jobs, &done(told), &collected, limit, idle);
    memory.collected = collected.succeeded;
    collections
}

/// Removes what is left of an ended run's pods: one request to look, and one to remove if there is something. Where its scoring container failed, the
/// pods of that stay: their logs say why.
///
/// # Errors
/// The API server's.
pub async fn sweep(context: &Context, run: &Run, observed: &Observed, memory: &mut Memory) -> Result<(), Error> {
    let api: Api<Pod> = Api::namespaced(context.clients.prompt.clone(), &run.namespace);
    let mut selections = Vec::new();
    let is_unscored = observed.scoring.as_ref().is_some_and(|scoring| scoring.failed.is_some());
    let failed = if is_unscored { labels::trials_of(&run.name) } else { labels::of_run(&run.name) };
    for (selector, phase) in [(labels::of_run(&run.name), SUCCEEDED), (failed, FAILED)] {
        let params = ListParams::default().labels(&selector).fields(phase).limit(1);
        let left = api.list_metadata(&params).await.map_err(|source| Error::Pods(Box::new(source)))?;
        if !left.items.is_empty() {
            selections.push((selector, phase));
        }
    }
    if selections.is_empty() {
        memory.swept = true;
    } else {
        memory.removal = Some(Removal { task: start(context, run, selections), collected: Vec::new(), told: Vec::new(), is_sweep: true });
    }
    Ok(())
}

/// Removes pods that did not start, at once: they are few.
///
/// # Errors
/// The API server's.
pub async fn of_waiting(context: &Context, run: &Run, pods: Vec<(Place, u64)>) -> Result<(), Error> {
    let removed = removing(context, run, selected(run, pods, PENDING)).await;
    removed.map_err(|source| Error::Pods(Box::new(source)))
}

/// Selects pods by their Jobs and their own indexes in them.
fn selected(run: &Run, mut pods: Vec<(Place, u64)>, phase: &'static str) -> Vec<Selection> {
    pods.sort_unstable();
    pods.dedup();
    let of_jobs = pods.chunk_by(|left, right| left.0 == right.0).flat_map(|of_job| of_job.chunks(IN_ONE_SELECTOR));
    let selections = of_jobs.map(|part| {
        let indexes: Vec<u64> = part.iter().map(|(_, index)| *index).collect();
        (labels::indexes_of(&run.name, part[0].0, &indexes), phase)
    });
    selections.collect()
}

fn start(context: &Context, run: &Run, selections: Vec<Selection>) -> JoinHandle<Result<(), kube::Error>> {
    tokio::spawn(removing(context, run, selections))
}

fn removing(context: &Context, run: &Run, selections: Vec<Selection>) -> impl Future<Output = Result<(), kube::Error>> + use<> {
    let (client, namespace, metrics) = (context.clients.patient.clone(), run.namespace.clone(), context.metrics.clone());
    async move {
        for (selector, phase) in selections {
            metrics.wrote("deletecollection", "pods");
            let which = ListParams::default().labels(&selector).fields(phase);
            collection::delete::<Pod>(&client, &namespace, &DeleteParams::background(), &which).await?;
        }
        Ok(())
    }
}

/// Whether no removal is under way. Of one that has ended it is noted what it did; what it did not is to be done again.
async fn has_ended(memory: &mut Memory) -> Result<bool, Error> {
    let Some(removal) = memory.removal.take_if(|removal| removal.task.is_finished()) else { return Ok(memory.removal.is_none()) };
    let outcome = removal.task.await;
    if !matches!(outcome, Ok(Ok(()))) {
        memory.told.extend(removal.told);
    } else {
        memory.collected.extend(removal.collected);
        memory.swept |= removal.is_sweep;
    }
    outcome.map_err(Error::Task)?.map_err(|source| Error::Pods(Box::new(source)))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { chunk: 0, combo: 1, round: 0 };

    async fn after(outcome: impl Future<Output = Result<(), kube::Error>> + Send + 'static) -> (Result<bool, Error>, Memory) {
        let task = tokio::spawn(outcome);
        let mut memory = Memory {
            removal: Some(Removal { task, collected: vec![(PLACE, 9)], told: vec![(PLACE, 3)], is_sweep: true }),
            ..Memory::default()
        };
        tokio::task::yield_now().await;
        (has_ended(&mut memory).await, memory)
    }

    #[tokio::test]
    async fn what_a_removal_has_done_is_noted_and_what_it_has_not_is_done_again() {
        let (ended, memory) = after(async { Ok(()) }).await;
        assert!(matches!(ended, Ok(true)) && memory.removal.is_none(), "{memory:?}");
        assert!(memory.collected.get(&PLACE) == Some(&9) && memory.told.is_empty() && memory.swept, "{memory:?}");

        let (ended, memory) = after(async { Err(kube::Error::LinesCodecMaxLineLengthExceeded) }).await;
        assert!(matches!(ended, Err(Error::Pods(_))) && memory.removal.is_none(), "{memory:?}");
        assert!(memory.collected.is_empty() && memory.told == [(PLACE, 3)] && !memory.swept, "{memory:?}");

        let (ended, memory) = after(std::future::pending()).await;
        assert!(matches!(ended, Ok(false)) && memory.removal.is_some() && memory.collected.is_empty(), "{memory:?}");
    }

    #[test]
    fn many_pods_are_many_selectors_and_none_is_named_twice() {
        let run = crate::testing::run(serde_json::json!({}), 10);
        let pods: Vec<(Place, u64)> = (0..2 * IN_ONE_SELECTOR as u64)
            .map(|index| (PLACE, index))
            .chain([(PLACE, 0), (Place { chunk: 1, combo: 0, round: 0 }, 7)])
            .collect();
        let selections = selected(&run, pods, PENDING);
        assert_eq!(selections.len(), 3);
        assert!(selections.iter().all(|(_, phase)| *phase == PENDING));
        assert!(selections[2].0.contains('7') && !selections[2].0.contains("399"), "{selections:?}");
    }
}
