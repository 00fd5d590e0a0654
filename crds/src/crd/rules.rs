//! Rules between fields, as expressions that an API server evaluates.
//!
//! What only one machine can do is refused here and nowhere else. What would cost too much to evaluate (each model of each combo against
//! each role's list) or lies in the pod template, which has no schema, is told by the operator's webhook.

use serde_json::{Value, json};

use super::structural::add_rule;

/// An expression that must hold for the schema at a path.
struct Rule {
    /// Keys below `properties`, from the resource down.
    at: &'static [&'static str],
    expression: &'static str,
    message: &'static str,
    /// The field below the path that is told, where it is not the path's own.
    told: Option<&'static str>,
}

const RULES: [Rule; 6] = [
    Rule {
        at: &[],
        expression: "self.metadata.name.matches(r'^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && self.metadata.name.size() <= 63",
        message: "metadata.name labels the run's pods and begins the names of its Jobs: write at most 63 lower-case letters, digits and `-`, \
                  beginning and ending with a letter or digit",
        told: Some(".metadata.name"),
    },
    Rule {
        at: &["spec"],
        expression: "!has(self.combos) || self.combos.all(combo, size(combo.models) == size(self.roles) && \
                     self.roles.all(role, role.name in combo.models))",
        message: "every combo in `combos` names a model for every role, and nothing else",
        told: Some(".combos"),
    },
    Rule {
        at: &["spec", "dataset"],
        expression: "!has(self.file)",
        message: "`file` lies on one machine, and a cluster cannot read it: put the lines into a ConfigMap and name it in `configMap`, \
                  or let `agentrun apply` do that",
        told: None,
    },
    Rule {
        at: &["spec", "scoring"],
        expression: "!has(self.command)",
        message: "`command` runs on one machine, with `agentrun run`: in a cluster use `container` with an image that holds the program",
        told: None,
    },
    Rule {
        at: &["spec", "routing", "random"],
        expression: "!has(self.perDatapoint) || !self.perDatapoint || has(self.seed)",
        message: "`perDatapoint` needs a `seed`: without one every draw is new anyway",
        told: Some(".perDatapoint"),
    },
    Rule {
        at: &["spec", "routing", "webhook"],
        expression: "!self.url.startsWith('unix:')",
        message: "a socket lies on one machine, and a pod's sidecar cannot reach it: write http://HOST:PORT/PATH",
        told: Some(".url"),
    },
];

/// How two values of a field are compared.
enum Compared {
    /// As they are. Lists that are sets or maps are equal in any order.
    Value,
    /// Roles: their order and their models' is the order of the combos.
    Roles,
    /// Either may be absent, which is the empty list.
    List,
    /// Either may be absent.
    Optional,
}

/// Fields of the spec that are fixed once the first trial has started: what has run would be of another evaluation.
const FIXED: [(&str, Compared); 14] = [
    ("roles", Compared::Roles),
    ("combos", Compared::List),
    ("dataset", Compared::Value),
    ("samples", Compared::Value),
    ("agent", Compared::Value),
    ("template", Compared::Value),
    ("scoring", Compared::Value),
    ("cache", Compared::Value),
    ("routing", Compared::Optional),
    ("capture", Compared::Value),
    ("providers", Compared::List),
    ("upstreams", Compared::List),
    ("trust", Compared::Optional),
    // Kubernetes does not let a Job's own limit of retries be changed.
    ("limits.retries", Compared::Value),
];

/// Adds the rules to the resource's schema.
pub(super) fn add(schema: &mut Value) {
    for rule in RULES {
        let place = rule.at.iter().try_fold(&mut *schema, |schema, key| schema.get_mut("properties")?.get_mut(key));
        let fields = place.and_then(Value::as_object_mut).expect("a rule names a field of the resource");
        add_rule(fields, rule.expression, rule.message, rule.told);
    }
    let rules = schema["x-kubernetes-validations"].as_array_mut().expect("the resource itself has rules");
    rules.extend(FIXED.iter().map(fixed));
}

fn fixed((field, compared): &(&str, Compared)) -> Value {
    let (new, old) = (format!("self.spec.{field}"), format!("oldSelf.spec.{field}"));
    let same = match compared {
        Compared::Value => format!("{new} == {old}"),
        Compared::Roles => {
            let order = |roles: &str| format!("{roles}.map(role, [role.name] + role.models.map(model, model))");
            format!("({new} == {old} && {} == {})", order(&new), order(&old))
        }
        Compared::List => format!("(has({new}) ? {new} : []) == (has({old}) ? {old} : [])"),
        Compared::Optional => format!("(has({new}) ? has({old}) && {new} == {old} : !has({old}))"),
    };
    json!({
        "rule": format!("!has(oldSelf.status) || !has(oldSelf.status.startTime) || {same}"),
        "message": format!("`{field}` cannot be changed once the first trial has started: make another AgentRun"),
        "fieldPath": format!(".spec.{field}"),
    })
}
