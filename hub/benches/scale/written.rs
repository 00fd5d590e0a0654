//! Jobs without pods: their status is written as the Job controller writes it, once a second while something changes.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use agentrun_protocol::names::{CHUNK_LABEL, COMBO_LABEL};
use anyhow::{Context as _, Result};
use futures::TryStreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::Bench;
use crate::front::{self, Jobs, MANAGED_BY};
use crate::shape::{Cell, NAMESPACE};

/// As the Job controller's: changes of a Job are gathered for so long.
const GATHERED: Duration = Duration::from_secs(1);

/// How much of a Job the operator lets run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window {
    suspend: bool,
    parallelism: u64,
}

struct Written {
    name: String,
    combo: u64,
    chunk: u64,
    completions: u64,
    started: Timestamp,
}

/// Follows the run's Jobs for ever: notes them all, and plays those that have no pods.
///
/// # Errors
/// The API server's, or the hub's.
pub(crate) async fn follow(bench: Arc<Bench>, jobs: Arc<Jobs>) -> Result<()> {
    let api: Api<Job> = Api::namespaced(bench.client.clone(), NAMESPACE);
    let mut changes = Box::pin(watcher(api, watcher::Config::default()).default_backoff().applied_objects());
    let mut windows: HashMap<String, watch::Sender<Window>> = HashMap::new();
    let mut playing = JoinSet::new();
    loop {
        let job = tokio::select! {
            job = changes.try_next() => job.context("watch the Jobs")?.context("the watch of the Jobs has ended")?,
            Some(ended) = playing.join_next() => {
                ended.context("play a Job")??;
                continue;
            }
        };
        let number = |label: &str| job.labels().get(label)?.parse::<u64>().ok();
        let (Some(combo), Some(chunk), Some(spec)) = (number(COMBO_LABEL), number(CHUNK_LABEL), &job.spec) else { continue };
        let uid = job.uid().unwrap_or_default();
        jobs.note(combo, chunk, job.name_any(), uid.clone());
        if spec.managed_by.as_deref() != Some(MANAGED_BY) || job.metadata.deletion_timestamp.is_some() {
            continue;
        }
        let count = |value: Option<i32>| u64::try_from(value.unwrap_or_default()).unwrap_or_default();
        let window = Window { suspend: spec.suspend == Some(true), parallelism: count(spec.parallelism) };
        if let Some(known) = windows.get(&uid) {
            known.send_if_modified(|before| std::mem::replace(before, window) != window);
            continue;
        }
        let (sender, receiver) = watch::channel(window);
        windows.insert(uid, sender);
        let written = Written { name: job.name_any(), combo, chunk, completions: count(spec.completions), started: Timestamp::now() };
        playing.spawn(play(bench.clone(), written, receiver));
    }
}

async fn play(bench: Arc<Bench>, job: Written, mut window: watch::Receiver<Window>) -> Result<()> {
    let mut running = JoinSet::new();
    let mut done = BTreeSet::new();
    let mut next = 0;
    let mut written = None;
    let mut ticks = tokio::time::interval(GATHERED);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while (done.len() as u64) < job.completions {
        let now = *window.borrow_and_update();
        while !now.suspend && (running.len() as u64) < now.parallelism && next < job.completions {
            let cell = Cell { combo: job.combo, chunk: job.chunk, index: next };
            running.spawn(trial(bench.clone(), cell));
            next += 1;
        }
        tokio::select! {
            Some(ended) = running.join_next() => {
                done.insert(ended.context("play a trial")??);
            }
            changed = window.changed() => changed.context("the Job is not followed any more")?,
            _ = ticks.tick() => {
                let state = (done.len(), running.len());
                if written != Some(state) {
                    write(&bench.client, &job, &done, running.len()).await?;
                    written = Some(state);
                }
            }
        }
    }
    write(&bench.client, &job, &done, 0).await
}

async fn trial(bench: Arc<Bench>, cell: Cell) -> Result<u64> {
    let _turn = bench.turns.next().await?;
    bench.hub.pooled(&bench.shape, cell, &front::token_of(cell)).await?;
    Ok(cell.index)
}

async fn write(client: &Client, job: &Written, done: &BTreeSet<u64>, active: usize) -> Result<()> {
    let time = |time: Timestamp| Timestamp::from_second(time.as_second()).unwrap_or(time).to_string();
    let mut status = json!({
        "startTime": time(job.started), "active": active, "ready": active, "terminating": 0, "succeeded": done.len(), "failed": 0,
        "completedIndexes": ranges(done), "uncountedTerminatedPods": {},
    });
    if done.len() as u64 == job.completions {
        let now = time(Timestamp::now());
        let condition = |kind: &str| json!({"type": kind, "status": "True", "reason": "CompletionsReached", "message": "", "lastProbeTime": now, "lastTransitionTime": now});
        status["completionTime"] = json!(now);
        status["conditions"] = json!([condition("SuccessCriteriaMet"), condition("Complete")]);
    }
    let api: Api<Job> = Api::namespaced(client.clone(), NAMESPACE);
    let patch: Patch<Value> = Patch::Merge(json!({"status": status}));
    api.patch_status(&job.name, &PatchParams::default(), &patch).await.with_context(|| format!("write the status of Job {}", job.name))?;
    Ok(())
}

/// As Kubernetes writes indexes: `0-4,7`.
fn ranges(indexes: &BTreeSet<u64>) -> String {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for index in indexes {
        match ranges.last_mut() {
            Some(last) if last.1 + 1 == *index => last.1 = *index,
            _ => ranges.push((*index, *index)),
        }
    }
    let texts = ranges.iter().map(|(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") });
    texts.collect::<Vec<_>>().join(",")
}
