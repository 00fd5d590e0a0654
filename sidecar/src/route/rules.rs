//! Models by rules: conditions in CEL, tried from the first to the last.

use std::sync::atomic::{AtomicBool, Ordering};

use agentrun_protocol::routing::{Condition, PolicyError, RulesPolicy};
use cel::{Context, Value};
use serde::Serialize;

use crate::route::Question;

#[derive(Debug)]
pub(super) struct Rules(Vec<Compiled>);

#[derive(Debug)]
struct Compiled {
    condition: Condition,
    model: String,
    /// Whether it has been told that the condition cannot be told.
    told: AtomicBool,
}

impl Rules {
    pub(super) fn new(policy: &RulesPolicy) -> Result<Self, PolicyError> {
        let compiled = policy.rules.iter().enumerate().map(|(index, rule)| {
            let condition = Condition::compile(&rule.when).map_err(|source| PolicyError::Condition { index, source })?;
            Ok(Compiled { condition, model: rule.model.clone(), told: AtomicBool::new(false) })
        });
        compiled.collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn needs_history(&self) -> bool {
        self.0.iter().any(|rule| rule.condition.history)
    }

    pub(super) fn decide(&self, question: &Question<'_>) -> Option<String> {
        let mut context = Context::default();
        let session = question.session;
        let known = [
            ("model", Value::from(question.model)),
            ("provider", Value::from(question.provider)),
            ("data_id", optional(session.data_id.as_deref())),
            ("combo_id", optional(session.combo_id.as_deref())),
            ("agent_id", optional(session.agent_id.as_deref())),
            ("sample", Value::Int(session.sample.into())),
        ];
        for (name, value) in known {
            context.add_variable_from_value(name, value);
        }
        if self.needs_history() {
            context.add_variable_from_value("history", value(&question.history));
        }
        if self.0.iter().any(|rule| rule.condition.request) {
            let request = question.request.to_strict().and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
            context.add_variable_from_value("request", value(&request));
        }
        self.0.iter().find(|rule| rule.holds(&context)).map(|rule| rule.model.clone())
    }
}

impl Compiled {
    fn holds(&self, context: &Context<'_, '_>) -> bool {
        let problem = match self.condition.program.execute(context) {
            Ok(Value::Bool(holds)) => return holds,
            Ok(other) => format!("it is {:?}, neither true nor false", other.type_of()),
            Err(error) => error.to_string(),
        };
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(model = %self.model, %problem, "a routing rule's condition cannot be told, and does not hold");
        }
        false
    }
}

fn optional(id: Option<&str>) -> Value {
    id.map_or(Value::Null, Value::from)
}

fn value(data: &impl Serialize) -> Value {
    cel::to_value(data).unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests {
    use agentrun_llm::json::Json;
    use agentrun_protocol::routing::Rule;

    use super::*;
    use crate::session::{Past, Session};

    fn decided(rules: &[(&str, &str)], history: Vec<Past>) -> Option<String> {
        let rules = rules.iter().map(|(when, model)| Rule { when: (*when).to_owned(), model: (*model).to_owned() }).collect();
        let rules = Rules::new(&RulesPolicy { rules }).unwrap();
        let session = Session { data_id: Some("q1".to_owned()), sample: 2, ..Session::default() };
        let request = Json::parse(br#"{"model": "large", "messages": [{"role": "user", "content": "hi"}], "temperature": 0.5}"#).unwrap();
        rules.decide(&Question { model: "large", provider: "openai", session: &session, request: &request, history })
    }

    #[test]
    fn the_first_rule_that_holds_decides() {
        let holds =
            |when: &str| decided(&[("model == 'other'", "no"), (when, "yes"), ("true", "else")], Vec::new()).as_deref() == Some("yes");
        for when in [
            "true",
            "model == 'large' && provider == 'openai'",
            "data_id == 'q1' && combo_id == null",
            "sample > 1",
            "size(history) == 0",
            "request.temperature < 1.0",
            "size(request.messages) == 1 && request.messages[0].content.startsWith('h')",
            "!has(request.tools)",
        ] {
            assert!(holds(when), "{when}");
        }
        // What is false, what is neither, and what cannot be told.
        for when in ["false", "1 + 1", "request.tools.size() > 0", "history[0].model == 'a'", "sample > 'a'"] {
            assert!(!holds(when), "{when}");
        }
        assert_eq!(decided(&[("false", "a")], Vec::new()), None);
    }

    #[test]
    fn rules_see_the_calls_before() {
        let past = |model: &str, status: u16| Past { model: Some(model.to_owned()), status, ..Past::default() };
        let rules = [("size(history) > 1 && history[size(history) - 1].status != 200", "fallback")];
        assert_eq!(decided(&rules, vec![past("a", 200), past("a", 500)]).as_deref(), Some("fallback"));
        assert_eq!(decided(&rules, vec![past("a", 500), past("a", 200)]), None);
        assert_eq!(
            decided(&[("history.exists(call, call.model == 'b')", "c")], vec![past("a", 200), past("b", 200)]).as_deref(),
            Some("c")
        );
    }
}
