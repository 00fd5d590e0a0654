//! All runs for people and programs.

use agentrun_eval::{decimal, report::Table};
use jiff::Timestamp;

use super::table::draw;
use crate::report::Report;

/// One row a run.
pub(crate) fn text(reports: &[Report], now: Timestamp) -> String {
    let header = ["name", "phase", "trials", "score", "best", "spent", "age"].map(str::to_owned).into();
    let rows = reports.iter().map(|report| {
        let best = report.ranked.first();
        let simulated = if report.simulated { " (simulated)" } else { "" };
        vec![
            format!("{}{simulated}", report.name()),
            report.phase.to_string(),
            format!("{}/{}", report.ended(), report.summary.trials.total),
            best.map_or("-".to_owned(), |best| format!("{:.1} %", best.score * 100.0)),
            best.map_or("-".to_owned(), |best| best.combo.clone()),
            format!("${}", decimal::usd(report.summary.calls.spent_usd)),
            age(report, now),
        ]
    });
    draw(&Table { header, rows: rows.collect() }, &["trials", "score", "spent", "age"], None)
}

/// The same for programs.
pub(crate) fn columns(reports: &[Report]) -> Table {
    let header = ["name", "phase", "trials", "ended", "best", "score", "spent_usd", "saved_usd", "started", "finished", "simulated"];
    let rows = reports.iter().map(|report| {
        let best = report.ranked.first();
        let status = report.resource.status.as_ref();
        let calls = &report.summary.calls;
        vec![
            report.name().to_owned(),
            report.phase.to_string(),
            report.summary.trials.total.to_string(),
            report.ended().to_string(),
            best.map(|best| best.combo.clone()).unwrap_or_default(),
            best.map(|best| decimal::fixed(best.score)).unwrap_or_default(),
            decimal::usd(calls.spent_usd),
            decimal::usd(calls.saved_usd),
            status.and_then(|status| status.start_time.clone()).unwrap_or_default(),
            status.and_then(|status| status.completion_time.clone()).unwrap_or_default(),
            report.simulated.to_string(),
        ]
    });
    Table { header: header.map(str::to_owned).into(), rows: rows.collect() }
}

fn age(report: &Report, now: Timestamp) -> String {
    let started = report.resource.status.as_ref().and_then(|status| status.start_time.as_ref()?.parse::<Timestamp>().ok());
    let Some(started) = started else {
        return "-".to_owned();
    };
    match now.duration_since(started).as_secs() {
        seconds @ ..120 => format!("{}s", seconds.max(0)),
        seconds @ 120..7200 => format!("{}m", seconds / 60),
        seconds @ 7200..172_800 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}
