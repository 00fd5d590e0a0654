//! Trials for programs.

use agentrun_eval::{decimal, report::Table};
use agentrun_hub::TrialRecord;

/// One row a trial. What is not known is empty.
pub(crate) fn columns(trials: &[TrialRecord], simulated: bool) -> Table {
    let header = [
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
    Table { header: header.map(str::to_owned).into(), rows: rows.collect() }
}
