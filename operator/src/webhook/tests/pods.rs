//! What is answered when a pod is made.

use super::super::pods::answer;
use super::*;
use crate::inject::Reason;

fn pod(labels: Value) -> Value {
    json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "agent", "image": "a"}]}})
}

fn labelled() -> Value {
    pod(json!({"agentrun.dev/run": "math"}))
}

fn ask(object: Value, known: Known) -> (Answer, Option<Reason>) {
    answer(&request("Pod", object), installation(), known)
}

fn patched(object: &Value, answer: &Answer) -> Value {
    let mut object = object.clone();
    let patch: json_patch::Patch = serde_json::from_value(serde_json::to_value(&answer.operations).unwrap()).unwrap();
    json_patch::patch(&mut object, &patch).unwrap();
    object
}

#[test]
fn a_labelled_pod_is_injected() {
    let (answer, reason) = ask(labelled(), Known::Nothing);
    assert_eq!((reason, &answer.denied), (None, &None));
    assert_eq!(patched(&labelled(), &answer)["spec"]["initContainers"][0]["image"], "sidecar:1");
    assert_eq!((answer.audit["outcome"].as_str(), answer.audit["layers"].as_str()), ("injected", "connect"));
}

#[test]
fn the_run_of_that_name_says_how_unless_the_pod_does() {
    let spec: agentrun_crds::AgentRunSpec = {
        let mut run = agent_run();
        run["spec"]["capture"] = json!(["Connect", "Dns"]);
        run["spec"]["upstreams"] = json!([{"host": "api.openai.com", "url": "http://gateway"}]);
        serde_json::from_value(run["spec"].clone()).unwrap()
    };
    let arguments = |object: Value| {
        let (answer, _) = ask(object.clone(), Known::Spec(Box::new(spec.clone())));
        patched(&object, &answer)["spec"]["initContainers"][0]["args"].clone()
    };
    assert_eq!(arguments(labelled()), json!(["pod", "--capture=connect,dns", "--spool=160", "--upstream=api.openai.com=http://gateway"]));
    let mut object = labelled();
    object["metadata"]["annotations"] = json!({"agentrun.dev/capture": "BaseUrl"});
    assert_eq!(arguments(object), json!(["pod", "--capture=base-url", "--spool=160", "--upstream=api.openai.com=http://gateway"]));
}

#[test]
fn a_run_of_no_use_is_said() {
    let (answer, reason) = ask(labelled(), Known::Unreadable("the spec cannot be read: x".to_owned()));
    assert_eq!(reason, None);
    assert_eq!(answer.warnings, ["the AgentRun's spec is not used: the spec cannot be read: x"]);
}

#[test]
fn what_is_not_injected_says_why() {
    let mut on_host = labelled();
    on_host["spec"]["hostNetwork"] = json!(true);
    let mut clash = labelled();
    clash["spec"]["volumes"] = json!([{"name": "agentrun-trust"}]);
    let mut trial = pod(json!({"agentrun.dev/run": "m", "app.kubernetes.io/managed-by": "agentrun-operator"}));
    trial["spec"]["initContainers"] = json!([{"name": "agentrun-sidecar"}]);
    let mut trial_on_host = pod(json!({"agentrun.dev/run": "m", "app.kubernetes.io/managed-by": "agentrun-operator"}));
    trial_on_host["spec"]["hostNetwork"] = json!(true);
    let table = [
        (pod(json!({"agentrun.dev/run": ""})), Reason::NotLabelled, false, true),
        (pod(json!({})), Reason::NotLabelled, false, true),
        (on_host, Reason::HostNetwork, false, true),
        (clash, Reason::NameClash, true, false),
        (trial, Reason::AlreadyInjected, false, false),
        (trial_on_host, Reason::HostNetwork, true, false),
    ];
    for (object, expected, is_denied, is_warned) in table {
        let (answer, reason) = ask(object.clone(), Known::Nothing);
        assert_eq!(reason, Some(expected), "{object}");
        assert_eq!((answer.denied.is_some(), !answer.warnings.is_empty()), (is_denied, is_warned), "{object}: {answer:?}");
        assert_eq!(answer.audit["reason"], expected.name());
        if let Some((code, message)) = answer.denied {
            assert!(code == 422 && message.starts_with(&format!("{expected}: ")), "{message}");
        }
    }
}

#[test]
fn a_trials_pod_is_completed() {
    let spec: agentrun_crds::AgentRunSpec = serde_json::from_value(agent_run()["spec"].clone()).unwrap();
    let template = super::super::runs::first_template(&spec, "math", &installation()).unwrap().template;
    let mut pod = crate::inject::trial::pod(&template, "math");
    assert_eq!(super::super::pods::run_to_ask(&pod), None, "it tells its own settings");
    assert_eq!(ask(pod.clone(), Known::Nothing).1, Some(Reason::AlreadyInjected));
    pod["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "mesh"}));
    let renewed = Installation { hub_ca: "NEWER".to_owned(), ..installation() };
    let (answer, reason) = answer(&request("Pod", pod.clone()), renewed, Known::Nothing);
    let completed = patched(&pod, &answer);
    assert_eq!(reason, None);
    assert!(completed.pointer("/spec/containers/1/volumeMounts/0").is_some());
    assert_eq!(completed["spec"]["initContainers"][0]["env"][1]["value"], "NEWER");
}

#[test]
fn other_questions_are_none_of_ours() {
    let mut update = request("Pod", labelled());
    update.operation = "UPDATE".to_owned();
    for question in [update, request("Deployment", labelled())] {
        assert_eq!(answer(&question, installation(), Known::Nothing), (Answer::admitted(), None));
    }
}

#[test]
fn hostile_objects_are_refused_and_never_a_panic() {
    for object in [json!(null), json!([]), json!({"metadata": 1}), json!({"metadata": {"labels": {"agentrun.dev/run": 7}}}), json!("x")] {
        assert_eq!(ask(object, Known::Nothing).1, Some(Reason::NotLabelled));
    }
    let (answer, reason) = ask(json!({"metadata": {"labels": {"agentrun.dev/run": "m"}}, "spec": {"containers": 7}}), Known::Nothing);
    assert_eq!(reason, Some(Reason::MalformedPod));
    assert!(answer.denied.is_some());
}
