//! Between a scoring pod and the hub. The user's program reads one [`Question`] a line and prints one [`Answer`] a line.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What the user's program reads: the protocol of `scoring.command`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// The datapoint's input.
    pub input: Value,
    /// What is expected.
    #[serde(default)]
    pub expected: Option<Value>,
    /// The agent's output.
    pub output: String,
    /// The datapoint's other keys.
    #[serde(default)]
    pub metadata: serde_json::Map<String, Value>,
}

/// An output that waits for its score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// The hub's number of the trial: pages go by it, and the score names it.
    pub trial: i64,
    /// What the user's program is asked.
    #[serde(flatten)]
    pub question: Question,
}

/// What the user's program says of one output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// See [`Item::trial`].
    pub trial: i64,
    /// The line that the program printed, which the hub reads as it reads every scorer's. It counts more than `score`.
    #[serde(default)]
    pub answer: Option<String>,
    /// 0..1; `None` where there is an answer, or where the program failed, and `reason` says how.
    #[serde(default)]
    pub score: Option<f64>,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
}
