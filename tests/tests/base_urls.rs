//! The variables of the `base-url` layer, with the SDKs that read them: no proxy, no certificate to trust, and each call is the provider's own.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use agentrun_protocol::base_url::{base_url_variables, bedrock_base_url_variables};
use agentrun_sidecar::journal::{Filter, Reader};
use agentrun_sidecar::{Config, Session, Sidecar};
use agentrun_tests::client::{self, Client};
use agentrun_tests::origin::{Options, Origin};
use agentrun_tests::stage::{KEYS, told};
use tokio::process::Command;

const HOSTS: [&str; 4] = ["api.openai.com", "api.anthropic.com", "generativelanguage.googleapis.com", "api.cohere.com"];
const BEDROCK: &str = "bedrock-runtime.us-east-1.amazonaws.com";

/// Clients of the table, the one variable that leads each here, and the URL of its call.
const CLIENTS: [(&str, &str, &str); 11] = [
    ("openai_chat", "OPENAI_BASE_URL", "https://api.openai.com/v1/chat/completions"),
    ("openai_responses", "OPENAI_BASE_URL", "https://api.openai.com/v1/responses"),
    ("langchain_chat", "OPENAI_API_BASE", "https://api.openai.com/v1/chat/completions"),
    ("litellm_chat", "OPENAI_BASE_URL", "https://api.openai.com/v1/chat/completions"),
    ("litellm_anthropic", "ANTHROPIC_BASE_URL", "https://api.anthropic.com/v1/messages"),
    ("anthropic_messages", "ANTHROPIC_BASE_URL", "https://api.anthropic.com/v1/messages"),
    ("google_genai", "GOOGLE_GEMINI_BASE_URL", "https://generativelanguage.googleapis.com/v1/models/gemini-2.5-flash:generateContent"),
    ("cohere_v1", "CO_API_URL", "https://api.cohere.com/v1/chat"),
    ("cohere_v2", "CO_API_URL", "https://api.cohere.com/v2/chat"),
    ("node_openai", "OPENAI_BASE_URL", "https://api.openai.com/v1/chat/completions"),
    ("node_anthropic", "ANTHROPIC_BASE_URL", "https://api.anthropic.com/v1/messages"),
];

fn command(name: &str) -> Vec<String> {
    if name != "anthropic_bedrock" {
        return Client::named(name).command(false, name);
    }
    let python = client::installed("python-direct").join("bin/python");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("sdk/python/anthropic_bedrock.py");
    [python, script].map(|path| path.display().to_string()).into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_sdk_calls_its_provider_by_its_variable() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let origin = Origin::start(Options::default()).await.expect("an origin starts on a free port");
    let ca = folder.path().join("origin-ca.pem");
    std::fs::write(&ca, origin.ca_pem()).expect("the temporary folder can be written");
    let sidecar = Sidecar::start(Config {
        upstreams: HOSTS.iter().chain([&BEDROCK]).map(|host| format!("{host}={}", origin.url()).parse().expect("a good rule")).collect(),
        upstream_ca: vec![ca],
        upstream_proxy: false,
        journal: Some(folder.path().join("calls.db")),
        ..Config::default()
    });
    let sidecar = sidecar.expect("the proxy starts");
    let session = sidecar.open(Session::default()).await.expect("a session opens on a free port");
    assert_eq!(session.address().ip(), IpAddr::from([127, 0, 0, 1]));
    let mut variables = base_url_variables(HOSTS, session.address());
    variables.extend(bedrock_base_url_variables(BEDROCK, session.address()));

    let bedrock_url = format!("https://{BEDROCK}/model/anthropic.claude-3-5-haiku-20241022-v1:0/invoke");
    let bedrock = ("anthropic_bedrock", "ANTHROPIC_BEDROCK_BASE_URL", bedrock_url.as_str());
    let mut running = Vec::new();
    for (name, variable, _) in CLIENTS.iter().chain([&bedrock]) {
        let command = command(name);
        let mut client = Command::new(&command[0]);
        client.args(&command[1..]).env_clear().envs(KEYS.iter().copied().filter(|(key, _)| !key.starts_with("AWS_"))).kill_on_drop(true);
        client.envs(["PATH", "HOME"].map(|name| (name, std::env::var_os(name).unwrap_or_default())));
        client.env("LITELLM_LOCAL_MODEL_COST_MAP", "True").env("AWS_BEARER_TOKEN_BEDROCK", "bedrock-not-a-real-token");
        let (_, url) = variables.iter().find(|(known, _)| known == variable).unwrap_or_else(|| panic!("{variable} is not set"));
        client.env(variable, url);
        running.push((name, tokio::spawn(client.output())));
    }
    for (name, output) in running {
        let output = output.await.expect("it does not panic").unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(output.status.success(), "{name}: {}", told(&output));
    }
    session.close(Duration::from_secs(10)).await;
    sidecar.stop(Duration::from_secs(10)).await;
    let records = Reader::open(&folder.path().join("calls.db")).expect("the journal opens").calls(&Filter::default());
    let records = records.expect("the journal is readable");
    let mut seen: Vec<_> =
        records.iter().map(|record| (record.request_url.as_str(), record.capture.as_str(), record.outcome.as_str())).collect();
    let mut expected: Vec<_> = CLIENTS.iter().chain([&bedrock]).map(|(.., url)| (*url, "base-url", "complete")).collect();
    seen.sort_unstable();
    expected.sort_unstable();
    assert_eq!(seen, expected);
}
