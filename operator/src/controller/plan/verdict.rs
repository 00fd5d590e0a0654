//! Where a run stands: its conditions, its phase, and who decides over its Jobs.

use agentrun_crds::AgentRunSpec;
use agentrun_crds::network::CaptureMode;
use agentrun_crds::status::Phase;
use agentrun_protocol::run::Aggregate;
use jiff::Timestamp;
use serde_json::Value;

use super::window::Mode;
use super::{DatasetView, HubView, Observed, Refused, waiting};
use crate::conditions::{State, Verdict};
use crate::diagnose::Diagnosis;
use crate::objects::job::Grid;
use crate::run::Run;

/// Seconds that the last pods of a complete run have to end by themselves.
const LAST_PODS_SECONDS: i64 = 60;
/// Reasons for which a run has failed that hold until its spec changes, whatever is seen later.
const LASTING: [&str; 5] = ["TemplateRefused", "NameTaken", "ImagePull", "ScoringFailed", "DatasetLost"];

/// Where a run stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// The spec is understood and can be run.
    pub accepted: Verdict,
    /// Trials run.
    pub progressing: Verdict,
    /// Every trial has its final result.
    pub complete: Verdict,
    /// The run cannot go on.
    pub failed: Verdict,
    /// It was stopped by its spec.
    pub suspended: Verdict,
    /// Every trial's records are there.
    pub records: Verdict,
    /// A summary.
    pub phase: Phase,
    /// Who decides over the Jobs.
    pub mode: Mode,
}

/// Judges.
pub fn judge(run: &Run, observed: &Observed, grid: Option<Grid>, refused: Option<&Refused>, now: Timestamp) -> Judged {
    let spec = match &run.spec {
        Err(message) => return cannot(run, Verdict::new(State::False, "InvalidSpec", message), "InvalidSpec", message),
        Ok(spec) => spec,
    };
    if let Err(error) = spec.combos() {
        let message = format!("spec.roles, spec.combos: {error}");
        return cannot(run, Verdict::new(State::False, "InvalidSpec", &message), "InvalidSpec", &message);
    }
    let accepted = accepted(run, observed);
    if let Some((reason, message)) = failure(run, observed, refused) {
        let accepted = if reason == "TemplateRefused" { Verdict::new(State::False, reason.clone(), &message) } else { accepted };
        return cannot(run, accepted, &reason, &message);
    }
    if accepted.state != State::True {
        return not_yet(accepted, spec.suspend);
    }
    if is_complete(run, observed, grid) {
        return complete(run, observed, spec, accepted, now);
    }
    going(run, observed, spec, accepted, refused)
}

fn accepted(run: &Run, observed: &Observed) -> Verdict {
    match (&observed.dataset, &observed.drift) {
        (DatasetView::Problem(problem), _) => Verdict::new(State::False, problem.reason, &problem.message),
        (DatasetView::Waiting, _) => {
            let told = match &observed.hub {
                HubView::Away(message) => message.as_str(),
                _ => "the hub did not take the run yet",
            };
            Verdict::new(State::Unknown, "HubUnavailable", format!("the run waits for the hub: {told}"))
        }
        (DatasetView::Ready { .. }, Some(drift)) => Verdict::new(State::True, "DatasetChanged", drift),
        (DatasetView::Ready { datapoints, .. }, None) => {
            let message = format!("{datapoints} datapoints were read; the run keeps them");
            Verdict::new(State::True, if run.generation > 0 { "Valid" } else { "Unversioned" }, message)
        }
    }
}

/// Why the run cannot go on.
fn failure(run: &Run, observed: &Observed, refused: Option<&Refused>) -> Option<(String, String)> {
    if let Some(refused) = refused.filter(|refused| refused.is_final) {
        return Some((refused.reason.to_owned(), refused.message.clone()));
    }
    if let Some(before) =
        run.condition("Failed").filter(|before| before.status == "True" && before.observed_generation == Some(run.generation))
        && LASTING.contains(&before.reason.as_str())
    {
        return Some((before.reason, before.message));
    }
    if let DatasetView::Problem(problem) = &observed.dataset
        && run.has_started()
    {
        let message = format!("the hub has lost the run's datapoints, and they cannot be read again: {}", problem.message);
        return Some(("DatasetLost".to_owned(), message));
    }
    if let Some((scoring, job)) = observed.scoring.as_ref().and_then(|scoring| Some((scoring, scoring.failed.as_ref()?))) {
        let message = scoring.problem.as_ref().map_or(job, |problem| &problem.message);
        let message = format!(
            "the scoring container failed: {message}; see the logs of the pods of Job `{}`",
            crate::objects::scoring::name(&run.name)
        );
        return Some(("ScoringFailed".to_owned(), message));
    }
    no_image(observed).map(|message| ("ImagePull".to_owned(), message))
}

/// Trials were given up for their image, none ever ran, and the next ones wait for it too: the rest would fare no better.
fn no_image(observed: &Observed) -> Option<String> {
    let status = &observed.hub.aggregate()?.status;
    let count = |key: &str| status.pointer(&format!("/trials/{key}")).and_then(Value::as_u64).unwrap_or_default();
    let failures = status.get("failures").and_then(Value::as_array)?;
    let all_pulls = !failures.is_empty() && failures.iter().all(|group| group.get("reason").and_then(Value::as_str) == Some("ImagePull"));
    let (reason, message) = waiting::told(&observed.waiting)?;
    // A trial whose sidecar is up counts as running, though its agent has no image: a pod that is ready has all of its images.
    let none_runs = observed.jobs.values().all(|job| job.ready == 0);
    let hopeless = all_pulls && none_runs && count("failed") > 0 && count("succeeded") + count("unobserved") == 0;
    (hopeless && reason.name() == "ImagePull").then(|| format!("no trial could start: {message}"))
}

fn is_complete(run: &Run, observed: &Observed, grid: Option<Grid>) -> bool {
    if run.status_text("phase") == Some("Complete") {
        return true;
    }
    let all = grid.map(|grid| grid.trials());
    observed.hub.aggregate().is_some_and(|told| told.unscored == 0 && all.is_some_and(|all| all > 0 && told.finished >= all))
}

/// A run that cannot go on.
fn cannot(run: &Run, accepted: Verdict, reason: &str, message: &str) -> Judged {
    let records = run.condition("RecordsComplete").filter(|before| before.status == "False");
    Judged {
        accepted,
        progressing: Verdict::new(State::False, "Failed", "the run cannot go on"),
        complete: Verdict::new(State::False, "Failed", "the run cannot go on"),
        failed: Verdict::new(State::True, reason, message),
        suspended: Verdict::new(State::False, "Failed", "the run cannot go on"),
        records: records.map_or_else(
            || Verdict::new(State::Unknown, "Failed", "the run cannot go on"),
            |before| Verdict::new(State::False, before.reason, before.message),
        ),
        phase: Phase::Failed,
        mode: Mode::Stop,
    }
}

/// A run that waits for its dataset or the hub.
fn not_yet(accepted: Verdict, suspend: bool) -> Judged {
    let waits = |state| Verdict::new(state, "NotAccepted", "the run is not accepted yet");
    Judged {
        progressing: waits(State::False),
        complete: waits(State::False),
        failed: waits(State::False),
        suspended: if suspend { Verdict::new(State::True, "Suspended", "spec.suspend is true") } else { waits(State::False) },
        records: waits(State::Unknown),
        phase: if suspend { Phase::Suspended } else { Phase::Pending },
        mode: if suspend { Mode::Stop } else { Mode::Hold },
        accepted,
    }
}

fn complete(run: &Run, observed: &Observed, spec: &AgentRunSpec, accepted: Verdict, now: Timestamp) -> Judged {
    let kept = |kind: &str| run.condition(kind).filter(|_| observed.hub.aggregate().is_none());
    let records = match (kept("RecordsComplete"), observed.hub.aggregate()) {
        (Some(before), _) => Verdict::new(state_of(&before.status), before.reason, before.message),
        (None, told) => records(spec, told, true),
    };
    let ended = || Verdict::new(State::False, "Complete", "every trial has its final result");
    Judged {
        accepted,
        progressing: ended(),
        complete: Verdict::new(State::True, "Complete", "every trial has its final result"),
        failed: ended(),
        suspended: ended(),
        records,
        phase: Phase::Complete,
        mode: if is_long_ago(run, now) { Mode::Stop } else { Mode::Hold },
    }
}

/// Whether the run has ended so long ago that its last pods have too: what still runs repeats a trial whose result is known.
fn is_long_ago(run: &Run, now: Timestamp) -> bool {
    let ended: Option<Timestamp> = run.status_text("completionTime").and_then(|time| time.parse().ok());
    ended.is_some_and(|ended| now.duration_since(ended).as_secs() >= LAST_PODS_SECONDS)
}

fn state_of(word: &str) -> State {
    match word {
        "True" => State::True,
        "False" => State::False,
        _ => State::Unknown,
    }
}

fn going(run: &Run, observed: &Observed, spec: &AgentRunSpec, accepted: Verdict, refused: Option<&Refused>) -> Judged {
    let active: u64 = observed.jobs.values().map(|job| job.active).sum();
    let is_away = matches!(observed.hub, HubView::Away(_) | HubView::NotAsked);
    let records = match run.condition("RecordsComplete").filter(|_| is_away) {
        Some(before) => Verdict::new(state_of(&before.status), before.reason, before.message),
        None => records(spec, observed.hub.aggregate(), false),
    };
    let progressing =
        if spec.suspend { Verdict::new(State::False, "Suspended", "spec.suspend is true") } else { progress(observed, refused, active) };
    let suspended = match (spec.suspend, active) {
        (false, _) => Verdict::new(State::False, "NotSuspended", "spec.suspend is false"),
        (true, 0) => Verdict::new(State::True, "Suspended", "spec.suspend is true: nothing runs"),
        (true, _) => Verdict::new(State::True, "Suspended", "spec.suspend is true: pods are stopping"),
    };
    Judged {
        accepted,
        progressing,
        complete: Verdict::new(State::False, "TrialsLeft", "trials are to be run, or to be scored"),
        failed: Verdict::new(State::False, "NotFailed", "nothing keeps the run from going on"),
        suspended,
        records,
        phase: if spec.suspend { Phase::Suspended } else { Phase::Running },
        mode: match (spec.suspend, is_away, &run.queue) {
            (true, ..) => Mode::Stop,
            (false, true, _) => Mode::Hold,
            (false, false, Some(_)) => Mode::Queue,
            (false, false, None) => Mode::Run,
        },
    }
}

/// Whether trials run, and what holds them up. Trouble of some pods is told while others run.
fn progress(observed: &Observed, refused: Option<&Refused>, active: u64) -> Verdict {
    let ready: u64 = observed.jobs.values().map(|job| job.ready).sum();
    let state = if ready > 0 { State::True } else { State::False };
    if let HubView::Away(message) = &observed.hub {
        return Verdict::new(state, "HubUnavailable", format!("no further trial is started while the hub does not answer: {message}"));
    }
    if let Some(refused) = refused {
        return Verdict::new(state, refused.reason, &refused.message);
    }
    if let Some((reason, message)) = waiting::told(&observed.waiting) {
        return Verdict::new(state, reason.name(), message);
    }
    let unscored = observed.hub.aggregate().map_or(0, |told| told.unscored);
    if active == 0 && unscored > 0 {
        return scoring(observed.scoring.as_ref().and_then(|scoring| scoring.problem.as_ref()));
    }
    Verdict::new(State::True, "Running", "trials are running")
}

/// Outputs wait for their scores, and nothing else is to be done.
fn scoring(problem: Option<&Diagnosis>) -> Verdict {
    match problem {
        None => Verdict::new(State::True, "Scoring", "outputs wait for their scores"),
        Some(problem) if problem.reason.is_agents_own() => Verdict::new(
            State::True,
            "Scoring",
            format!("outputs wait for their scores; the last try of the scoring container failed: {}", problem.message),
        ),
        Some(problem) => Verdict::new(State::False, problem.reason.name(), format!("the scoring pod: {}", problem.message)),
    }
}

/// Whether all records are there, and what keeps calls from being seen.
fn records(spec: &AgentRunSpec, told: Option<&Aggregate>, ended: bool) -> Verdict {
    let unobserved = told.and_then(|told| told.status.pointer("/trials/unobserved")).and_then(Value::as_u64).unwrap_or_default();
    let missing = told.map_or(0, |told| told.records_missing);
    if let Some(told) = told.filter(|_| unobserved > 0) {
        let trials = if unobserved == 1 { "1 trial" } else { &format!("{unobserved} trials") };
        return Verdict::new(State::False, "Unobserved", format!("{trials} ended without one recorded call: {}", unseen(spec, told)));
    }
    if missing > 0 {
        let trials = if missing == 1 { "1 trial" } else { &format!("{missing} trials") };
        let message = format!("{trials} ended without all records: the sidecar was lost, or could not reach the hub before its pod ended");
        return Verdict::new(State::False, "RecordsMissing", message);
    }
    match (told, ended) {
        (Some(_), true) => Verdict::new(State::True, "AllObserved", "every trial that ran was observed"),
        _ => Verdict::new(State::Unknown, "Running", "trials are to be run"),
    }
}

/// Why no call was seen, as far as the capture layers tell, and what to do.
fn unseen(spec: &AgentRunSpec, told: &Aggregate) -> String {
    if told.failed_handshakes > 0 {
        let count = told.failed_handshakes;
        return format!(
            "{count} TLS handshakes refused our certificate, so the agent's client brings its own roots; add BaseUrl to spec.capture, or let the client trust \
             the file that SSL_CERT_FILE names"
        );
    }
    let seen: Vec<&str> = told.captured.iter().filter(|(_, count)| **count > 0).map(|(layer, _)| layer.as_str()).collect();
    let others = if seen.is_empty() { String::new() } else { format!(" (other trials' calls came by {})", seen.join(", ")) };
    if !spec.capture.contains(&CaptureMode::Dns) {
        return format!("no call was seen: the agent ignores proxy variables; add Dns to spec.capture{others}");
    }
    format!("no call was seen: the agent made none, or calls a host that is not known; add the host to spec.providers{others}")
}
