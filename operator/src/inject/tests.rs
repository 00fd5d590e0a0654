mod generated;
mod golden;
mod merging;
mod refusals;
mod speed;
mod standards;
mod trials;

use agentrun_crds::network::CaptureMode;
use serde_json::{Value, json};

use super::*;

/// An installation as the tests have it: short names, so that golden files stay readable.
fn installation() -> Installation {
    Installation {
        image: "registry.example/agentrun-sidecar:1".to_owned(),
        hub_url: "https://hub.example:8443".to_owned(),
        hub_ca: "PEM".to_owned(),
        ..Installation::default()
    }
}

fn config(layers: &[CaptureMode]) -> InjectConfig {
    let settings = Settings { capture: layers.to_vec(), ..Settings::plain() };
    InjectConfig { installation: installation(), settings, owner: Owner::Other, exchange: None }
}

fn connect() -> InjectConfig {
    config(&[CaptureMode::Connect])
}

fn all_layers() -> InjectConfig {
    config(&[CaptureMode::Connect, CaptureMode::Dns, CaptureMode::BaseUrl])
}

fn injected(pod: &Value, config: &InjectConfig) -> Injection {
    match inject(pod, config) {
        Outcome::Injected(injection) => injection,
        other => panic!("{other:?}\n{pod}"),
    }
}

/// A pod with one container, changed.
fn pod(change: Value) -> Value {
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "labels": {"agentrun.dev/run": "r"}},
        "spec": {"containers": [{"name": "agent", "image": "agent:1"}]},
    });
    json_patch::merge(&mut pod, &change);
    pod
}

/// A pod whose one container has these variables.
fn pod_with(env: Value) -> Value {
    pod(json!({"spec": {"containers": [{"name": "agent", "env": env}]}}))
}

/// A container's variables as Kubernetes reads them: the last of a name counts.
fn variables(pod: &Value, container: &str) -> std::collections::BTreeMap<String, Value> {
    let lists = ["initContainers", "containers"].into_iter().flat_map(|list| pod::items(&pod["spec"], list));
    let found = lists.into_iter().find(|item| item["name"] == container).unwrap_or_else(|| panic!("no container {container}"));
    pod::items(found, "env").iter().map(|variable| (variable["name"].as_str().unwrap().to_owned(), variable.clone())).collect()
}
