//! The sidecar's container and the volumes it shares.

use agentrun_crds::network::{CaptureMode, ProviderSpec, UpstreamSpec};
use agentrun_protocol::names::{
    ADMIN_PORT, AUDIENCE, EXCHANGE_DIR, EXCHANGE_VOLUME, HUB_CA_ENV, HUB_URL_ENV, POD_UID_ENV, ROOTS_DIR, ROOTS_ENV, ROOTS_VOLUME,
    SIDECAR_CONTAINER, SIDECAR_USER, SPOOL_DIR, SPOOL_VOLUME, STARTUP_PATH, TOKEN_DIR, TOKEN_FILE, TOKEN_VOLUME, TRUST_DIR, TRUST_VOLUME,
};
use agentrun_protocol::pod::{CAPTURE, COMMAND, GATEWAY, PROVIDER, ROOTS_FILE, SPOOL, UPSTREAM, UPSTREAM_CA};
use serde_json::{Value, json};

use super::config::{InjectConfig, Settings, layer_name, shape_named, shape_of};
use super::proxy::Chain;
use super::spool;

/// Seconds that a token for the hub is valid; the kubelet renews it before.
const TOKEN_SECONDS: u32 = 3600;
/// Seconds that the sidecar may take until agents can start: as long as a trial may wait for the hub.
const STARTUP_SECONDS: u32 = 60;
/// Certificates and the wrapper.
const TRUST_SIZE: &str = "16Mi";
/// Input and output.
pub(super) const EXCHANGE_SIZE: &str = "16Mi";

/// The native sidecar. `bounded`: the pod's other containers all bound their disk, so that a bound here is part of the pod's own.
pub(super) fn container(config: &InjectConfig, settings: &Settings, chain: &Chain, bounded: bool) -> Value {
    let installation = &config.installation;
    let mut container = json!({
        "name": SIDECAR_CONTAINER,
        "image": installation.image,
        "args": arguments(config, settings),
        "restartPolicy": "Always",
        "env": environment(config, chain),
        "startupProbe": {
            "httpGet": {"path": STARTUP_PATH, "port": ADMIN_PORT},
            "periodSeconds": 1,
            "failureThreshold": STARTUP_SECONDS,
        },
        "resources": resources(config, bounded),
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": SIDECAR_USER,
            "runAsGroup": SIDECAR_USER,
            "readOnlyRootFilesystem": true,
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": mounts(config, settings),
        "terminationMessagePolicy": "FallbackToLogsOnError",
    });
    if let Some(policy) = &installation.image_pull_policy {
        container["imagePullPolicy"] = json!(policy);
    }
    container
}

/// The volumes that the sidecar needs; the exchange volume is the trial's own.
pub(super) fn volumes(config: &InjectConfig, settings: &Settings) -> Vec<Value> {
    let token = json!({"audience": AUDIENCE, "expirationSeconds": TOKEN_SECONDS, "path": TOKEN_FILE});
    let mut volumes = vec![
        json!({"name": TRUST_VOLUME, "emptyDir": {"medium": "Memory", "sizeLimit": TRUST_SIZE}}),
        json!({"name": SPOOL_VOLUME, "emptyDir": {"sizeLimit": config.installation.spool_size}}),
        json!({"name": TOKEN_VOLUME, "projected": {"sources": [{"serviceAccountToken": token}]}}),
    ];
    if let Some(trust) = &settings.trust {
        let item = json!({"key": trust.config_map.key, "path": ROOTS_FILE});
        volumes.push(json!({"name": ROOTS_VOLUME, "configMap": {"name": trust.config_map.name, "items": [item]}}));
    }
    volumes
}

fn arguments(config: &InjectConfig, settings: &Settings) -> Vec<String> {
    let order = [CaptureMode::Connect, CaptureMode::Dns, CaptureMode::BaseUrl];
    let layers: Vec<&str> = order.into_iter().filter(|layer| settings.has(*layer)).map(layer_name).collect();
    let mut arguments = vec![COMMAND.to_owned(), format!("{CAPTURE}={}", layers.join(","))];
    if let Some(mebibytes) = spool::mebibytes(&config.installation.spool_size) {
        arguments.push(format!("{SPOOL}={mebibytes}"));
    }
    if settings.gateway {
        arguments.push(GATEWAY.to_owned());
    }
    for provider in &settings.providers {
        arguments.push(format!("{PROVIDER}={}={},{}", provider.name, provider.base_url, shape_of(provider.shape).name()));
    }
    for upstream in &settings.upstreams {
        arguments.push(format!("{UPSTREAM}={}={}", upstream.host, upstream.url));
    }
    if settings.trust.is_some() {
        arguments.push(format!("{UPSTREAM_CA}={ROOTS_DIR}/{ROOTS_FILE}"));
    }
    arguments.extend(config.exchange.iter().flat_map(|exchange| exchange.flags.iter().cloned()));
    // Kubernetes would read `$(NAME)` as a variable of the sidecar's.
    arguments.into_iter().map(|argument| argument.replace("$(", "$$(")).collect()
}

/// Takes hosts and the gateway from the flags of a sidecar that is in the pod already: they are what the pod's other containers were fitted to.
pub(super) fn recall(pod: &Value, settings: &mut Settings) {
    let Some(index) = super::pod::sidecar(pod) else { return };
    let arguments = super::pod::items(&pod["spec"]["initContainers"][index], "args");
    let arguments: Vec<String> = arguments.iter().filter_map(Value::as_str).map(|argument| argument.replace("$$(", "$(")).collect();
    let values = |flag: &str| {
        let flag = format!("{flag}=");
        arguments.iter().filter_map(move |argument| argument.strip_prefix(&flag)).filter_map(|value| value.split_once('='))
    };
    settings.providers = values(PROVIDER)
        .filter_map(|(name, rest)| {
            let (url, shape) = rest.rsplit_once(',')?;
            Some(ProviderSpec { name: name.to_owned(), base_url: url.to_owned(), shape: shape_named(shape)? })
        })
        .collect();
    let upstreams = values(UPSTREAM).map(|(host, url)| UpstreamSpec { host: host.to_owned(), url: url.to_owned() });
    settings.upstreams = upstreams.collect();
    settings.gateway = arguments.iter().any(|argument| argument == GATEWAY);
}

fn environment(config: &InjectConfig, chain: &Chain) -> Vec<Value> {
    let installation = &config.installation;
    let mut variables = vec![
        json!({"name": HUB_URL_ENV, "value": installation.hub_url}),
        json!({"name": HUB_CA_ENV, "value": installation.hub_ca}),
        json!({"name": POD_UID_ENV, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.uid"}}}),
    ];
    if !installation.roots.is_empty() {
        variables.push(json!({"name": ROOTS_ENV, "value": installation.roots}));
    }
    if let Some(log) = &installation.log {
        variables.push(json!({"name": "RUST_LOG", "value": log}));
    }
    variables.extend(chain.variables.iter().cloned());
    variables
}

/// Requests are limits, so that a Guaranteed pod stays one and quotas are content. A bound on disk alone would bound the whole pod's.
fn resources(config: &InjectConfig, bounded: bool) -> Value {
    let resources = &config.installation.resources;
    let requests = json!({"cpu": resources.cpu, "memory": resources.memory, "ephemeral-storage": resources.ephemeral_storage});
    let mut limits = json!({"cpu": resources.cpu, "memory": resources.memory});
    if bounded {
        limits["ephemeral-storage"] = json!(resources.ephemeral_storage);
    }
    json!({"requests": requests, "limits": limits})
}

fn mounts(config: &InjectConfig, settings: &Settings) -> Vec<Value> {
    let mut mounts = vec![
        json!({"name": TRUST_VOLUME, "mountPath": TRUST_DIR}),
        json!({"name": SPOOL_VOLUME, "mountPath": SPOOL_DIR}),
        json!({"name": TOKEN_VOLUME, "mountPath": TOKEN_DIR, "readOnly": true}),
    ];
    if settings.trust.is_some() {
        mounts.push(json!({"name": ROOTS_VOLUME, "mountPath": ROOTS_DIR, "readOnly": true}));
    }
    if config.exchange.is_some() {
        mounts.push(json!({"name": EXCHANGE_VOLUME, "mountPath": EXCHANGE_DIR}));
    }
    mounts
}
