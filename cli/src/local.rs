//! A run on this machine: trials as processes, their calls through a proxy in this process.

pub(crate) mod agent;
pub(crate) mod certificates;
pub(crate) mod environment;
pub(crate) mod exchange;
pub(crate) mod identity;
pub(crate) mod ledger;
pub(crate) mod leftover;
pub(crate) mod observed;
pub(crate) mod plan;
pub(crate) mod process;
pub(crate) mod progress;
pub(crate) mod scoring;
pub(crate) mod stop;
pub(crate) mod trial;

use std::{collections::HashMap, sync::Arc, time::Duration};

use agentrun_eval::{
    select::{Next, next},
    summary::summarize,
    trial::{Failure, Observation, Observations, TrialKey, TrialState},
};
use agentrun_hub::{Owner, RunRecord, Store, StoreError};
use jiff::Timestamp;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::{task::JoinSet, time};

use self::{
    progress::Progress,
    trial::{Bench, Ending, Outcome},
};

/// How often the progress is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Files that a process may have open, where the machine allows it.
const OPEN_FILES: u64 = 65_536;

/// Raises the limit on open files as far as may be: each trial has a port, pipes and connections, and the usual 1,024 end at about a hundred.
pub(crate) fn raise_open_files() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let wanted = OPEN_FILES.min(hard);
        if soft < wanted && setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).is_err() {
            tracing::debug!("the limit of {soft} open files cannot be raised");
        }
    }
}

/// A run that belongs to this process.
#[derive(Clone)]
pub(crate) struct Lease {
    pub(crate) store: Arc<Store>,
    pub(crate) run: RunRecord,
    pub(crate) owner: Owner,
}

/// Runs what is left of a run, as many trials at once as `parallelism`, until nothing is left or a stop is asked for. A trial counts once its
/// result is stored.
///
/// # Errors
/// The store cannot be written: running trials are stopped first.
pub(crate) async fn evaluate(
    bench: &Arc<Bench>,
    lease: &Lease,
    observations: &mut Observations,
    parallelism: usize,
    progress: &mut Progress,
) -> Result<(), StoreError> {
    let mut running = JoinSet::new();
    let mut tries: HashMap<TrialKey, u32> = HashMap::new();
    let mut look = time::interval(LOOK);
    let mut broken = None;
    loop {
        if !bench.stop.is_asked()
            && let Err(error) = start(bench, lease, observations, parallelism, &tries, &mut running).await
        {
            broken = Some(error);
            bench.stop.ask();
        }
        if running.is_empty() {
            break;
        }
        let ended = tokio::select! {
            ended = running.join_next() => ended,
            _ = look.tick() => None,
        };
        if let Some(ended) = ended {
            let stored = match ended {
                Ok((key, attempt, started, ending)) => {
                    settle(bench, lease, observations, &mut tries, Attempt { key, number: attempt, started }, ending).await
                }
                // A panic in a trial is a fault of ours; every other trial goes on, and this one is tried again by the next command.
                Err(error) => {
                    tracing::error!("a trial was given up: {error}");
                    Ok(())
                }
            };
            if let Err(error) = stored {
                broken.get_or_insert(error);
                bench.stop.ask();
            }
        }
        if progress.is_due() {
            progress.tell(&summarize(&bench.plan.spec, observations));
        }
    }
    progress.end(&summarize(&bench.plan.spec, observations));
    broken.map_or(Ok(()), Err)
}

/// A started trial.
#[derive(Clone, Copy)]
struct Attempt {
    key: TrialKey,
    number: u32,
    started: Timestamp,
}

type Running = JoinSet<(TrialKey, u32, Timestamp, Ending)>;

async fn start(
    bench: &Arc<Bench>,
    lease: &Lease,
    observations: &mut Observations,
    parallelism: usize,
    tries: &HashMap<TrialKey, u32>,
    running: &mut Running,
) -> Result<(), StoreError> {
    let free = parallelism.saturating_sub(running.len());
    if free == 0 {
        return Ok(());
    }
    let Next::Trials(keys) = next(&bench.plan.spec, observations, free) else {
        return Ok(());
    };
    for key in keys {
        let (started, id) = (Timestamp::now(), observed::id(&bench.plan, key));
        let shared = lease.clone();
        let attempt = blocking(move || shared.store.start(&shared.run, &shared.owner, &id, started)).await?;
        observations.record(key, Observation::bare(TrialState::Running));
        let (bench, pause) = (bench.clone(), pause(tries.get(&key).copied().unwrap_or(0)));
        running.spawn(async move {
            tokio::select! {
                () = time::sleep(pause) => {}
                () = bench.stop.asked() => return (key, attempt, started, Ending::Stopped),
            }
            (key, attempt, started, bench.run(key, attempt.saturating_sub(1)).await)
        });
    }
    Ok(())
}

/// How long to wait before another try: what has failed for want of something needs time to get it.
fn pause(tries: u32) -> Duration {
    if tries == 0 { Duration::ZERO } else { Duration::from_millis(250 << tries.min(6)) }
}

async fn settle(
    bench: &Bench,
    lease: &Lease,
    observations: &mut Observations,
    tries: &mut HashMap<TrialKey, u32>,
    attempt: Attempt,
    ending: Ending,
) -> Result<(), StoreError> {
    let key = attempt.key;
    let outcome = match ending {
        Ending::Stopped => {
            observations.record(key, Observation::bare(TrialState::Pending));
            return Ok(());
        }
        Ending::Fault(failure) => {
            let tried = tries.entry(key).or_default();
            *tried += 1;
            if *tried <= bench.plan.retries {
                tracing::warn!("trial {} is tried again: {}", observed::id(&bench.plan, key).data_id, failure.message);
                observations.record(key, Observation::bare(TrialState::Pending));
                return Ok(());
            }
            given_up(failure)
        }
        Ending::Result(outcome) => *outcome,
    };
    let record = observed::record(observed::id(&bench.plan, key), attempt.number, attempt.started, Timestamp::now(), &outcome);
    let shared = lease.clone();
    let stored = blocking(move || shared.store.finish(&shared.run, &shared.owner, &record)).await;
    // What is not stored does not count.
    let observation = if stored.is_ok() { outcome.observation } else { Observation::bare(TrialState::Pending) };
    observations.record(key, observation);
    stored
}

fn given_up(failure: Failure) -> Outcome {
    Outcome { observation: Observation::bare(TrialState::Failed(failure)), output: None, score_reason: None }
}

/// The store blocks on the disk and on other processes, which the proxy's threads must not.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, StoreError> + Send + 'static) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.expect("the store does not panic")
}
