//! What becomes of a trial: pure, from what its sidecar and Kubernetes say of one attempt.
//!
//! The rules, and their order, are those of a trial on one machine. What differs is that two parties speak: the sidecar ends the attempt
//! ([`End`]), and the operator tells how pod and Job ended. An exit code of 0 that the wrapper saw settles the matter; without it (no
//! wrapper, or another code) only Kubernetes knows whether the agent ended well, and whether the pod is tried again.

use agentrun_eval::trial::{Failure, FailureReason};
use agentrun_protocol::{
    pod::{SIDECAR_LOST_CODE, TIMEOUT_CODE},
    trial::{End, Output},
};

use super::{sums::Sums, types::OUTPUT_BYTES};

/// How long a Job may have counted a trial before its sidecar has ended it.
pub(crate) const PATIENCE_SECONDS: i64 = 30;

/// What the Job says of a trial's index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Counted {
    /// Nothing, or nothing that was told here.
    #[default]
    Open,
    /// A pod of it ended well.
    Succeeded,
    /// It is given up.
    Failed,
}

/// What is known of an attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Evidence<'a> {
    /// How the sidecar ended it.
    pub(crate) end: Option<&'a End>,
    /// What its calls came to.
    pub(crate) sums: &'a Sums,
    /// How its pod ended, where that was badly.
    pub(crate) failure: Option<&'a Failure>,
    /// What the Job says.
    pub(crate) counted: Counted,
    /// Whether the Job said so more than [`PATIENCE_SECONDS`] ago.
    pub(crate) overdue: bool,
    /// The agent's time limit.
    pub(crate) timeout_seconds: i32,
}

/// What becomes of the trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing yet.
    Wait,
    /// It failed.
    Failed(Failure),
    /// No call of it was seen.
    Unobserved,
    /// Its output is to be scored.
    Score,
}

/// Judges an attempt.
pub(crate) fn judge(evidence: &Evidence<'_>) -> Verdict {
    let Evidence { end, failure, counted, overdue, .. } = *evidence;
    match (failure, counted) {
        (Some(failure), _) if failure.reason.is_agents_own() => {
            return unreachable(evidence.sums).unwrap_or_else(|| Verdict::Failed(blame(end, failure.clone())));
        }
        (Some(failure), Counted::Failed) => return Verdict::Failed(failure.clone()),
        // It is tried again, or another pod of it ended well.
        (Some(_), Counted::Open | Counted::Succeeded) => return Verdict::Wait,
        (None, _) => {}
    }
    match (end, counted) {
        (None, Counted::Succeeded | Counted::Failed) if overdue => missing(counted),
        (None, _) => Verdict::Wait,
        (Some(end), _) if end.exit_code == Some(0) => by_end(evidence, end),
        (Some(end), Counted::Succeeded) => by_end(evidence, end),
        // The operator tells how the pod ended; where it never saw that, what the sidecar says must do.
        (Some(end), Counted::Failed) if overdue => match by_end(evidence, end) {
            Verdict::Score | Verdict::Unobserved => {
                failed(FailureReason::NodeLost, "the Job gave the trial up, and how its pod ended was not seen".to_owned())
            }
            verdict => verdict,
        },
        (Some(_), Counted::Open | Counted::Failed) => Verdict::Wait,
    }
}

/// As on one machine: unreachable, exit, output, calls.
fn by_end(evidence: &Evidence<'_>, end: &End) -> Verdict {
    if let Some(verdict) = unreachable(evidence.sums) {
        return verdict;
    }
    match own_failure(end, evidence.timeout_seconds) {
        Some(failure) => Verdict::Failed(blame(Some(end), failure)),
        None if evidence.sums.calls == 0 => Verdict::Unobserved,
        None => Verdict::Score,
    }
}

/// A trial whose every call was left without an answer says nothing about its models.
fn unreachable(sums: &Sums) -> Option<Verdict> {
    let message = || format!("none of the trial's {} calls was answered (`agentrun calls` says why)", sums.calls);
    (sums.calls > 0 && sums.unanswered == sums.calls).then(|| failed(FailureReason::UpstreamUnreachable, message()))
}

/// What the operator told of a pod, with the wrapper's meaning of the agent's exit code.
pub(crate) fn meant(told: Failure, exit_code: Option<i32>, end: Option<&End>, timeout_seconds: i32) -> Failure {
    let seconds = end.map(|end| end.wall_seconds);
    let code = exit_code.filter(|_| told.reason == FailureReason::AgentExit);
    code.and_then(|code| wrappers_word(code, seconds, timeout_seconds)).unwrap_or(told)
}

/// What the wrapper says by an exit code. Agents may end with the same codes: where the sidecar told how many `seconds` the agent took, it must
/// have run as long as it may to be out of time; where the sidecar said nothing, the code alone counts.
fn wrappers_word(code: i32, seconds: Option<f64>, timeout_seconds: i32) -> Option<Failure> {
    let (reason, message) = match code {
        TIMEOUT_CODE if seconds.is_none_or(|seconds| seconds >= f64::from(timeout_seconds)) => {
            (FailureReason::Timeout, format!("ran longer than {timeout_seconds} s"))
        }
        SIDECAR_LOST_CODE => (FailureReason::SidecarLost, "the sidecar died while the agent ran, and the agent failed then".to_owned()),
        _ => return None,
    };
    Some(Failure { reason, message })
}

fn own_failure(end: &End, timeout_seconds: i32) -> Option<Failure> {
    let problem = |reason, usual: String| Some(Failure { reason, message: end.output_problem.clone().unwrap_or(usual) });
    if let Some(code) = end.exit_code.filter(|code| *code != 0) {
        let plain = || Failure { reason: FailureReason::AgentExit, message: format!("exit code {code}") };
        return Some(wrappers_word(code, Some(end.wall_seconds), timeout_seconds).unwrap_or_else(plain));
    }
    match end.output {
        Output::Present => None,
        Output::Missing => problem(FailureReason::NoOutput, "the agent wrote no output file (AGENTRUN_OUTPUT_FILE names it)".to_owned()),
        Output::TooLarge => problem(FailureReason::OutputTooLarge, format!("the output is longer than {} MiB", OUTPUT_BYTES >> 20)),
        Output::NotText => problem(FailureReason::OutputNotText, "the output is not UTF-8".to_owned()),
    }
}

/// An agent whose sidecar was started anew may have failed because of that.
fn blame(end: Option<&End>, failure: Failure) -> Failure {
    match end {
        Some(end) if end.restarts > 0 && failure.reason.is_agents_own() => {
            let message = format!("the sidecar was started anew {} times during the trial, and then: {}", end.restarts, failure.message);
            Failure { reason: FailureReason::SidecarLost, message }
        }
        _ => failure,
    }
}

fn missing(counted: Counted) -> Verdict {
    let message = match counted {
        Counted::Failed => "the Job gave the trial up, and nothing more is known of its pods",
        Counted::Open | Counted::Succeeded => "the pod ended, and its sidecar did not say that all records have arrived",
    };
    failed(FailureReason::RecordsMissing, message.to_owned())
}

fn failed(reason: FailureReason, message: String) -> Verdict {
    Verdict::Failed(Failure { reason, message })
}

#[cfg(test)]
mod tests;
