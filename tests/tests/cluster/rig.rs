//! The rig itself: what the other tests take for granted of it.

use agentrun_tests::cluster::{Cluster, PYTHON, Provider, agent_pod_spec, with_namespace};
use agentrun_tests::origin::Rule;
use serde_json::{Value, json};

#[tokio::test]
async fn a_pod_meets_the_provider_under_its_real_name() {
    with_namespace("rig-provider", async |space| {
        let provider = Provider(Cluster::get());
        provider.forget("rig: who are you").await;
        provider
            .rules(
                "rig",
                &[Rule { contains: vec!["rig: who are you".to_owned()], text: Some("the tests' provider".to_owned()), ..Rule::default() }],
            )
            .await;
        // Certificates are another test's: this one asks who answers.
        let script = r#"
import json, ssl, urllib.request
body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "rig: who are you"}]}).encode()
request = urllib.request.Request("https://api.openai.com/v1/chat/completions", body, {"content-type": "application/json"})
print(json.load(urllib.request.urlopen(request, context=ssl._create_unverified_context()))["choices"][0]["message"]["content"])
"#;
        let mut spec = agent_pod_spec(PYTHON, &["python3", "-c", script]);
        spec["restartPolicy"] = json!("Never");
        space.create(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "asker"}, "spec": spec})).await;
        space.until("pod/asker", "ended", |pod| matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))).await;
        assert_eq!(space.kubectl(&["logs", "asker"]).await.trim(), "the tests' provider");
        let calls = provider.calls("rig: who are you").await;
        let hosts: Vec<_> = calls.iter().map(|call| call["sni"].as_str().unwrap_or_default()).collect();
        assert_eq!(hosts, ["api.openai.com"]);
    })
    .await;
}

#[tokio::test]
async fn a_namespace_refuses_what_is_not_restricted() {
    with_namespace("rig-restricted", async |space| {
        let mut spec = agent_pod_spec(PYTHON, &["true"]);
        spec["containers"][0]["securityContext"] = Value::Null;
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "loose"}, "spec": spec});
        let error = space.try_create(&pod).await.expect_err("the namespace enforces Pod Security restricted");
        assert!(error.contains("violates PodSecurity \"restricted:latest\""), "{error}");
    })
    .await;
}
