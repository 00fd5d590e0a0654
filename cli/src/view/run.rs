//! One run for people.

use std::fmt::Write;

use super::{
    table::{draw, shown},
    with_column,
};
use crate::report::{Report, Standing};
use agentrun_eval::{
    decimal,
    report::{self, Table},
};

/// How many rows are shown; all are in the exports.
const ROWS: usize = 50;
/// Columns of numbers.
const NUMERIC: [&str; 7] = ["#", "score", "± s.e.", "latency", "$/trial", "trials", "failed"];

/// A run with its ranked table.
pub(crate) fn text(report: &Report) -> String {
    let mut text = title(report);
    if report.ranked.is_empty() {
        text.push_str("No combo has a result yet.\n");
    } else {
        text.push('\n');
        text.push_str(&draw(&report::table(&report.ranked, ROWS), &NUMERIC, None));
        if report.ranked.len() > ROWS {
            let more = report.ranked.len() - ROWS;
            let _ = writeln!(text, "and {more} more: agentrun export {} -o csv", report.name());
        }
    }
    text.push('\n');
    best(report, &mut text);
    money(report, &mut text);
    failures(report, &mut text);
    text
}

/// The ranking for programs.
pub(crate) fn columns(report: &Report) -> Table {
    with_column(report::csv(&report.ranked), "simulated", if report.simulated { "true" } else { "false" })
}

fn title(report: &Report) -> String {
    let trials = &report.summary.trials;
    let simulated = if report.simulated { " (SIMULATED: no model was asked)" } else { "" };
    let mut parts = vec![format!("{} of {} trials", report.ended(), trials.total)];
    let counts = [(trials.running, "running"), (trials.failed, "failed"), (trials.unobserved, "unobserved")];
    parts.extend(counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")));
    format!("{}{simulated}: {}, {}\n", report.name(), phase(report.phase), parts.join(", "))
}

fn phase(phase: Standing) -> &'static str {
    match phase {
        Standing::Pending => "pending",
        Standing::Running => "running",
        Standing::Interrupted => "interrupted (the same command goes on)",
        Standing::Suspended => "suspended",
        Standing::Complete => "complete",
        Standing::Failed => "failed",
    }
}

fn best(report: &Report, text: &mut String) {
    let Some(best) = report.ranked.first() else {
        return;
    };
    let tied = report.ranked.iter().filter(|row| row.tied_with_best).count().saturating_sub(1);
    let also = match tied {
        0 => String::new(),
        1 => "; 1 other is not told apart from it (≈)".to_owned(),
        several => format!("; {several} others are not told apart from it (≈)"),
    };
    let _ = writeln!(text, "Best: {}{also}", shown(&best.combo));
    if report.ranked.len() > 1 {
        let _ = writeln!(text, "      ◆: no other combo is better in one of score, latency and cost and no worse in the rest");
    }
}

fn money(report: &Report, text: &mut String) {
    let calls = &report.summary.calls;
    let (spent, saved) = (decimal::usd(calls.spent_usd), decimal::usd(calls.saved_usd));
    let verb = if report.simulated { "would be spent" } else { "spent" };
    let _ = writeln!(text, "Calls: {}, {} of them cached; ${spent} {verb}, ${saved} saved by the cache", calls.total, calls.cached);
    let counts = [
        (calls.failed, "calls ended without a good answer"),
        (calls.unreadable, "answers had no usage that could be read: their cost is not known"),
        (calls.unpriced, "calls were to models without a known price: their cost is not counted"),
    ];
    for (count, what) in counts.into_iter().filter(|(count, _)| *count > 0) {
        let _ = writeln!(text, "       {count} {what}");
    }
    if report.summary.trials.unobserved > 0 {
        let what = "trials made no call that was seen, so they say nothing about a model: does the agent ignore proxies? (spec.capture)";
        let _ = writeln!(text, "       {} {what}", report.summary.trials.unobserved);
    }
}

fn failures(report: &Report, text: &mut String) {
    let Some(status) = &report.resource.status else {
        return;
    };
    for failure in &status.failures {
        let combo = shown(&failure.combo);
        let _ = writeln!(
            text,
            "Failed: {} x {}: {} ({combo}, datapoints {})",
            failure.count,
            failure.reason,
            shown(&failure.message),
            failure.datapoints
        );
    }
}
