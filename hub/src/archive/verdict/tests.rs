use agentrun_eval::trial::FailureReason::{self, *};

use super::*;

/// An agent that ended well, as its sidecar tells it.
fn well() -> End {
    End { last_sequence: 2, output: Output::Present, exit_code: Some(0), wall_seconds: 10.0, ..End::default() }
}

fn told(reason: FailureReason) -> Option<Failure> {
    Some(Failure { reason, message: "told".to_owned() })
}

struct Case {
    what: &'static str,
    end: Option<End>,
    calls: (u64, u64),
    failure: Option<Failure>,
    counted: Counted,
    overdue: bool,
    expected: &'static str,
}

impl Case {
    fn of(what: &'static str, expected: &'static str) -> Self {
        Self { what, end: None, calls: (2, 0), failure: None, counted: Counted::Open, overdue: false, expected }
    }

    fn end(self, end: End) -> Self {
        Self { end: Some(end), ..self }
    }

    fn calls(self, calls: u64, unanswered: u64) -> Self {
        Self { calls: (calls, unanswered), ..self }
    }

    fn failed(self, reason: FailureReason) -> Self {
        Self { failure: told(reason), ..self }
    }

    fn counted(self, counted: Counted) -> Self {
        Self { counted, ..self }
    }

    fn overdue(self) -> Self {
        Self { overdue: true, ..self }
    }

    fn verdict(&self) -> Verdict {
        let sums = Sums { calls: self.calls.0, unanswered: self.calls.1, ..Sums::default() };
        judge(&Evidence {
            end: self.end.as_ref(),
            sums: &sums,
            failure: self.failure.as_ref(),
            counted: self.counted,
            overdue: self.overdue,
            timeout_seconds: 60,
        })
    }
}

fn name(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Wait => "wait",
        Verdict::Failed(failure) => failure.reason.name(),
        Verdict::Unobserved => "unobserved",
        Verdict::Score => "score",
    }
}

#[test]
fn a_trial_is_judged_by_what_is_known_of_it() {
    use Counted::{Failed, Succeeded};
    let code = |code| End { exit_code: code, ..well() };
    let output = |output| End { output, ..well() };
    let cases = [
        Case::of("nothing is known", "wait"),
        Case::of("it ended well", "score").end(well()),
        Case::of("it ended well without a call", "unobserved").end(well()).calls(0, 0),
        Case::of("no call was answered", "UpstreamUnreachable").end(well()).calls(2, 2),
        Case::of("one call was answered", "score").end(well()).calls(2, 1),
        Case::of("no output", "NoOutput").end(output(Output::Missing)),
        Case::of("no output and no call", "NoOutput").end(output(Output::Missing)).calls(0, 0),
        Case::of("too much output", "OutputTooLarge").end(output(Output::TooLarge)),
        Case::of("output that is no text", "OutputNotText").end(output(Output::NotText)),
        Case::of("no output after the sidecar was lost once", "SidecarLost").end(End { restarts: 1, ..output(Output::Missing) }),
        Case::of("an output although the sidecar was lost once", "score").end(End { restarts: 1, ..well() }),
        Case::of("an exit code whose pod may be tried again", "wait").end(code(Some(1))),
        Case::of("no exit code", "wait").end(code(None)),
        Case::of("no exit code, and the pod ended well", "score").end(code(None)).counted(Succeeded),
        Case::of("no exit code, no output, and the pod ended well", "NoOutput")
            .end(End { exit_code: None, ..output(Output::Missing) })
            .counted(Succeeded),
        Case::of("an exit code, and the pod failed by itself", "AgentOutOfMemory").end(code(Some(137))).failed(AgentOutOfMemory),
        Case::of("the pod failed by itself without an end", "Timeout").failed(Timeout),
        Case::of("the pod failed by itself, and no call was answered", "UpstreamUnreachable").calls(3, 3).failed(AgentExit),
        Case::of("the pod failed by itself after the sidecar was lost", "SidecarLost")
            .end(End { restarts: 2, ..code(Some(1)) })
            .failed(AgentExit),
        Case::of("given up beside a dead sidecar, and no more is told", "SidecarLost")
            .end(code(Some(SIDECAR_LOST_CODE)))
            .counted(Failed)
            .overdue(),
        Case::of("an evicted pod", "wait").failed(Evicted),
        Case::of("an evicted pod whose end arrived", "wait").end(code(Some(143))).failed(Evicted),
        Case::of("an evicted pod of a trial that is given up", "Evicted").failed(Evicted).counted(Failed),
        Case::of("an evicted pod of a trial that another pod ended", "wait").failed(Evicted).counted(Succeeded).overdue(),
        Case::of("the pod ended well, and its end is on the way", "wait").counted(Succeeded),
        Case::of("the pod ended well, and its end never came", "RecordsMissing").counted(Succeeded).overdue(),
        Case::of("given up, and nothing is known", "wait").counted(Failed),
        Case::of("given up, and nothing is known for long", "RecordsMissing").counted(Failed).overdue(),
        Case::of("given up with an exit code; the pod's end is to be told", "wait").end(code(Some(1))).counted(Failed),
        Case::of("given up with an exit code, and no more is told", "AgentExit").end(code(Some(1))).counted(Failed).overdue(),
        Case::of("given up by the wrapper's time limit", "Timeout")
            .end(End { wall_seconds: 60.5, ..code(Some(124)) })
            .counted(Failed)
            .overdue(),
        Case::of("an exit code that only looks like it", "AgentExit").end(code(Some(124))).counted(Failed).overdue(),
        Case::of("given up with an output, and no more is told", "NodeLost").end(code(None)).counted(Failed).overdue(),
    ];
    for case in cases {
        assert_eq!(name(&case.verdict()), case.expected, "{}", case.what);
    }
}

#[test]
fn what_the_wrapper_means_by_a_pods_exit_code_is_told_apart() {
    let ended = |wall_seconds| Some(End { wall_seconds, ..well() });
    let table = [
        (AgentExit, Some(TIMEOUT_CODE), ended(60.5), Timeout),
        (AgentExit, Some(TIMEOUT_CODE), ended(59.5), AgentExit),
        (AgentExit, Some(TIMEOUT_CODE), None, Timeout),
        (AgentExit, Some(SIDECAR_LOST_CODE), None, SidecarLost),
        (AgentExit, Some(SIDECAR_LOST_CODE), ended(1.0), SidecarLost),
        (AgentExit, Some(1), None, AgentExit),
        (AgentExit, None, ended(60.5), AgentExit),
        (Evicted, Some(TIMEOUT_CODE), None, Evicted),
    ];
    for (reason, code, end, expected) in table {
        let failure = meant(told(reason).unwrap(), code, end.as_ref(), 60);
        assert_eq!(failure.reason, expected, "{reason:?} {code:?} {end:?}");
        assert_eq!(failure.message == "told", expected == reason, "{failure:?}");
    }
}

#[test]
fn a_sentence_of_the_sidecar_is_told() {
    let said = End { output: Output::NotText, output_problem: Some("byte 7 of the output is not UTF-8".to_owned()), ..well() };
    let Verdict::Failed(failure) = Case::of("", "").end(said).verdict() else { panic!("it failed") };
    assert_eq!(failure.message, "byte 7 of the output is not UTF-8");
}
