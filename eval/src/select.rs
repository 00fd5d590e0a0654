//! Selection: which trials to run next. One method a file.

pub mod brute_force;

use serde::{Deserialize, Serialize};

use crate::trial::{Observations, TrialKey};

/// How trials are chosen. The wire form is the variant's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Method {
    /// Every combo on every datapoint.
    #[default]
    BruteForce,
}

/// The space that trials are chosen from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spec {
    /// How trials are chosen.
    pub method: Method,
    /// How many combos there are.
    pub combos: usize,
    /// How many datapoints there are.
    pub datapoints: usize,
    /// Repeats of each combo on each datapoint.
    pub samples: u32,
}

impl Spec {
    /// How many trials the whole space has.
    pub fn trials(&self) -> u64 {
        (self.combos as u64).saturating_mul(self.datapoints as u64).saturating_mul(u64::from(self.samples))
    }
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Start these, in this order; at least one.
    Trials(Vec<TrialKey>),
    /// Nothing to start until a running trial has ended.
    Wait,
    /// All that was to be run has ended.
    Done,
}

/// The next trials, at most `limit`. The same observations give the same answer: what runs or has ended is never given out
/// again, what is [`crate::trial::TrialState::Pending`] is.
pub fn next(spec: &Spec, observations: &Observations, limit: usize) -> Next {
    match spec.method {
        Method::BruteForce => brute_force::next(spec, observations, limit),
    }
}
