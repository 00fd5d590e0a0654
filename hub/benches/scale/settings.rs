//! What the program is told.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

/// Measures an AgentRun of many trials on a real API server.
#[derive(Clone, Debug, Parser)]
pub(crate) struct Settings {
    /// Trials of the run.
    #[arg(long, default_value_t = 100_000)]
    pub(crate) trials: u64,
    /// Of these, pods on KWOK's nodes.
    #[arg(long, default_value_t = 20_000)]
    pub(crate) pods: u64,
    /// Combos that the trials are of.
    #[arg(long, default_value_t = 100)]
    pub(crate) combos: u64,
    /// Trials at once.
    #[arg(long, default_value_t = 2000)]
    pub(crate) parallelism: u64,
    /// Trials that end a second at most; as fast as it goes where it is not said.
    #[arg(long)]
    pub(crate) pace: Option<NonZeroU32>,
    /// Pods of these that end a second at most: one costs the cluster's control plane a hundred times what a trial without a pod does.
    #[arg(long)]
    pub(crate) pods_pace: Option<NonZeroU32>,
    /// Nodes of KWOK's.
    #[arg(long, default_value_t = 10)]
    pub(crate) nodes: u64,
    /// The folder with agentrun-operator and agentrun-hub.
    #[arg(long)]
    pub(crate) programs: PathBuf,
    /// The program kwok.
    #[arg(long)]
    pub(crate) kwok: PathBuf,
    /// The folder `kustomize/stage` of kwok's Go module.
    #[arg(long)]
    pub(crate) stages: PathBuf,
    /// An empty folder for the hub's data, logs and settings.
    #[arg(long)]
    pub(crate) folder: PathBuf,
    /// Minutes that the run may take.
    #[arg(long, default_value_t = 30)]
    pub(crate) minutes: u64,
    /// Given by cargo to every benchmark.
    #[arg(long, hide = true)]
    pub(crate) bench: bool,
}

impl Settings {
    /// How long the run may take.
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_secs(self.minutes * 60)
    }
}
