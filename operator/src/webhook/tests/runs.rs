//! What an AgentRun's author is told.

use super::super::attempt::{Attempt, outcome, warning};
use super::super::runs::{Findings, answer, asks_anew, denial, findings, first_template, read};
use super::*;
use crate::dataset::Source;

fn with(pointer: &str, value: Value) -> Value {
    let mut run = agent_run();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    run.pointer_mut(parent).unwrap()[key] = value;
    run
}

fn found(run: &Value, found: &Found) -> Findings {
    let spec = read(run).unwrap();
    findings(&spec, &first_template(&spec, "math", &installation()), found, false)
}

#[test]
fn a_good_run_is_told_nothing() {
    let dataset = Some(Source::Found(b"{\"input\":1}".to_vec()));
    let attempt = Some(Attempt::Taken { warnings: Vec::new() });
    assert_eq!(found(&agent_run(), &Found { dataset, trust: None, attempt }), Findings::default());
    assert_eq!(found(&agent_run(), &Found::default()), Findings::default(), "what was not looked at is not judged");
}

#[test]
fn mistakes_are_those_of_validate() {
    let mistakes = |run: &Value| read(run).unwrap_err().join("\n");
    let run = with("/spec/roles", json!([]));
    assert_eq!(mistakes(&run), manifest_sentences(&run));
    assert!(mistakes(&with("/spec/agent", json!({"input": {"stdin": true}}))).contains("spec.agent.input.stdin: `stdin` needs `command`"));
    assert!(mistakes(&with("/spec/agent", json!({"container": "agnet"}))).contains("did you mean `agent`?"));
    assert!(mistakes(&with("/spec/rolls", json!([]))).contains("did you mean `roles`?"));
    let rules = json!({"rules": {"rules": [{"when": "modle == 'a'", "model": "b"}]}});
    assert!(mistakes(&with("/spec/routing", rules)).starts_with("spec.routing.rules.rules[0].when: there is no `modle`; there are model,"));
    assert!(read(&json!({"metadata": {}})).is_err());
    let denied = denial(&["a".to_owned(), "b".to_owned()]);
    assert_eq!(denied.denied, Some((422, "2 mistakes:\n- a\n- b".to_owned())));
}

/// The sentences that `agentrun validate` prints, without their places.
fn manifest_sentences(run: &Value) -> String {
    let mut run = run.clone();
    run["metadata"] = json!({"name": "math"});
    let mistakes = agentrun_crds::manifest::from_value(&run).unwrap_err();
    mistakes.told.iter().map(|mistake| format!("{}: {}", mistake.path, mistake.message)).collect::<Vec<_>>().join("\n")
}

#[test]
fn what_only_a_cluster_refuses() {
    let missing = Some(Source::NoConfigMap);
    let broken = Some(Source::Found(b"{\"input\":1}\nnot json".to_vec()));
    let refused = Some(Attempt::Refused { message: "pods \"math-1\" is forbidden: violates PodSecurity \"restricted:latest\"".to_owned() });
    let table: [(Value, Found, &str); 7] = [
        (with("/spec/scoring", json!({"command": ["score"]})), Found::default(), "spec.scoring.command: it runs on one machine only"),
        (
            with("/spec/dataset", json!({"file": "q.jsonl"})),
            Found::default(),
            "spec.dataset: `dataset.file: q.jsonl` is read on one machine only",
        ),
        (agent_run(), Found { dataset: broken, ..Found::default() }, "spec.dataset: ConfigMap `questions`, key `q.jsonl`: line 2"),
        (
            agent_run(),
            Found { attempt: refused, ..Found::default() },
            "spec.template: the API server refuses its pods: pods \"math-1\" is forbidden",
        ),
        (
            with("/spec/agent", json!({"input": {"file": "/etc/q"}})),
            Found::default(),
            "spec.template: FilePlace: spec.agent.input.file: `/etc/q`",
        ),
        (
            with("/spec/template", json!({"spec": {"hostNetwork": true, "containers": [{"name": "agent"}]}})),
            Found::default(),
            "spec.template: HostNetwork: hostNetwork: true",
        ),
        (
            with(
                "/spec/template",
                json!({"spec": {"containers": [{"name": "agent", "env": [{"name": "HTTPS_PROXY", "value": "http://p"}]}]}}),
            ),
            Found::default(),
            "spec.template: ProxyConflict: spec.containers[0] sets HTTPS_PROXY",
        ),
    ];
    for (run, answers, part) in table {
        let findings = found(&run, &answers);
        assert!(findings.errors.len() == 1 && findings.errors[0].contains(part), "{part}: {findings:?}");
        assert!(answer(findings).denied.is_some());
    }
    let findings = found(&agent_run(), &Found { dataset: missing, ..Found::default() });
    assert_eq!(findings.errors, Vec::<String>::new(), "what is not there yet may come");
    assert!(findings.warnings[0].contains("there is no ConfigMap `questions`"), "{findings:?}");
}

#[test]
fn what_is_worth_a_warning() {
    let attempt = |attempt| Found { attempt: Some(attempt), ..Found::default() };
    let trust = json!({"configMap": {"name": "company", "key": "ca.crt"}});
    let table: [(Value, Found, &str); 6] = [
        (with("/spec/cache", json!({"scope": "Shared"})), Found::default(), "spec.cache.scope: Shared is not allowed for this namespace"),
        (
            with("/spec/roles", json!([{"name": "solver", "models": ["gpt-4.1", "our-own-7b"]}])),
            Found::default(),
            "no price is known of our-own-7b: calls count as unpriced",
        ),
        (
            with("/spec/routing", json!({"random": {"candidates": ["gpt-4.1", "our-own-13b"]}})),
            Found::default(),
            "no price is known of our-own-13b",
        ),
        (agent_run(), attempt(Attempt::Unknown { why: "timed out".to_owned() }), "spec.template could not be tried: timed out"),
        (agent_run(), attempt(Attempt::Taken { warnings: vec!["would violate".to_owned()] }), "a trial's pod: would violate"),
        (with("/spec/trust", trust), Found { trust: Some(false), ..Found::default() }, "spec.trust: there is no ConfigMap `company`"),
    ];
    for (run, answers, part) in table {
        let findings = found(&run, &answers);
        assert!(findings.errors.is_empty() && findings.warnings.len() == 1 && findings.warnings[0].contains(part), "{part}: {findings:?}");
    }
    let many = Findings { errors: Vec::new(), warnings: vec!["x".repeat(500); 100] };
    let many = answer(many);
    assert!(many.warnings.len() == 21 && many.warnings.iter().all(|warning| warning.chars().count() <= 120));
    let shared = read(&with("/spec/cache", json!({"scope": "Shared"}))).unwrap();
    assert!(findings(&shared, &first_template(&shared, "m", &installation()), &Found::default(), true).warnings.is_empty());
}

#[test]
fn the_cluster_is_asked_again_only_about_what_changed() {
    let mut suspended = agent_run();
    suspended["spec"]["suspend"] = json!(true);
    assert!(asks_anew(&Value::Null, &agent_run()));
    assert!(!asks_anew(&agent_run(), &suspended));
    assert!(asks_anew(&agent_run(), &with("/spec/capture", json!(["Dns"]))));
}

#[test]
fn what_the_api_server_says_of_a_pod() {
    let status = |message: &str| json!({"kind": "Status", "message": message}).to_string().into_bytes();
    let refused = |message: &str| Attempt::Refused { message: message.to_owned() };
    let unknown = |why: &str| Attempt::Unknown { why: why.to_owned() };
    let table = [
        (201, Vec::new(), Attempt::Taken { warnings: vec!["w".to_owned()] }),
        (422, status("Pod \"x\" is invalid"), refused("Pod \"x\" is invalid")),
        (400, status("strict decoding error: unknown field \"spec.imge\""), refused("strict decoding error: unknown field \"spec.imge\"")),
        (403, status("violates PodSecurity"), refused("violates PodSecurity")),
        (403, status("exceeded quota: q"), unknown("exceeded quota: q")),
        (403, status("error looking up service account evals/default"), unknown("error looking up service account evals/default")),
        (500, b"<html>".to_vec(), unknown("status 500")),
        (429, status("slow down"), unknown("slow down")),
    ];
    for (code, body, expected) in table {
        assert_eq!(outcome(code, &body, vec!["w".to_owned()]), expected, "{code}");
    }
}

#[test]
fn warnings_come_in_headers() {
    let table = [
        (r#"299 - "would violate PodSecurity \"restricted\": x""#, Some(r#"would violate PodSecurity "restricted": x"#)),
        (r#"299 - "plain""#, Some("plain")),
        (r#"299 - "a" "date""#, Some("a")),
        (r#"299 - "no end"#, None),
        (r#"110 - "stale""#, None),
        ("", None),
    ];
    for (header, expected) in table {
        assert_eq!(warning(header).as_deref(), expected, "{header}");
    }
}
