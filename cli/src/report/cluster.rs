//! What a cluster's status says, as a report.

use agentrun_crds::{
    AgentRun,
    status::{AgentRunStatus, Phase, RankedCombo},
};
use agentrun_eval::{
    rank::Ranked,
    summary::{CallTotals, Summary, TrialCounts},
};
use rust_decimal::Decimal;

use super::{Report, Standing};

impl Report {
    /// A run as a cluster's operator sees it. The ranking is as long as the status holds.
    pub(crate) fn of_resource(resource: AgentRun) -> Self {
        let status = resource.status.clone().unwrap_or_default();
        let phase = match status.phase {
            Phase::Pending => Standing::Pending,
            Phase::Running => Standing::Running,
            Phase::Suspended => Standing::Suspended,
            Phase::Complete => Standing::Complete,
            Phase::Failed => Standing::Failed,
        };
        Self { ranked: status.results.iter().map(ranked).collect(), summary: summary(&status), phase, simulated: false, resource }
    }
}

/// A row of the ranking, as far as a status tells it.
pub(crate) fn ranked(row: &RankedCombo) -> Ranked {
    let number = |text: &String| text.parse().unwrap_or(f64::NAN);
    let count = |count: i64| usize::try_from(count).unwrap_or_default();
    Ranked {
        rank: count(row.rank),
        index: count(row.rank).saturating_sub(1),
        combo: row.combo.clone(),
        models: row.models.clone(),
        trials: count(row.trials),
        failed: count(row.failed),
        score: number(&row.score),
        standard_error: row.standard_error.as_ref().map(number),
        latency_seconds: number(&row.latency_seconds),
        usd: row.usd.as_ref().and_then(|usd| usd.parse().ok()),
        objective: number(&row.score),
        tied_with_best: row.tied_with_best,
        pareto: row.pareto,
    }
}

fn summary(status: &AgentRunStatus) -> Summary {
    let count = |count: i64| u64::try_from(count).unwrap_or_default();
    let money = |text: &str| text.parse::<Decimal>().unwrap_or_default();
    let (trials, calls, spend) = (&status.trials, &status.calls, &status.spend);
    Summary {
        trials: TrialCounts {
            total: count(trials.total),
            pending: count(trials.pending),
            running: count(trials.running),
            succeeded: count(trials.succeeded),
            failed: count(trials.failed),
            unobserved: count(trials.unobserved),
        },
        calls: CallTotals {
            total: count(calls.total),
            cached: count(calls.cached),
            failed: count(calls.failed),
            unreadable: count(calls.unreadable),
            unpriced: count(spend.unpriced),
            spent_usd: money(&spend.usd),
            saved_usd: money(&spend.saved_usd),
        },
        // The status tells the failures itself.
        failures: Vec::new(),
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
