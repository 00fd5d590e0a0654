//! Between the operator and the hub.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The most trials of one Job.
pub const CHUNK: u64 = 5000;

/// A run as the operator tells it: what the hub needs to hand out trials, score and rank. Sent once a generation; equal ones change nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Registration {
    /// The AgentRun's uid: a run that was deleted and made again is another.
    pub uid: String,
    /// The AgentRun's generation.
    pub generation: i64,
    /// `spec` of the AgentRun, as the API server has it.
    pub spec: Value,
    /// The datapoints in order, as in the dataset (`id`, `input`, `expected`, other keys); `id` is always there. Immutable for a uid: other
    /// ones are answered 409. Empty for a uid that the hub knows: those of before; for one that it does not know: 404.
    #[serde(default)]
    pub datapoints: Vec<Value>,
}

/// Which trial a pod of the operator's Jobs runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cell {
    /// The datapoint's index.
    pub datapoint: u64,
    /// The repeat.
    pub sample: u32,
}

/// The cell of a completion index: cells of a combo are numbered sample by sample, datapoint fastest, and cut into chunks of [`CHUNK`].
pub fn cell_of(chunk: u64, index: u64, datapoints: u64) -> Cell {
    let number = chunk * CHUNK + index;
    let datapoints = datapoints.max(1);
    Cell { datapoint: number % datapoints, sample: u32::try_from(number / datapoints).unwrap_or(u32::MAX) }
}

/// The index that a Job's own index stands for, where the Job tries only some of a chunk's again: the `own`-th of `cells`, which are written in
/// rising order as Kubernetes writes indexes (`3,17-19`). `None` where there are not so many, or they are no indexes.
pub fn index_in(cells: &str, own: u64) -> Option<u64> {
    let mut before = 0;
    for part in cells.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        let count = last.checked_sub(first)?.checked_add(1)?;
        if own - before < count {
            return first.checked_add(own - before).filter(|index| *index < CHUNK);
        }
        before += count;
    }
    None
}

/// What the operator saw since the last time, and wants summed up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// The AgentRun's uid.
    pub uid: String,
    /// The Jobs as the Job controller counts them.
    pub jobs: Vec<JobProgress>,
    /// Pods that ended badly, each told at least once.
    #[serde(default)]
    pub pods: Vec<PodFailure>,
    /// Whether the run is suspended and none of its pods runs any more: trials that they were at wait to be run again.
    #[serde(default)]
    pub stopped: bool,
}

/// How far the trials of a combo and chunk are, indexes as Kubernetes writes them (`0-4,7`). An index that a later Job tries again is told as that
/// Job has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobProgress {
    /// The combo's index.
    pub combo: u64,
    /// The chunk's index.
    pub chunk: u64,
    /// Indexes whose pod ended well. One without [`crate::trial::End`] in the hub becomes `RecordsMissing`.
    #[serde(default)]
    pub succeeded: String,
    /// Indexes that Kubernetes has given up.
    #[serde(default)]
    pub failed: String,
    /// Whether [`Aggregate::lost`] of these will be tried again. Otherwise what is lost has failed.
    #[serde(default)]
    pub again: bool,
}

/// A pod that ended badly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodFailure {
    /// The pod's uid.
    pub pod_uid: String,
    /// The combo's index.
    pub combo: u64,
    /// The chunk's index.
    pub chunk: u64,
    /// The completion index.
    pub index: u64,
    /// A name of `eval::trial::FailureReason`.
    pub reason: String,
    /// One sentence.
    pub message: String,
    /// The exit code of the agent's own container, where `reason` is `AgentExit` because of it. The wrapper has codes of its own, which the hub
    /// reads: [`crate::pod::TIMEOUT_CODE`], [`crate::pod::SIDECAR_LOST_CODE`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
}

/// Everything a status needs, summed up over the whole run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Aggregate {
    /// Changes whenever anything below does.
    pub version: u64,
    /// The fragments `trials`, `calls`, `spend`, `results`, `best`, `failures` of the resource's status.
    pub status: Value,
    /// Trials with a final result.
    pub finished: u64,
    /// Trials whose output waits for its score.
    pub unscored: u64,
    /// Trials that ended without all their records.
    pub records_missing: u64,
    /// Calls by the layer that caught them, as in `{"connect": 40}`.
    #[serde(default)]
    pub captured: indexmap::IndexMap<String, u64>,
    /// Connections to LLM hosts whose client did not accept our certificate.
    #[serde(default)]
    pub failed_handshakes: u64,
    /// Pods that ended badly, as told by [`Observation::pods`], by reason: those too whose trial was tried again and ended well.
    #[serde(default)]
    pub interruptions: Vec<Interruption>,
    /// The indexes whose pods may go, for each Job, because nothing more is wanted of them: their result is final, or only its score is
    /// missing: `(combo, chunk, ranges)`.
    #[serde(default)]
    pub harvested: Vec<(u64, u64, String)>,
    /// The indexes, for each combo and chunk, that their Job counts as ended, but that were lost to the infrastructure and have tries left:
    /// `(combo, chunk, ranges)`. Another Job is to try them again.
    #[serde(default)]
    pub lost: Vec<(u64, u64, String)>,
}

/// Pods that ended badly for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interruption {
    /// A name of `eval::trial::FailureReason`.
    pub reason: String,
    /// How many pods.
    pub count: u64,
    /// What the last of them said.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jobs_own_indexes_count_up_the_cells_it_tries_again() {
        let found: Vec<Option<u64>> = (0..6).map(|own| index_in("3,17-19,40", own)).collect();
        assert_eq!(found, [Some(3), Some(17), Some(18), Some(19), Some(40), None]);
        for odd in ["", "x", "5-3", "0-18446744073709551615", "1-", "-1", "4998-5003"] {
            assert_eq!(index_in(odd, 3), None, "{odd}");
        }
        assert_eq!(index_in("0", u64::MAX), None);
    }
}
