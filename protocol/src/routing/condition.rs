//! A rule's condition: CEL, compiled and looked through before anything runs.

use cel::{
    IdedExpr, Program,
    common::ast::{EntryExpr, Expr},
};
use thiserror::Error;

use super::CONDITION_BYTES;

/// What conditions may speak of.
pub const VARIABLES: [&str; 8] = ["model", "provider", "data_id", "combo_id", "agent_id", "sample", "history", "request"];
/// How deep an expression may nest: evaluating one level takes up to 50 kB of the stack where the build is not optimised.
const DEPTH: usize = 32;
/// Room for the parser. It stops at some hundred open brackets, each of which takes up to 200 kB where the build is not optimised; what is not used is
/// never had.
const STACK: usize = 64 << 20;
/// How much of what the parser says is told, characters.
const SENTENCE: usize = 200;

/// A condition that can be evaluated.
#[derive(Debug)]
pub struct Condition {
    /// The compiled expression.
    pub program: Program,
    /// Whether it speaks of the calls before.
    pub history: bool,
    /// Whether it speaks of the body.
    pub request: bool,
}

/// Why a text is no condition.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConditionError {
    /// It is longer than anybody writes.
    #[error("the condition has {0} bytes, and at most {CONDITION_BYTES} are taken")]
    Long(usize),
    /// It is no CEL.
    #[error("{0}")]
    Syntax(String),
    /// It nests deeper than can be evaluated.
    #[error("the condition nests deeper than {DEPTH} levels: split it into several rules")]
    Deep,
    /// It speaks of what nobody tells it.
    #[error("there is no `{0}`; there are {all}", all = VARIABLES.join(", "))]
    Unknown(String),
}

impl Condition {
    /// Compiles a text.
    ///
    /// # Errors
    /// It is too long, no CEL, too deep, or names what there is not.
    pub fn compile(text: &str) -> Result<Self, ConditionError> {
        if text.len() > CONDITION_BYTES {
            return Err(ConditionError::Long(text.len()));
        }
        std::thread::scope(|scope| {
            let compiled = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, || compile(text));
            let compiled = compiled.map_err(|error| ConditionError::Syntax(format!("no thread could be had to read it: {error}")))?;
            compiled.join().unwrap_or_else(|_| Err(ConditionError::Syntax("it cannot be read".to_owned())))
        })
    }
}

fn compile(text: &str) -> Result<Condition, ConditionError> {
    let program = Program::compile(text).map_err(|error| ConditionError::Syntax(told(&error.to_string())))?;
    let mut named = VARIABLES.to_vec();
    if !name_bound(program.expression(), &mut named, DEPTH) {
        return Err(ConditionError::Deep);
    }
    let references = program.references();
    if let Some(unknown) = references.variables().into_iter().find(|name| !named.contains(name)) {
        return Err(ConditionError::Unknown(unknown.to_owned()));
    }
    let (history, request) = (references.has_variable("history"), references.has_variable("request"));
    Ok(Condition { history, request, program })
}

/// The first thing that the parser says: what follows from one mistake can fill pages.
fn told(error: &str) -> String {
    let line: String = error.trim().lines().next().unwrap_or_default().chars().take(SENTENCE).collect();
    line.replace("ERROR: <input>:", "at ")
}

/// Adds the names that macros such as `exists(call, …)` bind. False where it nests deeper than `depth`.
fn name_bound<'a>(expression: &'a IdedExpr, named: &mut Vec<&'a str>, depth: usize) -> bool {
    let Some(depth) = depth.checked_sub(1) else { return false };
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
    inner.into_iter().all(|inner| name_bound(inner, named, depth))
}

fn entries<'a>(entries: impl Iterator<Item = &'a EntryExpr>) -> Vec<&'a IdedExpr> {
    let parts = entries.flat_map(|entry| match entry {
        EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
        EntryExpr::StructField(field) => vec![&field.value],
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_says_what_it_looks_at() {
        let looks = |text: &str| Condition::compile(text).map(|condition| (condition.history, condition.request)).unwrap();
        assert_eq!(looks("model == 'a' && sample > 1"), (false, false));
        assert_eq!(looks("history.exists(call, call.status == 429)"), (true, false));
        assert_eq!(looks("request.messages.all(message, message.content.size() < 200)"), (false, true));
    }

    #[test]
    fn what_is_none_says_why() {
        let error = |text: &str| Condition::compile(text).unwrap_err();
        assert!(matches!(error("1 +"), ConditionError::Syntax(_)));
        assert!(matches!(error(""), ConditionError::Syntax(_)));
        assert_eq!(error("modle == 'a'"), ConditionError::Unknown("modle".to_owned()));
        assert!(error(&"(".repeat(CONDITION_BYTES)).to_string().len() < 300);
        assert_eq!(error(&"a".repeat(CONDITION_BYTES + 1)), ConditionError::Long(CONDITION_BYTES + 1));
    }

    /// A webhook reads what anybody may send: nothing in it may take the stack away from under a process.
    #[test]
    fn deep_ones_are_refused() {
        let nested = |open: &str, inner: &str, close: &str| {
            let count = (CONDITION_BYTES - inner.len()) / (open.len() + close.len());
            open.repeat(count) + inner + &close.repeat(count)
        };
        let deep = [
            nested("(", "true", ")"),
            nested("(", "", ""),
            nested("[", "", "]"),
            nested("[", "", ""),
            nested("{1:", "1", "}"),
            nested("size(", "model", ")"),
            nested("true?", "true", ":true"),
            nested("true?true:", "true", ""),
            nested("1+", "1", ""),
            nested("", "request", ".a"),
            nested("", "request", "[0]"),
            nested("", "model", ".size()"),
            nested("[1].map(x,", "1", ")"),
        ];
        for text in deep {
            let refused = Condition::compile(&text).map(|_| ()).unwrap_err();
            assert!(matches!(refused, ConditionError::Deep | ConditionError::Syntax(_)), "{text:.12}: {refused}");
        }
        // The parser balances these, or counts them away.
        for text in [nested("true&&", "true", ""), nested("true||", "true", ""), nested("!", "true", ""), nested("-", "1", "")] {
            Condition::compile(&text).unwrap();
        }
    }

    #[test]
    fn as_deep_as_is_taken_can_be_evaluated_by_a_worker() {
        // As large as those of tokio's workers are.
        const STACK: usize = 2 << 20;
        let chain = "1+".repeat(DEPTH - 1) + "1";
        let evaluated = std::thread::Builder::new().stack_size(STACK).spawn(move || {
            let condition = Condition::compile(&chain)?;
            Ok::<_, ConditionError>(condition.program.execute(&cel::Context::default()).map_err(|error| error.to_string()))
        });
        assert_eq!(evaluated.unwrap().join().unwrap().unwrap(), Ok(cel::Value::Int(DEPTH as i64)));
    }
}
