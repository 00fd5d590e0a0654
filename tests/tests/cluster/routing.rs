//! `spec.routing` with an agent that knows nothing of it: the model that the policy chooses is the one that the provider gets, that the record
//! tells, that the cache knows and that is scored.

use std::collections::BTreeMap;

use agentrun_tests::cluster::{Namespace, PYTHON, Provider, agent_pod_spec, agent_run, with_namespace};
use agentrun_tests::origin::Rule;
use serde_json::{Value, json};

/// What the agents are told to ask for: one of these a combo.
const ASKED: [&str; 2] = ["gpt-4.1", "gpt-4.1-mini"];

/// Creates a run of [`ASKED`] under a policy. Its agents call `calls` times a trial, with prompts that begin with the run's name; each model
/// answers who it is.
async fn routed(space: &Namespace, name: &str, calls: usize, items: &[(&str, &str)], policy: &Value) {
    let says = |model: &str| Rule {
        model: Some(model.to_owned()),
        contains: vec![prompt(space, name, "")],
        text: Some(format!("said by {model}.")),
        ..Rule::default()
    };
    let rules = ["gpt-4.1", "gpt-4.1-mini", "gpt-4.1-nano", "gpt-4o"].map(says);
    Provider(space.cluster).rules(&prompt(space, name, ""), &rules).await;
    let pod = agent_pod_spec(PYTHON, &["python3", "/tests/misbehave.py", "calls", &(calls - 1).to_string(), "0"]);
    let questions: Vec<String> = items.iter().map(|(question, _)| prompt(space, name, question)).collect();
    let mut run = agent_run(name, &ASKED, &questions.iter().map(String::as_str).collect::<Vec<_>>(), pod);
    for (item, (_, expected)) in run["spec"]["dataset"]["items"].as_array_mut().into_iter().flatten().zip(items) {
        item["expected"] = json!(expected);
    }
    run["spec"]["scoring"] = json!({"contains": {}});
    run["spec"]["routing"] = policy.clone();
    space.create(&run).await;
}

fn prompt(space: &Namespace, run: &str, question: &str) -> String {
    format!("{}, {run}: {question}", space.name)
}

/// What the run's status says once it is complete.
async fn completed(space: &Namespace, run: &str) -> Value {
    let status = space.run_ends(run).await["status"].take();
    assert_eq!(status["phase"], "Complete", "{status:#}");
    status
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("{pointer} is a text in {value:#}"))
}

/// The model of each call, by its combo, its datapoint and its prompt. What was asked for is the combo's own in all of them.
async fn sent(space: &Namespace, run: &str) -> BTreeMap<(String, String, String), String> {
    let calls = space.run_items(run, "calls").await;
    let mut sent = BTreeMap::new();
    for call in &calls {
        let [combo, datapoint, asked, model] =
            ["/combo_id", "/data_id", "/requested_model", "/model"].map(|key| text(call, key).to_owned());
        assert_eq!(combo, format!("solver={asked}"), "{call:#}");
        assert_eq!(text(call, "/request_body/model"), model, "the body is the one that was sent: {call:#}");
        let prompt = text(call, "/request_body/messages/0/content").to_owned();
        sent.insert((combo, datapoint, prompt), model);
    }
    assert_eq!(sent.len(), calls.len(), "no call is told twice: {calls:#?}");
    sent
}

/// How often the provider got each prompt for each model.
async fn received(space: &Namespace, run: &str) -> BTreeMap<(String, String), usize> {
    let mut received = BTreeMap::new();
    for ((_, _, body), count) in Provider(space.cluster).counts(&prompt(space, run, "")).await {
        let body: Value = serde_json::from_str(&body).expect("the SDK sends JSON");
        let key = (text(&body, "/messages/0/content").to_owned(), text(&body, "/model").to_owned());
        *received.entry(key).or_default() += count;
    }
    received
}

/// Looks at a run's records and at what the provider got: all `expected` calls, (model asked for, datapoint, prompt, model sent), and no other;
/// equal ones once.
async fn expect(space: &Namespace, run: &str, expected: &[(&str, &str, String, &str)]) {
    let calls = expected
        .iter()
        .map(|(asked, datapoint, prompt, model)| {
            ((format!("solver={asked}"), (*datapoint).to_owned(), prompt.clone()), (*model).to_owned())
        })
        .collect::<BTreeMap<_, _>>();
    assert_eq!(sent(space, run).await, calls);
    let paid = expected.iter().map(|(_, _, prompt, model)| ((prompt.clone(), (*model).to_owned()), 1)).collect::<BTreeMap<_, _>>();
    assert_eq!(received(space, run).await, paid);
}

fn counts(status: &Value) -> [&Value; 3] {
    ["total", "cached", "failed"].map(|kind| &status["calls"][kind])
}

#[tokio::test]
async fn rules_choose_what_is_sent_recorded_and_scored() {
    with_namespace("rules", async |space| {
        let policy = json!({"rules": {"rules": [
            {"when": "request.messages[0].content.endsWith('easy')", "model": "gpt-4.1-nano"},
            {"when": "data_id == 'd2' && combo_id == 'solver=gpt-4.1'", "model": "gpt-4o"},
        ]}});
        let items = [("easy", "said by gpt-4.1-nano."), ("hard", "said by gpt-4.1."), ("odd", "said by gpt-4o.")];
        routed(&space, "ruled", 1, &items, &policy).await;
        let status = completed(&space, "ruled").await;
        let of = |question: &str| prompt(&space, "ruled", question);
        let expected = [
            ("gpt-4.1", "d0", of("easy"), "gpt-4.1-nano"),
            ("gpt-4.1-mini", "d0", of("easy"), "gpt-4.1-nano"),
            ("gpt-4.1", "d1", of("hard"), "gpt-4.1"),
            ("gpt-4.1-mini", "d1", of("hard"), "gpt-4.1-mini"),
            ("gpt-4.1", "d2", of("odd"), "gpt-4o"),
            ("gpt-4.1-mini", "d2", of("odd"), "gpt-4.1-mini"),
        ];
        expect(&space, "ruled", &expected).await;
        // Both combos send the easy one to the same model: one of them has the other's answer.
        assert_eq!(counts(&status), [&json!(6), &json!(1), &json!(0)], "{status:#}");
        let ranking: Vec<_> =
            status["results"].as_array().into_iter().flatten().map(|result| (&result["combo"], &result["score"])).collect();
        let scores = [(json!("solver=gpt-4.1"), json!("1.0000")), (json!("solver=gpt-4.1-mini"), json!("0.3333"))];
        assert_eq!(ranking, scores.iter().map(|(combo, score)| (combo, score)).collect::<Vec<_>>());
    })
    .await;
}

#[tokio::test]
async fn each_trial_draws_from_the_seed_and_its_names() {
    with_namespace("draws", async |space| {
        // One that stands twice is twice as likely.
        let policy = json!({"random": {"candidates": ["gpt-4.1-nano", "gpt-4.1-nano", "gpt-4o"], "seed": 6}});
        routed(&space, "drawn", 3, &[("one", ""), ("two", "")], &policy).await;
        let status = completed(&space, "drawn").await;
        // CPython's draws, by the rule of docs/decisions/0005-draws.md.
        let drawn = [
            ("gpt-4.1", "d0", "one", ["gpt-4.1-nano", "gpt-4.1-nano", "gpt-4o"]),
            ("gpt-4.1", "d1", "two", ["gpt-4.1-nano", "gpt-4o", "gpt-4o"]),
            ("gpt-4.1-mini", "d0", "one", ["gpt-4o", "gpt-4o", "gpt-4o"]),
            ("gpt-4.1-mini", "d1", "two", ["gpt-4.1-nano", "gpt-4.1-nano", "gpt-4o"]),
        ];
        let mut expected = Vec::new();
        for (asked, datapoint, question, models) in drawn {
            for (call, model) in ["", ", again 0", ", again 1"].into_iter().zip(models) {
                expected.push((asked, datapoint, prompt(&space, "drawn", &format!("{question}{call}")), model));
            }
        }
        expect(&space, "drawn", &expected).await;
        assert_eq!(counts(&status), [&json!(12), &json!(3), &json!(0)], "{status:#}");
    })
    .await;
}
