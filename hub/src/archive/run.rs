//! One run, as the hub holds it in memory: pure state, and the decisions on it. Every method that changes something gives the rows to
//! write; a method that fails has changed nothing.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use agentrun_eval::{
    score::Score,
    trial::{Failure, Observation, Observations, TrialState},
};
use agentrun_protocol::run::{Aggregate, Interruption};
use jiff::Timestamp;
use quick_cache::unsync::Cache;
use serde::{Deserialize, Serialize};

use super::{
    attempt::Attempt,
    change::{Changes, Table, rows_of},
    error::ArchiveError,
    plan::Plan,
    ranges::Indexes,
    sums::Sums,
    types::{AttemptId, RunId},
    verdict::Counted,
};

mod claim;
mod decide;
mod ingest;
mod load;
mod observe;
mod read;

pub(crate) use load::{Rows, read as read_document};
pub(crate) use read::Wanted;

/// How many pieces of text are remembered to be stored.
const KNOWN: usize = 16 << 10;

/// When a run last changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Activity {
    /// Seconds since 1970.
    pub(crate) changed: i64,
    /// Whether all its trials are final.
    pub(crate) over: bool,
    /// Calls recorded.
    pub(crate) calls: u64,
}

/// A run's names. They never change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Names {
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// Empty for a run that nobody registered.
    pub(crate) uid: String,
}

/// How far a trial's result is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stands {
    /// No result.
    #[default]
    Open,
    /// Only its score is missing, which a container gives.
    Unscored,
    /// Nothing will change.
    Final,
}

/// A trial that something is known of. Its state is in [`RunState::observations`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Trial {
    /// In the order they were made.
    pub(crate) attempts: Vec<i64>,
    pub(crate) stands: Stands,
    /// The attempt that the result is of.
    pub(crate) attempt: Option<i64>,
    pub(crate) score_reason: Option<String>,
}

/// A trial's result as it is stored; without an observation it waits for its score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Decided {
    pub(crate) attempt: Option<i64>,
    pub(crate) observation: Option<Observation>,
    pub(crate) score_reason: Option<String>,
}

/// The indexes of a Job whose pods may go.
#[derive(Clone, Debug, Default)]
pub(crate) struct Harvest {
    pub(crate) indexes: Indexes,
    /// The same as text, where it was asked for since the last change.
    pub(crate) text: Option<String>,
}

/// How far the Jobs of a combo and chunk were.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    succeeded: String,
    failed: String,
    /// Whether what is lost is tried again.
    again: bool,
}

/// What a scorer made of an output: its score, or why there is none.
pub(crate) type ScoreResult = Result<Score, String>;

/// One run.
pub(crate) struct RunState {
    pub(crate) id: i64,
    pub(crate) names: Names,
    /// `None` for a run that nobody registered.
    pub(crate) plan: Option<Arc<Plan>>,
    /// Nothing is written any more: the run was deleted.
    pub(crate) gone: bool,
    pub(crate) sums: Sums,
    pub(crate) failed_handshakes: u64,
    pub(crate) records_missing: u64,
    pub(crate) interruptions: BTreeMap<&'static str, Interruption>,
    /// Trials by state, for all that are known of.
    pub(crate) observations: Arc<Observations>,
    /// Trials whose result is final.
    pub(crate) finished: u64,
    pub(crate) harvest: BTreeMap<(u64, u64), Harvest>,
    /// Outputs that a container scores.
    pub(crate) unscored: BTreeSet<u64>,
    /// Trials that their Job counts, that the infrastructure ended, and that are to be tried again by another Job.
    pub(crate) lost: BTreeSet<u64>,
    /// Trials, with the attempt, whose output a built-in scorer is to score.
    pub(crate) to_score: BTreeMap<u64, i64>,
    /// Changes with every change of what is summed up.
    pub(crate) version: u64,
    pub(crate) summed_up: Option<Arc<Aggregate>>,
    /// The ranking, with the version of the observations it is of.
    pub(crate) ranked: Option<(u64, Arc<crate::aggregate::Ranking>)>,
    pub(crate) observed: u64,
    attempts: HashMap<i64, Attempt>,
    by_pod: HashMap<String, i64>,
    trials: HashMap<u64, Trial>,
    /// What the Jobs said when they were last looked at.
    jobs: HashMap<(u64, u64), Said>,
    /// Trials that their Job counts and that have no result, with when that was first told.
    counted: BTreeMap<u64, (Counted, Timestamp)>,
    known: Cache<u128, i64>,
    next_attempt: i64,
    next_call: i64,
    next_text: i64,
}

impl RunState {
    /// A run without anything.
    pub(crate) fn new(id: i64, names: Names, now: Timestamp) -> Self {
        let (first, _) = rows_of(id);
        Self {
            id,
            names,
            plan: None,
            gone: false,
            sums: Sums::default(),
            failed_handshakes: 0,
            records_missing: 0,
            interruptions: BTreeMap::new(),
            observations: Arc::default(),
            finished: 0,
            harvest: BTreeMap::new(),
            unscored: BTreeSet::new(),
            lost: BTreeSet::new(),
            to_score: BTreeMap::new(),
            // Greater than any that was told before a restart: no run changes a million times a second.
            version: u64::try_from(now.as_microsecond()).unwrap_or_default(),
            summed_up: None,
            ranked: None,
            observed: 0,
            attempts: HashMap::new(),
            by_pod: HashMap::new(),
            trials: HashMap::new(),
            jobs: HashMap::new(),
            counted: BTreeMap::new(),
            known: Cache::new(KNOWN),
            next_attempt: first + 1,
            next_call: first + 1,
            next_text: first + 1,
        }
    }

    /// The run's name in archive calls.
    pub(crate) fn run(&self) -> RunId {
        RunId(self.id)
    }

    /// The run for people.
    pub(crate) fn shown(&self) -> String {
        format!("{}/{}", self.names.namespace, self.names.name)
    }

    /// What was registered.
    pub(crate) fn plan(&self) -> Result<&Arc<Plan>, ArchiveError> {
        self.plan.as_ref().ok_or_else(|| ArchiveError::NoRun(format!("{} (no AgentRun of this name was registered)", self.shown())))
    }

    pub(crate) fn attempt(&self, attempt: AttemptId) -> Result<&Attempt, ArchiveError> {
        self.attempts.get(&attempt.0).ok_or(ArchiveError::NoAttempt)
    }

    fn attempt_mut(&mut self, attempt: AttemptId) -> Result<&mut Attempt, ArchiveError> {
        self.attempts.get_mut(&attempt.0).ok_or(ArchiveError::NoAttempt)
    }

    /// Notes that something that is summed up has changed.
    fn changed(&mut self) {
        self.version += 1;
        self.summed_up = None;
    }

    /// Notes what is known of a trial now.
    fn observe_trial(&mut self, trial: u64, observation: Observation) {
        if let Some(plan) = &self.plan {
            let key = plan.key_of(trial);
            Arc::make_mut(&mut self.observations).record(key, observation);
            self.observed += 1;
            self.changed();
        }
    }

    /// Writes when the run changed. It is one row a commit, however many decisions that holds.
    fn note_activity(&mut self, now: Timestamp, changes: &mut Changes) {
        let over = self.plan.as_ref().is_some_and(|plan| self.finished >= plan.trials());
        changes.document(Table::Activities, self.id, &Activity { changed: now.as_second(), over, calls: self.sums.calls });
    }

    fn write_attempt(&self, attempt: i64, changes: &mut Changes) {
        if let Some(document) = self.attempts.get(&attempt) {
            changes.document(Table::Attempts, attempt, document);
        }
    }

    /// Registers the run, or a later generation of it.
    ///
    /// # Errors
    /// It differs from what was registered in what may not change.
    pub(crate) fn register(&mut self, plan: Plan, now: Timestamp) -> Result<Changes, ArchiveError> {
        let mut changes = Changes::default();
        if let Some(before) = &self.plan {
            let what = if self.attempts.is_empty() {
                (before.registered.datapoints != plan.registered.datapoints).then_some("other datapoints")
            } else {
                before.difference(&plan)
            };
            if let Some(what) = what {
                return Err(ArchiveError::Changed { run: self.shown(), what });
            }
            if before.registered == plan.registered || plan.registered.generation < before.registered.generation {
                return Ok(changes);
            }
        }
        changes.document(Table::Registrations, self.id, &plan.registered);
        self.plan = Some(Arc::new(plan));
        self.ranked = None;
        self.changed();
        self.note_activity(now, &mut changes);
        Ok(changes)
    }

    /// Where a trial stands, and the failure it may have had.
    pub(crate) fn stands(&self, trial: u64) -> Stands {
        self.trials.get(&trial).map_or(Stands::Open, |trial| trial.stands)
    }

    fn last_failure(&self, trial: &Trial) -> Option<&Failure> {
        trial.attempts.iter().rev().find_map(|attempt| self.attempts.get(attempt)?.failure.as_ref())
    }

    fn state_of(&self, trial: u64) -> Option<&TrialState> {
        let key = self.plan.as_ref()?.key_of(trial);
        self.observations.get(key).map(|observation| &observation.state)
    }
}
