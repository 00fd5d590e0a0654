//! The templates of trials' Jobs.

use agentrun_crds::AgentRunSpec;

use super::*;
use crate::inject::security::violations;
use crate::inject::trial::{Template, Trial, template};

/// A spec whose agent and template are changed.
fn spec(agent: Value, container: Value) -> AgentRunSpec {
    let mut spec = json!({
        "roles": [{"name": "plan-a", "models": ["gpt-4.1"]}, {"name": "solver", "models": ["gpt-4.1-mini"]}],
        "dataset": {"items": [{"input": "1+1?"}]},
        "agent": agent,
        "scoring": {"exact": {}},
        "template": {
            "metadata": {"labels": {"team": "evals"}},
            "spec": {
                "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [{
                    "name": "agent",
                    "image": "agent:1",
                    "args": ["--model", "$(AGENTRUN_MODEL_SOLVER)"],
                    "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}},
                }],
            },
        },
    });
    json_patch::merge(&mut spec["template"]["spec"]["containers"][0], &container);
    serde_json::from_value(spec).unwrap()
}

fn made(spec: &AgentRunSpec) -> Result<Template, Refusal> {
    let combo = spec.combos().unwrap().get(0).unwrap();
    template(&Trial { run: "math", spec, combo_index: 0, combo: &combo, chunk: 2 }, &installation())
}

#[test]
fn files_in_and_out_of_an_image_of_its_own() {
    let made = made(&spec(json!({}), json!({}))).unwrap();
    assert_eq!(made.container, "agent");
    assert_eq!(violations(&made.template), []);
    insta::assert_json_snapshot!("trial_files", made.template);
}

#[test]
fn a_wrapped_command_with_standard_streams() {
    let spec = spec(json!({"input": {"stdin": true}, "output": {"stdout": true}}), json!({"command": ["python3", "agent.py"]}));
    let container = made(&spec).unwrap().template["spec"]["containers"][0].clone();
    let expected = json!([
        "/var/run/agentrun/trust/agentrun-wrap",
        "--stdin=/agentrun/input",
        "--stdout=/agentrun/output",
        "--timeout=600",
        "--",
        "python3",
        "agent.py",
    ]);
    assert_eq!(container["command"], expected);
    assert_eq!(container["args"], json!(["--model", "$(AGENTRUN_MODEL_SOLVER)"]));
    assert!(container["env"].as_array().unwrap().iter().all(|variable| variable["name"] != "AGENTRUN_INPUT_FILE"));
}

fn sidecar_flags(spec: &AgentRunSpec) -> Vec<String> {
    serde_json::from_value(made(spec).unwrap().template["spec"]["initContainers"][0]["args"].clone()).unwrap()
}

#[test]
fn the_sidecar_knows_where_files_lie_for_it() {
    let file = |input: &str, output: &str| json!({"input": {"file": input}, "output": {"file": output}});
    let table = [
        (json!({}), json!({}), vec!["--input=/agentrun/input", "--output=/agentrun/output", "--timeout=600"], vec!["/agentrun"]),
        (
            file("/agentrun/a/q", "/agentrun/b/a"),
            json!({}),
            vec!["--input=/agentrun/a/q", "--output=/agentrun/b/a", "--timeout=600"],
            vec!["/agentrun"],
        ),
        (
            file("/data/q.txt", "/data/a.txt"),
            json!({}),
            vec!["--input=/agentrun/.input/q.txt", "--output=/agentrun/.input/a.txt", "--timeout=600"],
            vec!["/agentrun", "/data:.input"],
        ),
        (
            file("/in/q", "/tmp/a"),
            json!({"command": ["run"]}),
            vec!["--input=/agentrun/.input/q", "--output=/agentrun/.output/a", "--timeout=600", "--wrapped"],
            vec!["/agentrun", "/in:.input", "/tmp:.output"],
        ),
        (
            json!({"input": {"env": "QUESTION"}, "timeoutSeconds": 5}),
            json!({"command": ["run"]}),
            vec!["--input-env=QUESTION", "--output=/agentrun/output", "--timeout=5", "--wrapped"],
            vec!["/agentrun"],
        ),
    ];
    for (agent, container, flags, mounts) in table {
        let spec = spec(agent, container);
        assert_eq!(sidecar_flags(&spec)[3..], flags);
        let template = made(&spec).unwrap().template;
        let exchange = |mount: &&Value| mount["name"] == "agentrun-exchange";
        let shown = |mount: &Value| match mount.get("subPath").and_then(Value::as_str) {
            Some(folder) => format!("{}:{folder}", mount["mountPath"].as_str().unwrap()),
            None => mount["mountPath"].as_str().unwrap().to_owned(),
        };
        let found = pod::items(&template["spec"]["containers"][0], "volumeMounts").iter().filter(exchange).map(shown).collect::<Vec<_>>();
        assert_eq!(found, mounts);
    }
}

#[test]
fn what_cannot_be_a_trial_says_why() {
    let input = |path: &str| json!({"input": {"file": path}});
    let table = [
        (input("/q"), json!({}), Reason::FilePlace, "a volume at `/` would hide"),
        (input("/etc/q"), json!({}), Reason::FilePlace, "would hide what the image needs"),
        (input("/usr/local/share/q"), json!({}), Reason::FilePlace, "`/usr/local/share`"),
        (input("/dev/shm/q"), json!({}), Reason::FilePlace, "spec.agent.input.file"),
        (input("/data/../etc/q"), json!({}), Reason::FilePlace, "without `.`, `..`"),
        (input("data/q"), json!({}), Reason::FilePlace, "absolute path"),
        (input("/data//q"), json!({}), Reason::FilePlace, "doubled slashes"),
        (input("/data:x/q"), json!({}), Reason::FilePlace, "without `:`"),
        (input("/var/run/agentrun/trust/q"), json!({}), Reason::FilePlace, "the injector's"),
        (input("/agentrun/trial.json"), json!({}), Reason::FilePlace, "the trial's own files"),
        (input("/agentrun/output"), json!({}), Reason::FilePlace, "both input and output"),
        (input("/app/q"), json!({"workingDir": "/app"}), Reason::FilePlace, "would hide `/app`"),
        (input("/app/q"), json!({"args": ["/app/agent.py"]}), Reason::FilePlace, "would hide `/app/agent.py`"),
        (input("/data/q"), json!({"volumeMounts": [{"name": "v", "mountPath": "/data"}]}), Reason::MountPathClash, "volumeMounts[0]"),
        (json!({}), json!({"volumeMounts": [{"name": "v", "mountPath": "/agentrun/"}]}), Reason::MountPathClash, "`/agentrun`"),
        (json!({"input": {"stdin": true}}), json!({}), Reason::NoCommand, "`stdin` needs `command`"),
        (json!({"input": {"env": "Q"}}), json!({}), Reason::NoCommand, "`env` needs `command`"),
        (json!({"output": {"stdout": true}}), json!({"command": []}), Reason::NoCommand, "`stdout` needs `command`"),
        (json!({"container": "other"}), json!({}), Reason::NoAgentContainer, "its containers are agent"),
        (json!({}), json!({"env": [{"name": "HTTPS_PROXY", "value": "http://p"}]}), Reason::ProxyConflict, "agentrun.dev/proxy-policy"),
        (json!({}), json!({"name": "agentrun-sidecar"}), Reason::NameClash, "rename it"),
    ];
    for (agent, container, reason, part) in table {
        let refusal = made(&spec(agent.clone(), container.clone())).unwrap_err();
        assert_eq!(refusal.reason, reason, "{agent} {container}: {}", refusal.message);
        assert!(refusal.message.contains(part), "{agent} {container}: {}", refusal.message);
    }
}

#[test]
fn several_containers_need_a_name() {
    let mut spec = spec(json!({}), json!({}));
    spec.template.0["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "db"}));
    assert_eq!(made(&spec).unwrap_err().reason, Reason::NoAgentContainer);
    spec.agent.container = Some("db".to_owned());
    assert_eq!(made(&spec).unwrap().container, "db");
}

#[test]
fn the_pod_ends_for_good_and_in_time() {
    let mut spec = spec(json!({"timeoutSeconds": 10}), json!({}));
    spec.template.0["spec"]["restartPolicy"] = json!("OnFailure");
    let first = made(&spec).unwrap();
    assert_eq!(
        (&first.template["spec"]["restartPolicy"], &first.template["spec"]["activeDeadlineSeconds"]),
        (&json!("Never"), &json!(130))
    );
    assert!(first.warnings[0].contains("restartPolicy"), "{:?}", first.warnings);
    spec.template.0["spec"]["activeDeadlineSeconds"] = json!(20);
    assert_eq!(made(&spec).unwrap().template["spec"]["activeDeadlineSeconds"], 20);
}

#[test]
fn the_authors_own_values_win_and_others_are_not_expanded() {
    let mut spec = spec(json!({}), json!({"env": [{"name": "AGENTRUN_RUN", "value": "mine"}]}));
    spec.roles[0].models = vec!["m$(HOME)".to_owned()];
    let template = made(&spec).unwrap().template;
    let env = variables(&template, "agent");
    assert_eq!(env["AGENTRUN_RUN"]["value"], "mine");
    assert_eq!(env["AGENTRUN_MODEL_PLAN_A"]["value"], "m$$(HOME)");
    assert_eq!(env["AGENTRUN_COMBO_ID"]["value"], "plan-a=m$$(HOME) + solver=gpt-4.1-mini");
    assert_eq!(template["metadata"]["annotations"]["agentrun.dev/combo-id"], "plan-a=m$(HOME) + solver=gpt-4.1-mini");
}

#[test]
fn the_webhook_leaves_a_trials_pod_as_it_is() {
    let template = made(&spec(json!({}), json!({}))).unwrap().template;
    let pod = trial::pod(&template, "math");
    assert_eq!(pod["metadata"]["ownerReferences"][0]["kind"], "Job", "policies against pods of nobody's let it pass");
    for config in [connect(), InjectConfig { owner: Owner::Run, ..all_layers() }] {
        assert!(matches!(inject(&pod, &config), Outcome::Skipped { refusal, .. } if refusal.reason == Reason::AlreadyInjected));
    }
}
