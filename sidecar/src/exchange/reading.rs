//! What a request says: read, routed, keyed.

use std::borrow::Cow;

use agentrun_llm::{
    call::Operation,
    json::Json,
    key,
    provider::{Endpoint, Framing, Provider},
    request::{self, Ask},
};
use bytes::Bytes;

use crate::{
    cache::Key,
    config::CacheScope,
    error::Refusal,
    route::{Question, Router},
    session::{Live, Session},
    target::Target,
};

/// What is known of a request once its body has been read. Equal requests of a session share one.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) endpoint: Endpoint,
    /// What the client asked for.
    pub(crate) requested_model: Option<String>,
    /// What is sent.
    pub(crate) model: Option<String>,
    pub(crate) stream: bool,
    /// The framing that the client expects.
    pub(crate) wanted: Framing,
    /// Whether the client expects a usage chunk at a stream's end.
    pub(crate) usage_chunk: bool,
    /// Whether it was asked for in the client's place, so that it must be hidden.
    pub(crate) hide_usage: bool,
    /// Whether the body is a JSON object, and so can be shown in a record.
    pub(crate) is_json: bool,
    /// Equal calls have equal keys; `None` is a call that is never cached.
    pub(crate) key: Option<Key>,
    /// AgentOpt's key of the call, where its table is read and written.
    pub(crate) row: Option<Key>,
}

/// Within what calls are equal.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Within {
    /// For whom AgentOpt's table is read and written, if it is.
    pub(crate) agentopt: Option<CacheScope>,
    /// Who pays, where answers are for them alone.
    pub(crate) credential: Option<[u8; 32]>,
}

/// A request's body, parsed.
pub(crate) struct Parsed {
    endpoint: Endpoint,
    /// The body and what it asks; none where it is no question.
    question: Option<(Json, Ask)>,
}

impl Parsed {
    pub(crate) fn of(provider: &Provider, method: &str, target: &Target, body: &[u8]) -> Self {
        let endpoint = Endpoint::of(provider, method, target.path.as_str());
        let json = Json::parse(body).ok().filter(is_question);
        let question = json.map(|json| {
            let asked = request::read(&endpoint, target.path.as_str(), &json);
            (json, asked)
        });
        Self { endpoint, question }
    }

    /// The model that `router` sends it to, if not to the one it would go to. Only what names a model that another could stand for is asked.
    pub(crate) async fn route(&self, router: &Router, provider: &Provider, live: &Live) -> Result<Option<String>, Refusal> {
        let Some((request, asked)) = self.question.as_ref().filter(|_| Router::concerns(self.endpoint.operation)) else { return Ok(None) };
        let Some(asked) = asked.model.as_deref() else { return Ok(None) };
        let history = if router.needs_history() { live.past() } else { Vec::new() };
        let model = live.replacement(asked).unwrap_or(asked);
        let question = Question { model, provider: &provider.name, session: &live.session, request, history };
        Ok(router.decide(&question).await?)
    }
}

/// A request's path and body where they are not sent as they came.
#[derive(Debug, Default)]
pub(crate) struct Changed {
    pub(crate) path: Option<String>,
    pub(crate) body: Option<Bytes>,
}

impl Reading {
    /// Of a request whose body is not read: too large, or an upgrade.
    pub(crate) fn unread(endpoint: Endpoint, path: &str) -> Self {
        let ask = request::read(&endpoint, path, &Json::Null);
        Self {
            requested_model: ask.model.clone(),
            model: ask.model,
            stream: ask.stream,
            wanted: ask.framing,
            usage_chunk: true,
            hide_usage: false,
            is_json: false,
            key: None,
            row: None,
            endpoint,
        }
    }

    /// Goes on with a parsed request in the fixed order: route, include usage, key. The key hashes what is sent. `routed` is the model that
    /// the session's router chose.
    pub(crate) fn of(
        provider: &Provider,
        method: &str,
        target: &Target,
        parsed: Parsed,
        routed: Option<&str>,
        live: &Live,
        within: Within,
    ) -> Result<(Self, Changed), Refusal> {
        let Parsed { mut endpoint, question } = parsed;
        let mut path = target.path.as_str().to_owned();
        let Some((mut json, asked)) = question else {
            return Ok((Self::unread(endpoint, &path), Changed::default()));
        };
        let mut changed = Changed::default();
        let mut rewritten = false;
        let mut model = asked.model.clone();
        let chosen = asked.model.as_deref().and_then(|from| Some((from, routed.or_else(|| live.replacement(from))?)));
        if let Some((from, to)) = chosen.filter(|(from, to)| from != to) {
            let routed = request::set_model(&endpoint, &path, &mut json, to).map_err(|error| Refusal::from((from, to, error)))?;
            match routed {
                Some(routed) => {
                    endpoint = Endpoint::of(provider, method, &routed);
                    path.clone_from(&routed);
                    changed.path = Some(routed);
                }
                None => rewritten = true,
            }
            model = Some(to.to_owned());
        }
        let hide_usage = request::include_usage(&endpoint, &path, &mut json);
        if rewritten || hide_usage {
            changed.body = Some(Bytes::from(json.compact()));
        }
        let (key, row) = keys(&endpoint, target, &path, &json, live, within);
        let reading = Self {
            requested_model: asked.model,
            model,
            stream: asked.stream,
            wanted: asked.framing,
            usage_chunk: asked.wants_usage_chunk,
            hide_usage,
            is_json: true,
            key,
            row,
            endpoint,
        };
        Ok((reading, changed))
    }
}

/// The key of what is sent, and AgentOpt's.
fn keys(endpoint: &Endpoint, target: &Target, path: &str, json: &Json, live: &Live, within: Within) -> (Option<Key>, Option<Key>) {
    if endpoint.operation == Operation::Other {
        return (None, None);
    }
    let Session { scope, sample, .. } = &live.session;
    // AgentOpt knows no repeats: each has an answer of its own.
    let row = within.agentopt.filter(|_| *sample == 0).map(|_| key::legacy_key(path, json));
    if row.is_some() && within.agentopt == Some(CacheScope::Legacy) {
        return (row, row);
    }
    let scope = match within.credential {
        Some(credential) => Cow::Owned(format!("{scope}\u{0}{}", key::hex(&credential))),
        None => Cow::Borrowed(scope.as_str()),
    };
    let (host, path) = (target.authority(), Endpoint::key_path(path));
    let without = endpoint.key_ignored_members();
    let key = key::ScopedKey { scope: &scope, host: &host, path: &path, body: json, without, sample: *sample };
    (Some(key.digest()), row)
}

/// Only a non-empty object asks for anything; AgentOpt's rule too.
fn is_question(json: &Json) -> bool {
    json.as_object().is_some_and(|members| !members.is_empty())
}
