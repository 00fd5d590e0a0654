//! The AgentRun definition on a real API server: each rule refuses what is wrong with a sentence, and lets what is right pass.

use agentrun_tests::cluster::{Namespace, agent_pod_spec, agent_run, with_namespace};
use serde_json::{Value, json};

const IMAGE: &str = "ghcr.io/agentrun/example-agent:0.1.0";

/// Two roles, one datapoint, nothing that need be said.
fn good() -> Value {
    let mut run = agent_run("definition", &[], &["1 + 1"], agent_pod_spec(IMAGE, &["python3", "agent.py"]));
    run["spec"]["roles"] = json!([{"name": "planner", "models": ["gpt-4.1", "gpt-4.1-mini"]}, {"name": "solver", "models": ["gpt-4.1"]}]);
    run
}

/// A merge patch (RFC 7386) on the spec.
fn with(mut run: Value, patch: &Value) -> Value {
    fn merge(target: &mut Value, patch: &Value) {
        let Some(fields) = patch.as_object() else { return target.clone_from(patch) };
        if !target.is_object() {
            *target = json!({});
        }
        for (key, value) in fields {
            match value {
                Value::Null => drop(target.as_object_mut().and_then(|fields| fields.remove(key))),
                _ => merge(&mut target[key], value),
            }
        }
    }
    merge(&mut run, patch);
    run
}

async fn complaint(space: &Namespace, manifest: &Value) -> String {
    let tried = space.cluster.try_kubectl_with(&["-n", &space.name, "create", "--dry-run=server", "-f", "-"], manifest).await;
    tried.err().unwrap_or_else(|| "it is not refused".to_owned())
}

/// A patch of the whole resource, and what the complaint must say.
fn mistakes() -> Vec<(Value, &'static str)> {
    let spec = |patch: Value| json!({"spec": patch});
    vec![
        (
            json!({"metadata": {"name": "a.b"}}),
            "metadata.name: Invalid value: metadata.name labels the run's pods and begins the names of its Jobs",
        ),
        (json!({"metadata": {"name": "a".repeat(64)}}), "write at most 63 lower-case letters"),
        (
            spec(json!({"dataset": {"configMap": {"name": "a", "key": "b"}}})),
            "spec.dataset: Invalid value: exactly one of file, items, configMap must be set",
        ),
        (spec(json!({"dataset": {"items": null}})), "exactly one of file, items, configMap must be set"),
        (spec(json!({"dataset": {"items": null, "file": "d.jsonl"}})), "`file` lies on one machine, and a cluster cannot read it"),
        (spec(json!({"dataset": {"items": []}})), "spec.dataset.items in body should have at least 1 items"),
        (spec(json!({"dataset": {"items": [{"id": "a"}]}})), "spec.dataset.items[0].input: Required value"),
        (spec(json!({"dataset": {"items": null, "configMap": {"name": "a", "key": "b c"}}})), "write letters, digits, `-`, `_` and `.`"),
        (
            spec(json!({"scoring": {"exact": {}}})),
            "spec.scoring: Invalid value: exactly one of exact, contains, regex, numeric, json, command, container must be set",
        ),
        (spec(json!({"scoring": {"regex": null}})), "exactly one of exact, contains, regex"),
        (
            spec(json!({"scoring": {"regex": null, "command": ["a"]}})),
            "`command` runs on one machine, with `agentrun run`: in a cluster use `container`",
        ),
        (spec(json!({"scoring": {"regex": null, "numeric": {"tolerance": -1}}})), "should be greater than or equal to 0"),
        (spec(json!({"scoring": {"regex": null, "container": {"image": "i"}}})), "spec.scoring.container.command: Required value"),
        (
            spec(json!({"agent": {"input": {"file": "/a", "stdin": true}}})),
            "spec.agent.input: Invalid value: exactly one of file, stdin, env must be set",
        ),
        (spec(json!({"agent": {"input": {}}})), "exactly one of file, stdin, env must be set"),
        (spec(json!({"agent": {"input": {"env": "A B"}}})), "write a name of letters, digits and `_` that does not begin with a digit"),
        (spec(json!({"agent": {"output": {"file": "/a", "stdout": true}}})), "exactly one of file, stdout must be set"),
        (spec(json!({"agent": {"output": {"stdout": false}}})), "supported values: \"true\""),
        (
            spec(json!({"agent": {"output": {"file": "answer"}}})),
            "spec.agent.output.file: Invalid value: \"answer\": write an absolute path of a file",
        ),
        (spec(json!({"agent": {"timeoutSeconds": 0}})), "spec.agent.timeoutSeconds in body should be greater than or equal to 1"),
        (spec(json!({"roles": []})), "spec.roles in body should have at least 1 items"),
        (spec(json!({"roles": null})), "spec.roles: Required value"),
        (
            spec(json!({"roles": [{"name": "a", "models": ["m"]}, {"name": "a", "models": ["n"]}]})),
            "spec.roles[1]: Duplicate value: {\"name\":\"a\"}",
        ),
        (spec(json!({"roles": [{"name": "a", "models": ["m", "m"]}]})), "spec.roles[0].models[1]: Duplicate value: \"m\""),
        (spec(json!({"roles": [{"name": "a", "models": [" m"]}]})), "write text without blanks around it"),
        (
            spec(json!({"roles": [{"name": "A b", "models": ["m"]}]})),
            "spec.roles[0].name: Invalid value: \"A b\": write lower-case letters, digits and `-`",
        ),
        (
            spec(json!({"combos": [{"models": {"planner": "gpt-4.1"}}]})),
            "spec.combos: Invalid value: every combo in `combos` names a model for every role, and nothing else",
        ),
        (
            spec(json!({"combos": [{"models": {"planner": "gpt-4.1", "solver": "gpt-4.1", "critic": "m"}}]})),
            "names a model for every role, and nothing else",
        ),
        (spec(json!({"combos": [{"id": "a\tb", "models": {"planner": "gpt-4.1", "solver": "gpt-4.1"}}]})), "write printable text"),
        (spec(json!({"samples": 0})), "spec.samples in body should be greater than or equal to 1"),
        (spec(json!({"samples": "1"})), "spec.samples in body must be of type integer"),
        (spec(json!({"limits": {"parallelism": 0}})), "spec.limits.parallelism in body should be greater than or equal to 1"),
        (spec(json!({"limits": {"retries": 11}})), "spec.limits.retries in body should be less than or equal to 10"),
        (spec(json!({"capture": ["Tunnel"]})), "supported values: \"Connect\", \"Dns\", \"BaseUrl\""),
        (spec(json!({"capture": []})), "spec.capture in body should have at least 1 items"),
        (spec(json!({"capture": ["Dns", "Dns"]})), "spec.capture[1]: Duplicate value: \"Dns\""),
        (
            spec(json!({"cache": {"mode": "readwrite"}})),
            "supported values: \"ReadWrite\", \"ReadOnly\", \"Refresh\", \"ReplayOnly\", \"Off\"",
        ),
        (spec(json!({"cache": {"mode": false}})), "spec.cache.mode in body must be of type string"),
        (spec(json!({"selection": {"method": "Guess"}})), "supported values: \"BruteForce\""),
        (spec(json!({"objective": {"costWeight": -1}})), "spec.objective.costWeight in body should be greater than or equal to 0"),
        (
            spec(json!({"upstreams": [{"host": "https://a", "url": "http://x"}]})),
            "write a host name such as api.openai.com, without scheme, port or path",
        ),
        (
            spec(json!({"upstreams": [{"host": "a", "url": "ftp://x"}]})),
            "write a URL such as http://llm-gateway.platform.svc:4000, without user name",
        ),
        (spec(json!({"providers": [{"name": "A", "baseUrl": "https://x"}]})), "write lower-case letters, digits, `-` and `_`"),
        (
            spec(json!({"providers": [{"name": "a", "baseUrl": "https://u:p@x"}]})),
            "write a URL such as https://llm.internal.example/v1, without user name",
        ),
        (
            spec(json!({"trust": {"configMap": {"name": "a", "key": "b/c"}}})),
            "spec.trust.configMap.key: Invalid value: \"b/c\": write letters",
        ),
        (spec(json!({"routing": {}})), "spec.routing: Invalid value: exactly one of random, rules, webhook must be set"),
        (spec(json!({"routing": {"random": {"candidates": []}}})), "spec.routing.random.candidates in body should have at least 1 items"),
        (spec(json!({"routing": {"random": {"candidates": ["a"], "perDatapoint": true}}})), "`perDatapoint` needs a `seed`"),
        (
            spec(json!({"routing": {"webhook": {"url": "unix:///run/policy.sock"}}})),
            "spec.routing.webhook.url: Invalid value: a socket lies on one machine, and a pod's sidecar cannot reach it",
        ),
        (spec(json!({"routing": {"webhook": {"url": "https://policy/"}}})), "write http://HOST:PORT/PATH or unix:///PATH/TO/SOCKET"),
        (
            spec(json!({"routing": {"rules": {"rules": [{"when": "modle == 'a'", "model": "b"}]}}})),
            "spec.routing.rules.rules[0].when: there is no `modle`",
        ),
        (spec(json!({"template": {"spec": null}})), "spec.template.spec: Required value"),
        (spec(json!({"sample": 2})), "unknown field \"spec.sample\""),
    ]
}

#[tokio::test]
async fn what_is_wrong_is_told_in_a_sentence() {
    with_namespace("definition", async |space| {
        assert_eq!(complaint(&space, &good()).await, "it is not refused");
        let mut wrong = Vec::new();
        for (patch, sentence) in mistakes() {
            let said = complaint(&space, &with(good(), &patch)).await;
            if !said.contains(sentence) {
                wrong.push(format!("{patch} should say {sentence:?}: {said}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    })
    .await;
}

/// The patch of a spec, and the field that the complaint names; `None` where it may change.
fn changes() -> Vec<(Value, Option<&'static str>)> {
    let container = |name: &str| json!({"spec": {"containers": [{"name": name, "image": IMAGE, "command": ["python3", "other.py"]}]}});
    vec![
        (json!({"samples": 2}), Some("samples")),
        (
            json!({"roles": [{"name": "solver", "models": ["gpt-4.1"]}, {"name": "planner", "models": ["gpt-4.1", "gpt-4.1-mini"]}]}),
            Some("roles"),
        ),
        (
            json!({"roles": [{"name": "planner", "models": ["gpt-4.1-mini", "gpt-4.1"]}, {"name": "solver", "models": ["gpt-4.1"]}]}),
            Some("roles"),
        ),
        (json!({"combos": [{"models": {"planner": "gpt-4.1", "solver": "gpt-4.1"}}]}), Some("combos")),
        (json!({"dataset": {"items": [{"id": "d0", "input": "1 + 2", "expected": ""}]}}), Some("dataset")),
        (json!({"dataset": {"limit": 1}}), Some("dataset")),
        (json!({"agent": {"timeoutSeconds": 61}}), Some("agent")),
        (json!({"template": container("agent")}), Some("template")),
        (json!({"template": {"metadata": {"labels": {"a": "b"}}}}), Some("template")),
        (json!({"scoring": {"regex": null, "exact": {}}}), Some("scoring")),
        (json!({"cache": {"mode": "Off"}}), Some("cache")),
        (json!({"capture": ["Connect", "Dns"]}), Some("capture")),
        (json!({"providers": [{"name": "a", "baseUrl": "https://llm.example/v1"}]}), Some("providers")),
        (json!({"upstreams": [{"host": "api.openai.com", "url": "https://llm.example"}]}), Some("upstreams")),
        (json!({"trust": {"configMap": {"name": "a", "key": "b"}}}), Some("trust")),
        (json!({"routing": {"random": {"candidates": ["a"]}}}), Some("routing")),
        (json!({"limits": {"retries": 3}}), Some("limits.retries")),
        (json!({"limits": {"parallelism": 3}}), None),
        (json!({"objective": {"costWeight": 0.5}}), None),
        (json!({"combos": []}), None),
    ]
}

#[tokio::test]
async fn what_has_run_is_fixed() {
    with_namespace("definition-fixed", async |space| {
        // Suspended, so that nothing but this test says that it has started.
        space.create(&with(good(), &json!({"spec": {"suspend": true}}))).await;
        let patch = async |subresource: &[&str], patch: Value| {
            let text = patch.to_string();
            let arguments = [&["-n", &space.name, "patch", "agentrun", "definition", "--type=merge", "-p", &text], subresource].concat();
            space.cluster.try_kubectl(&arguments).await
        };
        let tried = patch(&["--dry-run=server"], json!({"spec": {"samples": 2}})).await;
        assert!(tried.is_ok(), "before the start everything may change: {tried:?}");
        patch(&["--subresource=status"], json!({"status": {"startTime": "2026-01-01T00:00:00Z"}})).await.expect("a status can be written");
        let mut wrong = Vec::new();
        for (change, field) in changes() {
            let said = patch(&["--dry-run=server"], json!({"spec": change})).await.err().unwrap_or_default();
            let expected = field.map_or(String::new(), |field| {
                format!("spec.{field}: Invalid value: `{field}` cannot be changed once the first trial has started: make another AgentRun")
            });
            if !said.contains(&expected) || (expected.is_empty() && !said.is_empty()) {
                wrong.push(format!("{change} should say {expected:?}: {said}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    })
    .await;
}

#[tokio::test]
async fn a_list_shows_how_far_a_run_is_and_what_leads() {
    with_namespace("definition-columns", async |space| {
        space.create(&with(good(), &json!({"spec": {"suspend": true}}))).await;
        space.until("agentrun/definition", "suspended", |run| run["status"]["phase"] == "Suspended").await;
        let shown = space.kubectl(&["get", "ar"]).await;
        let lines: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["NAME", "PHASE", "TRIALS", "BEST", "SCORE", "SPENT", "AGE"]);
        assert_eq!(lines[1][..2], ["definition", "Suspended"]);
        assert!(space.kubectl(&["get", "all"]).await.contains("agentrun.agentrun.dev/definition"), "`kubectl get all` lacks it");
    })
    .await;
}

#[tokio::test]
async fn every_field_is_taken() {
    with_namespace("definition-complete", async |space| {
        let root = rcgen::generate_simple_self_signed(vec!["company.example".to_owned()]).expect("a certificate can be made").cert.pem();
        let config_map =
            |name: &str, key: &str, text: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {key: text}});
        space.create(&config_map("problems", "dataset.jsonl", r#"{"id": "a", "input": "1 + 1", "expected": "2", "level": 3}"#)).await;
        space.create(&config_map("company-ca", "ca.crt", &root)).await;
        let everything = json!({"spec": {
            "combos": [{"id": "cheap", "models": {"planner": "gpt-4.1-mini", "solver": "gpt-4.1"}}],
            "dataset": {"items": null, "configMap": {"name": "problems", "key": "dataset.jsonl"}, "limit": 0},
            "samples": 2,
            "agent": {"container": "agent", "input": {"stdin": true}, "output": {"stdout": true}, "timeoutSeconds": 600},
            "scoring": {"regex": null, "numeric": {"tolerance": 0.01}},
            "objective": {"latencyWeight": 0.5, "costWeight": 0},
            "selection": {"method": "BruteForce"},
            "limits": {"parallelism": 8, "retries": 2},
            "cache": {"mode": "ReadWrite", "scope": "Namespace"},
            "routing": {"random": {"candidates": ["gpt-4.1", "gpt-4.1-mini"], "seed": 42, "perDatapoint": true}},
            "capture": ["Connect", "Dns", "BaseUrl"],
            "providers": [{"name": "house-vllm", "baseUrl": "https://llm.internal.example/v1", "shape": "OpenAI"}],
            "upstreams": [{"host": "api.openai.com", "url": "http://llm-gateway.platform.svc:4000"}],
            "trust": {"configMap": {"name": "company-ca", "key": "ca.crt"}},
            "suspend": true,
        }});
        let mut run = with(good(), &everything);
        run["spec"]["roles"][1]["replaces"] = json!(["gpt-4o"]);
        let text = space.cluster.try_kubectl_with(&["-n", &space.name, "create", "-o", "json", "-f", "-"], &run).await;
        let taken: Value = serde_json::from_str(&text.expect("a complete run is taken")).expect("kubectl prints JSON");
        // Nothing is lost on the way, the template's fields without a schema least of all.
        assert_eq!(taken["spec"], with(run, &json!({}))["spec"]);
    })
    .await;
}

#[tokio::test]
async fn the_examples_are_taken() {
    with_namespace("definition-examples", async |space| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/cluster/");
        let mut taken = 0;
        for entry in std::fs::read_dir(folder).expect("the examples are there") {
            let path = entry.expect("the folder can be read").path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                space.kubectl(&["create", "--dry-run=server", "-f", &path.to_string_lossy()]).await;
                taken += 1;
            }
        }
        assert!(taken >= 3, "{taken} examples in {folder}");
    })
    .await;
}
