//! Parts of the cluster that a test takes away, and brings back whatever becomes of it.

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::time::Duration;

use futures::FutureExt;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::{Cluster, SYSTEM};

/// Parts that end when they lose the API server at a bad moment; a node's kubelet starts them again.
const SUPERVISED: [&str; 2] = ["kube-controller-manager", "kube-scheduler"];

/// Keeps the control plane's parts running until it is dropped.
#[derive(Debug)]
pub struct Supervision(JoinHandle<()>);

impl Drop for Supervision {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The sidecars of trials on this node: each one's process, and its pod's uid.
///
/// # Panics
/// This is no Linux.
pub fn sidecars() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("Linux has /proc").flatten() {
        let words = |file: &str| -> Vec<String> {
            let bytes = std::fs::read(entry.path().join(file)).unwrap_or_default();
            bytes.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
        };
        let command = words("cmdline");
        if command[0].ends_with("agentrun-sidecar") && command.get(1).is_some_and(|word| word == "pod") {
            let uid = words("environ").iter().find_map(|word| Some(word.strip_prefix("AGENTRUN_POD_UID=")?.to_owned()));
            found.push((entry.file_name().to_string_lossy().into_owned(), uid.unwrap_or_default()));
        }
    }
    found
}

/// Kills a process as a crash does; false where there is none.
pub fn kill_process(process: &str) -> bool {
    std::process::Command::new("kill").args(["-9", process]).status().is_ok_and(|status| status.success())
}

impl Cluster {
    /// Starts controller manager and scheduler again when they end, as a kubelet does with its static pods. For tests that kill the API server.
    pub fn supervise(&'static self) -> Supervision {
        Supervision(tokio::spawn(async move {
            loop {
                self.rig(&[&["start"], &SUPERVISED[..]].concat()).await;
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
        }))
    }

    /// Does something while no hub runs.
    ///
    /// # Panics
    /// The hub does not go or come back, and as `work` does; the hub is brought back then too.
    pub async fn without_hub<T>(&self, work: impl Future<Output = T>) -> T {
        self.kubectl(&["-n", SYSTEM, "scale", "statefulset/agentrun-hub", "--replicas=0"]).await;
        self.kubectl(&["-n", SYSTEM, "wait", "pod/agentrun-hub-0", "--for=delete", "--timeout=180s"]).await;
        let ended = AssertUnwindSafe(work).catch_unwind().await;
        self.kubectl(&["-n", SYSTEM, "scale", "statefulset/agentrun-hub", "--replicas=1"]).await;
        self.hub_is_ready().await;
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Does something while the hub keeps its data in an empty file that may not grow beyond `size`, as in `2Mi`.
    ///
    /// # Panics
    /// See [`Cluster::without_hub`].
    pub async fn with_small_hub<T>(&self, size: &str, work: impl Future<Output = T>) -> T {
        let folder = self.hub_folder().join("small");
        std::fs::remove_dir_all(&folder).ok();
        std::fs::create_dir_all(&folder).expect("the hub's volume is a folder of this machine");
        std::os::unix::fs::chown(&folder, Some(65532), Some(65532)).expect("the cluster's tests run as root");
        let hub: Value = serde_json::from_str(&self.kubectl(&["-n", SYSTEM, "get", "statefulset/agentrun-hub", "-o", "json"]).await)
            .expect("kubectl prints JSON");
        let before: Vec<String> =
            serde_json::from_value(hub["spec"]["template"]["spec"]["containers"][0]["args"].clone()).expect("arguments are words");
        let mut small: Vec<String> = before.iter().filter(|word| !word.starts_with("--data=")).cloned().collect();
        small.extend(["--data=/var/lib/agentrun/small".to_owned(), format!("--data-size={size}")]);
        self.hub_has(&small).await;
        let ended = AssertUnwindSafe(work).catch_unwind().await;
        self.hub_has(&before).await;
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    fn hub_folder(&self) -> PathBuf {
        self.state.join("volumes/hub")
    }

    async fn hub_has(&self, arguments: &[String]) {
        let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "hub", "args": arguments}]}}}});
        self.kubectl(&["-n", SYSTEM, "patch", "statefulset/agentrun-hub", "--type=strategic", "-p", &patch.to_string()]).await;
        self.hub_is_ready().await;
    }

    async fn hub_is_ready(&self) {
        self.kubectl(&["-n", SYSTEM, "rollout", "status", "statefulset/agentrun-hub", "--timeout=180s"]).await;
    }

    /// The operator's pod that leads.
    ///
    /// # Panics
    /// None does within minutes.
    pub async fn leader(&self, other_than: &str) -> String {
        let holder = |lease: &Value| lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned();
        let leads = |lease: &Value| !holder(lease).is_empty() && holder(lease) != other_than;
        holder(&self.until(SYSTEM, "lease/agentrun-operator", "held by another", leads).await)
    }
}
