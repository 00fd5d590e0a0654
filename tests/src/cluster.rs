//! The real Kubernetes of `tests/cluster`, as `tests/cluster/prepare` leaves it: a Ready node with the images, the provider and the chart.
//!
//! Everything is done with kubectl, as a user would: what a test finds hard is hard for users too.

mod authority;
mod collect;
mod hub;
mod kubectl;
mod namespace;
mod parts;
mod postgres;
mod provider;
mod release;
mod resource;

use std::path::PathBuf;
use std::sync::OnceLock;

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

pub use authority::{Authority, tls_data};
pub use namespace::{Namespace, with_namespace, with_namespace_alone};
pub use parts::{Supervision, kill_process, sidecars};
pub use postgres::Postgres;
pub use provider::Provider;
pub use resource::{PYTHON, agent_pod_spec, agent_run, answering_run, restricted};

/// The namespace that the chart is installed in.
pub const SYSTEM: &str = "agentrun-system";

/// Seconds that anything is given: a busy machine is no failure.
const PATIENCE: u64 = 300;
/// Seconds that a run is given to end: some wait for images that are not there, or are tried again and again.
const RUN_PATIENCE: u64 = 900;

/// The running cluster.
#[derive(Debug)]
pub struct Cluster {
    home: PathBuf,
    state: PathBuf,
}

impl Cluster {
    /// The cluster of this machine.
    ///
    /// # Panics
    /// It does not run: `tests/run` starts it, and `tests/cluster/prepare` does by hand.
    pub fn get() -> &'static Self {
        static CLUSTER: OnceLock<Cluster> = OnceLock::new();
        CLUSTER.get_or_init(|| {
            let variable = |name| std::env::var_os(name).map(PathBuf::from);
            let caches = variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache"))).unwrap_or_default();
            let home = variable("CLUSTER_HOME").unwrap_or_else(|| caches.join("agentrun-cluster"));
            let state = variable("CLUSTER_STATE").unwrap_or_else(|| home.join("state"));
            assert!(
                state.join("admin.kubeconfig").exists(),
                "no cluster runs in {}: `tests/run` starts one, and `tests/cluster/prepare target/x86_64-unknown-linux-gnu/debug` does by hand",
                state.display()
            );
            Self { home, state }
        })
    }

    /// The cluster administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.state.join("admin.kubeconfig")
    }

    /// A program of the rig, such as `helm`.
    pub fn program(&self, name: &str) -> PathBuf {
        self.home.join("bin").join(name)
    }

    /// For a test that others may run beside.
    pub async fn shared(&self) -> RwLockReadGuard<'static, ()> {
        TURN.read().await
    }

    /// For a test that breaks the cluster for all others: alone.
    pub async fn alone(&self) -> RwLockWriteGuard<'static, ()> {
        TURN.write().await
    }
}

static TURN: RwLock<()> = RwLock::const_new(());
