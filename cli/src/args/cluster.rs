//! Which cluster, and the verbs that are a cluster's alone.

use std::path::PathBuf;

use clap::Args;

use super::Format;

/// Which cluster.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Cluster")]
pub(crate) struct Target {
    /// The cluster's namespace [default: the kubeconfig's]
    #[arg(short, long, value_name = "NAMESPACE")]
    pub(crate) namespace: Option<String>,
    /// The kubeconfig's context
    #[arg(long, value_name = "CONTEXT")]
    pub(crate) context: Option<String>,
    /// The kubeconfig [default: what KUBECONFIG names, else ~/.kube/config, else the pod's own service account]
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The namespace that AgentRun is installed in
    #[arg(long, value_name = "NAMESPACE", env = "AGENTRUN_SYSTEM_NAMESPACE", default_value = "agentrun-system")]
    pub(crate) system_namespace: String,
}

/// This machine's runs, or a cluster's.
#[derive(Args, Clone, Debug)]
pub(crate) struct Place {
    /// Look in the cluster; -n, --context and --kubeconfig say so as well
    #[arg(long, conflicts_with = "simulated")]
    pub(crate) cluster: bool,
    #[command(flatten)]
    pub(crate) target: Target,
}

impl Place {
    /// The cluster that is to be looked at; `None`: this machine.
    pub(crate) fn cluster(&self) -> Option<&Target> {
        let Target { namespace, context, kubeconfig, .. } = &self.target;
        (self.cluster || namespace.is_some() || context.is_some() || kubeconfig.is_some()).then_some(&self.target)
    }
}

#[derive(Args, Debug)]
pub(crate) struct Apply {
    /// The manifest: an AgentRun in YAML or JSON
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Ask the cluster whether it would take it, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Args, Debug)]
pub(crate) struct Watch {
    /// The run
    pub(crate) name: String,
    /// How the result is written
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Args, Debug)]
pub(crate) struct Logs {
    /// The run
    pub(crate) name: String,
    /// The pods of this datapoint
    #[arg(long, value_name = "X")]
    pub(crate) data_id: Option<String>,
    /// The pods of this combo
    #[arg(long, value_name = "Y")]
    pub(crate) combo_id: Option<String>,
    /// The sidecars instead of the agents
    #[arg(long)]
    pub(crate) sidecar: bool,
    /// Go on as pods print more
    #[arg(long)]
    pub(crate) follow: bool,
    /// The last N lines of each pod
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..))]
    pub(crate) tail: Option<i64>,
    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Args, Debug)]
pub(crate) struct Delete {
    /// The run
    pub(crate) name: String,
    /// Do not wait until it is gone
    #[arg(long)]
    pub(crate) no_wait: bool,
    #[command(flatten)]
    pub(crate) target: Target,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::args::{Arguments, Verb};

    #[test]
    fn any_word_of_a_cluster_means_the_cluster() {
        let place = |flags: &[&str]| {
            let arguments = Arguments::try_parse_from(["agentrun", "get", "run"].iter().chain(flags)).map_err(|error| error.to_string())?;
            let Verb::Get(get) = arguments.verb else { panic!("get") };
            Ok::<_, String>(get.place.cluster().is_some())
        };
        assert_eq!(place(&[]), Ok(false));
        for flags in [&["-n", "team"][..], &["--cluster"], &["--context", "c"], &["--kubeconfig", "f"]] {
            assert_eq!(place(flags), Ok(true), "{flags:?}");
        }
        assert!(place(&["--cluster", "--simulated"]).is_err());
    }
}
