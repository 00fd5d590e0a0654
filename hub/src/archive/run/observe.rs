//! What the operator saw: pods that ended badly, and how far the Jobs are.

use std::collections::BTreeMap;

use agentrun_eval::trial::{Failure, FailureReason, Observation, TrialState};
use agentrun_protocol::run::{self, Interruption, JobProgress, PodFailure};
use jiff::Timestamp;

use super::{Changes, RunState, Said, Stands};
use crate::archive::{
    attempt::Attempt,
    error::ArchiveError,
    ranges::Indexes,
    types::Place,
    verdict::{self, Counted},
};

/// The longest message that is kept, in characters.
pub(super) const MESSAGE_CHARS: usize = 1000;

impl RunState {
    /// Takes what the operator saw, and decides on the trials that it concerns.
    ///
    /// # Errors
    /// A reason that is none. Pods and Jobs of trials that the run has not are left out.
    pub(crate) fn observe(&mut self, seen: &run::Observation, now: Timestamp) -> Result<Changes, ArchiveError> {
        let mut changes = Changes::default();
        let told = seen.pods.iter().map(|pod| reason(&pod.reason).map(|reason| (pod, reason))).collect::<Result<Vec<_>, _>>()?;
        // Jobs first: whether a pod that failed is tried again, they say.
        seen.jobs.iter().for_each(|job| self.count(job, now));
        for (pod, reason) in told {
            let message = pod.message.chars().take(MESSAGE_CHARS).collect();
            self.pod_failed(pod, Failure { reason, message }, now, &mut changes);
        }
        let counted: Vec<u64> = self.counted.keys().filter(|trial| !self.lost.contains(trial)).copied().collect();
        for trial in counted {
            self.judge_counted(trial, now, &mut changes);
        }
        if seen.stopped {
            self.rest();
        }
        if !changes.is_empty() {
            self.note_activity(now, &mut changes);
        }
        Ok(changes)
    }

    /// Notes which trials without a result a Job counts.
    fn count(&mut self, job: &JobProgress, now: Timestamp) {
        let Some(plan) = self.plan.clone() else { return };
        let said = Said { succeeded: job.succeeded.clone(), failed: job.failed.clone(), again: job.again };
        let trials = plan.trials_of(job.combo, job.chunk);
        if trials.is_empty() || self.jobs.get(&(job.combo, job.chunk)) == Some(&said) {
            return;
        }
        let mut fresh = BTreeMap::new();
        for (indexes, counted) in [(&said.succeeded, Counted::Succeeded), (&said.failed, Counted::Failed)] {
            for index in Indexes::parse(indexes).iter() {
                let trial = plan.trial_at(Place { combo: job.combo, chunk: job.chunk, index });
                fresh.extend(trial.filter(|trial| self.stands(*trial) == Stands::Open).map(|trial| (trial, counted)));
            }
        }
        let before: Vec<(u64, Counted)> = self.counted.range(trials).map(|(trial, (counted, _))| (*trial, *counted)).collect();
        for (trial, counted) in before {
            // What is counted no more, or otherwise, is being tried again, or was.
            if fresh.get(&trial) != Some(&counted) {
                self.counted.remove(&trial);
                self.taken_up(trial);
            } else if !said.again {
                self.taken_up(trial);
            }
        }
        for (trial, counted) in fresh {
            self.counted.entry(trial).or_insert((counted, now));
        }
        self.jobs.insert((job.combo, job.chunk), said);
    }

    /// Nothing runs: a trial without a result waits for another pod, unless an output of it waits for its score.
    fn rest(&mut self) {
        let open = self.trials.iter().filter(|(trial, entry)| entry.stands == Stands::Open && !self.to_score.contains_key(trial));
        let running = open.map(|(trial, _)| *trial).filter(|trial| self.state_of(*trial) == Some(&TrialState::Running));
        for trial in running.collect::<Vec<_>>() {
            self.observe_trial(trial, Observation::bare(TrialState::Pending));
        }
    }

    /// A lost trial does not wait to be tried again any more.
    pub(super) fn taken_up(&mut self, trial: u64) {
        if self.lost.remove(&trial) {
            self.changed();
        }
    }

    fn pod_failed(&mut self, pod: &PodFailure, failure: Failure, now: Timestamp, changes: &mut Changes) {
        let place = Place { combo: pod.combo, chunk: pod.chunk, index: pod.index };
        let Some((trial, limit)) = self.plan.as_ref().and_then(|plan| Some((plan.trial_at(place)?, plan.spec.agent.timeout_seconds)))
        else {
            return;
        };
        let id = match self.by_pod.get(&pod.pod_uid) {
            Some(id) => *id,
            // It never got as far as asking for its trial.
            None => self.new_attempt(Attempt { pod_uid: pod.pod_uid.clone(), trial: Some(trial), ..Attempt::default() }),
        };
        let Some(attempt) = self.attempts.get(&id).filter(|attempt| attempt.trial == Some(trial)) else { return };
        let failure = verdict::meant(failure, pod.exit_code, attempt.end.as_ref(), limit);
        if !self.fail_attempt(id, &failure, now, changes) {
            return;
        }
        if self.stands(trial) == Stands::Open {
            self.judge_attempt(trial, id, now, changes);
        }
        let live = |id: &i64| self.attempts.get(id).is_some_and(Attempt::is_live);
        let runs = self.trials.get(&trial).is_some_and(|trial| trial.attempts.iter().any(live));
        if !runs && self.stands(trial) == Stands::Open && self.state_of(trial) == Some(&TrialState::Running) {
            self.observe_trial(trial, Observation::bare(TrialState::Pending));
        }
    }

    /// Notes how an attempt failed; false where that is known.
    pub(super) fn fail_attempt(&mut self, id: i64, failure: &Failure, now: Timestamp, changes: &mut Changes) -> bool {
        let told = self.interruptions.values().map(|interruption| interruption.count).sum::<u64>() + 1;
        let Some(attempt) = self.attempts.get_mut(&id).filter(|attempt| attempt.failure.is_none()) else { return false };
        (attempt.failure, attempt.told) = (Some(failure.clone()), told);
        attempt.ended.get_or_insert(now.as_microsecond());
        self.interrupted(failure);
        self.write_attempt(id, changes);
        true
    }

    pub(super) fn interrupted(&mut self, failure: &Failure) {
        let name = failure.reason.name();
        let entry = self.interruptions.entry(name).or_insert_with(|| Interruption { reason: name.to_owned(), ..Interruption::default() });
        entry.count += 1;
        entry.message.clone_from(&failure.message);
        self.changed();
    }
}

fn reason(name: &str) -> Result<FailureReason, ArchiveError> {
    serde_json::from_value(name.into()).map_err(|_| ArchiveError::Query(format!("`{name}` is no reason of failure")))
}
