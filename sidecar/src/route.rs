//! Routing: which model a call is sent to, decided on the request as it came, before anything of it is looked up.

use std::sync::Arc;

use agentrun_llm::{call::Operation, json::Json};
pub use agentrun_protocol::routing::{Failure, Policy, PolicyError, RandomPolicy, Rule, RulesPolicy, WebhookPolicy};
use thiserror::Error;

use crate::{
    route::{
        random::{Draws, Random},
        rules::Rules,
        webhook::Webhook,
    },
    session::{Past, Session},
};

mod random;
mod rules;
mod webhook;

/// A policy at work. Sessions that share one share its draws.
#[derive(Debug)]
pub struct Router(Kind);

#[derive(Debug)]
enum Kind {
    Random(Random),
    Rules(Rules),
    Webhook(Webhook),
}

/// What a policy is told of a call.
pub(crate) struct Question<'a> {
    /// The model that the client asked for.
    pub(crate) model: &'a str,
    pub(crate) provider: &'a str,
    pub(crate) session: &'a Session,
    pub(crate) request: &'a Json,
    /// The session's calls that ended, the oldest first.
    pub(crate) history: Vec<Past>,
}

/// Why there is no decision, where the call may not go on without one.
#[derive(Debug, Error)]
#[error("the routing webhook gave no decision, and calls may not go on without: {0}")]
pub(crate) struct Undecided(String);

impl Router {
    /// Puts `policy` to work. Sessions that have it draw one after the other from one seed, as AgentOpt's do; with `perDatapoint` each from its own.
    ///
    /// # Errors
    /// It cannot be used: no candidates, a condition that is none, an address where nobody can be.
    pub fn new(policy: &Policy) -> Result<Arc<Self>, PolicyError> {
        Self::with(policy, Draws::Shared)
    }

    /// Puts the policy of a run to work. Each trial draws from the seed and its own names, so that it draws the same wherever and whenever it runs, and
    /// trials do not all draw the same.
    ///
    /// # Errors
    /// As [`Router::new`].
    pub fn of_run(policy: &Policy) -> Result<Arc<Self>, PolicyError> {
        Self::with(policy, Draws::Trial)
    }

    fn with(policy: &Policy, draws: Draws) -> Result<Arc<Self>, PolicyError> {
        policy.check()?;
        Ok(Arc::new(Self(match policy {
            Policy::Random(policy) => Kind::Random(Random::new(policy, draws)),
            Policy::Rules(policy) => Kind::Rules(Rules::new(policy)?),
            Policy::Webhook(policy) => Kind::Webhook(Webhook::new(policy)?),
        })))
    }

    /// The router that a session has of this one: its own where it draws for itself.
    pub(crate) fn of_session(self: Arc<Self>, session: &Session) -> Arc<Self> {
        let own = match &self.0 {
            Kind::Random(random) => random.of_session(session),
            Kind::Rules(_) | Kind::Webhook(_) => None,
        };
        own.map_or(self, |random| Arc::new(Self(Kind::Random(random))))
    }

    /// Whether calls of this kind have a model that another could stand for: a chat model is none for an embedding.
    pub(crate) fn concerns(operation: Operation) -> bool {
        matches!(operation, Operation::Chat | Operation::Responses | Operation::Completion)
    }

    /// Whether decisions look at the calls before.
    pub(crate) fn needs_history(&self) -> bool {
        match &self.0 {
            Kind::Random(_) => false,
            Kind::Rules(rules) => rules.needs_history(),
            Kind::Webhook(_) => true,
        }
    }

    /// The model to send instead of the one that was asked for; `None` leaves it.
    pub(crate) async fn decide(&self, question: &Question<'_>) -> Result<Option<String>, Undecided> {
        match &self.0 {
            Kind::Random(random) => Ok(Some(random.draw())),
            Kind::Rules(rules) => Ok(rules.decide(question)),
            Kind::Webhook(webhook) => webhook.decide(question).await.map_err(Undecided),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_used_says_where_and_what_to_do() {
        let error = |policy: &str| Router::new(&serde_json::from_str(policy).unwrap()).unwrap_err().to_string();
        assert_eq!(error(r#"{"random":{"candidates":[]}}"#), "a random policy needs at least one candidate");
        assert!(error(r#"{"rules":{"rules":[{"when":"true","model":"a"},{"when":"1 +","model":"b"}]}}"#).starts_with("rules[1].when: "));
        assert!(error(r#"{"rules":{"rules":[{"when":"modle == 'a'","model":"b"}]}}"#).contains("`modle`"));
        assert!(error(r#"{"webhook":{"url":"localhost:80"}}"#).contains("write http://HOST:PORT/PATH"));
    }

    #[test]
    fn sessions_share_a_router_unless_they_draw_for_themselves() {
        let policy = |text: &str| serde_json::from_str::<Policy>(text).unwrap();
        let session = Session { data_id: Some("q1".to_owned()), ..Session::default() };
        let is_own = |router: Arc<Router>| !Arc::ptr_eq(&router.clone().of_session(&session), &router);
        let random = policy(r#"{"random":{"candidates":["a","b"],"seed":1}}"#);
        assert!(!is_own(Router::new(&random).unwrap()));
        assert!(is_own(Router::of_run(&random).unwrap()));
        assert!(is_own(Router::new(&policy(r#"{"random":{"candidates":["a","b"],"seed":1,"perDatapoint":true}}"#)).unwrap()));
        // Without a seed every draw is new, and rules draw nothing.
        assert!(!is_own(Router::of_run(&policy(r#"{"random":{"candidates":["a","b"]}}"#)).unwrap()));
        assert!(!is_own(Router::of_run(&policy(r#"{"rules":{"rules":[]}}"#)).unwrap()));
    }
}
