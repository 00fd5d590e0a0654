//! Routing: which model a call is sent to, decided on the request as it came, before anything of it is looked up.

use std::sync::Arc;

use agentrun_llm::{call::Operation, json::Json};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    route::{random::Random, rules::Rules, webhook::Webhook},
    session::{Past, Session},
};

mod random;
mod rules;
mod webhook;

pub use random::RandomPolicy;
pub use rules::{Rule, RulesPolicy};
pub use webhook::{Failure, WebhookPolicy};

/// How models are chosen: one kind, under its name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Policy {
    /// One of the candidates at random, each as likely.
    Random(RandomPolicy),
    /// The model of the first rule that holds.
    Rules(RulesPolicy),
    /// What another process says.
    Webhook(WebhookPolicy),
}

/// Why a policy cannot be used.
#[derive(Debug, Error)]
pub enum PolicyError {
    /// There is nothing to choose from.
    #[error("a random policy needs at least one candidate")]
    NoCandidates,
    /// A rule's condition is none.
    #[error("rules[{index}].when: {reason}")]
    Condition {
        /// Which rule, from 0.
        index: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// Nobody can be asked there.
    #[error("webhook.url: {0}; write http://HOST:PORT/PATH or unix:///PATH/TO/SOCKET")]
    Url(String),
}

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
    /// Puts `policy` to work.
    ///
    /// # Errors
    /// It cannot be used: no candidates, a condition that is none, an address where nobody can be.
    pub fn new(policy: &Policy) -> Result<Arc<Self>, PolicyError> {
        Ok(Arc::new(Self(match policy {
            Policy::Random(policy) => Kind::Random(Random::new(policy)?),
            Policy::Rules(policy) => Kind::Rules(Rules::new(policy)?),
            Policy::Webhook(policy) => Kind::Webhook(Webhook::new(policy)?),
        })))
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
    fn a_policy_is_written_under_its_kind_and_nothing_else_is_taken() {
        let written = r#"{"random":{"candidates":["a","b"],"seed":-7}}"#;
        let policy: Policy = serde_json::from_str(written).unwrap();
        assert_eq!(serde_json::to_string(&policy).unwrap(), written);
        Router::new(&policy).unwrap();
        for wrong in [
            r#"{"random":{"candidates":["a"],"sed":1}}"#,
            r#"{"random":{"candidates":["a"]},"rules":{"rules":[]}}"#,
            r#"{"randon":{"candidates":["a"]}}"#,
            r#"{"random":{"candidates":["a"],"seed":1.5}}"#,
            r#"{"random":{"candidates":["a"],"seed":"1"}}"#,
        ] {
            serde_json::from_str::<Policy>(wrong).unwrap_err();
        }
    }

    #[test]
    fn what_cannot_be_used_says_where_and_what_to_do() {
        let error = |policy: &str| Router::new(&serde_json::from_str(policy).unwrap()).unwrap_err().to_string();
        assert_eq!(error(r#"{"random":{"candidates":[]}}"#), "a random policy needs at least one candidate");
        assert!(error(r#"{"rules":{"rules":[{"when":"true","model":"a"},{"when":"1 +","model":"b"}]}}"#).starts_with("rules[1].when: "));
        assert!(error(r#"{"rules":{"rules":[{"when":"modle == 'a'","model":"b"}]}}"#).contains("`modle`"));
        assert!(error(r#"{"webhook":{"url":"localhost:80"}}"#).contains("write http://HOST:PORT/PATH"));
    }
}
