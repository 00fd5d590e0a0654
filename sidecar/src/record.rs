//! A call from its beginning to its record: exactly one, however it ends.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use agentrun_llm::{
    call::{CacheLayer, CallId, Operation, Outcome},
    price::PriceTable,
    provider::{Framing, Provider, Shape},
    redact,
    response::{self, Answer},
    usage::Usage,
};
use bytes::Bytes;
use http::Method;
use jiff::Timestamp;
use rust_decimal::Decimal;

use crate::{
    cache::entry::{Entry, Facts, Header},
    drain::{Admitted, Drain},
    error::Refusal,
    exchange::Reading,
    fingerprint::Fingerprint,
    front::Connection,
    held::Held,
    journal::{AnswerText, Recorded},
    proxy::Proxy,
    session::Attribution,
    target::Target,
};

mod begun;
pub(crate) mod finish;

pub(crate) use begun::Begun;

/// A call in progress. Dropped before its end, it is recorded as one whose client went away.
pub(crate) struct Call(Option<Box<Open>>);

struct Open {
    proxy: Arc<Proxy>,
    /// Held until the call has been counted.
    admitted: Option<(Admitted, Admitted)>,
    /// Memory for its bodies.
    request_held: Held,
    answer_held: Held,
    started: Instant,
    facts: Begun,
}

/// How a call ended.
pub(crate) struct End {
    /// Upstream's; 0 without a complete answer.
    pub(crate) status: u16,
    pub(crate) outcome: Outcome,
    pub(crate) error: Option<String>,
    pub(crate) facts: Facts,
    /// The layer that answered, if none of it was paid for.
    pub(crate) cached: Option<CacheLayer>,
    pub(crate) answer: Option<AnswerText>,
    /// The number of the stored answer that was given.
    pub(crate) entry: Option<u64>,
    pub(crate) response_bytes: u64,
    /// From the call's start to its end.
    pub(crate) took: Duration,
}

impl Call {
    pub(crate) fn begin(connection: &Connection, provider: &Provider, method: &Method, target: &Target) -> Self {
        let started_at = Timestamp::now();
        let facts = Begun {
            id: CallId::new(started_at, connection.proxy.unique()),
            live: connection.live.clone(),
            epoch: connection.proxy.cache.epoch(),
            started_at,
            target: target.clone(),
            provider: provider.clone(),
            method: method.clone(),
            reading: None,
            unread: OnceLock::new(),
            request: None,
            request_bytes: 0,
        };
        Self(Some(Box::new(Open {
            proxy: connection.proxy.clone(),
            admitted: None,
            request_held: Held::default(),
            answer_held: Held::default(),
            started: Instant::now(),
            facts,
        })))
    }

    /// Lets the call in, unless the proxy or its session is stopping.
    pub(crate) fn admit(&mut self) -> Result<(), Refusal> {
        let Some(open) = &mut self.0 else { return Err(Refusal::Draining) };
        let admitted = open.proxy.drain.admit().zip(open.facts.live.drain.admit());
        open.admitted = Some(admitted.ok_or(Refusal::Draining)?);
        Ok(())
    }

    /// Leaves an ended call behind, which records nothing more.
    pub(crate) fn take(&mut self) -> Self {
        Self(self.0.take())
    }

    fn open(&self) -> &Open {
        self.0.as_deref().expect("a call is used until it is taken")
    }

    pub(crate) fn proxy(&self) -> &Arc<Proxy> {
        &self.open().proxy
    }

    pub(crate) fn started(&self) -> Instant {
        self.open().started
    }

    pub(crate) fn shape(&self) -> Shape {
        self.open().facts.provider.shape
    }

    pub(crate) fn host(&self) -> String {
        self.open().facts.target.host.clone()
    }

    pub(crate) fn reading(&self) -> Option<&Arc<Reading>> {
        self.open().facts.reading.as_ref()
    }

    /// Whether the session stores what it paid for.
    pub(crate) fn stores(&self) -> bool {
        self.open().facts.live.session.cache.writes()
    }

    /// The cache's epoch when it began.
    pub(crate) fn epoch(&self) -> u64 {
        self.open().facts.epoch
    }

    /// Tells when the session stops.
    pub(crate) fn session_drain(&self) -> Drain {
        self.open().facts.live.drain.clone()
    }

    pub(crate) fn attribution(&self) -> Attribution {
        self.open().facts.live.attribution()
    }

    /// What an answer says of its cost. Of its times it says nothing.
    pub(crate) fn facts(&self, reading: &Reading, headers: &[Header], framing: Framing, answer: Option<&Answer>) -> Facts {
        let in_headers = || {
            let header = |name: &str| headers.iter().find(|(known, _)| known == name)?.1.to_str().ok().map(str::to_owned);
            response::usage_of_headers(&reading.endpoint, header)
        };
        let usage = answer.and_then(|answer| answer.usage.as_ref().ok()).copied().or_else(in_headers);
        let usage_error = match answer.map(|answer| &answer.usage) {
            Some(Err(reason)) if usage.is_none() => Some(redact::text(reason).into_owned()),
            None if usage.is_none() => Some("the answer could not be read".to_owned()),
            _ => None,
        };
        let answered_by = answer.and_then(|answer| answer.model.clone());
        Facts {
            usd: usage.as_ref().and_then(|usage| self.price(answered_by.as_deref(), reading.model.as_deref(), usage)),
            model: answered_by,
            usage,
            usage_error,
            is_message: framing == Framing::Json && answer.is_some_and(|answer| answer.message.is_some()),
            error: answer.and_then(|answer| answer.error.clone()),
            latency_seconds: 0.0,
            first_token_seconds: None,
        }
    }

    /// What `usage` cost, by the model that answered, or by the one that was asked.
    fn price(&self, answered: Option<&str>, asked: Option<&str>, usage: &Usage) -> Option<Decimal> {
        let facts = &self.open().facts;
        if facts.operation() == Operation::CountTokens {
            // The count is an answer, not a consumption; no provider charges for it.
            return Some(Decimal::ZERO);
        }
        let table = PriceTable::builtin();
        let cost = |model: &str| table.cost(&facts.provider.name, model, usage, facts.started_at).map(|cost| cost.total);
        answered.and_then(cost).or_else(|| asked.and_then(cost))
    }

    pub(crate) fn read(&mut self, reading: Arc<Reading>) {
        if let Some(open) = &mut self.0 {
            open.facts.reading = Some(reading);
        }
    }

    /// Keeps the memory of its request's body until it ends.
    pub(crate) fn hold(&mut self, held: Held) {
        if let Some(open) = &mut self.0 {
            open.request_held = held;
        }
    }

    /// Whether there is memory for an answer of `bytes`.
    pub(crate) fn has_room(&mut self, bytes: usize) -> bool {
        self.0.as_deref_mut().is_some_and(|open| open.proxy.bodies.grow(&mut open.answer_held, bytes))
    }

    /// Gives the answer's memory back: no more than its end is kept.
    pub(crate) fn let_go(&mut self) {
        if let Some(open) = &mut self.0 {
            open.answer_held = Held::default();
        }
    }

    pub(crate) fn request_bytes(&mut self, bytes: usize) {
        if let Some(open) = &mut self.0 {
            open.facts.request_bytes = bytes as u64;
        }
    }

    pub(crate) fn text(&mut self, fingerprint: Fingerprint, text: Bytes) {
        if let Some(open) = &mut self.0 {
            open.facts.request = Some((fingerprint, text));
        }
    }

    /// Ends a call that a stored answer, or that of an equal call, answered.
    pub(crate) fn hit(self, entry: &Arc<Entry>, layer: CacheLayer) {
        let outcome = if entry.status == 200 { Outcome::Complete } else { Outcome::HttpError };
        let error = (entry.status != 200).then(|| format!("HTTP {}, as an equal call in flight was told", entry.status));
        let took = self.started().elapsed();
        self.end(End {
            status: entry.status,
            outcome,
            error,
            facts: entry.facts.clone(),
            cached: Some(layer),
            answer: Some(AnswerText::Message(entry.clone())),
            entry: Some(entry.number),
            response_bytes: entry.body.len() as u64,
            took,
        });
    }

    /// Ends a call that got an answer of our own.
    pub(crate) fn refused(self, refusal: &Refusal) {
        self.unanswered(refusal.outcome(), redact::text(&refusal.to_string()).into_owned());
    }

    /// Ends a call whose client did not wait for its answer.
    pub(crate) fn client_gone(self) {
        self.unanswered(Outcome::ClientGone, "the client went away before an answer came".to_owned());
    }

    fn unanswered(self, outcome: Outcome, error: String) {
        let Some(open) = &self.0 else { return };
        let took = open.started.elapsed();
        let facts = Facts { latency_seconds: took.as_secs_f64(), usage_error: Some("there was no answer".to_owned()), ..Facts::default() };
        self.end(End { status: 0, outcome, error: Some(error), facts, cached: None, answer: None, entry: None, response_bytes: 0, took });
    }

    /// Ends the call: its figures go into its session's totals and the metrics, its record to the journal.
    pub(crate) fn end(mut self, end: End) {
        let Some(open) = self.0.take() else { return };
        let Open { proxy, admitted, facts, .. } = *open;
        let operation = facts.operation();
        facts.live.count(operation, &end);
        facts.live.remember(|| facts.past(&end));
        proxy.metrics.count(&facts.provider.name, operation, facts.capture(), &end);
        facts.warn_unread(&proxy, &end);
        if let Some(journal) = &proxy.journal {
            journal.push(Recorded { begun: facts, end });
        }
        drop(admitted);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if self.0.is_some() {
            self.take().client_gone();
        }
    }
}

impl End {
    /// Whether nothing was paid for a good answer.
    pub(crate) fn is_cached(&self) -> bool {
        self.cached.is_some() && self.status == 200
    }

    /// (spent, saved), US dollars, where the model has a price.
    pub(crate) fn money(&self) -> (Option<Decimal>, Option<Decimal>) {
        match (self.cached, self.facts.usd) {
            (Some(_), usd) => (Some(Decimal::ZERO), usd),
            (None, usd) => (usd, usd.map(|_| Decimal::ZERO)),
        }
    }
}
