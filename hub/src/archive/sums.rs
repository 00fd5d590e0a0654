//! What calls add up to, by their records: the same rules as in the sidecar and on one machine.

use agentrun_eval::trial::Measures;
use agentrun_llm::call::{CallRecord, Capture, Operation, Outcome};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// The most seconds that a call or a trial counts with: what is longer is no measurement, and sums stay finite.
const MOST_SECONDS: f64 = 1e9;

/// What calls add up to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Sums {
    /// Calls that ended, of every outcome.
    pub(crate) calls: u64,
    /// Calls answered without paying.
    pub(crate) cached: u64,
    /// Calls without a good answer.
    pub(crate) failed: u64,
    /// Calls that no upstream answered.
    pub(crate) unanswered: u64,
    /// Answers whose usage could not be read.
    pub(crate) unreadable: u64,
    /// Answers with usage whose model has no price.
    pub(crate) unpriced: u64,
    /// US dollars paid.
    pub(crate) spent: Decimal,
    /// US dollars that cached answers would have cost.
    pub(crate) saved: Decimal,
    /// The calls' latencies; of cached ones the original's.
    pub(crate) call_seconds: f64,
    /// The part of `call_seconds` that cached calls did not take in real time.
    pub(crate) cached_seconds: f64,
    /// Input tokens, where known.
    pub(crate) input_tokens: u64,
    /// Output tokens, where known.
    pub(crate) output_tokens: u64,
    /// Calls by how they were captured: connect, dns, base-url, session.
    pub(crate) captured: [u64; 4],
}

/// The names of [`Sums::captured`], as records have them.
pub(crate) const CAPTURES: [&str; 4] = ["connect", "dns", "base-url", "session"];

impl Sums {
    /// One call's.
    pub(crate) fn of(record: &CallRecord) -> Self {
        let complete = record.status_code == 200;
        let latency = seconds(record.latency_seconds);
        let took = seconds(record.timestamp.duration_since(record.started_at).as_secs_f64());
        let mut captured = [0; 4];
        captured[match record.capture {
            Capture::Connect => 0,
            Capture::Dns => 1,
            Capture::BaseUrl => 2,
            Capture::Session => 3,
        }] = 1;
        let usage = record.usage().filter(|_| record.operation != Operation::CountTokens);
        Self {
            calls: 1,
            cached: u64::from(record.cached),
            failed: u64::from(!matches!(record.outcome, Outcome::Complete | Outcome::Unreadable)),
            unanswered: u64::from(record.status_code == 0),
            unreadable: u64::from(record.outcome == Outcome::Unreadable || (complete && record.usage().is_none())),
            unpriced: u64::from(complete && record.usage().is_some() && !is_priced(record)),
            spent: record.cost_usd.unwrap_or_default(),
            saved: record.saved_usd.unwrap_or_default(),
            call_seconds: latency,
            cached_seconds: if record.cached { (latency - took).max(0.0) } else { 0.0 },
            input_tokens: usage.and_then(|usage| usage.input_tokens).unwrap_or_default(),
            output_tokens: usage.and_then(|usage| usage.output_tokens).unwrap_or_default(),
            captured,
        }
    }

    /// Adds more calls.
    pub(crate) fn add(&mut self, more: &Self) {
        let counts = [
            (&mut self.calls, more.calls),
            (&mut self.cached, more.cached),
            (&mut self.failed, more.failed),
            (&mut self.unanswered, more.unanswered),
            (&mut self.unreadable, more.unreadable),
            (&mut self.unpriced, more.unpriced),
            (&mut self.input_tokens, more.input_tokens),
            (&mut self.output_tokens, more.output_tokens),
        ];
        counts.into_iter().for_each(|(sum, more)| *sum = sum.saturating_add(more));
        self.captured.iter_mut().zip(more.captured).for_each(|(sum, more)| *sum = sum.saturating_add(more));
        self.spent = self.spent.saturating_add(more.spent);
        self.saved = self.saved.saturating_add(more.saved);
        self.call_seconds += more.call_seconds;
        self.cached_seconds += more.cached_seconds;
    }

    /// A trial's measures; `wall_seconds` is how long it took, `cached_seconds` what its sidecar says that cached calls saved of it.
    pub(crate) fn measures(&self, wall_seconds: f64, cached_seconds: f64) -> Measures {
        let priced = self.unpriced == 0 && self.unreadable == 0;
        Measures {
            latency_seconds: seconds(wall_seconds) + self.cached_seconds.max(seconds(cached_seconds)),
            usd: priced.then(|| self.spent.saturating_add(self.saved)),
            spent_usd: self.spent,
            saved_usd: self.saved,
            calls: self.calls,
            cached: self.cached,
            failed: self.failed,
            unreadable: self.unreadable,
            unpriced: self.unpriced,
        }
    }
}

/// A hit costs nothing whatever its model, so that of a hit what it saved tells whether there is a price.
fn is_priced(record: &CallRecord) -> bool {
    if record.cache_layer.is_some() { record.saved_usd.is_some() } else { record.cost_usd.is_some() }
}

fn seconds(value: f64) -> f64 {
    if value.is_finite() { value.clamp(0.0, MOST_SECONDS) } else { 0.0 }
}

#[cfg(test)]
mod tests;
