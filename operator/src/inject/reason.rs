//! Why a pod is not injected: one closed list, shown in the admission warning or denial, the annotation, the metric's label and the docs.

use std::fmt;

use serde::Serialize;

/// Why a pod is left alone or refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Reason {
    /// The pod carries the sidecar already and nothing is missing.
    AlreadyInjected,
    /// The pod does not have the label that asks for injection.
    NotLabelled,
    /// The pod is the API server's picture of a static pod, which cannot be changed.
    MirrorPod,
    /// The pod uses the node's network.
    HostNetwork,
    /// The pod runs on Windows.
    Windows,
    /// A container or volume has a name of ours.
    NameClash,
    /// Something else is mounted where ours must be.
    MountPathClash,
    /// A container listens on a port of the sidecar's.
    PortClash,
    /// The pod's hostAliases answer for a host whose calls are to be seen.
    HostAliasClash,
    /// The pod's sysctls keep the sidecar from port 443.
    SysctlClash,
    /// The pod has a proxy of its own that cannot be the sidecar's way out.
    ProxyConflict,
    /// The pod has more containers than are looked at.
    TooManyContainers,
    /// The pod is not shaped like a pod.
    MalformedPod,
    /// An annotation of ours has a value that means nothing.
    BadAnnotation,
    /// The run's settings cannot be used.
    BadSettings,
    /// The template has no such container, or several and none is named.
    NoAgentContainer,
    /// Standard streams and variables need `command` on the agent's container.
    NoCommand,
    /// The input or output file lies where no volume can be mounted.
    FilePlace,
}

/// What becomes of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is admitted as it is.
    Skip,
    /// It is denied.
    Deny,
}

/// Whose pod it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The operator's: a trial. What cannot be seen must not run.
    Run,
    /// Somebody else's, labelled.
    Other,
}

impl Reason {
    /// All reasons, in the order of the docs.
    pub const ALL: [Self; 18] = [
        Self::AlreadyInjected,
        Self::NotLabelled,
        Self::MirrorPod,
        Self::HostNetwork,
        Self::Windows,
        Self::NameClash,
        Self::MountPathClash,
        Self::PortClash,
        Self::HostAliasClash,
        Self::SysctlClash,
        Self::ProxyConflict,
        Self::TooManyContainers,
        Self::MalformedPod,
        Self::BadAnnotation,
        Self::BadSettings,
        Self::NoAgentContainer,
        Self::NoCommand,
        Self::FilePlace,
    ];

    /// Its name everywhere, as in `HostNetwork`.
    pub fn name(self) -> &'static str {
        match self {
            Self::AlreadyInjected => "AlreadyInjected",
            Self::NotLabelled => "NotLabelled",
            Self::MirrorPod => "MirrorPod",
            Self::HostNetwork => "HostNetwork",
            Self::Windows => "Windows",
            Self::NameClash => "NameClash",
            Self::MountPathClash => "MountPathClash",
            Self::PortClash => "PortClash",
            Self::HostAliasClash => "HostAliasClash",
            Self::SysctlClash => "SysctlClash",
            Self::ProxyConflict => "ProxyConflict",
            Self::TooManyContainers => "TooManyContainers",
            Self::MalformedPod => "MalformedPod",
            Self::BadAnnotation => "BadAnnotation",
            Self::BadSettings => "BadSettings",
            Self::NoAgentContainer => "NoAgentContainer",
            Self::NoCommand => "NoCommand",
            Self::FilePlace => "FilePlace",
        }
    }

    /// When it happens: half a sentence for the docs.
    pub fn when(self) -> &'static str {
        match self {
            Self::AlreadyInjected => "the pod carries the sidecar and nothing is missing (another webhook ran after ours)",
            Self::NotLabelled => "the pod has no label `agentrun.dev/run`, or it is empty",
            Self::MirrorPod => "the pod mirrors a static pod of a node",
            Self::HostNetwork => "`hostNetwork: true`: the sidecar's ports would be the node's",
            Self::Windows => "`os.name` or the node selector says Windows",
            Self::NameClash => "a container or volume has one of our names, `agentrun-…`",
            Self::MountPathClash => "a container mounts something where our volumes go",
            Self::PortClash => "a container declares port 15080 or 15021, 15090 with the gateway, or 443 with `Dns`",
            Self::HostAliasClash => "`hostAliases` give an LLM host an address, with `Dns`",
            Self::SysctlClash => "`net.ipv4.ip_unprivileged_port_start` is set above 443, with `Dns`",
            Self::ProxyConflict => "the pod has its own proxy variables and the policy or their values do not allow to chain them",
            Self::TooManyContainers => "the pod has more than 256 containers",
            Self::MalformedPod => "a field that is read has the wrong type",
            Self::BadAnnotation => "`agentrun.dev/capture`, `proxy-policy` or `java` has an unknown value",
            Self::BadSettings => "the run's `providers` or `capture` cannot be used",
            Self::NoAgentContainer => "`agent.container` names none of the template's containers, or is missing where there are several",
            Self::NoCommand => "stdin, env or stdout without `command` on the agent's container",
            Self::FilePlace => "the input or output file lies in a folder that a volume would hide",
        }
    }

    /// What to do about it: a sentence for the docs.
    pub fn cure(self) -> &'static str {
        match self {
            Self::AlreadyInjected => "Nothing.",
            Self::NotLabelled => "Label the pod (for a Job: its pod template) with the run's name.",
            Self::MirrorPod => "Make it a Deployment or DaemonSet.",
            Self::HostNetwork => "Leave `hostNetwork` out.",
            Self::Windows => "Run the agent on Linux.",
            Self::NameClash => "Rename it.",
            Self::MountPathClash => "Mount it elsewhere.",
            Self::PortClash => "Listen on another port.",
            Self::HostAliasClash => "Take the alias out; say where a host is answered in `spec.upstreams`.",
            Self::SysctlClash => "Leave the sysctl out.",
            Self::ProxyConflict => "Set annotation `agentrun.dev/proxy-policy` to `Chain` or `Override`, or take the variables out.",
            Self::TooManyContainers => "Split the pod.",
            Self::MalformedPod => "Correct the field that the message names.",
            Self::BadAnnotation => "Use a value that the message names.",
            Self::BadSettings => "Correct the field that the message names.",
            Self::NoAgentContainer => "Name a container of the template in `spec.agent.container`.",
            Self::NoCommand => "Write `command` in the template, or hand over by file.",
            Self::FilePlace => "Use a folder of its own, such as `/agentrun` or `/data`.",
        }
    }

    /// What becomes of the pod.
    pub fn verdict(self, owner: Owner) -> Verdict {
        match (self, owner) {
            (Self::AlreadyInjected | Self::NotLabelled | Self::MirrorPod, _) | (Self::HostNetwork, Owner::Other) => Verdict::Skip,
            _ => Verdict::Deny,
        }
    }

    /// The docs' table.
    pub fn table() -> String {
        let verdict = |reason: Self, owner| match reason.verdict(owner) {
            Verdict::Skip => "left as it is",
            Verdict::Deny => "refused",
        };
        let rows = Self::ALL.map(|reason| {
            let (run, other) = (verdict(reason, Owner::Run), verdict(reason, Owner::Other));
            format!("| `{}` | {} | {run} | {other} | {} |\n", reason.name(), reason.when(), reason.cure())
        });
        format!("| reason | when | a trial's pod | another pod | what to do |\n|---|---|---|---|---|\n{}", rows.concat())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Why this pod is not injected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct Refusal {
    /// The reason.
    pub reason: Reason,
    /// What was found where, in one sentence.
    pub message: String,
}

impl Refusal {
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_listed_once_under_its_own_name() {
        let mut names: Vec<&str> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            assert_eq!(format!("{reason:?}"), reason.name());
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.name());
        }
    }

    #[test]
    fn the_docs_have_the_table() {
        let docs = include_str!("../../../docs/injection.md");
        assert!(docs.contains(&Reason::table()), "docs/injection.md must contain:\n{}", Reason::table());
    }
}
