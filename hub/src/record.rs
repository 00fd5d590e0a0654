//! The rows of the store as plain data.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use rust_decimal::Decimal;

/// A process, told apart from a later one with the same id by the moment it started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The process id.
    pub pid: u32,
    /// When it started, in whatever form the machine tells it; equal text means the same process.
    pub started: String,
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// A process is at work on it, or was killed while it was.
    Running,
    /// Stopped before its end; the same command goes on.
    Interrupted,
    /// Held back by `spec.suspend`.
    Suspended,
    /// Every trial has its result.
    Complete,
    /// It ended without a usable result.
    Failed,
}

/// Where a trial stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TrialState {
    /// Not started, or to be started again.
    Pending,
    /// Its process is running.
    Running,
    /// It gave an output, which is scored.
    Succeeded,
    /// The agent failed: score 0.
    Failed,
    /// It gave an output without one recorded call: no score.
    Unobserved,
    /// What is around the agent failed, as often as was allowed: no score.
    Lost,
}

/// Gives an enum its stored names.
macro_rules! stored_as_text {
    ($name:ident { $($variant:ident),+ }) => {
        impl $name {
            /// The stored name.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant)),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $(stringify!($variant) => Ok(Self::$variant),)+
                    other => Err(format!(concat!("`{}` is no ", stringify!($name)), other)),
                }
            }
        }
    };
}

stored_as_text!(Phase { Running, Interrupted, Suspended, Complete, Failed });
stored_as_text!(TrialState { Pending, Running, Succeeded, Failed, Unobserved, Lost });

/// What a process wants to work on.
#[derive(Clone, Debug)]
pub struct RunStart {
    /// `metadata.name` of the manifest.
    pub name: String,
    /// What makes two evaluations the same one; another text is another generation of the run.
    pub fingerprint: String,
    /// The manifest as JSON.
    pub manifest: String,
    /// The datapoints' ids in order, as a JSON array.
    pub datapoints: String,
    /// How many trials there are in all.
    pub trials: u64,
    /// Whether a new generation is wanted even where the fingerprint is the same.
    pub again: bool,
}

/// One generation of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct RunRecord {
    /// The row's number: what trials refer to.
    pub id: i64,
    /// `metadata.name` of the manifest.
    pub name: String,
    /// Counts from 1; a changed specification is a new generation.
    pub generation: u32,
    /// See [`RunStart::fingerprint`].
    pub fingerprint: String,
    /// The manifest as JSON.
    pub manifest: String,
    /// The datapoints' ids in order, as a JSON array.
    pub datapoints: String,
    /// How many trials there are in all.
    pub trials: u64,
    /// Where it stands.
    pub phase: Phase,
    /// When its first process began.
    pub started: Timestamp,
    /// When it became complete or failed.
    pub finished: Option<Timestamp>,
    /// The process at work on it.
    pub owner: Option<Owner>,
    /// What all its calls came to when a process last gave it back, those of attempts without a result included; `usd` is not kept.
    pub spending: Option<Spending>,
}

/// Which trial of a run.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrialId {
    /// The combo's id.
    pub combo: String,
    /// The datapoint's id.
    pub data_id: String,
    /// The how-manieth repeat, from 0.
    pub sample: u32,
}

/// What a trial's calls came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spending {
    /// Calls in all.
    pub calls: u64,
    /// Calls that were answered from the cache.
    pub cached: u64,
    /// Calls without a good answer.
    pub failed: u64,
    /// Calls that were seen but not understood.
    pub unreadable: u64,
    /// Calls whose model has no price.
    pub unpriced: u64,
    /// US dollars as if nothing had been cached; `None` where a call has no price.
    pub usd: Option<Decimal>,
    /// US dollars paid.
    pub spent: Decimal,
    /// US dollars that cached answers would have cost.
    pub saved: Decimal,
}

/// One trial and its result.
#[derive(Clone, Debug, PartialEq)]
pub struct TrialRecord {
    /// Which trial.
    pub id: TrialId,
    /// How often it was started.
    pub attempt: u32,
    /// Where it stands.
    pub state: TrialState,
    /// Why it failed, in one word of CamelCase.
    pub reason: Option<String>,
    /// Why it failed, in a sentence.
    pub message: Option<String>,
    /// 0 to 1, higher is better.
    pub score: Option<f64>,
    /// What a scorer said about the score.
    pub score_reason: Option<String>,
    /// Seconds, cached calls counted with their original latency.
    pub latency_seconds: Option<f64>,
    /// What its calls came to.
    pub spending: Spending,
    /// The agent's output.
    pub output: Option<String>,
    /// When its last attempt started and ended.
    pub started: Option<Timestamp>,
    /// See `started`.
    pub finished: Option<Timestamp>,
}

impl TrialRecord {
    /// A trial that has not been started.
    pub fn pending(id: TrialId) -> Self {
        Self {
            id,
            attempt: 0,
            state: TrialState::Pending,
            reason: None,
            message: None,
            score: None,
            score_reason: None,
            latency_seconds: None,
            spending: Spending::default(),
            output: None,
            started: None,
            finished: None,
        }
    }
}
