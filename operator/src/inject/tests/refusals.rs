//! Every refusal, and that it says where and what to do.

use super::*;

/// A change to a pod, the annotations' or settings' layers, what comes out.
fn table() -> Vec<(Value, Reason, &'static str)> {
    let env = |name: &str, value: &str| json!({"spec": {"containers": [{"name": "agent", "env": [{"name": name, "value": value}]}]}});
    let annotated = |name: &str, value: &str| json!({"metadata": {"annotations": {name: value}}});
    let mount = |path: &str, volume: Value| json!({"spec": {"volumes": [volume], "containers": [{"name": "agent", "volumeMounts": [{"name": "v", "mountPath": path}]}]}});
    vec![
        (annotated("kubernetes.io/config.mirror", "x"), Reason::MirrorPod, "static pod"),
        (json!({"spec": {"hostNetwork": true}}), Reason::HostNetwork, "hostNetwork: true"),
        (json!({"spec": {"os": {"name": "windows"}}}), Reason::Windows, "Windows"),
        (json!({"spec": {"nodeSelector": {"kubernetes.io/os": "Windows"}}}), Reason::Windows, "Windows"),
        (
            json!({"spec": {"containers": [{"name": "agentrun-sidecar"}]}}),
            Reason::NameClash,
            "spec.containers[0] is called `agentrun-sidecar`",
        ),
        (json!({"spec": {"initContainers": [{"name": "agentrun-sidecar"}]}}), Reason::NameClash, "spec.initContainers[0]"),
        (json!({"spec": {"volumes": [{"name": "agentrun-trust"}]}}), Reason::NameClash, "spec.volumes[0]"),
        (json!({"spec": {"volumes": [{"name": "agentrun-exchange"}]}}), Reason::NameClash, "spec.volumes[0]"),
        (
            mount("/var/run/agentrun/trust/", json!({"name": "v", "emptyDir": {}})),
            Reason::MountPathClash,
            "spec.containers[0].volumeMounts[0]",
        ),
        (mount("/var/run/agentrun/trust/x", json!({"name": "v", "emptyDir": {}})), Reason::MountPathClash, "mount it elsewhere"),
        (mount("/var/run", json!({"name": "v", "secret": {}})), Reason::MountPathClash, "`/var/run`"),
        (json!({"spec": {"containers": [{"name": "agent", "ports": [{"containerPort": 15021}]}]}}), Reason::PortClash, "port 15021"),
        (json!({"spec": {"containers": [{"name": "agent", "ports": [{"containerPort": 443}]}]}}), Reason::PortClash, "layer Dns"),
        (json!({"spec": {"hostAliases": [{"ip": "10.0.0.1", "hostnames": ["API.openai.com"]}]}}), Reason::HostAliasClash, "spec.upstreams"),
        (
            json!({"spec": {"securityContext": {"sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "1024"}]}}}),
            Reason::SysctlClash,
            "443 or less",
        ),
        (env("HTTPS_PROXY", "socks5://proxy.example"), Reason::ProxyConflict, "only an http:// proxy"),
        (env("HTTPS_PROXY", "http://$(PROXY_HOST)"), Reason::ProxyConflict, "another variable"),
        (
            json!({"spec": {"containers": [
                {"name": "a", "env": [{"name": "HTTPS_PROXY", "value": "http://a"}]}, {"name": "b", "env": [{"name": "https_proxy", "value": "http://b"}]},
            ]}}),
            Reason::ProxyConflict,
            "spec.containers[1] sets https_proxy",
        ),
        (
            json!({"spec": {"containers": (0..257).map(|index| json!({"name": format!("c{index}")})).collect::<Vec<_>>()}}),
            Reason::TooManyContainers,
            "256",
        ),
        (json!({"spec": null}), Reason::MalformedPod, "spec is missing"),
        (json!({"spec": []}), Reason::MalformedPod, "spec is no mapping"),
        (json!({"spec": {"containers": []}}), Reason::MalformedPod, "spec.containers is empty"),
        (json!({"spec": {"containers": {"name": "agent"}}}), Reason::MalformedPod, "spec.containers is no list"),
        (json!({"spec": {"containers": [{"image": "x"}]}}), Reason::MalformedPod, "spec.containers[0].name"),
        (json!({"spec": {"initContainers": [7]}}), Reason::MalformedPod, "spec.initContainers[0] is no mapping"),
        (env("", "x"), Reason::MalformedPod, "spec.containers[0].env[0].name"),
        (
            json!({"spec": {"containers": [{"name": "agent", "env": [{"name": "A", "value": 1}]}]}}),
            Reason::MalformedPod,
            "spec.containers[0].env[0].value is no text",
        ),
        (json!({"spec": {"containers": [{"name": "agent", "command": "run"}]}}), Reason::MalformedPod, "spec.containers[0].command"),
        (json!({"spec": {"securityContext": "x"}}), Reason::MalformedPod, "spec.securityContext"),
        (json!({"metadata": {"annotations": {"a": 1}}}), Reason::MalformedPod, "metadata.annotations"),
        (json!({"metadata": []}), Reason::MalformedPod, "metadata is no mapping"),
        (annotated("agentrun.dev/capture", "Connect,Telepathy"), Reason::BadAnnotation, "`Telepathy` is no capture layer"),
        (annotated("agentrun.dev/capture", " , "), Reason::BadAnnotation, "no capture layer"),
        (annotated("agentrun.dev/proxy-policy", "chain"), Reason::BadAnnotation, "use Chain, Override or Deny"),
        (annotated("agentrun.dev/java", "yes"), Reason::BadAnnotation, "neither true nor false"),
        (annotated("agentrun.dev/gateway", "15090"), Reason::BadAnnotation, "neither true nor false"),
        (
            json!({"metadata": {"annotations": {"agentrun.dev/gateway": "true"}}, "spec": {"containers": [{"name": "agent", "ports": [{"containerPort": 15090}]}]}}),
            Reason::PortClash,
            "port 15090",
        ),
    ]
}

#[test]
fn each_says_where_and_what_to_do() {
    for (change, reason, part) in table() {
        let pod = pod(change.clone());
        let refusal = match (inject(&pod, &all_layers()), reason.verdict(Owner::Other)) {
            (Outcome::Refused(refusal), Verdict::Deny) | (Outcome::Skipped { refusal, .. }, Verdict::Skip) => refusal,
            (other, _) => panic!("{change}: {other:?}"),
        };
        assert_eq!(refusal.reason, reason, "{change}: {}", refusal.message);
        assert!(refusal.message.contains(part), "{change}: {}", refusal.message);
        assert!(refusal.message.len() < 250 && !refusal.message.contains('\n'), "{}", refusal.message);
    }
}

#[test]
fn a_proxy_without_connect_would_go_past_the_sidecar() {
    let pod = pod_with(json!([{"name": "HTTPS_PROXY", "value": "http://p:1"}]));
    assert!(matches!(inject(&pod, &config(&[CaptureMode::Dns])), Outcome::Refused(refusal) if refusal.reason == Reason::ProxyConflict));
}

#[test]
fn exceptions_that_may_hide_calls_are_refused_under_deny() {
    let mut config = connect();
    config.settings.proxy = ProxyPolicy::Deny;
    let table = [
        (json!({"name": "NO_PROXY", "value": ".openai.com"}), false),
        (json!({"name": "no_proxy", "valueFrom": {"configMapKeyRef": {}}}), false),
        (json!({"name": "NO_PROXY", "value": ".corp.example"}), true),
        (json!({"name": "HTTP_PROXY", "valueFrom": {"configMapKeyRef": {}}}), false),
        (json!({"name": "HTTP_PROXY", "value": ""}), true),
    ];
    for (variable, passes) in table {
        let outcome = inject(&pod_with(json!([variable])), &config);
        assert_eq!(matches!(outcome, Outcome::Injected(_)), passes, "{variable}: {outcome:?}");
    }
}

#[test]
fn settings_of_no_use_are_told() {
    let mut config = connect();
    config.settings.providers = serde_json::from_value(json!([{"name": "a", "baseUrl": "llm.example"}])).unwrap();
    assert!(matches!(inject(&pod(json!({})), &config), Outcome::Refused(refusal) if refusal.reason == Reason::BadSettings));
    config = self::config(&[]);
    assert!(matches!(inject(&pod(json!({})), &config), Outcome::Refused(refusal) if refusal.reason == Reason::BadSettings));
}

#[test]
fn a_pod_on_the_hosts_network_says_why_it_was_left_alone() {
    let pod = pod(json!({"spec": {"hostNetwork": true}}));
    let Outcome::Skipped { operations, .. } = inject(&pod, &connect()) else { panic!("skipped") };
    let mut after = pod;
    let patch: json_patch::Patch = serde_json::from_value(serde_json::to_value(operations).unwrap()).unwrap();
    json_patch::patch(&mut after, &patch).unwrap();
    assert_eq!(after["metadata"]["annotations"]["agentrun.dev/injected"], r#"{"v":1,"skipped":"HostNetwork"}"#);
    assert!(matches!(inject(&after, &connect()), Outcome::Skipped { operations, .. } if operations.is_empty()));
    after["spec"]["hostNetwork"] = json!(false);
    injected(&after, &connect());
    let of_a_run = InjectConfig { owner: Owner::Run, ..connect() };
    after["spec"]["hostNetwork"] = json!(true);
    assert!(matches!(inject(&after, &of_a_run), Outcome::Refused(refusal) if refusal.reason == Reason::HostNetwork));
}

#[test]
fn nonsense_is_refused_and_never_a_panic() {
    for nonsense in [json!(null), json!([]), json!("pod"), json!(1), json!({}), json!({"spec": {"containers": [[]]}})] {
        assert!(
            matches!(inject(&nonsense, &all_layers()), Outcome::Refused(refusal) if refusal.reason == Reason::MalformedPod),
            "{nonsense}"
        );
    }
}
