//! A run as it stands: the resource with its status, and the ranking behind it.

use std::fmt;

use agentrun_crds::{
    AgentRun, AgentRunStatus,
    status::{Condition, Phase},
};
use agentrun_eval::{
    combo::ComboError,
    rank::{Ranked, rank},
    summary::{CallTotals, Summary, summarize},
};
use agentrun_hub::{Phase as Stored, RunRecord, Spending, TrialRecord};

use crate::local::{identity, observed};

/// The annotation that says that no model has answered.
const SIMULATED: &str = "agentrun.dev/simulated";

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing was started.
    Pending,
    /// Trials run or are still to be run.
    Running,
    /// Its process was stopped or killed.
    Interrupted,
    /// Its manifest stops it.
    Suspended,
    /// Every trial has ended.
    Complete,
    /// It cannot go on.
    Failed,
}

impl fmt::Display for Standing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, formatter)
    }
}

impl From<Stored> for Standing {
    fn from(phase: Stored) -> Self {
        match phase {
            Stored::Running => Self::Running,
            Stored::Interrupted => Self::Interrupted,
            Stored::Suspended => Self::Suspended,
            Stored::Complete => Self::Complete,
            Stored::Failed => Self::Failed,
        }
    }
}

impl From<Phase> for Standing {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Pending => Self::Pending,
            Phase::Running => Self::Running,
            Phase::Suspended => Self::Suspended,
            Phase::Complete => Self::Complete,
            Phase::Failed => Self::Failed,
        }
    }
}

/// A run as it stands.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    /// The resource with its status.
    pub(crate) resource: AgentRun,
    /// All combos that have a result, best first.
    pub(crate) ranked: Vec<Ranked>,
    /// The run in numbers.
    pub(crate) summary: Summary,
    /// Where it stands, as far as can be told from here.
    pub(crate) phase: Standing,
    /// Whether the answers were made up.
    pub(crate) simulated: bool,
}

/// A stored run that cannot be read back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReportError {
    #[error("reading the stored manifest of run `{name}`")]
    Manifest { name: String, source: serde_json::Error },
    #[error("reading the stored combos of run `{name}`")]
    Combos { name: String, source: ComboError },
}

impl Report {
    /// Puts together what is stored of a run.
    ///
    /// # Errors
    /// The stored manifest is of a later version.
    pub(crate) fn of(run: &RunRecord, trials: &[TrialRecord], simulated: bool) -> Result<Self, ReportError> {
        let unreadable = |source| ReportError::Manifest { name: run.name.clone(), source };
        let mut resource: AgentRun = serde_json::from_str(&run.manifest).map_err(unreadable)?;
        let data_ids: Vec<String> = serde_json::from_str(&run.datapoints).map_err(unreadable)?;
        let combos = resource.spec.combos().map_err(|source| ReportError::Combos { name: run.name.clone(), source })?;
        let observations = observed::observations(&combos, &data_ids, trials);
        let mut summary = summarize(&resource.spec.selection(combos.len(), data_ids.len()), &observations);
        if let Some(spending) = &run.spending {
            summary.calls = totals(spending);
        }
        let ranked = rank(&combos, &observations, &resource.spec.objective());
        let phase = match (run.phase, &run.owner) {
            // Its process was killed.
            (Stored::Running, Some(owner)) if !identity::is_alive(owner) => Stored::Interrupted,
            (phase, _) => phase,
        };
        let generation = i64::from(run.generation);
        resource.status = Some(AgentRunStatus {
            observed_generation: Some(generation),
            phase: match phase {
                Stored::Running => Phase::Running,
                Stored::Interrupted | Stored::Suspended => Phase::Suspended,
                Stored::Complete => Phase::Complete,
                Stored::Failed => Phase::Failed,
            },
            conditions: vec![condition(run, phase, &summary)],
            start_time: Some(run.started.to_string()),
            completion_time: run.finished.map(|finished| finished.to_string()),
            ..AgentRunStatus::of(&summary, &ranked, &combos)
        });
        resource.metadata.generation = Some(generation);
        if simulated {
            resource.metadata.annotations.insert(SIMULATED.to_owned(), "true".to_owned());
        }
        Ok(Self { resource, ranked, summary, phase: phase.into(), simulated })
    }

    /// A run as a cluster's operator sees it. The ranking is as long as the status holds.
    pub(crate) fn of_resource(resource: AgentRun) -> Self {
        let status = resource.status.clone().unwrap_or_default();
        let ranked = status.results.iter().map(Ranked::from).collect();
        Self { ranked, summary: status.summary(), phase: status.phase.into(), simulated: false, resource }
    }

    /// The run's name.
    pub(crate) fn name(&self) -> &str {
        &self.resource.metadata.name
    }

    /// Trials that have ended.
    pub(crate) fn ended(&self) -> u64 {
        let trials = &self.summary.trials;
        trials.succeeded + trials.failed + trials.unobserved
    }
}

fn totals(spending: &Spending) -> CallTotals {
    CallTotals {
        total: spending.calls,
        cached: spending.cached,
        failed: spending.failed,
        unreadable: spending.unreadable,
        unpriced: spending.unpriced,
        spent_usd: spending.spent,
        saved_usd: spending.saved,
    }
}

/// The one condition that holds.
fn condition(run: &RunRecord, phase: Stored, summary: &Summary) -> Condition {
    let trials = &summary.trials;
    let (kind, reason, message) = match phase {
        Stored::Running => ("Progressing", "TrialsRunning", String::new()),
        Stored::Interrupted => ("Suspended", "Interrupted", "the same `agentrun run` goes on where it was".to_owned()),
        Stored::Suspended => ("Suspended", "SuspendedBySpec", "set spec.suspend to false to go on".to_owned()),
        Stored::Complete => ("Complete", "EveryTrialEnded", format!("{} of {} trials succeeded", trials.succeeded, trials.total)),
        Stored::Failed => ("Failed", "NoUsableResult", format!("{} of {} trials succeeded", trials.succeeded, trials.total)),
    };
    Condition {
        kind: kind.to_owned(),
        status: "True".to_owned(),
        observed_generation: Some(i64::from(run.generation)),
        last_transition_time: run.finished.unwrap_or(run.started).to_string(),
        reason: reason.to_owned(),
        message,
    }
}

#[cfg(test)]
mod tests {
    use agentrun_crds::manifest;
    use serde_json::json;

    use super::*;
    use crate::view;

    #[test]
    fn a_clusters_run_is_shown_as_this_machines_are() {
        let resource = json!({
            "apiVersion": "agentrun.dev/v1alpha1",
            "kind": "AgentRun",
            "metadata": {"name": "word-problems"},
            "spec": {
                "roles": [{"name": "solver", "models": ["a", "b"]}],
                "dataset": {"items": [{"input": "1+1?", "expected": 2}]},
                "template": {"spec": {"containers": [{"name": "agent", "image": "agent"}]}},
                "scoring": {"numeric": {}},
            },
            "status": {
                "phase": "Running",
                "trials": {"total": 4, "pending": 1, "running": 1, "succeeded": 2, "failed": 0, "unobserved": 0},
                "calls": {"total": 9, "cached": 3, "failed": 1, "unreadable": 0},
                "spend": {"usd": "0.1250", "savedUsd": "0.0500", "unpriced": 0},
                "results": [{
                    "rank": 1, "combo": "solver=a", "models": {"solver": "a"}, "trials": 2, "failed": 0, "score": "0.500000",
                    "standardError": "0.250000", "latencySeconds": "1.500000", "usd": "0.0625", "tiedWithBest": true, "pareto": true,
                }],
            },
        });
        let report = Report::of_resource(manifest::from_value(&resource).unwrap());
        let text = view::run::text(&report);
        for part in ["word-problems: running, 2 of 4 trials, 1 running", "50.0 %", "25.0 %", "1.50 s", "$0.1250 spent, $0.0500 saved"] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert_eq!(view::run::columns(&report).rows[0][..3], ["1", "solver=a", "a"]);
    }
}
