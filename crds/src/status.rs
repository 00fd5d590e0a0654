//! What came out of a run. Numbers that are not counts are decimal strings.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many ranked combos a status holds.
pub const MAX_RESULTS: usize = 50;

/// What came out of a run, so far or in the end.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentRunStatus {
    /// The generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// A summary of the conditions.
    #[serde(default)]
    pub phase: Phase,
    /// Accepted, Progressing, Complete, Failed, Suspended, RecordsComplete.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// When the first trial was started: RFC 3339, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<String>,
    /// When the last trial ended: RFC 3339, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<String>,
    /// The dataset as it was read when the run started; later changes of its source do not change the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<DatasetStatus>,
    /// Trials that have ended, of all: `37/40`. It repeats `trials` because a column of `kubectl get` shows one field.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub progress: String,
    /// How many trials stand where.
    #[serde(default)]
    pub trials: TrialCounts,
    /// How many calls were seen.
    #[serde(default)]
    pub calls: CallCounts,
    /// What they cost.
    #[serde(default)]
    pub spend: Spend,
    /// The ranking, at most 50 combos.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub results: Vec<RankedCombo>,
    /// The first of the ranking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best: Option<Best>,
    /// The most frequent reasons of failed trials, at most 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub failures: Vec<FailureCount>,
    /// Pods that ended badly, by reason, those too whose trial was tried again and ended well; at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub interruptions: Vec<InterruptionCount>,
}

/// The dataset as it was read when the run started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DatasetStatus {
    /// How many datapoints it has.
    pub datapoints: i64,
    /// SHA-256 of the datapoints, in hex.
    pub digest: String,
}

/// Pods that ended badly for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InterruptionCount {
    /// What kind of failure.
    pub reason: String,
    /// How many pods.
    pub count: i64,
    /// What the last of them said.
    #[serde(default)]
    pub message: String,
}

/// A summary of the conditions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("type" = "string", "enum" = ["Pending", "Running", "Suspended", "Complete", "Failed"]), inline)]
pub enum Phase {
    /// Nothing was started.
    #[default]
    Pending,
    /// Trials run or are still to be run.
    Running,
    /// Stopped; it can go on.
    Suspended,
    /// Every trial has ended.
    Complete,
    /// The run cannot go on.
    Failed,
}

/// Kubernetes' Condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Condition {
    /// Which condition.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    #[schemars(extend("enum" = ["True", "False", "Unknown"]))]
    pub status: String,
    /// The generation of the spec that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When `status` last changed: RFC 3339, UTC.
    pub last_transition_time: String,
    /// Why, as one word.
    pub reason: String,
    /// Why, as a sentence.
    #[serde(default)]
    pub message: String,
}

/// How many trials stand where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TrialCounts {
    /// All that the run has.
    pub total: i64,
    /// Not started.
    pub pending: i64,
    /// Running.
    pub running: i64,
    /// Scored.
    pub succeeded: i64,
    /// Failed, by the agent's or the infrastructure's fault.
    pub failed: i64,
    /// Ended without a call seen; never scored.
    pub unobserved: i64,
}

impl TrialCounts {
    /// Trials that have ended, of all: `37/40`.
    pub fn progress(&self) -> String {
        format!("{}/{}", self.succeeded + self.failed + self.unobserved, self.total)
    }
}

/// How many calls were seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CallCounts {
    /// All.
    pub total: i64,
    /// Answered from the cache.
    pub cached: i64,
    /// Ended without a good answer.
    pub failed: i64,
    /// Seen but not understood.
    pub unreadable: i64,
}

/// What the calls cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spend {
    /// US dollars spent.
    pub usd: String,
    /// US dollars that cached answers would have cost.
    pub saved_usd: String,
    /// Calls whose model has no price.
    #[serde(default)]
    pub unpriced: i64,
}

impl Default for Spend {
    fn default() -> Self {
        Self { usd: "0.0000".to_owned(), saved_usd: "0.0000".to_owned(), unpriced: 0 }
    }
}

/// One combo's place in the ranking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RankedCombo {
    /// From 1.
    #[schemars(range(min = 1))]
    pub rank: i64,
    /// The combo's id.
    pub combo: String,
    /// Role to model.
    pub models: IndexMap<String, String>,
    /// Trials that count.
    pub trials: i64,
    /// Of these, the agent's own failures: they score 0.
    pub failed: i64,
    /// Mean score.
    pub score: String,
    /// Its standard error over datapoints; absent with fewer than two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standard_error: Option<String>,
    /// Mean seconds a trial, cached calls counted with their original latency.
    pub latency_seconds: String,
    /// Mean US dollars a trial as if nothing had been cached; absent where a call has no price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd: Option<String>,
    /// Not told apart from the best on the common datapoints (paired, 95 %).
    pub tied_with_best: bool,
    /// No other combo is better in one of score, cost and latency and no worse in the rest.
    pub pareto: bool,
}

/// The first of the ranking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Best {
    /// The combo's id.
    pub combo: String,
    /// How many combos are not told apart from the best, itself included.
    pub tied: i64,
}

/// Trials of one combo that failed for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FailureCount {
    /// What kind of failure.
    pub reason: String,
    /// How many trials.
    pub count: i64,
    /// What happened.
    #[serde(default)]
    pub message: String,
    /// The combo's id.
    pub combo: String,
    /// The datapoints' indexes as ranges: `3,17-19`.
    pub datapoints: String,
}
