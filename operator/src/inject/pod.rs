//! Views on a pod's JSON: what the injector reads of it, checked once so that nothing below has to doubt a type.

use agentrun_protocol::names::{INJECTED_ANNOTATION, SIDECAR_CONTAINER};
use serde_json::Value;

use super::reason::{Reason, Refusal};

/// The most containers that are looked at; Kubernetes itself has no bound but the object's size.
pub(crate) const MAX_CONTAINERS: usize = 256;

/// A container of the pod's, ours left out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Container<'a> {
    /// `initContainers` or `containers`.
    pub(crate) list: &'static str,
    /// Its place in the list.
    pub(crate) index: usize,
    pub(crate) name: &'a str,
    pub(crate) value: &'a Value,
}

impl<'a> Container<'a> {
    /// Where it stands, as in `spec.containers[0]`.
    pub(crate) fn at(&self) -> String {
        format!("spec.{}[{}]", self.list, self.index)
    }

    pub(crate) fn env(&self) -> &'a [Value] {
        items(self.value, "env")
    }

    pub(crate) fn mounts(&self) -> &'a [Value] {
        items(self.value, "volumeMounts")
    }
}

/// The pod's own containers, init containers first, the sidecar left out.
pub(crate) fn containers(pod: &Value) -> Vec<Container<'_>> {
    let spec = &pod["spec"];
    let of = |list: &'static str| {
        items(spec, list).iter().enumerate().map(move |(index, value)| Container { list, index, name: text(value, "name"), value })
    };
    of("initContainers").chain(of("containers")).filter(|container| container.name != SIDECAR_CONTAINER).collect()
}

/// Where the sidecar stands in `initContainers`, if it does.
pub(crate) fn sidecar(pod: &Value) -> Option<usize> {
    items(&pod["spec"], "initContainers").iter().position(|container| text(container, "name") == SIDECAR_CONTAINER)
}

/// The sidecar's annotation, if it says that the pod was injected.
pub(crate) fn injected(pod: &Value) -> Option<Value> {
    let note: Value = serde_json::from_str(annotation(pod, INJECTED_ANNOTATION)?).ok()?;
    note.get("layers").is_some_and(Value::is_array).then_some(note)
}

/// An annotation of the pod's.
pub(crate) fn annotation<'a>(pod: &'a Value, name: &str) -> Option<&'a str> {
    pod.get("metadata")?.get("annotations")?.get(name)?.as_str()
}

/// A list below an object; empty where there is none.
pub(crate) fn items<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// A text below an object; empty where there is none.
pub(crate) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Whether everything that is read has the type that Kubernetes gives it.
pub(crate) fn check(pod: &Value) -> Result<(), Refusal> {
    object(pod, "the pod")?;
    if let Some(metadata) = member(pod, "metadata") {
        object(metadata, "metadata")?;
        for key in ["annotations", "labels"] {
            texts(metadata, key, "metadata")?;
        }
    }
    let spec = pod.get("spec").ok_or_else(|| malformed("spec", "is missing"))?;
    object(spec, "spec")?;
    texts(spec, "nodeSelector", "spec")?;
    for key in ["securityContext", "os"] {
        if let Some(value) = member(spec, key) {
            object(value, &format!("spec.{key}"))?;
        }
    }
    if let Some(context) = member(spec, "securityContext") {
        objects(context, "sysctls", "spec.securityContext", &["name", "value"])?;
    }
    objects(spec, "volumes", "spec", &["name"])?;
    objects(spec, "hostAliases", "spec", &["ip"])?;
    let mut count = 0;
    for list in ["initContainers", "containers"] {
        objects(spec, list, "spec", &["name"])?;
        count += items(spec, list).len();
        if count > MAX_CONTAINERS {
            let message = format!("the pod has more than {MAX_CONTAINERS} containers");
            return Err(Refusal::new(Reason::TooManyContainers, message));
        }
        for (index, container) in items(spec, list).iter().enumerate() {
            container_shape(container, &format!("spec.{list}[{index}]"))?;
        }
    }
    if items(spec, "containers").is_empty() {
        return Err(malformed("spec.containers", "is empty"));
    }
    Ok(())
}

fn container_shape(container: &Value, at: &str) -> Result<(), Refusal> {
    objects(container, "env", at, &["name"])?;
    for (index, variable) in items(container, "env").iter().enumerate() {
        if variable.get("value").is_some_and(|value| !value.is_string() && !value.is_null()) {
            return Err(malformed(&format!("{at}.env[{index}].value"), "is no text: put it in quotes"));
        }
    }
    objects(container, "volumeMounts", at, &["name", "mountPath"])?;
    objects(container, "ports", at, &[])?;
    for key in ["command", "args"] {
        if let Some(value) = member(container, key)
            && !value.as_array().is_some_and(|words| words.iter().all(Value::is_string))
        {
            return Err(malformed(&format!("{at}.{key}"), "is no list of texts"));
        }
    }
    Ok(())
}

/// A member that is there and not null.
fn member<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    value.get(key).filter(|value| !value.is_null())
}

fn object(value: &Value, at: &str) -> Result<(), Refusal> {
    if value.is_object() { Ok(()) } else { Err(malformed(at, "is no mapping")) }
}

/// A mapping of texts, where there is one.
fn texts(value: &Value, key: &str, at: &str) -> Result<(), Refusal> {
    let Some(map) = member(value, key) else { return Ok(()) };
    match map.as_object() {
        Some(map) if map.values().all(Value::is_string) => Ok(()),
        _ => Err(malformed(&format!("{at}.{key}"), "is no mapping of texts")),
    }
}

/// A list of objects with texts in them, where there is one.
fn objects(value: &Value, key: &str, at: &str, required: &[&str]) -> Result<(), Refusal> {
    let Some(list) = member(value, key) else { return Ok(()) };
    let list = list.as_array().ok_or_else(|| malformed(&format!("{at}.{key}"), "is no list"))?;
    for (index, item) in list.iter().enumerate() {
        object(item, &format!("{at}.{key}[{index}]"))?;
        for name in required {
            if text(item, name).is_empty() {
                return Err(malformed(&format!("{at}.{key}[{index}].{name}"), "is missing, empty or no text"));
            }
        }
    }
    Ok(())
}

fn malformed(at: &str, what: &str) -> Refusal {
    Refusal::new(Reason::MalformedPod, format!("{at} {what}"))
}
