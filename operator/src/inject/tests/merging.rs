//! What becomes of what the author wrote.

use super::*;

const OURS: &str = "http://127.0.0.1:15080";

#[test]
fn the_authors_variables_stay_and_ours_come_before_them() {
    let pod = pod_with(json!([{"name": "PROXY_COPY", "value": "$(HTTPS_PROXY)"}, {"name": "KEY", "valueFrom": {"secretKeyRef": {}}}]));
    let env = injected(&pod, &connect()).pod["spec"]["containers"][0]["env"].as_array().unwrap().clone();
    let position = |name: &str| env.iter().position(|variable| variable["name"] == name).unwrap();
    assert!(position("HTTPS_PROXY") < position("PROXY_COPY"), "Kubernetes expands earlier variables alone");
    assert_eq!(env[position("KEY")], json!({"name": "KEY", "valueFrom": {"secretKeyRef": {}}}));
}

#[test]
fn trust_is_overridden_and_said() {
    let pod = pod_with(json!([
        {"name": "SSL_CERT_FILE", "value": "/etc/own.pem"},
        {"name": "NODE_EXTRA_CA_CERTS", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}},
        {"name": "REQUESTS_CA_BUNDLE", "value": "/var/run/agentrun/trust/bundle.pem"},
    ]));
    let injection = injected(&pod, &connect());
    let env = variables(&injection.pod, "agent");
    assert_eq!(env["SSL_CERT_FILE"]["value"], "/var/run/agentrun/trust/bundle.pem");
    assert_eq!(env["NODE_EXTRA_CA_CERTS"], json!({"name": "NODE_EXTRA_CA_CERTS", "value": "/var/run/agentrun/trust/ca.pem"}));
    assert_eq!(injection.overrides, ["agent/SSL_CERT_FILE", "agent/NODE_EXTRA_CA_CERTS"]);
    assert_eq!(injection.warnings, ["agent: the sidecar must be trusted: overridden are SSL_CERT_FILE, NODE_EXTRA_CA_CERTS"]);
    assert!(!env.contains_key("SSL_CERT_DIR") && !env.contains_key("NODE_OPTIONS"));
}

#[test]
fn a_proxy_is_chained_overridden_or_refused() {
    let corporate = |policy: &str| {
        let mut pod = pod_with(json!([{"name": "https_proxy", "value": "http://user:secret@proxy.corp.example:3128"}]));
        pod["metadata"]["annotations"] = json!({"agentrun.dev/proxy-policy": policy});
        inject(&pod, &connect())
    };
    let Outcome::Injected(chained) = corporate("Chain") else { panic!("chained") };
    assert_eq!(variables(&chained.pod, "agent")["https_proxy"]["value"], OURS);
    assert_eq!(variables(&chained.pod, "agentrun-sidecar")["HTTPS_PROXY"]["value"], "http://user:secret@proxy.corp.example:3128");
    assert!(!chained.warnings.is_empty());
    let Outcome::Injected(overridden) = corporate("Override") else { panic!("overridden") };
    assert_eq!(variables(&overridden.pod, "agent")["https_proxy"]["value"], OURS);
    assert!(!variables(&overridden.pod, "agentrun-sidecar").contains_key("HTTPS_PROXY"));
    assert_eq!(overridden.overrides, ["agent/https_proxy"]);
    let Outcome::Refused(refusal) = corporate("Deny") else { panic!("denied") };
    assert_eq!(refusal.reason, Reason::ProxyConflict);
    let told = format!("{refusal} {:?} {:?} {:?}", chained.warnings, chained.overrides, chained.pod["metadata"]);
    assert!(!told.contains("secret"), "{told}");
}

#[test]
fn a_proxy_for_everything_is_a_way_out_too() {
    let pod = pod_with(json!([{"name": "ALL_PROXY", "value": "proxy.corp.example:3128"}]));
    let injection = injected(&pod, &connect());
    let sidecar = variables(&injection.pod, "agentrun-sidecar");
    assert_eq!(sidecar["HTTPS_PROXY"]["value"], "proxy.corp.example:3128");
    assert_eq!(sidecar["HTTP_PROXY"]["value"], "proxy.corp.example:3128");
}

#[test]
fn exceptions_are_kept_unless_they_hide_an_llm_host() {
    let table = [
        ("", "localhost,127.0.0.1,::1,.svc,.cluster.local", ""),
        ("db.example, 10.0.0.0/8", "localhost,127.0.0.1,::1,.svc,.cluster.local,db.example,10.0.0.0/8", ""),
        ("*", "localhost,127.0.0.1,::1,.svc,.cluster.local", "*"),
        (".openai.com,x.example", "localhost,127.0.0.1,::1,.svc,.cluster.local,x.example", ".openai.com"),
        (
            "*.azure.com,API.anthropic.com:443,nai.com",
            "localhost,127.0.0.1,::1,.svc,.cluster.local,nai.com",
            "*.azure.com,API.anthropic.com:443",
        ),
    ];
    for (own, expected, hidden) in table {
        let injection = injected(&pod_with(json!([{"name": "NO_PROXY", "value": own}])), &connect());
        let env = variables(&injection.pod, "agent");
        assert_eq!((env["NO_PROXY"]["value"].as_str(), env["no_proxy"]["value"].as_str()), (Some(expected), Some(expected)), "{own}");
        let warned = injection.warnings.iter().any(|warning| warning.contains(&format!("no longer names {hidden}:")));
        assert_eq!(warned, !hidden.is_empty(), "{own}: {:?}", injection.warnings);
    }
}

#[test]
fn a_provider_in_the_cluster_is_no_exception() {
    let mut config = connect();
    config.settings.providers = serde_json::from_value(json!([{"name": "vllm", "baseUrl": "http://vllm.models.svc:8000/v1"}])).unwrap();
    let env = variables(&injected(&pod(json!({})), &config).pod, "agent");
    assert_eq!(env["NO_PROXY"]["value"], "localhost,127.0.0.1,::1,.cluster.local");
}

#[test]
fn base_urls_lead_through_the_sidecar_where_it_reads_the_host() {
    let mut config = config(&[CaptureMode::BaseUrl]);
    config.settings.providers = serde_json::from_value(json!([{"name": "vllm", "baseUrl": "http://vllm.models.svc:8000/v1"}])).unwrap();
    let table = [
        ("https://api.openai.com/v1", "http://127.0.0.1:15080/api.openai.com/v1", false),
        ("https://eu.api.openai.com/v1", "http://127.0.0.1:15080/eu.api.openai.com/v1", false),
        ("http://vllm.models.svc:8000/v1", "http://127.0.0.1:15080/vllm.models.svc:8000/v1", false),
        ("https://gateway.example/v1", "https://gateway.example/v1", true),
        ("http://localhost:8000", "http://localhost:8000", true),
    ];
    for (own, expected, warned) in table {
        let injection = injected(&pod_with(json!([{"name": "OPENAI_BASE_URL", "value": own}])), &config);
        let env = variables(&injection.pod, "agent");
        assert_eq!(env["OPENAI_BASE_URL"]["value"], expected);
        assert_eq!(!injection.warnings.is_empty(), warned, "{own}: {:?}", injection.warnings);
        assert!(!env.contains_key("HTTPS_PROXY") && !env.contains_key("SSL_CERT_FILE"));
        assert_eq!(env["ANTHROPIC_BASE_URL"]["value"], "http://127.0.0.1:15080/api.anthropic.com");
    }
}

#[test]
fn java_is_asked_for_and_appended() {
    let mut pod = pod_with(json!([{"name": "JAVA_TOOL_OPTIONS", "value": "-Xmx1g"}]));
    assert_eq!(variables(&injected(&pod, &connect()).pod, "agent")["JAVA_TOOL_OPTIONS"]["value"], "-Xmx1g");
    pod["metadata"]["annotations"] = json!({"agentrun.dev/java": "true"});
    let options = variables(&injected(&pod, &connect()).pod, "agent")["JAVA_TOOL_OPTIONS"]["value"].as_str().unwrap().to_owned();
    assert!(options.starts_with("-Xmx1g -Djavax.net.ssl.trustStore=/var/run/agentrun/trust/truststore.p12"), "{options}");
    assert!(options.contains("-Dhttps.proxyPort=15080"), "{options}");
}

#[test]
fn sessions_of_a_pods_own_are_asked_for() {
    let sidecar = |pod: &Value| pod["spec"]["initContainers"][0]["args"].as_array().unwrap().contains(&json!("--gateway"));
    let mut pod = pod_with(json!([{"name": "A", "value": "b"}]));
    let without = injected(&pod, &connect()).pod;
    assert!(!variables(&without, "agent").contains_key("AGENTOPT_GATEWAY_URL") && !sidecar(&without));
    pod["metadata"]["annotations"] = json!({"agentrun.dev/gateway": "true"});
    let mut with = injected(&pod, &connect()).pod;
    assert_eq!(variables(&with, "agent")["AGENTOPT_GATEWAY_URL"]["value"], "http://127.0.0.1:15090");
    assert!(sidecar(&with));
    // The sidecar that is there says so, whatever the annotation says by now.
    with["metadata"]["annotations"].as_object_mut().unwrap().remove("agentrun.dev/gateway");
    with["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "late", "image": "l"}));
    assert!(variables(&injected(&with, &connect()).pod, "late").contains_key("AGENTOPT_GATEWAY_URL"));
    let mut trial = connect();
    trial.owner = Owner::Run;
    assert!(!variables(&injected(&pod, &trial).pod, "agent").contains_key("AGENTOPT_GATEWAY_URL"), "a trial is one datapoint");
    let own = injected(
        &json!({"metadata": pod["metadata"], "spec": {"containers": [{"name": "agent", "env": [{"name": "AGENTOPT_GATEWAY_URL", "value": "http://own:9000"}]}]}}),
        &connect(),
    );
    assert_eq!(variables(&own.pod, "agent")["AGENTOPT_GATEWAY_URL"]["value"], "http://own:9000");
    assert!(own.warnings.iter().any(|warning| warning.contains("AGENTOPT_GATEWAY_URL is kept")), "{:?}", own.warnings);
}

#[test]
fn what_others_added_is_completed() {
    let mut pod = injected(&pod(json!({})), &all_layers()).pod;
    pod["spec"]["initContainers"].as_array_mut().unwrap().insert(0, json!({"name": "mesh", "image": "m", "restartPolicy": "Always"}));
    pod["spec"]["initContainers"][1]["image"] = json!("mirror.example/agentrun-sidecar:1");
    pod["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "late", "image": "l"}));
    let mut config = connect();
    config.installation.hub_ca = "NEWER".to_owned();
    let again = injected(&pod, &config);
    let names: Vec<&str> =
        again.pod["spec"]["initContainers"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["agentrun-sidecar", "mesh"]);
    assert_eq!(again.pod["spec"]["initContainers"][0]["image"], "mirror.example/agentrun-sidecar:1");
    assert_eq!(variables(&again.pod, "agentrun-sidecar")["AGENTRUN_HUB_CA"]["value"], "NEWER");
    for container in ["mesh", "late"] {
        assert_eq!(variables(&again.pod, container)["HTTPS_PROXY"]["value"], OURS, "{container}");
        assert!(variables(&again.pod, container).contains_key("OPENAI_BASE_URL"), "{container}: the first injection's layers count");
    }
    assert_eq!(again.layers, ["connect", "dns", "base-url"]);
    assert!(
        matches!(inject(&again.pod, &config), Outcome::Skipped { refusal, operations } if refusal.reason == Reason::AlreadyInjected && operations.is_empty())
    );
}

#[test]
fn a_second_look_knows_the_first_ones_hosts_from_the_sidecar() {
    let mut first = all_layers();
    first.settings.providers = serde_json::from_value(json!([
        {"name": "vllm", "baseUrl": "http://vllm.models.svc:8000/v1", "shape": "Anthropic"}, {"name": "b", "baseUrl": "https://llm.example/v1"},
    ]))
    .unwrap();
    first.settings.upstreams = serde_json::from_value(json!([{"host": "west.openai.azure.com", "url": "http://t/$(X)"}])).unwrap();
    let mut pod = injected(&pod(json!({})), &first).pod;
    // Whoever looks again may not know the run, or another version of it.
    assert!(matches!(inject(&pod, &connect()), Outcome::Skipped { refusal, .. } if refusal.reason == Reason::AlreadyInjected));
    pod["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "late"}));
    let again = injected(&pod, &connect());
    assert_eq!(variables(&again.pod, "late")["NO_PROXY"], variables(&again.pod, "agent")["NO_PROXY"]);
    assert_eq!(again.pod["spec"]["hostAliases"], pod["spec"]["hostAliases"]);
}

#[test]
fn a_late_container_with_another_proxy_is_refused() {
    let proxy = |value: &str| json!([{"name": "HTTPS_PROXY", "value": value}]);
    let mut pod = injected(&pod_with(proxy("http://a.example:1")), &connect()).pod;
    pod["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "late", "env": proxy("http://a.example:1")}));
    injected(&pod, &connect());
    pod["spec"]["containers"][1]["env"] = proxy("http://b.example:1");
    assert!(matches!(inject(&pod, &connect()), Outcome::Refused(refusal) if refusal.reason == Reason::ProxyConflict));
}

#[test]
fn dns_answers_for_hosts_that_the_pod_or_the_run_names() {
    let mut config = config(&[CaptureMode::Dns]);
    config.settings.upstreams =
        serde_json::from_value(json!([{"host": "West.openai.azure.com", "url": "http://t"}, {"host": "x.example", "url": "http://t"}]))
            .unwrap();
    config.settings.providers = serde_json::from_value(json!([
        {"name": "a", "baseUrl": "https://llm.example/v1"}, {"name": "b", "baseUrl": "http://plain.example"},
        {"name": "c", "baseUrl": "https://port.example:8443"}, {"name": "d", "baseUrl": "https://10.1.2.3/v1"},
    ]))
    .unwrap();
    let pod = pod_with(json!([
        {"name": "A", "value": "https://contoso.openai.azure.com/openai?x"}, {"name": "AWS_REGION", "value": "eu-west-1"},
        {"name": "B", "value": "https://unrelated.example"}, {"name": "AWS_DEFAULT_REGION", "value": "a b"},
    ]));
    let injection = injected(&pod, &config);
    let names = &injection.pod["spec"]["hostAliases"][0]["hostnames"];
    let has = |name: &str| names.as_array().unwrap().contains(&json!(name));
    for name in
        ["api.openai.com", "llm.example", "contoso.openai.azure.com", "west.openai.azure.com", "bedrock-runtime.eu-west-1.amazonaws.com"]
    {
        assert!(has(name), "{name}: {names}");
    }
    for name in ["plain.example", "port.example", "10.1.2.3", "x.example", "unrelated.example"] {
        assert!(!has(name), "{name}: {names}");
    }
    assert_eq!(injection.warnings.iter().filter(|warning| warning.contains("Dns reaches https on port 443 alone")).count(), 3);
    assert_eq!(
        injection.pod["spec"]["securityContext"]["sysctls"],
        json!([{"name": "net.ipv4.ip_unprivileged_port_start", "value": "443"}])
    );
    let env = variables(&injection.pod, "agent");
    assert!(!env.contains_key("HTTPS_PROXY") && env.contains_key("SSL_CERT_FILE"));
}

#[test]
fn warnings_are_few_and_short() {
    let containers: Vec<Value> = (0..40)
        .map(|index| json!({"name": format!("{}{index}", "c".repeat(60)), "env": [{"name": "SSL_CERT_FILE", "value": "x\ny"}, {"name": "NO_PROXY", "value": "*"}]}))
        .collect();
    let injection = injected(&pod(json!({"spec": {"containers": containers}})), &connect());
    assert_eq!(injection.warnings.len(), MAX_WARNINGS + 1);
    assert!(injection.warnings.iter().all(|warning| warning.chars().count() <= 120));
    assert_eq!(injection.warnings[MAX_WARNINGS], "and 60 more warnings");
    assert!(annotation(&injection.pod, INJECTED_ANNOTATION).unwrap().len() < 16 << 10);
}
