//! Labelled pods: what is answered when one is made.

use agentrun_crds::AgentRunSpec;
use agentrun_protocol::names::{MANAGED_BY_LABEL, MANAGER, RUN_LABEL, SIDECAR_CONTAINER};
use serde_json::Value;

use super::review::{Answer, Request};
use crate::inject::{InjectConfig, Installation, Outcome, Owner, Reason, Refusal, Settings, Verdict, inject, is_injected, shortened};

/// What is known of the run that a pod's label names.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Known {
    /// There is no such AgentRun: the label is all there is.
    Nothing,
    /// Its spec.
    Spec(Box<AgentRunSpec>),
    /// It is there and of no use: why.
    Unreadable(String),
}

/// The run whose settings a pod needs: none where it tells its own.
pub(crate) fn run_to_ask(pod: &Value) -> Option<&str> {
    run_of(pod).filter(|_| !is_injected(pod))
}

/// The run that a pod's label names.
fn run_of(pod: &Value) -> Option<&str> {
    label(pod, RUN_LABEL).filter(|run| !run.is_empty())
}

/// Answers, and says why where the pod is not injected.
pub(crate) fn answer(request: &Request, installation: Installation, known: Known) -> (Answer, Option<Reason>) {
    let pod = &request.object;
    if request.kind != "Pod" || request.operation != "CREATE" {
        return (Answer::admitted(), None);
    }
    if run_of(pod).is_none() {
        return skipped(Refusal { reason: Reason::NotLabelled, message: format!("label {RUN_LABEL} is empty") }, Vec::new());
    }
    let is_ours = label(pod, MANAGED_BY_LABEL) == Some(MANAGER);
    // A scoring pod has a sidecar that is made for it alone. A trial's pod is completed, like any that carries one by this injector.
    if is_ours && has_sidecar(pod) && !is_injected(pod) {
        let refusal = Refusal { reason: Reason::AlreadyInjected, message: "the Job's template has the sidecar".to_owned() };
        return skipped(refusal, Vec::new());
    }
    let owner = if is_ours { Owner::Run } else { Owner::Other };
    let mut warnings = Vec::new();
    let settings = match known {
        Known::Spec(spec) => Settings::of(&spec, owner),
        Known::Nothing => Settings::plain(),
        Known::Unreadable(why) => {
            warnings.push(shortened(&format!("the AgentRun's spec is not used: {why}")));
            Settings::plain()
        }
    };
    match inject(pod, &InjectConfig { installation, settings, owner, exchange: None }) {
        Outcome::Injected(injection) => {
            warnings.extend(injection.warnings);
            let audit = [("outcome", "injected".to_owned()), ("layers", injection.layers.join(","))].into();
            (Answer { operations: injection.operations, warnings, audit, ..Answer::default() }, None)
        }
        Outcome::Skipped { refusal, operations } => skipped(refusal, operations),
        Outcome::Refused(refusal) => refused(&refusal),
    }
}

fn skipped(refusal: Refusal, operations: Vec<crate::inject::Operation>) -> (Answer, Option<Reason>) {
    let audit = [("outcome", "skipped".to_owned()), ("reason", refusal.reason.name().to_owned())].into();
    // That nothing had to be done is no news.
    let warnings = match refusal.reason {
        Reason::AlreadyInjected => Vec::new(),
        _ => vec![shortened(&format!("not tracked, {refusal}"))],
    };
    (Answer { operations, warnings, audit, ..Answer::default() }, Some(refusal.reason))
}

fn refused(refusal: &Refusal) -> (Answer, Option<Reason>) {
    debug_assert_eq!(refusal.reason.verdict(Owner::Run), Verdict::Deny);
    let audit = [("outcome", "refused".to_owned()), ("reason", refusal.reason.name().to_owned())].into();
    (Answer { audit, ..Answer::denied(422, refusal.to_string()) }, Some(refusal.reason))
}

fn label<'a>(pod: &'a Value, name: &str) -> Option<&'a str> {
    pod.get("metadata")?.get("labels")?.get(name)?.as_str()
}

fn has_sidecar(pod: &Value) -> bool {
    let containers = pod.pointer("/spec/initContainers").and_then(Value::as_array);
    containers.into_iter().flatten().any(|container| container.get("name").and_then(Value::as_str) == Some(SIDECAR_CONTAINER))
}
