//! A run in numbers: where its trials stand, what its calls came to, why trials failed.

use std::collections::HashMap;

use rust_decimal::Decimal;

use crate::select::Spec;
use crate::trial::{FailureReason, Observations, TrialState};

/// How many reasons of failure are told.
pub const MAX_FAILURES: usize = 10;
/// The longest message told, in characters.
const MESSAGE_CHARS: usize = 300;
/// How many ranges of datapoints are told of one reason.
const MAX_RANGES: usize = 20;

/// How many trials stand where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TrialCounts {
    /// All that the run will have.
    pub total: u64,
    /// Not started.
    pub pending: u64,
    /// Running.
    pub running: u64,
    /// Scored.
    pub succeeded: u64,
    /// Failed, by the agent's or the infrastructure's fault.
    pub failed: u64,
    /// Ended without a call seen.
    pub unobserved: u64,
}

/// What all calls came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CallTotals {
    /// Calls seen.
    pub total: u64,
    /// Answered from the cache.
    pub cached: u64,
    /// Ended without a good answer.
    pub failed: u64,
    /// Seen but not understood.
    pub unreadable: u64,
    /// By a model without a price.
    pub unpriced: u64,
    /// US dollars paid.
    pub spent_usd: Decimal,
    /// US dollars the cached calls would have cost.
    pub saved_usd: Decimal,
}

/// Trials of one combo that failed for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureGroup {
    /// What kind of failure.
    pub reason: FailureReason,
    /// What happened, in one sentence.
    pub message: String,
    /// How many trials.
    pub count: u64,
    /// The combo's index.
    pub combo: usize,
    /// The datapoints' indexes as ranges: `3,17-19`; ends in `…` where there are too many to tell.
    pub datapoints: String,
}

/// A run in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// How many trials stand where.
    pub trials: TrialCounts,
    /// What all calls came to.
    pub calls: CallTotals,
    /// The most frequent failures first, at most [`MAX_FAILURES`].
    pub failures: Vec<FailureGroup>,
}

/// Adds up a run's trials.
pub fn summarize(spec: &Spec, observations: &Observations) -> Summary {
    let mut trials = TrialCounts { total: spec.trials(), ..TrialCounts::default() };
    let mut calls = CallTotals::default();
    let mut groups: HashMap<(usize, FailureReason, String), (u64, Vec<usize>)> = HashMap::new();
    for (key, observation) in observations.iter() {
        match &observation.state {
            TrialState::Pending => {}
            TrialState::Running => trials.running += 1,
            TrialState::Succeeded { .. } => trials.succeeded += 1,
            TrialState::Unobserved => trials.unobserved += 1,
            TrialState::Failed(failure) => {
                trials.failed += 1;
                let message: String = failure.message.chars().take(MESSAGE_CHARS).collect();
                let group = groups.entry((key.combo, failure.reason, message)).or_default();
                group.0 += 1;
                group.1.push(key.datapoint);
            }
        }
        let measures = &observation.measures;
        calls.total += measures.calls;
        calls.cached += measures.cached;
        calls.failed += measures.failed;
        calls.unreadable += measures.unreadable;
        calls.unpriced += measures.unpriced;
        calls.spent_usd = calls.spent_usd.saturating_add(measures.spent_usd);
        calls.saved_usd = calls.saved_usd.saturating_add(measures.saved_usd);
    }
    trials.pending = trials.total.saturating_sub(trials.running + trials.succeeded + trials.failed + trials.unobserved);
    Summary { trials, calls, failures: most_frequent(groups) }
}

fn most_frequent(groups: HashMap<(usize, FailureReason, String), (u64, Vec<usize>)>) -> Vec<FailureGroup> {
    let mut failures: Vec<FailureGroup> = groups
        .into_iter()
        .map(|((combo, reason, message), (count, datapoints))| FailureGroup {
            reason,
            message,
            count,
            combo,
            datapoints: ranges(datapoints),
        })
        .collect();
    failures.sort_by(|one, other| {
        let key = |group: &FailureGroup| (std::cmp::Reverse(group.count), group.combo, group.reason);
        key(one).cmp(&key(other)).then_with(|| one.message.cmp(&other.message))
    });
    failures.truncate(MAX_FAILURES);
    failures
}

/// Indexes as ranges: `3,17-19`.
pub fn ranges(mut indexes: Vec<usize>) -> String {
    indexes.sort_unstable();
    indexes.dedup();
    let mut spans: Vec<(usize, usize)> = Vec::new();
    for index in indexes {
        match spans.last_mut() {
            Some((_, last)) if *last + 1 == index => *last = index,
            _ => spans.push((index, index)),
        }
    }
    let told = spans.iter().take(MAX_RANGES).map(|(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") });
    let mut parts: Vec<String> = told.collect();
    if spans.len() > MAX_RANGES {
        parts.push("…".to_owned());
    }
    parts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::select::Method;
    use crate::trial::{Failure, Measures, Observation, TrialKey};

    fn failed(combo: usize, datapoint: usize, message: &str) -> (TrialKey, Observation) {
        let failure = Failure { reason: FailureReason::AgentExit, message: message.into() };
        let measures = Measures { calls: 2, cached: 1, spent_usd: Decimal::new(1, 2), ..Measures::default() };
        (TrialKey { combo, datapoint, sample: 0 }, Observation { state: TrialState::Failed(failure), measures })
    }

    #[test]
    fn trials_calls_and_failures_are_added_up() {
        let spec = Spec { method: Method::BruteForce, combos: 3, datapoints: 10, samples: 2 };
        let mut trials =
            vec![failed(1, 3, "exit code 1"), failed(1, 5, "exit code 1"), failed(1, 4, "exit code 1"), failed(0, 0, "exit code 2")];
        let states = [TrialState::Running, TrialState::Unobserved, TrialState::Succeeded { score: 0.5 }, TrialState::Pending];
        for (datapoint, state) in states.into_iter().enumerate() {
            trials.push((TrialKey { combo: 2, datapoint, sample: 0 }, Observation::bare(state)));
        }
        let summary = summarize(&spec, &trials.into_iter().collect());
        let counts = TrialCounts { total: 60, pending: 53, running: 1, succeeded: 1, failed: 4, unobserved: 1 };
        assert_eq!(summary.trials, counts);
        assert_eq!((summary.calls.total, summary.calls.cached, summary.calls.spent_usd), (8, 4, Decimal::new(4, 2)));
        let failures: Vec<_> = summary.failures.iter().map(|group| (group.combo, group.count, group.datapoints.as_str())).collect();
        assert_eq!(failures, [(1, 3, "3-5"), (0, 1, "0")]);
    }

    #[test]
    fn what_is_told_is_bounded() {
        let spec = Spec { method: Method::BruteForce, combos: 1, datapoints: 1000, samples: 1 };
        let observations = (0..1000).map(|datapoint| failed(0, datapoint, &format!("{datapoint}{}", "x".repeat(400)))).collect();
        let summary = summarize(&spec, &observations);
        assert_eq!(summary.failures.len(), MAX_FAILURES);
        assert!(summary.failures.iter().all(|group| group.message.chars().count() == 300));
        assert!(ranges((0..200).map(|index| index * 2).collect()).ends_with(",38,…"));
    }

    #[test]
    fn indexes_become_ranges() {
        for (indexes, expected) in [(vec![], ""), (vec![3], "3"), (vec![19, 3, 17, 18, 3], "3,17-19")] {
            assert_eq!(ranges(indexes), expected);
        }
    }
}
