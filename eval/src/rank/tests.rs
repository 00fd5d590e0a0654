use proptest::prelude::*;

use super::*;
use crate::combo::{Combos, Role};
use crate::trial::{Failure, FailureReason, Measures};

const PLAIN: Objective = Objective { latency_weight: 0.0, cost_weight: 0.0 };

fn combos(count: usize) -> Combos {
    Combos::product(vec![Role { name: "m".into(), models: (0..count).map(|model| format!("{model}")).collect() }]).unwrap()
}

fn key(combo: usize, datapoint: usize) -> TrialKey {
    TrialKey { combo, datapoint, sample: 0 }
}

fn measured(state: TrialState, latency_seconds: f64, usd: Option<&str>) -> Observation {
    let usd = usd.map(|usd| usd.parse().unwrap());
    Observation { state, measures: Measures { latency_seconds, usd, ..Measures::default() } }
}

fn succeeded(score: f64, latency: f64, usd: &str) -> Observation {
    measured(TrialState::Succeeded { score }, latency, Some(usd))
}

fn failed(reason: FailureReason) -> Observation {
    measured(TrialState::Failed(Failure { reason, message: "gone".into() }), 0.01, Some("0"))
}

fn order(ranked: &[Ranked]) -> Vec<usize> {
    ranked.iter().map(|ranked| ranked.index).collect()
}

#[test]
fn the_agents_failures_score_zero_and_others_do_not_count() {
    let observations: Observations = [
        (key(0, 0), succeeded(1.0, 2.0, "0.2")),
        (key(0, 1), failed(FailureReason::AgentExit)),
        (key(0, 2), failed(FailureReason::SidecarLost)),
        (key(0, 3), Observation::bare(TrialState::Unobserved)),
        (key(0, 4), Observation::bare(TrialState::Running)),
    ]
    .into_iter()
    .collect();
    let ranked = rank(&combos(1), &observations, &PLAIN);
    let first = &ranked[0];
    assert_eq!((first.trials, first.failed, first.score), (2, 1, 0.5));
    assert_eq!(first.usd, Some("0.1".parse().unwrap()));
    assert_eq!(first.latency_seconds, 1.005);
    assert!(first.tied_with_best && first.pareto);
}

#[test]
fn equal_scores_go_by_latency_then_cost_then_combo_order() {
    let rows = [
        (1.0, 2.0, Some("1")),
        (1.0, 1.0, Some("9")),
        (1.0, 2.0, Some("0.5")),
        (0.5, 0.1, Some("0")),
        (1.0, 2.0, None),
        (1.0, 2.0, Some("1")),
    ];
    let observations: Observations = rows
        .into_iter()
        .enumerate()
        .map(|(combo, (score, latency, usd))| (key(combo, 0), measured(TrialState::Succeeded { score }, latency, usd)))
        .collect();
    assert_eq!(order(&rank(&combos(6), &observations, &PLAIN)), [1, 2, 0, 5, 4, 3]);
}

#[test]
fn weights_take_off_what_a_combo_wastes() {
    // Latencies 1..5 and costs 1..3 normalise to 0..1.
    let observations: Observations =
        [(key(0, 0), succeeded(1.0, 5.0, "1")), (key(1, 0), succeeded(0.8, 1.0, "3")), (key(2, 0), succeeded(0.7, 2.0, "2"))]
            .into_iter()
            .collect();
    let table = [
        (0.0, 0.0, vec![0, 1, 2], vec![1.0, 0.8, 0.7]),
        (0.4, 0.0, vec![1, 0, 2], vec![0.8, 0.6, 0.6]),
        (0.0, 0.6, vec![0, 2, 1], vec![1.0, 0.4, 0.2]),
        (0.4, 0.4, vec![0, 1, 2], vec![0.6, 0.4, 0.4]),
    ];
    for (latency_weight, cost_weight, expected, values) in table {
        let ranked = rank(&combos(3), &observations, &Objective { latency_weight, cost_weight });
        let got: Vec<f64> = ranked.iter().map(|ranked| (ranked.objective * 1e9).round() / 1e9).collect();
        if latency_weight == 0.4 && cost_weight == 0.0 {
            // 0 and 2 are equal; the quicker goes first.
            assert_eq!(order(&ranked), [1, 2, 0]);
        } else {
            assert_eq!(order(&ranked), expected, "{latency_weight} {cost_weight}");
        }
        assert_eq!(got, values, "{latency_weight} {cost_weight}");
    }
}

#[test]
fn failing_fast_or_having_no_price_never_pays() {
    let observations: Observations = [
        (key(0, 0), succeeded(0.1, 9.0, "9")),
        (key(1, 0), failed(FailureReason::AgentExit)),
        (key(2, 0), measured(TrialState::Succeeded { score: 0.1 }, 9.0, None)),
        (key(3, 0), succeeded(0.1, 1.0, "1")),
    ]
    .into_iter()
    .collect();
    for objective in [PLAIN, Objective { latency_weight: 2.0, cost_weight: 2.0 }] {
        let ranked = rank(&combos(4), &observations, &objective);
        assert_eq!(order(&ranked), [3, 0, 2, 1]);
        assert!(!ranked[3].pareto, "a combo that only fails is cheap, and still no choice");
    }
}

#[test]
fn a_combo_that_only_fails_comes_after_one_that_answers_wrongly_and_slowly() {
    let observations: Observations =
        [(key(0, 0), failed(FailureReason::AgentExit)), (key(1, 0), succeeded(0.0, 9.0, "9")), (key(2, 0), succeeded(0.0, 10.0, "1"))]
            .into_iter()
            .collect();
    for objective in [PLAIN, Objective { latency_weight: 2.0, cost_weight: 2.0 }] {
        assert_eq!(rank(&combos(3), &observations, &objective).last().unwrap().index, 0);
    }
}

#[test]
fn a_failed_trial_is_charged_both_weights_in_full() {
    let trials =
        [(key(0, 0), succeeded(1.0, 1.0, "1")), (key(0, 1), failed(FailureReason::AgentExit)), (key(1, 0), succeeded(1.0, 3.0, "3"))];
    let ranked = rank(&combos(2), &trials.into_iter().collect(), &Objective { latency_weight: 0.25, cost_weight: 0.5 });
    let objectives: Vec<(usize, f64)> = ranked.iter().map(|row| (row.index, row.objective)).collect();
    // 0: 1 at the least latency and cost, then 0 - 0.25 - 0.5. 1: 1 at the greatest of both.
    assert_eq!(objectives, [(1, 0.25), (0, 0.125)]);
}

#[test]
fn one_lucky_trial_does_not_beat_a_measured_combo() {
    let mut observations: Observations = (0..10).map(|datapoint| (key(0, datapoint), succeeded(0.5, 1.0, "1"))).collect();
    observations.record(key(1, 0), succeeded(1.0, 1.0, "1"));
    assert_eq!(order(&rank(&combos(2), &observations, &PLAIN)), [0, 1]);
    (0..5).for_each(|datapoint| observations.record(key(1, datapoint), succeeded(1.0, 1.0, "1")));
    assert_eq!(order(&rank(&combos(2), &observations, &PLAIN)), [1, 0]);
}

#[test]
fn a_tie_is_decided_on_common_datapoints_only() {
    // Combo 1 is worse on 6 of 10 common datapoints; combo 2 on 5; combo 3 is bad but shares one datapoint only.
    let mut observations = Observations::new();
    for datapoint in 0..10 {
        observations.record(key(0, datapoint), succeeded(1.0, 1.0, "1"));
        observations.record(key(1, datapoint), succeeded(if datapoint < 6 { 0.0 } else { 1.0 }, 1.0, "1"));
        observations.record(key(2, datapoint), succeeded(if datapoint < 5 { 0.0 } else { 1.0 }, 1.0, "1"));
        observations.record(key(3, datapoint + 9), succeeded(0.0, 1.0, "1"));
    }
    let ranked = rank(&combos(4), &observations, &PLAIN);
    let tied: Vec<(usize, bool)> = ranked.iter().map(|ranked| (ranked.index, ranked.tied_with_best)).collect();
    assert_eq!(tied, [(0, true), (2, true), (1, false), (3, true)]);
}

#[test]
fn nothing_observed_ranks_nothing() {
    assert_eq!(rank(&combos(3), &Observations::new(), &PLAIN), []);
}

fn any_observation() -> impl Strategy<Value = Observation> {
    let state = prop_oneof![
        4 => (0..=4_u8).prop_map(|score| TrialState::Succeeded { score: f64::from(score) / 4.0 }),
        1 => Just(TrialState::Failed(Failure { reason: FailureReason::Timeout, message: String::new() })),
        1 => Just(TrialState::Failed(Failure { reason: FailureReason::Evicted, message: String::new() })),
        1 => Just(TrialState::Unobserved),
    ];
    (state, 0..1000_u32, prop::option::weighted(0.9, 0..1000_u32)).prop_map(|(state, latency, usd)| {
        let usd = usd.map(|usd| Decimal::new(i64::from(usd), 4));
        Observation { state, measures: Measures { latency_seconds: f64::from(latency) / 7.0, usd, ..Measures::default() } }
    })
}

fn any_trials() -> impl Strategy<Value = Vec<(TrialKey, Observation)>> {
    let keys = (0..4_usize, 0..8_usize, 0..2_u32).prop_map(|(combo, datapoint, sample)| TrialKey { combo, datapoint, sample });
    prop::collection::btree_map(keys, any_observation(), 0..60).prop_map(|trials| trials.into_iter().collect())
}

proptest! {
    #[test]
    fn the_order_of_arrival_does_not_change_the_ranking(trials in any_trials(), seed in any::<u64>(), weight in 0..3_u8) {
        let objective = Objective { latency_weight: f64::from(weight), cost_weight: f64::from(weight) / 2.0 };
        let mut shuffled = trials.clone();
        shuffled.sort_by_key(|(key, _)| (key.combo as u64 * 31 + key.datapoint as u64 * 7 + u64::from(key.sample)).wrapping_mul(seed | 1));
        let one = rank(&combos(4), &trials.into_iter().collect(), &objective);
        let other = rank(&combos(4), &shuffled.into_iter().collect(), &objective);
        prop_assert_eq!(one, other);
    }

    #[test]
    fn ranks_count_up_the_first_is_tied_and_someone_with_a_success_is_on_the_front(trials in any_trials()) {
        let ranked = rank(&combos(4), &trials.into_iter().collect(), &PLAIN);
        for (place, row) in ranked.iter().enumerate() {
            prop_assert_eq!(row.rank, place + 1);
            prop_assert!((0.0..=1.0).contains(&row.score) && row.failed <= row.trials && row.trials > 0);
        }
        if let Some(first) = ranked.first() {
            prop_assert!(first.tied_with_best);
            prop_assert_eq!(first.failed < first.trials, ranked.iter().any(|row| row.pareto));
        }
    }

    #[test]
    fn a_better_score_never_lowers_the_place(trials in any_trials(), at in any::<prop::sample::Index>()) {
        prop_assume!(!trials.is_empty());
        let (key, mut better) = trials[at.index(trials.len())].clone();
        prop_assume!(matches!(better.state, TrialState::Succeeded { .. }));
        better.state = TrialState::Succeeded { score: 1.0 };
        let place = |trials: &Observations| rank(&combos(4), trials, &PLAIN).iter().position(|row| row.index == key.combo);
        let mut observations: Observations = trials.into_iter().collect();
        let before = place(&observations);
        observations.record(key, better);
        prop_assert!(place(&observations) <= before);
    }
}
