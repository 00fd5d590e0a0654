//! The controller of AgentRuns: look ([`observe`]), decide ([`plan`]), do ([`apply`]).

pub mod apply;
pub mod cleanup;
pub mod collection;
pub mod held_up;
pub mod observe;
pub mod plan;
pub mod removal;
pub mod watch;

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::DynamicObject;
use kube::runtime::controller::Action;
use thiserror::Error;
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

use crate::busy::Busy;
use crate::context::Context;
use crate::run::Run;

/// A look is over after so long, whatever hangs.
const LOOK_SECONDS: u64 = 150;
/// When to look again for what is expected at any moment.
const SOON: Duration = Duration::from_secs(1);
/// The longest pause after failed looks.
const MAX_PAUSE: Duration = Duration::from_secs(120);

/// Why a look at an AgentRun failed. Asking again may help.
#[derive(Debug, Error)]
pub enum Error {
    /// Its dataset.
    #[error("read the run's dataset")]
    Dataset(#[source] Box<kube::Error>),
    /// Its Jobs.
    #[error("make or change the run's Jobs")]
    Job(#[source] Box<kube::Error>),
    /// Its pods.
    #[error("look at or remove the run's pods")]
    Pods(#[source] Box<kube::Error>),
    /// Its namespace.
    #[error("look at the run's namespace")]
    Namespace(#[source] Box<kube::Error>),
    /// Events about its Jobs.
    #[error("read the Events of the run's Jobs")]
    Events(#[source] Box<kube::Error>),
    /// Its status.
    #[error("write the run's status")]
    Status(#[source] Box<kube::Error>),
    /// Its finalizer.
    #[error("set the run's finalizer")]
    Finalizer(#[source] Box<kube::Error>),
    /// A task of ours.
    #[error("wait for a task")]
    Task(#[source] tokio::task::JoinError),
    /// All of it.
    #[error("look at the run within {LOOK_SECONDS} s")]
    Timeout,
}

impl Error {
    fn reason(&self) -> &'static str {
        match self {
            Self::Dataset(_) => "dataset",
            Self::Job(_) => "job",
            Self::Pods(_) => "pods",
            Self::Namespace(_) => "namespace",
            Self::Events(_) => "events",
            Self::Status(_) => "status",
            Self::Finalizer(_) => "finalizer",
            Self::Task(_) => "task",
            Self::Timeout => "timeout",
        }
    }
}

/// The field manager of one concern.
pub fn manager(concern: &str) -> String {
    format!("{}-{concern}", agentrun_protocol::names::MANAGER)
}

async fn reconcile(object: Arc<DynamicObject>, context: Arc<Context>) -> Result<Action, Error> {
    // Who has just begun to lead would take a run for one without Jobs. A watch that has ended ends this process, too.
    context.jobs.wait_until_ready().await.ok();
    let mut run = Run::read(&object);
    let mut memory = context.take(&run.uid);
    if let Some(status) = &memory.status {
        run.status = status.clone();
    }
    let span = tracing::debug_span!(
        "reconcile",
        namespace = run.namespace,
        run = run.name,
        generation = run.generation,
        outcome = Empty,
        otel.status_code = Empty
    );
    let begun = Instant::now();
    let look = tokio::time::timeout(Duration::from_secs(LOOK_SECONDS), turn(&context, &run, &mut memory));
    let (looked, busy) = Busy::new(look).instrument(span.clone()).await;
    let outcome = looked.unwrap_or(Err(Error::Timeout));
    trace(&span, &outcome);
    let hub_seconds = *outcome.as_ref().map_or(&0.0, |(_, seconds)| seconds);
    context.metrics.reconciled(begun.elapsed().as_secs_f64(), hub_seconds, busy.as_secs_f64());
    let is_gone = run.deleted_at.is_some() && matches!(outcome, Ok((None, _)));
    if outcome.is_ok() {
        memory.failures = 0;
    }
    if !is_gone {
        context.keep(&run.uid, memory);
    }
    let (again, _) = outcome?;
    Ok(again.map_or_else(Action::await_change, Action::requeue))
}

/// How a look ended: the words of the metric where it failed.
fn trace(span: &Span, outcome: &Result<(Option<Duration>, f64), Error>) {
    span.record(
        "outcome",
        match outcome {
            Ok((Some(_), _)) => "again",
            Ok((None, _)) => "settled",
            Err(error) => error.reason(),
        },
    );
    if outcome.is_err() {
        span.record("otel.status_code", "ERROR");
    }
}

/// One look, and what follows from it: when to look again, and the hub's seconds.
async fn turn(context: &Context, run: &Run, memory: &mut crate::context::Memory) -> Result<(Option<Duration>, f64), Error> {
    let now = Timestamp::now();
    if run.deleted_at.is_some() {
        if !run.has_finalizer {
            return Ok((None, 0.0));
        }
        let jobs = context.jobs.state();
        let ours = jobs.iter().filter(|job| job.owner_references().iter().any(|owner| owner.uid == run.uid));
        let ending: Vec<bool> = ours.map(|job| job.metadata.deletion_timestamp.is_some()).collect();
        return Ok((cleanup::clean(context, run, &ending, now).await?, 0.0));
    }
    if !run.has_finalizer {
        cleanup::set_finalizer(context, run, true).await?;
    }
    let observe::Look { mut observed, hub_seconds } = observe::look(context, run, memory, now).await?;
    let mut plan = plan::plan(run, &observed, context.settings, &*context.templates, now);
    // The datapoints are known by the status: it is there before the first Job is.
    let is_first = run.dataset().is_none() && plan.status.get("dataset").is_some();
    if is_first {
        apply::status(context, run, &plan, memory).await?;
    }
    if let Some(refused) = apply::jobs(context, run, &plan).await? {
        memory.refused = (!refused.is_final).then(|| refused.clone());
        observed.refused = Some(refused);
        plan = plan::plan(run, &observed, context.settings, &*context.templates, now);
    }
    apply::give_up(context, run, &plan.give_up, memory).await?;
    let idle = plan.again.is_none() || observed.jobs.values().all(|job| job.active == 0);
    removal::harvest(context, run, &observed, memory, idle).await?;
    let is_written = if is_first { false } else { apply::status(context, run, &plan, memory).await? };
    if plan.again.is_none() && !memory.swept && is_written {
        let runs = observed
            .jobs
            .values()
            .map(|job| job.active)
            .chain(observed.scoring.iter().map(|scoring| scoring.active))
            .any(|active| active > 0);
        if memory.removal.is_none() && !runs {
            removal::sweep(context, run, &observed, memory).await?;
        }
        if !memory.swept {
            return Ok((Some(Duration::from_secs(2)), hub_seconds));
        }
    }
    let again = if is_written { plan.again } else { Some(plan.again.unwrap_or(SOON)) };
    let again = if memory.inquiry.is_some() { again.map(|again| again.min(SOON)) } else { again };
    Ok((again, hub_seconds))
}

/// After a failed look: each pause is twice as long as the one before.
fn pause(object: Arc<DynamicObject>, error: &Error, context: Arc<Context>) -> Action {
    let failures = context.count_failure(&object.uid().unwrap_or_default());
    let pause = backoff(failures);
    context.metrics.failed(error.reason());
    tracing::warn!(
        namespace = object.namespace().unwrap_or_default(),
        run = object.name_any(),
        error = %crate::sentence(error),
        pause = pause.as_secs_f64(),
        "a look at a run failed"
    );
    Action::requeue(pause)
}

fn backoff(failures: u32) -> Duration {
    (Duration::from_millis(500) * 2_u32.pow(failures.clamp(1, 10) - 1)).min(MAX_PAUSE)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::watch::Watches;
    use super::*;
    use crate::context::{Clients, resource};
    use crate::hub::{Hub, HubAddress};
    use crate::inject::Installation;
    use crate::metrics::Metrics;
    use crate::templates::Injected;

    fn context() -> Context {
        let client = crate::testing::answering(Vec::new());
        let address = HubAddress { url: "https://hub.invalid".into(), server_name: None, token_file: "none".into() };
        let watches = Watches::default();
        let authority = tokio::sync::watch::channel(String::new()).1;
        let reporter = kube::runtime::events::Reporter { controller: "test".into(), instance: None };
        Context {
            hub: Hub::new(address, authority.clone()),
            jobs: watches.jobs(),
            failed: watches.failed(),
            templates: Box::new(Injected::new(Installation::default(), authority)),
            settings: plan::Settings { pending_seconds: 600, image_seconds: 120 },
            recorder: kube::runtime::events::Recorder::new(client.clone(), reporter),
            metrics: Arc::new(Metrics::new(Metrics::registry())),
            hub_patience: Duration::from_secs(1),
            memory: Default::default(),
            clients: Clients { prompt: client.clone(), patient: client },
        }
    }

    #[tokio::test]
    async fn each_look_is_a_span_that_says_how_it_ended() {
        let told = crate::traces::tests::Told::begin().await;
        let context = Arc::new(context());
        // One whose pods cannot be looked for, and one that is gone.
        let mut run = DynamicObject::new("math", &resource()).within("evals");
        run.metadata.generation = Some(3);
        reconcile(Arc::new(run.clone()), context.clone()).await.unwrap_err();
        run.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::UNIX_EPOCH));
        reconcile(Arc::new(run), context).await.unwrap();
        let spans = told.spans().await;
        let looks = spans.iter().filter(|(name, ..)| name == "reconcile");
        let words = |said: &BTreeMap<String, String>| ["namespace", "run", "generation", "outcome"].map(|word| said[word].clone());
        let looks: Vec<_> = looks.map(|(_, said, failed)| (words(said), *failed)).collect();
        let expected =
            [("pods", true), ("settled", false)].map(|(outcome, failed)| (["evals", "math", "3", outcome].map(str::to_owned), failed));
        assert_eq!(looks, expected);
    }

    #[test]
    fn pauses_grow_up_to_a_bound() {
        let pauses: Vec<f64> = [0, 1, 2, 3, 9, 10, u32::MAX].into_iter().map(|failures| backoff(failures).as_secs_f64()).collect();
        assert_eq!(pauses, [0.5, 0.5, 1.0, 2.0, 120.0, 120.0, 120.0]);
    }
}
