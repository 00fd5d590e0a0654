//! Statuses as kubelets, the scheduler and the controllers write them.

use serde_json::{Value, json};

use super::*;

fn pod(status: Value, deleted: bool) -> Pod {
    let mut pod = json!({"metadata": {"name": "p"}, "status": status});
    if deleted {
        pod["metadata"]["deletionTimestamp"] = json!("2026-11-22T10:00:00Z");
    }
    serde_json::from_value(pod).unwrap()
}

fn container(name: &str, state: Value) -> Value {
    json!({"name": name, "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state})
}

fn ended(code: i32, reason: &str) -> Value {
    json!({"terminated": {"exitCode": code, "reason": reason}})
}

fn agent(state: Value) -> Value {
    json!({"phase": "Failed", "containerStatuses": [container("agent", state)]})
}

fn with(mut status: Value, changes: Value) -> Value {
    for (key, value) in changes.as_object().unwrap() {
        status[key] = value.clone();
    }
    status
}

#[test]
fn a_failed_pods_reason_is_told_apart() {
    use FailureReason::*;
    let disruption =
        |reason: &str| json!({"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "told why"}]});
    let sidecar = |state: Value| json!({"initContainerStatuses": [container(SIDECAR_CONTAINER, state)]});
    let killed = agent(ended(137, "Error"));
    let at = |seconds: i64| (Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(seconds)).to_string();
    let late = |pods: i64, agents: i64| {
        let ended = json!({"terminated": {"exitCode": 137, "reason": "Error", "startedAt": at(agents), "finishedAt": at(agents + 60)}});
        with(agent(ended), json!({"reason": "DeadlineExceeded", "message": "Pod was active on the node longer", "startTime": at(pods)}))
    };
    let image = json!({"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image \"x\""}});
    let table = [
        (agent(ended(1, "Error")), false, AgentExit, "exit code 1"),
        (
            agent(json!({"terminated": {"exitCode": 3, "message": "Traceback:\n  line 1\nKeyError: 'choices'\n"}})),
            false,
            AgentExit,
            "exit code 3: KeyError: 'choices'",
        ),
        (killed.clone(), false, AgentSignal, "signal 9"),
        (agent(ended(139, "Error")), false, AgentSignal, "signal 11"),
        (agent(ended(255, "Error")), false, AgentExit, "exit code 255"),
        (agent(ended(137, "OOMKilled")), false, AgentOutOfMemory, "more memory"),
        (agent(ended(137, "OOMKilled")), true, AgentOutOfMemory, "more memory"),
        (agent(ended(127, "StartError")), false, Spawn, "could not be started"),
        (agent(ended(137, "ContainerStatusUnknown")), false, NodeLost, "lost"),
        (agent(ended(143, "Error")), true, Evicted, "was deleted before"),
        (with(killed.clone(), disruption("EvictionByEvictionAPI")), true, Evicted, "told why"),
        (with(killed.clone(), disruption("PreemptionByScheduler")), false, Evicted, "told why"),
        (with(killed.clone(), disruption("TerminationByKubelet")), false, Evicted, "told why"),
        (with(killed.clone(), disruption("DeletionByTaintManager")), true, NodeLost, "told why"),
        (with(killed.clone(), disruption("DeletionByPodGC")), true, NodeLost, "told why"),
        (json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}), false, Evicted, "low on"),
        (json!({"phase": "Failed", "reason": "NodeLost"}), false, NodeLost, "NodeLost"),
        (with(killed, json!({"reason": "Terminated", "message": "imminent node shutdown."})), false, NodeLost, "shutdown"),
        (json!({"phase": "Failed", "reason": "OutOfcpu", "message": "Node didn't have enough resource: cpu"}), false, Unschedulable, "cpu"),
        (json!({"phase": "Failed", "reason": "UnexpectedAdmissionError"}), false, Unschedulable, "Unexpected"),
        (late(1000, 1000), false, Timeout, "longer"),
        (late(1000, 1000 + DEADLINE_MARGIN), false, Timeout, "longer"),
        (late(1000, 1001 + DEADLINE_MARGIN), false, Spawn, "started 121 s after its pod"),
        (with(agent(ended(137, "ContainerStatusUnknown")), json!({"reason": "DeadlineExceeded"})), false, Spawn, "takes long to start"),
        (
            with(agent(json!({"waiting": {"reason": "ContainerCreating"}})), json!({"reason": "DeadlineExceeded"})),
            false,
            Spawn,
            "ContainerCreating",
        ),
        (json!({"phase": "Failed", "reason": "DeadlineExceeded"}), false, Spawn, "no container was started yet"),
        (with(agent(image), json!({"reason": "DeadlineExceeded"})), false, ImagePull, "Back-off pulling image"),
        (with(agent(ended(0, "Completed")), sidecar(ended(137, "OOMKilled"))), false, SidecarOutOfMemory, "sidecar used more memory"),
        (with(agent(ended(0, "Completed")), sidecar(ended(2, "Error"))), false, SidecarLost, "exit code 2"),
        (
            json!({"phase": "Failed", "containerStatuses": [container("agent", ended(0, "Completed")), container("log", ended(4, "Error"))]}),
            false,
            AgentExit,
            "container `log`: exit code 4",
        ),
        (json!({"phase": "Failed"}), true, Evicted, "deleted before"),
        (json!({"phase": "Failed"}), false, NodeLost, "without a reason"),
    ];
    for (status, deleted, reason, part) in table {
        let found = failed(&pod(status.clone(), deleted), Some("agent")).unwrap();
        assert!(found.reason == reason && found.message.contains(part), "{status}\n{found:?}");
    }
}

#[test]
fn the_exit_code_of_the_agent_is_told_and_nobody_elses() {
    let beside =
        json!({"phase": "Failed", "containerStatuses": [container("agent", ended(0, "Completed")), container("log", ended(124, "Error"))]});
    let table = [
        (agent(ended(124, "Error")), FailureReason::AgentExit, Some(124)),
        (agent(ended(213, "Error")), FailureReason::AgentExit, Some(213)),
        (agent(ended(137, "OOMKilled")), FailureReason::AgentOutOfMemory, None),
        (agent(ended(143, "Error")), FailureReason::AgentSignal, None),
        (beside, FailureReason::AgentExit, None),
    ];
    for (status, reason, code) in table {
        let found = failed(&pod(status.clone(), false), Some("agent")).unwrap();
        assert_eq!((found.reason, found.exit_code), (reason, code), "{status}");
    }
}

#[test]
fn a_pod_that_did_not_fail_has_no_reason() {
    for phase in ["Pending", "Running", "Succeeded", "Unknown"] {
        assert_eq!(failed(&pod(json!({"phase": phase}), false), None), None);
    }
    assert_eq!(failed(&Pod::default(), None), None);
}

#[test]
fn what_a_waiting_pod_waits_for_is_told() {
    use FailureReason::*;
    let waits = |reason: &str| container("agent", json!({"waiting": {"reason": reason, "message": "why"}}));
    let of = |container: Value| json!({"phase": "Pending", "containerStatuses": [container]});
    let scheduled = |reason: &str| json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": reason, "message": "0/3 nodes"}]});
    let restarting = |reason: &str| {
        let mut sidecar = container(SIDECAR_CONTAINER, json!({"waiting": {"reason": "CrashLoopBackOff"}}));
        sidecar["lastState"] = ended(1, reason);
        json!({"phase": "Pending", "initContainerStatuses": [sidecar], "containerStatuses": [waits("PodInitializing")]})
    };
    let table = [
        (scheduled("Unschedulable"), Some((Unschedulable, false))),
        (scheduled("SchedulingGated"), None),
        (of(waits("ImagePullBackOff")), Some((ImagePull, false))),
        (of(waits("ErrImagePull")), Some((ImagePull, false))),
        (of(waits("InvalidImageName")), Some((ImagePull, true))),
        (of(waits("ErrImageNeverPull")), Some((ImagePull, true))),
        (of(waits("CreateContainerConfigError")), Some((Spawn, false))),
        (of(waits("ContainerCreating")), None),
        (of(waits("PodInitializing")), None),
        (restarting("OOMKilled"), Some((SidecarOutOfMemory, false))),
        (restarting("Error"), Some((SidecarLost, false))),
        (json!({"phase": "Pending"}), None),
    ];
    for (status, expected) in table {
        let found = pending(&pod(status.clone(), false), 59).map(|found| (found.reason, found.hopeless));
        assert_eq!(found, expected, "{status}");
    }
}

#[test]
fn a_pod_that_takes_too_long_is_told_whatever_it_waits_for() {
    use FailureReason::*;
    let mut sidecar = container(SIDECAR_CONTAINER, json!({"running": {}}));
    sidecar["started"] = json!(false);
    let creating = container("agent", json!({"waiting": {"reason": "ContainerCreating"}}));
    let table = [
        (json!({"phase": "Pending", "initContainerStatuses": [sidecar], "containerStatuses": [creating]}), SidecarLost, "not ready"),
        (json!({"phase": "Pending", "containerStatuses": [creating]}), Spawn, "ContainerCreating"),
        (json!({"phase": "Pending"}), Spawn, "no container"),
    ];
    for (status, reason, part) in table {
        let pod = pod(status, false);
        assert_eq!(pending(&pod, 59), None);
        let found = pending(&pod, 60).unwrap();
        assert!(found.reason == reason && found.message.contains(part) && !found.hopeless, "{found:?}");
    }
}

#[test]
fn a_message_is_one_bounded_line() {
    let long = format!("a\nb\n{}", "x".repeat(10_000));
    let found = failed(&pod(json!({"phase": "Failed", "reason": "Evicted", "message": long}), false), None).unwrap();
    assert!(found.message.chars().count() == 300 && !found.message.contains('\n'));
}
