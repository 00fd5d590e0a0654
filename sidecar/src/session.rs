//! Sessions: whose calls these are. A session has a loopback port of its own, and every connection to it belongs to it.

use std::{
    collections::VecDeque,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use agentrun_llm::call::{Operation, Outcome};
use rust_decimal::Decimal;
use serde::Serialize;

use crate::{config::CacheMode, drain::Drain, record::End, route::Router};

/// What a session is opened with.
#[derive(Clone, Debug, Default)]
pub struct Session {
    /// The run that the calls belong to.
    pub run: Option<String>,
    /// The datapoint.
    pub data_id: Option<String>,
    /// The combo of models.
    pub combo_id: Option<String>,
    /// The agent's name, where a pod has several.
    pub agent_id: Option<String>,
    /// The how-manieth repeat, from 0. Part of the cache key, so that repeats are answered afresh.
    pub sample: u32,
    /// The how-manieth try of the trial, from 0.
    pub attempt: u32,
    /// Who shares stored answers with whom.
    pub scope: String,
    /// `(asked, sent)`: a call that asks for the first model is sent with the second.
    pub replaces: Vec<(String, String)>,
    /// Whether stored answers are for those alone who authenticate as the one who paid for them.
    pub by_credential: bool,
    /// What may be done with stored answers.
    pub cache: CacheMode,
    /// Who chooses the models of its calls, after `replaces`.
    pub router: Option<Arc<Router>>,
    /// The one address that connections may come from; loopback addresses are all the same. `None`: any that can reach the port.
    pub client: Option<IpAddr>,
}

impl Session {
    /// Whether a connection from `peer` is the session's.
    pub(crate) fn takes(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.client.is_none_or(|client| {
            let client = client.to_canonical();
            client == peer || (client.is_loopback() && peer.is_loopback())
        })
    }
}

/// What a router is told of a call that ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Past {
    /// What was sent.
    pub(crate) model: Option<String>,
    pub(crate) requested_model: Option<String>,
    pub(crate) provider: String,
    /// 0: there was no answer.
    pub(crate) status: u16,
    pub(crate) outcome: &'static str,
    pub(crate) cached: bool,
    pub(crate) latency_seconds: f64,
    pub(crate) input_tokens: Option<u64>,
    pub(crate) output_tokens: Option<u64>,
}

/// As many calls as a router is told of.
const PAST: usize = 1000;

/// The part of a session that an [`crate::Origin`] finds in a request's extensions.
#[derive(Clone, Debug)]
pub struct Attribution {
    /// The run.
    pub run: Option<String>,
    /// The datapoint.
    pub data_id: Option<String>,
    /// The combo.
    pub combo_id: Option<String>,
    /// The repeat.
    pub sample: u32,
}

/// What a session's calls add up to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// Calls that ended, of every outcome.
    pub calls: u64,
    /// Calls answered without paying: stored answers, and those shared with an equal call in flight.
    pub cached: u64,
    /// Calls without a complete answer of status 200.
    pub failed: u64,
    /// Calls that never reached an upstream that answered: refused, cut, timed out.
    pub unanswered: u64,
    /// Answers whose usage could not be read.
    pub unreadable: u64,
    /// Answers with usage whose model has no price.
    pub unpriced: u64,
    /// Spent, US dollars.
    pub usd: Decimal,
    /// What cached answers would have cost, US dollars.
    pub saved_usd: Decimal,
    /// The calls' latencies, seconds; of cached ones the original's.
    pub call_seconds: f64,
    /// The part of `call_seconds` that cached calls did not take in real time.
    pub cached_seconds: f64,
    /// Input tokens, where known.
    pub input_tokens: u64,
    /// Output tokens, where known.
    pub output_tokens: u64,
    /// Connections to LLM hosts whose client did not accept our certificate: it does not use the trust it was given.
    pub failed_handshakes: u64,
}

impl Totals {
    /// Counts one call.
    pub(crate) fn add(&mut self, operation: Operation, end: &End) {
        let facts = &end.facts;
        let (spent, saved) = end.money();
        let answered = end.status == 200;
        self.calls += 1;
        self.cached += u64::from(end.is_cached());
        self.failed += u64::from(!matches!(end.outcome, Outcome::Complete | Outcome::Unreadable));
        self.unanswered += u64::from(end.status == 0);
        self.unreadable += u64::from(end.outcome == Outcome::Unreadable || (answered && facts.usage.is_none()));
        self.unpriced += u64::from(answered && facts.usage.is_some() && facts.usd.is_none());
        self.usd += spent.unwrap_or_default();
        self.saved_usd += saved.unwrap_or_default();
        self.call_seconds += facts.latency_seconds;
        if end.is_cached() {
            self.cached_seconds += (facts.latency_seconds - end.took.as_secs_f64()).max(0.0);
        }
        if let Some(usage) = facts.usage.as_ref().filter(|_| operation != Operation::CountTokens) {
            self.input_tokens += usage.input_tokens.unwrap_or_default();
            self.output_tokens += usage.output_tokens.unwrap_or_default();
        }
    }
}

/// A session in use.
pub(crate) struct Live {
    pub(crate) session: Session,
    /// Its number in this process.
    pub(crate) number: u64,
    /// Within it, equal requests are read the same way: the cache's scope, and what this session replaces.
    pub(crate) reading_scope: String,
    pub(crate) drain: Drain,
    totals: Mutex<Totals>,
    /// For a router that looks at it.
    past: Mutex<VecDeque<Past>>,
    in_use: Mutex<Use>,
}

/// Who uses a session.
#[derive(Debug)]
struct Use {
    connections: usize,
    /// When the first connection came, or the last one went.
    since: Instant,
}

/// A connection of a session, while it lives.
pub(crate) struct Used<'a>(&'a Live);

impl Drop for Used<'_> {
    fn drop(&mut self) {
        self.0.change_use(|connections| connections.saturating_sub(1));
    }
}

impl Live {
    pub(crate) fn new(mut session: Session, drain: Drain) -> Arc<Self> {
        session.router = session.router.take().map(|router| router.of_session(&session));
        let mut reading_scope = session.scope.clone();
        for (asked, sent) in &session.replaces {
            reading_scope.extend(["\u{0}", asked, "\u{0}", sent]);
        }
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let in_use = Mutex::new(Use { connections: 0, since: Instant::now() });
        Arc::new(Self { session, number, reading_scope, drain, totals: Mutex::default(), past: Mutex::default(), in_use })
    }

    pub(crate) fn count(&self, operation: Operation, end: &End) {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner).add(operation, end);
    }

    /// Counts a connection for as long as the result lives.
    pub(crate) fn used(&self) -> Used<'_> {
        self.change_use(|connections| connections + 1);
        Used(self)
    }

    fn change_use(&self, change: impl FnOnce(usize) -> usize) {
        let mut in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        *in_use = Use { connections: change(in_use.connections), since: Instant::now() };
    }

    /// How long nobody has been connected.
    pub(crate) fn idle_for(&self) -> Duration {
        let in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        if in_use.connections > 0 { Duration::ZERO } else { in_use.since.elapsed() }
    }

    pub(crate) fn count_failed_handshake(&self) {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner).failed_handshakes += 1;
    }

    /// Remembers a call for the router, where there is one that looks at it.
    pub(crate) fn remember(&self, past: impl FnOnce() -> Past) {
        if self.session.router.as_ref().is_some_and(|router| router.needs_history()) {
            let mut calls = self.past.lock().unwrap_or_else(PoisonError::into_inner);
            if calls.len() == PAST {
                calls.pop_front();
            }
            calls.push_back(past());
        }
    }

    /// The calls that are remembered, the oldest first.
    pub(crate) fn past(&self) -> Vec<Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    pub(crate) fn totals(&self) -> Totals {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn attribution(&self) -> Attribution {
        let session = &self.session;
        Attribution {
            run: session.run.clone(),
            data_id: session.data_id.clone(),
            combo_id: session.combo_id.clone(),
            sample: session.sample,
        }
    }

    /// The model to send instead of `asked`.
    pub(crate) fn replacement(&self, asked: &str) -> Option<&str> {
        self.session.replaces.iter().find(|(from, _)| from == asked).map(|(_, to)| to.as_str())
    }
}
