//! Kubernetes' Pod Security Standards, read off a pod's JSON: what `baseline` and `restricted` would say to it.
//!
//! The rules are those of kubernetes.io/docs/concepts/security/pod-security-standards, for Linux pods.

use serde_json::Value;

use super::pod::{items, text};

/// A level of the standards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Everything is allowed.
    Privileged,
    /// Known ways out of a container are closed.
    Baseline,
    /// Hardening as a rule.
    Restricted,
}

impl Level {
    /// Its name in Kubernetes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        }
    }
}

/// Something that a level forbids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The lowest level that forbids it.
    pub level: Level,
    /// The field, as in `spec.containers[0].securityContext.privileged`.
    pub field: String,
    /// What is wrong with it, to follow the field.
    pub message: String,
}

/// Everything in a pod that a level forbids, baseline's first.
pub fn violations(pod: &Value) -> Vec<Violation> {
    let mut found = Found::default();
    let spec = &pod["spec"];
    found.pod(pod, spec);
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for (index, container) in items(spec, list).iter().enumerate() {
            found.container(spec, container, &format!("spec.{list}[{index}]"));
        }
    }
    found.0.sort_by_key(|violation| violation.level);
    found.0
}

/// The strictest level that a pod keeps.
pub fn level(violations: &[Violation]) -> Level {
    match violations.iter().map(|violation| violation.level).min() {
        Some(Level::Baseline | Level::Privileged) => Level::Privileged,
        Some(Level::Restricted) => Level::Baseline,
        None => Level::Restricted,
    }
}

const CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
const SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];
const SELINUX_TYPES: [&str; 5] = ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];
const VOLUMES: [&str; 9] =
    ["configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected", "secret"];

#[derive(Default)]
struct Found(Vec<Violation>);

impl Found {
    fn add(&mut self, level: Level, field: String, message: impl Into<String>) {
        self.0.push(Violation { level, field, message: message.into() });
    }

    fn pod(&mut self, pod: &Value, spec: &Value) {
        for field in ["hostNetwork", "hostPID", "hostIPC"] {
            if is_true(spec, field) {
                self.add(Level::Baseline, format!("spec.{field}"), "must not be true");
            }
        }
        for (index, volume) in items(spec, "volumes").iter().enumerate() {
            let field = format!("spec.volumes[{index}]");
            let kinds = volume.as_object().into_iter().flat_map(|volume| volume.keys()).filter(|key| *key != "name");
            for kind in kinds {
                if kind == "hostPath" {
                    self.add(Level::Baseline, format!("{field}.hostPath"), "must not be used");
                } else if !VOLUMES.contains(&kind.as_str()) {
                    self.add(Level::Restricted, format!("{field}.{kind}"), "is no kind of volume that is allowed");
                }
            }
        }
        for (index, sysctl) in items(&spec["securityContext"], "sysctls").iter().enumerate() {
            let name = text(sysctl, "name");
            if !SYSCTLS.contains(&name) {
                self.add(Level::Baseline, format!("spec.securityContext.sysctls[{index}]"), format!("`{name}` is not a safe sysctl"));
            }
        }
        let annotations = pod.pointer("/metadata/annotations").and_then(Value::as_object);
        for (name, value) in annotations.into_iter().flatten() {
            let profile = value.as_str().unwrap_or_default();
            let allowed = profile == "runtime/default" || profile.starts_with("localhost/") || profile.is_empty();
            if name.starts_with("container.apparmor.security.beta.kubernetes.io/") && !allowed {
                self.add(Level::Baseline, format!("metadata.annotations[{name}]"), "must be runtime/default or localhost/…");
            }
        }
        self.context(&spec["securityContext"], "spec.securityContext");
    }

    /// Rules for the fields that pod and containers have both.
    fn context(&mut self, context: &Value, at: &str) {
        if is_true(&context["windowsOptions"], "hostProcess") {
            self.add(Level::Baseline, format!("{at}.windowsOptions.hostProcess"), "must not be true");
        }
        let selinux = &context["seLinuxOptions"];
        if !SELINUX_TYPES.contains(&text(selinux, "type")) {
            self.add(Level::Baseline, format!("{at}.seLinuxOptions.type"), "must be a container type");
        }
        for field in ["user", "role"] {
            if !text(selinux, field).is_empty() {
                self.add(Level::Baseline, format!("{at}.seLinuxOptions.{field}"), "must not be set");
            }
        }
        if text(&context["seccompProfile"], "type") == "Unconfined" {
            self.add(Level::Baseline, format!("{at}.seccompProfile.type"), "must be RuntimeDefault or Localhost");
        }
        if text(&context["appArmorProfile"], "type") == "Unconfined" {
            self.add(Level::Baseline, format!("{at}.appArmorProfile.type"), "must be RuntimeDefault or Localhost");
        }
        if context.get("runAsUser").and_then(Value::as_i64) == Some(0) {
            self.add(Level::Restricted, format!("{at}.runAsUser"), "must not be 0");
        }
    }

    fn container(&mut self, spec: &Value, container: &Value, at: &str) {
        let context = &container["securityContext"];
        let field = |name: &str| format!("{at}.securityContext.{name}");
        self.context(context, &format!("{at}.securityContext"));
        if is_true(context, "privileged") {
            self.add(Level::Baseline, field("privileged"), "must not be true");
        }
        if !matches!(text(context, "procMount"), "" | "Default") {
            self.add(Level::Baseline, field("procMount"), "must be Default");
        }
        for (index, port) in items(container, "ports").iter().enumerate() {
            if port.get("hostPort").and_then(Value::as_i64).is_some_and(|port| port != 0) {
                self.add(Level::Baseline, format!("{at}.ports[{index}].hostPort"), "must not be set");
            }
        }
        for capability in items(&context["capabilities"], "add").iter().filter_map(Value::as_str) {
            if !CAPABILITIES.contains(&capability) {
                self.add(Level::Baseline, field("capabilities.add"), format!("must not have {capability}"));
            } else if capability != "NET_BIND_SERVICE" {
                self.add(Level::Restricted, field("capabilities.add"), format!("must not have {capability}"));
            }
        }
        if !items(&context["capabilities"], "drop").iter().any(|capability| capability == "ALL") {
            self.add(Level::Restricted, field("capabilities.drop"), "must have ALL");
        }
        if context.get("allowPrivilegeEscalation").and_then(Value::as_bool) != Some(false) {
            self.add(Level::Restricted, field("allowPrivilegeEscalation"), "must be false");
        }
        let of_pod = &spec["securityContext"];
        let non_root = context.get("runAsNonRoot").or_else(|| of_pod.get("runAsNonRoot")).and_then(Value::as_bool);
        if non_root != Some(true) {
            self.add(Level::Restricted, field("runAsNonRoot"), "must be true, here or for the pod");
        }
        let own = context.get("seccompProfile").filter(|profile| !profile.is_null());
        let profile = own.or_else(|| of_pod.get("seccompProfile")).map(|profile| text(profile, "type"));
        if !matches!(profile, Some("RuntimeDefault" | "Localhost" | "Unconfined")) {
            self.add(Level::Restricted, field("seccompProfile.type"), "must be RuntimeDefault or Localhost, here or for the pod");
        }
        self.host_fields(container, at);
    }

    /// Probes and hooks may not name another host (since Kubernetes 1.34).
    fn host_fields(&mut self, container: &Value, at: &str) {
        let probes = ["livenessProbe", "readinessProbe", "startupProbe"].map(|probe| (probe.to_owned(), &container[probe]));
        let hooks = ["postStart", "preStop"].map(|hook| (format!("lifecycle.{hook}"), &container["lifecycle"][hook]));
        for (name, value) in probes.into_iter().chain(hooks) {
            for action in ["httpGet", "tcpSocket"] {
                if !matches!(text(&value[action], "host"), "" | "127.0.0.1" | "localhost") {
                    self.add(Level::Baseline, format!("{at}.{name}.{action}.host"), "must not be set");
                }
            }
        }
    }
}

fn is_true(value: &Value, key: &str) -> bool {
    value.get(key).and_then(Value::as_bool) == Some(true)
}
