//! What a status tells is what it was made of.

use agentrun_crds::status::{AgentRunStatus, RankedCombo};
use agentrun_eval::combo::{Combos, Role};
use agentrun_eval::rank::Ranked;
use agentrun_eval::summary::{CallTotals, Summary, TrialCounts};

#[test]
fn counters_and_ranking_come_back_from_a_status() {
    let combos = Combos::product(vec![Role { name: "solver".to_owned(), models: vec!["a".to_owned(), "b".to_owned()] }]).unwrap();
    let summary = Summary {
        trials: TrialCounts { total: 21, pending: 1, running: 2, succeeded: 3, failed: 4, unobserved: 5 },
        calls: CallTotals {
            total: 100,
            cached: 20,
            failed: 30,
            unreadable: 40,
            unpriced: 50,
            spent_usd: "1.25".parse().unwrap(),
            saved_usd: "0.75".parse().unwrap(),
        },
        failures: Vec::new(),
    };
    let row = Ranked {
        rank: 1,
        index: 0,
        combo: "solver=a".to_owned(),
        models: [("solver".to_owned(), "a".to_owned())].into_iter().collect(),
        trials: 8,
        failed: 4,
        score: 0.375,
        standard_error: Some(0.125),
        latency_seconds: 1.5,
        usd: Some("0.0625".parse().unwrap()),
        objective: 0.375,
        tied_with_best: true,
        pareto: true,
    };
    let unknown = Ranked { rank: 2, index: 1, standard_error: None, usd: None, tied_with_best: false, pareto: false, ..row.clone() };
    let ranked = [row, unknown];
    let status = AgentRunStatus::of(&summary, &ranked, &combos);
    assert_eq!(status.summary(), summary);
    let again: Vec<Ranked> = status.results.iter().map(Ranked::from).collect();
    assert_eq!(again, ranked);
    let broken = RankedCombo { score: "?".to_owned(), usd: Some("?".to_owned()), ..status.results[0].clone() };
    assert!(Ranked::from(&broken).score.is_nan() && Ranked::from(&broken).usd.is_none());
}
