//! A run, read from its rows.

use std::sync::Arc;

use agentrun_eval::trial::{Failure, Observation, TrialState};
use jiff::Timestamp;
use serde::de::DeserializeOwned;

use super::{Decided, Names, RunState, Stands};
use crate::archive::{
    attempt::Attempt,
    change::rows_of,
    error::ArchiveError,
    plan::{Plan, Registered},
};

/// A run's rows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rows {
    pub(crate) registration: Option<String>,
    /// By number.
    pub(crate) attempts: Vec<(i64, String)>,
    pub(crate) trials: Vec<(i64, String)>,
    /// The greatest numbers given; `None` where there is none.
    pub(crate) last_call: Option<i64>,
    pub(crate) last_text: Option<i64>,
}

impl RunState {
    /// Reads a run.
    ///
    /// # Errors
    /// A row cannot be read.
    pub(crate) fn load(id: i64, names: Names, rows: Rows, now: Timestamp) -> Result<Self, ArchiveError> {
        let mut state = Self::new(id, names, now);
        if let Some(text) = &rows.registration {
            let registered: Registered = read("registration", text)?;
            state.plan = Some(Arc::new(Plan::read(registered).map_err(ArchiveError::Broken)?));
        }
        for (id, text) in rows.attempts {
            state.next_attempt = state.next_attempt.max(id + 1);
            state.take_attempt(id, read("attempt", &text)?);
        }
        for (id, text) in rows.trials {
            let trial = u64::try_from(id - rows_of(state.id).0).unwrap_or_default();
            state.decided(trial, read::<Decided>("trial", &text)?);
        }
        let mut told: Vec<(u64, Failure)> =
            state.attempts.values().filter_map(|attempt| Some((attempt.told, attempt.failure.clone()?))).collect();
        told.sort_unstable_by_key(|(order, _)| *order);
        told.iter().for_each(|(_, failure)| state.interrupted(failure));
        let open: Vec<(u64, Vec<i64>)> = state.open().collect();
        for (trial, attempts) in open {
            state.resume(trial, &attempts, now);
        }
        state.next_call = state.next_call.max(rows.last_call.unwrap_or_default() + 1);
        state.next_text = state.next_text.max(rows.last_text.unwrap_or_default() + 1);
        Ok(state)
    }

    fn take_attempt(&mut self, id: i64, attempt: Attempt) {
        self.sums.add(&attempt.sums);
        if let Some(end) = &attempt.end {
            self.failed_handshakes = self.failed_handshakes.saturating_add(end.failed_handshakes);
        }
        self.add_attempt(id, attempt);
    }

    fn open(&self) -> impl Iterator<Item = (u64, Vec<i64>)> + '_ {
        let open = self.trials.iter().filter(|(_, trial)| trial.stands == Stands::Open);
        open.map(|(number, trial)| (*number, trial.attempts.clone()))
    }

    /// Goes on with a trial that has no result: it may run, or only its score was missing.
    fn resume(&mut self, trial: u64, attempts: &[i64], now: Timestamp) {
        if attempts.iter().any(|id| self.attempts.get(id).is_some_and(Attempt::is_live)) {
            self.observe_trial(trial, Observation::bare(TrialState::Running));
        }
        // Whatever else a verdict says, it was followed when it was first found.
        let mut unwritten = Default::default();
        for id in attempts {
            if self.has_output(*id) {
                self.judge_attempt(trial, *id, now, &mut unwritten);
            }
        }
    }
}

/// Reads a document.
///
/// # Errors
/// It is none of this kind.
pub(crate) fn read<T: DeserializeOwned>(what: &str, text: &str) -> Result<T, ArchiveError> {
    serde_json::from_str(text).map_err(|error| ArchiveError::Broken(format!("a row of {what}: {error}")))
}
