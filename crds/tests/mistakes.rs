//! Every kind of mistake is told with its line, its column, its field and what to do.

mod sense;

use agentrun_crds::manifest::{self, Mistakes};

const SMALL: &str = include_str!("data/small.yaml");

/// The mistakes of the small manifest with one part of it changed.
fn changed(from: &str, to: &str) -> Mistakes {
    assert_eq!(SMALL.matches(from).count(), 1, "{from:?} is not once in the manifest");
    manifest::parse(&SMALL.replace(from, to)).expect_err(to)
}

#[test]
fn the_small_manifest_itself_is_right() {
    manifest::parse(SMALL).unwrap();
}

/// What is changed, into what, and the one mistake: line, column, field, a part of the sentence.
type Row = (&'static str, &'static str, usize, usize, &'static str, &'static str);

fn assert_rows(rows: &[Row]) {
    for (from, to, line, column, path, part) in rows {
        let mistakes = changed(from, to);
        let [mistake] = mistakes.told.as_slice() else { panic!("{to:?} made not one mistake but:\n{mistakes}") };
        let place = (mistake.line, mistake.column, mistake.path.as_str());
        assert_eq!(place, (*line, *column, *path), "{to:?} gave: {mistake}");
        assert!(mistake.message.contains(part), "{to:?} gave: {mistake}\nwithout {part:?}");
    }
}

#[test]
fn names_of_fields() {
    assert_rows(&[
        ("  samples: 1", "  sample: 1", 14, 3, "spec.sample", "did you mean `samples`?"),
        ("  samples: 1", "  colour: red", 14, 3, "spec.colour", "the fields here are roles, combos, dataset"),
        ("    timeoutSeconds: 60", "    timeoutseconds: 60", 16, 5, "spec.agent.timeoutseconds", "did you mean `timeoutSeconds`?"),
        ("  name: sums", "  name: sums\n  lables: {}", 5, 3, "metadata.lables", "did you mean `labels`?"),
        ("  samples: 1", "  samples: 1\n  samples: 2", 15, 3, "spec.samples", "this key stands twice in one mapping, first on line 14"),
        ("  samples: 1", "  \"odd key\": 1", 14, 3, "spec[\"odd key\"]", "there is no such field"),
        ("    exact: {}", "    exact: {trimm: true}", 23, 13, "spec.scoring.exact.trimm", "did you mean `trim`?"),
    ]);
}

#[test]
fn missing_fields() {
    assert_rows(&[
        ("apiVersion: agentrun.dev/v1alpha1\n", "", 1, 1, "apiVersion", "this field is missing: Always `agentrun.dev/v1alpha1`"),
        ("  name: sums", "  namespace: a", 4, 3, "metadata.name", "this field is missing: The run's name"),
        (
            "    file: dataset.jsonl",
            "    limit: 3",
            13,
            5,
            "spec.dataset",
            "exactly one of file, items, configMap must be set, and none is",
        ),
        (
            "    exact: {}",
            "    exact:",
            23,
            5,
            "spec.scoring",
            "exactly one of exact, contains, regex, numeric, json, command, container must be set, and none is",
        ),
        ("    - name: solver\n      models: [gpt-4.1-nano]", "    - name: solver", 9, 7, "spec.roles[1].models", "this field is missing"),
        (
            "        - name: agent\n          image",
            "        - image",
            20,
            11,
            "spec.template.spec.containers[0].name",
            "this field is missing",
        ),
    ]);
    let condition = changed("    mode: ReadWrite\n", "    mode: ReadWrite\nstatus: {conditions: [{type: Complete}]}\n");
    let paths: Vec<&str> = condition.told.iter().map(|mistake| mistake.path.as_str()).collect();
    let expected = ["status", "lastTransitionTime", "reason"].map(|field| format!("status.conditions[0].{field}"));
    assert_eq!(paths, expected);
}

#[test]
fn types() {
    assert_rows(&[
        ("  samples: 1", "  samples: one", 14, 12, "spec.samples", "this is the text `one`, and must be a whole number"),
        ("  samples: 1", "  samples: \"1\"", 14, 12, "spec.samples", "must be a whole number: take the quotes off"),
        ("  samples: 1", "  samples: 1.5", 14, 12, "spec.samples", "1.5 is not a whole number"),
        ("  samples: 1", "  samples: 010", 14, 12, "spec.samples", "this is the text `010`, and must be a whole number"),
        ("  samples: 1", "  samples: .nan", 14, 12, "spec.samples", "this is the text `.nan`"),
        ("  samples: 1", "  samples: [1]", 14, 12, "spec.samples", "this is a list, and must be a whole number"),
        ("  name: sums", "  name: 7", 4, 9, "metadata.name", "this is the number 7, and must be text: put it in quotes, \"7\""),
        ("  name: sums", "  name: true", 4, 9, "metadata.name", "this is the boolean true, and must be text: put it in quotes, \"true\""),
        (
            "      models: [gpt-4.1-nano]",
            "      models: gpt-4.1-nano",
            10,
            15,
            "spec.roles[1].models",
            "must be a list: write [`gpt-4.1-nano`]",
        ),
        (
            "      models: [gpt-4.1-nano]",
            "      models: [gpt-4.1-nano, 4.1]",
            10,
            30,
            "spec.roles[1].models[1]",
            "this is the number 4.1, and must be text",
        ),
        ("  agent:\n    timeoutSeconds: 60", "  agent: []", 15, 10, "spec.agent", "this is a list, and must be a mapping"),
        ("  samples: 1", "  suspend: yes", 14, 12, "spec.suspend", "this is the text `yes`, and must be true or false"),
        ("  samples: 1", "  suspend: \"true\"", 14, 12, "spec.suspend", "must be true or false: take the quotes off"),
        (
            "          image: example",
            "          command: run.sh",
            21,
            20,
            "spec.template.spec.containers[0].command",
            "must be a list: write [`run.sh`]",
        ),
        (
            "          image: example",
            "          env: [{name: PORT, value: 80}]",
            21,
            37,
            "spec.template.spec.containers[0].env[0].value",
            "put it in quotes, \"80\"",
        ),
    ]);
}

#[test]
fn bounds() {
    assert_rows(&[
        ("  samples: 1", "  samples: 0", 14, 12, "spec.samples", "0 is not allowed: write a number from 1 to 100"),
        ("  samples: 1", "  samples: 101", 14, 12, "spec.samples", "from 1 to 100"),
        ("  samples: 1", "  samples: 123456789012345678901234567890", 14, 12, "spec.samples", "from 1 to 100"),
        ("  samples: 1", "  samples: -1", 14, 12, "spec.samples", "-1 is not allowed"),
        ("  samples: 1", "  objective: {costWeight: -0.5}", 14, 27, "spec.objective.costWeight", "write a number from 0 to 1000000"),
        ("    exact: {}", "    numeric: {tolerance: -1}", 23, 26, "spec.scoring.numeric.tolerance", "write a number of at least 0"),
        ("      models: [gpt-4.1-nano]", "      models: []", 10, 15, "spec.roles[1].models", "the list is empty"),
        ("      models: [gpt-4.1-nano]", "      models: ['']", 10, 16, "spec.roles[1].models[0]", "this is empty: give it a value"),
        ("      models: [gpt-4.1-nano]", "      models: [' a']", 10, 16, "spec.roles[1].models[0]", "text without blanks around it"),
        ("  name: sums", "  name: Sums_1", 4, 9, "metadata.name", "`Sums_1` is not allowed: write lower-case letters"),
        ("    - name: solver", "    - name: \"sol ver\"", 9, 13, "spec.roles[1].name", "`sol ver` is not allowed"),
        ("  samples: 1", "  capture: []", 14, 12, "spec.capture", "the list is empty"),
        ("  samples: 1", "  upstreams: [{host: a, url: ftp://x}]", 14, 30, "spec.upstreams[0].url", "write a URL such as http://"),
        ("  samples: 1", "  upstreams: [{host: 'https://a', url: 'http://x'}]", 14, 22, "spec.upstreams[0].host", "write a host name"),
        ("    timeoutSeconds: 60", "    input: {file: input.txt}", 16, 19, "spec.agent.input.file", "write an absolute path of a file"),
        ("    file: dataset.jsonl", "    items: []", 13, 12, "spec.dataset.items", "the list is empty"),
        (
            "          image: example",
            "          env: [{name: \"A=B\"}]",
            21,
            24,
            "spec.template.spec.containers[0].env[0].name",
            "text without `=`",
        ),
    ]);
}

#[test]
fn choices() {
    assert_rows(&[
        (
            "    mode: ReadWrite",
            "    mode: readwrite",
            25,
            11,
            "spec.cache.mode",
            "write one of ReadWrite, ReadOnly, Refresh, ReplayOnly, Off; did you mean ReadWrite?",
        ),
        (
            "    mode: ReadWrite",
            "    mode: false",
            25,
            11,
            "spec.cache.mode",
            "this is the boolean false, and must be text: write one of ReadWrite",
        ),
        ("    mode: ReadWrite", "    mode: off", 25, 11, "spec.cache.mode", "did you mean Off?"),
        ("  samples: 1", "  capture: [Connect, Tunnel]", 14, 22, "spec.capture[1]", "write one of Connect, Dns, BaseUrl"),
        ("  samples: 1", "  selection: {method: UCB}", 14, 23, "spec.selection.method", "`UCB` is not allowed: write BruteForce"),
        ("    timeoutSeconds: 60", "    output: {stdout: false}", 16, 22, "spec.agent.output.stdout", "`false` is not allowed: write true"),
        ("kind: AgentRun", "kind: ConfigMap", 2, 7, "kind", "only `kind: AgentRun` is read here"),
        ("agentrun.dev/v1alpha1", "agentrun.dev/v1", 1, 13, "apiVersion", "only `apiVersion: agentrun.dev/v1alpha1` is read here"),
        ("    exact: {}", "    exact: {}\n    contains: {}", 24, 5, "spec.scoring", "leave out all but one of exact, contains"),
    ]);
    let mistakes = changed("    timeoutSeconds: 60", "    input: {file: /a, stdin: true}");
    let messages: Vec<&str> = mistakes.told.iter().map(|mistake| mistake.message.as_str()).collect();
    assert!(messages.contains(&"exactly one of file, stdin, env must be set: leave out all but one of file, stdin"), "{mistakes}");
}

#[test]
fn documents_and_syntax() {
    assert_rows(&[
        ("  samples: 1", "\tsamples: 1", 14, 1, "", "this line is indented with a tab"),
        ("  samples: 1", "  samples: *nowhere", 14, 12, "spec.samples", "this is not YAML"),
        ("    mode: ReadWrite\n", "    mode: ReadWrite\n---\nkind: AgentRun\n", 27, 1, "", "the file holds more than one document"),
        ("  samples: 1", "  samples: !!binary MQ==", 14, 12, "spec.samples", "the tag `tag:yaml.org,2002:binary` means nothing here"),
        ("  samples: 1", "  [a, b]: 1", 14, 3, "spec", "this key is not text"),
    ]);
    for (text, part) in [
        ("", "the manifest is empty"),
        ("# nothing\n---\n", "the manifest is empty"),
        ("- 1", "this is a list, and must be a mapping"),
        ("7", "this is the number 7"),
    ] {
        let mistakes = manifest::parse(text).unwrap_err();
        assert!(mistakes.told[0].message.contains(part), "{text:?} gave {mistakes}");
    }
    manifest::parse(&format!("---\n{SMALL}...\n---\n")).unwrap();
}

#[test]
fn all_mistakes_come_at_once_in_the_order_of_the_text() {
    let text = SMALL
        .replace("  name: sums", "  name: Sums")
        .replace("combos: []", "combos: [{models: {planner: nope}}]")
        .replace("samples: 1", "samples: 0")
        .replace("timeoutSeconds", "timeout")
        .replace("exact: {}", "regex: {pattern: \"[\"}");
    let mistakes = manifest::parse(&text).unwrap_err();
    let places: Vec<(usize, &str)> = mistakes.told.iter().map(|mistake| (mistake.line, mistake.path.as_str())).collect();
    let expected = [
        (4, "metadata.name"),
        (11, "spec.combos[0].models.solver"),
        (11, "spec.combos[0].models.planner"),
        (14, "spec.samples"),
        (16, "spec.agent.timeout"),
        (23, "spec.scoring.regex.pattern"),
    ];
    assert_eq!(places, expected, "{mistakes}");
    assert!(mistakes.to_string().starts_with("line 4, column 9: metadata.name: `Sums` is not allowed"));
}

#[test]
fn a_field_is_found_again_in_the_text() {
    let text = b"kind: AgentRun\nspec:\n  roles:\n    - name: a\n    - {name: b, models: [x]}\n";
    let table = [
        ("spec.roles[1].models", (5, 17)),
        ("spec.roles[0].models", (4, 7)),
        ("spec.roles[7].models", (3, 3)),
        ("spec.dataset.file", (2, 1)),
        ("nothing", (1, 1)),
    ];
    for (path, place) in table {
        assert_eq!(manifest::place(text, path), Some(place), "{path}");
    }
    assert_eq!(manifest::place(b"\xff", "spec"), None);
}
