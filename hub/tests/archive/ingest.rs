//! Records are stored once, whatever way they come.

use agentrun_hub::archive::{ArchiveError, BATCH_BYTES, Kind};
use agentrun_protocol::query::Filter;
use bytes::Bytes;

use super::rig::{Rig, call, end, lines};

both! {
    a_batch_that_comes_again_is_stored_once
    a_batch_that_leaves_records_out_is_told_where_to_go_on
    what_is_no_record_is_refused_and_stores_nothing
    after_the_end_nothing_more_is_taken
    records_say_what_they_said_and_are_their_pods
}

async fn a_batch_that_comes_again_is_stored_once(mut rig: Rig) {
    let run = rig.register().await;
    let attempt = rig.claim(0, 0, "pod").await.attempt;
    let calls = [call("a"), call("b"), call("c")];
    assert_eq!(rig.ingest(attempt, 1, &calls[..2]).await.unwrap(), 2);
    assert_eq!(rig.ingest(attempt, 1, &calls[..2]).await.unwrap(), 2);
    rig.reopen().await;
    assert_eq!(rig.ingest(attempt, 1, &calls).await.unwrap(), 3);
    assert_eq!(rig.ingest(attempt, 2, &calls[1..2]).await.unwrap(), 3);
    assert_eq!(rig.ingest(attempt, 4, &[]).await.unwrap(), 3);
    assert_eq!(rig.archive.run(run).await.unwrap().calls, 3);
    assert_eq!(rig.records(run, &Filter::default()).await.len(), 3);
    let status = rig.aggregate().await.status;
    assert_eq!((&status["calls"]["total"], &status["spend"]["usd"]), (&3.into(), &"0.0300".into()));
}

async fn a_batch_that_leaves_records_out_is_told_where_to_go_on(rig: Rig) {
    rig.register().await;
    let attempt = rig.claim(0, 0, "pod").await.attempt;
    rig.ingest(attempt, 1, &[call("a")]).await.unwrap();
    for first in [0, 3, u64::MAX] {
        let error = rig.ingest(attempt, first, &[call("c")]).await.unwrap_err();
        assert_eq!(error, ArchiveError::Gap { first, acknowledged: 1 });
        assert!(error.to_string().contains("send from record 2 on"), "{error}");
    }
}

async fn what_is_no_record_is_refused_and_stores_nothing(rig: Rig) {
    let run = rig.register().await;
    let attempt = rig.claim(0, 0, "pod").await.attempt;
    let good = String::from_utf8(lines(&[call("a")]).to_vec()).unwrap();
    let cut = &good[..good.len() / 2];
    let deep = good.replace("{\"say\":\"a\"}", &"[".repeat(100_000));
    let table = [
        (format!("{good}{cut}"), 2),
        (format!("{good}\n{good}"), 2),
        ("\u{0}".to_owned(), 1),
        ("null\n".to_owned(), 1),
        (good.replace("\"sample\":0", "\"sample\":-1"), 1),
        (good.replace("\"latency_seconds\":1.0", "\"latency_seconds\":1e999"), 1),
        (deep, 1),
    ];
    for (batch, expected) in table {
        match rig.archive.ingest(attempt, 1, Bytes::from(batch.clone())).await.unwrap_err() {
            ArchiveError::Record { line, .. } => assert_eq!(line, expected, "{batch:.80}"),
            error => panic!("{error}"),
        }
    }
    let huge = rig.archive.ingest(attempt, 1, vec![b' '; BATCH_BYTES + 1].into()).await.unwrap_err();
    assert_eq!(huge.kind(), Kind::TooLarge);
    assert_eq!(rig.records(run, &Filter::default()).await.len(), 0);
    assert_eq!(rig.ingest(attempt, 1, &[call("a")]).await.unwrap(), 1);
}

async fn after_the_end_nothing_more_is_taken(rig: Rig) {
    rig.register().await;
    let attempt = rig.live(0, 0, "pod", "yes").await;
    assert_eq!(rig.ingest(attempt, 1, &[call("a"), call("b")]).await.unwrap(), 2, "what is there is acknowledged again");
    assert_eq!(rig.ingest(attempt, 3, &[call("c")]).await.unwrap_err(), ArchiveError::Ended { last: 2 });
    rig.archive.put_output(attempt, Bytes::from_static(b"no")).await.unwrap();
    rig.archive.end(attempt, end(2)).await.unwrap();
    let trial = rig.trial("solver=m0", "q0").await;
    assert_eq!((trial.output.as_deref(), trial.score, trial.calls), (Some("yes"), Some(1.0), 2));
}

async fn records_say_what_they_said_and_are_their_pods(mut rig: Rig) {
    let run = rig.register().await;
    let attempt = rig.claim(1, 2, "pod").await.attempt;
    let mut sent = vec![call("a"), call("b"), call("b")];
    // A sidecar's word on whose a call is counts for nothing.
    sent[0].data_id = Some("q3".to_owned());
    sent[0].run = Some("another".to_owned());
    sent[1].model = "nul \0 and \u{1f980}".to_owned();
    sent[2].request_body = None;
    rig.ingest(attempt, 1, &sent).await.unwrap();
    rig.reopen().await;
    let records = rig.archive.calls(run, &Filter::default()).await.unwrap().items;
    assert_eq!(records.len(), 3);
    for (record, mut sent) in records.iter().zip(sent) {
        // PostgreSQL's texts hold no NUL.
        sent.model = sent.model.replace('\0', "\u{fffd}");
        (sent.run, sent.data_id) = (Some("triage".to_owned()), Some("q2".to_owned()));
        (sent.combo_id, sent.agent_id) = (Some("solver=m1".to_owned()), None);
        assert_eq!(record.get(), serde_json::to_string(&sent).unwrap());
    }
    let filter = Filter { model: Some("nul \0 and \u{1f980}".to_owned()), ..Filter::default() };
    assert_eq!(rig.records(run, &filter).await.len(), 1);
}
