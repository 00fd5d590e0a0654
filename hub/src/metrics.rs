//! What the hub counts, for Prometheus.

use std::time::Duration;

use http::{Method, StatusCode};
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

/// From a stored answer's to a long wait's.
const SECONDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 20.0, 60.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    /// The route, not the path: it names no run.
    path: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PathLabels {
    path: String,
}

/// What was found under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Found {
    /// A stored answer.
    Stored,
    /// The answer of a leader that was waited for.
    Shared,
    /// Nothing, and the caller leads.
    Leads,
    /// Nothing, and the caller asks upstream by itself.
    Nothing,
    /// Another leads still.
    Undecided,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FoundLabels {
    found: Found,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KnownLabels {
    known: &'static str,
}

/// The method as a label. Anybody may ask with a method of their own, so only these have a series each.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::PUT => "PUT",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

/// The counters of one hub.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    seconds: Family<PathLabels, Histogram>,
    callers: Family<KnownLabels, Counter>,
    found: Family<FoundLabels, Counter>,
    batches: Counter,
    batch_bytes: Counter,
    leases: Gauge,
    full: Gauge,
    pub(crate) connections: Gauge,
    pub(crate) refused_connections: Counter,
    pub(crate) removed_runs: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self {
            registry: Registry::default(),
            requests: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            callers: Family::default(),
            found: Family::default(),
            batches: Counter::default(),
            batch_bytes: Counter::default(),
            leases: Gauge::default(),
            full: Gauge::default(),
            connections: Gauge::default(),
            refused_connections: Counter::default(),
            removed_runs: Counter::default(),
        };
        let mut registry = Registry::with_prefix("agentrun_hub");
        registry.register("requests", "Requests that were answered", metrics.requests.clone());
        registry.register_with_unit("request_duration", "How long answers took", Unit::Seconds, metrics.seconds.clone());
        registry.register("callers", "Requests by whether their token was good", metrics.callers.clone());
        registry.register("cache_requests", "Answers asked for, by what was found", metrics.found.clone());
        registry.register("batches", "Batches of records that arrived", metrics.batches.clone());
        registry.register_with_unit("records", "Records that arrived", Unit::Bytes, metrics.batch_bytes.clone());
        registry.register("leases", "Keys that a pod leads", metrics.leases.clone());
        registry.register("store_full", "1 while something waits that the store has no room for", metrics.full.clone());
        registry.register("connections", "Open connections", metrics.connections.clone());
        registry.register("refused_connections", "Connections refused as there were too many", metrics.refused_connections.clone());
        registry.register("removed_runs", "Runs whose data was removed as it was too old", metrics.removed_runs.clone());
        Self { registry, ..metrics }
    }
}

impl Metrics {
    /// Counts a request that was answered.
    pub(crate) fn answered(&self, method: &Method, path: &str, status: StatusCode, took: Duration) {
        let labels = RequestLabels { method: known(method), path: path.to_owned(), status: status.as_u16() };
        self.requests.get_or_create(&labels).inc();
        self.seconds.get_or_create(&PathLabels { path: path.to_owned() }).observe(took.as_secs_f64());
    }

    /// Counts a caller.
    pub(crate) fn authenticated(&self, known: bool) {
        self.callers.get_or_create(&KnownLabels { known: if known { "true" } else { "false" } }).inc();
    }

    /// Counts a question for an answer.
    pub(crate) fn found(&self, found: Found) {
        self.found.get_or_create(&FoundLabels { found }).inc();
    }

    /// Counts a batch of records.
    pub(crate) fn batch(&self, bytes: usize) {
        self.batches.inc();
        self.batch_bytes.inc_by(bytes as u64);
    }

    /// OpenMetrics text.
    pub(crate) fn text(&self, leases: usize, is_full: bool) -> String {
        self.leases.set(i64::try_from(leases).unwrap_or(i64::MAX));
        self.full.set(i64::from(is_full));
        let mut text = String::new();
        if let Err(error) = encode(&mut text, &self.registry) {
            tracing::error!(%error, "cannot write metrics");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_of_callers_own_make_no_series() {
        let metrics = Metrics::default();
        for method in ["GET", "M1", "M2", "get", "PATCH"] {
            metrics.answered(&method.parse().unwrap(), "/v1/runs", StatusCode::METHOD_NOT_ALLOWED, Duration::ZERO);
        }
        let text = metrics.text(0, false);
        let series: Vec<&str> = text.lines().filter(|line| line.starts_with("agentrun_hub_requests_total")).collect();
        assert_eq!(series.len(), 2, "{text}");
        assert!(text.contains(r#"requests_total{method="other",path="/v1/runs",status="405"} 4"#), "{text}");
    }
}
