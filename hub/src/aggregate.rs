//! Sums a run up for its resource's status.

use std::{collections::BTreeMap, sync::Arc};

use agentrun_crds::AgentRunStatus;
use agentrun_eval::{
    rank::{self, Ranked},
    summary::{self, CallTotals, Summary},
    trial::Observations,
};
use agentrun_protocol::run::Aggregate;
use indexmap::IndexMap;
use serde_json::{Map, Value};

use crate::archive::{
    plan::Plan,
    ranges::Indexes,
    run::RunState,
    sums::{CAPTURES, Sums},
};

/// The fragments of the resource's status that an aggregate holds.
const FRAGMENTS: [&str; 6] = ["trials", "calls", "spend", "results", "best", "failures"];

/// What follows from the run's trials alone.
#[derive(Clone, Debug)]
pub(crate) struct Ranking {
    pub(crate) ranked: Vec<Ranked>,
    pub(crate) summary: Summary,
}

impl Ranking {
    /// Ranks a run's combos. The cost grows with the number of trials: a second's worth of changes should share one.
    pub(crate) fn of(plan: &Plan, observations: &Observations) -> Self {
        Self { ranked: rank::rank(&plan.combos, observations, &plan.objective), summary: summary::summarize(&plan.selection, observations) }
    }
}

/// What an aggregate is made of, taken from a run at one moment.
pub(crate) struct Snapshot {
    pub(crate) version: u64,
    pub(crate) observed: u64,
    plan: Option<Arc<Plan>>,
    observations: Arc<Observations>,
    ranking: Option<Arc<Ranking>>,
    sums: Sums,
    rest: Aggregate,
}

impl Snapshot {
    /// Takes what is needed; cheap but for the first time after many trials have ended.
    pub(crate) fn of(run: &mut RunState) -> Self {
        let harvested = run.harvest.iter_mut().map(|((combo, chunk), harvest)| {
            let text = harvest.text.get_or_insert_with(|| harvest.indexes.to_string());
            (*combo, *chunk, text.clone())
        });
        let rest = Aggregate {
            version: run.version,
            harvested: harvested.collect(),
            lost: lost(run),
            status: Value::Null,
            finished: run.finished,
            unscored: run.unscored.len() as u64,
            records_missing: run.records_missing,
            captured: captured(&run.sums),
            failed_handshakes: run.failed_handshakes,
            interruptions: run.interruptions.values().cloned().collect(),
        };
        let fresh = run.ranked.as_ref().filter(|(observed, _)| *observed == run.observed);
        Self {
            version: run.version,
            observed: run.observed,
            plan: run.plan.clone(),
            observations: run.observations.clone(),
            ranking: fresh.map(|(_, ranking)| ranking.clone()),
            sums: run.sums.clone(),
            rest,
        }
    }

    /// Sums up. This is the part that takes its time.
    pub(crate) fn sum_up(self) -> (Aggregate, Option<Arc<Ranking>>) {
        let ranking = self.ranking.or_else(|| self.plan.as_ref().map(|plan| Arc::new(Ranking::of(plan, &self.observations))));
        let mut status = AgentRunStatus::default();
        if let (Some(plan), Some(ranking)) = (&self.plan, &ranking) {
            // Calls of attempts that were tried again cost money too, so that calls are those of the whole run.
            let summary = Summary { calls: totals(&self.sums), ..ranking.summary.clone() };
            status = AgentRunStatus::of(&summary, &ranking.ranked, &plan.combos);
        }
        let mut whole = match serde_json::to_value(status) {
            Ok(Value::Object(fields)) => fields,
            _ => Map::new(),
        };
        whole.retain(|name, _| FRAGMENTS.contains(&name.as_str()));
        (Aggregate { status: Value::Object(whole), ..self.rest }, ranking)
    }
}

/// The trials that are to be tried again, by combo and chunk.
fn lost(run: &RunState) -> Vec<(u64, u64, String)> {
    let Some(plan) = &run.plan else { return Vec::new() };
    let mut indexes: BTreeMap<(u64, u64), Indexes> = BTreeMap::new();
    for place in run.lost.iter().map(|trial| plan.place_of(*trial)) {
        indexes.entry((place.combo, place.chunk)).or_default().insert(place.index);
    }
    indexes.into_iter().map(|((combo, chunk), indexes)| (combo, chunk, indexes.to_string())).collect()
}

fn captured(sums: &Sums) -> IndexMap<String, u64> {
    let named = CAPTURES.iter().zip(sums.captured).filter(|(_, count)| *count > 0);
    named.map(|(name, count)| ((*name).to_owned(), count)).collect()
}

fn totals(sums: &Sums) -> CallTotals {
    CallTotals {
        total: sums.calls,
        cached: sums.cached,
        failed: sums.failed,
        unreadable: sums.unreadable,
        unpriced: sums.unpriced,
        spent_usd: sums.spent,
        saved_usd: sums.saved,
    }
}
