//! Trials for programs.

use agentrun_eval::{decimal, report::Table};
use agentrun_hub::TrialRecord;
use agentrun_protocol::query::Trial;

const HEADER: [&str; 19] = [
    "combo",
    "data_id",
    "sample",
    "attempt",
    "state",
    "reason",
    "message",
    "score",
    "score_reason",
    "latency_seconds",
    "calls",
    "cached",
    "usd",
    "spent_usd",
    "saved_usd",
    "started",
    "finished",
    "output",
    "simulated",
];

/// One row a trial of this machine's. What is not known is empty.
pub(crate) fn columns(trials: &[TrialRecord], simulated: bool) -> Table {
    let rows = trials.iter().map(|trial| {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let number = |number: Option<f64>| number.map(|number| number.to_string()).unwrap_or_default();
        let time = |time: Option<jiff::Timestamp>| time.map(|time| time.to_string()).unwrap_or_default();
        vec![
            trial.id.combo.clone(),
            trial.id.data_id.clone(),
            trial.id.sample.to_string(),
            trial.attempt.to_string(),
            trial.state.to_string(),
            text(&trial.reason),
            text(&trial.message),
            number(trial.score),
            text(&trial.score_reason),
            number(trial.latency_seconds),
            trial.spending.calls.to_string(),
            trial.spending.cached.to_string(),
            trial.spending.usd.map(decimal::usd).unwrap_or_default(),
            decimal::usd(trial.spending.spent),
            decimal::usd(trial.spending.saved),
            time(trial.started),
            time(trial.finished),
            text(&trial.output),
            simulated.to_string(),
        ]
    });
    Table { header: HEADER.map(str::to_owned).into(), rows: rows.collect() }
}

/// The same of a cluster's run, from its hub.
pub(crate) fn columns_of_hub(trials: &[Trial]) -> Table {
    let rows = trials.iter().map(|trial| {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let number = |number: Option<f64>| number.map(|number| number.to_string()).unwrap_or_default();
        let money = |usd: &Option<String>| usd.as_ref().and_then(|usd| usd.parse().ok()).map(decimal::usd).unwrap_or_default();
        vec![
            trial.combo_id.clone(),
            trial.data_id.clone(),
            trial.sample.to_string(),
            trial.attempts.to_string(),
            trial.state.clone(),
            text(&trial.reason),
            text(&trial.message),
            number(trial.score),
            text(&trial.score_reason),
            number(trial.latency_seconds),
            trial.calls.to_string(),
            trial.cached.to_string(),
            money(&trial.usd),
            money(&trial.spent_usd),
            money(&trial.saved_usd),
            text(&trial.started),
            text(&trial.finished),
            text(&trial.output),
            "false".to_owned(),
        ]
    });
    Table { header: HEADER.map(str::to_owned).into(), rows: rows.collect() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_hubs_trials_have_the_same_columns() {
        let trial = json!({
            "combo_id": "solver=a", "data_id": "q1", "sample": 0, "attempts": 2, "state": "Succeeded", "reason": null, "message": null,
            "score": 0.5, "score_reason": null, "latency_seconds": 1.25, "usd": "0.02", "calls": 3, "cached": 1, "spent_usd": "0.0125",
            "saved_usd": "0.0075", "output": "42", "pod": "p", "started": "2026-11-22T10:00:00Z", "finished": "2026-11-22T10:00:09Z",
        });
        let table = columns_of_hub(&[serde_json::from_value(trial).unwrap()]);
        assert_eq!(table.header, columns(&[], false).header);
        let cell = |name: &str| table.rows[0][table.header.iter().position(|column| column == name).unwrap()].clone();
        let names = ["combo", "attempt", "state", "score", "latency_seconds", "calls", "cached", "usd", "spent_usd", "saved_usd", "output"];
        let expected = ["solver=a", "2", "Succeeded", "0.5", "1.25", "3", "1", "0.0200", "0.0125", "0.00750", "42"];
        assert_eq!(names.map(cell), expected);
        assert_eq!(["started", "finished"].map(cell), ["2026-11-22T10:00:00Z", "2026-11-22T10:00:09Z"]);
    }
}
