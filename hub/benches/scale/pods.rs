//! Pods on KWOK's nodes: KWOK says that they run; here their sidecars speak to the hub, under real tokens, and then they end.

use std::collections::HashSet;
use std::sync::Arc;

use agentrun_protocol::names::{AUDIENCE, CHUNK_LABEL, COMBO_LABEL, COMPLETION_INDEX_ANNOTATION, RUN_LABEL};
use anyhow::{Context as _, Result};
use futures::TryStreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::ResourceExt as _;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::Bench;
use crate::shape::{Cell, NAMESPACE, RUN};

/// Follows the run's pods for ever, and ends each that runs.
///
/// # Errors
/// The API server's, or the hub's.
pub(crate) async fn follow(bench: Arc<Bench>) -> Result<()> {
    let api: Api<Pod> = Api::namespaced(bench.client.clone(), NAMESPACE);
    let wanted = watcher::Config::default().labels(&format!("{RUN_LABEL}={RUN}")).fields("status.phase=Running");
    let mut changes = Box::pin(watcher(api, wanted).default_backoff().applied_objects());
    let mut seen = HashSet::new();
    let mut living = JoinSet::new();
    loop {
        let pod = tokio::select! {
            pod = changes.try_next() => pod.context("watch the pods")?.context("the watch of the pods has ended")?,
            Some(ended) = living.join_next() => {
                ended.context("play a pod")??;
                continue;
            }
        };
        if let Some(cell) = cell(&pod).filter(|_| seen.insert(pod.uid())) {
            living.spawn(live(bench.clone(), pod, cell));
        }
    }
}

fn cell(pod: &Pod) -> Option<Cell> {
    let label = |name: &str| pod.labels().get(name)?.parse().ok();
    let index = pod.annotations().get(COMPLETION_INDEX_ANNOTATION)?.parse().ok()?;
    Some(Cell { combo: label(COMBO_LABEL)?, chunk: label(CHUNK_LABEL)?, index })
}

async fn live(bench: Arc<Bench>, pod: Pod, cell: Cell) -> Result<()> {
    let _turn = bench.turns.next_pod().await?;
    let name = pod.name_any();
    let token = token(&bench, &pod).await.with_context(|| format!("get a token for pod {name}"))?;
    bench.hub.pod(&bench.shape, cell, &token).await.with_context(|| format!("play pod {name}"))?;
    let api: Api<Pod> = Api::namespaced(bench.client.clone(), NAMESPACE);
    api.patch_status(&name, &PatchParams::default(), &Patch::Merge(ended())).await.with_context(|| format!("end pod {name}"))?;
    Ok(())
}

/// As the kubelet asks for it.
async fn token(bench: &Bench, pod: &Pod) -> Result<String> {
    let bound =
        BoundObjectReference { api_version: Some("v1".into()), kind: Some("Pod".into()), name: pod.metadata.name.clone(), uid: pod.uid() };
    let spec = TokenRequestSpec { audiences: vec![AUDIENCE.to_owned()], bound_object_ref: Some(bound), expiration_seconds: Some(3600) };
    let api: Api<ServiceAccount> = Api::namespaced(bench.client.clone(), NAMESPACE);
    let request = TokenRequest { spec, ..TokenRequest::default() };
    let answer = api.create_token_request("default", &PostParams::default(), &request).await?;
    Ok(answer.status.context("the API server gives no token")?.token)
}

/// What the kubelet writes of a pod that has ended well.
fn ended() -> Value {
    let now = Timestamp::now();
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now).to_string();
    let terminated = json!({"exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now});
    let status = |name: &str| json!({"name": name, "image": "registry.test/agent:1", "imageID": "", "ready": false, "started": false, "restartCount": 0, "state": {"terminated": terminated}});
    let condition = |kind: &str, value: &str| json!({"type": kind, "status": value, "lastTransitionTime": now});
    json!({"status": {
        "phase": "Succeeded",
        "conditions": [condition("Initialized", "True"), condition("PodScheduled", "True"), condition("Ready", "False"), condition("ContainersReady", "False")],
        "initContainerStatuses": [status("agentrun-sidecar")],
        "containerStatuses": [status("agent")],
    }})
}
