//! Which attempt a pod is, and what it is to do.

use agentrun_crds::network::CacheScope;
use agentrun_eval::trial::{Observation, TrialState};
use agentrun_protocol::trial::Assignment;
use jiff::Timestamp;

use super::{Changes, RunState, Stands};
use crate::archive::{
    attempt::Attempt,
    error::ArchiveError,
    types::{AttemptId, Claimed, Claims, OUTPUT_BYTES, Place, Pod, Scope},
};

impl RunState {
    /// Gives a pod its trial: the attempt it has, or the next one.
    pub(crate) fn claim(&mut self, place: Place, pod: Pod, shares: bool, now: Timestamp) -> Result<(Claimed, Changes), ArchiveError> {
        let plan = self.plan()?.clone();
        let shown = self.shown();
        let no_trial = || ArchiveError::NoTrial { run: shown.clone(), trial: format!("{place:?}") };
        let trial = plan.trial_at(place).ok_or_else(no_trial)?;
        let known = self.by_pod.get(&pod.uid).copied();
        if known.and_then(|id| self.attempts.get(&id)).is_some_and(|attempt| attempt.trial != Some(trial)) {
            return Err(no_trial());
        }
        let mut changes = Changes::default();
        let id = match known {
            Some(id) => id,
            None => self.new_attempt(Attempt { pod_uid: pod.uid, pod: pod.name, trial: Some(trial), ..Attempt::default() }),
        };
        if !self.attempt(AttemptId(id))?.claimed {
            let claimed = |id: &&i64| self.attempts.get(id).is_some_and(|attempt| attempt.claimed);
            let before = self.trials.get(&trial).map_or(0, |trial| trial.attempts.iter().filter(claimed).count());
            let attempt = self.attempt_mut(AttemptId(id))?;
            (attempt.claimed, attempt.number) = (true, u32::try_from(before).unwrap_or(u32::MAX));
            attempt.started = Some(now.as_microsecond());
            if attempt.is_live() && self.stands(trial) == Stands::Open {
                if self.lost.contains(&trial) {
                    // The Job that counts it is not this pod's.
                    self.counted.remove(&trial);
                    self.taken_up(trial);
                }
                self.observe_trial(trial, Observation::bare(TrialState::Running));
            }
            self.write_attempt(id, &mut changes);
            self.note_activity(now, &mut changes);
        }
        let number = self.attempt(AttemptId(id))?.number;
        let (scope, cache_scope) = match plan.cache_scope() {
            CacheScope::Run => (Scope::Run(self.run()), format!("run/{}", self.names.uid)),
            CacheScope::Shared if shares => (Scope::Shared, "shared".to_owned()),
            CacheScope::Namespace | CacheScope::Shared => self.namespace_scope(),
        };
        let mut assignment = plan.assignment(trial, number).ok_or_else(no_trial)?;
        (assignment.run, assignment.namespace) = (self.names.name.clone(), self.names.namespace.clone());
        assignment.cache_scope = cache_scope;
        let is_final = self.stands(trial) != Stands::Open;
        Ok((Claimed { run: self.run(), attempt: AttemptId(id), assignment, scope, is_final }, changes))
    }

    /// Whether a pod has an attempt here.
    pub(crate) fn has_pod(&self, uid: &str) -> bool {
        self.by_pod.contains_key(uid)
    }

    /// Notes a pod that others made.
    pub(crate) fn adopt(&mut self, claims: Claims, pod: Pod, now: Timestamp) -> (Claimed, Changes) {
        let mut changes = Changes::default();
        let id = match self.by_pod.get(&pod.uid) {
            Some(id) => *id,
            None => {
                let claims = Some(claims.clone());
                let started = Some(now.as_microsecond());
                let id =
                    self.new_attempt(Attempt { pod_uid: pod.uid, pod: pod.name, claims, started, claimed: true, ..Attempt::default() });
                self.write_attempt(id, &mut changes);
                self.note_activity(now, &mut changes);
                id
            }
        };
        let (scope, cache_scope) = self.namespace_scope();
        let said = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let assignment = Assignment {
            run: self.names.name.clone(),
            namespace: self.names.namespace.clone(),
            data_id: said(&claims.data_id),
            combo_id: said(&claims.combo_id),
            agent_id: said(&claims.agent_id),
            output_limit: OUTPUT_BYTES as u64,
            cache_scope,
            cache_mode: "ReadWrite".to_owned(),
            ..Assignment::default()
        };
        (Claimed { run: self.run(), attempt: AttemptId(id), assignment, scope, is_final: false }, changes)
    }

    fn namespace_scope(&self) -> (Scope, String) {
        let namespace = &self.names.namespace;
        (Scope::Namespace(namespace.clone()), format!("namespace/{namespace}"))
    }

    pub(super) fn new_attempt(&mut self, attempt: Attempt) -> i64 {
        let id = self.next_attempt;
        self.next_attempt += 1;
        self.add_attempt(id, attempt);
        id
    }

    pub(super) fn add_attempt(&mut self, id: i64, attempt: Attempt) {
        self.by_pod.insert(attempt.pod_uid.clone(), id);
        if let Some(trial) = attempt.trial {
            self.trials.entry(trial).or_default().attempts.push(id);
        }
        self.attempts.insert(id, attempt);
    }
}
