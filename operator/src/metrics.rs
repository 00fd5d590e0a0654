//! What the operator counts. No object's name is a label: they would grow without bound.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Why a reconcile did not end well.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Failure {
    /// The step that failed.
    pub reason: &'static str,
}

/// A write to the API server.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Write {
    /// `create`, `patch`, `delete`, `deletecollection` or `update`.
    pub verb: &'static str,
    /// The resource, as in `jobs`.
    pub resource: &'static str,
}

/// The counters.
pub struct Metrics {
    registry: Registry,
    reconciles: Counter,
    failures: Family<Failure, Counter>,
    seconds: Histogram,
    busy_seconds: Histogram,
    hub_seconds: Histogram,
    writes: Family<Write, Counter>,
    leads: Gauge,
    is_ready: AtomicBool,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Metrics")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(Self::registry())
    }
}

impl Metrics {
    /// An empty registry under the operator's prefix.
    pub fn registry() -> Registry {
        Registry::with_prefix("agentrun_operator")
    }

    /// Counters in a registry, which others may have put theirs into.
    pub fn new(mut registry: Registry) -> Self {
        let buckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
        let reconciles = Counter::default();
        let failures = Family::default();
        let (seconds, busy_seconds, hub_seconds) = (Histogram::new(buckets), Histogram::new(buckets), Histogram::new(buckets));
        let writes = Family::default();
        let leads = Gauge::default();
        registry.register("reconciles", "AgentRuns looked at", reconciles.clone());
        registry.register("reconcile_failures", "Looks that did not end well, by the step that failed", failures.clone());
        registry.register("reconcile_seconds", "Seconds of a look, without the hub's", seconds.clone());
        registry.register("reconcile_busy_seconds", "Seconds of CPU that a look took", busy_seconds.clone());
        registry.register("hub_seconds", "Seconds that the hub took for a look", hub_seconds.clone());
        registry.register("api_writes", "Writes to the API server", writes.clone());
        registry.register("leader", "Whether this replica leads", leads.clone());
        Self { registry, reconciles, failures, seconds, busy_seconds, hub_seconds, writes, leads, is_ready: AtomicBool::new(false) }
    }

    /// Notes a look at an AgentRun: how long it took in all, how much of that the hub, and how much CPU time.
    pub fn reconciled(&self, seconds: f64, hub: f64, busy: f64) {
        self.reconciles.inc();
        self.busy_seconds.observe(busy);
        self.seconds.observe((seconds - hub).max(0.0));
        self.hub_seconds.observe(hub);
    }

    /// Notes that a look failed.
    pub fn failed(&self, reason: &'static str) {
        self.failures.get_or_create(&Failure { reason }).inc();
    }

    /// Notes a write to the API server.
    pub fn wrote(&self, verb: &'static str, resource: &'static str) {
        self.writes.get_or_create(&Write { verb, resource }).inc();
    }

    /// Notes whether this replica leads.
    pub fn lead(&self, leads: bool) {
        self.leads.set(i64::from(leads));
    }

    /// Says whether this replica can serve.
    pub fn set_ready(&self, is_ready: bool) {
        self.is_ready.store(is_ready, Ordering::Relaxed);
    }

    /// Whether this replica can serve.
    pub fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Relaxed)
    }

    /// The counters as OpenMetrics text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = text::encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_shown() {
        let metrics = Metrics::default();
        metrics.reconciled(0.5, 0.46, 0.002);
        metrics.failed("status");
        metrics.wrote("create", "jobs");
        metrics.wrote("create", "jobs");
        metrics.lead(true);
        let text = metrics.text();
        for line in [
            "agentrun_operator_reconciles_total 1",
            "agentrun_operator_reconcile_failures_total{reason=\"status\"} 1",
            "agentrun_operator_reconcile_seconds_bucket{le=\"0.05\"} 1",
            "agentrun_operator_reconcile_busy_seconds_bucket{le=\"0.0025\"} 1",
            "agentrun_operator_api_writes_total{verb=\"create\",resource=\"jobs\"} 2",
            "agentrun_operator_leader 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
