//! Why a pod ended badly, or does not start. Pure: a pod's status goes in, a reason that people and the hub know comes out.

use agentrun_eval::trial::FailureReason;
use agentrun_protocol::names::SIDECAR_CONTAINER;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, ContainerStatus, Pod, PodCondition, PodStatus};

use crate::inject::trial::DEADLINE_MARGIN;

/// What is said of a pod that somebody deleted: a person, or a controller.
pub const DELETED: &str = "the pod was deleted before its agent had ended";
/// The longest message told.
const MESSAGE_CHARS: usize = 300;
/// Seconds after which a pod takes too long to start, whatever it waits for.
const SLOW_SECONDS: u64 = 60;

/// What is wrong with a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// What kind of failure it is, or will be if nothing changes.
    pub reason: FailureReason,
    /// What Kubernetes says of it, in one sentence.
    pub message: String,
    /// The exit code of the agent's container, where that is all that is known. What the wrapper means by it, the hub tells.
    pub exit_code: Option<i32>,
    /// Waiting does not help: the pod can never start.
    pub hopeless: bool,
}

impl Diagnosis {
    fn new(reason: FailureReason, message: impl AsRef<str>) -> Self {
        let line = message.as_ref().split_whitespace().collect::<Vec<_>>().join(" ");
        Self { reason, message: line.chars().take(MESSAGE_CHARS).collect(), exit_code: None, hopeless: false }
    }
}

/// What to do about an API server's sentence that refuses a pod, beyond what it says itself; empty where that is all.
pub fn advice(message: &str) -> &'static str {
    if message.contains("exceeded quota") {
        "; the run goes on when there is room"
    } else if message.contains("failed quota") && message.contains("must specify") {
        // The quota has room: it wants to know how much is asked for.
        "; set that in the resources of the template's containers, or give the namespace a LimitRange with defaults"
    } else {
        ""
    }
}

/// Why a pod ended badly; `None` where it did not. `agent` is the agent's container, the first one where it is not known.
pub fn failed(pod: &Pod, agent: Option<&str>) -> Option<Diagnosis> {
    let status = pod.status.as_ref().filter(|status| status.phase.as_deref() == Some("Failed"))?;
    let empty = Vec::new();
    let containers = status.container_statuses.as_ref().unwrap_or(&empty);
    let agent = agent.and_then(|name| containers.iter().find(|container| container.name == name)).or(containers.first());
    if let Some(found) = disrupted(status) {
        return Some(found);
    }
    if status.reason.as_deref() == Some("DeadlineExceeded") {
        return Some(past_its_deadline(status, agent));
    }
    let deleted = pod.metadata.deletion_timestamp.is_some();
    if let Some(found) = kubelets_reason(status) {
        return Some(found);
    }
    if let Some(ended) = agent.and_then(terminated).filter(|ended| ended.exit_code != 0) {
        let was_ours = deleted && ended.reason.as_deref() != Some("OOMKilled");
        return Some(if was_ours { Diagnosis::new(FailureReason::Evicted, DELETED) } else { agents_end(ended) });
    }
    if let Some(found) = sidecars_end(status) {
        return Some(found);
    }
    if deleted {
        return Some(Diagnosis::new(FailureReason::Evicted, DELETED));
    }
    Some(others_end(status))
}

/// Why a pod does not start, `seconds` after it was made; `None` where nothing is wrong with it so far.
pub fn pending(pod: &Pod, seconds: u64) -> Option<Diagnosis> {
    let status = pod.status.as_ref()?;
    if let Some(condition) = condition(status, "PodScheduled").filter(|condition| condition.status == "False") {
        // A gate is somebody's wish, not a fault.
        let waits = condition.reason.as_deref() == Some("SchedulingGated");
        let message = condition.message.as_deref().unwrap_or("no node was found for the pod");
        return (!waits).then(|| Diagnosis::new(FailureReason::Unschedulable, message));
    }
    let found = containers(status).find_map(waiting);
    found.or_else(|| sidecars_end(status)).or_else(|| (seconds >= SLOW_SECONDS).then(|| slow(status)))
}

/// A pod that nothing is known to be wrong with, and that takes too long: as where a volume or a network is not to be had, which only Events tell.
fn slow(status: &PodStatus) -> Diagnosis {
    let is_up = |state: &ContainerStatus| state.state.as_ref().is_some_and(|state| state.running.is_some());
    let sidecar = status.init_container_statuses.iter().flatten().find(|container| container.name == SIDECAR_CONTAINER);
    if sidecar.is_some_and(|sidecar| is_up(sidecar) && sidecar.started != Some(true)) {
        return Diagnosis::new(
            FailureReason::SidecarLost,
            "the sidecar runs but is not ready: it waits for the hub, or for its trial; see its log",
        );
    }
    let word = containers(status).find_map(|container| container.state.as_ref()?.waiting.as_ref()?.reason.as_deref());
    let message = format!("the pod takes long to start ({}): see its Events", word.unwrap_or("no container was started yet"));
    Diagnosis::new(FailureReason::Spawn, message)
}

fn disrupted(status: &PodStatus) -> Option<Diagnosis> {
    let found = condition(status, "DisruptionTarget").filter(|condition| condition.status == "True")?;
    let reason = found.reason.as_deref().unwrap_or_default();
    let lost = matches!(reason, "DeletionByTaintManager" | "DeletionByPodGC");
    let told = found.message.as_deref().or(status.message.as_deref()).unwrap_or(reason);
    Some(Diagnosis::new(if lost { FailureReason::NodeLost } else { FailureReason::Evicted }, told))
}

/// What the kubelet or a controller says of the whole pod.
fn kubelets_reason(status: &PodStatus) -> Option<Diagnosis> {
    let word = status.reason.as_deref()?;
    let reason = match word {
        "Evicted" | "Preempting" | "Preempted" => FailureReason::Evicted,
        "NodeLost" | "NodeShutdown" | "Shutdown" | "Terminated" => FailureReason::NodeLost,
        // Kubelet's admission: the node had no room after all.
        "UnexpectedAdmissionError" | "NodeAffinity" | "NodePorts" | "OutOfPods" => FailureReason::Unschedulable,
        word if word.starts_with("OutOf") => FailureReason::Unschedulable,
        _ => return None,
    };
    Some(Diagnosis::new(reason, status.message.as_deref().unwrap_or(word)))
}

/// A pod whose agent never started, or so late that it was not given its time, did not run past that: what held it up is the reason. The kubelet
/// counts from the pod's start, pulls included.
fn past_its_deadline(status: &PodStatus, agent: Option<&ContainerStatus>) -> Diagnosis {
    let Some(began) = agent.and_then(began) else {
        return containers(status).find_map(waiting).or_else(|| sidecars_end(status)).unwrap_or_else(|| slow(status));
    };
    let late = status.start_time.as_ref().map_or(0, |pods| began.duration_since(pods.0).as_secs());
    if late > DEADLINE_MARGIN {
        let message =
            format!("the agent's container started {late} s after its pod, whose deadline then left the agent less than its time");
        return Diagnosis::new(FailureReason::Spawn, message);
    }
    Diagnosis::new(FailureReason::Timeout, status.message.as_deref().unwrap_or("the pod ran past its deadline"))
}

/// When a container's program was started, if it was: a kubelet that found none writes that it has ended, and no time.
fn began(container: &ContainerStatus) -> Option<Timestamp> {
    let state = container.state.as_ref()?;
    let time = match (&state.running, &state.terminated) {
        (Some(running), _) => running.started_at.as_ref(),
        (None, Some(ended)) => ended.started_at.as_ref(),
        (None, None) => None,
    };
    time.map(|time| time.0)
}

fn agents_end(ended: &ContainerStateTerminated) -> Diagnosis {
    let code = ended.exit_code;
    if ended.reason.as_deref() == Some("OOMKilled") {
        return Diagnosis::new(FailureReason::AgentOutOfMemory, "the agent used more memory than its container's limit, and was killed");
    }
    if matches!(ended.reason.as_deref(), Some("ContainerCannotRun" | "StartError" | "CreateContainerError")) {
        let told = ended.message.as_deref().unwrap_or("its program could not be started");
        return Diagnosis::new(FailureReason::Spawn, format!("the agent's container could not be started: {told}"));
    }
    if ended.reason.as_deref() == Some("ContainerStatusUnknown") {
        return Diagnosis::new(FailureReason::NodeLost, "the agent's container was lost: its node does not know how it ended");
    }
    match ended.signal.or((code > 128 && code <= 192).then_some(code - 128)) {
        Some(signal) => Diagnosis::new(FailureReason::AgentSignal, format!("signal {signal}")),
        None => {
            // The end of its log, where it left no message of its own: what it said last is the reason, and not how a traceback begins.
            let last = ended.message.as_deref().and_then(|message| message.lines().rfind(|line| !line.trim().is_empty()));
            let told = last.map(|line| format!(": {line}")).unwrap_or_default();
            let found = Diagnosis::new(FailureReason::AgentExit, format!("exit code {code}{told}"));
            Diagnosis { exit_code: Some(code), ..found }
        }
    }
}

fn sidecars_end(status: &PodStatus) -> Option<Diagnosis> {
    let sidecar = status.init_container_statuses.as_ref()?.iter().find(|container| container.name == SIDECAR_CONTAINER)?;
    let ends = [sidecar.state.as_ref(), sidecar.last_state.as_ref()];
    let mut ends = ends.into_iter().flatten().filter_map(|state| state.terminated.as_ref());
    let ended = ends.find(|ended| ended.exit_code != 0)?;
    if ended.reason.as_deref() == Some("OOMKilled") {
        return Some(Diagnosis::new(FailureReason::SidecarOutOfMemory, "the sidecar used more memory than its limit, and was killed"));
    }
    let told = ended.message.as_deref().map(|message| format!(": {message}")).unwrap_or_default();
    Some(Diagnosis::new(FailureReason::SidecarLost, format!("the sidecar ended with exit code {}{told}", ended.exit_code)))
}

/// A container beside the agent: the template's author brought it, so its end is the agent's.
fn others_end(status: &PodStatus) -> Diagnosis {
    let bad = containers(status).filter(|container| container.name != SIDECAR_CONTAINER);
    let mut bad = bad.filter_map(|container| Some((&container.name, terminated(container).filter(|ended| ended.exit_code != 0)?)));
    match bad.next() {
        Some((name, ended)) => {
            let found = agents_end(ended);
            Diagnosis { message: format!("container `{name}`: {}", found.message), exit_code: None, ..found }
        }
        None => {
            let told = status.message.as_deref().or(status.reason.as_deref()).unwrap_or("the pod failed without a reason");
            Diagnosis::new(FailureReason::NodeLost, told)
        }
    }
}

fn waiting(container: &ContainerStatus) -> Option<Diagnosis> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let word = waiting.reason.as_deref()?;
    let (reason, hopeless) = match word {
        "ImagePullBackOff" | "ErrImagePull" | "RegistryUnavailable" | "ImageInspectError" | "SignatureValidationFailed" => {
            (FailureReason::ImagePull, false)
        }
        "InvalidImageName" | "ErrImageNeverPull" => (FailureReason::ImagePull, true),
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => (FailureReason::Spawn, false),
        _ => return None,
    };
    let told = waiting.message.as_deref().unwrap_or_default();
    let found = Diagnosis::new(reason, format!("container `{}`: {word}: {told}", container.name));
    Some(Diagnosis { hopeless, ..found })
}

fn containers(status: &PodStatus) -> impl Iterator<Item = &ContainerStatus> {
    let first = status.init_container_statuses.as_deref().unwrap_or_default();
    first.iter().chain(status.container_statuses.as_deref().unwrap_or_default())
}

fn terminated(container: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    let ended = |state: Option<&ContainerState>| -> bool { state.is_some_and(|state| state.terminated.is_some()) };
    let state = if ended(container.state.as_ref()) { &container.state } else { &container.last_state };
    state.as_ref()?.terminated.as_ref()
}

fn condition<'a>(status: &'a PodStatus, kind: &str) -> Option<&'a PodCondition> {
    status.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

#[cfg(test)]
mod tests;
