//! Whatever happens in whatever order: a trial gets one result, and calls are counted once.

use agentrun_protocol::trial::{End, Output};
use bytes::Bytes;
use proptest::{prelude::*, test_runner::TestRunner};

use super::rig::{Rig, call, content, end, failure, job};

/// Something that happens to one of four trials of a combo; each has two pods.
#[derive(Clone, Debug)]
enum Event {
    Claim(u64, u8),
    Records(u64, u8, u64),
    Output(u64, u8),
    End(u64, u8, Option<i32>),
    Failure(u64, u8, &'static str),
    Job(Vec<u64>, Vec<u64>),
    Restart,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let trial = || (0..4_u64, 0..2_u8);
    let code = prop_oneof![4 => Just(Some(0)), 1 => Just(Some(1)), 2 => Just(None)];
    let reason = prop_oneof![Just("Evicted"), Just("AgentExit"), Just("NodeLost")];
    let indexes = || prop::collection::vec(0..4_u64, 0..3);
    let event = prop_oneof![
        4 => trial().prop_map(|(index, pod)| Event::Claim(index, pod)),
        6 => (trial(), 1..4_u64).prop_map(|((index, pod), first)| Event::Records(index, pod, first)),
        3 => trial().prop_map(|(index, pod)| Event::Output(index, pod)),
        4 => (trial(), code).prop_map(|((index, pod), code)| Event::End(index, pod, code)),
        2 => (trial(), reason).prop_map(|((index, pod), reason)| Event::Failure(index, pod, reason)),
        2 => (indexes(), indexes()).prop_map(|(succeeded, failed)| Event::Job(succeeded, failed)),
        1 => Just(Event::Restart),
    ];
    prop::collection::vec(event, 1..60)
}

#[test]
fn results_never_change_and_nothing_is_counted_twice() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut runner = TestRunner::new(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() });
    let result = runner.run(&events(), |events| {
        runtime.block_on(play(events));
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

async fn play(events: Vec<Event>) {
    let mut rig = Rig::sqlite().await;
    rig.register().await;
    let name = |index: u64, pod: u8| format!("pod-{index}-{pod}");
    let mut attempts = std::collections::HashMap::new();
    // How many records each pod has sent.
    let mut sent = std::collections::HashMap::new();
    let mut results: std::collections::BTreeMap<u64, agentrun_protocol::query::Trial> = Default::default();
    for event in events {
        match event {
            Event::Claim(index, pod) => {
                let claimed = rig.claim(0, index, &name(index, pod)).await;
                assert_eq!(*attempts.entry((index, pod)).or_insert(claimed.attempt), claimed.attempt);
            }
            Event::Records(index, pod, first) => {
                let Some(attempt) = attempts.get(&(index, pod)) else { continue };
                if let Ok(sequence) = rig.ingest(*attempt, first, &[call("a"), call("b")]).await {
                    let before = sent.insert((index, pod), sequence).unwrap_or(0);
                    assert_eq!(sequence, before.max(first + 1));
                }
            }
            Event::Output(index, pod) => {
                let Some(attempt) = attempts.get(&(index, pod)) else { continue };
                rig.archive.put_output(*attempt, Bytes::from_static(b"yes")).await.unwrap();
            }
            Event::End(index, pod, exit_code) => {
                let Some(attempt) = attempts.get(&(index, pod)) else { continue };
                let output = if exit_code.is_some_and(|code| code != 0) { Output::Missing } else { Output::Present };
                let last_sequence = sent.get(&(index, pod)).copied().unwrap_or(0);
                rig.archive.end(*attempt, End { exit_code, output, ..end(last_sequence) }).await.ok();
            }
            Event::Failure(index, pod, reason) => drop(rig.observe(vec![], vec![failure(0, index, &name(index, pod), reason)], 0).await),
            Event::Job(succeeded, failed) => {
                let ranges = |indexes: Vec<u64>| indexes.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
                rig.observe(vec![job(0, &ranges(succeeded), &ranges(failed))], vec![], 40).await;
            }
            Event::Restart => rig.reopen().await,
        }
        for index in 0..4 {
            let trial = rig.trial("solver=m0", &format!("q{index}")).await;
            match results.get(&index) {
                Some(before) => assert_eq!(
                    (&before.state, &before.reason, before.score, before.calls),
                    (&trial.state, &trial.reason, trial.score, trial.calls)
                ),
                None if ["Succeeded", "Failed", "Unobserved"].contains(&trial.state.as_str()) => drop(results.insert(index, trial)),
                None => {}
            }
        }
    }
    let aggregate = content(rig.aggregate().await);
    assert_eq!(aggregate.finished, results.len() as u64);
    assert_eq!(aggregate.status["calls"]["total"], sent.values().sum::<u64>());
    rig.reopen().await;
    assert_eq!(content(rig.aggregate().await), aggregate);
}
