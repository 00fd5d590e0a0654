//! Labels of what belongs to a run, and selectors for them.

use agentrun_protocol::names;
use serde_json::{Value, json};

use super::job::Place;

/// Labels of a Job and of its pods.
pub fn of_trials(run: &str, place: Place) -> Value {
    let mut labels = json!({
        names::RUN_LABEL: run,
        names::COMBO_LABEL: place.combo.to_string(),
        names::CHUNK_LABEL: place.chunk.to_string(),
        names::MANAGED_BY_LABEL: names::MANAGER,
    });
    if place.round > 0 {
        labels[names::ROUND_LABEL] = json!(place.round.to_string());
    }
    labels
}

/// Labels of the Job that scores outputs, and of its pods.
pub fn of_scoring(run: &str) -> Value {
    json!({names::RUN_LABEL: run, names::SCORING_LABEL: "true", names::MANAGED_BY_LABEL: names::MANAGER})
}

/// Selects everything that the operator made for a run.
pub fn of_run(run: &str) -> String {
    format!("{}={run},{}={}", names::RUN_LABEL, names::MANAGED_BY_LABEL, names::MANAGER)
}

/// Selects the pods of a run's trials.
pub fn trials_of(run: &str) -> String {
    format!("{},{}", of_run(run), names::CHUNK_LABEL)
}

/// Selects the pods that score a run's outputs.
pub fn scoring_of(run: &str) -> String {
    format!("{},{}=true", of_run(run), names::SCORING_LABEL)
}

/// Selects the pods of one Job.
pub fn job_of(run: &str, place: Place) -> String {
    let round = match place.round {
        0 => format!("!{}", names::ROUND_LABEL),
        round => format!("{}={round}", names::ROUND_LABEL),
    };
    format!("{},{}={},{}={},{round}", of_run(run), names::COMBO_LABEL, place.combo, names::CHUNK_LABEL, place.chunk)
}

/// Selects the pods of some of a Job's own indexes.
pub fn indexes_of(run: &str, place: Place, indexes: &[u64]) -> String {
    let indexes: Vec<String> = indexes.iter().map(u64::to_string).collect();
    format!("{},{} in ({})", job_of(run, place), names::COMPLETION_INDEX_ANNOTATION, indexes.join(","))
}
