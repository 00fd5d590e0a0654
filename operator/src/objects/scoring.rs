//! The Job that scores outputs with the user's own container.

use agentrun_crds::AgentRunSpec;
use agentrun_protocol::names;
use agentrun_protocol::pod::{SCORE_COMMAND, WRAP_SCORE};

use k8s_openapi::api::batch::v1::Job;
use serde_json::{Value, json};

use super::{job, labels};
use crate::diagnose::Diagnosis;
use crate::inject::{Installation, Resources};
use crate::run::Run;

/// The user's container in a scoring pod.
pub const CONTAINER: &str = "scorer";
/// User and group of the user's container: any image runs as them, and none as root.
const SCORER_USER: i64 = 65533;
/// Fields of the run's own pods that its scoring pod needs too, to find an image and a node.
const KEPT: [&str; 6] = ["imagePullSecrets", "nodeSelector", "tolerations", "affinity", "runtimeClassName", "priorityClassName"];

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
    /// What is wrong with its pods, as far as it was looked: why they do not start, or how the last one failed.
    pub problem: Option<Diagnosis>,
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
            problem: None,
        })
    }
}

/// The Job's name.
pub fn name(run: &str) -> String {
    job::named(run, "-scoring")
}

/// The pod: the user's program, fed by the sidecar with questions that it reads from the hub. No key and no token is in reach of the program, and
/// what it prints is the only thing taken from it.
///
/// # Errors
/// The container has no command: an image's own entry point cannot be fed.
pub fn template(spec: &AgentRunSpec, installation: &Installation) -> Result<Value, String> {
    let Some(container) = spec.scoring.container.as_ref() else { return Err("spec.scoring has no container".to_owned()) };
    if container.command.is_empty() {
        return Err(
            "spec.scoring.container.command: name the program, as an image's own entry point cannot be fed with questions".to_owned()
        );
    }
    let wrapper = format!("{}/{}", names::TRUST_DIR, names::WRAPPER_FILE);
    let socket = format!("{WRAP_SCORE}={}/{}", names::EXCHANGE_DIR, names::SCORE_SOCKET);
    let command: Vec<String> =
        [wrapper, socket, "--".to_owned()].into_iter().chain(container.command.iter().map(|word| word.replace("$(", "$$("))).collect();
    let mut scorer = json!({
        "name": CONTAINER,
        "image": container.image,
        "command": command,
        // Everything is said, as a quota may ask for any of it.
        "resources": {
            "requests": {"cpu": "100m", "memory": "128Mi", "ephemeral-storage": "64Mi"},
            "limits": {"cpu": "1", "memory": "1Gi", "ephemeral-storage": "1Gi"},
        },
        "securityContext": restricted(SCORER_USER),
        "volumeMounts": [
            {"name": names::TRUST_VOLUME, "mountPath": names::TRUST_DIR, "readOnly": true},
            {"name": names::EXCHANGE_VOLUME, "mountPath": names::EXCHANGE_DIR},
        ],
    });
    scorer["terminationMessagePolicy"] = json!("FallbackToLogsOnError");
    let mut pod = json!({
        "restartPolicy": "Never",
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "initContainers": [sidecar(installation)],
        "containers": [scorer],
        "volumes": volumes(installation),
    });
    for field in KEPT {
        if let Some(value) = spec.template.0.pointer(&format!("/spec/{field}")) {
            pod[field] = value.clone();
        }
    }
    Ok(json!({"metadata": {"annotations": {"kubectl.kubernetes.io/default-container": CONTAINER}}, "spec": pod}))
}

fn sidecar(installation: &Installation) -> Value {
    let Resources { cpu, memory, ephemeral_storage } = &installation.resources;
    let resources = json!({"cpu": cpu, "memory": memory, "ephemeral-storage": ephemeral_storage});
    let mut security = restricted(names::SIDECAR_USER);
    security["readOnlyRootFilesystem"] = json!(true);
    let mut env = vec![
        json!({"name": names::HUB_URL_ENV, "value": installation.hub_url}),
        json!({"name": names::HUB_CA_ENV, "value": installation.hub_ca}),
        json!({"name": names::POD_UID_ENV, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.uid"}}}),
    ];
    env.extend(installation.log.iter().map(|log| json!({"name": "RUST_LOG", "value": log})));
    let mut container = json!({
        "name": names::SIDECAR_CONTAINER,
        "image": installation.image,
        "args": [SCORE_COMMAND],
        "restartPolicy": "Always",
        "env": env,
        "startupProbe": {"httpGet": {"path": names::STARTUP_PATH, "port": names::ADMIN_PORT}, "periodSeconds": 1, "failureThreshold": 60},
        "resources": {"requests": resources, "limits": resources},
        "securityContext": security,
        "volumeMounts": [
            {"name": names::TRUST_VOLUME, "mountPath": names::TRUST_DIR},
            {"name": names::SPOOL_VOLUME, "mountPath": names::SPOOL_DIR},
            {"name": names::TOKEN_VOLUME, "mountPath": names::TOKEN_DIR, "readOnly": true},
            {"name": names::EXCHANGE_VOLUME, "mountPath": names::EXCHANGE_DIR},
        ],
        "terminationMessagePolicy": "FallbackToLogsOnError",
    });
    if let Some(policy) = &installation.image_pull_policy {
        container["imagePullPolicy"] = json!(policy);
    }
    container
}

fn volumes(installation: &Installation) -> Value {
    let token = json!({"audience": names::AUDIENCE, "expirationSeconds": 3600, "path": names::TOKEN_FILE});
    let memory = json!({"medium": "Memory", "sizeLimit": "16Mi"});
    json!([
        {"name": names::TRUST_VOLUME, "emptyDir": memory},
        {"name": names::EXCHANGE_VOLUME, "emptyDir": memory},
        {"name": names::SPOOL_VOLUME, "emptyDir": {"sizeLimit": installation.spool_size}},
        {"name": names::TOKEN_VOLUME, "projected": {"sources": [{"serviceAccountToken": token}]}},
    ])
}

fn restricted(user: i64) -> Value {
    json!({
        "runAsNonRoot": true,
        "runAsUser": user,
        "runAsGroup": user,
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    })
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
    use crate::testing::{run, spec};

    #[test]
    fn the_job_is_the_published_shape_and_is_read_again() {
        let spec = spec(json!({
            "scoring": {"container": {"image": "example.test/scorer:1", "command": ["python3", "score.py", "$(HOME)"]}},
            "template": {"spec": {"containers": [{"name": "agent"}], "imagePullSecrets": [{"name": "registry"}]}},
        }));
        let installation = Installation { image: "example.test/sidecar:1".into(), hub_ca: "CA".into(), ..Installation::default() };
        let template = template(&spec, &installation).unwrap();
        assert_eq!(crate::inject::security::violations(&template), []);
        let built = build(&run(json!({}), 1), template);
        insta::assert_json_snapshot!(built);
        let mut job: Job = serde_json::from_value(built).unwrap();
        assert_eq!(ScoringView::read(&job).unwrap().name, "math-scoring");
        assert_eq!(job::JobView::read(&job), None, "it is no Job of trials");
        job.status = serde_json::from_value(json!({"conditions": [{"type": "Failed", "status": "True", "message": "backoff"}]})).unwrap();
        assert_eq!(ScoringView::read(&job).unwrap().failed.as_deref(), Some("backoff"));
        assert_eq!(ScoringView::read(&Job::default()), None);
    }

    #[test]
    fn a_container_without_a_command_cannot_be_fed() {
        let spec = spec(json!({"scoring": {"container": {"image": "example.test/scorer:1", "command": []}}}));
        let refusal = template(&spec, &Installation::default()).unwrap_err();
        assert!(refusal.starts_with("spec.scoring.container.command: name the program"), "{refusal}");
    }
}
