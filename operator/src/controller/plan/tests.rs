//! Tables over whole looks: what was seen goes in; phase, conditions, objects and Events come out.

mod held_up;
mod scoring;
mod world;

use agentrun_eval::trial::FailureReason;
use agentrun_protocol::run::{CHUNK, Interruption};
use serde_json::json;

use super::*;
use crate::diagnose::Diagnosis;
use crate::objects::job::{Template, Window};
use crate::testing::run;

const SETTINGS: Settings = Settings { pending_seconds: 600, image_seconds: 120 };

struct Fake;

impl Templates for Fake {
    fn trials(&self, _: &Run, spec: &AgentRunSpec, _: Place, combo: &Combo) -> Result<Template, String> {
        if spec.template.0.pointer("/spec/hostNetwork").is_some() {
            return Err("spec.template: hostNetwork: leave it out".to_owned());
        }
        let pod = json!({"metadata": {"annotations": {"combo": combo.id}}, "spec": {"containers": [{"name": "agent"}]}});
        Ok(Template { pod, container: "agent".to_owned() })
    }

    fn scoring(&self, _: &Run, _: &AgentRunSpec) -> Result<Value, String> {
        Ok(json!({"spec": {"containers": [{"name": "scorer"}]}}))
    }
}

/// Two combos on ten datapoints, one Job each; the hub knows of so many final results.
fn seen(jobs: &[JobView], finished: u64) -> Observed {
    let told = Aggregate {
        version: 1,
        status: json!({
            "trials": {"total": 20, "pending": 20 - finished, "running": 0, "succeeded": finished, "failed": 0, "unobserved": 0},
            "calls": {"total": finished, "cached": 0, "failed": 0, "unreadable": 0},
        }),
        finished,
        ..Aggregate::default()
    };
    Observed {
        jobs: jobs.iter().enumerate().map(|(combo, job)| (Place::first(0, combo as u64), job.clone())).collect(),
        scoring: None,
        dataset: DatasetView::Ready { datapoints: 10, digest: "d".to_owned() },
        drift: None,
        hub: HubView::Told(Box::new(told)),
        waiting: Vec::new(),
        refused: None,
        is_namespace_ending: false,
    }
}

fn job(ended: u64, active: u64) -> JobView {
    let succeeded = if ended == 0 { Ranges::default() } else { Ranges::parse(&format!("0-{}", ended - 1)) };
    JobView { name: "j".into(), uid: "u".into(), completions: 10, parallelism: 8, succeeded, active, ready: active, ..JobView::default() }
}

fn told(observed: &mut Observed) -> &mut Aggregate {
    match &mut observed.hub {
        HubView::Told(told) => told,
        _ => panic!("the hub was asked"),
    }
}

fn decide(run: &Run, observed: &Observed) -> Plan {
    plan(run, observed, SETTINGS, &Fake, "2026-11-22T10:00:00.5Z".parse().unwrap())
}

/// `Status/Reason` of a condition.
fn condition(plan: &Plan, kind: &str) -> String {
    let conditions = plan.status["conditions"].as_array().unwrap();
    let found = conditions.iter().find(|condition| condition["type"] == kind).unwrap();
    format!("{}/{}", found["status"].as_str().unwrap(), found["reason"].as_str().unwrap())
}

fn message(plan: &Plan, kind: &str) -> String {
    let conditions = plan.status["conditions"].as_array().unwrap();
    conditions.iter().find(|condition| condition["type"] == kind).unwrap()["message"].as_str().unwrap().to_owned()
}

fn phase(plan: &Plan) -> &str {
    plan.status["phase"].as_str().unwrap()
}

/// The run as the next look finds it.
fn after(run: &Run, plan: &Plan) -> Run {
    Run { status: plan.status.clone(), ..run.clone() }
}

#[test]
fn a_new_run_is_accepted_and_started() {
    let mut run = run(json!({}), 10);
    run.status = Value::Null;
    let plan = decide(&run, &seen(&[], 0));
    assert_eq!((phase(&plan), plan.create.len(), plan.change.len()), ("Running", 1, 0));
    assert_eq!(plan.create[0]["spec"]["parallelism"], 8);
    assert_eq!((condition(&plan, "Accepted"), condition(&plan, "Progressing")), ("True/Valid".into(), "True/Running".into()));
    assert_eq!(plan.status["dataset"], json!({"datapoints": 10, "digest": "d"}));
    assert_eq!(plan.status["startTime"], "2026-11-22T10:00:00Z");
    assert_eq!(plan.again, Some(Duration::from_secs(1)));
    let again = decide(&after(&run, &plan), &seen(&[job(0, 8)], 0));
    assert_eq!(again.status["startTime"], plan.status["startTime"]);
}

#[test]
fn a_run_waits_for_its_dataset_and_for_the_hub() {
    let mut run = run(json!({}), 10);
    run.status = Value::Null;
    let problem = Problem { reason: "DatasetMissing", message: "there is no ConfigMap `questions`".into() };
    let missing = Observed { dataset: DatasetView::Problem(problem), hub: HubView::NotAsked, ..seen(&[], 0) };
    let plan = decide(&run, &missing);
    assert_eq!((phase(&plan), condition(&plan, "Accepted")), ("Pending", "False/DatasetMissing".into()));
    assert!(plan.create.is_empty() && plan.again.is_some() && plan.status.get("startTime").is_none());
    let away = Observed { dataset: DatasetView::Waiting, hub: HubView::Away("ask the hub: refused".into()), ..seen(&[], 0) };
    let plan = decide(&run, &away);
    assert_eq!((phase(&plan), condition(&plan, "Accepted")), ("Pending", "Unknown/HubUnavailable".into()));
    assert!(plan.create.is_empty() && message(&plan, "Accepted").contains("refused"));
}

#[test]
fn a_spec_that_cannot_be_run_fails_with_its_place_and_starts_nothing() {
    let mut unreadable = run(json!({}), 10);
    unreadable.spec = Err("the spec cannot be read: missing field `roles`".into());
    let twice = run(json!({"roles": [{"name": "a", "models": ["m"]}, {"name": "a", "models": ["n"]}]}), 10);
    let template = run(json!({"template": {"spec": {"hostNetwork": true, "containers": [{"name": "agent"}]}}}), 10);
    let table = [
        (&unreadable, "InvalidSpec", "missing field"),
        (&twice, "InvalidSpec", "spec.roles"),
        (&template, "TemplateRefused", "hostNetwork"),
    ];
    for (run, reason, part) in table {
        let plan = decide(run, &seen(&[], 0));
        assert_eq!((phase(&plan), condition(&plan, "Failed")), ("Failed", format!("True/{reason}")));
        assert!(message(&plan, "Failed").contains(part) && plan.create.is_empty() && plan.again.is_none(), "{plan:?}");
        assert!(plan.notes.iter().any(|note| note.warning && note.reason == reason), "{:?}", plan.notes);
        let again = decide(&after(run, &plan), &seen(&[], 0));
        assert_eq!((again.status, again.notes), (plan.status, vec![]), "a second look changes nothing");
    }
}

#[test]
fn a_job_that_the_api_server_refuses_fails_the_run_until_its_spec_changes() {
    let run = run(json!({}), 10);
    let refused = Refused { reason: "TemplateRefused", message: "Job is invalid: spec.template: x".into(), is_final: true };
    let plan = decide(&run, &Observed { refused: Some(refused), ..seen(&[], 0) });
    assert_eq!((phase(&plan), condition(&plan, "Accepted"), plan.create.len()), ("Failed", "False/TemplateRefused".into(), 0));
    let again = decide(&after(&run, &plan), &seen(&[], 0));
    assert_eq!((phase(&again), again.create.len()), ("Failed", 0));
    let edited = Run { generation: 2, ..after(&run, &plan) };
    assert_eq!(phase(&decide(&edited, &seen(&[], 0))), "Running");
    let mut begun = run.clone();
    begun.status["startTime"] = json!("2026-11-22T09:00:00Z");
    let refusal = || Some(Refused { reason: "TemplateRefused", message: "Job is invalid".into(), is_final: true });
    let times = [seen(&[], 0), seen(&[], 3), seen(&[job(3, 0)], 0)].map(|seen| {
        let plan = decide(&begun, &Observed { refused: refusal(), ..seen });
        plan.status["startTime"].as_str().map(str::to_owned)
    });
    let kept = Some("2026-11-22T09:00:00Z".to_owned());
    assert_eq!(times, [None, kept.clone(), kept], "the spec is free to change where nothing was started, and only there");
}

#[test]
fn a_quota_holds_a_run_up_and_does_not_fail_it() {
    let refused = Refused { reason: "QuotaExceeded", message: "exceeded quota: pods".into(), is_final: false };
    let stuck = Observed { refused: Some(refused.clone()), ..seen(&[job(0, 0)], 0) };
    let plan = decide(&run(json!({}), 10), &stuck);
    assert_eq!((phase(&plan), condition(&plan, "Progressing")), ("Running", "False/QuotaExceeded".into()));
    let slow = Observed { refused: Some(refused), ..seen(&[job(0, 2)], 0) };
    assert_eq!(condition(&decide(&run(json!({}), 10), &slow), "Progressing"), "True/QuotaExceeded");
}

#[test]
fn a_suspended_run_stops_its_jobs_and_goes_on_after() {
    let stopped = run(json!({"suspend": true}), 10);
    let plan = decide(&stopped, &seen(&[job(3, 7)], 3));
    assert_eq!((phase(&plan), plan.create.len()), ("Suspended", 0));
    assert_eq!(plan.change[0]["spec"], json!({"suspend": true, "parallelism": 8}));
    assert_eq!((condition(&plan, "Suspended"), condition(&plan, "Progressing")), ("True/Suspended".into(), "False/Suspended".into()));
    let held = JobView { suspended: true, ..job(3, 0) };
    let resumed = decide(&after(&run(json!({}), 10), &plan), &seen(&[held], 3));
    assert_eq!((phase(&resumed), resumed.change[0]["spec"].clone()), ("Running", json!({"suspend": false, "parallelism": 7})));
    assert_eq!(resumed.create.len(), 1, "what is left of the limit goes to the next Job");
}

#[test]
fn nothing_is_started_or_stopped_while_the_hub_is_away() {
    let run = run(json!({}), 10);
    let first = decide(&run, &seen(&[job(3, 7)], 3));
    let away = Observed { hub: HubView::Away("ask the hub: connection refused".into()), ..seen(&[job(9, 1)], 0) };
    let plan = decide(&after(&run, &first), &away);
    assert!(plan.create.is_empty() && plan.change.is_empty() && plan.give_up.is_empty());
    assert_eq!((phase(&plan), condition(&plan, "Progressing")), ("Running", "True/HubUnavailable".into()));
    assert_eq!(plan.status["trials"], first.status["trials"], "the last sums are kept");
}

#[test]
fn a_run_is_complete_when_the_hub_has_a_final_result_for_every_trial() {
    let run = run(json!({}), 10);
    let jobs = [job(10, 0), job(10, 0)];
    assert_eq!(phase(&decide(&run, &seen(&jobs, 19))), "Running");
    let mut unscored = seen(&jobs, 20);
    told(&mut unscored).unscored = 1;
    let plan = decide(&run, &unscored);
    assert_eq!((phase(&plan), condition(&plan, "Progressing")), ("Running", "True/Scoring".into()));
    let plan = decide(&run, &seen(&jobs, 20));
    assert_eq!(
        (phase(&plan), condition(&plan, "Complete"), condition(&plan, "RecordsComplete")),
        ("Complete", "True/Complete".into(), "True/AllObserved".into())
    );
    assert_eq!((plan.status["completionTime"].as_str(), plan.again), (Some("2026-11-22T10:00:00Z"), None));
    let later = Observed { hub: HubView::NotAsked, ..seen(&jobs, 0) };
    let again = decide(&after(&run, &plan), &later);
    assert_eq!((again.status, again.notes.len()), (plan.status.clone(), 0), "the hub is not needed for what has ended");
    let edited = decide(&Run { generation: 2, ..after(&run, &plan) }, &later);
    assert_eq!((phase(&edited), edited.status["observedGeneration"].as_i64()), ("Complete", Some(2)));
}

#[test]
fn the_last_pods_of_a_complete_run_end_by_themselves_unless_they_take_long() {
    let run = run(json!({}), 10);
    let jobs = [job(10, 0), job(9, 1)];
    let plan = decide(&run, &seen(&jobs, 20));
    assert_eq!((phase(&plan), plan.change.len()), ("Complete", 0));
    let mut long_after = after(&run, &plan);
    long_after.status["completionTime"] = json!("2026-11-22T09:58:59Z");
    let later = decide(&long_after, &seen(&jobs, 20));
    assert_eq!(later.change[0]["spec"]["suspend"], true);
}

#[test]
fn what_was_lost_is_the_next_jobs() {
    let run = run(json!({}), 10);
    let mut seen = seen(&[job(10, 0), job(10, 0)], 18);
    told(&mut seen).lost = vec![(1, 0, "4,7".to_owned())];
    told(&mut seen).harvested = vec![(0, 0, "0-9".to_owned()), (1, 0, "0-3,5-6,8-9".to_owned())];
    let plan = decide(&run, &seen);
    assert_eq!((phase(&plan), plan.create.len(), plan.change.len()), ("Running", 1, 0));
    let job = &plan.create[0];
    assert_eq!((&job["metadata"]["name"], &job["spec"]["completions"]), (&json!("math-c1-k0-r1"), &json!(2)));
    assert_eq!(job["metadata"]["annotations"], json!({"agentrun.dev/cells": "4,7"}));
    let stopped = Run { spec: Ok(crate::testing::spec(json!({"suspend": true}))), ..run.clone() };
    assert!(decide(&stopped, &seen).create.is_empty());
    seen.hub = HubView::Away("ask the hub: connection refused".into());
    assert!(decide(&run, &seen).create.is_empty());
}

#[test]
fn what_was_not_observed_is_explained() {
    let table = [
        (json!(["Connect"]), 0, "add Dns to spec.capture"),
        (json!(["Connect"]), 7, "7 TLS handshakes refused our certificate"),
        (json!(["Connect", "Dns"]), 0, "add the host to spec.providers"),
    ];
    for (capture, handshakes, part) in table {
        let mut observed = seen(&[job(10, 0), job(10, 0)], 20);
        told(&mut observed).status["trials"]["unobserved"] = json!(20);
        told(&mut observed).failed_handshakes = handshakes;
        let plan = decide(&run(json!({"capture": capture}), 10), &observed);
        assert_eq!((phase(&plan), condition(&plan, "RecordsComplete")), ("Complete", "False/Unobserved".into()));
        assert!(message(&plan, "RecordsComplete").contains(part), "{}", message(&plan, "RecordsComplete"));
    }
    let mut missing = seen(&[job(10, 0), job(10, 0)], 20);
    told(&mut missing).records_missing = 1;
    assert_eq!(condition(&decide(&run(json!({}), 10), &missing), "RecordsComplete"), "False/RecordsMissing");
}

#[test]
fn lost_pods_are_counted_by_reason_and_told_once() {
    let run = run(json!({}), 10);
    let mut observed = seen(&[job(3, 7)], 3);
    let lost = |reason: &str, count| Interruption { reason: reason.into(), count, message: "m".repeat(1000) };
    told(&mut observed).interruptions = vec![lost("NodeLost", 1), lost("Evicted", 4)];
    let plan = decide(&run, &observed);
    let rows: Vec<_> =
        plan.status["interruptions"].as_array().unwrap().iter().map(|row| (row["reason"].clone(), row["count"].clone())).collect();
    assert_eq!(rows, [(json!("Evicted"), json!(4)), (json!("NodeLost"), json!(1))]);
    let warned = |plan: &Plan| plan.notes.iter().filter(|note| note.warning).count();
    assert_eq!((warned(&plan), warned(&decide(&after(&run, &plan), &observed))), (2, 0));
}

#[test]
fn the_jobs_of_a_namespace_that_ends_are_deleted() {
    let ending = Observed { is_namespace_ending: true, ..seen(&[job(3, 7), JobView { deleting: true, ..job(0, 1) }], 3) };
    let plan = decide(&run(json!({}), 10), &ending);
    assert_eq!((plan.delete, plan.create.len() + plan.change.len()), (vec!["j".to_owned()], 0));
}

#[test]
fn under_kueue_jobs_are_made_suspended_and_left_alone() {
    let queued = Run { queue: Some("team-a".into()), ..run(json!({}), 10) };
    let plan = decide(&queued, &seen(&[], 0));
    assert_eq!((plan.create.len(), plan.create[0]["spec"]["suspend"].clone()), (1, json!(true)));
    let waiting = JobView { suspended: true, ..job(0, 0) };
    assert_eq!(decide(&queued, &seen(&[waiting], 0)).change, Vec::<Value>::new());
}

#[test]
fn a_status_fits_at_a_million_trials() {
    let models: Vec<String> = (0..64).map(|model| format!("model-{model}-{}", "x".repeat(240))).collect();
    let roles: Vec<Value> = (0..2).map(|role| json!({"name": format!("role-{role}-{}", "y".repeat(50)), "models": models})).collect();
    let run = run(json!({"roles": roles}), 250);
    let mut observed = seen(&[], 0);
    observed.dataset = DatasetView::Ready { datapoints: 250, digest: "d".repeat(64) };
    observed.drift = Some("z".repeat(100_000));
    let combos = run.spec.as_ref().unwrap().combos().unwrap();
    let row = |rank: usize| {
        let combo = combos.get(rank).unwrap();
        json!({"rank": rank + 1, "combo": combo.id, "models": combo.models, "trials": 250, "failed": 3, "score": "0.5000",
            "standardError": "0.0100", "latencySeconds": "1.0000", "usd": "0.0001", "tiedWithBest": true, "pareto": true})
    };
    let failure = |index: usize| json!({"reason": "AgentExit", "count": 9, "message": "m".repeat(300), "combo": combos.get(index).unwrap().id, "datapoints": "1,".repeat(500)});
    *told(&mut observed) = Aggregate {
        status: json!({
            "trials": {"total": 1_024_000, "pending": 0, "running": 0, "succeeded": 1_000_000, "failed": 0, "unobserved": 0},
            "results": (0..50).map(row).collect::<Vec<_>>(),
            "failures": (0..10).map(failure).collect::<Vec<_>>(),
        }),
        finished: 1_000_000,
        interruptions: (0..1000)
            .map(|index| Interruption { reason: format!("R{index}"), count: index, message: "m".repeat(5000) })
            .collect(),
        ..Aggregate::default()
    };
    let plan = decide(&run, &observed);
    let size = plan.status.to_string().len();
    assert!(size <= status::MAX_BYTES, "{size} bytes");
    assert!(plan.status["results"].as_array().unwrap().len() > 5, "as much of the ranking as fits");
    assert!(serde_json::from_value::<agentrun_crds::AgentRunStatus>(plan.status.clone()).is_ok());
}
