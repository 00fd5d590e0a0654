//! The installed release, with other values for a while.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;

use super::{Cluster, PATIENCE, SYSTEM};

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/agentrun");
const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/cluster/agentrun.yaml");
/// For every pod of the release to be replaced on a machine that does other things too.
const TIMEOUT: &str = "300s";

impl Cluster {
    /// Waits until admission answers: its Service leads nowhere for a moment after its pods have become ready.
    ///
    /// # Panics
    /// It does not within minutes.
    pub async fn admits(&self) {
        let mut complaint = String::new();
        let admitted = async {
            while let Err(error) = self.try_kubectl(&["-n", "default", "create", "--dry-run=server", "-f", EXAMPLE]).await {
                complaint = error;
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(PATIENCE), admitted).await;
        assert!(ended.is_ok(), "admission does not answer after {PATIENCE} s: {complaint}");
    }

    /// Upgrades the release to the same values but for these, each `KEY=VALUE`, and waits until all of it is ready.
    ///
    /// # Errors
    /// helm's own words, and what the release's pods are at.
    pub async fn upgrade(&self, values: &[&str]) -> Result<(), String> {
        // Fields that somebody has changed by hand on a cluster that is used again are the chart's.
        let release = ["upgrade", "agentrun", CHART, "--namespace", SYSTEM, "--reuse-values", "--force-conflicts"];
        let mut arguments = [&release[..], &["--wait", "--timeout", TIMEOUT]].concat();
        for value in values {
            arguments.extend(["--set", value]);
        }
        match self.try_helm(&arguments).await {
            Ok(_) => Ok(()),
            Err(error) => {
                let pods = self.try_kubectl(&["-n", SYSTEM, "get", "pods", "-o", "wide"]).await.unwrap_or_else(|error| error);
                let logs = ["-n", SYSTEM, "logs", "--all-containers", "--prefix", "--tail=15", "-l", "app.kubernetes.io/instance=agentrun"];
                let logs = self.try_kubectl(&logs).await.unwrap_or_else(|error| error);
                Err(format!("{error}\n{pods}\n{logs}"))
            }
        }
    }

    /// Runs a test that changes the release's values. It gets those `before` back in any case.
    ///
    /// # Panics
    /// As the test does, and where the release cannot be changed back.
    pub async fn restoring(&self, before: &[&str], test: impl AsyncFnOnce()) {
        let ended = AssertUnwindSafe(test()).catch_unwind().await;
        let back = self.upgrade(before).await;
        if let Err(panic) = ended {
            std::panic::resume_unwind(panic);
        }
        back.unwrap_or_else(|error| panic!("the release cannot be given {before:?} again: {error}"));
    }
}
