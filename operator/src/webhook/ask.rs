//! What admission asks the cluster about an AgentRun.

use agentrun_crds::AgentRunSpec;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde_json::Value;

use super::runs::Found;
use super::{Webhook, attempt};
use crate::dataset::Source;

impl Webhook {
    /// Asks the cluster everything at once.
    pub(super) async fn ask(&self, namespace: &str, spec: &AgentRunSpec, pod: Option<Value>) -> Found {
        let dataset = async {
            let key = spec.dataset.config_map.as_ref()?;
            self.config_map(namespace, &key.name, &key.key).await
        };
        let trust = async {
            let key = &spec.trust.as_ref()?.config_map;
            Some(matches!(self.config_map(namespace, &key.name, &key.key).await?, Source::Found(_)))
        };
        let attempt = async {
            let pod = pod?;
            Some(attempt::attempt(&self.client, namespace, &pod).await)
        };
        let (dataset, trust, attempt) = futures::join!(dataset, trust, attempt);
        Found { dataset, trust, attempt }
    }

    async fn config_map(&self, namespace: &str, name: &str, key: &str) -> Option<Source> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        match api.get_opt(name).await {
            Ok(None) => Some(Source::NoConfigMap),
            Ok(Some(map)) => {
                let (mut text, mut bytes) = (map.data.unwrap_or_default(), map.binary_data.unwrap_or_default());
                let found = text.remove(key).map(String::into_bytes).or_else(|| bytes.remove(key).map(|bytes| bytes.0));
                Some(found.map_or_else(|| Source::NoKey(text.into_keys().chain(bytes.into_keys()).take(20).collect()), Source::Found))
            }
            Err(error) => {
                tracing::warn!(name, error = %crate::sentence(&error), "a ConfigMap could not be read");
                None
            }
        }
    }
}
