//! The provider's pod: what it is told to answer, and what it was asked.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::{Cluster, PATIENCE};
use crate::origin::Rule;

const PROXY: &str = "/api/v1/namespaces/provider/services/provider:control/proxy";

/// The provider, which all tests share: a test tells its own calls by a text that only they hold.
#[derive(Clone, Copy, Debug)]
pub struct Provider(pub &'static Cluster);

impl Provider {
    /// Answers by these rules from now on; they replace the earlier ones of the same name.
    ///
    /// # Panics
    /// The provider cannot be reached.
    pub async fn rules(self, name: &str, rules: &[Rule]) {
        let rules = serde_json::to_value(rules).expect("rules serialise");
        let path = format!("{PROXY}/rules?name={name}");
        self.0.try_kubectl_with(&["create", "--raw", &path, "-f", "-"], &rules).await.expect("the provider takes rules");
    }

    /// Forgets the calls whose body holds `text`: those of an earlier run of the same test.
    ///
    /// # Panics
    /// The provider cannot be reached.
    pub async fn forget(self, text: &str) {
        let path = format!("{PROXY}/forget?contains={}", escaped(text));
        self.0.try_kubectl_with(&["create", "--raw", &path, "-f", "-"], &Value::Null).await.expect("the provider forgets");
    }

    /// The calls whose body holds `text`, oldest first.
    ///
    /// # Panics
    /// The provider cannot be reached.
    pub async fn calls(self, text: &str) -> Vec<Value> {
        let calls = self.0.kubectl(&["get", "--raw", &format!("{PROXY}/calls?contains={}", escaped(text))]).await;
        serde_json::from_str(&calls).expect("the provider answers with a JSON array")
    }

    /// Waits until it has been asked so often with `text`; gives how often each distinct call was received.
    ///
    /// # Panics
    /// It is not within minutes.
    pub async fn until(self, text: &str, calls: usize) -> BTreeMap<(String, String, String), usize> {
        let asked = async {
            loop {
                let counts = self.counts(text).await;
                if counts.values().sum::<usize>() >= calls {
                    return counts;
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(PATIENCE), asked).await;
        ended.unwrap_or_else(|_| panic!("{text:?} was not asked {calls} times within {PATIENCE} s"))
    }

    /// How often each distinct call whose body holds `text` was received: by host, path and body.
    ///
    /// # Panics
    /// The provider cannot be reached.
    pub async fn counts(self, text: &str) -> BTreeMap<(String, String, String), usize> {
        let mut counts = BTreeMap::new();
        for call in self.calls(text).await {
            let text = |key: &str| call[key].as_str().unwrap_or_default().to_owned();
            *counts.entry((text("host"), text("path"), text("body"))).or_default() += 1;
        }
        counts
    }
}

/// Percent-encoded altogether.
fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
