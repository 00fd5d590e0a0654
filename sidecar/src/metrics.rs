//! What the proxy counts, for Prometheus.

use agentrun_llm::call::{CacheLayer, Capture, Operation};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use rust_decimal::prelude::ToPrimitive;

use crate::record::End;

/// From a stored answer's to a long generation's.
const SECONDS: [f64; 14] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    provider: String,
    operation: &'static str,
    outcome: &'static str,
    cache: &'static str,
    capture: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TokenLabels {
    provider: String,
    direction: &'static str,
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CaptureLabels {
    capture: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    capture: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HandshakeLabels {
    provider: String,
    capture: &'static str,
    reason: &'static str,
}

/// The counters of one proxy.
pub(crate) struct Metrics {
    registry: Registry,
    calls: Family<CallLabels, Counter>,
    tokens: Family<TokenLabels, Counter>,
    usd: Family<KindLabels, Counter<f64>>,
    seconds: Family<KindLabels, Histogram>,
    pub(crate) connections: Gauge,
    pub(crate) sessions: Gauge,
    handshake_failures: Family<HandshakeLabels, Counter>,
    refused: Family<ReasonLabels, Counter>,
    tunnels: Family<CaptureLabels, Counter>,
    tunnelled_bytes: Family<CaptureLabels, Counter>,
    cache_entries: Gauge,
    cache_bytes: Gauge,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("agentrun");
        let metrics = Self {
            calls: Family::default(),
            tokens: Family::default(),
            usd: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            connections: Gauge::default(),
            sessions: Gauge::default(),
            handshake_failures: Family::default(),
            refused: Family::default(),
            tunnels: Family::default(),
            tunnelled_bytes: Family::default(),
            cache_entries: Gauge::default(),
            cache_bytes: Gauge::default(),
            registry: Registry::default(),
        };
        registry.register("calls", "LLM calls that ended", metrics.calls.clone());
        registry.register("tokens", "Tokens of calls whose usage was read", metrics.tokens.clone());
        registry.register("cost_usd", "US dollars spent, and saved by stored answers", metrics.usd.clone());
        registry.register_with_unit("call_duration", "What a client waited for an answer", Unit::Seconds, metrics.seconds.clone());
        registry.register("connections", "Open client connections", metrics.connections.clone());
        registry.register("sessions", "Sessions opened over the control plane", metrics.sessions.clone());
        registry.register(
            "handshake_failures",
            "Connections to LLM hosts whose client did not agree on TLS with us",
            metrics.handshake_failures.clone(),
        );
        registry.register("refused_connections", "Connections that nothing could be done for", metrics.refused.clone());
        registry.register("tunnels", "Connections passed on unread", metrics.tunnels.clone());
        registry.register_with_unit("tunnelled", "Bytes of tunnels that ended", Unit::Bytes, metrics.tunnelled_bytes.clone());
        registry.register("cache_entries", "Stored answers in memory", metrics.cache_entries.clone());
        registry.register_with_unit("cache", "Stored answers in memory", Unit::Bytes, metrics.cache_bytes.clone());
        Self { registry, ..metrics }
    }

    /// Counts a call that ended.
    pub(crate) fn count(&self, provider: &str, operation: Operation, capture: Capture, end: &End) {
        let cache = end.cached.map_or("none", CacheLayer::as_str);
        let (operation, outcome, capture) = (operation.as_str(), end.outcome.as_str(), capture.as_str());
        let labels = CallLabels { provider: provider.to_owned(), operation, outcome, cache, capture };
        self.calls.get_or_create(&labels).inc();
        let kind = if end.is_cached() { "cached" } else { "paid" };
        self.seconds.get_or_create(&KindLabels { kind }).observe(end.took.as_secs_f64());
        if let Some(usage) = &end.facts.usage {
            for (direction, count) in [("input", usage.input_tokens), ("output", usage.output_tokens)] {
                let labels = TokenLabels { provider: provider.to_owned(), direction, kind };
                self.tokens.get_or_create(&labels).inc_by(count.unwrap_or_default());
            }
        }
        let (spent, saved) = end.money();
        for (kind, money) in [("spent", spent), ("saved", saved)] {
            if let Some(money) = money.filter(|money| !money.is_zero()).and_then(|money| money.to_f64()) {
                self.usd.get_or_create(&KindLabels { kind }).inc_by(money);
            }
        }
    }

    /// Counts a handshake that a client broke off.
    pub(crate) fn handshake_failed(&self, provider: &str, capture: Capture, reason: &'static str) {
        let labels = HandshakeLabels { provider: provider.to_owned(), capture: capture.as_str(), reason };
        self.handshake_failures.get_or_create(&labels).inc();
    }

    /// Counts a connection that was closed without a call or a tunnel.
    pub(crate) fn refused(&self, capture: Capture, reason: &'static str) {
        self.refused.get_or_create(&ReasonLabels { capture: capture.as_str(), reason }).inc();
    }

    /// Counts a tunnel that ended.
    pub(crate) fn tunnelled(&self, capture: Capture, bytes: u64) {
        let labels = CaptureLabels { capture: capture.as_str() };
        self.tunnels.get_or_create(&labels).inc();
        self.tunnelled_bytes.get_or_create(&labels).inc_by(bytes);
    }

    /// OpenMetrics text.
    pub(crate) fn text(&self, cache: (u64, u64)) -> String {
        self.cache_entries.set(cache.0.try_into().unwrap_or(i64::MAX));
        self.cache_bytes.set(cache.1.try_into().unwrap_or(i64::MAX));
        let mut text = String::new();
        if let Err(error) = encode(&mut text, &self.registry) {
            tracing::error!(%error, "cannot write metrics");
        }
        text
    }
}
