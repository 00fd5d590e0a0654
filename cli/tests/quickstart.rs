//! The example that the README begins with, and what a simulation promises.

use std::path::Path;

use crate::support::Bench;

/// The manifest of the example.
fn quickstart() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/quickstart/agentrun.yaml");
    path.canonicalize().unwrap().display().to_string()
}

#[test]
fn the_quickstart_ends_in_a_ranked_table_and_asks_each_planner_prompt_once() {
    let bench = Bench::new();
    let manifest = quickstart();
    let ran = bench.run(&["run", "-f", &manifest, "--simulate"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("SIMULATED") && ran.stderr.contains("simulat"), "{ran:?}");
    assert!(ran.stdout.contains("complete, 180 of 180 trials"), "{}", ran.stdout);
    let ranks = ran.stdout.lines().filter(|line| line.contains("planner=") && line.contains(" % ")).count();
    assert_eq!(ranks, 9, "{}", ran.stdout);

    let calls = bench.run(&["calls", "math-word-problems", "-o", "json"]).json();
    let calls = calls.as_array().unwrap();
    assert_eq!(calls.len(), 360);
    let is_planner = |call: &&serde_json::Value| call["request_body"].to_string().contains("Write down the steps");
    let paid: Vec<_> = calls.iter().filter(is_planner).filter(|call| call["cached"] == false).collect();
    let prompts: std::collections::HashSet<_> = calls.iter().filter(is_planner).map(|call| call["request_body"].to_string()).collect();
    assert_eq!((paid.len(), prompts.len()), (60, 60), "three models on twenty problems");
    for call in calls {
        assert_eq!((call["run"].as_str(), call["outcome"].as_str()), (Some("math-word-problems"), Some("complete")));
        assert!(!call["usage"].is_null() && !call["cost_usd"].is_null(), "{call}");
    }
}

#[test]
fn the_same_seed_gives_the_same_ranking_and_another_seed_another() {
    let scores = |bench: &Bench| {
        let ran = bench.simulate(&["-o", "json"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let results = ran.json()["status"]["results"].clone();
        results.as_array().unwrap().iter().map(|row| (row["combo"].to_string(), row["score"].to_string())).collect::<Vec<_>>()
    };
    let (one, two, other) = (Bench::python(6), Bench::python(6), Bench::python(6));
    other.replace("simulation.yaml", "seed: 1", "seed: 3");
    let mut first = scores(&one);
    let mut second = scores(&two);
    // Equal scores are ordered by latency, which is the machine's.
    first.sort();
    second.sort();
    assert_eq!(first, second);
    let mut third = scores(&other);
    third.sort();
    assert_ne!(first, third);
}

#[test]
fn a_simulation_is_said_on_every_output_and_kept_apart() {
    let bench = Bench::python(1);
    let ran = bench.simulate(&["-o", "json"]);
    assert_eq!(ran.json()["metadata"]["annotations"]["agentrun.dev/simulated"], "true");
    assert!(bench.simulate(&["-o", "yaml"]).stdout.contains("agentrun.dev/simulated: \"true\""));
    let csv = bench.simulate(&["-o", "csv"]).stdout;
    assert!(csv.lines().next().unwrap().ends_with(",simulated") && csv.lines().nth(1).unwrap().ends_with(",true"), "{csv}");
    assert!(bench.simulate(&[]).stdout.starts_with("test (SIMULATED"));
    assert!(bench.run(&["get"]).stdout.contains("test (simulated)"));
    assert!(!bench.path(".agentrun/cache.db").exists() && !bench.path(".agentrun/calls.db").exists());
    assert!(bench.path(".agentrun/simulated/cache.db").exists());
}

#[test]
fn the_result_is_a_valid_resource() {
    let ran = Bench::python(2).simulate(&["-o", "json"]);
    let resource = ran.json();
    let read = agentrun_crds::manifest::from_value(&resource).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), resource, "nothing is lost on the way");
    let status = read.status.unwrap();
    assert_eq!((status.trials.total, status.trials.succeeded, status.results.len()), (8, 8, 4));
}

#[test]
fn a_model_that_the_simulation_does_not_know_is_refused_in_the_providers_shape() {
    let bench = Bench::python(1);
    bench.write("simulation.yaml", "models: {gpt-4.1: {accuracy: 1}}\n");
    let ran = bench.simulate(&["-o", "json"]);
    assert!(ran.stdout.contains("HTTP Error 404"), "{ran:?}");
    let calls = bench.run(&["calls", "test", "--outcome", "http_error", "-o", "json"]).json();
    assert!(calls[0]["response_body"]["error"]["message"].as_str().unwrap().contains("knows no model gpt-4.1-mini"), "{calls}");
}
