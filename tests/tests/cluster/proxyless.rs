//! Agents whose clients heed no proxy variable: captured by name, or told apart from those that made no call.

use agentrun_tests::cluster::{Cluster, Namespace, Provider, agent_pod_spec, agent_run, with_namespace};
use agentrun_tests::origin::Rule;
use serde_json::{Value, json};

/// (name, image, command)
const AGENTS: [(&str, &str, &[&str]); 3] = [
    ("aiohttp", "ghcr.io/agentrun/example-agent:0.1.0", &["python3", "aiohttp_agent.py"]),
    ("go", "registry.test/agent-go:1", &[]),
    ("node-fetch", "registry.test/agent-node:1", &["node", "fetch.mjs"]),
];

/// Runs all three agents on one question each under these capture layers and gives their ended runs.
async fn runs(space: &Namespace, capture: Value, question: &str) -> Vec<Value> {
    for (name, image, command) in AGENTS {
        let mut pod = agent_pod_spec(image, command);
        pod["containers"][0]["env"] = json!([
            {"name": "OPENAI_API_KEY", "value": "sk-test"},
            // Calls that go past the sidecar meet the tests' provider, whose authority Node would not know.
            {"name": "NODE_TLS_REJECT_UNAUTHORIZED", "value": "0"}
        ]);
        let mut run = agent_run(name, &["gpt-4.1-mini"], &[&format!("{question} {name}")], pod);
        run["spec"]["capture"] = capture.clone();
        space.create(&run).await;
    }
    let mut ended = Vec::new();
    for (name, ..) in AGENTS {
        ended.push(space.run_ends(name).await);
    }
    ended
}

#[tokio::test]
async fn names_capture_clients_that_ignore_proxies() {
    with_namespace("proxyless-dns", async |space| {
        let provider = Provider(Cluster::get());
        provider.forget("proxyless, with names").await;
        provider
            .rules(
                "proxyless",
                &[Rule { contains: vec!["proxyless, with names".to_owned()], text: Some("seen".to_owned()), ..Rule::default() }],
            )
            .await;
        for run in runs(&space, json!(["Connect", "Dns"]), "proxyless, with names:").await {
            let name = run["metadata"]["name"].as_str().expect("a run has a name");
            assert_eq!(run["status"]["trials"]["succeeded"], 1, "{name}: {:#}", run["status"]);
            let calls = space.run_items(name, "calls").await;
            assert_eq!(calls.len(), 1, "{name}");
            assert_eq!(calls[0]["capture"], "dns", "{name}: {:#}", calls[0]);
            assert_eq!(calls[0]["outcome"], "complete", "{name}");
        }
        let asked = provider.counts("proxyless, with names").await;
        assert_eq!(asked.values().copied().collect::<Vec<_>>(), [1; 3], "{asked:#?}");
    })
    .await;
}

#[tokio::test]
async fn without_names_they_are_unobserved_and_the_status_says_why() {
    with_namespace("proxyless-connect", async |space| {
        for run in runs(&space, json!(["Connect"]), "proxyless, by proxy alone:").await {
            let status = &run["status"];
            assert_eq!(status["trials"]["unobserved"], 1, "{status:#}");
            assert_eq!(status["trials"]["succeeded"], 0, "{status:#}");
            let said = status["conditions"].to_string();
            assert!(said.contains("Dns"), "the status says what to do: {said}");
        }
    })
    .await;
}
