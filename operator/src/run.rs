//! An AgentRun as the API server tells it. Pure.

use agentrun_crds::AgentRunSpec;
use agentrun_crds::status::Condition;
use kube::ResourceExt;
use kube::core::DynamicObject;
use serde_json::{Value, json};

/// Kueue's label: the queue that a Job waits in. On an AgentRun it is handed to the Jobs.
pub const QUEUE_LABEL: &str = "kueue.x-k8s.io/queue-name";

/// What is read of an AgentRun. A spec that cannot be read is kept as the reason: one bad object must not stop the others.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Counts the changes of the spec.
    pub generation: i64,
    /// When it was deleted, RFC 3339; it is still there as our finalizer holds it.
    pub deleted_at: Option<String>,
    /// Whether our finalizer is on it.
    pub has_finalizer: bool,
    /// The queue of Kueue that its Jobs wait in.
    pub queue: Option<String>,
    /// The spec, or one sentence saying why it cannot be read.
    pub spec: Result<AgentRunSpec, String>,
    /// The spec as the API server has it.
    pub raw_spec: Value,
    /// The status as it was last written, `null` where there is none.
    pub status: Value,
}

impl Run {
    /// Reads one.
    pub fn read(object: &DynamicObject) -> Self {
        let raw_spec = object.data.get("spec").cloned().unwrap_or(Value::Null);
        let spec = serde_json::from_value(raw_spec.clone()).map_err(|error| format!("the spec cannot be read: {error}"));
        Self {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            uid: object.uid().unwrap_or_default(),
            generation: object.metadata.generation.unwrap_or_default(),
            deleted_at: object.metadata.deletion_timestamp.as_ref().map(|time| time.0.to_string()),
            has_finalizer: object.finalizers().iter().any(|name| name == agentrun_protocol::names::FINALIZER),
            queue: object.labels().get(QUEUE_LABEL).filter(|queue| !queue.is_empty()).cloned(),
            spec,
            raw_spec,
            status: object.data.get("status").cloned().unwrap_or(Value::Null),
        }
    }

    /// The controller reference that its Jobs bear, so that they go with it.
    pub fn owner_reference(&self) -> Value {
        json!({
            "apiVersion": agentrun_crds::agent_run::API_VERSION,
            "kind": agentrun_crds::agent_run::KIND,
            "name": self.name,
            "uid": self.uid,
            "controller": true,
            "blockOwnerDeletion": true,
        })
    }

    /// A condition of the last status. Conditions that cannot be read count as absent.
    pub fn condition(&self, kind: &str) -> Option<Condition> {
        let conditions = self.status.get("conditions")?.as_array()?;
        let found = conditions.iter().find(|condition| condition.get("type").and_then(Value::as_str) == Some(kind))?;
        serde_json::from_value(found.clone()).ok()
    }

    /// A text field of the last status.
    pub fn status_text(&self, field: &str) -> Option<&str> {
        self.status.get(field).and_then(Value::as_str)
    }

    /// Whether a trial was started already.
    pub fn has_started(&self) -> bool {
        self.status_text("startTime").is_some()
    }

    /// How many datapoints the run was started with, and their digest.
    pub fn dataset(&self) -> Option<(u64, &str)> {
        let dataset = self.status.get("dataset")?;
        Some((dataset.get("datapoints")?.as_u64()?, dataset.get("digest")?.as_str()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_that_cannot_be_read_is_a_sentence_and_no_error() {
        for spec in [json!(null), json!(3), json!({"roles": "x"}), json!({"unknown": 1})] {
            let object: DynamicObject = serde_json::from_value(json!({
                "apiVersion": "agentrun.dev/v1alpha1", "kind": "AgentRun", "metadata": {"name": "a", "namespace": "n"}, "spec": spec,
                "status": {"conditions": [{"type": 3}, {"type": "Accepted", "status": "True", "reason": "Valid", "lastTransitionTime": "t"}]}
            }))
            .unwrap();
            let run = Run::read(&object);
            assert!(run.spec.as_ref().unwrap_err().starts_with("the spec cannot be read: "), "{run:?}");
            assert_eq!(run.condition("Accepted").unwrap().reason, "Valid");
            assert_eq!(run.condition("Complete"), None);
        }
    }
}
