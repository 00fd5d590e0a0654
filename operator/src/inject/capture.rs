//! DNS capture: LLM hosts answer on loopback. And which of the hosts that the table knows by patterns the pod means.

use std::collections::BTreeSet;

use agentrun_llm::provider::Hosts;
use serde_json::{Value, json};

use super::clash::{HTTPS_PORT, PORT_START};
use super::config::{Settings, shape_of};
use super::pod::{Container, items, text};
use super::reason::{Reason, Refusal};

/// The address that DNS capture gives LLM hosts.
const LOOPBACK: &str = "127.0.0.1";
/// Longer values of variables are no URLs.
const MAX_URL: usize = 2048;

/// The built-in table and the run's providers.
pub(super) fn hosts(settings: &Settings) -> Result<Hosts, Refusal> {
    let mut hosts = Hosts::builtin();
    for provider in &settings.providers {
        let shape = shape_of(provider.shape);
        hosts.add(&provider.name, &provider.base_url, shape).map_err(|error| Refusal::new(Reason::BadSettings, error.to_string()))?;
    }
    Ok(hosts)
}

/// LLM hosts that the pod or the run names, of those that the table knows by a pattern alone: an Azure resource, a region of Bedrock's.
pub(super) fn named_hosts(containers: &[Container<'_>], settings: &Settings, hosts: &Hosts) -> BTreeSet<String> {
    let mut named: BTreeSet<String> = settings.upstreams.iter().map(|upstream| upstream.host.to_ascii_lowercase()).collect();
    for variable in containers.iter().flat_map(|container| container.env()) {
        let value = text(variable, "value");
        if value.len() > MAX_URL {
            continue;
        }
        if let Some(rest) = value.strip_prefix("https://") {
            let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
            named.extend(authority.split(':').next().map(str::to_ascii_lowercase));
        } else if matches!(text(variable, "name"), "AWS_REGION" | "AWS_DEFAULT_REGION") {
            named.insert(format!("bedrock-runtime.{value}.amazonaws.com"));
        }
    }
    named.retain(|host| is_name(host) && hosts.find(host).is_some());
    named
}

/// All hosts that DNS capture answers for, and the providers that it cannot reach.
fn captured(containers: &[Container<'_>], settings: &Settings, hosts: &Hosts) -> (BTreeSet<String>, Vec<String>) {
    let mut captured = named_hosts(containers, settings, hosts);
    let mut missed = Vec::new();
    for name in hosts.names().into_iter().filter(|name| !name.contains('*')) {
        let Some(provider) = hosts.find(name) else { continue };
        if !provider.plain && provider.port.is_none_or(|port| port == HTTPS_PORT) && is_name(name) {
            captured.insert(name.to_owned());
        } else {
            captured.remove(name);
            missed.push(provider.name.clone());
        }
    }
    (captured, missed)
}

/// What DNS capture adds to a pod.
#[derive(Debug, Default)]
pub(super) struct Dns {
    /// A new entry of `hostAliases`, if one is needed.
    pub(super) alias: Option<Value>,
    /// A new entry of `securityContext.sysctls`, if one is needed.
    pub(super) sysctl: Option<Value>,
    pub(super) warnings: Vec<String>,
}

/// Plans DNS capture.
pub(super) fn dns(spec: &Value, containers: &[Container<'_>], settings: &Settings, hosts: &Hosts) -> Result<Dns, Refusal> {
    let (mut captured, missed) = captured(containers, settings, hosts);
    for (index, alias) in items(spec, "hostAliases").iter().enumerate() {
        for name in items(alias, "hostnames").iter().filter_map(Value::as_str) {
            if captured.contains(&name.to_ascii_lowercase()) && text(alias, "ip") != LOOPBACK {
                let message =
                    format!("spec.hostAliases[{index}] gives {name} an address, and its calls are to be seen: use spec.upstreams");
                return Err(Refusal::new(Reason::HostAliasClash, message));
            }
            captured.remove(&name.to_ascii_lowercase());
        }
    }
    let names: Vec<&String> = captured.iter().collect();
    let alias = (!names.is_empty()).then(|| json!({"ip": LOOPBACK, "hostnames": names}));
    let set = items(&spec["securityContext"], "sysctls").iter().any(|sysctl| text(sysctl, "name") == PORT_START);
    let sysctl = (!set).then(|| json!({"name": PORT_START, "value": HTTPS_PORT.to_string()}));
    let warnings =
        missed.iter().map(|name| format!("provider {name}: Dns reaches https on port 443 alone; its calls need Connect or BaseUrl"));
    Ok(Dns { alias, sysctl, warnings: warnings.collect() })
}

/// Whether Kubernetes takes it as a host name in `hostAliases`: a name with a dot, no address.
fn is_name(host: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.len() <= 253 && host.contains('.') && host.split('.').all(label) && host.parse::<std::net::IpAddr>().is_err()
}
