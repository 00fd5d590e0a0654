//! One AgentRun of 100,000 trials, measured on a real API server: 20,000 of them pods on KWOK's nodes, the others told by this program, which
//! writes their Jobs' status as the Job controller does and speaks to the hub as their sidecars do. Operator and hub are the real programs,
//! here as processes, so that the kernel says what they take. Prints; the process fails where the run's result is wrong, never over a figure.
//!
//! `tests/bench/scale` starts it, with everything that it needs.

#![allow(clippy::print_stdout, reason = "a benchmark prints")]

mod figures;
mod front;
mod pods;
mod process;
mod settings;
mod shape;
mod sidecar;
mod stage;
mod turns;
mod written;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser as _;
use kube::Client;
use serde_json::Value;

use crate::figures::Watched;
use crate::front::{Front, Person};
use crate::settings::Settings;
use crate::shape::Shape;
use crate::sidecar::Hub;
use crate::stage::Stage;
use crate::turns::Turns;

/// How often people are told how far it is.
const TOLD: Duration = Duration::from_secs(10);

/// What every part of the measurement knows.
pub(crate) struct Bench {
    /// The API server, as its administrator.
    pub(crate) client: Client,
    /// The run's trials.
    pub(crate) shape: Shape,
    /// The hub's pods' side.
    pub(crate) hub: Hub,
    /// Who may play a trial.
    pub(crate) turns: Turns,
}

#[tokio::main]
async fn main() -> Result<()> {
    let settings = Settings::parse();
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        bail!("another provider of cryptography is installed");
    }
    let shape = Shape::new(&settings)?;
    let client = Client::try_default().await.context("find the cluster: KUBECONFIG names it")?;
    let mut stage = Stage::new(client, settings);
    let measured = tokio::select! {
        measured = measure(&mut stage, shape) => measured,
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
    };
    let cleared = stage.clear().await.context("remove what was made on the cluster");
    if let (Err(_), Err(error)) = (&measured, &cleared) {
        println!("{error:#}");
    }
    measured.and(cleared)
}

async fn measure(stage: &mut Stage, shape: Shape) -> Result<()> {
    println!("{shape}");
    let jobs = Arc::new(front::Jobs::default());
    let operator_front = Front::start(Person::Operator, shape, jobs.clone()).await?;
    let hub_front = Front::start(Person::Hub, shape, jobs.clone()).await?;
    stage.start(&operator_front, &hub_front).await?;
    let hub = Hub::new(stage.hub_address(), stage.hub_ca().await?)?;
    let bench = Arc::new(Bench { client: stage.client.clone(), shape, hub, turns: Turns::new(&stage.settings) });
    let before = figures::api_writes(&stage.client).await?;
    stage.apply_run(shape).await?;
    let begun = Instant::now();
    let written = written::follow(bench.clone(), jobs);
    let pods = pods::follow(bench.clone());
    let watched = tokio::select! {
        ended = until_ended(stage, &operator_front, begun) => ended?,
        ended = written => bail!("the Jobs are written no more: {:#}", ended.err().unwrap_or_else(|| anyhow::anyhow!("no Job is left"))),
        ended = pods => bail!("the pods' sidecars speak no more: {:#}", ended.err().unwrap_or_else(|| anyhow::anyhow!("no pod is left"))),
    };
    let seconds = begun.elapsed().as_secs_f64();
    let left = stage.pods_left().await?;
    let after = figures::api_writes(&stage.client).await?;
    let told = figures::Told { shape, seconds, watched, writes: after - before, pods_left: left };
    figures::tell(&told, stage, &operator_front, &hub_front, &bench).await?;
    check(&told.watched.last, shape, &bench)?;
    ensure!(left == 0, "{left} pods are left of an ended run");
    println!("the result is right: every trial counted once, {} combos ranked as they are", shape.combos);
    Ok(())
}

/// Looks at the run until it has ended.
async fn until_ended(stage: &Stage, operator: &Front, begun: Instant) -> Result<Watched> {
    let mut watched = Watched::default();
    let mut told = Instant::now();
    loop {
        let run = stage.run().await?;
        watched.look(&run);
        let text = |pointer: &str| run.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let phase = text("/status/phase");
        if told.elapsed() >= TOLD {
            told = Instant::now();
            println!(
                "{:>5.0} s  {} of the trials, {} writes by the operator",
                begun.elapsed().as_secs_f64(),
                text("/status/progress"),
                operator.writes()
            );
        }
        match phase.as_str() {
            "Complete" => return Ok(watched),
            "Failed" => bail!("the run failed: {}", run["status"]["conditions"]),
            _ if begun.elapsed() > stage.settings.patience() => bail!("the run did not end in time: {}", run["status"]),
            _ => tokio::time::sleep(Duration::from_secs(1)).await,
        }
    }
}

/// Whether the status tells what was played.
fn check(status: &Value, shape: Shape, bench: &Bench) -> Result<()> {
    let trials = &status["trials"];
    ensure!(trials["total"] == shape.trials() && trials["succeeded"] == shape.trials(), "not every trial has succeeded: {trials}");
    ensure!(status["calls"]["total"] == shape.trials() * shape::CALLS, "calls are missing or counted twice: {}", status["calls"]);
    let results = status["results"].as_array().context("the status has no ranking")?;
    ensure!(!results.is_empty(), "the ranking is empty");
    for (position, row) in results.iter().enumerate() {
        let combo = shape.combos - 1 - position as u64;
        let name = bench.hub.combo(combo).with_context(|| format!("no trial of combo {combo} was seen"))?;
        ensure!(row["combo"] == name, "rank {} is {}, and should be {name}", position + 1, row["combo"]);
        let score: f64 = row["score"].as_str().and_then(|score| score.parse().ok()).context("a score is no number")?;
        let expected = shape.right(combo) as f64 / shape.cells as f64;
        ensure!((score - expected).abs() < 1e-3, "{name} scores {score}, and should {expected}");
    }
    Ok(())
}
