//! A session's router, as it is written in a request: `{"policy": NAME, "kwargs": {…}}`.

use std::{collections::HashMap, sync::Arc};

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::refusal::Refusal;
use crate::route::{Policy, Router};

/// Puts the policy of a request to work; `None` where it is null.
pub(super) fn router(written: &RawValue) -> Result<Option<Arc<Router>>, Refusal> {
    let mistake = |reason: String| Refusal::Mistake(format!("`router`: {reason}"));
    let Some(members) = serde_json::from_str::<Option<HashMap<String, Box<RawValue>>>>(written.get())
        .map_err(|error| mistake(format!("it is neither null nor an object: {error}")))?
    else {
        return Ok(None);
    };
    let name = members.get("policy").ok_or_else(|| mistake("`policy` is missing: give random, rules or webhook".to_owned()))?;
    let name: String = serde_json::from_str(name.get()).map_err(|error| mistake(format!("`policy` is no name: {error}")))?;
    let arguments = members.get("kwargs").map_or("{}", |arguments| arguments.get());
    let policy = match name.as_str() {
        "random" => Policy::Random(read(arguments)?),
        "rules" => Policy::Rules(read(arguments)?),
        "webhook" => Policy::Webhook(read(arguments)?),
        python if python.contains(':') => {
            let text = "it would have to be imported, and this gateway runs no Python; run it in a process of its own, and name that \
                        with the policy `webhook`";
            return Err(Refusal::Mistake(format!("Unknown routing policy {python:?}: {text}")));
        }
        other => return Err(Refusal::Mistake(format!("Unknown routing policy {other:?}: there is random, rules and webhook"))),
    };
    Router::new(&policy).map(Some).map_err(|error| mistake(error.to_string()))
}

fn read<T: DeserializeOwned>(arguments: &str) -> Result<T, Refusal> {
    serde_json::from_str(arguments).map_err(|error| Refusal::Mistake(format!("`router`: `kwargs`: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(written: &str) -> String {
        match router(&RawValue::from_string(written.to_owned()).unwrap()) {
            Ok(Some(_)) => "routed".to_owned(),
            Ok(None) => "unrouted".to_owned(),
            Err(refusal) => refusal.to_string(),
        }
    }

    #[test]
    fn a_policy_is_a_name_and_its_arguments() {
        assert_eq!(told("null"), "unrouted");
        assert_eq!(told(r#"{"policy": "random", "kwargs": {"candidates": ["a"], "seed": 0}}"#), "routed");
        assert_eq!(told(r#"{"policy": "random", "kwargs": {"candidates": ["a"], "seed": null}}"#), "routed");
        assert_eq!(told(r#"{"policy": "rules", "kwargs": {"rules": []}}"#), "routed");
        assert_eq!(told(r#"{"policy": "webhook", "kwargs": {"url": "http://127.0.0.1:1/"}}"#), "routed");
    }

    #[test]
    fn mistakes_are_told_by_their_place() {
        for (written, text) in [
            ("7", "neither null nor an object"),
            ("{}", "`policy` is missing"),
            (r#"{"policy": 7}"#, "`policy` is no name"),
            (r#"{"policy": "no_such_policy", "kwargs": {}}"#, "Unknown routing policy \"no_such_policy\""),
            (r#"{"policy": "os:system", "kwargs": {}}"#, "Unknown routing policy \"os:system\": it would have to be imported"),
            (r#"{"policy": "random"}"#, "missing field `candidates`"),
            (r#"{"policy": "random", "kwargs": null}"#, "`kwargs`"),
            (r#"{"policy": "random", "kwargs": {"candidates": []}}"#, "at least one candidate"),
            (r#"{"policy": "random", "kwargs": {"candidates": ["a"], "sed": 1}}"#, "unknown field `sed`"),
            (r#"{"policy": "random", "kwargs": {"candidates": ["a"], "seed": "1"}}"#, "`kwargs`"),
        ] {
            assert!(told(written).contains(text), "{written}: {}", told(written));
        }
    }
}
