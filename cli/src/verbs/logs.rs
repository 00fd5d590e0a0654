//! `agentrun logs`: what the agents of a cluster's run print.

use std::pin::pin;

use futures::{StreamExt, stream};

use super::{COMPLETE, Context};
use crate::{
    args,
    cluster::{
        Cluster,
        pods::{RunPod, Which},
        problem::Problem,
    },
    view::table::shown,
};

/// Pods that are followed at once.
const AT_ONCE: usize = 64;

/// Shows the logs of the run's pods that are there, one after the other, or all at once as they come.
pub(crate) async fn run(arguments: args::Logs, context: &Context) -> anyhow::Result<u8> {
    let cluster = Cluster::connect(&arguments.target).await?;
    let name = &arguments.name;
    let which = Which { combo_id: arguments.combo_id.clone(), data_id: arguments.data_id.clone(), sidecar: arguments.sidecar };
    let pods = cluster.pods(name, &which).await?;
    if pods.is_empty() {
        cluster.run(name).await?;
        context.printer.note(
            "no such pod is there: pods that ended well are removed once their records are kept; agentrun calls and export show those",
        );
        return Ok(COMPLETE);
    }
    let several = pods.len() > 1;
    if arguments.follow && pods.len() > AT_ONCE {
        context
            .printer
            .warning(&format!("{} pods: only the first {AT_ONCE} are followed; choose with --combo-id and --data-id", pods.len()));
    }
    let opened = pods.into_iter().take(if arguments.follow { AT_ONCE } else { usize::MAX }).map(|pod| {
        let cluster = cluster.clone();
        let (follow, tail) = (arguments.follow, arguments.tail);
        async move {
            let lines = cluster.lines(&pod, follow, tail).await;
            (pod, lines)
        }
    });
    if arguments.follow {
        let streams = futures::future::join_all(opened).await.into_iter().filter_map(|(pod, lines)| match lines {
            Ok(lines) => Some(lines.map(move |line| (pod.clone(), line)).boxed()),
            Err(problem) => {
                not_started(context, &pod, &problem);
                None
            }
        });
        let mut lines = pin!(stream::select_all(streams));
        while let Some((pod, line)) = lines.next().await {
            print(context, &pod, &line?, several)?;
        }
        return Ok(COMPLETE);
    }
    for opening in opened {
        let (pod, lines) = opening.await;
        let mut lines = match lines {
            Ok(lines) => pin!(lines),
            Err(problem) => {
                not_started(context, &pod, &problem);
                continue;
            }
        };
        while let Some(line) = lines.next().await {
            print(context, &pod, &line?, several)?;
        }
    }
    Ok(COMPLETE)
}

/// A pod without a log yet has nothing to show.
fn not_started(context: &Context, pod: &RunPod, problem: &Problem) {
    let why = match problem {
        Problem::Refused(sentence) => sentence.clone(),
        other => other.to_string(),
    };
    context.printer.note(&format!("pod {} ({}): {why}", pod.name, pod.phase.to_lowercase()));
}

fn print(context: &Context, pod: &RunPod, line: &str, several: bool) -> std::io::Result<()> {
    // A terminal shows what an agent printed, and obeys none of it.
    let line = if context.printer.data_is_seen() { shown(line) } else { line.to_owned() };
    let line = if several { format!("{}: {line}\n", pod.name) } else { format!("{line}\n") };
    context.printer.data(line.as_bytes())
}
