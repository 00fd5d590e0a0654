//! What keeps a run from going on: pods that do not start, a dataset that is not what it was.

use super::*;

fn waits(index: u64, reason: FailureReason, seconds: u64) -> Waiting {
    let diagnosis =
        Diagnosis { reason, message: "container `agent`: ImagePullBackOff: not found".into(), exit_code: None, hopeless: false };
    Waiting { place: Place::first(0, 0), own: index, index, uid: index.to_string(), diagnosis, seconds }
}

#[test]
fn pods_that_do_not_start_are_told_and_given_up_in_time() {
    let mut stuck = seen(&[JobView { ready: 0, ..job(0, 8) }], 0);
    stuck.waiting = vec![waits(0, FailureReason::ImagePull, 30), waits(1, FailureReason::ImagePull, 200)];
    let plan = decide(&run(json!({}), 10), &stuck);
    assert_eq!((phase(&plan), condition(&plan, "Progressing")), ("Running", "False/ImagePull".into()));
    assert_eq!(plan.give_up.iter().map(|waiting| waiting.index).collect::<Vec<_>>(), [1]);
    assert!(message(&plan, "Progressing").starts_with("2 pods do not start: container `agent`"));
    stuck.jobs.values_mut().for_each(|job| job.ready = 1);
    assert_eq!(condition(&decide(&run(json!({}), 10), &stuck), "Progressing"), "True/ImagePull");
    let stopped = decide(&run(json!({"suspend": true}), 10), &stuck);
    assert_eq!(stopped.give_up, [], "a suspended run's pods go by themselves");
}

#[test]
fn a_run_whose_image_was_never_pulled_fails_as_soon_as_one_trial_has() {
    let run = run(json!({}), 10);
    let mut stuck = seen(&[JobView { ready: 0, ..job(0, 8) }], 1);
    stuck.waiting = vec![waits(1, FailureReason::ImagePull, 5)];
    told(&mut stuck).status = json!({
        "trials": {"total": 20, "pending": 11, "running": 8, "succeeded": 0, "failed": 1, "unobserved": 0},
        "failures": [{"reason": "ImagePull", "count": 1, "message": "m", "combo": "a", "datapoints": "0"}],
    });
    let plan = decide(&run, &stuck);
    assert_eq!((phase(&plan), condition(&plan, "Failed")), ("Failed", "True/ImagePull".into()));
    assert_eq!(plan.change[0]["spec"]["suspend"], true);
    let later = decide(&after(&run, &plan), &seen(&[JobView { suspended: true, ..job(0, 0) }], 1));
    assert_eq!((phase(&later), later.create.len() + later.change.len()), ("Failed", 0), "it stays so");
    told(&mut stuck).status["trials"]["succeeded"] = json!(1);
    assert_eq!(phase(&decide(&run, &stuck)), "Running", "one that ran says that the image is there");
    told(&mut stuck).status["trials"]["succeeded"] = json!(0);
    stuck.jobs.values_mut().for_each(|job| job.ready = 1);
    assert_eq!(phase(&decide(&run, &stuck)), "Running", "and so does one that runs");
}

#[test]
fn a_dataset_that_changes_does_not_change_the_run_unless_the_hub_has_lost_it() {
    let mut started = run(json!({}), 10);
    started.status["startTime"] = json!("2026-11-22T09:00:00Z");
    let drifted = Observed { drift: Some("ConfigMap `questions` has changed".into()), ..seen(&[job(3, 7)], 3) };
    let plan = decide(&started, &drifted);
    assert_eq!((phase(&plan), condition(&plan, "Accepted")), ("Running", "True/DatasetChanged".into()));
    assert!(plan.notes.iter().any(|note| note.reason == "DatasetChanged"));
    let problem = Problem { reason: "DatasetChanged", message: "they are others".into() };
    let lost = Observed { dataset: DatasetView::Problem(problem), hub: HubView::NotAsked, ..seen(&[job(3, 7)], 3) };
    let plan = decide(&started, &lost);
    assert_eq!((phase(&plan), condition(&plan, "Failed")), ("Failed", "True/DatasetLost".into()));
    assert_eq!(plan.status["dataset"]["datapoints"], 10);
    let stopped = json!({"suspend": true, "parallelism": 8});
    assert_eq!(plan.change[0]["spec"], stopped, "its pods would wait for what is not there");
    let unreadable = Run { spec: Err("the spec cannot be read: x".into()), ..started };
    assert_eq!(decide(&unreadable, &seen(&[job(3, 7)], 3)).change[0]["spec"], stopped);
}
