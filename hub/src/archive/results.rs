//! Trials get their scores, and runs are summed up.

use std::sync::Arc;

use agentrun_protocol::{
    run::{Aggregate, Observation},
    score::{Item, Scored},
};
use bytes::Bytes;
use jiff::Timestamp;

use super::{
    Archive, Result,
    change::Changes,
    error::ArchiveError,
    plan::{Judge, Plan},
    run::{RunState, ScoreResult},
    shelf::Open,
    types::RunId,
};
use crate::{aggregate::Snapshot, scoring};

/// How many outputs are scored together.
const SCORED: usize = 64;
/// How many bytes of outputs a page has, about.
pub(super) const PAGE_BYTES: u64 = 8 << 20;

/// An output on its way to its scorer: trial, attempt, text.
type Unscored = (u64, i64, Option<Bytes>);

impl Archive {
    /// Takes what the operator saw, decides on the trials that it concerns, and sums the run up.
    ///
    /// # Errors
    /// No such run; [`ArchiveError::Full`] while others wait for room, so that no more is begun meanwhile.
    pub async fn observe(&self, namespace: &str, name: &str, observation: Observation, now: Timestamp) -> Result<Aggregate> {
        self.has_room()?;
        let run = self.find(namespace, name, Some(&observation.uid)).await?;
        let open = self.shelf().open(run).await?;
        let decide = |state: &mut RunState| {
            state.plan()?;
            Ok(((), state.observe(&observation, now)?))
        };
        self.shelf().commit(&open, 1024 * (observation.pods.len() + 1), decide).await?;
        self.settle(&open, None).await?;
        self.sum_up(&open).await
    }

    /// Sums a run up.
    ///
    /// # Errors
    /// No such run.
    pub async fn aggregate(&self, run: RunId) -> Result<Aggregate> {
        let open = self.shelf().open(run).await?;
        self.sum_up(&open).await
    }

    pub(super) async fn sum_up(&self, open: &Arc<Open>) -> Result<Aggregate> {
        let snapshot = {
            let mut state = open.lock();
            match &state.summed_up {
                Some(aggregate) => return Ok((**aggregate).clone()),
                None => Snapshot::of(&mut state),
            }
        };
        let (version, observed) = (snapshot.version, snapshot.observed);
        let summed_up = tokio::task::spawn_blocking(move || snapshot.sum_up()).await;
        let (aggregate, ranking) = summed_up.map_err(|error| ArchiveError::Broken(format!("summing a run up: {error}")))?;
        let mut state = open.lock();
        if state.observed == observed {
            state.ranked = ranking.map(|ranking| (observed, ranking));
        }
        if state.version == version {
            state.summed_up = Some(Arc::new(aggregate.clone()));
        }
        Ok(aggregate)
    }

    /// Has outputs scored by the run's built-in scorer: that of one trial, or all that wait.
    pub(super) async fn settle(&self, open: &Arc<Open>, only: Option<u64>) -> Result<()> {
        loop {
            let (plan, waiting) = {
                let state = open.lock();
                let chosen = state.to_score.iter().filter(|(trial, _)| only.is_none_or(|only| only == **trial)).take(SCORED);
                let held = |attempt: &i64| state.attempt(super::AttemptId(*attempt)).ok().and_then(|attempt| attempt.held.clone());
                let waiting: Vec<Unscored> = chosen.map(|(trial, attempt)| (*trial, *attempt, held(attempt))).collect();
                (state.plan.clone(), waiting)
            };
            let (Some(plan), false) = (plan, waiting.is_empty()) else { return Ok(()) };
            let waiting = self.fetch(waiting).await?;
            let scored = tokio::task::spawn_blocking(move || score_all(&plan, waiting)).await;
            let scored = scored.map_err(|error| ArchiveError::Broken(format!("scoring: {error}")))?;
            let decide = |state: &mut RunState| {
                let mut changes = Changes::default();
                for (trial, attempt, result) in scored {
                    state.settle(trial, attempt, result, Timestamp::now(), &mut changes);
                }
                Ok(((), changes))
            };
            self.shelf().commit(open, 1024, decide).await?;
            if only.is_some() {
                return Ok(());
            }
        }
    }

    /// Reads the outputs that are not in memory.
    async fn fetch(&self, mut waiting: Vec<Unscored>) -> Result<Vec<Unscored>> {
        let missing = waiting.iter().filter(|(_, _, output)| output.is_none()).map(|(_, attempt, _)| *attempt);
        let missing: Vec<i64> = missing.collect();
        if !missing.is_empty() {
            let found = self.shelf().backend().outputs(missing).await?;
            for (_, attempt, output) in waiting.iter_mut().filter(|(_, _, output)| output.is_none()) {
                *output = found.iter().find(|(id, _)| id == attempt).map(|(_, output)| output.clone());
            }
        }
        Ok(waiting)
    }

    /// Outputs that wait for their score, by trial number, after trial `after` (−1 for all). A page holds at most `limit` items and some MiB.
    ///
    /// # Errors
    /// No such run.
    pub async fn score_items(&self, run: RunId, after: i64, limit: u64) -> Result<Vec<Item>> {
        let open = self.shelf().open(run).await?;
        let (plan, mut waiting) = {
            let state = open.lock();
            (state.plan()?.clone(), state.waiting(after, super::readers::page(Some(limit))))
        };
        let mut bytes = 0;
        waiting.retain(|(_, _, length)| {
            let fits = bytes < PAGE_BYTES;
            bytes += length;
            fits
        });
        let found = self.shelf().backend().outputs(waiting.iter().map(|(_, attempt, _)| *attempt).collect()).await?;
        let item = |(trial, attempt, _): &(u64, i64, u64)| {
            let (_, output) = found.iter().find(|(id, _)| id == attempt)?;
            Some(scoring::item(*trial, plan.datapoint(*trial)?, output))
        };
        Ok(waiting.iter().filter_map(item).collect())
    }

    /// Takes scores. Those of trials that do not wait for one change nothing.
    ///
    /// # Errors
    /// No such run.
    pub async fn score(&self, run: RunId, scores: Vec<Scored>) -> Result<()> {
        let open = self.shelf().open(run).await?;
        let bytes = 512 * (scores.len() + 1);
        let results: Vec<(i64, ScoreResult)> = scores.into_iter().map(|scored| (scored.trial, scoring::posted(scored))).collect();
        let decide = |state: &mut RunState| {
            let mut changes = Changes::default();
            for (trial, result) in results {
                state.score(trial, result, Timestamp::now(), &mut changes);
            }
            Ok(((), changes))
        };
        self.shelf().commit(&open, bytes, decide).await
    }
}

fn score_all(plan: &Plan, waiting: Vec<Unscored>) -> Vec<(u64, i64, ScoreResult)> {
    let scored = waiting.into_iter().map(|(trial, attempt, output)| {
        let result = match (&plan.judge, plan.datapoint(trial), output) {
            (Judge::Builtin(scorer), Some(datapoint), Some(output)) => scoring::builtin(scorer, datapoint, &output),
            (_, _, None) => Err("the output is not in the store any more".to_owned()),
            (_, _, Some(_)) => Err("the run has no scorer for it".to_owned()),
        };
        (trial, attempt, result)
    });
    scored.collect()
}
