//! Manifests that are wrong: exit code 2, every mistake, nothing started.

use crate::support::Bench;

#[test]
fn all_mistakes_are_told_at_once_with_line_and_field() {
    let bench = Bench::new();
    bench.write(
        "agentrun.yaml",
        "apiVersion: agentrun.dev/v1alpha1
kind: AgentRun
metadata: {name: test}
spec:
  roles:
    - {name: solver, models: []}
  samples: many
  scorring: {numeric: {}}
  dataset: {file: dataset.jsonl}
  template: {spec: {containers: [{name: agent, command: [sh]}]}}
",
    );
    for verb in ["validate", "run"] {
        let ran = bench.run(&[verb, "-f", "agentrun.yaml"]);
        assert_eq!(ran.code, Some(2), "{ran:?}");
        for part in ["line 6", "spec.roles[0].models", "line 7", "spec.samples", "line 8", "scorring", "scoring"] {
            assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
        }
        assert!(ran.stdout.is_empty());
    }
    assert!(!bench.path(".agentrun").exists(), "nothing was started");
}

#[test]
fn what_only_this_machine_can_tell_is_told_too() {
    type Change<'a> = (&'a str, &'a str, &'a str);
    let table: [Change<'_>; 6] = [
        ("file: dataset.jsonl", "file: missing.jsonl", "missing.jsonl"),
        ("\"/bin/sh\"", "\"no-such-program\"", "`no-such-program` is not a program"),
        ("name: agent, command", "name: agent, args", "command is missing"),
        ("{numeric: {}}", "{command: [no-such-scorer]}", "`no-such-scorer` is not a program"),
        ("{file: dataset.jsonl}", "{configMap: {name: a, key: b}}", "needs a cluster"),
        ("{file: dataset.jsonl}", "{items: [{input: 1}]}", "has no `expected`"),
    ];
    for (from, to, part) in table {
        let bench = Bench::shell("exit 0", "");
        bench.replace("agentrun.yaml", from, to);
        let ran = bench.run(&["validate", "-f", "agentrun.yaml"]);
        assert_eq!(ran.code, Some(2), "{to}: {ran:?}");
        assert!(ran.stderr.contains(part) && ran.stderr.contains("line "), "{part}: {}", ran.stderr);
    }
}

#[test]
fn a_dataset_is_refused_with_its_lines() {
    let bench = Bench::shell("exit 0", "");
    bench.write("dataset.jsonl", "{\"id\": \"a\", \"input\": 1, \"expected\": 1}\n[]\n{\"id\": \"a\", \"input\": 1, \"expected\": 1}\n");
    let ran = bench.run(&["validate", "-f", "agentrun.yaml"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("line 2") && ran.stderr.contains("line 3") && ran.stderr.contains("dataset.jsonl"), "{}", ran.stderr);
}

#[test]
fn a_missing_simulation_and_a_wrong_one_are_refused() {
    let bench = Bench::shell("exit 0", "");
    bench.write("simulation.yaml", "models: {a: {accuracy: 2}}\n");
    let ran = bench.simulate(&[]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("models.a.accuracy"), "{}", ran.stderr);
    std::fs::remove_file(bench.path("simulation.yaml")).unwrap();
    assert_eq!(bench.simulate(&[]).code, Some(2));
    assert!(!bench.path(".agentrun").exists());
}

#[test]
fn what_is_left_out_of_a_template_is_said() {
    let bench = Bench::shell("exit 0", "");
    bench.replace(
        "agentrun.yaml",
        "{name: agent,",
        "{name: agent, image: example, resources: {}, env: [{name: HTTPS_PROXY, value: 'http://proxy'}],",
    );
    let ran = bench.run(&["validate", "-f", "agentrun.yaml"]);
    assert_eq!((ran.code, ran.stdout.contains("1 combos x 2 datapoints x 1 samples = 2 trials")), (Some(0), true), "{ran:?}");
    assert!(ran.stderr.contains("containers[0].image") && ran.stderr.contains("containers[0].resources"), "{}", ran.stderr);
    assert!(ran.stderr.contains("own HTTPS_PROXY is kept"), "{}", ran.stderr);
}

#[test]
fn bad_usage_is_exit_code_2() {
    let bench = Bench::new();
    bench.write("no.pem", "no certificate");
    let table: [&[&str]; 10] = [
        &["exec", "--upstream-ca", "missing.pem", "--", "true"],
        &["exec", "--upstream-ca", "no.pem", "--", "true"],
        &["exec", "--provider", "house=llm.example", "--", "true"],
        &[],
        &["fly"],
        &["run"],
        &["run", "-f", "missing.yaml"],
        &["run", "-f", "agentrun.yaml", "--upstream", "api.openai.com"],
        &["exec", "--cache", "Sometimes", "--", "true"],
        &["calls", "--outcome", "great"],
    ];
    for arguments in table {
        assert_eq!(bench.run(arguments).code, Some(2), "{arguments:?}");
    }
}
