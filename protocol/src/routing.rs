//! Policies: which model a call is sent to instead of the one it asks for. One form for all who take one: `spec.routing` of an AgentRun, the
//! files of `--routing`, the sessions of the gateway, and what the hub tells a trial's sidecar.

mod condition;

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use condition::{Condition, ConditionError, VARIABLES};

/// The longest condition, in bytes. Each operator may nest what stands before it one deeper, and evaluation takes as much of the stack.
pub const CONDITION_BYTES: usize = 2048;
/// The longest that a webhook may think, milliseconds.
pub const MOST_MILLISECONDS: u64 = 600_000;

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

/// Draws among candidates, each as likely.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RandomPolicy {
    /// The models; one that stands twice is twice as likely.
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 256), regex(pattern = r"^\S(.*\S)?$")))]
    pub candidates: Vec<String>,
    /// Equal seeds draw the same; none draws anew each time. The trials of a run draw from the seed and the trial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<i64>,
    /// Draws from the seed and the datapoint: the same for a datapoint wherever it is evaluated, and not the same for all of them.
    #[serde(default, skip_serializing_if = "is_false")]
    pub per_datapoint: bool,
}

/// Rules, tried in their order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RulesPolicy {
    /// The first one that holds decides; where none does, the model stays.
    #[schemars(length(min = 1, max = 64))]
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// A condition in CEL over `model`, `provider`, `data_id`, `combo_id`, `agent_id` (null where not set), `sample`, `history` (the session's
    /// calls so far) and `request` (the body). One that cannot be told, for want of a field say, does not hold.
    #[schemars(length(min = 1, max = 2048))]
    pub when: String,
    /// The model to send.
    #[schemars(length(min = 1, max = 256), regex(pattern = r"^\S(.*\S)?$"))]
    pub model: String,
}

/// Asks a process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WebhookPolicy {
    /// `http://HOST:PORT/PATH`, or on one machine `unix://` and the path of a socket.
    #[schemars(length(min = 1, max = 2048), regex(pattern = r"^(http://[^\s/?#@]+(/[^\s#]*)?|unix:///\S+)$"))]
    #[schemars(extend("x-rule" = "http://HOST:PORT/PATH or unix:///PATH/TO/SOCKET, without user name or fragment"))]
    pub url: String,
    /// How long it may think, milliseconds.
    #[serde(default = "thousand")]
    #[schemars(range(min = 1, max = 600_000))]
    pub timeout_milliseconds: u64,
    /// What becomes of a call without a decision.
    #[serde(default)]
    pub failure: Failure,
}

/// `Open`: a call without a decision goes on with the model it asked for. `Closed`: it is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("type" = "string", "enum" = ["Open", "Closed"]), inline)]
pub enum Failure {
    /// It goes on with the model it asked for.
    #[default]
    Open,
    /// It is refused.
    Closed,
}

/// Why a policy cannot be used.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum PolicyError {
    /// There is nothing to choose from.
    #[error("a random policy needs at least one candidate")]
    NoCandidates,
    /// A candidate is no model.
    #[error("random.candidates[{0}] is empty: name a model")]
    EmptyCandidate(usize),
    /// There is no seed to draw from.
    #[error("random.perDatapoint needs a seed: without one every draw is new anyway")]
    NoSeed,
    /// A rule's condition is none.
    #[error("rules[{index}].when: {source}")]
    Condition {
        /// Which rule, from 0.
        index: usize,
        /// What is wrong with it.
        source: ConditionError,
    },
    /// A rule names no model.
    #[error("rules[{0}].model is empty: name a model")]
    EmptyModel(usize),
    /// Nobody can be asked there.
    #[error("webhook.url: {0}; write http://HOST:PORT/PATH or unix:///PATH/TO/SOCKET")]
    Url(String),
    /// Nobody can answer in that time, or nobody would wait for it.
    #[error("webhook.timeoutMilliseconds: {0} is not from 1 to {MOST_MILLISECONDS}")]
    Timeout(u64),
}

impl Policy {
    /// Says what is wrong with the policy, but for its conditions, which compile or do not ([`Condition::compile`]).
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), PolicyError> {
        match self {
            Self::Random(policy) if policy.candidates.is_empty() => Err(PolicyError::NoCandidates),
            Self::Random(policy) if policy.per_datapoint && policy.seed.is_none() => Err(PolicyError::NoSeed),
            Self::Random(policy) => {
                policy.candidates.iter().position(String::is_empty).map_or(Ok(()), |index| Err(PolicyError::EmptyCandidate(index)))
            }
            Self::Rules(policy) => {
                policy.rules.iter().position(|rule| rule.model.is_empty()).map_or(Ok(()), |index| Err(PolicyError::EmptyModel(index)))
            }
            Self::Webhook(policy) => match policy.timeout_milliseconds {
                1..=MOST_MILLISECONDS => Ok(()),
                other => Err(PolicyError::Timeout(other)),
            },
        }
    }

    /// The models that the policy itself names; another process may name any.
    pub fn models(&self) -> Vec<&str> {
        match self {
            Self::Random(policy) => policy.candidates.iter().map(String::as_str).collect(),
            Self::Rules(policy) => policy.rules.iter().map(|rule| rule.model.as_str()).collect(),
            Self::Webhook(_) => Vec::new(),
        }
    }
}

/// The fields of which a policy is exactly one: the form that schemas of Kubernetes can say.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("oneOf" = [{"required": ["random"]}, {"required": ["rules"]}, {"required": ["webhook"]}]))]
#[allow(dead_code, reason = "its schema alone is used")]
struct Kinds {
    /// One of the candidates at random, each as likely.
    random: Option<RandomPolicy>,
    /// The model of the first rule that holds.
    rules: Option<RulesPolicy>,
    /// What another process says.
    webhook: Option<WebhookPolicy>,
}

impl JsonSchema for Policy {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Policy".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Kinds::json_schema(generator)
    }
}

fn thousand() -> u64 {
    1000
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_false(flag: &bool) -> bool {
    !flag
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_written_under_its_kind_and_nothing_else_is_taken() {
        for written in [
            r#"{"random":{"candidates":["a","b"],"seed":-7}}"#,
            r#"{"random":{"candidates":["a"],"seed":1,"perDatapoint":true}}"#,
            r#"{"rules":{"rules":[{"when":"true","model":"a"}]}}"#,
            r#"{"webhook":{"url":"http://127.0.0.1:1/","timeoutMilliseconds":5,"failure":"Closed"}}"#,
        ] {
            let policy: Policy = serde_json::from_str(written).unwrap();
            assert_eq!(serde_json::to_string(&policy).unwrap(), written);
            policy.check().unwrap();
        }
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
    fn what_cannot_be_used_says_where() {
        let error = |policy: &str| serde_json::from_str::<Policy>(policy).unwrap().check().unwrap_err().to_string();
        for (policy, says) in [
            (r#"{"random":{"candidates":[]}}"#, "a random policy needs at least one candidate"),
            (r#"{"random":{"candidates":["a",""]}}"#, "random.candidates[1] is empty"),
            (r#"{"random":{"candidates":["a"],"perDatapoint":true}}"#, "random.perDatapoint needs a seed"),
            (r#"{"rules":{"rules":[{"when":"true","model":""}]}}"#, "rules[0].model is empty"),
            (r#"{"webhook":{"url":"http://a/","timeoutMilliseconds":0}}"#, "webhook.timeoutMilliseconds: 0 is not from 1 to 600000"),
        ] {
            assert!(error(policy).starts_with(says), "{policy}: {}", error(policy));
        }
    }
}
