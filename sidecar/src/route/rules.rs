//! Models by rules: conditions in CEL, tried from the first to the last.

use std::sync::atomic::{AtomicBool, Ordering};

use cel::{
    Context, IdedExpr, Program, Value,
    common::ast::{EntryExpr, Expr},
};
use serde::{Deserialize, Serialize};

use crate::route::{PolicyError, Question};

/// What conditions may speak of.
const VARIABLES: [&str; 8] = ["model", "provider", "data_id", "combo_id", "agent_id", "sample", "history", "request"];

/// Rules, tried in their order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RulesPolicy {
    /// The first one that holds decides; where none does, the model stays.
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// A condition in CEL over `model`, `provider`, `data_id`, `combo_id`, `agent_id` (null where not set), `sample`, `history` (the session's
    /// calls so far) and `request` (the body). One that cannot be told, for want of a field say, does not hold.
    pub when: String,
    /// The model to send.
    pub model: String,
}

#[derive(Debug)]
pub(super) struct Rules(Vec<Compiled>);

#[derive(Debug)]
struct Compiled {
    condition: Program,
    model: String,
    history: bool,
    request: bool,
    /// Whether it has been told that the condition cannot be told.
    told: AtomicBool,
}

impl Rules {
    pub(super) fn new(policy: &RulesPolicy) -> Result<Self, PolicyError> {
        let compiled =
            policy.rules.iter().enumerate().map(|(index, rule)| compile(rule).map_err(|reason| PolicyError::Condition { index, reason }));
        compiled.collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn needs_history(&self) -> bool {
        self.0.iter().any(|rule| rule.history)
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
        if self.0.iter().any(|rule| rule.request) {
            let request = question.request.to_strict().and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
            context.add_variable_from_value("request", value(&request));
        }
        self.0.iter().find(|rule| rule.holds(&context)).map(|rule| rule.model.clone())
    }
}

impl Compiled {
    fn holds(&self, context: &Context<'_, '_>) -> bool {
        let problem = match self.condition.execute(context) {
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

fn compile(rule: &Rule) -> Result<Compiled, String> {
    let condition = Program::compile(&rule.when).map_err(|error| error.to_string().trim().replace('\n', " "))?;
    if rule.model.is_empty() {
        return Err("its model is empty".to_owned());
    }
    let references = condition.references();
    let mut named = VARIABLES.to_vec();
    name_bound(condition.expression(), &mut named);
    if let Some(unknown) = references.variables().into_iter().find(|name| !named.contains(name)) {
        return Err(format!("there is no `{unknown}`; there are {}", VARIABLES.join(", ")));
    }
    let (history, request) = (references.has_variable("history"), references.has_variable("request"));
    Ok(Compiled { condition, model: rule.model.clone(), history, request, told: AtomicBool::new(false) })
}

/// Adds the names that macros such as `exists(call, …)` bind.
fn name_bound<'a>(expression: &'a IdedExpr, named: &mut Vec<&'a str>) {
    let inner: Vec<&IdedExpr> = match &expression.expr {
        Expr::Comprehension(all) => {
            named.extend([all.iter_var.as_str(), all.accu_var.as_str()]);
            named.extend(all.iter_var2.as_deref());
            vec![&all.iter_range, &all.accu_init, &all.loop_cond, &all.loop_step, &all.result]
        }
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
        Expr::Select(select) => vec![&select.operand],
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => entries(map.entries.iter().map(|entry| &entry.expr)),
        Expr::Struct(fields) => entries(fields.entries.iter().map(|entry| &entry.expr)),
        Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => Vec::new(),
    };
    for inner in inner {
        name_bound(inner, named);
    }
}

fn entries<'a>(entries: impl Iterator<Item = &'a EntryExpr>) -> Vec<&'a IdedExpr> {
    let parts = entries.flat_map(|entry| match entry {
        EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
        EntryExpr::StructField(field) => vec![&field.value],
    });
    parts.collect()
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
