//! The chart as it is installed: its own checks, helm's test, who may do what, and an upgrade while a run is going.

use agentrun_tests::cluster::{Cluster, Provider, SYSTEM, agent_pod_spec, agent_run, with_namespace, with_namespace_alone};
use agentrun_tests::origin::Rule;
use serde_json::{Value, json};

const PYTHON: &str = "ghcr.io/agentrun/example-agent:0.1.0";
/// One call, some seconds after the start.
const SLOW_AGENT: &str = r#"
import os, time
from openai import OpenAI
question = open(os.environ["AGENTRUN_INPUT_FILE"]).read()
time.sleep(2)
answer = OpenAI().chat.completions.create(model=os.environ["AGENTRUN_MODEL_SOLVER"], messages=[{"role": "user", "content": question}])
open(os.environ["AGENTRUN_OUTPUT_FILE"], "w").write(answer.choices[0].message.content)
"#;

#[tokio::test]
async fn it_is_in_order() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/check");
    let checked = tokio::process::Command::new(script).arg(Cluster::get().program("helm")).output().await.expect("bash starts");
    let told = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success(), "{told}{}", String::from_utf8_lossy(&checked.stderr));
}

#[tokio::test]
async fn helm_test_shows_that_pods_are_seen_to() {
    let cluster = Cluster::get();
    let _turn = cluster.shared().await;
    let told = cluster.try_helm(&["test", "agentrun", "--namespace", SYSTEM, "--timeout", "90s"]).await;
    assert!(told.as_ref().is_ok_and(|told| told.contains("Succeeded")), "{told:?}");
}

#[tokio::test]
async fn pods_are_seen_to_where_they_should_and_nowhere_else() {
    with_namespace("chart-selectors", async |space| {
        let pod = |labels: Value| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "asked", "labels": labels}, "spec": agent_pod_spec(PYTHON, &[])});
        let asked = async |namespace: &str, labels: Value| -> usize {
            let arguments = ["-n", namespace, "create", "--dry-run=server", "-o", "json", "-f", "-"];
            let made = space.cluster.try_kubectl_with(&arguments, &pod(labels)).await.expect("the pod is taken");
            let made: Value = serde_json::from_str(&made).expect("kubectl prints JSON");
            made["spec"]["initContainers"].as_array().map_or(0, Vec::len)
        };
        let label = json!({"agentrun.dev/run": "asked"});
        assert_eq!(asked(&space.name, label.clone()).await, 1, "a labelled pod gets its sidecar");
        assert_eq!(asked(&space.name, json!({"app": "other"})).await, 0, "another does not");
        assert_eq!(asked("kube-system", label.clone()).await, 0, "nor one of the system's");
        assert_eq!(asked(SYSTEM, label).await, 0, "nor one of ours");
    })
    .await;
}

/// Who, what (`resource/name` or `resource:subresource`), where, and whether.
const RIGHTS: [(&str, &str, &str, &str, bool); 22] = [
    ("operator", "get", "secrets", "default", false),
    ("operator", "list", "secrets", SYSTEM, false),
    ("operator", "get", "secrets/agentrun-ca", SYSTEM, true),
    ("operator", "get", "secrets/other", SYSTEM, false),
    ("operator", "list", "configmaps", "default", false),
    ("operator", "get", "configmaps", "default", true),
    ("operator", "create", "jobs", "default", true),
    ("operator", "deletecollection", "pods", "default", true),
    ("operator", "update", "pods", "default", false),
    ("operator", "create", "pods:exec", "default", false),
    ("operator", "patch", "mutatingwebhookconfigurations/agentrun", "default", true),
    ("operator", "patch", "mutatingwebhookconfigurations/other", "default", false),
    ("operator", "create", "serviceaccounts:token", "default", false),
    ("hub", "get", "secrets", "default", false),
    ("hub", "get", "secrets/agentrun-hub-tls", SYSTEM, true),
    ("hub", "get", "secrets/agentrun-ca", SYSTEM, false),
    ("hub", "get", "pods", "default", true),
    ("hub", "list", "pods", "default", false),
    ("hub", "create", "tokenreviews", "default", true),
    ("hub", "create", "jobs", "default", false),
    ("hub", "get", "agentruns", "default", false),
    ("hub", "get", "configmaps", "default", false),
];

#[tokio::test]
async fn each_part_may_do_what_it_needs() {
    let cluster = Cluster::get();
    let _turn = cluster.shared().await;
    let mut wrong = Vec::new();
    for (part, verb, resource, namespace, may) in RIGHTS {
        let account = format!("--as=system:serviceaccount:{SYSTEM}:agentrun-{part}");
        // `auth can-i` exits with 1 where the answer is no.
        let (resource, subresource) = resource.split_once(':').unwrap_or((resource, ""));
        let subresource_flag = format!("--subresource={subresource}");
        let answer = cluster.try_kubectl(&["auth", "can-i", verb, resource, &subresource_flag, "-n", namespace, &account]).await;
        if answer.is_ok() != may {
            wrong.push(format!("{part} {verb} {resource}:{subresource} in {namespace}: {answer:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn an_upgrade_does_not_disturb_a_run() {
    with_namespace_alone("chart-upgrade", async |space| {
        let provider = Provider(space.cluster);
        let mark = format!("upgrade {}", space.name);
        provider.rules("upgrade", &[Rule { contains: vec![mark.clone()], text: Some("seen".to_owned()), ..Rule::default() }]).await;
        let questions: Vec<String> = (0..24).map(|number| format!("{mark}: question {number}")).collect();
        let questions: Vec<&str> = questions.iter().map(String::as_str).collect();
        let mut pod = agent_pod_spec(PYTHON, &["python3", "-c", SLOW_AGENT]);
        pod["containers"][0]["env"] = json!([{"name": "OPENAI_API_KEY", "value": "sk-test-not-a-real-key"}]);
        let mut run = agent_run("upgraded", &["gpt-4.1-mini"], &questions, pod);
        run["spec"]["limits"]["parallelism"] = 4.into();
        // A busy machine is not the agent's fault.
        run["spec"]["agent"]["timeoutSeconds"] = 300.into();
        run["spec"]["scoring"] = json!({"exact": {}});
        for item in run["spec"]["dataset"]["items"].as_array_mut().into_iter().flatten() {
            item["expected"] = "seen".into();
        }
        space.create(&run).await;
        let succeeded = |run: &Value| run["status"]["trials"]["succeeded"].as_u64().unwrap_or_default();
        space.until("agentrun/upgraded", 120, "under way", |run| succeeded(run) >= 2).await;

        let change = |part: &str| format!("{part}.podAnnotations.upgraded-for={}", space.name);
        let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/agentrun");
        let arguments = ["upgrade", "agentrun", chart, "--namespace", SYSTEM, "--reuse-values", "--wait", "--timeout", "120s"];
        let changes = [change("operator"), change("hub")];
        let upgraded = space.cluster.try_helm(&[&arguments[..], &["--set", &changes[0], "--set", &changes[1]]].concat()).await;
        assert!(upgraded.is_ok(), "{upgraded:?}");

        let status = space.run_ends("upgraded", 240).await["status"].clone();
        assert_eq!((&status["phase"], &status["trials"]["succeeded"]), (&"Complete".into(), &24.into()), "{status:#}");
        assert_eq!(status["calls"]["total"], 24, "{status:#}");
        let counts = provider.counts(&mark).await;
        assert_eq!((counts.len(), counts.values().max()), (24, Some(&1)), "each distinct call is paid once");

        let row = space.kubectl(&["get", "ar", "upgraded", "--no-headers"]).await;
        let cells: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(cells[..5], ["upgraded", "Complete", "24/24", "solver=gpt-4.1-mini", "1.0000"]);
    })
    .await;
}
