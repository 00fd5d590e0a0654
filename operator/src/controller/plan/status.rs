//! The whole status of a run, within its bound.

use agentrun_crds::status::Phase;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::verdict::Judged;
use super::{DatasetView, Observed};
use crate::conditions::State;
use crate::objects::job::Grid;
use crate::run::Run;

/// The most bytes of a status as JSON: etcd and every client pay for it at each change.
pub const MAX_BYTES: usize = 64 << 10;
/// The most reasons of lost pods told.
const MAX_INTERRUPTIONS: usize = 20;
/// Fields that change with every trial.
const SUMS: [&str; 7] = ["trials", "calls", "spend", "results", "best", "failures", "interruptions"];

/// Builds it. What the hub does not tell now is kept as it was told last.
pub fn build(run: &Run, observed: &Observed, grid: Option<Grid>, judged: &Judged, starts: bool, now: Timestamp) -> Value {
    let now = rfc3339(now);
    let mut status = Map::new();
    status.insert("observedGeneration".into(), json!(run.generation));
    status.insert("phase".into(), json!(judged.phase));
    status.insert("conditions".into(), conditions(run, judged, &now));
    let started = run.status_text("startTime").filter(|_| !was_refused_at_first(run, observed, judged)).or(starts.then_some(now.as_str()));
    insert(&mut status, "startTime", started.map(Value::from));
    let ended = run.status_text("completionTime").or((judged.phase == Phase::Complete).then_some(now.as_str()));
    insert(&mut status, "completionTime", ended.map(Value::from));
    let dataset = match &observed.dataset {
        DatasetView::Ready { datapoints, digest } => Some(json!({"datapoints": datapoints, "digest": digest})),
        DatasetView::Problem(_) | DatasetView::Waiting => run.status.get("dataset").cloned(),
    };
    insert(&mut status, "dataset", dataset);
    let told = observed.hub.aggregate();
    for field in SUMS {
        let fresh = told.and_then(|told| if field == "interruptions" { interruptions(observed) } else { told.status.get(field).cloned() });
        let value = if told.is_some() { fresh } else { run.status.get(field).cloned() };
        let is_empty = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
        insert(&mut status, field, value.filter(|value| !is_empty(value)));
    }
    if let (None, Some(grid)) = (status.get("trials"), grid) {
        let all = grid.trials();
        status.insert("trials".into(), json!({"total": all, "pending": all, "running": 0, "succeeded": 0, "failed": 0, "unobserved": 0}));
    }
    let progress = progress(&status);
    insert(&mut status, "progress", progress.map(Value::from));
    bounded(status)
}

/// Whether the API server took no Job of the run's: nothing was started, and its author may still change all of the spec.
fn was_refused_at_first(run: &Run, observed: &Observed, judged: &Judged) -> bool {
    let is_refused = judged.failed.state == State::True && matches!(judged.failed.reason.as_str(), "TemplateRefused" | "NameTaken");
    let told = observed.hub.aggregate().map_or(&run.status, |told| &told.status);
    let count = |key: &str| told.pointer(&format!("/trials/{key}")).and_then(Value::as_u64);
    is_refused && observed.jobs.is_empty() && count("pending") == count("total")
}

/// Trials that have ended, of all: `12/40`.
fn progress(status: &Map<String, Value>) -> Option<String> {
    let trials = status.get("trials")?;
    let count = |key: &str| trials.get(key).and_then(Value::as_u64).unwrap_or_default();
    Some(format!("{}/{}", count("succeeded") + count("failed") + count("unobserved"), count("total")))
}

/// Whether only sums differ, and the last write is so short ago that the difference can wait. Large runs are not written for every trial.
pub fn can_wait(before: &Value, after: &Value, seconds: f64) -> bool {
    let rest = |status: &Value| -> Map<String, Value> {
        let fields = status.as_object().into_iter().flatten();
        fields
            .filter(|(key, _)| !SUMS.contains(&key.as_str()) && *key != "progress")
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    };
    let total = after.pointer("/trials/total").and_then(Value::as_u64).unwrap_or_default();
    let interval = (total as f64 / 1000.0).min(10.0);
    seconds < interval && rest(before) == rest(after)
}

fn conditions(run: &Run, judged: &Judged, now: &str) -> Value {
    let table = [
        ("Accepted", &judged.accepted),
        ("Progressing", &judged.progressing),
        ("Complete", &judged.complete),
        ("Failed", &judged.failed),
        ("Suspended", &judged.suspended),
        ("RecordsComplete", &judged.records),
    ];
    let made = table.map(|(kind, verdict)| {
        let mut verdict = verdict.clone();
        verdict.message = shortened(&verdict.message, 2000);
        verdict.condition(kind, run.condition(kind).as_ref(), run.generation, now)
    });
    json!(made)
}

fn interruptions(observed: &Observed) -> Option<Value> {
    let mut groups = observed.hub.aggregate()?.interruptions.clone();
    groups.sort_by(|left, right| right.count.cmp(&left.count).then_with(|| left.reason.cmp(&right.reason)));
    let told = groups.iter().take(MAX_INTERRUPTIONS);
    let rows: Vec<Value> =
        told.map(|group| json!({"reason": group.reason, "count": group.count, "message": shortened(&group.message, 300)})).collect();
    Some(Value::Array(rows))
}

/// Cuts the ranking from its end, then the tables of failures, until the status fits. All of it is in the hub.
fn bounded(mut status: Map<String, Value>) -> Value {
    let size = |status: &Map<String, Value>| serde_json::to_string(status).map_or(usize::MAX, |text| text.len());
    for list in ["results", "failures", "interruptions"] {
        while size(&status) > MAX_BYTES {
            let Some(Value::Array(rows)) = status.get_mut(list) else { break };
            let keep = rows.len() * 3 / 4;
            rows.truncate(keep);
            if keep == 0 {
                status.shift_remove(list);
            }
        }
    }
    Value::Object(status)
}

fn shortened(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn insert(status: &mut Map<String, Value>, field: &str, value: Option<Value>) {
    if let Some(value) = value {
        status.insert(field.into(), value);
    }
}

/// Whole seconds, as Kubernetes writes times.
fn rfc3339(time: Timestamp) -> String {
    let whole = Timestamp::from_second(time.as_second()).unwrap_or(time);
    whole.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_a_large_run_can_wait_and_nothing_else_can() {
        let status = |total: u64, running: u64, phase: &str| json!({"phase": phase, "progress": running.to_string(), "trials": {"total": total, "running": running}});
        let (before, after) = (status(100_000, 1, "Running"), status(100_000, 2, "Running"));
        assert!(can_wait(&before, &after, 9.0) && !can_wait(&before, &after, 10.0));
        assert!(!can_wait(&before, &status(100_000, 1, "Suspended"), 1.0));
        assert!(!can_wait(&status(10, 1, "Running"), &status(10, 2, "Running"), 0.5));
    }
}
