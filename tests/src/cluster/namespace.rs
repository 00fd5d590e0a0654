//! A namespace of a test's own.

use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use serde_json::{Value, json};

use super::{Cluster, PATIENCE, RUN_PATIENCE, collect};

/// A namespace that enforces Pod Security *restricted*.
#[derive(Clone, Debug)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// The cluster it is on.
    pub cluster: &'static Cluster,
}

/// Runs a test in a fresh namespace. When it fails, what the cluster knows of it is written to `target/cluster-logs/NAME`; the namespace
/// goes in any case.
///
/// # Panics
/// As the test does, and where the namespace cannot be made.
pub async fn with_namespace<F: Future<Output = ()>>(name: &str, test: impl FnOnce(Namespace) -> F) {
    let cluster = Cluster::get();
    let _turn = cluster.shared().await;
    in_namespace(cluster, name, test).await;
}

/// As [`with_namespace`], while no other test runs: for what all of them would feel.
///
/// # Panics
/// See [`with_namespace`].
pub async fn with_namespace_alone<F: Future<Output = ()>>(name: &str, test: impl FnOnce(Namespace) -> F) {
    let cluster = Cluster::get();
    let _turn = cluster.alone().await;
    in_namespace(cluster, name, test).await;
    // What the test broke is whole again; the next test finds it so.
    cluster.admits().await;
}

async fn in_namespace<F: Future<Output = ()>>(cluster: &'static Cluster, name: &str, test: impl FnOnce(Namespace) -> F) {
    let space = Namespace { name: format!("{name}-{}", std::process::id()), cluster };
    let labels = json!({"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn": "restricted"});
    let manifest = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space.name, "labels": labels}});
    cluster.try_kubectl_with(&["create", "-f", "-"], &manifest).await.expect("a namespace can be made");
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "openai"}, "stringData": {"key": "sk-test-not-a-real-key"}
    });
    space.create(&secret).await;
    // Pods that come before their service account are refused.
    cluster.kubectl(&["-n", &space.name, "wait", "--for=create", "serviceaccount/default", "--timeout=180s"]).await;
    let ended = AssertUnwindSafe(test(space.clone())).catch_unwind().await;
    if ended.is_err() {
        collect::collect(&space).await;
    }
    cluster.try_kubectl(&["delete", "namespace", &space.name, "--wait=false"]).await.ok();
    if let Err(panic) = ended {
        std::panic::resume_unwind(panic);
    }
}

impl Namespace {
    /// What kubectl prints, in this namespace.
    ///
    /// # Panics
    /// kubectl fails.
    pub async fn kubectl(&self, arguments: &[&str]) -> String {
        self.cluster.kubectl(&[&["-n", &self.name], arguments].concat()).await
    }

    /// Creates an object here.
    ///
    /// # Panics
    /// The API server refuses it.
    pub async fn create(&self, manifest: &Value) {
        self.try_create(manifest).await.unwrap_or_else(|error| panic!("cannot create {manifest:#}: {error}"));
    }

    /// Creates an object here, or gives kubectl's complaint. Warnings are in what is printed on success too.
    ///
    /// # Errors
    /// kubectl's own words.
    pub async fn try_create(&self, manifest: &Value) -> Result<String, String> {
        self.cluster.try_kubectl_with(&["-n", &self.name, "create", "-f", "-"], manifest).await
    }

    /// Applies an object here.
    ///
    /// # Errors
    /// kubectl's own words.
    pub async fn try_apply(&self, manifest: &Value) -> Result<String, String> {
        self.cluster.try_kubectl_with(&["-n", &self.name, "apply", "-f", "-"], manifest).await
    }

    /// One object, or a list of objects with `kind` alone.
    ///
    /// # Panics
    /// It does not exist.
    pub async fn get(&self, object: &str) -> Value {
        serde_json::from_str(&self.kubectl(&["get", object, "-o", "json"]).await).expect("kubectl prints JSON")
    }

    /// Watches an object until `is_so`. See [`Cluster::until`].
    ///
    /// # Panics
    /// See [`Cluster::until`].
    pub async fn until(&self, object: &str, what: &str, is_so: impl FnMut(&Value) -> bool) -> Value {
        self.cluster.until(&self.name, object, what, is_so).await
    }

    /// Waits until an AgentRun has ended, Complete or Failed, and gives it.
    ///
    /// # Panics
    /// It does not end in time.
    pub async fn run_ends(&self, name: &str) -> Value {
        let ended = |run: &Value| matches!(run["status"]["phase"].as_str(), Some("Complete" | "Failed"));
        self.cluster.within(RUN_PATIENCE, &self.name, &format!("agentrun/{name}"), "ended", ended).await
    }

    /// A condition of a run, as in `True/Running`; empty where it has none.
    pub fn condition(run: &Value, kind: &str) -> String {
        let found = run["status"]["conditions"].as_array().into_iter().flatten().find(|condition| condition["type"] == kind);
        let word = |condition: &Value, key: &str| condition[key].as_str().unwrap_or_default().to_owned();
        found.map(|condition| format!("{}/{}", word(condition, "status"), word(condition, "reason"))).unwrap_or_default()
    }

    /// Lets the Python agents of a run go on that wait for it (`misbehave.py answer-when-released`). They must be running.
    ///
    /// # Panics
    /// There is none, or it has ended.
    pub async fn release(&self, run: &str) {
        let selectors = ["-l", &format!("agentrun.dev/run={run}"), "--field-selector=status.phase=Running"];
        let pods = self.kubectl(&[&["get", "pods", "-o", "name"][..], &selectors].concat()).await;
        assert_ne!(pods, "", "a pod of {run} waits");
        let release = "import os, pathlib; pathlib.Path(os.environ['AGENTRUN_OUTPUT_FILE']).with_name('released').touch()";
        for pod in pods.lines() {
            self.kubectl(&["exec", pod, "-c", "agent", "--", "python3", "-c", release]).await;
        }
    }

    /// Waits until no pod of a run is left.
    ///
    /// # Panics
    /// Pods are left after minutes.
    pub async fn pods_go(&self, run: &str) {
        let selector = format!("agentrun.dev/run={run}");
        let timeout = format!("--timeout={PATIENCE}s");
        self.kubectl(&["wait", "pod", "--for=delete", "-l", &selector, &timeout]).await;
    }
}
