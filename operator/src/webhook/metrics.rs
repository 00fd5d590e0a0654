//! What admission counts. Requests that are dry runs are not counted: nothing comes of them.

use std::fmt;

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::certificates::Certificates;
use crate::inject::Reason;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    webhook: &'static str,
    verdict: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Skipped {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Which {
    certificate: &'static str,
}

/// The counters.
#[derive(Clone, Debug)]
pub(crate) struct AdmissionMetrics {
    requests: Family<Asked, Counter>,
    injected: Counter,
    skipped: Family<Skipped, Counter>,
    seconds: Histogram,
}

impl AdmissionMetrics {
    /// Counters in a registry, beside when `certificates` end.
    pub(crate) fn new(registry: &mut Registry, certificates: &Certificates) -> Self {
        let metrics = Self {
            requests: Family::default(),
            injected: Counter::default(),
            skipped: Family::default(),
            seconds: Histogram::new([0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0]),
        };
        registry.register("admission_requests", "Requests for admission, by webhook and verdict", metrics.requests.clone());
        registry.register("admission_injected", "Pods that were given a sidecar", metrics.injected.clone());
        registry.register(
            "admission_skipped",
            "Pods that were not given a sidecar, skipped or refused, by reason",
            metrics.skipped.clone(),
        );
        registry.register("admission_seconds", "Seconds of a request for admission", metrics.seconds.clone());
        registry.register_collector(Box::new(Expiry(certificates.clone())));
        metrics
    }

    pub(crate) fn asked(&self, webhook: &'static str, verdict: &'static str, seconds: f64) {
        self.requests.get_or_create(&Asked { webhook, verdict }).inc();
        self.seconds.observe(seconds);
    }

    pub(crate) fn injected(&self) {
        self.injected.inc();
    }

    pub(crate) fn skipped(&self, reason: Reason) {
        self.skipped.get_or_create(&Skipped { reason: reason.name() }).inc();
    }
}

/// Seconds until certificates end, at the time of asking.
#[derive(Debug)]
struct Expiry(Certificates);

impl Collector for Expiry {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let now = Timestamp::now().as_second();
        let gauge = ConstGauge::<i64>::new(0);
        let mut metric =
            encoder.encode_descriptor("certificate_expiry_seconds", "Seconds until a certificate ends", None, gauge.metric_type())?;
        for (certificate, end) in self.0.ends() {
            let Some(end) = end else { continue };
            ConstGauge::new(end - now).encode(metric.encode_family(&Which { certificate })?)?;
        }
        Ok(())
    }
}
