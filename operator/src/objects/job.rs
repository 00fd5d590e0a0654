//! The Indexed Jobs of a run: one for each combo and chunk of its cells.

use agentrun_crds::AgentRunSpec;
use agentrun_protocol::names;
use agentrun_protocol::pod::SIDECAR_LOST_CODE;
use agentrun_protocol::run::{CHUNK, index_in};
use k8s_openapi::api::batch::v1::Job;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::labels;
use crate::ranges::Ranges;
use crate::run::{QUEUE_LABEL, Run};

/// The longest name of a Job: the API server wants its name with `-` and its last index, at most 4999, to be a DNS label of 63 characters.
const NAME_LENGTH: usize = 58;
/// Exit code of an agent that SIGTERM ended: its pod was deleted, which is no result of the agent's.
const TERMINATED: i32 = 143;

/// Which Job: ordered as they are started, chunk by chunk over all combos, so that combos can be compared early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The chunk's index.
    pub chunk: u64,
    /// The combo's index.
    pub combo: u64,
    /// 0 for the Job that tries all trials of chunk and combo; the next ones try again what the infrastructure lost of them.
    pub round: u64,
}

impl Place {
    /// The Job that tries all trials of a chunk and a combo.
    pub fn first(chunk: u64, combo: u64) -> Self {
        Self { chunk, combo, round: 0 }
    }

    /// The first Job of the same trials.
    pub fn of_first(self) -> Self {
        Self { round: 0, ..self }
    }
}

/// The cells of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// How many combos.
    pub combos: u64,
    /// Trials of each combo: datapoints times samples.
    pub cells: u64,
}

impl Grid {
    /// The grid of a spec with so many datapoints; `None` where its combos are of no use.
    pub fn of(spec: &AgentRunSpec, datapoints: u64) -> Option<Self> {
        let samples = u64::try_from(spec.samples).unwrap_or(1).max(1);
        Some(Self { combos: spec.combos().ok()?.len() as u64, cells: datapoints.saturating_mul(samples) })
    }

    /// All trials.
    pub fn trials(&self) -> u64 {
        self.combos.saturating_mul(self.cells)
    }

    /// The Jobs in the order they are started.
    pub fn places(&self) -> impl Iterator<Item = Place> + use<> {
        let combos = self.combos;
        (0..self.cells.div_ceil(CHUNK)).flat_map(move |chunk| (0..combos).map(move |combo| Place::first(chunk, combo)))
    }

    /// How many trials the first Job of a chunk has.
    pub fn completions(&self, chunk: u64) -> u64 {
        self.cells.saturating_sub(chunk.saturating_mul(CHUNK)).min(CHUNK)
    }
}

/// A Job as the API server tells it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JobView {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Whether its pods are held back.
    pub suspended: bool,
    /// Pods at once.
    pub parallelism: u64,
    /// How many indexes it has.
    pub completions: u64,
    /// The trials that it tries, as indexes in the chunk.
    pub cells: Ranges,
    /// Of these, what ended well.
    pub succeeded: Ranges,
    /// Of these, what was given up.
    pub failed: Ranges,
    /// Pods that run or wait.
    pub active: u64,
    /// Pods that are ready.
    pub ready: u64,
    /// Whether it has ended.
    pub ended: bool,
    /// Whether it is being deleted.
    pub deleting: bool,
}

impl JobView {
    /// Pods of its that there are or were, but for those that are tried again.
    pub fn pods_made(&self) -> u64 {
        self.active + self.succeeded.count() + self.failed.count()
    }

    /// Reads a Job of a run; `None` where its labels do not say which.
    pub fn read(job: &Job) -> Option<(Place, Self)> {
        let label = |name: &str| job.metadata.labels.as_ref()?.get(name)?.parse::<u64>().ok();
        let round = label(names::ROUND_LABEL).unwrap_or_default();
        let place = Place { chunk: label(names::CHUNK_LABEL)?, combo: label(names::COMBO_LABEL)?, round };
        let again = job.metadata.annotations.as_ref().and_then(|annotations| annotations.get(names::CELLS_ANNOTATION));
        let spec = job.spec.as_ref();
        let status = job.status.as_ref();
        let count = |value: Option<i32>| u64::try_from(value.unwrap_or_default()).unwrap_or_default();
        let indexes = |text: Option<&String>| {
            let own = text.map(|text| Ranges::parse(text)).unwrap_or_default();
            again.map_or(own.clone(), |cells| stood_for(cells, &own))
        };
        let completions = count(spec.and_then(|spec| spec.completions));
        let conditions = status.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
        let view = Self {
            name: job.metadata.name.clone().unwrap_or_default(),
            uid: job.metadata.uid.clone().unwrap_or_default(),
            suspended: spec.and_then(|spec| spec.suspend).unwrap_or_default(),
            parallelism: count(spec.and_then(|spec| spec.parallelism)),
            completions,
            cells: again.map_or_else(|| Ranges::below(completions), |cells| Ranges::parse(cells)),
            succeeded: indexes(status.and_then(|status| status.completed_indexes.as_ref())),
            failed: indexes(status.and_then(|status| status.failed_indexes.as_ref())),
            active: count(status.and_then(|status| status.active)),
            ready: count(status.and_then(|status| status.ready)),
            ended: conditions
                .into_iter()
                .any(|condition| matches!(condition.type_.as_str(), "Complete" | "Failed") && condition.status == "True"),
            deleting: job.metadata.deletion_timestamp.is_some(),
        };
        Some((place, view))
    }

    /// Indexes that are still to end.
    pub fn need(&self) -> u64 {
        if self.ended { 0 } else { self.completions.saturating_sub(self.succeeded.count() + self.failed.count()) }
    }
}

/// The cells that a Job's own indexes stand for.
fn stood_for(cells: &str, own: &Ranges) -> Ranges {
    own.iter().take(CHUNK as usize).filter_map(|own| index_in(cells, own)).collect()
}

/// The name of a Job: `RUN-cCOMBO-kCHUNK`, with `-rROUND` where it tries some trials again; the run's name is shortened with a hash where it would
/// be too long.
pub fn name(run: &str, place: Place) -> String {
    let round = if place.round == 0 { String::new() } else { format!("-r{}", place.round) };
    named(run, &format!("-c{}-k{}{round}", place.combo, place.chunk))
}

/// A run's name with a suffix, at most 58 characters, another for another run.
pub(super) fn named(run: &str, suffix: &str) -> String {
    // A Job's name must be a DNS label where pods bear it; a run's may have dots.
    let label = run.replace('.', "-");
    if label == run && label.len() + suffix.len() <= NAME_LENGTH {
        return format!("{label}{suffix}");
    }
    let hash: [u8; 32] = Sha256::digest(run.as_bytes()).into();
    let hash: String = hash[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    let room = NAME_LENGTH.saturating_sub(suffix.len() + hash.len() + 1);
    let short: String = label.chars().take(room).collect();
    format!("{}-{hash}{suffix}", short.trim_end_matches('-'))
}

/// The finished pod template of a Job's trials.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    /// `metadata` and `spec`, with the sidecar.
    pub pod: Value,
    /// The agent's container.
    pub container: String,
}

/// A Job as it is made, for the trials `cells` of its chunk.
pub fn build(run: &Run, spec: &AgentRunSpec, place: Place, cells: &Ranges, window: Window, template: Template) -> Value {
    let completions = cells.count();
    let is_first = place.round == 0;
    let mut job_labels = labels::of_trials(&run.name, place);
    if let Some(queue) = &run.queue {
        job_labels[QUEUE_LABEL] = json!(queue);
    }
    let mut job = json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name(&run.name, place),
            "namespace": run.namespace,
            "labels": job_labels,
            "ownerReferences": [run.owner_reference()],
        },
        "spec": {
            "completionMode": "Indexed",
            "completions": completions,
            "parallelism": window.parallelism,
            "suspend": window.suspend,
            // Each try of a later Job is one of those that were left.
            "backoffLimitPerIndex": if is_first { spec.limits.retries } else { 0 },
            "maxFailedIndexes": completions,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": [
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                {"action": "FailIndex", "onExitCodes": {"containerName": template.container, "operator": "NotIn", "values": [0, TERMINATED, SIDECAR_LOST_CODE]}},
            ]},
            "template": labelled(template.pod, &run.name, place),
        },
    });
    if !is_first {
        job["metadata"]["annotations"] = json!({names::CELLS_ANNOTATION: cells.to_string()});
        job["spec"]["template"]["metadata"]["annotations"][names::CELLS_ANNOTATION] = json!(cells.to_string());
    }
    job
}

/// What changes on a Job while it lives, for server-side apply under a manager of its own: nothing else of the Job is touched, so that an
/// operator of another version does not rewrite pods that run. The uid keeps it from making a Job where there is none.
pub fn window_patch(run: &Run, job: &JobView, window: Window) -> Value {
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": job.name, "namespace": run.namespace, "uid": job.uid},
        "spec": {"suspend": window.suspend, "parallelism": window.parallelism},
    })
}

/// How much of a Job runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Whether its pods are held back.
    pub suspend: bool,
    /// Pods at once.
    pub parallelism: u64,
}

/// Whatever the template's author labelled: these say which trial a pod is.
fn labelled(mut template: Value, run: &str, place: Place) -> Value {
    if !template.get("metadata").is_some_and(Value::is_object) {
        template["metadata"] = json!({});
    }
    if !template["metadata"].get("labels").is_some_and(Value::is_object) {
        template["metadata"]["labels"] = json!({});
    }
    let ours = labels::of_trials(run, place);
    for (key, value) in ours.as_object().into_iter().flatten() {
        template["metadata"]["labels"][key] = value.clone();
    }
    template
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{run, spec};

    #[test]
    fn a_name_fits_and_differs() {
        let place = Place::first(12, 345);
        assert_eq!(name("math", place), "math-c345-k12");
        let long = name(&"x".repeat(63), place);
        assert!(format!("{long}-{}", CHUNK - 1).len() == 63 && long.ends_with("-c345-k12"), "{long}");
        assert_ne!(name(&format!("{}y", "x".repeat(62)), place), long);
        assert_ne!(name("a.b", place), name("a-b", place));
        assert!(!name("a.b", place).contains('.'));
    }

    #[test]
    fn cells_are_cut_into_chunks_that_start_with_every_combo() {
        let grid = Grid { combos: 2, cells: 2 * CHUNK + 1 };
        let places: Vec<(u64, u64)> = grid.places().map(|place| (place.chunk, place.combo)).collect();
        assert_eq!(places, [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]);
        let sizes: Vec<u64> = (0..4).map(|chunk| grid.completions(chunk)).collect();
        assert_eq!(sizes, [CHUNK, CHUNK, 1, 0]);
        assert_eq!(Grid::of(&spec(json!({"samples": 3})), 10), Some(Grid { combos: 2, cells: 30 }));
    }

    #[test]
    fn a_job_is_the_published_shape() {
        let run = run(json!({}), 10);
        let pod = json!({"metadata": {"labels": {"team": "a", "agentrun.dev/run": "other"}}, "spec": {"containers": [{"name": "agent"}]}});
        let template = Template { pod, container: "agent".into() };
        let window = Window { suspend: false, parallelism: 8 };
        let job = build(&run, &run.spec.clone().unwrap(), Place::first(0, 1), &Ranges::below(10), window, template);
        insta::assert_json_snapshot!(job);
        let typed: Job = serde_json::from_value(job).unwrap();
        let (place, view) = JobView::read(&typed).unwrap();
        assert_eq!((place, view.need(), view.parallelism), (Place::first(0, 1), 10, 8));
    }

    #[test]
    fn a_job_that_tries_trials_again_says_which_and_is_read_by_them() {
        let run = run(json!({}), 10);
        let place = Place { round: 2, ..Place::first(0, 1) };
        let template = Template { pod: json!({"spec": {"containers": [{"name": "agent"}]}}), container: "agent".into() };
        let window = Window { suspend: false, parallelism: 3 };
        let mut job = build(&run, &run.spec.clone().unwrap(), place, &Ranges::parse("2,5-6"), window, template);
        assert_eq!((&job["metadata"]["name"], &job["spec"]["completions"]), (&json!("math-c1-k0-r2"), &json!(3)));
        assert_eq!(job["spec"]["backoffLimitPerIndex"], 0, "each such Job is one more try");
        assert_eq!(job["spec"]["template"]["metadata"]["labels"]["agentrun.dev/round"], "2");
        assert_eq!(job["spec"]["template"]["metadata"]["annotations"]["agentrun.dev/cells"], "2,5-6");
        job["status"] = json!({"completedIndexes": "0,2", "failedIndexes": "1", "active": 0});
        let (read, view) = JobView::read(&serde_json::from_value(job).unwrap()).unwrap();
        assert_eq!((read, view.cells.to_string(), view.need()), (place, "2,5-6".into(), 0));
        assert_eq!((view.succeeded.to_string(), view.failed.to_string()), ("2,6".into(), "5".into()));
    }

    #[test]
    fn a_queue_of_kueues_is_handed_on() {
        let mut run = run(json!({}), 10);
        run.queue = Some("team-a".into());
        let template = Template { pod: json!({"spec": {"containers": [{"name": "agent"}]}}), container: "agent".into() };
        let window = Window { suspend: true, parallelism: 1 };
        let job = build(&run, &run.spec.clone().unwrap(), Place::first(0, 0), &Ranges::below(10), window, template);
        assert_eq!(job["metadata"]["labels"][QUEUE_LABEL], "team-a");
    }

    #[test]
    fn what_is_to_do_is_what_has_neither_ended_nor_been_given_up() {
        let job: Job = serde_json::from_value(json!({
            "metadata": {"labels": {"agentrun.dev/combo": "3", "agentrun.dev/chunk": "1"}},
            "spec": {"completions": 10, "parallelism": 4, "template": {}},
            "status": {"completedIndexes": "0-4,6", "failedIndexes": "5", "active": 2},
        }))
        .unwrap();
        let (place, view) = JobView::read(&job).unwrap();
        assert_eq!((place, view.need()), (Place::first(1, 3), 3));
        assert_eq!(
            (view.cells.to_string(), view.succeeded.to_string(), view.failed.to_string()),
            ("0-9".into(), "0-4,6".into(), "5".into())
        );
        assert_eq!(JobView::read(&Job::default()), None);
    }
}
