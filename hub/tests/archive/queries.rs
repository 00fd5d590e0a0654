//! What readers find.

use agentrun_hub::archive::{Claims, Kind};
use agentrun_llm::call::{CacheLayer, Outcome};
use agentrun_protocol::query::Filter;
use jiff::SignedDuration;
use serde_json::Value;

use super::rig::{NAMESPACE, Rig, call, named, now};

both! {
    records_are_found_by_everything_that_is_asked
    records_of_a_pods_own_sessions_keep_their_ids
    pages_follow_each_other_without_gap_or_repeat_either_way
    large_records_make_short_pages
    questions_of_no_use_are_refused
    trials_and_results_come_in_pages
}

fn filter(of: impl FnOnce(&mut Filter)) -> Filter {
    let mut filter = Filter::default();
    of(&mut filter);
    filter
}

fn ask(record: &Value) -> String {
    record["request_body"]["ask"].as_str().unwrap().to_owned()
}

async fn records_are_found_by_everything_that_is_asked(rig: Rig) {
    let run = rig.register().await;
    let (one, other) = (rig.claim(0, 0, "one").await.attempt, rig.claim(1, 1, "other").await.attempt);
    let mut calls = [call("a"), call("b"), call("c")];
    calls[0].model = "m9".to_owned();
    (calls[1].cached, calls[1].cache_layer) = (true, Some(CacheLayer::Disk));
    calls[2].outcome = Outcome::HttpError;
    calls[2].timestamp += SignedDuration::from_hours(1);
    rig.ingest(one, 1, &calls).await.unwrap();
    rig.ingest(other, 1, &[call("d")]).await.unwrap();
    let table = [
        (filter(|_| ()), "abcd"),
        (filter(|filter| filter.combo_id = Some("solver=m0".into())), "abc"),
        (filter(|filter| filter.data_id = Some("q1".into())), "d"),
        (filter(|filter| filter.data_id = Some("nobody".into())), ""),
        (filter(|filter| filter.agent_id = Some("nobody".into())), ""),
        (filter(|filter| filter.model = Some("m9".into())), "a"),
        (filter(|filter| filter.cached = Some(true)), "b"),
        (filter(|filter| filter.cached = Some(false)), "acd"),
        (filter(|filter| filter.outcome = Some("http_error".into())), "c"),
        (filter(|filter| filter.since = Some("2026-11-20T10:30:00Z".into())), "c"),
        (filter(|filter| filter.until = Some("2026-11-20T11:30:00+01:00".into())), "abd"),
        (filter(|filter| (filter.combo_id, filter.newest_first) = (Some("solver=m0".into()), true)), "cba"),
        (
            filter(|filter| {
                filter.combo_id = Some("solver=m0".into());
                filter.cached = Some(false);
                filter.outcome = Some("complete".into());
            }),
            "a",
        ),
    ];
    for (filter, expected) in table {
        let found: String = rig.records(run, &filter).await.iter().map(ask).collect();
        assert_eq!(found, expected, "{filter:?}");
    }
}

async fn records_of_a_pods_own_sessions_keep_their_ids(rig: Rig) {
    let claims = Claims { data_id: "batch".into(), combo_id: "a".into(), ..Claims::default() };
    let attempt = rig.archive.adopt(NAMESPACE, "batches", claims, named("pod"), now()).await.unwrap();
    let said = |name: &str, data_id: Option<&str>, agent_id: Option<&str>| {
        let mut record = call(name);
        (record.data_id, record.combo_id, record.agent_id) =
            (data_id.map(str::to_owned), Some("a".to_owned()), agent_id.map(str::to_owned));
        record
    };
    let mut calls =
        [said("a", Some("batch"), None), said("b", Some("q1"), None), said("c", Some("q2"), Some("x")), said("d", None, Some("x\0"))];
    // Other members are in the way of no question.
    (calls[0].requested_model, calls[1].error) = (Some("m\0".to_owned()), Some("a \\u0000 or \0".to_owned()));
    rig.ingest(attempt.attempt, 1, &calls).await.unwrap();
    let table = [
        (filter(|filter| filter.data_id = Some("batch".into())), "ad"),
        (filter(|filter| filter.data_id = Some("q1".into())), "b"),
        (filter(|filter| filter.combo_id = Some("a".into())), "abcd"),
        (filter(|filter| filter.agent_id = Some("x".into())), "c"),
        (filter(|filter| filter.agent_id = Some("x\0".into())), "d"),
        (filter(|filter| (filter.data_id, filter.agent_id) = (Some("q2".into()), Some("x".into()))), "c"),
        (filter(|filter| (filter.data_id, filter.agent_id) = (Some("q1".into()), Some("x".into()))), ""),
    ];
    for (filter, expected) in table {
        let found: String = rig.records(attempt.run, &filter).await.iter().map(ask).collect();
        assert_eq!(found, expected, "{filter:?}");
    }
    let ids: Vec<_> = rig.records(attempt.run, &Filter::default()).await.iter().map(|record| record["data_id"].clone()).collect();
    assert_eq!(ids, ["batch", "q1", "q2", "batch"]);
    let stored = rig.records(attempt.run, &Filter::default()).await;
    assert_eq!((&stored[0]["requested_model"], &stored[1]["error"]), (&"m\u{fffd}".into(), &"a \\u0000 or \u{fffd}".into()));
    // A trial's records are the trial's, whatever they say.
    let run = rig.register().await;
    let trial = rig.claim(0, 0, "trial").await.attempt;
    rig.ingest(trial, 1, &[said("e", Some("q3"), Some("x"))]).await.unwrap();
    let record = rig.records(run, &Filter::default()).await.remove(0);
    assert_eq!((&record["data_id"], &record["agent_id"]), (&"q0".into(), &Value::Null));
}

async fn pages_follow_each_other_without_gap_or_repeat_either_way(rig: Rig) {
    // The rows of a run before and of one behind it must not be met.
    let foreign = async |name: &str| {
        let attempt = rig.archive.adopt(NAMESPACE, name, Claims::default(), named(name), now()).await.unwrap().attempt;
        rig.ingest(attempt, 1, &[call(name)]).await.unwrap();
    };
    foreign("before").await;
    let run = rig.register().await;
    foreign("behind").await;
    let attempt = rig.claim(0, 0, "pod").await.attempt;
    let calls: Vec<_> = (0..25).map(|index| call(&format!("{index:02}"))).collect();
    rig.ingest(attempt, 1, &calls).await.unwrap();
    for newest_first in [false, true] {
        let (mut filter, mut seen, mut pages) = (Filter { limit: Some(10), newest_first, ..Filter::default() }, Vec::new(), Vec::new());
        loop {
            let page = rig.archive.calls(run, &filter).await.unwrap();
            pages.push(page.items.len());
            seen.extend(page.items.iter().map(|record| ask(&serde_json::from_str(record.get()).unwrap())));
            filter.cursor = page.next;
            if filter.cursor.is_none() {
                break;
            }
        }
        let mut expected: Vec<String> = (0..25).map(|index| format!("{index:02}")).collect();
        if newest_first {
            expected.reverse();
        }
        assert_eq!((seen, pages), (expected, vec![10, 10, 5]));
    }
}

async fn large_records_make_short_pages(rig: Rig) {
    let run = rig.register().await;
    let attempt = rig.claim(0, 0, "pod").await.attempt;
    for sequence in 1..=4 {
        let mut large = call("large");
        let body = format!("\"{}{sequence}\"", "x".repeat(5 << 20));
        large.response_body = Some(serde_json::value::RawValue::from_string(body).unwrap());
        rig.ingest(attempt, sequence, &[large]).await.unwrap();
    }
    for newest_first in [false, true] {
        let first = rig.archive.calls(run, &Filter { newest_first, ..Filter::default() }).await.unwrap();
        assert_eq!(first.items.len(), 2);
        let rest = rig.archive.calls(run, &Filter { cursor: first.next, newest_first, ..Filter::default() }).await.unwrap();
        assert_eq!(rest.items.len(), 2);
    }
}

async fn questions_of_no_use_are_refused(rig: Rig) {
    let run = rig.register().await;
    let table = [
        (filter(|filter| filter.since = Some("yesterday".into())), "`since`"),
        (filter(|filter| filter.until = Some(String::new())), "`until`"),
        (filter(|filter| filter.outcome = Some("good".into())), "`outcome`"),
        (filter(|filter| filter.cursor = Some("-1; DROP TABLE calls".into())), "cursor"),
    ];
    for (filter, part) in table {
        let error = rig.archive.calls(run, &filter).await.unwrap_err();
        assert!(error.kind() == Kind::BadInput && error.to_string().contains(part), "{error}");
    }
    let past = filter(|filter| filter.cursor = Some(u64::MAX.to_string()));
    assert_eq!(rig.archive.calls(run, &past).await.unwrap().items.len(), 0);
    let before_all = filter(|filter| (filter.cursor, filter.newest_first) = (Some("0".to_owned()), true));
    assert_eq!(rig.archive.calls(run, &before_all).await.unwrap().items.len(), 0);
    assert_eq!(rig.archive.trials(run, &past).await.unwrap().items.len(), 0);
}

async fn trials_and_results_come_in_pages(rig: Rig) {
    let run = rig.register().await;
    rig.live(1, 0, "pod", "yes").await;
    rig.live(0, 0, "other", "no").await;
    let page = |cursor: Option<String>| Filter { limit: Some(5), cursor, ..Filter::default() };
    let first = rig.archive.trials(run, &page(None)).await.unwrap();
    let rest = rig.archive.trials(run, &page(first.next.clone())).await.unwrap();
    let trials: Vec<_> =
        first.items.iter().chain(&rest.items).map(|trial| (trial.combo_id.clone(), trial.data_id.clone(), trial.state.clone())).collect();
    assert_eq!((first.items.len(), rest.items.len(), rest.next), (5, 3, None));
    assert_eq!(trials[0], ("solver=m0".to_owned(), "q0".to_owned(), "Succeeded".to_owned()));
    assert_eq!(trials[7], ("solver=m1".to_owned(), "q3".to_owned(), "Pending".to_owned()));
    let best = rig.archive.results(run, &Filter { limit: Some(1), ..Filter::default() }).await.unwrap();
    assert_eq!((best.items[0].combo.as_str(), best.next.as_deref()), ("solver=m1", Some("1")));
    let rest = rig.archive.results(run, &Filter { cursor: best.next, ..Filter::default() }).await.unwrap();
    assert_eq!((rest.items.len(), rest.items[0].combo.as_str(), rest.next), (1, "solver=m0", None));
}
