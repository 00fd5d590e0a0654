//! `agentrun delete`: a run of a cluster, with all that it made.

use std::time::Duration;

use super::{COMPLETE, Context, FAILED};
use crate::{args, cluster::Cluster};

/// How long a run may take to go.
const GOES: Duration = Duration::from_secs(120);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);

/// Deletes the run, and waits until it is gone.
pub(crate) async fn run(arguments: args::Delete, context: &Context) -> anyhow::Result<u8> {
    let cluster = Cluster::connect(&arguments.target).await?;
    let name = &arguments.name;
    if !cluster.delete(name).await? {
        return Err(cluster.no_run(name).await.into());
    }
    if !arguments.no_wait {
        let gone = async {
            while cluster.runs().get_metadata_opt(name).await?.is_some() {
                tokio::time::sleep(LOOK).await;
            }
            Ok::<_, kube::Error>(())
        };
        match tokio::time::timeout(GOES, gone).await {
            Ok(gone) => gone.map_err(crate::cluster::problem::Problem::from)?,
            Err(_) => {
                let seconds = GOES.as_secs();
                let system = &cluster.system_namespace;
                context.printer.error(&format!(
                    "run `{name}` is being deleted, but is not gone after {seconds} s: the operator removes its data first; does it run? (kubectl -n {system} get pods)"
                ));
                return Ok(FAILED);
            }
        }
    }
    context.printer.data(format!("AgentRun `{name}` in namespace {}: deleted\n", cluster.namespace).as_bytes())?;
    Ok(COMPLETE)
}
