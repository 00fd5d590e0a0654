//! What people are told once, as Events: found by comparing two statuses, so that a replica that starts tells nothing again.

use serde_json::Value;

/// An Event about a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Whether somebody should look.
    pub warning: bool,
    /// One word.
    pub reason: String,
    /// One sentence.
    pub message: String,
}

/// What is new.
pub fn news(before: &Value, after: &Value) -> Vec<Note> {
    let mut notes = Vec::new();
    for (kind, state) in
        [("Accepted", "False"), ("Failed", "True"), ("Progressing", "False"), ("RecordsComplete", "False"), ("Accepted", "True")]
    {
        let holds = |status| condition(status, kind).filter(|condition| text(condition, "status") == state);
        let Some(now) = holds(after) else { continue };
        let reason = text(now, "reason");
        let told = holds(before).is_some_and(|then| text(then, "reason") == reason);
        // The end of a run is a phase's, and said below; that a spec is fine needs no words, that its source has changed does.
        let silent = (kind == "Progressing" && matches!(reason, "Complete" | "Failed" | "Suspended" | "NotAccepted"))
            || (kind == "Accepted" && state == "True" && reason != "DatasetChanged");
        if !told && !silent && !notes.iter().any(|note: &Note| note.reason == reason) {
            notes.push(Note { warning: true, reason: reason.to_owned(), message: text(now, "message").to_owned() });
        }
    }
    const LISTS: [&str; 2] = ["failures", "interruptions"];
    let known = |reason: &str| LISTS.iter().any(|list| entries(before, list).any(|entry| text(entry, "reason") == reason));
    for list in LISTS {
        for entry in entries(after, list) {
            let reason = text(entry, "reason");
            if !known(reason) && !notes.iter().any(|note| note.reason == reason) {
                notes.push(Note { warning: true, reason: reason.to_owned(), message: text(entry, "message").to_owned() });
            }
        }
    }
    let phase = text(after, "phase");
    if phase != text(before, "phase") && matches!(phase, "Running" | "Suspended" | "Complete") {
        let message = condition(after, if phase == "Running" { "Progressing" } else { phase }).map(|condition| text(condition, "message"));
        notes.push(Note { warning: false, reason: phase.to_owned(), message: message.unwrap_or_default().to_owned() });
    }
    notes
}

fn condition<'a>(status: &'a Value, kind: &str) -> Option<&'a Value> {
    entries(status, "conditions").find(|condition| text(condition, "type") == kind)
}

fn entries<'a>(status: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> {
    status.get(list).and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reasons(before: &Value, after: &Value) -> Vec<(bool, String)> {
        news(before, after).into_iter().map(|note| (note.warning, note.reason)).collect()
    }

    #[test]
    fn each_reason_is_told_once() {
        let failing = |count: u64| {
            json!({"phase": "Running", "failures": [{"reason": "AgentExit", "count": count, "message": "exit code 1", "combo": "a"},
            {"reason": "AgentExit", "count": 1, "message": "exit code 2", "combo": "b"}], "interruptions": [{"reason": "AgentExit", "count": 3}]})
        };
        assert_eq!(reasons(&json!({"phase": "Running"}), &failing(1)), [(true, "AgentExit".to_owned())]);
        assert_eq!(reasons(&failing(1), &failing(2)), []);
    }

    #[test]
    fn a_phase_and_a_bad_condition_are_told_when_they_begin() {
        let with = |kind: &str, state: &str, reason: &str| json!({"conditions": [{"type": kind, "status": state, "reason": reason, "message": "m"}]});
        let none = json!(null);
        assert_eq!(reasons(&none, &with("Accepted", "False", "DatasetMissing")), [(true, "DatasetMissing".to_owned())]);
        let missing = with("Accepted", "False", "DatasetMissing");
        assert_eq!(reasons(&missing, &missing), []);
        assert_eq!(reasons(&missing, &with("Accepted", "False", "DatasetInvalid")).len(), 1);
        assert_eq!(reasons(&none, &with("Accepted", "True", "Valid")), []);
        assert_eq!(reasons(&none, &with("Accepted", "True", "DatasetChanged")).len(), 1);
        assert_eq!(reasons(&none, &with("Progressing", "False", "Complete")), []);
        assert_eq!(reasons(&none, &with("Progressing", "False", "ImagePull")).len(), 1);
        assert_eq!(reasons(&json!({"phase": "Running"}), &json!({"phase": "Complete"})), [(false, "Complete".to_owned())]);
    }
}
