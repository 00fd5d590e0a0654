//! Which pod has which trial, and pods that others made.

use agentrun_hub::archive::{ArchiveError, Claims, Kind, Place, Scope};
use agentrun_protocol::{query::Filter, run::Registration};
use serde_json::json;

use super::rig::{NAME, NAMESPACE, Rig, UID, call, end, named, now, place, registration};

both! {
    a_pod_is_told_its_trial
    trials_that_are_not_there_are_refused
    pods_that_others_made_have_a_run_of_their_own
    pods_that_others_label_with_a_registered_run_are_part_of_its_calls_alone
    a_pod_of_others_goes_on_where_it_was_when_its_run_is_gone
    a_pod_of_others_stays_where_its_records_are
}

async fn a_pod_is_told_its_trial(rig: Rig) {
    let mut wide = registration(UID);
    wide.spec["samples"] = json!(3);
    wide.spec["cache"] = json!({"mode": "ReadOnly", "scope": "Shared"});
    wide.spec["roles"][0]["replaces"] = json!(["asked"]);
    wide.spec["routing"] = json!({"random": {"candidates": ["x", "y"], "seed": 7}});
    rig.archive.register(NAMESPACE, NAME, wide).await.unwrap();
    // Datapoints vary fastest: index 6 is the second sample of q2.
    let claimed = rig.claim(1, 6, "pod").await;
    let assignment = &claimed.assignment;
    assert_eq!((assignment.run.as_str(), assignment.namespace.as_str()), (NAME, NAMESPACE));
    assert_eq!((assignment.data_id.as_deref(), assignment.combo_id.as_deref(), assignment.sample), (Some("q2"), Some("solver=m1"), 1));
    assert_eq!((assignment.input.as_deref(), assignment.attempt, assignment.output_limit), (Some("question 2"), 0, 1 << 20));
    assert_eq!(assignment.models.get("solver").map(String::as_str), Some("m1"));
    assert_eq!(assignment.replaces, [("asked".to_owned(), "m1".to_owned())]);
    assert_eq!(serde_json::to_value(&assignment.routing).unwrap(), json!({"random": {"candidates": ["x", "y"], "seed": 7}}));
    assert_eq!((assignment.cache_mode.as_str(), &claimed.scope, claimed.is_final), ("ReadOnly", &Scope::Shared, false));
}

async fn trials_that_are_not_there_are_refused(rig: Rig) {
    rig.register().await;
    let far = u64::MAX;
    for (combo, chunk, index) in [(2, 0, 0), (0, 0, 4), (0, 1, 0), (far, 0, 0), (0, far, 0), (0, 0, far)] {
        let error = rig.archive.claim(NAMESPACE, UID, Place { combo, chunk, index }, named("pod"), now()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound, "{combo} {chunk} {index}: {error}");
    }
    let another_namespace = rig.archive.claim("other", UID, place(0, 0), named("pod"), now()).await.unwrap_err();
    assert_eq!(another_namespace.kind(), Kind::NotFound);
    rig.claim(0, 0, "pod").await;
    let moved = rig.archive.claim(NAMESPACE, UID, place(0, 1), named("pod"), now()).await.unwrap_err();
    assert_eq!(moved.kind(), Kind::NotFound, "a pod has one trial");
}

async fn pods_that_others_made_have_a_run_of_their_own(mut rig: Rig) {
    let claims = Claims { data_id: "d".to_owned(), combo_id: String::new(), agent_id: "critic".to_owned() };
    let adopted = rig.archive.adopt("alone", "flow", claims.clone(), named("pod"), now()).await.unwrap();
    assert_eq!((adopted.scope, adopted.assignment.input), (Scope::Namespace("alone".to_owned()), None));
    assert_eq!(adopted.assignment.agent_id.as_deref(), Some("critic"));
    rig.ingest(adopted.attempt, 1, &[call("a")]).await.unwrap();
    rig.archive.end(adopted.attempt, agentrun_protocol::trial::End { last_sequence: 1, ..Default::default() }).await.unwrap();
    rig.reopen().await;
    let again = rig.archive.adopt("alone", "flow", claims, named("pod"), now()).await.unwrap();
    assert_eq!((again.attempt, again.run), (adopted.attempt, adopted.run));
    let filter = Filter { agent_id: Some("critic".to_owned()), ..Filter::default() };
    let records = rig.records(adopted.run, &filter).await;
    assert_eq!((records.len(), &records[0]["data_id"], &records[0]["combo_id"]), (1, &"d".into(), &json!(null)));
    let pods = rig.archive.trials(adopted.run, &Filter::default()).await.unwrap().items;
    assert_eq!((pods.len(), pods[0].calls, pods[0].pod.as_deref()), (1, 1, Some("pod")));
    assert_eq!(rig.archive.aggregate(adopted.run).await.unwrap().finished, 0);
    let listed = rig.archive.runs("alone", None, None).await.unwrap().items;
    assert_eq!((listed.len(), listed[0].uid.as_str(), listed[0].calls), (1, "", 1));
}

async fn pods_that_others_label_with_a_registered_run_are_part_of_its_calls_alone(rig: Rig) {
    let run = rig.archive.register(NAMESPACE, NAME, Registration { ..registration(UID) }).await.unwrap();
    let adopted = rig.archive.adopt(NAMESPACE, NAME, Claims::default(), named("guest"), now()).await.unwrap();
    assert_eq!(adopted.run, run);
    rig.ingest(adopted.attempt, 1, &[call("a")]).await.unwrap();
    rig.archive.put_output(adopted.attempt, bytes::Bytes::from_static(b"yes")).await.unwrap();
    rig.archive.end(adopted.attempt, end(1)).await.unwrap();
    let aggregate = rig.aggregate().await;
    assert_eq!((aggregate.finished, &aggregate.status["calls"]["total"]), (0, &1.into()));
}

async fn a_pod_of_others_goes_on_where_it_was_when_its_run_is_gone(rig: Rig) {
    rig.register().await;
    let adopt = async || rig.archive.adopt(NAMESPACE, NAME, Claims::default(), named("guest"), now()).await.unwrap();
    let before = adopt().await;
    assert_eq!(rig.ingest(before.attempt, 1, &[call("a"), call("b")]).await.unwrap(), 2);
    rig.archive.delete(NAMESPACE, NAME, UID).await.unwrap();
    let after = adopt().await;
    assert_ne!(after.run, before.run);
    for first in [0, u64::MAX] {
        assert_eq!(rig.ingest(after.attempt, first, &[call("c")]).await, Err(ArchiveError::Gap { first, acknowledged: 0 }));
    }
    assert_eq!(rig.ingest(after.attempt, 3, &[call("c"), call("d")]).await.unwrap(), 4);
    assert_eq!(rig.ingest(after.attempt, 3, &[call("c"), call("d"), call("e")]).await.unwrap(), 5);
    assert_eq!(rig.ingest(after.attempt, 7, &[call("g")]).await, Err(ArchiveError::Gap { first: 7, acknowledged: 5 }));
    assert_eq!(rig.records(after.run, &Filter::default()).await.len(), 3);
    // Of a trial, no record may be missing.
    rig.register().await;
    let trial = rig.claim(0, 0, "pod").await.attempt;
    assert_eq!(rig.ingest(trial, 3, &[call("c")]).await, Err(ArchiveError::Gap { first: 3, acknowledged: 0 }));
}

async fn a_pod_of_others_stays_where_its_records_are(mut rig: Rig) {
    let adopt = async |rig: &Rig, pod: &str| rig.archive.adopt(NAMESPACE, NAME, Claims::default(), named(pod), now()).await.unwrap();
    let before = adopt(&rig, "guest").await;
    rig.ingest(before.attempt, 1, &[call("a")]).await.unwrap();
    let registered = rig.register().await;
    rig.reopen().await;
    let again = adopt(&rig, "guest").await;
    assert_eq!((again.run, again.attempt), (before.run, before.attempt));
    assert_eq!(adopt(&rig, "later").await.run, registered);
}
