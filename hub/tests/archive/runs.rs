//! Runs come, change and go.

use agentrun_hub::archive::{ArchiveError, Kind, Retention};
use agentrun_protocol::{query::Filter, run::Registration};
use serde_json::json;

use super::rig::{NAME, NAMESPACE, Rig, UID, call, content, named, now, place, registration, spec};

both! {
    an_equal_registration_changes_nothing_and_another_uid_is_another_run
    what_a_run_was_registered_with_stays
    a_later_generation_needs_no_datapoints
    a_deleted_run_is_gone_with_its_rows_and_others_stay
    a_run_that_expired_is_not_taken_for_a_new_one
    a_run_that_was_forgotten_goes_on
}

async fn an_equal_registration_changes_nothing_and_another_uid_is_another_run(rig: Rig) {
    let first = rig.register().await;
    let before = rig.archive.aggregate(first).await.unwrap();
    assert_eq!(rig.register().await, first);
    assert_eq!(rig.archive.aggregate(first).await.unwrap(), before);
    assert_eq!(before.status["trials"]["total"], 8);
    let second = rig.archive.register(NAMESPACE, NAME, registration("another")).await.unwrap();
    assert_ne!(second, first);
    assert_eq!(rig.archive.find(NAMESPACE, NAME, None).await.unwrap(), second);
    assert_eq!(rig.archive.find(NAMESPACE, NAME, Some(UID)).await.unwrap(), first);
    let same_uid_elsewhere = rig.archive.find("other", NAME, Some(UID)).await.unwrap_err();
    assert_eq!(same_uid_elsewhere.kind(), Kind::NotFound);
    let runs = rig.archive.runs(NAMESPACE, Some(1), None).await.unwrap();
    assert_eq!(runs.items[0].uid, "another");
    let rest = rig.archive.runs(NAMESPACE, None, runs.next.as_deref()).await.unwrap();
    assert_eq!((rest.items.len(), rest.items[0].uid.as_str(), rest.next), (1, UID, None));
    assert_eq!(rig.archive.runs("other", None, None).await.unwrap().items, vec![]);
}

async fn what_a_run_was_registered_with_stays(rig: Rig) {
    rig.register().await;
    let refused = async |change: fn(&mut Registration)| {
        let mut changed = Registration { generation: 2, ..registration(UID) };
        change(&mut changed);
        rig.archive.register(NAMESPACE, NAME, changed).await.unwrap_err()
    };
    let other = |error: ArchiveError| match error {
        ArchiveError::Changed { what, .. } => what,
        error => panic!("{error}"),
    };
    assert_eq!(other(refused(|run| run.datapoints[1]["expected"] = json!("no")).await), "other datapoints");
    rig.claim(0, 0, "pod").await;
    assert_eq!(other(refused(|run| run.spec["samples"] = json!(2)).await), "another number of samples");
    assert_eq!(other(refused(|run| run.spec["roles"][0]["models"] = json!(["m0"])).await), "other roles or combos");
    assert_eq!(other(refused(|run| run.spec["scoring"] = json!({"contains": {}})).await), "another scoring");
    for (spec, part) in [
        (json!({"roles": 1}), "its spec"),
        (spec(json!({"command": ["score"]})), "one machine"),
        (spec(json!({})), "spec.scoring"),
        (spec(json!({"regex": {"pattern": "("}})), "its scoring"),
    ] {
        let bad = Registration { spec, ..registration("bad") };
        let error = rig.archive.register(NAMESPACE, NAME, bad).await.unwrap_err();
        assert!(error.kind() == Kind::BadInput && error.to_string().contains(part), "{error}");
    }
}

async fn a_later_generation_needs_no_datapoints(mut rig: Rig) {
    let bare = || Registration { generation: 2, datapoints: vec![], ..registration(UID) };
    assert_eq!(rig.archive.register(NAMESPACE, NAME, bare()).await.unwrap_err().kind(), Kind::NotFound);
    let run = rig.register().await;
    let mut later = bare();
    later.spec["agent"]["timeoutSeconds"] = json!(5);
    rig.archive.register(NAMESPACE, NAME, later).await.unwrap();
    rig.reopen().await;
    assert_eq!(rig.claim(1, 3, "pod").await.assignment.input.as_deref(), Some("question 3"));
    assert_eq!(rig.archive.find(NAMESPACE, NAME, None).await.unwrap(), run);
}

async fn a_deleted_run_is_gone_with_its_rows_and_others_stay(mut rig: Rig) {
    rig.register().await;
    let kept = rig.archive.register(NAMESPACE, "kept", registration("kept")).await.unwrap();
    let attempt = rig.live(0, 0, "pod", "yes").await;
    let other = rig.archive.claim(NAMESPACE, "kept", place(0, 0), named("other"), now()).await.unwrap();
    rig.ingest(other.attempt, 1, &[call("kept")]).await.unwrap();
    rig.archive.delete(NAMESPACE, "kept", UID).await.unwrap();
    assert!(rig.archive.find(NAMESPACE, NAME, None).await.is_ok(), "a uid under another name deletes nothing");
    rig.archive.delete(NAMESPACE, NAME, UID).await.unwrap();
    rig.archive.delete(NAMESPACE, NAME, UID).await.unwrap();
    for reopened in [false, true] {
        assert_eq!(rig.archive.find(NAMESPACE, NAME, None).await.unwrap_err().kind(), Kind::NotFound, "{reopened}");
        assert_eq!(rig.ingest(attempt, 3, &[call("late")]).await.unwrap_err().kind(), Kind::NotFound);
        assert_eq!(rig.records(kept, &Filter::default()).await.len(), 1);
        rig.reopen().await;
    }
    // The same name and uid again are a new run.
    let again = rig.register().await;
    assert_eq!(rig.archive.run(again).await.unwrap().calls, 0);
}

async fn a_run_that_expired_is_not_taken_for_a_new_one(mut rig: Rig) {
    let run = rig.register().await;
    for combo in 0..2 {
        for index in 0..4 {
            rig.live(combo, index, &format!("pod-{combo}-{index}"), "yes").await;
        }
    }
    let old = Retention { age: Some(std::time::Duration::from_secs(7200)), runs: None };
    assert_eq!(rig.archive.retain(old, now()).await.unwrap(), 0);
    let later = now() + jiff::SignedDuration::from_hours(3);
    assert_eq!(rig.archive.retain(old, later).await.unwrap(), 1);
    for _ in 0..2 {
        assert_eq!(rig.archive.aggregate(run).await.unwrap_err().kind(), Kind::Gone);
        assert_eq!(rig.archive.register(NAMESPACE, NAME, registration(UID)).await.unwrap_err().kind(), Kind::Gone);
        assert_eq!(rig.archive.runs(NAMESPACE, None, None).await.unwrap().items, vec![]);
        rig.reopen().await;
    }
}

async fn a_run_that_was_forgotten_goes_on(rig: Rig) {
    rig.register().await;
    rig.live(0, 0, "done", "yes").await;
    let attempt = rig.claim(0, 1, "pod").await.attempt;
    rig.ingest(attempt, 1, &[call("a")]).await.unwrap();
    let before = content(rig.aggregate().await);
    assert_eq!(rig.archive.forget_idle(std::time::Duration::ZERO), 1);
    assert_eq!(content(rig.aggregate().await), before);
    assert_eq!(rig.archive.forget_idle(std::time::Duration::ZERO), 1);
    assert_eq!(rig.ingest(attempt, 1, &[call("a"), call("b")]).await.unwrap(), 2);
    assert_eq!(rig.claim(0, 1, "pod").await.attempt, attempt);
}
