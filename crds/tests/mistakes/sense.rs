//! Fields that are right by themselves and wrong beside each other.

use agentrun_crds::manifest;

use super::{SMALL, assert_rows};

#[test]
fn duplicates() {
    assert_rows(&[
        ("    - name: solver", "    - name: planner", 9, 13, "spec.roles[1].name", "`planner` stands twice, first on line 7"),
        (
            "      models: [gpt-4.1-nano]",
            "      models: [a, b, a]",
            10,
            22,
            "spec.roles[1].models[2]",
            "`a` stands twice, first on line 10",
        ),
        (
            "    file: dataset.jsonl",
            "    items: [{input: 1}, {id: '0', input: 2}]",
            13,
            30,
            "spec.dataset.items[1].id",
            "`0` is the id of item 0 already",
        ),
        (
            "    file: dataset.jsonl",
            "    items: [{id: a, input: 1}, {id: a, input: 2}]",
            13,
            37,
            "spec.dataset.items[1].id",
            "`a` is the id of item 0 already",
        ),
        (
            "          image: example",
            "          env: [{name: A}, {name: A}]",
            21,
            35,
            "spec.template.spec.containers[0].env[1].name",
            "`A` stands twice",
        ),
        (
            "  samples: 1",
            "  upstreams: [{host: a, url: 'http://x'}, {host: a, url: 'http://y'}]",
            14,
            50,
            "spec.upstreams[1].host",
            "`a` stands twice",
        ),
    ]);
}

#[test]
fn combos() {
    assert_rows(&[
        (
            "  combos: []",
            "  combos: [{models: {planner: gpt-4.1}}]",
            11,
            21,
            "spec.combos[0].models.solver",
            "names no model for role `solver`",
        ),
        (
            "  combos: []",
            "  combos: [{models: {planner: gpt-4.1, solver: gpt-4.1-nano, critic: x}}]",
            11,
            62,
            "spec.combos[0].models.critic",
            "there is no such role: the roles are planner, solver",
        ),
        (
            "  combos: []",
            "  combos: [{models: {planner: gpt-4.1-min, solver: gpt-4.1-nano}}]",
            11,
            31,
            "spec.combos[0].models.planner",
            "is not among the models of role `planner`: add it there; did you mean `gpt-4.1-mini`?",
        ),
        (
            "  combos: []",
            "  combos: [{id: a, models: {planner: gpt-4.1, solver: gpt-4.1-nano}}, {id: a, models: {planner: gpt-4.1-mini, solver: gpt-4.1-nano}}]",
            11,
            76,
            "spec.combos[1].id",
            "`a` is the id of combo 0 already",
        ),
        (
            "  combos: []",
            "  combos: [{id: a, models: {planner: gpt-4.1, solver: gpt-4.1-nano}}, {models: {solver: gpt-4.1-nano, planner: gpt-4.1}}]",
            11,
            71,
            "spec.combos[1]",
            "combo 0 has the same models",
        ),
    ]);
}

#[test]
fn the_agent_and_its_container() {
    assert_rows(&[
        (
            "    timeoutSeconds: 60",
            "    container: agnet",
            16,
            16,
            "spec.agent.container",
            "no container `agnet`: its containers are agent; did you mean `agent`?",
        ),
        (
            "          image: example",
            "        - name: log",
            16,
            5,
            "spec.agent.container",
            "the template has 2 containers: name the agent's",
        ),
        (
            "    timeoutSeconds: 60",
            "    input: {stdin: true}",
            16,
            12,
            "spec.agent.input.stdin",
            "`stdin` needs `command` on the agent's container",
        ),
        ("    timeoutSeconds: 60", "    input: {env: QUESTION}", 16, 12, "spec.agent.input.env", "`env` needs `command`"),
    ]);
}

#[test]
fn scorers() {
    assert_rows(&[
        (
            "    exact: {}",
            "    regex: {pattern: \"(\"}",
            23,
            22,
            "spec.scoring.regex.pattern",
            "the pattern does not compile: unclosed group",
        ),
        ("    exact: {}", "    json: {pointer: answer}", 23, 21, "spec.scoring.json.pointer", "`answer` is not a JSON pointer"),
        ("    exact: {}", "    command: []", 23, 14, "spec.scoring.command", "the list is empty"),
        ("    exact: {}", "    command: ['']", 23, 15, "spec.scoring.command[0]", "the program is empty"),
    ]);
}

#[test]
fn routing() {
    assert_rows(&[
        ("  samples: 1", "  routing: {}", 14, 12, "spec.routing", "exactly one of random, rules, webhook must be set, and none is"),
        (
            "  samples: 1",
            "  routing: {random: {candidates: [a]}, webhook: {url: 'http://a/'}}",
            14,
            40,
            "spec.routing",
            "leave out all but one of random, webhook",
        ),
        ("  samples: 1", "  routing: {random: {candidates: []}}", 14, 34, "spec.routing.random.candidates", "the list is empty"),
        (
            "  samples: 1",
            "  routing: {random: {candidates: [a], seed: 1.5}}",
            14,
            45,
            "spec.routing.random.seed",
            "1.5 is not a whole number",
        ),
        (
            "  samples: 1",
            "  routing: {random: {candidates: [a], perDatapoint: true}}",
            14,
            53,
            "spec.routing.random.perDatapoint",
            "this needs a `seed`",
        ),
        (
            "  samples: 1",
            "  routing: {rules: {rules: [{when: 'true', model: a}, {when: modle == 'b', model: c}]}}",
            14,
            62,
            "spec.routing.rules.rules[1].when",
            "there is no `modle`; there are model, provider",
        ),
        (
            "  samples: 1",
            "  routing: {rules: {rules: [{when: 'size(', model: a}]}}",
            14,
            36,
            "spec.routing.rules.rules[0].when",
            "Syntax error",
        ),
        (
            "  samples: 1",
            "  routing: {rules: {rules: [{when: 'true'}]}}",
            14,
            29,
            "spec.routing.rules.rules[0].model",
            "this field is missing",
        ),
        (
            "  samples: 1",
            "  routing: {webhook: {url: 'https://a/'}}",
            14,
            28,
            "spec.routing.webhook.url",
            "write http://HOST:PORT/PATH or unix://",
        ),
        (
            "  samples: 1",
            "  routing: {webhook: {url: 'http://a/', timeoutMilliseconds: 0}}",
            14,
            62,
            "spec.routing.webhook.timeoutMilliseconds",
            "from 1 to 600000",
        ),
        (
            "  samples: 1",
            "  routing: {webhook: {url: 'http://a/', failure: closed}}",
            14,
            50,
            "spec.routing.webhook.failure",
            "did you mean Closed?",
        ),
    ]);
}

#[test]
fn two_roles_cannot_replace_one_model() {
    let mistakes = manifest::parse(
        &SMALL
            .replace("models: [gpt-4.1, gpt-4.1-mini]", "models: [a]\n      replaces: [x]")
            .replace("[gpt-4.1-nano]", "[b]\n      replaces: [y, x]"),
    )
    .unwrap_err();
    assert_eq!(mistakes.told.len(), 1);
    assert_eq!(mistakes.told[0].path, "spec.roles[1].replaces[1]");
}
