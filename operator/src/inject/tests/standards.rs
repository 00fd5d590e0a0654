//! Pod Security: what we put in keeps `restricted`, and our reading of the standards finds what it should.

use super::*;
use crate::inject::security::{Level, level, violations};

fn restricted() -> Value {
    pod(json!({"spec": {
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "agent", "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}],
    }}))
}

#[test]
fn a_restricted_pod_stays_one() {
    assert_eq!(violations(&restricted()), []);
    let mut config = all_layers();
    config.settings.trust = Some(serde_json::from_value(json!({"configMap": {"name": "c", "key": "k"}})).unwrap());
    assert_eq!(violations(&injected(&restricted(), &config).pod), []);
}

#[test]
fn a_guaranteed_pod_stays_one_and_every_container_we_add_has_limits() {
    let injection = injected(&pod(json!({})), &connect());
    let resources = &injection.pod["spec"]["initContainers"][0]["resources"];
    for name in ["cpu", "memory"] {
        assert_eq!(resources["requests"][name], resources["limits"][name], "{name}");
        assert!(resources["limits"][name].is_string());
    }
    assert!(resources["limits"].get("ephemeral-storage").is_none(), "a bound on ours alone would bound the whole pod's disk");
    let bounded = json!({"spec": {"containers": [{"name": "agent", "resources": {"limits": {"ephemeral-storage": "1Gi"}}}]}});
    let limits = &injected(&pod(bounded), &connect()).pod["spec"]["initContainers"][0]["resources"]["limits"];
    assert_eq!(limits["ephemeral-storage"], "288Mi");
}

#[test]
fn each_rule_is_found() {
    use Level::{Baseline, Restricted};
    let context = |value: Value| {
        let mut change = json!({"spec": {"containers": [{"name": "agent", "securityContext": {
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}]}});
        json_patch::merge(&mut change["spec"]["containers"][0]["securityContext"], &value);
        change
    };
    let table = [
        (json!({"spec": {"hostPID": true}}), Baseline, "spec.hostPID"),
        (json!({"spec": {"hostNetwork": true}}), Baseline, "spec.hostNetwork"),
        (json!({"spec": {"volumes": [{"name": "v", "hostPath": {}}]}}), Baseline, "spec.volumes[0].hostPath"),
        (json!({"spec": {"volumes": [{"name": "v", "nfs": {}}]}}), Restricted, "spec.volumes[0].nfs"),
        (
            json!({"spec": {"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}}}),
            Baseline,
            "spec.securityContext.sysctls[0]",
        ),
        (json!({"spec": {"securityContext": {"runAsUser": 0}}}), Restricted, "spec.securityContext.runAsUser"),
        (json!({"spec": {"securityContext": {"runAsNonRoot": false}}}), Restricted, "spec.containers[0].securityContext.runAsNonRoot"),
        (
            json!({"spec": {"securityContext": {"seccompProfile": null}}}),
            Restricted,
            "spec.containers[0].securityContext.seccompProfile.type",
        ),
        (
            json!({"spec": {"securityContext": {"seccompProfile": {"type": "Unconfined"}}}}),
            Baseline,
            "spec.securityContext.seccompProfile.type",
        ),
        (
            json!({"spec": {"securityContext": {"windowsOptions": {"hostProcess": true}}}}),
            Baseline,
            "spec.securityContext.windowsOptions.hostProcess",
        ),
        (context(json!({"privileged": true})), Baseline, "spec.containers[0].securityContext.privileged"),
        (context(json!({"allowPrivilegeEscalation": true})), Restricted, "spec.containers[0].securityContext.allowPrivilegeEscalation"),
        (context(json!({"capabilities": {"add": ["NET_ADMIN"]}})), Baseline, "spec.containers[0].securityContext.capabilities.add"),
        (context(json!({"capabilities": {"add": ["CHOWN"]}})), Restricted, "spec.containers[0].securityContext.capabilities.add"),
        (context(json!({"capabilities": {"drop": ["CHOWN"]}})), Restricted, "spec.containers[0].securityContext.capabilities.drop"),
        (context(json!({"procMount": "Unmasked"})), Baseline, "spec.containers[0].securityContext.procMount"),
        (context(json!({"seLinuxOptions": {"type": "spc_t"}})), Baseline, "spec.containers[0].securityContext.seLinuxOptions.type"),
        (context(json!({"seLinuxOptions": {"user": "root"}})), Baseline, "spec.containers[0].securityContext.seLinuxOptions.user"),
        (context(json!({"appArmorProfile": {"type": "Unconfined"}})), Baseline, "spec.containers[0].securityContext.appArmorProfile.type"),
        (
            json!({"metadata": {"annotations": {"container.apparmor.security.beta.kubernetes.io/agent": "unconfined"}}}),
            Baseline,
            "metadata.annotations[container.apparmor.security.beta.kubernetes.io/agent]",
        ),
    ];
    for (change, expected, field) in table {
        let mut pod = restricted();
        if let (Some(own), Some(changed)) = (pod.pointer_mut("/spec/containers/0"), change.pointer("/spec/containers/0")) {
            json_patch::merge(own, changed);
        }
        let mut rest = change.clone();
        if let Some(spec) = rest.get_mut("spec").and_then(Value::as_object_mut) {
            spec.remove("containers");
        }
        json_patch::merge(&mut pod, &rest);
        let found = violations(&pod);
        assert!(found.iter().any(|violation| violation.level == expected && violation.field == field), "{change}: {found:?}");
        assert!(level(&found) < Level::Restricted);
    }
    assert_eq!(level(&[]), Level::Restricted);
}

#[test]
fn allowed_things_are_not_found() {
    let mut pod = restricted();
    json_patch::merge(
        &mut pod["spec"]["containers"][0],
        &json!({
            "securityContext": {"capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}, "runAsUser": 1000, "seLinuxOptions": {"type": "container_t"}},
            "ports": [{"containerPort": 80, "hostPort": 0}],
            "livenessProbe": {"httpGet": {"port": 1}},
        }),
    );
    assert_eq!(violations(&pod), []);
    pod["spec"]["containers"][0]["ports"][0]["hostPort"] = json!(80);
    pod["spec"]["containers"][0]["livenessProbe"]["httpGet"]["host"] = json!("10.0.0.1");
    assert_eq!(violations(&pod).len(), 2);
}

#[test]
fn what_is_not_said_is_not_restricted() {
    let mut pod = restricted();
    pod["spec"]["securityContext"].as_object_mut().unwrap().remove("runAsNonRoot");
    let fields: Vec<String> = violations(&pod).into_iter().map(|violation| violation.field).collect();
    assert_eq!(fields, ["spec.containers[0].securityContext.runAsNonRoot"]);
}
