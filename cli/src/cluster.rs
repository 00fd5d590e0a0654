//! Runs in a cluster: the resource through the API server, and through it the hub. No port is opened by hand.

pub(crate) mod dataset;
pub(crate) mod hub;
pub(crate) mod pods;
pub(crate) mod problem;
pub(crate) mod resource;

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

use crate::args::Target;
use problem::Problem;

/// The field manager of what is applied.
pub(crate) const MANAGER: &str = "agentrun";

/// A cluster, and the namespace that is looked at.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    /// The namespace that AgentRun is installed in.
    pub(crate) system_namespace: String,
}

impl Cluster {
    /// The cluster that the flags, or else the kubeconfig, name. Nothing is sent yet.
    ///
    /// # Errors
    /// There is no kubeconfig, it lacks the context, or it cannot be read.
    pub(crate) async fn connect(target: &Target) -> Result<Self, Problem> {
        let options = KubeConfigOptions { context: target.context.clone(), ..KubeConfigOptions::default() };
        let config = match (&target.kubeconfig, &target.context) {
            (Some(path), _) => {
                let kubeconfig = Kubeconfig::read_from(path).map_err(|error| Problem::Kubeconfig(error.to_string()))?;
                Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|error| Problem::Kubeconfig(error.to_string()))?
            }
            (None, Some(_)) => Config::from_kubeconfig(&options).await.map_err(|error| Problem::Kubeconfig(error.to_string()))?,
            // In a pod its service account counts where there is no kubeconfig.
            (None, None) => Config::infer().await.map_err(|error| Problem::Kubeconfig(error.to_string()))?,
        };
        let namespace = target.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).map_err(|error| Problem::Kubeconfig(error.to_string()))?;
        Ok(Self { client, namespace, system_namespace: target.system_namespace.clone() })
    }
}
