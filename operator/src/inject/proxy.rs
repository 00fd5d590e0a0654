//! A pod's own proxy: found, chained, overridden or refused, never silently lost. Values are never told: they may hold passwords.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use agentrun_crds::network::CaptureMode;
use agentrun_llm::provider::Hosts;
use agentrun_protocol::names::PROXY_PORT;
use serde_json::{Value, json};

use super::config::{ProxyPolicy, Settings};
use super::pod::{Container, text};
use super::reason::{Reason, Refusal};

/// The sidecar's port, as agents see it.
pub(super) const ADDRESS: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, PROXY_PORT));
/// Hosts that agents ask directly. Suffixes and literals alone: address ranges are not portable among clients.
const DIRECT: [&str; 5] = ["localhost", "127.0.0.1", "::1", ".svc", ".cluster.local"];

/// Variables that name a proxy.
pub(super) const PROXY: [&str; 5] = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "grpc_proxy"];
const ALL: [&str; 2] = ["ALL_PROXY", "all_proxy"];
const NO_PROXY: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// The sidecar's way out, as variables of its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Chain {
    pub(super) variables: Vec<Value>,
}

/// The value that proxy variables get.
pub(super) fn url() -> String {
    format!("http://{ADDRESS}")
}

/// Finds the pod's own proxies and what becomes of them.
pub(super) fn chain(containers: &[Container<'_>], settings: &Settings, hosts: &Hosts) -> Result<Chain, Refusal> {
    let mut found = Found::default();
    for container in containers {
        // A container that goes through the sidecar already was looked at before: its ALL_PROXY is chained, or less than what was.
        let done = container.env().iter().any(|variable| text(variable, "name") == PROXY[0] && text(variable, "value") == url());
        for variable in container.env() {
            let name = text(variable, "name");
            if PROXY.contains(&name) || (ALL.contains(&name) && !done) {
                found.proxy(container, name, variable, settings)?;
            } else if NO_PROXY.contains(&name) && settings.proxy == ProxyPolicy::Deny && settings.has(CaptureMode::Connect) {
                refuse_hiding(container, name, variable, hosts)?;
            }
        }
    }
    if settings.proxy != ProxyPolicy::Chain {
        return Ok(Chain::default());
    }
    found.chain(containers)
}

#[derive(Default)]
struct Found {
    https: Vec<Value>,
    http: Vec<Value>,
    all: Vec<Value>,
}

impl Found {
    fn proxy(&mut self, container: &Container<'_>, name: &str, variable: &Value, settings: &Settings) -> Result<(), Refusal> {
        let source = source(variable);
        let literal = source.get("value").and_then(Value::as_str);
        if literal.is_some_and(|value| value.is_empty() || value == url()) {
            return Ok(());
        }
        let conflict = |why: &str| Err(Refusal::new(Reason::ProxyConflict, format!("{} sets {name}: {why}", container.at())));
        if !settings.has(CaptureMode::Connect) {
            return conflict("without the layer Connect its calls would go past the sidecar: add Connect, or take it out");
        }
        match settings.proxy {
            ProxyPolicy::Override => return Ok(()),
            ProxyPolicy::Deny => return conflict("set annotation agentrun.dev/proxy-policy to Chain or Override, or take it out"),
            ProxyPolicy::Chain => {}
        }
        if let Some(value) = literal {
            if value.contains("$(") {
                return conflict("it refers to another variable, which the sidecar does not have: write it out, or choose Override");
            }
            if value.split_once("://").is_some_and(|(scheme, _)| !scheme.eq_ignore_ascii_case("http")) {
                return conflict("only an http:// proxy can be chained: use one, or choose Override");
            }
        }
        let list = match name {
            "HTTP_PROXY" | "http_proxy" => &mut self.http,
            _ if ALL.contains(&name) => &mut self.all,
            _ => &mut self.https,
        };
        if !list.contains(&source) {
            list.push(source);
        }
        if list.len() > 1 {
            return conflict("another container or spelling names another proxy, and the sidecar has one way out: choose one, or Override");
        }
        Ok(())
    }

    fn chain(self, containers: &[Container<'_>]) -> Result<Chain, Refusal> {
        let all = self.all.into_iter().next();
        let https = self.https.into_iter().next().or_else(|| all.clone());
        let http = self.http.into_iter().next().or(all);
        let mut variables = Vec::new();
        for (name, source) in [("HTTPS_PROXY", https), ("HTTP_PROXY", http)] {
            variables.extend(source.map(|source| named(name, source)));
        }
        if !variables.is_empty() {
            variables.extend(own_exceptions(containers).map(|source| named("NO_PROXY", source)));
        }
        Ok(Chain { variables })
    }
}

/// The author's `NO_PROXY`: all literals together, or else the first that comes from elsewhere.
fn own_exceptions(containers: &[Container<'_>]) -> Option<Value> {
    let variables =
        || containers.iter().flat_map(|container| container.env()).filter(|variable| NO_PROXY.contains(&text(variable, "name")));
    let mut entries: Vec<&str> = Vec::new();
    for entry in variables().flat_map(|variable| text(variable, "value").split(',')).map(str::trim) {
        if !entry.is_empty() && !entries.contains(&entry) {
            entries.push(entry);
        }
    }
    if !entries.is_empty() {
        return Some(json!({"value": entries.join(",")}));
    }
    variables().find(|variable| from_elsewhere(variable)).map(source)
}

fn refuse_hiding(container: &Container<'_>, name: &str, variable: &Value, hosts: &Hosts) -> Result<(), Refusal> {
    let hidden = exceptions(std::slice::from_ref(variable), hosts).1;
    let why = match hidden.first() {
        Some(entry) => format!("`{}` keeps LLM calls from being seen", entry.escape_debug()),
        None if from_elsewhere(variable) => "it comes from elsewhere and may keep LLM calls from being seen".to_owned(),
        None => return Ok(()),
    };
    let message = format!("{} sets {name}: {why}: take it out, or set annotation agentrun.dev/proxy-policy to Override", container.at());
    Err(Refusal::new(Reason::ProxyConflict, message))
}

/// The value of `NO_PROXY` for a container: ours and the author's, and which of the author's entries it leaves out, as they hide LLM hosts.
pub(super) fn exceptions(env: &[Value], hosts: &Hosts) -> (String, Vec<String>) {
    let names: Vec<String> = hosts.names().into_iter().map(|name| name.replace('*', "x")).collect();
    let hides = |entry: &str| {
        let suffix = entry.trim_start_matches("*.").trim_start_matches('.').to_ascii_lowercase();
        let suffix =
            suffix.split_once(':').map_or(suffix.as_str(), |(host, port)| if port.parse::<u16>().is_ok() { host } else { &suffix });
        suffix == "*" || names.iter().any(|name| name == suffix || name.strip_suffix(suffix).is_some_and(|rest| rest.ends_with('.')))
    };
    let mut entries: Vec<&str> = DIRECT.into_iter().filter(|entry| !hides(entry)).collect();
    let mut hidden = Vec::new();
    let own = env.iter().filter(|variable| NO_PROXY.contains(&text(variable, "name")));
    for entry in own.flat_map(|variable| text(variable, "value").split(',')).map(str::trim).filter(|entry| !entry.is_empty()) {
        if hides(entry) {
            hidden.push(entry.to_owned());
        } else if !entries.contains(&entry) {
            entries.push(entry);
        }
    }
    (entries.join(","), hidden)
}

/// A variable without its name: `value` or `valueFrom`.
fn source(variable: &Value) -> Value {
    match variable.get("valueFrom").filter(|from| !from.is_null()) {
        Some(from) => json!({"valueFrom": from}),
        None => json!({"value": text(variable, "value")}),
    }
}

/// Whether a variable's value is not written in the pod.
pub(super) fn from_elsewhere(variable: &Value) -> bool {
    variable.get("valueFrom").is_some_and(|from| !from.is_null())
}

fn named(name: &str, source: Value) -> Value {
    let mut variable = json!({"name": name});
    if let (Value::Object(variable), Value::Object(source)) = (&mut variable, source) {
        variable.extend(source);
    }
    variable
}
