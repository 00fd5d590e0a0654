//! The agent's pod: a PodTemplateSpec that is kept as written, with views of what a trial needs of it.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A PodTemplateSpec. No schema below it: Kubernetes checks its own fields, and fields it gains later are kept too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PodTemplate(pub Value);

impl JsonSchema for PodTemplate {
    fn schema_name() -> Cow<'static, str> {
        "PodTemplate".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "required": ["spec"]})
    }
}

/// What a manifest's check asks of a template: only what a trial reads. Unknown fields are kept everywhere.
pub(crate) fn checked_schema() -> Value {
    let strings = json!({"type": "array", "items": {"type": "string"}});
    let env = json!({
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
        "items": {
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": true,
            "required": ["name"],
            "properties": {
                "name": {"type": "string", "minLength": 1, "pattern": "^[^=\\x00]+$", "x-rule": "text without `=`"},
                "value": {"type": "string", "maxLength": 131_072, "pattern": "^[^\\x00]*$", "x-rule": "text without NUL"},
                "valueFrom": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            },
        },
    });
    let container = json!({
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": true,
        "required": ["name"],
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 63},
            "image": {"type": "string"},
            "command": strings,
            "args": strings,
            "workingDir": {"type": "string"},
            "env": env,
        },
    });
    json!({
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": true,
        "required": ["spec"],
        "properties": {
            "metadata": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "spec": {
                "type": "object",
                "x-kubernetes-preserve-unknown-fields": true,
                "required": ["containers"],
                "properties": {
                    "containers": {
                        "type": "array",
                        "minItems": 1,
                        "x-kubernetes-list-type": "map",
                        "x-kubernetes-list-map-keys": ["name"],
                        "items": container,
                    },
                },
            },
        },
    })
}

/// What a trial reads of a container.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Its image, if named.
    pub image: Option<String>,
    /// The program and its first arguments; empty where the image's own is meant.
    pub command: Vec<String>,
    /// Further arguments.
    pub args: Vec<String>,
    /// The folder it starts in.
    pub working_dir: Option<String>,
    /// Its environment, in order.
    pub env: Vec<EnvVar>,
    /// Fields that this view leaves out, such as `resources` or `volumeMounts`, in order.
    pub other_fields: Vec<String>,
}

/// An environment variable of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvVar {
    /// Its name.
    pub name: String,
    /// Its literal value; `None` where it comes from elsewhere (`valueFrom`).
    pub value: Option<String>,
}

impl PodTemplate {
    /// The containers, in order.
    pub fn containers(&self) -> Vec<Container> {
        let list = self.0.pointer("/spec/containers").and_then(Value::as_array);
        list.into_iter().flatten().map(Container::of).collect()
    }

    /// The agent's container: the one named, or the only one.
    pub fn agent_container(&self, name: Option<&str>) -> Option<Container> {
        let mut containers = self.containers();
        match name {
            Some(name) => containers.into_iter().find(|container| container.name == name),
            None if containers.len() == 1 => containers.pop(),
            None => None,
        }
    }

    /// Fields of the pod beside its containers, such as `spec.volumes` or `metadata`, in order.
    pub fn other_fields(&self) -> Vec<String> {
        let outer = self.0.as_object().into_iter().flat_map(|fields| fields.keys()).filter(|key| *key != "spec").cloned();
        let spec = self.0.get("spec").and_then(Value::as_object).into_iter().flat_map(|fields| fields.keys());
        outer.chain(spec.filter(|key| *key != "containers").map(|key| format!("spec.{key}"))).collect()
    }
}

impl Container {
    fn of(value: &Value) -> Self {
        const READ: [&str; 6] = ["name", "image", "command", "args", "workingDir", "env"];
        let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let texts = |key: &str| -> Vec<String> {
            value.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(|item| item.as_str().map(str::to_owned)).collect()
        };
        let fields = value.as_object().into_iter().flat_map(|fields| fields.keys());
        Self {
            name: text("name").unwrap_or_default(),
            image: text("image"),
            command: texts("command"),
            args: texts("args"),
            working_dir: text("workingDir"),
            env: value.get("env").and_then(Value::as_array).into_iter().flatten().filter_map(EnvVar::of).collect(),
            other_fields: fields.filter(|key| !READ.contains(&key.as_str())).cloned().collect(),
        }
    }
}

impl EnvVar {
    /// A variable without value and source is empty, as in Kubernetes.
    fn of(value: &Value) -> Option<Self> {
        let name = value.get("name")?.as_str()?.to_owned();
        let literal = value.get("value").and_then(Value::as_str).map(str::to_owned);
        let from_elsewhere = value.get("valueFrom").is_some_and(|from| !from.is_null());
        Some(Self { name, value: if from_elsewhere { None } else { Some(literal.unwrap_or_default()) } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template() -> PodTemplate {
        PodTemplate(json!({
            "metadata": {"labels": {"a": "b"}},
            "spec": {
                "volumes": [],
                "containers": [
                    {"name": "agent", "image": "i", "command": ["python3", "-u"], "args": ["agent.py"], "workingDir": "/app",
                     "resources": {}, "env": [
                        {"name": "KEY", "value": "x"}, {"name": "EMPTY"}, {"name": "SECRET", "valueFrom": {"secretKeyRef": {}}}]},
                    {"name": "log"},
                ],
            },
        }))
    }

    #[test]
    fn the_agents_container_is_the_one_named_or_the_only_one() {
        assert_eq!(template().agent_container(Some("log")).unwrap().name, "log");
        assert_eq!(template().agent_container(Some("nope")), None);
        assert_eq!(template().agent_container(None), None);
        let alone = PodTemplate(json!({"spec": {"containers": [{"name": "a"}]}}));
        assert_eq!(alone.agent_container(None).unwrap().name, "a");
    }

    #[test]
    fn a_view_says_what_it_leaves_out() {
        let agent = template().agent_container(Some("agent")).unwrap();
        assert_eq!((agent.command, agent.args), (vec!["python3".to_owned(), "-u".to_owned()], vec!["agent.py".to_owned()]));
        let env: Vec<(&str, Option<&str>)> = agent.env.iter().map(|variable| (variable.name.as_str(), variable.value.as_deref())).collect();
        assert_eq!(env, [("KEY", Some("x")), ("EMPTY", Some("")), ("SECRET", None)]);
        assert_eq!(agent.other_fields, ["resources"]);
        assert_eq!(template().other_fields(), ["metadata", "spec.volumes"]);
    }

    #[test]
    fn nonsense_is_no_container_rather_than_a_panic() {
        for value in
            [json!(null), json!([]), json!({"spec": 3}), json!({"spec": {"containers": {"a": 1}}}), json!({"spec": {"containers": [3]}})]
        {
            let template = PodTemplate(value);
            assert!(template.containers().iter().all(|container| container.name.is_empty()));
            let _ = template.other_fields();
        }
    }
}
