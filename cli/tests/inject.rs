//! `agentrun inject`: what a cluster would make of a manifest, without one.

use serde_json::Value;

use crate::support::{Bench, Ran};

const POD: &str = "apiVersion: v1
kind: Pod
metadata:
  name: nightly
  labels: {agentrun.dev/run: math}
spec:
  securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
  containers:
    - name: agent
      image: agent:1
      securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
      tomorrow: {kept: true}
";

fn inject(text: &str, arguments: &[&str]) -> Ran {
    let bench = Bench::new();
    bench.write("pod.yaml", text);
    bench.run(&[&["inject", "-f", "pod.yaml"], arguments].concat())
}

#[test]
fn the_difference_and_the_verdict_are_shown() {
    let ran = inject(POD, &[]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.starts_with("--- Pod nightly\n+++ Pod nightly with its sidecar\n@@ "), "{}", ran.stdout);
    assert!(ran.stdout.contains("+  - name: agentrun-sidecar\n") && !ran.stdout.contains("\n-"), "it only adds: {}", ran.stdout);
    assert!(ran.stderr.contains("Pod nightly: Pod Security: restricted") && ran.stderr.contains("capture connect"), "{}", ran.stderr);
}

#[test]
fn the_whole_pod_can_be_had_and_is_left_alone_the_second_time() {
    for format in ["yaml", "json"] {
        let ran = inject(POD, &["-o", format, "--capture", "Connect,Dns", "--image", "mirror.example/sidecar:2"]);
        let pod: Value = serde_saphyr::from_str(&ran.stdout).unwrap();
        assert_eq!(pod["spec"]["initContainers"][0]["image"], "mirror.example/sidecar:2");
        assert_eq!(pod["spec"]["initContainers"][0]["args"][1], "--capture=connect,dns");
        assert_eq!(pod["spec"]["containers"][0]["tomorrow"]["kept"], true);
        let again = inject(&ran.stdout, &[]);
        assert_eq!((again.code, again.stdout.as_str()), (Some(0), ""), "{again:?}");
        assert!(again.stderr.contains("AlreadyInjected"), "{}", again.stderr);
    }
}

#[test]
fn whatever_makes_pods_is_looked_into() {
    let containers = "{containers: [{name: agent, image: a}]}";
    let labels = "metadata: {labels: {agentrun.dev/run: math}}";
    let table = [
        (format!("apiVersion: batch/v1\nkind: Job\nspec: {{template: {{{labels}, spec: {containers}}}}}"), "/spec/template"),
        (
            format!("apiVersion: batch/v1\nkind: CronJob\nspec: {{jobTemplate: {{spec: {{template: {{{labels}, spec: {containers}}}}}}}}}"),
            "/spec/jobTemplate/spec/template",
        ),
        (format!("apiVersion: v1\nkind: PodTemplate\ntemplate: {{{labels}, spec: {containers}}}"), "/template"),
        (format!("apiVersion: example.org/v1\nkind: Rollout\nspec: {{template: {{{labels}, spec: {containers}}}}}"), "/spec/template"),
    ];
    for (text, at) in table {
        let whole = inject(&text, &["-o", "json"]).json();
        let sidecar = whole.pointer(at).unwrap_or_else(|| panic!("{whole}"))["spec"]["initContainers"][0]["name"].clone();
        assert_eq!(sidecar, "agentrun-sidecar", "{text}");
    }
}

#[test]
fn several_documents_keep_their_order_and_others_are_left_alone() {
    let text = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: settings}}\ndata: {{mode: \"off\"}}\n---\n{POD}---\n");
    let ran = inject(&text, &["-o", "yaml"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let documents: Vec<Value> = serde_saphyr::from_multiple(&ran.stdout).unwrap();
    assert_eq!((&documents[0]["data"]["mode"], &documents[1]["kind"]), (&"off".into(), &"Pod".into()));
    assert!(ran.stderr.contains("ConfigMap settings: no pod"), "{}", ran.stderr);
    let list = inject(&text, &["-o", "json"]).json();
    assert_eq!((&list["kind"], list["items"].as_array().unwrap().len()), (&"List".into(), 2));
    let again = inject(&list.to_string(), &["-o", "json"]).json();
    assert_eq!(again["items"][1], list["items"][1]);
}

#[test]
fn a_pod_without_a_run_is_warned_of_or_given_one() {
    let text = POD.replace("  labels: {agentrun.dev/run: math}\n", "");
    assert!(inject(&text, &[]).stderr.contains("only pods with label agentrun.dev/run are injected"));
    let named = inject(&text, &["--run", "math", "-o", "json"]);
    assert_eq!(named.json()["metadata"]["labels"]["agentrun.dev/run"], "math");
    assert!(!named.stderr.contains("warning"), "{}", named.stderr);
}

#[test]
fn an_agent_run_shows_the_pod_of_a_trial() {
    let bench = Bench::shell("exit 0", "");
    let ran = bench.run(&["inject", "-f", "agentrun.yaml", "-o", "json"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let template = &ran.json()["spec"]["template"];
    assert_eq!(template["spec"]["containers"][0]["command"][0], "/var/run/agentrun/trust/agentrun-wrap");
    assert!(ran.stderr.contains("the first of ") && ran.stderr.contains("against restricted"), "{}", ran.stderr);
}

#[test]
fn what_is_refused_says_why_and_prints_nothing() {
    let volume = POD.replace("  containers:", "  volumes: [{name: agentrun-trust, emptyDir: {}}]\n  containers:");
    let table = [
        (volume.as_str(), "Pod nightly: NameClash: spec.volumes[0] is called `agentrun-trust`"),
        ("kind: Pod\nspec: {containers: {}}", "MalformedPod: spec.containers is no list"),
        ("kind: Pod", "MalformedPod: spec is missing"),
        ("- 1", "a document is no mapping"),
        ("", "there is no manifest"),
        ("a: [", "pod.yaml: "),
        ("a: &a [1, 1]\nb: &b [*a, *a]\nkind: Pod", "MalformedPod"),
        ("apiVersion: agentrun.dev/v1alpha1\nkind: AgentRun\nmetadata: {name: a}\nspec: {}", "spec.roles: this field is missing"),
    ];
    for (text, part) in table {
        let ran = inject(text, &[]);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{text}: {ran:?}");
        assert!(ran.stderr.contains(part), "{text}: {}", ran.stderr);
    }
    assert_eq!(inject(POD, &["--capture", "Telepathy"]).code, Some(2));
    assert_eq!(inject(POD, &["--hub-ca", "missing.pem"]).code, Some(2));
    assert_eq!(Bench::new().run(&["inject", "-f", "missing.yaml"]).code, Some(2));
}

#[test]
fn a_pod_that_is_left_alone_is_no_failure() {
    let ran = inject(&POD.replace("spec:\n", "spec:\n  hostNetwork: true\n"), &[]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""), "{ran:?}");
    assert!(ran.stderr.contains("HostNetwork") && ran.stderr.contains("Pod Security: privileged"), "{}", ran.stderr);
}

#[test]
fn a_pod_may_come_by_stdin() {
    use std::io::Write;
    let bench = Bench::new();
    let mut child =
        bench.command(&["inject", "-f", "-"]).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(POD.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("agentrun-sidecar"));
}
