//! Properties of all pods.

use proptest::prelude::*;
use serde_json::Map;

use super::*;
use crate::inject::security::violations;

const NAMES: [&str; 14] = [
    "HTTPS_PROXY",
    "http_proxy",
    "ALL_PROXY",
    "NO_PROXY",
    "no_proxy",
    "SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
    "NODE_USE_ENV_PROXY",
    "OPENAI_BASE_URL",
    "JAVA_TOOL_OPTIONS",
    "AWS_REGION",
    "PHP_INI_SCAN_DIR",
    "KEY",
    "OTHER",
];
const VALUES: [&str; 9] = [
    "",
    "1",
    "http://proxy.example:3128",
    "https://api.openai.com/v1",
    "https://east.openai.azure.com",
    "*",
    "a.example,.openai.com",
    "eu-west-1",
    "/etc/own.pem",
];

fn variable() -> impl Strategy<Value = Value> {
    (prop::sample::select(&NAMES[..]), prop::sample::select(&VALUES[..]), 0..6u8).prop_map(|(name, value, kind)| match kind {
        0 => json!({"name": name}),
        1 => json!({"name": name, "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}),
        _ => json!({"name": name, "value": value}),
    })
}

fn container(name: String) -> impl Strategy<Value = Value> {
    let env = prop::option::of(prop::collection::vec(variable(), 0..5));
    let mounts = prop::option::of(prop::collection::vec(prop::sample::select(&["/data", "/var/run", "/agentrun", "/"][..]), 0..2));
    (env, mounts, any::<bool>(), any::<bool>()).prop_map(move |(env, mounts, strict, unknown)| {
        let mut container = Map::from_iter([("name".to_owned(), json!(name)), ("image".to_owned(), json!("i"))]);
        container.extend(env.map(|env| ("env".to_owned(), json!(env))));
        let mounts = mounts.map(|paths| paths.iter().map(|path| json!({"name": "v", "mountPath": path})).collect::<Vec<_>>());
        container.extend(mounts.map(|mounts| ("volumeMounts".to_owned(), json!(mounts))));
        if strict {
            container.insert("securityContext".to_owned(), json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}));
        }
        if unknown {
            container.insert("tomorrow".to_owned(), json!({"a": [1, null]}));
            container.insert("ports".to_owned(), Value::Null);
        }
        Value::Object(container)
    })
}

fn any_pod() -> impl Strategy<Value = Value> {
    let containers = |prefix: &'static str, range: std::ops::Range<usize>| {
        range.prop_flat_map(move |count| (0..count).map(|index| container(format!("{prefix}{index}"))).collect::<Vec<_>>())
    };
    let metadata = prop::sample::select(
        [
            json!(null),
            json!({}),
            json!({"annotations": null}),
            json!({"annotations": {"agentrun.dev/java": "true", "a.b/c": "d"}}),
            json!({"annotations": {"agentrun.dev/proxy-policy": "Override"}}),
            json!({"annotations": {"agentrun.dev/capture": "Dns"}, "labels": {"x": "y"}}),
        ]
        .to_vec(),
    );
    let context = prop::sample::select(
        [json!(null), json!({}), json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}})].to_vec(),
    );
    let aliases =
        prop::sample::select([json!(null), json!([]), json!([{"ip": "127.0.0.1", "hostnames": ["api.openai.com", "x"]}])].to_vec());
    (containers("init", 0..3), containers("main", 1..4), metadata, context, aliases).prop_map(|(init, main, metadata, context, aliases)| {
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata,
            "spec": {
                "initContainers": init, "containers": main, "securityContext": context, "hostAliases": aliases, "unknown": {"kept": 1},
                "volumes": [{"name": "v", "emptyDir": {}}],
            },
        })
    })
}

/// Every member that is in `before` and not in `after`, but for null and what the injector may change.
fn lost(before: &Value, after: &Value, at: &str) -> Vec<String> {
    match (before, after) {
        (Value::Null, _) => Vec::new(),
        (Value::Object(before), Value::Object(after)) => {
            before.iter().flat_map(|(key, value)| lost(value, after.get(key).unwrap_or(&Value::Null), &format!("{at}/{key}"))).collect()
        }
        (Value::Array(before), Value::Array(after)) => {
            let named = |item: &Value| item.get("name").cloned().unwrap_or_else(|| item.clone());
            let missing = |item: &&Value| !after.iter().any(|other| named(other) == named(item) && lost(item, other, at).is_empty());
            let managed = |item: &Value| item.get("name").and_then(Value::as_str).is_some_and(|name| NAMES[..10].contains(&name));
            before.iter().filter(missing).filter(|item| !managed(item)).map(|item| format!("{at}: {item}")).collect()
        }
        (before, after) if before == after => Vec::new(),
        _ => vec![at.to_owned()],
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_patch_makes_the_pod_and_a_second_injection_changes_nothing(pod in any_pod()) {
        for config in [connect(), all_layers()] {
            let Outcome::Injected(injection) = inject(&pod, &config) else { continue };
            let patch: json_patch::Patch = serde_json::from_value(serde_json::to_value(&injection.operations).unwrap()).unwrap();
            let mut after = pod.clone();
            json_patch::patch(&mut after, &patch).unwrap();
            prop_assert_eq!(&after, &injection.pod);
            prop_assert_eq!(inject(&after, &config), Outcome::Skipped {
                refusal: Refusal::new(Reason::AlreadyInjected, "the pod carries the sidecar already"),
                operations: Vec::new(),
            });
        }
    }

    #[test]
    fn nothing_of_the_authors_is_lost_and_no_standard_is_broken(pod in any_pod()) {
        let Outcome::Injected(injection) = inject(&pod, &all_layers()) else { return Ok(()) };
        prop_assert_eq!(lost(&pod, &injection.pod, ""), Vec::<String>::new());
        prop_assert_eq!(violations(&injection.pod).len(), violations(&pod).len());
        for list in ["initContainers", "containers"] {
            for container in pod::items(&injection.pod["spec"], list).iter().skip(usize::from(list == "initContainers")) {
                let trusts = pod::items(container, "volumeMounts").iter().filter(|mount| mount["name"] == "agentrun-trust").count();
                prop_assert_eq!(trusts, 1);
            }
        }
    }

    #[test]
    fn a_mangled_pod_is_never_a_panic(pod in any_pod(), steps in prop::collection::vec(0..9usize, 1..6), with in prop::sample::select(
        [json!(null), json!(1), json!("x"), json!([]), json!({}), json!([{}]), json!([[1]])].to_vec())) {
        let mut pod = pod;
        let mut path = String::new();
        for step in steps {
            let below = match pod.pointer(&path) {
                Some(Value::Object(fields)) if !fields.is_empty() => fields.keys().nth(step % fields.len()).unwrap().replace('/', "~1"),
                Some(Value::Array(items)) if !items.is_empty() => (step % items.len()).to_string(),
                _ => break,
            };
            path = format!("{path}/{below}");
        }
        *pod.pointer_mut(&path).unwrap() = with;
        let _ = inject(&pod, &all_layers());
        let _ = violations(&pod);
    }
}
