//! `examples/cluster/agentrun.yaml` from `kubectl apply` to its ranked result: the whole system as its users meet it.

use std::collections::BTreeMap;

use agentrun_tests::cluster::{Cluster, Namespace, Provider, with_namespace};
use agentrun_tests::origin::Rule;
use serde_json::Value;

const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/cluster/agentrun.yaml");
const COMBOS: [(&str, &str, usize); 4] =
    [("gpt-4.1", "gpt-4.1", 9), ("gpt-4.1-nano", "gpt-4.1", 7), ("gpt-4.1", "gpt-4.1-mini", 6), ("gpt-4.1-nano", "gpt-4.1-mini", 3)];

/// What each model says: a plan that names its planner, and an answer that is right on as many datapoints as [`COMBOS`] says.
fn rules(datapoints: &[Value]) -> Vec<Rule> {
    let mut rules = Vec::new();
    for (index, datapoint) in datapoints.iter().enumerate() {
        let question = datapoint["input"].as_str().expect("inputs are texts").to_owned();
        for (planner, solver, right) in COMBOS {
            let answer = if index < right { datapoint["expected"].to_string() } else { "-1".to_owned() };
            rules.push(Rule {
                model: Some(solver.to_owned()),
                contains: vec![format!("Problem: {question}"), format!("(by {planner})")],
                text: Some(format!("The answer is {answer}")),
                ..Rule::default()
            });
        }
        for planner in ["gpt-4.1", "gpt-4.1-nano"] {
            rules.push(Rule {
                model: Some(planner.to_owned()),
                contains: vec!["Write down the steps".to_owned(), question.clone()],
                text: Some(format!("First this, then that (by {planner})")),
                ..Rule::default()
            });
        }
    }
    rules
}

#[tokio::test]
async fn the_example_is_ranked_each_call_is_attributed_and_paid_once() {
    with_namespace("example", async |space| {
        completes(&space).await;
        space.pods_go("word-problems").await;
    })
    .await;
}

/// Applies the example and looks at all that comes of it.
///
/// # Panics
/// Something is not as it should be.
pub(crate) async fn completes(space: &Namespace) {
    let provider = Provider(Cluster::get());
    let manifest: Value = serde_json::from_str(&space.kubectl(&["create", "--dry-run=client", "-o", "json", "-f", MANIFEST]).await)
        .expect("kubectl prints JSON");
    let datapoints = manifest["spec"]["dataset"]["items"].as_array().expect("the dataset is inline");
    provider.rules("example", &rules(datapoints)).await;
    for datapoint in datapoints {
        provider.forget(datapoint["input"].as_str().expect("inputs are texts")).await;
    }

    space.kubectl(&["apply", "-f", MANIFEST]).await;
    let run = space.run_ends("word-problems").await;
    let status = &run["status"];
    assert_eq!(status["phase"], "Complete", "{status:#}");
    assert_eq!(status["trials"]["succeeded"], 40, "{status:#}");
    assert_eq!((&status["calls"]["total"], &status["calls"]["cached"], &status["calls"]["failed"]), (&80.into(), &20.into(), &0.into()));
    let condition = |kind: &str| status["conditions"].as_array().into_iter().flatten().find(|condition| condition["type"] == kind).cloned();
    assert_eq!(condition("RecordsComplete").map(|condition| condition["status"].clone()), Some("True".into()), "{status:#}");

    let ranking: Vec<_> =
        status["results"].as_array().into_iter().flatten().map(|result| (result["combo"].clone(), result["score"].clone())).collect();
    let expected: Vec<_> = COMBOS
        .iter()
        .map(|(planner, solver, right)| (Value::from(format!("planner={planner} + solver={solver}")), Value::from(format!("0.{right}000"))))
        .collect();
    assert_eq!(ranking, expected);
    assert_eq!(status["best"]["combo"], "planner=gpt-4.1 + solver=gpt-4.1");

    every_distinct_call_was_paid_once(provider, datapoints).await;
    every_call_is_attributed(space, datapoints).await;
}

async fn every_distinct_call_was_paid_once(provider: Provider, datapoints: &[Value]) {
    for datapoint in datapoints {
        let counts = provider.counts(datapoint["input"].as_str().expect("inputs are texts")).await;
        // A plan by each of two planners, and what each of two solvers makes of each of them.
        assert_eq!(counts.values().copied().collect::<Vec<_>>(), [1; 6], "{counts:#?}");
    }
}

async fn every_call_is_attributed(space: &Namespace, datapoints: &[Value]) {
    let calls = space.run_items("word-problems", "calls").await;
    assert_eq!(calls.len(), 80);
    let mut by_trial = BTreeMap::<(String, String), Vec<&Value>>::new();
    for call in &calls {
        let text = |key: &str| call[key].as_str().unwrap_or_default().to_owned();
        by_trial.entry((text("combo_id"), text("data_id"))).or_default().push(call);
    }
    assert_eq!(by_trial.len(), 40, "{:#?}", by_trial.keys());
    for ((combo, data_id), calls) in by_trial {
        let datapoint = datapoints.iter().find(|datapoint| datapoint["id"] == data_id.as_str()).expect("the datapoint is one of the run's");
        let question = datapoint["input"].as_str().expect("inputs are texts");
        assert_eq!(calls.len(), 2, "{combo} {data_id}");
        for call in calls {
            assert!(call["request_body"].to_string().contains(question), "{data_id} has another's call: {call:#}");
            let model = call["model"].as_str().expect("a call has a model");
            assert!(combo.split(" + ").any(|role| role.ends_with(&format!("={model}"))), "{combo} has another's call: {call:#}");
        }
    }
}
