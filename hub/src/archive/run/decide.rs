//! Trials get their results, each once.

use agentrun_eval::trial::{Failure, FailureReason, Observation, TrialState};
use agentrun_protocol::trial::Output;
use jiff::{SignedDuration, Timestamp};

use super::{Changes, Decided, RunState, ScoreResult, Stands};
use crate::archive::{
    change::{Table, rows_of},
    plan::Judge,
    types::AttemptId,
    verdict::{self, Counted, Evidence, PATIENCE_SECONDS, Verdict},
};

impl RunState {
    /// Judges one attempt at an open trial, and does what follows.
    pub(super) fn judge_attempt(&mut self, trial: u64, attempt: i64, now: Timestamp, changes: &mut Changes) {
        let Some(verdict) = self.verdict(trial, Some(attempt), now) else { return };
        self.follow(trial, Some(attempt), verdict, now, changes);
    }

    /// Judges an open trial that its Job counts, by the attempt that speaks for it.
    pub(super) fn judge_counted(&mut self, trial: u64, now: Timestamp, changes: &mut Changes) {
        let attempt = self.speaker(trial);
        let Some(verdict) = self.verdict(trial, attempt, now) else { return };
        self.follow(trial, attempt, verdict, now, changes);
    }

    /// Which attempt a trial that its Job counts is judged by: of one that succeeded the last that did not fail, if possible one that ended; of
    /// one that was given up the last.
    fn speaker(&self, trial: u64) -> Option<i64> {
        let attempts = &self.trials.get(&trial)?.attempts;
        let newest = |holds: &dyn Fn(&crate::archive::attempt::Attempt) -> bool| {
            attempts.iter().rev().copied().find(|id| self.attempts.get(id).is_some_and(holds))
        };
        match self.counted.get(&trial) {
            Some((Counted::Failed, _)) => newest(&|_| true),
            _ => newest(&|attempt| attempt.failure.is_none() && attempt.end.is_some())
                .or_else(|| newest(&|attempt| attempt.failure.is_none())),
        }
    }

    fn verdict(&self, trial: u64, attempt: Option<i64>, now: Timestamp) -> Option<Verdict> {
        let plan = self.plan.as_ref()?;
        let (counted, since) = self.counted.get(&trial).copied().unwrap_or((Counted::Open, now));
        let attempt = attempt.and_then(|id| self.attempts.get(&id));
        let nothing = Default::default();
        Some(verdict::judge(&Evidence {
            end: attempt.and_then(|attempt| attempt.end.as_ref()),
            sums: attempt.map_or(&nothing, |attempt| &attempt.sums),
            failure: attempt.and_then(|attempt| attempt.failure.as_ref()),
            counted,
            overdue: now.duration_since(since) >= SignedDuration::from_secs(PATIENCE_SECONDS),
            timeout_seconds: plan.spec.agent.timeout_seconds,
        }))
    }

    fn follow(&mut self, trial: u64, attempt: Option<i64>, verdict: Verdict, now: Timestamp, changes: &mut Changes) {
        match (verdict, attempt) {
            (Verdict::Wait, _) => {}
            (Verdict::Failed(failure), _) if self.has_tries_left(trial, attempt, &failure) => {
                self.lose(trial, attempt, &failure, now, changes);
            }
            (Verdict::Failed(failure), _) => self.finish(trial, attempt, TrialState::Failed(failure), None, changes),
            (Verdict::Unobserved, _) => self.finish(trial, attempt, TrialState::Unobserved, None, changes),
            (Verdict::Score, Some(attempt)) => match self.plan.as_ref().map(|plan| &plan.judge) {
                Some(Judge::Container) => self.await_score(trial, attempt, changes),
                _ => drop(self.to_score.insert(trial, attempt)),
            },
            (Verdict::Score, None) => {}
        }
    }

    /// Whether a trial that failed is to be tried again, by its Job or by another one.
    fn has_tries_left(&self, trial: u64, attempt: Option<i64>, failure: &Failure) -> bool {
        let Some(plan) = &self.plan else { return false };
        let place = plan.place_of(trial);
        // A Job that was not told of yet will be.
        let again = self.jobs.get(&(place.combo, place.chunk)).is_none_or(|said| said.again);
        let attempts = self.trials.get(&trial).map_or(&[][..], |trial| &trial.attempts);
        let has_failed = |id: &&i64| Some(**id) == attempt || self.attempts.get(id).is_some_and(|attempt| attempt.failure.is_some());
        let failed = attempts.iter().filter(has_failed).count() as u64;
        let retries = u64::try_from(plan.spec.limits.retries).unwrap_or_default();
        // Another output would be scored no better.
        let helps = !failure.reason.is_agents_own() && failure.reason != FailureReason::Scoring;
        helps && again && failed <= retries
    }

    /// Leaves a trial to be tried again: to its Job as long as that does not count it, then to the next one.
    fn lose(&mut self, trial: u64, attempt: Option<i64>, failure: &Failure, now: Timestamp, changes: &mut Changes) {
        if !self.counted.contains_key(&trial) {
            return;
        }
        if let Some(id) = attempt {
            // It speaks for the trial no more, and counts as a try.
            self.fail_attempt(id, failure, now, changes);
        }
        if self.lost.insert(trial) {
            self.observe_trial(trial, Observation::bare(TrialState::Pending));
        }
    }

    /// Takes a built-in scorer's word on a trial that waits for it.
    pub(crate) fn settle(&mut self, trial: u64, attempt: i64, result: ScoreResult, now: Timestamp, changes: &mut Changes) {
        if self.to_score.get(&trial) == Some(&attempt) && self.stands(trial) == Stands::Open {
            self.scored(trial, attempt, result, changes);
            self.note_activity(now, changes);
        }
    }

    /// Takes a container's word on a trial that waits for it. Of any other, it changes nothing.
    pub(crate) fn score(&mut self, trial: i64, result: ScoreResult, now: Timestamp, changes: &mut Changes) {
        let waits = u64::try_from(trial).ok().filter(|trial| self.unscored.contains(trial));
        let attempt = waits.and_then(|trial| Some((trial, self.trials.get(&trial)?.attempt?)));
        if let Some((trial, attempt)) = attempt {
            self.scored(trial, attempt, result, changes);
            self.note_activity(now, changes);
        }
    }

    fn scored(&mut self, trial: u64, attempt: i64, result: ScoreResult, changes: &mut Changes) {
        let (state, reason) = match result {
            Ok(score) => (TrialState::Succeeded { score: score.value }, score.reason),
            Err(message) => (TrialState::Failed(Failure { reason: FailureReason::Scoring, message }), None),
        };
        self.finish(trial, Some(attempt), state, reason, changes);
    }

    /// The one place where a trial gets its result.
    fn finish(&mut self, trial: u64, attempt: Option<i64>, state: TrialState, score_reason: Option<String>, changes: &mut Changes) {
        if self.stands(trial) == Stands::Final {
            return;
        }
        let measures = attempt.and_then(|id| self.attempts.get(&id)).map(|attempt| attempt.measures()).unwrap_or_default();
        let observation = Observation { state, measures };
        let decided = Decided { attempt, observation: Some(observation), score_reason };
        changes.document(Table::Trials, rows_of(self.id).0 + i64::try_from(trial).unwrap_or_default(), &decided);
        self.decided(trial, decided);
    }

    fn await_score(&mut self, trial: u64, attempt: i64, changes: &mut Changes) {
        let decided = Decided { attempt: Some(attempt), observation: None, score_reason: None };
        changes.document(Table::Trials, rows_of(self.id).0 + i64::try_from(trial).unwrap_or_default(), &decided);
        self.decided(trial, decided);
    }

    /// Notes a result, new or read.
    pub(super) fn decided(&mut self, trial: u64, decided: Decided) {
        let entry = self.trials.entry(trial).or_default();
        (entry.attempt, entry.score_reason) = (decided.attempt, decided.score_reason);
        entry.stands = if decided.observation.is_some() { Stands::Final } else { Stands::Unscored };
        self.counted.remove(&trial);
        self.lost.remove(&trial);
        self.to_score.remove(&trial);
        if let Some(attempt) = decided.attempt.and_then(|id| self.attempts.get_mut(&id)) {
            attempt.held = None;
        }
        if let Some(plan) = &self.plan {
            let place = plan.place_of(trial);
            let harvest = self.harvest.entry((place.combo, place.chunk)).or_default();
            harvest.indexes.insert(place.index);
            harvest.text = None;
        }
        match decided.observation {
            Some(observation) => {
                self.finished += 1;
                self.unscored.remove(&trial);
                let missing = |failure: &Failure| failure.reason == FailureReason::RecordsMissing;
                self.records_missing += u64::from(matches!(&observation.state, TrialState::Failed(failure) if missing(failure)));
                self.observe_trial(trial, observation);
            }
            None => {
                self.unscored.insert(trial);
                self.observe_trial(trial, Observation::bare(TrialState::Running));
            }
        }
    }

    /// Whether an attempt's output is there to be scored.
    pub(crate) fn has_output(&self, attempt: i64) -> bool {
        let attempt = self.attempt(AttemptId(attempt)).ok();
        attempt.and_then(|attempt| attempt.end.as_ref()).is_some_and(|end| end.output == Output::Present)
    }
}
