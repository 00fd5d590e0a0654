//! A pod without its spec. What a trial's pod says of itself stands in its metadata and its status; its spec, with a sidecar and certificates,
//! takes a tenth of a megabyte once it is read, and a run has thousands of pods at once.

use std::borrow::Cow;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::NamespaceResourceScope;
use serde::Deserialize;

/// A pod as it is read from the API server where its spec is of no interest.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct SlimPod {
    /// Its names, labels and owners.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// How it stands.
    #[serde(default)]
    pub status: Option<PodStatus>,
}

impl From<SlimPod> for Pod {
    fn from(slim: SlimPod) -> Self {
        Self { metadata: slim.metadata, spec: None, status: slim.status }
    }
}

impl Resource for SlimPod {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        Pod::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        Pod::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        Pod::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        Pod::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn it_is_a_pod_but_for_its_spec() {
        let whole = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "b"},
            "spec": {"containers": [{"name": "agent"}]}, "status": {"phase": "Failed"},
        });
        let slim: SlimPod = serde_json::from_value(whole.clone()).unwrap();
        let pod: Pod = serde_json::from_value(whole).unwrap();
        assert_eq!(Pod::from(slim), Pod { spec: None, ..pod });
        assert_eq!(SlimPod::url_path(&(), Some("b")), Pod::url_path(&(), Some("b")));
    }
}
