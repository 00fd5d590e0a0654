//! A run's pods and their logs.

use std::collections::BTreeMap;

use agentrun_protocol::{
    names::{CELLS_ANNOTATION, COMBO_LABEL, COMPLETION_INDEX_ANNOTATION, RUN_LABEL, SCORING_LABEL, SIDECAR_CONTAINER},
    query::Filter,
    run::index_in,
};
use futures::{AsyncBufReadExt, Stream, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{ListParams, LogParams},
};

use super::{Cluster, problem::Problem};

/// Kubernetes' annotation for the container that people mean.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// A pod of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunPod {
    pub(crate) name: String,
    /// The agent's container.
    pub(crate) container: String,
    /// `Running`, `Failed` …
    pub(crate) phase: String,
}

/// Which pods.
#[derive(Clone, Debug, Default)]
pub(crate) struct Which {
    pub(crate) combo_id: Option<String>,
    pub(crate) data_id: Option<String>,
    pub(crate) sidecar: bool,
}

impl Cluster {
    /// The run's pods that are there now: those of the trials that fit.
    pub(crate) async fn pods(&self, run: &str, which: &Which) -> Result<Vec<RunPod>, Problem> {
        let pods = Api::<Pod>::namespaced(self.client.clone(), &self.namespace);
        let list = pods.list(&ListParams::default().labels(&format!("{RUN_LABEL}={run}"))).await?;
        let mut found: BTreeMap<(String, u64, String), RunPod> =
            list.items.iter().map(|pod| (order(pod), run_pod(pod, which.sidecar))).collect();
        if which.combo_id.is_some() || which.data_id.is_some() {
            let filter = Filter { combo_id: which.combo_id.clone(), data_id: which.data_id.clone(), ..Filter::default() };
            let trials = self.hub().await?.trials(run, filter).await?;
            found.retain(|_, pod| trials.iter().any(|trial| trial.pod.as_deref() == Some(&pod.name)));
        }
        Ok(found.into_values().collect())
    }

    /// A pod's lines, as they come.
    pub(crate) async fn lines(
        &self,
        pod: &RunPod,
        follow: bool,
        tail: Option<i64>,
    ) -> Result<impl Stream<Item = std::io::Result<String>> + use<>, Problem> {
        let pods = Api::<Pod>::namespaced(self.client.clone(), &self.namespace);
        let parameters = LogParams { container: Some(pod.container.clone()), follow, tail_lines: tail, ..LogParams::default() };
        let stream = pods.log_stream(&pod.name, &parameters).await?;
        Ok(stream.lines().into_stream())
    }
}

/// Combo by combo, in the order of the datapoints; scoring last.
fn order(pod: &Pod) -> (String, u64, String) {
    let scoring = pod.labels().contains_key(SCORING_LABEL);
    let combo = pod.labels().get(COMBO_LABEL).and_then(|combo| combo.parse::<u64>().ok()).unwrap_or(u64::MAX);
    let own: Option<u64> = pod.annotations().get(COMPLETION_INDEX_ANNOTATION).and_then(|index| index.parse().ok());
    let index = own.and_then(|own| pod.annotations().get(CELLS_ANNOTATION).map_or(Some(own), |cells| index_in(cells, own)));
    let index = index.unwrap_or(u64::MAX);
    (format!("{}{combo:020}", u8::from(scoring)), index, pod.name_any())
}

fn run_pod(pod: &Pod, sidecar: bool) -> RunPod {
    let first = || pod.spec.as_ref().and_then(|spec| spec.containers.first()).map(|container| container.name.clone());
    let agent = || pod.annotations().get(DEFAULT_CONTAINER).cloned().or_else(first).unwrap_or_default();
    RunPod {
        name: pod.name_any(),
        container: if sidecar { SIDECAR_CONTAINER.to_owned() } else { agent() },
        phase: pod.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, combo: &str, index: &str, annotations: serde_json::Value) -> Pod {
        let mut metadata = json!({"name": name, "labels": {COMBO_LABEL: combo}, "annotations": annotations});
        metadata["annotations"][COMPLETION_INDEX_ANNOTATION] = index.into();
        let spec = json!({"containers": [{"name": "first"}, {"name": "agent"}]});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec, "status": {"phase": "Failed"}})).unwrap()
    }

    #[test]
    fn pods_come_in_the_order_of_combos_and_datapoints() {
        let mut pods =
            [("a", "10", "0"), ("b", "2", "10"), ("c", "2", "9")].map(|(name, combo, index)| order(&pod(name, combo, index, json!({}))));
        pods.sort();
        assert_eq!(pods.map(|(_, _, name)| name), ["c", "b", "a"]);
        let again = order(&pod("again", "2", "1", json!({CELLS_ANNOTATION: "3,12"})));
        assert_eq!(again.1, 12, "a trial that is tried again has its place");
    }

    #[test]
    fn the_agents_container_is_the_one_that_is_meant() {
        let plain = run_pod(&pod("a", "0", "0", json!({})), false);
        assert_eq!((plain.container.as_str(), plain.phase.as_str()), ("first", "Failed"));
        let named = pod("a", "0", "0", json!({DEFAULT_CONTAINER: "agent"}));
        assert_eq!(run_pod(&named, false).container, "agent");
        assert_eq!(run_pod(&named, true).container, SIDECAR_CONTAINER);
    }
}
