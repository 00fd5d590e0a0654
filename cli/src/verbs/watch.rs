//! `agentrun watch`: a run of a cluster, to its end.

use std::pin::pin;

use agentrun_crds::AgentRun;
use anyhow::Context as _;
use futures::TryStreamExt;
use kube::runtime::{WatchStreamExt, watcher};

use super::{COMPLETE, Context, FAILED, INTERRUPTED, get};
use crate::{
    args,
    cluster::{Cluster, problem::Problem, resource},
    local::stop::Stop,
    report::{Report, Standing},
};

/// Says how the run goes on, and shows its result when it is over.
pub(crate) async fn run(arguments: args::Watch, context: &Context) -> anyhow::Result<u8> {
    let cluster = Cluster::connect(&arguments.target).await?;
    let name = &arguments.name;
    // What is not there now is not waited for.
    cluster.run(name).await?;
    let stop = Stop::on_signals(|_| {}).context("listening for signals")?;
    let over = tokio::select! {
        over = follow(&cluster, name, context) => Some(over?),
        () = stop.asked() => None,
    };
    context.printer.end_status();
    let object = cluster.run(name).await?;
    let report = Report::of_resource(resource::typed(object.clone())?);
    context.printer.data(&get::shown(&report, object, arguments.output)?)?;
    Ok(match over {
        None => INTERRUPTED,
        Some(Standing::Complete) => COMPLETE,
        Some(_) => FAILED,
    })
}

/// Watches until the run is over.
async fn follow(cluster: &Cluster, name: &str, context: &Context) -> anyhow::Result<Standing> {
    let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut seen = pin!(watcher(cluster.runs(), only).default_backoff());
    let (mut before, mut listed) = (String::new(), false);
    loop {
        let object = match seen.try_next().await {
            Ok(Some(event)) => match told(event, &mut listed) {
                Told::Is(object) => object,
                Told::Deleted => return Err(Problem::Refused(format!("run `{name}` was deleted")).into()),
                Told::Nothing => continue,
            },
            Ok(None) => anyhow::bail!("the cluster tells no more"),
            Err(watcher::Error::WatchStartFailed(kube::Error::Api(status)) | watcher::Error::WatchError(status)) if status.code == 403 => {
                return Err(Problem::of_status(status.code, &status.reason, &status.message).into());
            }
            // It is tried again.
            Err(error) => {
                tracing::debug!(%error, "watching the run");
                continue;
            }
        };
        let report = Report::of_resource(resource::typed(cluster.value(object)?)?);
        let line = line(&report);
        if line != before {
            if context.printer.talk_is_seen() {
                context.printer.status(line.clone());
            } else {
                context.printer.talk(&line);
            }
            before = line;
        }
        // A status of an earlier generation says nothing about this one.
        if is_current(&report.resource) && matches!(report.phase, Standing::Complete | Standing::Failed) {
            return Ok(report.phase);
        }
    }
}

/// What an event says of the one object that is watched.
#[derive(Debug, PartialEq, Eq)]
enum Told<K> {
    Is(K),
    Deleted,
    Nothing,
}

/// `listed`: whether the object was in the list that is being told.
fn told<K>(event: watcher::Event<K>, listed: &mut bool) -> Told<K> {
    match event {
        watcher::Event::Init => *listed = false,
        watcher::Event::InitApply(object) => {
            *listed = true;
            return Told::Is(object);
        }
        // It was deleted before the list was made: no event of that will come.
        watcher::Event::InitDone if !*listed => return Told::Deleted,
        watcher::Event::InitDone => {}
        watcher::Event::Apply(object) => return Told::Is(object),
        watcher::Event::Delete(_) => return Told::Deleted,
    }
    Told::Nothing
}

fn is_current(resource: &AgentRun) -> bool {
    let observed = resource.status.as_ref().and_then(|status| status.observed_generation);
    resource.metadata.generation.is_none_or(|generation| observed.is_some_and(|observed| observed >= generation))
}

fn line(report: &Report) -> String {
    let (trials, calls) = (&report.summary.trials, &report.summary.calls);
    let mut parts = vec![format!("{} of {} trials", report.ended(), trials.total)];
    let counts = [(trials.running, "running"), (trials.failed, "failed"), (trials.unobserved, "unobserved")];
    parts.extend(counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")));
    parts.push(format!("{} calls ({} cached)", calls.total, calls.cached));
    parts.push(format!("${}", agentrun_eval::decimal::usd(calls.spent_usd)));
    if let Some(best) = report.ranked.first() {
        parts.push(format!("best so far {} {:.1} %", best.combo, best.score * 100.0));
    }
    format!("{} {}: {}", report.name(), report.phase.to_string().to_lowercase(), parts.join(", "))
}

#[cfg(test)]
mod tests {
    use watcher::Event;

    use super::*;

    #[test]
    fn a_list_without_the_run_says_that_it_was_deleted() {
        let all = |events: Vec<Event<u8>>| -> Vec<Told<u8>> {
            let mut listed = false;
            events.into_iter().map(|event| told(event, &mut listed)).collect()
        };
        assert_eq!(all(vec![Event::Init, Event::InitDone]), [Told::Nothing, Told::Deleted]);
        let events = vec![Event::Init, Event::InitApply(1), Event::InitDone, Event::Apply(2), Event::Init, Event::InitDone];
        assert_eq!(all(events), [Told::Nothing, Told::Is(1), Told::Nothing, Told::Is(2), Told::Nothing, Told::Deleted]);
        assert_eq!(all(vec![Event::Delete(1)]), [Told::Deleted]);
    }
}
