//! The complete example parses into the values it shows.

use agentrun_crds::agent::{Input, Output};
use agentrun_crds::dataset::DatasetSource;
use agentrun_crds::manifest;
use agentrun_crds::network::{CacheMode, CaptureMode};
use agentrun_crds::status::Phase;
use agentrun_protocol::routing::Policy;
use serde_json::json;

pub(crate) const FULL: &str = include_str!("data/full.yaml");

#[test]
fn every_field_of_the_complete_example_is_read() {
    let run = manifest::parse(FULL).unwrap();
    let spec = &run.spec;
    assert_eq!((run.metadata.name.as_str(), run.metadata.namespace.as_deref()), ("math-word-problems", Some("evals")));
    assert_eq!(spec.roles[1].replaces, ["gpt-4o"]);
    assert_eq!(spec.roles[0].env_name(), "AGENTRUN_MODEL_PLANNER");
    assert!(matches!(spec.dataset.source(), DatasetSource::ConfigMap(key) if key.key == "dataset.jsonl"));
    assert_eq!((spec.agent.input.way(), spec.agent.output.way()), (Input::File("/agentrun/input"), Output::File("/agentrun/output")));
    assert_eq!(spec.template.agent_container(Some("agent")).unwrap().command, ["python3", "agent.py"]);
    assert_eq!(spec.scoring.numeric.unwrap().tolerance, 0.01);
    assert_eq!((spec.limits.parallelism, spec.limits.retries), (8, 2));
    assert_eq!(spec.capture, [CaptureMode::Connect, CaptureMode::Dns]);
    assert!(matches!(&spec.routing, Some(Policy::Rules(policy)) if policy.rules[0].model == "gpt-4.1-nano"));
    let status = run.status.as_ref().unwrap();
    assert_eq!((status.phase, status.trials.total, status.spend.saved_usd.as_str()), (Phase::Running, 600, "1.0203"));
    assert_eq!(status.failures[0].datapoints, "3,17-19");
}

#[test]
fn nothing_but_defaults_and_nulls_differs_after_reading() {
    let run = manifest::parse(FULL).unwrap();
    let mut expected: serde_json::Value = serde_yaml::from_str(FULL).unwrap();
    expected["spec"].as_object_mut().unwrap().shift_remove("combos");
    let status = expected["status"].as_object_mut().unwrap();
    status.shift_remove("completionTime");
    status.shift_remove("conditions");
    expected["spec"]["objective"] = json!({"latencyWeight": 0.0, "costWeight": 0.0});
    assert_eq!(serde_json::to_value(&run).unwrap(), expected);
}

#[test]
fn what_is_left_out_gets_its_default() {
    let text = "apiVersion: agentrun.dev/v1alpha1\nkind: AgentRun\nmetadata: {name: a}\nspec:\n  roles: [{name: r, models: [m]}]\n  combos:\n  \
                dataset: {file: d.jsonl}\n  template: {spec: {containers: [{name: c, command: [x]}]}}\n  scoring: {exact: {}}\n";
    let spec = manifest::parse(text).unwrap().spec;
    assert_eq!((spec.samples, spec.agent.timeout_seconds, spec.limits.parallelism, spec.limits.retries), (1, 600, 8, 2));
    assert_eq!((spec.cache.mode, spec.capture.as_slice()), (CacheMode::ReadWrite, [CaptureMode::Connect].as_slice()));
    assert_eq!((spec.agent.input.way(), spec.agent.output.way()), (Input::File("/agentrun/input"), Output::File("/agentrun/output")));
    let exact = spec.scoring.exact.unwrap();
    assert_eq!((exact.trim, exact.ignore_case, spec.dataset.limit, spec.suspend), (true, false, 0, false));
}

#[test]
fn the_spec_becomes_the_grid_the_scorer_and_the_replacements() {
    let spec = manifest::parse(FULL).unwrap().spec;
    let combos = spec.combos().unwrap();
    assert_eq!(combos.len(), 6);
    let combo = combos.get(1).unwrap();
    assert_eq!(combo.id, "planner=gpt-4.1 + solver=gpt-4.1-mini");
    assert_eq!(spec.replacements(&combo.models), [("gpt-4o".to_owned(), "gpt-4.1-mini".to_owned())]);
    assert!(spec.scoring.scoring().unwrap().is_some());
    assert_eq!(spec.selection(6, 100).trials(), 600);
}

#[test]
fn listed_combos_have_their_models_in_the_order_of_the_roles() {
    let text = FULL.replace(
        "combos: []",
        "combos: [{models: {solver: gpt-4.1-nano, planner: gpt-4.1}}, {id: cheap, models: {planner: gpt-4.1-mini, solver: gpt-4.1-nano}}]",
    );
    let combos = manifest::parse(&text).unwrap().spec.combos().unwrap();
    let ids: Vec<String> = combos.iter().map(|combo| combo.id).collect();
    assert_eq!(ids, ["planner=gpt-4.1 + solver=gpt-4.1-nano", "cheap"]);
}

#[test]
fn the_manual_shows_a_manifest_that_is_right_and_names_every_field_of_the_spec() {
    let manual = include_str!("../../docs/manifest.md");
    let example = manual.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    manifest::parse(example).unwrap();
    let schema = agentrun_crds::schema::agent_run();
    let fields = schema["properties"]["spec"]["properties"].as_object().unwrap();
    let missing: Vec<&String> = fields.keys().filter(|field| !manual.contains(&format!("`spec.{field}"))).collect();
    assert!(missing.is_empty(), "docs/manifest.md does not tell of {missing:?}");
}
