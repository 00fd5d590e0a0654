//! Whole pods, before the eyes of whoever changes the injector.

use super::*;

#[test]
fn a_plain_pod() {
    insta::assert_json_snapshot!("plain", injected(&pod(json!({})), &connect()).pod);
}

#[test]
fn its_operations() {
    insta::assert_json_snapshot!("plain_operations", injected(&pod(json!({})), &connect()).operations);
}

#[test]
fn all_layers_on_a_restricted_pod_with_an_init_container() {
    let pod = pod(json!({
        "metadata": {"annotations": {"team": "evals", "kubectl.kubernetes.io/default-container": "agent"}},
        "spec": {
            "automountServiceAccountToken": false,
            "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "initContainers": [{"name": "prepare", "image": "agent:1", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
            "containers": [{
                "name": "agent",
                "image": "agent:1",
                "newerThanThisProgram": {"kept": true},
                "env": [
                    {"name": "AZURE_OPENAI_ENDPOINT", "value": "https://contoso.openai.azure.com/"},
                    {"name": "OPENAI_BASE_URL", "value": "https://api.openai.com/v1"},
                    {"name": "AWS_REGION", "value": "eu-west-1"},
                ],
                "resources": {"limits": {"cpu": "1", "memory": "1Gi", "ephemeral-storage": "1Gi"}},
                "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}},
            }],
            "volumes": [{"name": "data", "emptyDir": {}}],
        },
    }));
    insta::assert_json_snapshot!("all_layers", injected(&pod, &all_layers()).pod);
}

#[test]
fn a_run_with_providers_upstreams_and_roots() {
    let settings: Settings = Settings {
        providers: serde_json::from_value(json!([
            {"name": "house", "baseUrl": "https://llm.internal.example/v1"},
            {"name": "claude", "baseUrl": "http://claude.models.svc:8000", "shape": "Anthropic"},
        ]))
        .unwrap(),
        upstreams: serde_json::from_value(json!([{"host": "api.openai.com", "url": "http://gateway.platform.svc:4000"}])).unwrap(),
        trust: Some(serde_json::from_value(json!({"configMap": {"name": "company-ca", "key": "ca.crt"}})).unwrap()),
        ..all_layers().settings
    };
    let injection = injected(&pod(json!({})), &InjectConfig { settings, ..connect() });
    insta::assert_json_snapshot!("providers", json!({"warnings": injection.warnings, "pod": injection.pod}));
}

#[test]
fn a_chained_proxy() {
    let env = json!([
        {"name": "HTTPS_PROXY", "valueFrom": {"secretKeyRef": {"name": "proxy", "key": "url"}}},
        {"name": "no_proxy", "value": "10.0.0.0/8,.corp.example,.openai.com"},
    ]);
    let injection = injected(&pod_with(env), &connect());
    let sidecar = &injection.pod["spec"]["initContainers"][0]["env"];
    let agent = &injection.pod["spec"]["containers"][0]["env"];
    insta::assert_json_snapshot!("chained", json!({"sidecar": sidecar, "agent": agent, "warnings": injection.warnings}));
}
