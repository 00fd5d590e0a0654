//! What is known of a call before its end, and the record that it becomes.

use std::sync::{Arc, OnceLock, PoisonError};

use agentrun_llm::{
    call::{CallId, CallRecord, Capture, Operation, PARSE_FAILED, UNKNOWN_MODEL},
    key,
    price::PriceTable,
    provider::{Endpoint, Provider},
    redact,
};
use bytes::Bytes;
use http::Method;
use jiff::{SignedDuration, Timestamp};

use super::End;
use crate::{
    exchange::Reading,
    fingerprint::Fingerprint,
    proxy::Proxy,
    session::{Live, Past},
    target::Target,
};

/// What is known of a call beside its end.
pub(crate) struct Begun {
    pub(crate) id: CallId,
    pub(crate) live: Arc<Live>,
    /// The cache's, when it began.
    pub(super) epoch: u64,
    pub(crate) started_at: Timestamp,
    pub(super) target: Target,
    pub(super) provider: Provider,
    pub(super) method: Method,
    pub(crate) reading: Option<Arc<Reading>>,
    /// The operation of a call that was not read, once somebody has asked.
    pub(super) unread: OnceLock<Operation>,
    /// The request's text as it is sent, under the fingerprint of what came.
    pub(crate) request: Option<(Fingerprint, Bytes)>,
    pub(super) request_bytes: u64,
}

impl Begun {
    pub(super) fn operation(&self) -> Operation {
        let unread = || Endpoint::of(&self.provider, self.method.as_str(), self.target.path.as_str()).operation;
        self.reading.as_ref().map_or_else(|| *self.unread.get_or_init(unread), |reading| reading.endpoint.operation)
    }

    pub(crate) fn capture(&self) -> Capture {
        self.target.capture
    }

    /// What the session's router is told of it.
    pub(super) fn past(&self, end: &End) -> Past {
        let usage = end.facts.usage.as_ref();
        Past {
            model: self.reading.as_deref().and_then(|reading| reading.model.clone()),
            requested_model: self.reading.as_deref().and_then(|reading| reading.requested_model.clone()),
            provider: self.provider.name.clone(),
            status: end.status,
            outcome: end.outcome.as_str(),
            cached: end.is_cached(),
            latency_seconds: end.facts.latency_seconds,
            input_tokens: usage.and_then(|usage| usage.input_tokens),
            output_tokens: usage.and_then(|usage| usage.output_tokens),
        }
    }

    /// When a call that ended so did.
    pub(crate) fn ended_at(&self, end: &End) -> Timestamp {
        SignedDuration::try_from(end.took).ok().and_then(|took| self.started_at.checked_add(took).ok()).unwrap_or(self.started_at)
    }

    /// The record of a call that ended so.
    pub(crate) fn record(&self, end: &End) -> CallRecord {
        let session = &self.live.session;
        let reading = self.reading.as_deref();
        let sent = reading.and_then(|reading| reading.model.clone());
        // A list of models or a file names none, and nothing of it failed.
        let unread = end.status == 200 && end.facts.usage.is_none() && self.operation() != Operation::Other;
        let unnamed = if unread { PARSE_FAILED } else { UNKNOWN_MODEL };
        let mut record = CallRecord::begin(self.id, self.started_at, self.target.capture);
        record.run = session.run.clone();
        record.data_id = session.data_id.clone();
        record.combo_id = session.combo_id.clone();
        record.agent_id = session.agent_id.clone();
        record.sample = session.sample;
        record.attempt = session.attempt;
        record.provider = Some(self.provider.name.clone());
        record.operation = self.operation();
        record.request_url = redact::url(&self.target.url());
        record.requested_model = reading.and_then(|reading| reading.requested_model.clone());
        record.model = sent.or_else(|| end.facts.model.clone()).unwrap_or_else(|| unnamed.to_owned());
        record.response_model = end.facts.model.clone();
        record.stream = reading.is_some_and(|reading| reading.stream);
        record.status_code = end.status;
        record.outcome = end.outcome;
        record.error = end.error.clone();
        record.timestamp = self.ended_at(end);
        record.latency_seconds = end.facts.latency_seconds;
        record.first_token_seconds = end.facts.first_token_seconds;
        record.cached = end.is_cached();
        record.cache_layer = end.cached;
        record.cache_key = reading.and_then(|reading| reading.key).map(|key| key::hex(&key));
        (record.cost_usd, record.saved_usd) = end.money();
        record.price_date = end.facts.usd.map(|_| PriceTable::builtin().date());
        record.request_bytes = Some(self.request_bytes);
        record.response_bytes = Some(end.response_bytes);
        let unknown = || end.facts.usage_error.clone().unwrap_or_else(|| "the answer does not say".to_owned());
        record.set_usage(end.facts.usage.ok_or_else(unknown));
        record
    }

    /// Says once for each host that its answers' usage cannot be read: costs would be too low without anyone noticing.
    pub(super) fn warn_unread(&self, proxy: &Proxy, end: &End) {
        let Some(reason) = end.facts.usage_error.as_deref().filter(|_| end.status == 200) else { return };
        let free = matches!(self.operation(), Operation::Other | Operation::CountTokens);
        if !free && proxy.warned.lock().unwrap_or_else(PoisonError::into_inner).insert(self.target.host.clone()) {
            let url = redact::url(&self.target.url());
            tracing::warn!(host = %self.target.host, url, reason, "cannot read usage: its calls have no cost in the results");
        }
    }
}
