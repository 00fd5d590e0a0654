//! The figures, each beside what it must be.

use std::fmt::Display;

use anyhow::{Context as _, Result};
use kube::Client;
use serde_json::Value;

use crate::Bench;
use crate::front::Front;
use crate::shape::Shape;
use crate::stage::Stage;

const MEGABYTE: f64 = 1e6;
/// What an operator must not exceed, bytes.
const OPERATOR_BYTES: f64 = 200.0 * MEGABYTE;
/// What a status must not, bytes.
const STATUS_BYTES: f64 = 65_536.0;
/// What 99 of 100 looks must not take, seconds.
const LOOK_SECONDS: f64 = 0.1;
/// What the operator must not write to the API server, for a trial.
const WRITES: f64 = 0.05;

/// What was seen of the AgentRun while it ran.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    /// The last status.
    pub(crate) last: Value,
    largest: usize,
}

impl Watched {
    /// Looks at an AgentRun.
    pub(crate) fn look(&mut self, run: &Value) {
        self.last = run["status"].clone();
        self.largest = self.largest.max(self.last.to_string().len());
    }
}

/// What is told at the end.
pub(crate) struct Told {
    /// The run.
    pub(crate) shape: Shape,
    /// From its creation to its end.
    pub(crate) seconds: f64,
    /// Its status.
    pub(crate) watched: Watched,
    /// Writes to the API server, by everybody.
    pub(crate) writes: f64,
    /// Pods of it that were left.
    pub(crate) pods_left: usize,
}

/// Prints everything.
///
/// # Errors
/// A program does not say what it took.
pub(crate) async fn tell(told: &Told, stage: &Stage, operator_front: &Front, hub_front: &Front, bench: &Bench) -> Result<()> {
    let operator = stage.operator.as_ref().context("the operator runs")?;
    let hub = stage.hub.as_ref().context("the hub runs")?;
    let metrics = stage.operator_metrics().await?;
    let trials = told.shape.trials() as f64;
    let looks = Histogram::read(&metrics, "agentrun_operator_reconcile_seconds")?;
    let busy = Histogram::read(&metrics, "agentrun_operator_reconcile_busy_seconds")?;
    let hub_looks = Histogram::read(&metrics, "agentrun_operator_hub_seconds")?;
    let peak = operator.peak_bytes()? as f64;
    let writes = operator_front.writes() as f64 / trials;
    println!("\n{}: complete after {:.0} s", told.shape, told.seconds);
    let p99 = looks.quantile(0.99);
    verdict(peak < OPERATOR_BYTES, "operator, peak resident memory", format!("{:.1} MB", peak / MEGABYTE), "< 200 MB");
    verdict(told.watched.largest as f64 <= STATUS_BYTES, "status, largest", format!("{} bytes", told.watched.largest), "<= 65,536 bytes");
    let milliseconds = |seconds: f64| format!("<= {:.1} ms", seconds * 1e3);
    verdict(p99 <= LOOK_SECONDS, "reconcile p99, all but the hub's part", milliseconds(p99), "<= 100 ms");
    let own = busy.quantile(0.99);
    verdict(own <= LOOK_SECONDS, "reconcile p99, the operator's CPU", milliseconds(own), "<= 100 ms");
    verdict(writes < WRITES, "operator's API writes a trial", format!("{writes:.4}"), "< 0.05");
    verdict(told.pods_left == 0, "pods left", told.pods_left, "0");
    println!(
        "operator: {:.1} s of CPU; {} looks, p50 <= {:.1} ms, mean {:.1} ms, {:.2} % over 100 ms; the hub's part p50 <= {:.0} ms, p99 <= {:.0} ms",
        operator.cpu_seconds()?,
        looks.count,
        looks.quantile(0.5) * 1e3,
        looks.sum / looks.count * 1e3,
        looks.beyond(LOOK_SECONDS) * 100.0,
        hub_looks.quantile(0.5) * 1e3,
        hub_looks.quantile(0.99) * 1e3,
    );
    println!("operator's requests: {}", listed(operator_front));
    println!("operator's own count of writes: {}", own_count(&metrics));
    let seconds = bench.hub.seconds();
    let quantile = |share: f64| seconds.get((seconds.len().saturating_sub(1) as f64 * share) as usize).copied().unwrap_or_default() * 1e3;
    println!(
        "hub: peak {:.1} MB, {:.1} s of CPU; {} requests, a trial's four took {:.1} ms (p50), {:.1} ms (p99); its own requests: {}",
        hub.peak_bytes()? as f64 / MEGABYTE,
        hub.cpu_seconds()?,
        bench.hub.requests(),
        quantile(0.5),
        quantile(0.99),
        listed(hub_front),
    );
    println!("API server: {:.0} writes by everybody, {:.3} a trial", told.writes, told.writes / trials);
    Ok(())
}

fn verdict(is_met: bool, what: &str, measured: impl Display, bar: &str) {
    println!("{:<6}  {what:<40} {measured:>16}   must be {bar}", if is_met { "met" } else { "MISSED" });
}

/// Each kind of request with how many there were, and the API server's mean and longest time for one in milliseconds.
fn listed(front: &Front) -> String {
    let counts = front.counts();
    let lines = counts.iter().map(|(what, count)| {
        let mean = count.seconds / count.requests as f64;
        format!("{what} {} ({:.1}, {:.0} ms)", count.requests, mean * 1e3, count.slowest * 1e3)
    });
    lines.collect::<Vec<_>>().join(", ")
}

/// The operator's counter of writes, line by line.
fn own_count(metrics: &str) -> String {
    let lines = metrics.lines().filter_map(|line| line.strip_prefix("agentrun_operator_api_writes_total"));
    lines.collect::<Vec<_>>().join(", ")
}

/// Requests that the API server has served and that wrote something, since it was started.
///
/// # Errors
/// It does not tell.
pub(crate) async fn api_writes(client: &Client) -> Result<f64> {
    let text = client.request_text(http::Request::get("/metrics").body(Vec::new())?).await.context("read the API server's counters")?;
    let writes = text.lines().filter(|line| {
        let is_write = ["POST", "PUT", "PATCH", "APPLY", "DELETE"].iter().any(|verb| line.contains(&format!("verb=\"{verb}")));
        line.starts_with("apiserver_request_total{") && is_write && !line.contains("reviews\"")
    });
    Ok(writes.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
}

/// A histogram of Prometheus'.
struct Histogram {
    /// Upper bound and how many were at most so large.
    buckets: Vec<(f64, f64)>,
    count: f64,
    sum: f64,
}

impl Histogram {
    fn read(text: &str, name: &str) -> Result<Self> {
        let mut buckets = Vec::new();
        let (mut count, mut sum) = (None, None);
        for line in text.lines() {
            let Some((rest, value)) = line.strip_prefix(name).and_then(|rest| rest.rsplit_once(' ')) else { continue };
            let value: f64 = value.parse().with_context(|| format!("read {line}"))?;
            match rest {
                "_count" => count = Some(value),
                "_sum" => sum = Some(value),
                _ => {
                    let bound = rest.strip_prefix("_bucket{le=\"").and_then(|rest| rest.strip_suffix("\"}"));
                    buckets.extend(bound.map(|bound| (bound.parse().unwrap_or(f64::INFINITY), value)));
                }
            }
        }
        let missing = || format!("the operator does not tell {name}");
        Ok(Self { buckets, count: count.with_context(missing)?, sum: sum.with_context(missing)? })
    }

    /// The bucket's bound that the share is under.
    fn quantile(&self, share: f64) -> f64 {
        self.buckets.iter().find(|(_, count)| *count >= self.count * share).map_or(f64::INFINITY, |(bound, _)| *bound)
    }

    /// The share that is over a bucket's bound.
    fn beyond(&self, bound: f64) -> f64 {
        let within = self.buckets.iter().filter(|(upper, _)| *upper <= bound).map(|(_, count)| *count).fold(0.0, f64::max);
        1.0 - within / self.count
    }
}
