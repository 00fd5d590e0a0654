//! What a cluster says of a run beside its numbers.

use std::fmt::Write;

use agentrun_crds::status::AgentRunStatus;

use super::table::shown;

/// Conditions that are worth a line: those that are not as they should be, and what runs say of themselves. Then pods that were lost.
pub(crate) fn text(status: &AgentRunStatus) -> String {
    let mut text = String::new();
    for condition in &status.conditions {
        let good = match condition.kind.as_str() {
            "Failed" | "Suspended" => condition.status != "True",
            "Accepted" => condition.status == "True",
            // Unknown until the run has ended.
            "RecordsComplete" => condition.status != "False",
            // The title says so.
            "Complete" => true,
            _ => condition.reason == "Running" || condition.message.is_empty(),
        };
        if !good {
            let (kind, message) = (shown(&condition.kind), shown(&condition.message));
            let _ = writeln!(
                text,
                "{kind}: {} ({}){}{message}",
                condition.status,
                shown(&condition.reason),
                if message.is_empty() { "" } else { ": " }
            );
        }
    }
    for lost in &status.interruptions {
        let _ = writeln!(text, "Lost pods: {} x {}: {}", lost.count, shown(&lost.reason), shown(&lost.message));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_as_it_should_be_is_told() {
        let condition = |kind: &str, status: &str, reason: &str, message: &str| json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": "2026-11-22T10:00:00Z"});
        let status = json!({
            "conditions": [
                condition("Accepted", "True", "Valid", "the manifest is valid"),
                condition("Progressing", "True", "Running", "trials are running"),
                condition("Complete", "False", "TrialsLeft", "trials are to be run"),
                condition("Failed", "True", "NoDataset", "ConfigMap `questions` is not there"),
                condition("RecordsComplete", "False", "Missing", "3 trials lack records"),
            ],
            "interruptions": [{"reason": "Evicted", "count": 2, "message": "the node was low on memory\u{1b}[0m"}],
        });
        let told = text(&serde_json::from_value(status).unwrap());
        let expected = "Failed: True (NoDataset): ConfigMap `questions` is not there\n\
                        RecordsComplete: False (Missing): 3 trials lack records\n\
                        Lost pods: 2 x Evicted: the node was low on memory\u{fffd}[0m\n";
        assert_eq!(told, expected);
    }
}
