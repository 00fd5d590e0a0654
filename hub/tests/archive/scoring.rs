//! Outputs that a container of the user's scores.

use agentrun_protocol::{run::Registration, score::Scored};
use serde_json::json;

use super::rig::{NAME, NAMESPACE, Rig, UID, call, content, end, registration, spec};

both! {
    outputs_wait_for_their_scores_and_take_them_once
    pages_of_outputs_are_bounded
}

async fn register(rig: &Rig) -> agentrun_hub::archive::RunId {
    let scored = Registration { spec: spec(json!({"container": {"image": "judge", "command": ["judge"]}})), ..registration(UID) };
    rig.archive.register(NAMESPACE, NAME, scored).await.unwrap()
}

async fn outputs_wait_for_their_scores_and_take_them_once(mut rig: Rig) {
    let run = register(&rig).await;
    for index in 0..4 {
        rig.live(0, index, &format!("pod-{index}"), &format!("answer {index}")).await;
    }
    let waiting = rig.aggregate().await;
    assert_eq!((waiting.finished, waiting.unscored, waiting.harvested.as_slice()), (0, 4, [(0, 0, "0-3".to_owned())].as_slice()));
    rig.reopen().await;
    let items = rig.archive.score_items(run, -1, 3).await.unwrap();
    assert_eq!(items.iter().map(|item| item.trial).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!((items[1].question.output.as_str(), &items[1].question.input), ("answer 1", &json!("question 1")));
    assert_eq!(rig.archive.score_items(run, 2, 1000).await.unwrap().len(), 1);
    let scored =
        |trial, answer: Option<&str>, score| Scored { trial, answer: answer.map(str::to_owned), score, reason: Some("why".to_owned()) };
    let scores = vec![
        scored(0, Some("{\"score\": 0.25, \"reason\": \"meh\"}"), Some(1.0)),
        scored(1, None, Some(0.5)),
        scored(2, Some("nonsense"), None),
        scored(3, None, Some(7.0)),
        scored(4, None, Some(1.0)),
        scored(-1, None, Some(1.0)),
        scored(i64::MAX, None, Some(1.0)),
    ];
    rig.archive.score(run, scores).await.unwrap();
    let again = vec![scored(0, None, Some(1.0)), scored(2, None, Some(1.0))];
    rig.archive.score(run, again).await.unwrap();
    let first = rig.trial("solver=m0", "q0").await;
    assert_eq!((first.score, first.score_reason.as_deref()), (Some(0.25), Some("meh")));
    assert_eq!(rig.trial("solver=m0", "q1").await.score, Some(0.5));
    for data_id in ["q2", "q3"] {
        let failed = rig.trial("solver=m0", data_id).await;
        assert_eq!((failed.state.as_str(), failed.reason.as_deref(), failed.score), ("Failed", Some("Scoring"), None));
    }
    let before = content(rig.aggregate().await);
    assert_eq!((before.finished, before.unscored), (4, 0));
    rig.reopen().await;
    assert_eq!(content(rig.aggregate().await), before);
}

async fn pages_of_outputs_are_bounded(rig: Rig) {
    let run = register(&rig).await;
    let large = "x".repeat(1 << 20);
    for (combo, index) in (0..2).flat_map(|combo| (0..4).map(move |index| (combo, index))) {
        let attempt = rig.claim(combo, index, &format!("pod-{combo}-{index}")).await.attempt;
        rig.ingest(attempt, 1, &[call("a")]).await.unwrap();
        rig.archive.put_output(attempt, large.clone().into()).await.unwrap();
        rig.archive.end(attempt, end(1)).await.unwrap();
    }
    let page = rig.archive.score_items(run, -1, 1000).await.unwrap();
    assert_eq!(page.len(), 8, "8 MiB fit");
    let too_large = rig.archive.put_output(rig.claim(0, 0, "late").await.attempt, format!("{large}x").into()).await.unwrap_err();
    assert_eq!(too_large.kind(), agentrun_hub::archive::Kind::TooLarge);
}
