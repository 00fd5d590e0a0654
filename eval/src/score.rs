//! Scoring: an output becomes a number from 0 to 1, higher is better.

pub mod command;
pub mod contains;
pub mod exact;
pub mod json;
pub mod numeric;
pub mod regex;

use serde_json::Value;
use thiserror::Error;

use crate::dataset::{Datapoint, Dataset, text_of};
pub use command::CommandScorer;
pub use contains::Contains;
pub use exact::Exact;
pub use json::JsonPointer;
pub use numeric::Numeric;
pub use regex::Pattern;

/// A score with what led to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// 0..1.
    pub value: f64,
    /// Why, in a few words; what a person looks at when a score surprises.
    pub reason: Option<String>,
}

impl Score {
    /// 1 without a reason, or 0 with one.
    fn of(right: bool, reason: impl FnOnce() -> String) -> Self {
        if right { Self { value: 1.0, reason: None } } else { Self { value: 0.0, reason: Some(reason()) } }
    }

    fn wrong(reason: impl Into<String>) -> Self {
        Self { value: 0.0, reason: Some(reason.into()) }
    }
}

/// Why an output could not be scored, or a scorer not be made. Never the agent's fault.
#[derive(Debug, Error)]
pub enum ScoreError {
    /// The datapoint has nothing to compare with.
    #[error("datapoint `{0}` has no `expected`, and this scorer compares with it: add it to the dataset")]
    NoExpected(String),
    /// The expected value is of no use to the scorer.
    #[error("datapoint `{id}`: expected {expected} {problem}")]
    BadExpected {
        /// The datapoint.
        id: String,
        /// Its expected value, shortened.
        expected: String,
        /// What is wrong with it, and what to do.
        problem: &'static str,
    },
    /// The pattern does not compile.
    #[error("compiling the pattern `{pattern}`")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What the regex engine says.
        #[source]
        source: Box<::regex::Error>,
    },
    /// The pointer is not a JSON pointer.
    #[error("`{0}` is not a JSON pointer: it is empty or starts with `/`, as in `/answer`")]
    Pointer(String),
    /// The tolerance is negative or not a number.
    #[error("a tolerance of {0} is not allowed: it is 0 or more")]
    Tolerance(f64),
    /// The scoring command names no program.
    #[error("the scoring command is empty: name a program, as in [python3, score.py]")]
    NoProgram,
    /// The scoring command printed no score.
    #[error("reading the scoring command's answer `{answer}`: {problem}")]
    Answer {
        /// What it printed, shortened.
        answer: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// How a run's outputs are scored.
#[derive(Debug, Clone)]
pub enum Scoring {
    /// Here, by a pure function.
    Builtin(Scorer),
    /// By a command that the caller runs.
    Command(CommandScorer),
}

/// The scorers that need nothing but the output and the datapoint.
#[derive(Debug, Clone)]
pub enum Scorer {
    /// The output is the expected text.
    Exact(Exact),
    /// The output contains the expected text.
    Contains(Contains),
    /// What a pattern captures is the expected text.
    Regex(Pattern),
    /// The last number in the output is the expected one.
    Numeric(Numeric),
    /// The value at a JSON pointer is the expected one.
    Json(JsonPointer),
}

impl Scorer {
    /// Scores one output.
    ///
    /// # Errors
    /// The datapoint's `expected` is missing or of no use; the output itself is never an error, a bad one scores 0.
    pub fn score(&self, datapoint: &Datapoint, output: &str) -> Result<Score, ScoreError> {
        match self {
            Self::Exact(scorer) => scorer.score(datapoint, output),
            Self::Contains(scorer) => scorer.score(datapoint, output),
            Self::Regex(scorer) => scorer.score(datapoint, output),
            Self::Numeric(scorer) => scorer.score(datapoint, output),
            Self::Json(scorer) => scorer.score(datapoint, output),
        }
    }

    /// Whether every datapoint can be scored, so that a mistake in the dataset is told before anything is paid.
    /// Gives the first `most` that cannot.
    pub fn unscorable(&self, dataset: &Dataset, most: usize) -> Vec<ScoreError> {
        dataset.iter().filter_map(|datapoint| self.score(datapoint, "").err()).take(most).collect()
    }
}

/// The datapoint's expected value.
fn expected(datapoint: &Datapoint) -> Result<&Value, ScoreError> {
    datapoint.expected.as_ref().ok_or_else(|| ScoreError::NoExpected(datapoint.id.clone()))
}

/// The datapoint's expected value as text: a string's bare text, anything else as JSON.
fn expected_text(datapoint: &Datapoint) -> Result<String, ScoreError> {
    expected(datapoint).map(text_of)
}

/// At most 80 characters of a text, for messages.
fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(80).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// Whether two JSON values are equal, numbers by value (`1` is `1.0`).
fn same_value(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one == other || one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same_value(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len() && one.iter().all(|(key, value)| other.get(key).is_some_and(|other| same_value(value, other)))
        }
        _ => one == other,
    }
}

#[cfg(test)]
pub(crate) fn datapoint(expected: Value) -> Datapoint {
    Datapoint { id: "q".into(), input: Value::Null, expected: Some(expected), metadata: serde_json::Map::new() }
}
