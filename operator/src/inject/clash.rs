//! What in a pod stands against injection.

use agentrun_crds::network::CaptureMode;
use agentrun_protocol::names::{
    ADMIN_PORT, EXCHANGE_VOLUME, GATEWAY_PORT, PROXY_PORT, ROOTS_VOLUME, SIDECAR_CONTAINER, SPOOL_VOLUME, TOKEN_VOLUME, TRUST_DIR,
    TRUST_VOLUME,
};
use serde_json::Value;

use super::config::Settings;
use super::pod::{Container, containers, items, text};
use super::reason::{Reason, Refusal};

/// The port that DNS capture listens on.
pub(super) const HTTPS_PORT: u16 = 443;
/// The sysctl that lets the sidecar do so without a capability.
pub(super) const PORT_START: &str = "net.ipv4.ip_unprivileged_port_start";

const VOLUMES: [&str; 5] = [TRUST_VOLUME, EXCHANGE_VOLUME, SPOOL_VOLUME, TOKEN_VOLUME, ROOTS_VOLUME];
/// Kinds of volumes in which no folder for another mount can be made.
const READ_ONLY: [&str; 5] = ["configMap", "secret", "downwardAPI", "projected", "image"];

/// Refuses pods that no sidecar can be put into.
pub(super) fn check(pod: &Value, settings: &Settings, injected: bool, trial: bool) -> Result<(), Refusal> {
    let spec = &pod["spec"];
    platform(pod)?;
    if !injected {
        names(spec, trial)?;
    }
    for container in containers(pod) {
        mounts(spec, &container)?;
        ports(&container, settings)?;
    }
    if settings.has(CaptureMode::Dns) {
        sysctl(spec)?;
    }
    Ok(())
}

fn platform(pod: &Value) -> Result<(), Refusal> {
    let spec = &pod["spec"];
    if pod.pointer("/metadata/annotations/kubernetes.io~1config.mirror").is_some() {
        return Err(Refusal::new(Reason::MirrorPod, "the pod mirrors a static pod of a node, which cannot be changed"));
    }
    if spec.get("hostNetwork").and_then(Value::as_bool) == Some(true) {
        let message = "hostNetwork: true would give the sidecar's ports to the whole node: leave it out";
        return Err(Refusal::new(Reason::HostNetwork, message));
    }
    let windows = |value: &str| value.eq_ignore_ascii_case("windows");
    let selected = ["kubernetes.io/os", "beta.kubernetes.io/os"].iter().any(|key| windows(text(&spec["nodeSelector"], key)));
    if selected || windows(text(&spec["os"], "name")) {
        return Err(Refusal::new(Reason::Windows, "the pod asks for Windows, and the sidecar runs on Linux alone"));
    }
    Ok(())
}

fn names(spec: &Value, trial: bool) -> Result<(), Refusal> {
    let clash = |at: String, name: &str| {
        let message = format!("{at} is called `{name}`, which is the injector's name: rename it");
        Err(Refusal::new(Reason::NameClash, message))
    };
    for list in ["initContainers", "containers"] {
        for (index, container) in items(spec, list).iter().enumerate() {
            if text(container, "name") == SIDECAR_CONTAINER {
                return clash(format!("spec.{list}[{index}]"), SIDECAR_CONTAINER);
            }
        }
    }
    for (index, volume) in items(spec, "volumes").iter().enumerate() {
        let name = text(volume, "name");
        // A trial's exchange volume is put there just before.
        if VOLUMES.contains(&name) && !(trial && name == EXCHANGE_VOLUME) {
            return clash(format!("spec.volumes[{index}]"), name);
        }
    }
    Ok(())
}

fn mounts(spec: &Value, container: &Container<'_>) -> Result<(), Refusal> {
    for (index, mount) in container.mounts().iter().enumerate() {
        if text(mount, "name") == TRUST_VOLUME {
            continue;
        }
        let path = text(mount, "mountPath").trim_end_matches('/');
        let above = TRUST_DIR.starts_with(&format!("{path}/"));
        let below = path == TRUST_DIR || path.starts_with(&format!("{TRUST_DIR}/"));
        if below || (above && read_only(spec, mount)) {
            let at = container.at();
            let message = format!("{at}.volumeMounts[{index}] is mounted at `{path}`, where {TRUST_DIR} must be: mount it elsewhere");
            return Err(Refusal::new(Reason::MountPathClash, message));
        }
    }
    Ok(())
}

/// Whether no folder for another mount can be made in it.
pub(super) fn read_only(spec: &Value, mount: &Value) -> bool {
    let kind = |volume: &Value| READ_ONLY.iter().any(|kind| volume.get(kind).is_some());
    mount.get("readOnly").and_then(Value::as_bool) == Some(true)
        || items(spec, "volumes").iter().any(|volume| text(volume, "name") == text(mount, "name") && kind(volume))
}

fn ports(container: &Container<'_>, settings: &Settings) -> Result<(), Refusal> {
    for (index, port) in items(container.value, "ports").iter().enumerate() {
        let tcp = matches!(text(port, "protocol"), "" | "TCP");
        let number = port.get("containerPort").and_then(Value::as_u64).unwrap_or_default();
        let taken = number == u64::from(PROXY_PORT)
            || number == u64::from(ADMIN_PORT)
            || (number == u64::from(GATEWAY_PORT) && settings.gateway)
            || (number == u64::from(HTTPS_PORT) && settings.has(CaptureMode::Dns));
        if tcp && taken {
            let why = if number == u64::from(HTTPS_PORT) { "with the layer Dns " } else { "" };
            let message =
                format!("{}.ports[{index}] is port {number}, which {why}is the sidecar's: listen on another port", container.at());
            return Err(Refusal::new(Reason::PortClash, message));
        }
    }
    Ok(())
}

fn sysctl(spec: &Value) -> Result<(), Refusal> {
    for sysctl in items(&spec["securityContext"], "sysctls") {
        let value = text(sysctl, "value").trim();
        if text(sysctl, "name") == PORT_START && !value.parse::<u16>().is_ok_and(|start| start <= HTTPS_PORT) {
            let message =
                format!("spec.securityContext.sysctls sets {PORT_START} to `{value}`, and the layer Dns needs {HTTPS_PORT} or less");
            return Err(Refusal::new(Reason::SysctlClash, message));
        }
    }
    Ok(())
}
