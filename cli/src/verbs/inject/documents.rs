//! Manifests with pods in them: read, looked into, written.

use agentrun_crds::agent_run::KIND;
use serde_json::{Value, json};

/// Where a manifest's pod stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Template {
    /// At this JSON pointer.
    At(&'static str),
    /// The manifest is an AgentRun.
    Trial,
    /// Nowhere.
    None,
}

/// The documents of a YAML or JSON text; the items of lists one by one.
pub(super) fn read(text: &str) -> Result<Vec<Value>, String> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|error| error.to_string())?;
    let mut flat = Vec::new();
    for document in documents {
        let is_list = document.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("List"));
        match document.get("items").and_then(Value::as_array).filter(|_| is_list) {
            Some(items) => flat.extend(items.iter().cloned()),
            None if document.is_null() => {}
            None if document.is_object() => flat.push(document),
            None => return Err("a document is no mapping".to_owned()),
        }
    }
    if flat.is_empty() { Err("there is no manifest in it".to_owned()) } else { Ok(flat) }
}

/// Where the pod of a manifest is, by its kind, and for unknown kinds where most have it.
pub(super) fn template(document: &Value) -> Template {
    match document.get("kind").and_then(Value::as_str) {
        Some("Pod") => Template::At(""),
        Some("PodTemplate") => Template::At("/template"),
        Some("CronJob") => Template::At("/spec/jobTemplate/spec/template"),
        Some(KIND) => Template::Trial,
        _ if document.pointer("/spec/template/spec/containers").is_some() => Template::At("/spec/template"),
        _ => Template::None,
    }
}

/// What people call it: `Job nightly`.
pub(super) fn title(document: &Value) -> String {
    let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str);
    let kind = text("/kind").unwrap_or("manifest");
    text("/metadata/name").or_else(|| text("/metadata/generateName")).map_or_else(|| kind.to_owned(), |name| format!("{kind} {name}"))
}

/// As YAML; several documents one after the other.
pub(super) fn yaml(documents: &[Value]) -> anyhow::Result<String> {
    let texts: Result<Vec<String>, _> = documents.iter().map(serde_saphyr::to_string).collect();
    Ok(super::written(texts)?.join("---\n"))
}

/// As JSON; several documents as a list that kubectl takes.
pub(super) fn json(documents: &[Value]) -> String {
    let whole = match documents {
        [one] => one.clone(),
        several => json!({"apiVersion": "v1", "kind": "List", "items": several}),
    };
    format!("{whole:#}\n")
}
