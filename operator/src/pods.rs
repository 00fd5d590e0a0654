//! Pods of trials: those that failed come by a watch and wait here until the hub was told of them; those that wait are asked for. All others
//! are never held: a run may have a hundred thousand.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use agentrun_protocol::names;
use agentrun_protocol::run::{PodFailure, index_in};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};

use crate::controller::plan::waiting::Waiting;
use crate::diagnose;
use crate::objects::job::Place;
use crate::objects::{labels, scoring};
use crate::slim_pod::SlimPod;

/// Failed pods of a run that are kept at most; of more, the hub learns from their Job alone.
const MAX_KEPT: usize = 20_000;
/// Pods that do not start: this many are looked at. Why the others wait is hardly different.
const MAX_WAITING: u32 = 200;
/// `kubectl`'s annotation, which the injector sets: the agent's container.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// A failed pod, by the Job that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedPod {
    /// Its Job's uid: a run of the same name may have gone before.
    pub job: String,
    /// Its Job.
    pub place: Place,
    /// Its index in its Job.
    pub own: u64,
    /// What the hub is told.
    pub failure: PodFailure,
}

/// Failed pods by namespace and run.
#[derive(Debug, Default)]
pub struct FailedPods(Mutex<HashMap<(String, String), HashMap<String, FailedPod>>>);

impl FailedPods {
    /// Notes a pod, if it is a trial's and has failed. Whether it did.
    pub fn note(&self, pod: &Pod) -> bool {
        let (Some(run), Some(failed)) = (pod.labels().get(names::RUN_LABEL), read(pod)) else { return false };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_run = all.entry((pod.namespace().unwrap_or_default(), run.clone())).or_default();
        if of_run.len() < MAX_KEPT {
            of_run.insert(failed.failure.pod_uid.clone(), failed);
        }
        true
    }

    /// Those of some Jobs of a run; what belongs to other Jobs is dropped. They stay until [`FailedPods::told`].
    pub fn of(&self, namespace: &str, run: &str, is_job: impl Fn(&str) -> bool) -> Vec<FailedPod> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(of_run) = all.get_mut(&(namespace.to_owned(), run.to_owned())) else { return Vec::new() };
        of_run.retain(|_, failed| is_job(&failed.job));
        let mut failures: Vec<FailedPod> = of_run.values().cloned().collect();
        failures
            .sort_by(|left, right| (left.place, left.own, &left.failure.pod_uid).cmp(&(right.place, right.own, &right.failure.pod_uid)));
        failures
    }

    /// The hub knows of these.
    pub fn told(&self, namespace: &str, run: &str, failures: &[FailedPod]) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (namespace.to_owned(), run.to_owned());
        if let Some(of_run) = all.get_mut(&key) {
            for failed in failures {
                of_run.remove(&failed.failure.pod_uid);
            }
            if of_run.is_empty() {
                all.remove(&key);
            }
        }
    }

    /// Forgets a run's.
    pub fn forget(&self, namespace: &str, run: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&(namespace.to_owned(), run.to_owned()));
    }
}

/// Reads a failed pod of a trial.
fn read(pod: &Pod) -> Option<FailedPod> {
    let Cell { place, own, index } = cell(pod)?;
    let job = pod.owner_references().iter().find(|owner| owner.kind == "Job")?.uid.clone();
    let diagnosis = diagnose::failed(pod, pod.annotations().get(DEFAULT_CONTAINER).map(String::as_str))?;
    let failure = PodFailure {
        pod_uid: pod.uid()?,
        combo: place.combo,
        chunk: place.chunk,
        index,
        reason: diagnosis.reason.name().to_owned(),
        message: diagnosis.message,
        exit_code: diagnosis.exit_code,
    };
    Some(FailedPod { job, place, own, failure })
}

/// Where a pod stands.
struct Cell {
    place: Place,
    /// Its index in its Job.
    own: u64,
    /// Its index in the chunk.
    index: u64,
}

/// Which cell a pod runs, by its labels and annotations.
fn cell(pod: &Pod) -> Option<Cell> {
    let label = |name: &str| pod.labels().get(name)?.parse::<u64>().ok();
    let own = pod.annotations().get(names::COMPLETION_INDEX_ANNOTATION)?.parse().ok()?;
    let index = match pod.annotations().get(names::CELLS_ANNOTATION) {
        None => own,
        Some(cells) => index_in(cells, own)?,
    };
    let round = label(names::ROUND_LABEL).unwrap_or_default();
    Some(Cell { place: Place { chunk: label(names::CHUNK_LABEL)?, combo: label(names::COMBO_LABEL)?, round }, own, index })
}

/// The pods of a run's trials that do not start, with why; those that merely start are left out.
///
/// # Errors
/// The API server's.
pub async fn waiting(api: &Api<SlimPod>, run: &str, now: Timestamp) -> Result<Vec<Waiting>, kube::Error> {
    // Any version would do, but the API server heeds no limit where any is asked for.
    let params = ListParams::default().labels(&labels::trials_of(run)).fields("status.phase=Pending").limit(MAX_WAITING);
    let pods = api.list(&params).await?;
    Ok(pods.items.into_iter().filter_map(|pod| waits(&pod.into(), now)).collect())
}

fn waits(pod: &Pod, now: Timestamp) -> Option<Waiting> {
    if pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let Cell { place, own, index } = cell(pod)?;
    let seconds = seconds(pod, now)?;
    let diagnosis = diagnose::pending(pod, seconds)?;
    Some(Waiting { place, own, index, uid: pod.uid()?, diagnosis, seconds })
}

/// Since it was made.
fn seconds(pod: &Pod, now: Timestamp) -> Option<u64> {
    let made = pod.metadata.creation_timestamp.as_ref()?.0;
    Some(u64::try_from(now.duration_since(made).as_secs()).unwrap_or_default())
}

/// What is wrong with the pods that score a run's outputs: why one does not start, else how the last one failed.
///
/// # Errors
/// The API server's.
pub async fn scoring(api: &Api<SlimPod>, run: &str, now: Timestamp) -> Result<Option<diagnose::Diagnosis>, kube::Error> {
    let params = ListParams::default().labels(&labels::scoring_of(run)).limit(MAX_WAITING);
    let pods = api.list(&params).await?.items.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    let mut pods: Vec<Pod> = pods.map(Pod::from).collect();
    pods.sort_by_key(|pod| std::cmp::Reverse(pod.metadata.creation_timestamp.as_ref().map(|time| time.0)));
    Ok(pods.iter().find_map(|pod| scorers(pod, now)))
}

fn scorers(pod: &Pod, now: Timestamp) -> Option<diagnose::Diagnosis> {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    match phase {
        Some("Pending") => diagnose::pending(pod, seconds(pod, now)?),
        _ => diagnose::failed(pod, Some(scoring::CONTAINER)),
    }
}

#[cfg(test)]
mod tests {
    use agentrun_eval::trial::FailureReason;
    use serde_json::json;

    use super::*;

    fn pod(uid: &str, run: &str, job: &str, status: serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {
                "name": uid, "namespace": "evals", "uid": uid, "creationTimestamp": "2026-11-22T10:00:00Z",
                "labels": {"agentrun.dev/run": run, "agentrun.dev/combo": "2", "agentrun.dev/chunk": "0"},
                "annotations": {"batch.kubernetes.io/job-completion-index": "7"},
                "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": job}],
            },
            "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn a_failed_pod_is_told_until_the_hub_knows_and_to_its_own_run_only() {
        let failed = FailedPods::default();
        let evicted = json!({"phase": "Failed", "reason": "Evicted", "message": "memory"});
        assert!(failed.note(&pod("a", "math", "job-1", evicted.clone())) && failed.note(&pod("b", "math", "job-0", evicted.clone())));
        assert!(!failed.note(&pod("c", "math", "job-1", json!({"phase": "Running"}))));
        assert!(!failed.note(&Pod { status: pod("", "", "", evicted).status, ..Pod::default() }));
        let told = failed.of("evals", "math", |job| job == "job-1");
        let failure = PodFailure {
            pod_uid: "a".into(),
            combo: 2,
            chunk: 0,
            index: 7,
            reason: "Evicted".into(),
            message: "memory".into(),
            exit_code: None,
        };
        assert_eq!(told, [FailedPod { job: "job-1".into(), place: Place::first(0, 2), own: 7, failure }]);
        assert_eq!(failed.of("evals", "math", |job| job == "job-1"), told);
        assert_eq!(failed.of("evals", "other", |_| true), []);
        failed.told("evals", "math", &told);
        assert_eq!(failed.of("evals", "math", |_| true), []);
    }

    #[test]
    fn a_pod_that_tries_a_trial_again_tells_of_that_trial_and_goes_by_its_own_index() {
        let mut again = pod("a", "math", "job-2", json!({"phase": "Failed", "reason": "Evicted"}));
        again.labels_mut().insert("agentrun.dev/round".into(), "1".into());
        again.annotations_mut().insert("agentrun.dev/cells".into(), "3,90-99".into());
        let found = read(&again).unwrap();
        assert_eq!((found.place, found.own, found.failure.index), (Place { round: 1, ..Place::first(0, 2) }, 7, 96));
        again.annotations_mut().insert("agentrun.dev/cells".into(), "3".into());
        assert_eq!(read(&again), None, "the Job has no such index");
    }

    #[test]
    fn a_scoring_pod_says_what_its_program_said_last() {
        let now: Timestamp = "2026-11-22T10:00:30Z".parse().unwrap();
        let container = |state: serde_json::Value| json!([{"name": "scorer", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state}]);
        let said = |phase: &str, state: serde_json::Value| {
            let status = json!({"phase": phase, "containerStatuses": container(state)});
            scorers(&pod("a", "math", "job-1", status), now).map(|found| (found.reason, found.message))
        };
        let exit = json!({"terminated": {"exitCode": 3, "message": "Traceback\n  File x\nKeyError: 'score'\n\n"}});
        assert_eq!(said("Failed", exit), Some((FailureReason::AgentExit, "exit code 3: KeyError: 'score'".to_owned())));
        let (reason, message) = said("Pending", json!({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}})).unwrap();
        assert!(reason == FailureReason::ImagePull && message.contains("`scorer`") && message.contains("no such image"), "{message}");
        assert_eq!(said("Running", json!({"running": {}})), None);
    }

    #[test]
    fn a_pod_that_waits_says_for_how_long() {
        let now: Timestamp = "2026-11-22T10:02:30Z".parse().unwrap();
        let unschedulable = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1"}]});
        let found = waits(&pod("a", "math", "job-1", unschedulable), now).unwrap();
        assert_eq!((found.place, found.own, found.index, found.seconds), (Place::first(0, 2), 7, 7, 150));
        let early: Timestamp = "2026-11-22T10:00:30Z".parse().unwrap();
        assert_eq!(waits(&pod("a", "math", "job-1", json!({"phase": "Pending"})), early), None);
    }
}
