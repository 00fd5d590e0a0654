//! What readers ask of the hub: people through the CLI, scripts through the API server.
//!
//! Lists are pages of `{"items": [...], "next": TOKEN or null}`; `next` goes back as `?cursor=`. `limit` is at most [`PAGE`].

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The most items of a page.
pub const PAGE: u64 = 1000;

/// A page.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<String>,
}

/// The runs of a namespace.
pub type Runs = Page<Run>;

/// A run as the hub knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The AgentRun's uid.
    pub uid: String,
    /// RFC 3339, UTC.
    pub started: String,
    /// Calls recorded.
    pub calls: u64,
}

/// One trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// The combo's id.
    pub combo_id: String,
    /// The datapoint's id.
    pub data_id: String,
    /// The repeat.
    pub sample: u32,
    /// How often it was tried.
    pub attempts: u32,
    /// `Pending`, `Running`, `Succeeded`, `Failed`, `Unobserved`; of a pod that others made `Running` or `Ended`: nobody judges it.
    pub state: String,
    /// Why it failed, a name of `eval::trial::FailureReason`.
    pub reason: Option<String>,
    /// One sentence.
    pub message: Option<String>,
    /// 0..1.
    pub score: Option<f64>,
    /// What the scorer says.
    pub score_reason: Option<String>,
    /// Seconds, cached calls counted with their original latency.
    pub latency_seconds: Option<f64>,
    /// US dollars as if nothing had been cached.
    pub usd: Option<String>,
    /// Calls seen.
    pub calls: u64,
    /// Of these, answered from the cache.
    #[serde(default)]
    pub cached: u64,
    /// US dollars paid.
    #[serde(default)]
    pub spent_usd: Option<String>,
    /// US dollars that the cached calls would have cost.
    #[serde(default)]
    pub saved_usd: Option<String>,
    /// The agent's output.
    pub output: Option<String>,
    /// The pod of the last attempt.
    pub pod: Option<String>,
    /// When the last attempt's pod asked for its trial: RFC 3339, UTC.
    #[serde(default)]
    pub started: Option<String>,
    /// When its end arrived, or it was told how its pod failed; only of what is over.
    #[serde(default)]
    pub finished: Option<String>,
}

/// Which calls are wanted; all that are given must hold. Also the names of the query's parameters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// Of this combo.
    pub combo_id: Option<String>,
    /// Of this datapoint.
    pub data_id: Option<String>,
    /// Of this agent.
    pub agent_id: Option<String>,
    /// Sent to this model.
    pub model: Option<String>,
    /// Answered from the cache, or not.
    pub cached: Option<bool>,
    /// With this outcome.
    pub outcome: Option<String>,
    /// Ended at or after this time: RFC 3339.
    pub since: Option<String>,
    /// Ended before this time: RFC 3339.
    pub until: Option<String>,
    /// At most so many.
    pub limit: Option<u64>,
    /// Where the page begins.
    pub cursor: Option<String>,
    /// Calls: the newest first. Trials and results have one order alone.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub newest_first: bool,
}

/// An error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// One sentence.
    pub error: String,
}

/// A page of call records as JSON objects, in the order they arrived, or backwards.
pub type Calls = Page<Value>;
