//! The Job that scores outputs with the user's own container.

use agentrun_protocol::names;
use k8s_openapi::api::batch::v1::Job;
use serde_json::{Value, json};

use super::{job, labels};
use crate::run::Run;

/// How often its pod is made again.
const RETRIES: i32 = 3;

/// The Job as the API server tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScoringView {
    /// Its name.
    pub name: String,
    /// Pods that run or wait.
    pub active: u64,
    /// Whether it ended well: outputs that came after it need another.
    pub succeeded: bool,
    /// Why it was given up.
    pub failed: Option<String>,
}

impl ScoringView {
    /// Reads it; `None` where the Job is no scoring Job, or is being deleted.
    pub fn read(job: &Job) -> Option<Self> {
        let is_scoring = job.metadata.labels.as_ref()?.contains_key(names::SCORING_LABEL);
        if !is_scoring {
            return None;
        }
        let status = job.status.as_ref();
        let conditions = status.and_then(|status| status.conditions.as_ref());
        let found = |kind: &str| conditions.into_iter().flatten().find(|condition| condition.type_ == kind && condition.status == "True");
        Some(Self {
            name: job.metadata.name.clone().unwrap_or_default(),
            active: u64::try_from(status.and_then(|status| status.active).unwrap_or_default()).unwrap_or_default(),
            succeeded: found("Complete").is_some(),
            failed: found("Failed").map(|condition| condition.message.clone().unwrap_or_else(|| "its pods failed".to_owned())),
        })
    }
}

/// The Job's name.
pub fn name(run: &str) -> String {
    job::named(run, "-scoring")
}

/// The Job as it is made. It goes a while after it ended well, so that outputs that came later get another.
pub fn build(run: &Run, mut template: Value) -> Value {
    let ours = labels::of_scoring(&run.name);
    if !template.get("metadata").is_some_and(Value::is_object) {
        template["metadata"] = json!({});
    }
    template["metadata"]["labels"] = ours.clone();
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name(&run.name), "namespace": run.namespace, "labels": ours, "ownerReferences": [run.owner_reference()]},
        "spec": {
            "backoffLimit": RETRIES,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]},
            "template": template,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::run;

    #[test]
    fn the_job_is_the_published_shape_and_is_read_again() {
        let built = build(&run(json!({}), 1), json!({"spec": {"restartPolicy": "Never"}}));
        insta::assert_json_snapshot!(built);
        let mut job: Job = serde_json::from_value(built).unwrap();
        assert_eq!(ScoringView::read(&job).unwrap().name, "math-scoring");
        assert_eq!(job::JobView::read(&job), None, "it is no Job of trials");
        job.status = serde_json::from_value(json!({"conditions": [{"type": "Failed", "status": "True", "message": "backoff"}]})).unwrap();
        assert_eq!(ScoringView::read(&job).unwrap().failed.as_deref(), Some("backoff"));
        assert_eq!(ScoringView::read(&Job::default()), None);
    }
}
