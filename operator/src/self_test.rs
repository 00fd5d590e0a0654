//! What `helm test` runs: the API server is asked for a labelled pod, without making it, and must answer with the sidecar in it.
//!
//! It shows at once whether the API server reaches the webhook, trusts its certificate, and whether the namespace is one whose pods are seen to.

use std::time::Duration;

use agentrun_protocol::names::{INJECTED_ANNOTATION, RUN_LABEL, SIDECAR_CONTAINER};
use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::json;
use thiserror::Error;

/// How often it is tried, and how long it waits between: a Service that is new leads nowhere for a moment.
const TRIES: (u32, Duration) = (10, Duration::from_secs(2));

/// Why pods are not seen to.
#[derive(Debug, Error)]
pub enum SelfTestError {
    /// The cluster's address or our token cannot be read.
    #[error("find the cluster")]
    Cluster(#[source] Box<kube::Error>),
    /// The API server refuses the pod: it does not reach the webhook, or does not trust it, or something else keeps pods out.
    #[error("ask for a labelled pod in namespace `{namespace}`")]
    Refused {
        /// Where.
        namespace: String,
        /// The API server's words.
        #[source]
        source: Box<kube::Error>,
    },
    /// The pod came back as it was sent.
    #[error("the pod in namespace `{namespace}` was given no sidecar: {told}")]
    NotInjected {
        /// Where.
        namespace: String,
        /// What the injector says of it.
        told: String,
    },
}

/// Asks, several times if need be.
///
/// # Errors
/// The last answer, if none was right.
pub async fn run(namespace: &str) -> Result<(), SelfTestError> {
    let client = Client::try_default().await.map_err(|source| SelfTestError::Cluster(Box::new(source)))?;
    let (tries, pause) = TRIES;
    for _ in 1..tries {
        match ask(&client, namespace).await {
            Err(SelfTestError::Refused { source, .. }) => tracing::warn!(error = %source, "asking again"),
            answered => return answered,
        }
        tokio::time::sleep(pause).await;
    }
    ask(&client, namespace).await
}

async fn ask(client: &Client, namespace: &str) -> Result<(), SelfTestError> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let answer = api.create(&PostParams { dry_run: true, ..PostParams::default() }, &labelled_pod()).await;
    let made = answer.map_err(|source| SelfTestError::Refused { namespace: namespace.to_owned(), source: Box::new(source) })?;
    verdict(namespace, &made)
}

/// A pod that the strictest level of Pod Security lets pass.
fn labelled_pod() -> Pod {
    let pod = json!({
        "metadata": {"generateName": "agentrun-self-test-", "labels": {RUN_LABEL: "self-test"}},
        "spec": {
            "securityContext": {"runAsNonRoot": true, "runAsUser": 65534, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "agent",
                "image": "registry.example/agent:1",
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                "resources": {"requests": {"cpu": "1m", "memory": "1Mi"}, "limits": {"cpu": "1m", "memory": "1Mi"}},
            }],
        },
    });
    serde_json::from_value(pod).expect("the pod is spelt right")
}

fn verdict(namespace: &str, pod: &Pod) -> Result<(), SelfTestError> {
    let first = pod.spec.as_ref().and_then(|spec| spec.init_containers.as_ref()).and_then(|containers| containers.first());
    if first.is_some_and(|container| container.name == SIDECAR_CONTAINER) {
        return Ok(());
    }
    let told = pod.metadata.annotations.as_ref().and_then(|annotations| annotations.get(INJECTED_ANNOTATION));
    let told = told.cloned().unwrap_or_else(|| {
        "the webhook was not asked; either it is not there, or the namespace is one whose pods are left alone".to_owned()
    });
    Err(SelfTestError::NotInjected { namespace: namespace.to_owned(), told })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_sidecar_in_the_first_place_will_do() {
        assert!(verdict("default", &labelled_pod()).unwrap_err().to_string().contains("left alone"));
        let mut value = serde_json::to_value(labelled_pod()).unwrap();
        value["spec"]["initContainers"] = json!([{"name": "other"}, {"name": SIDECAR_CONTAINER}]);
        value["metadata"]["annotations"] = json!({INJECTED_ANNOTATION: r#"{"v":1,"skipped":"HostNetwork"}"#});
        let late = verdict("default", &serde_json::from_value(value.clone()).unwrap()).unwrap_err().to_string();
        assert!(late.contains("HostNetwork"), "{late}");
        value["spec"]["initContainers"] = json!([{"name": SIDECAR_CONTAINER}]);
        assert!(verdict("default", &serde_json::from_value(value).unwrap()).is_ok());
    }
}
