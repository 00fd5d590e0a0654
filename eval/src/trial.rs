//! Trials: one combo on one datapoint for one sample, and what was seen of it.

use std::collections::{BTreeMap, HashMap};

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// Which trial: indexes into the run's combos and datapoints, and the repeat, all from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TrialKey {
    /// Index of the combo in [`crate::combo::Combos`].
    pub combo: usize,
    /// Index of the datapoint in [`crate::dataset::Dataset`].
    pub datapoint: usize,
    /// The how-manieth repeat.
    pub sample: u32,
}

/// Why a trial failed. The wire form is the variant's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FailureReason {
    /// The agent ended with an exit code other than 0.
    AgentExit,
    /// The agent was ended by a signal that was not ours.
    AgentSignal,
    /// The agent used more memory than it may, and was killed.
    AgentOutOfMemory,
    /// The agent ran past its time limit.
    Timeout,
    /// The agent ended well but left no output.
    NoOutput,
    /// The output is longer than the limit.
    OutputTooLarge,
    /// The output is not UTF-8.
    OutputNotText,
    /// The agent could not be started, for want of memory, processes or files.
    Spawn,
    /// The sidecar was lost while the trial ran.
    SidecarLost,
    /// No call of the trial reached its provider.
    UpstreamUnreachable,
    /// The sidecar used more memory than it may, and was killed.
    SidecarOutOfMemory,
    /// The pod was evicted or preempted.
    Evicted,
    /// The pod's node was lost.
    NodeLost,
    /// The image could not be pulled.
    ImagePull,
    /// No node had room for the pod.
    Unschedulable,
    /// A quota of the namespace forbade the pod.
    QuotaExceeded,
    /// The trial ended, but not all of its records or not its end arrived.
    RecordsMissing,
    /// The scorer failed, so nothing is known of the output's worth.
    Scoring,
}

impl FailureReason {
    /// Whether the agent itself is to blame. Such a trial scores 0 and counts; every other failure is one of the
    /// infrastructure: it is tried again, and never scored.
    pub fn is_agents_own(self) -> bool {
        match self {
            Self::AgentExit
            | Self::AgentSignal
            | Self::AgentOutOfMemory
            | Self::Timeout
            | Self::NoOutput
            | Self::OutputTooLarge
            | Self::OutputNotText => true,
            Self::Spawn
            | Self::SidecarLost
            | Self::SidecarOutOfMemory
            | Self::UpstreamUnreachable
            | Self::Evicted
            | Self::NodeLost
            | Self::ImagePull
            | Self::Unschedulable
            | Self::QuotaExceeded
            | Self::RecordsMissing
            | Self::Scoring => false,
        }
    }

    /// The wire form, as in `AgentExit`.
    pub fn name(self) -> &'static str {
        match self {
            Self::AgentExit => "AgentExit",
            Self::AgentSignal => "AgentSignal",
            Self::AgentOutOfMemory => "AgentOutOfMemory",
            Self::Timeout => "Timeout",
            Self::NoOutput => "NoOutput",
            Self::OutputTooLarge => "OutputTooLarge",
            Self::OutputNotText => "OutputNotText",
            Self::Spawn => "Spawn",
            Self::SidecarLost => "SidecarLost",
            Self::UpstreamUnreachable => "UpstreamUnreachable",
            Self::SidecarOutOfMemory => "SidecarOutOfMemory",
            Self::Evicted => "Evicted",
            Self::NodeLost => "NodeLost",
            Self::ImagePull => "ImagePull",
            Self::Unschedulable => "Unschedulable",
            Self::QuotaExceeded => "QuotaExceeded",
            Self::RecordsMissing => "RecordsMissing",
            Self::Scoring => "Scoring",
        }
    }
}

/// A failure with a sentence for people, as in `exit code 1: KeyError: 'choices'`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind of failure.
    pub reason: FailureReason,
    /// What happened, in one sentence.
    pub message: String,
}

/// Where a trial stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all_fields = "camelCase")]
pub enum TrialState {
    /// Known but not running: it waits for its first start or for a retry. The same as no observation at all.
    Pending,
    /// Started, not ended.
    Running,
    /// Ended with an output that was scored.
    Succeeded {
        /// 0..1, higher is better.
        score: f64,
    },
    /// Ended without one. Infrastructure failures are observed as failed only when their retries are used up.
    Failed(Failure),
    /// Ended, but no call of it was seen: it says nothing about the combo's models, and is never scored.
    Unobserved,
}

impl TrialState {
    /// Whether nothing more will happen to the trial.
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::Pending | Self::Running)
    }

    /// What the trial counts in the ranking: its score, 0 for the agent's own failure, `None` where it must not count.
    pub fn counted_score(&self) -> Option<f64> {
        match self {
            Self::Succeeded { score } => Some(if score.is_finite() { score.clamp(0.0, 1.0) } else { 0.0 }),
            Self::Failed(failure) if failure.reason.is_agents_own() => Some(0.0),
            Self::Failed(_) | Self::Pending | Self::Running | Self::Unobserved => None,
        }
    }
}

/// What a trial's calls came to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Measures {
    /// Seconds the trial took, cached calls counted with their original latency.
    pub latency_seconds: f64,
    /// US dollars as if nothing had been cached; `None` where a call's model has no price.
    pub usd: Option<Decimal>,
    /// US dollars paid.
    pub spent_usd: Decimal,
    /// US dollars the cached calls would have cost.
    pub saved_usd: Decimal,
    /// Calls seen.
    pub calls: u64,
    /// Of these, answered from the cache.
    pub cached: u64,
    /// Of these, ended without a good answer.
    pub failed: u64,
    /// Of these, seen but not understood.
    pub unreadable: u64,
    /// Of these, by a model without a price.
    pub unpriced: u64,
}

/// What is known of one trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// Where it stands.
    pub state: TrialState,
    /// What its calls came to so far.
    pub measures: Measures,
}

impl Observation {
    /// An observation without measures.
    pub fn bare(state: TrialState) -> Self {
        Self { state, measures: Measures::default() }
    }
}

/// All that is known of a run's trials. One observation a trial: a later one replaces the earlier.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observations {
    trials: BTreeMap<TrialKey, Observation>,
    /// For each (sample, datapoint), how many combos from 0 on are given out without a gap: selection steps over them.
    given_out: HashMap<(u32, usize), usize>,
    running: usize,
}

impl Observations {
    /// No trial seen yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes what is known of a trial now.
    pub fn record(&mut self, key: TrialKey, observation: Observation) {
        let given = observation.state != TrialState::Pending;
        let runs = observation.state == TrialState::Running;
        let before = self.trials.insert(key, observation);
        let ran = before.is_some_and(|before| before.state == TrialState::Running);
        let mut first_open = self.first_open(key.sample, key.datapoint);
        if !given {
            first_open = first_open.min(key.combo);
        }
        while self.is_given_out(TrialKey { combo: first_open, ..key }) {
            first_open += 1;
        }
        self.given_out.insert((key.sample, key.datapoint), first_open);
        self.running = self.running + usize::from(runs) - usize::from(ran);
    }

    /// What is known of one trial.
    pub fn get(&self, key: TrialKey) -> Option<&Observation> {
        self.trials.get(&key)
    }

    /// All observations by combo, datapoint and sample.
    pub fn iter(&self) -> impl Iterator<Item = (TrialKey, &Observation)> {
        self.trials.iter().map(|(key, observation)| (*key, observation))
    }

    /// Whether the trial is running or final.
    pub fn is_given_out(&self, key: TrialKey) -> bool {
        self.get(key).is_some_and(|observation| observation.state != TrialState::Pending)
    }

    /// The first combo whose trial on this datapoint and sample is neither running nor final.
    pub fn first_open(&self, sample: u32, datapoint: usize) -> usize {
        self.given_out.get(&(sample, datapoint)).copied().unwrap_or_default()
    }

    /// How many trials run.
    pub fn running(&self) -> usize {
        self.running
    }
}

impl FromIterator<(TrialKey, Observation)> for Observations {
    fn from_iter<I: IntoIterator<Item = (TrialKey, Observation)>>(items: I) -> Self {
        let mut observations = Self::new();
        for (key, observation) in items {
            observations.record(key, observation);
        }
        observations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_observation_replaces_the_earlier_and_the_counts_follow() {
        let key = TrialKey { combo: 1, datapoint: 2, sample: 0 };
        let mut observations = Observations::new();
        observations.record(TrialKey { combo: 2, ..key }, Observation::bare(TrialState::Unobserved));
        observations.record(TrialKey { combo: 0, ..key }, Observation::bare(TrialState::Unobserved));
        let states = [
            (TrialState::Running, 3, 1),
            (TrialState::Pending, 1, 0),
            (TrialState::Running, 3, 1),
            (TrialState::Succeeded { score: 1.0 }, 3, 0),
            (TrialState::Unobserved, 3, 0),
        ];
        for (state, first_open, running) in states {
            observations.record(key, Observation::bare(state.clone()));
            assert_eq!((observations.first_open(0, 2), observations.running()), (first_open, running), "{state:?}");
        }
        assert_eq!(observations.iter().count(), 3);
    }

    #[test]
    fn only_the_agents_own_failures_count_as_zero() {
        let failed = |reason| TrialState::Failed(Failure { reason, message: String::new() }).counted_score();
        assert_eq!(failed(FailureReason::Timeout), Some(0.0));
        assert_eq!(failed(FailureReason::SidecarLost), None);
        assert_eq!(failed(FailureReason::Scoring), None);
        assert_eq!(TrialState::Unobserved.counted_score(), None);
        assert_eq!(TrialState::Succeeded { score: f64::NAN }.counted_score(), Some(0.0));
        assert_eq!(TrialState::Succeeded { score: 7.0 }.counted_score(), Some(1.0));
    }

    #[test]
    fn a_reasons_name_is_its_wire_form() {
        use FailureReason::*;
        for reason in [AgentExit, AgentOutOfMemory, NoOutput, UpstreamUnreachable, NodeLost, ImagePull, RecordsMissing, Scoring] {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.name());
        }
    }
}
