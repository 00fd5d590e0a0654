//! The server: what it takes, what it answers, and over which certificate.

use ::http::StatusCode;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use crate::certificates::Mode;
use crate::testing::answering;

fn webhook(table: Vec<(&'static str, u16, Value)>) -> (Arc<Webhook>, Registry) {
    let client = answering(table);
    let mut registry = Registry::default();
    let certificates = Certificates::new(crate::certificates::Settings::new("agentrun-system", Mode::Auto));
    let hub_ca = watch::Sender::new("PEM".to_owned()).subscribe();
    let settings = Settings { installation: installation(), hub_ca, shared_cache_namespaces: Vec::new() };
    (Webhook::new(client, settings, &mut registry, &certificates), registry)
}

async fn serving(webhook: Arc<Webhook>) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, webhook.router()).await });
    address
}

async fn post_bytes(address: SocketAddr, path: &str, body: &[u8]) -> (StatusCode, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    // A server that has seen enough may close before it has read everything.
    let _ = stream.write_all(body).await;
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text).await;
    let text = String::from_utf8(text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text:?}"));
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

async fn ask(address: SocketAddr, path: &str, review: &Value) -> Value {
    let (status, body) = post_bytes(address, path, review.to_string().as_bytes()).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(answer["response"]["uid"], review["request"]["uid"]);
    answer["response"].clone()
}

fn labelled() -> Value {
    json!({"metadata": {"labels": {"agentrun.dev/run": "math"}}, "spec": {"containers": [{"name": "agent", "image": "a"}]}})
}

fn text(registry: &Registry) -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
    text
}

const RUN: &str = "/apis/agentrun.dev/v1alpha1/namespaces/evals/agentruns/math";

#[tokio::test]
async fn a_pod_gets_its_patch_with_the_settings_of_its_run() {
    let mut run = agent_run();
    run["spec"]["capture"] = json!(["BaseUrl"]);
    run["metadata"] = json!({"name": "math", "namespace": "evals"});
    let (webhook, registry) = webhook(vec![(RUN, 200, run)]);
    let address = serving(webhook).await;
    let answer = ask(address, "/mutate/pods", &review("Pod", labelled())).await;
    assert_eq!((&answer["allowed"], &answer["patchType"]), (&json!(true), &json!("JSONPatch")));
    let patch = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, answer["patch"].as_str().unwrap()).unwrap();
    let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
    let mut pod = labelled();
    json_patch::patch(&mut pod, &patch).unwrap();
    assert_eq!(pod["spec"]["initContainers"][0]["args"], json!(["pod", "--capture=base-url", "--spool=160"]));
    assert_eq!(pod["spec"]["initContainers"][0]["env"][1], json!({"name": "AGENTRUN_HUB_CA", "value": "PEM"}));
    assert_eq!(answer["auditAnnotations"], json!({"outcome": "injected", "layers": "base-url"}));
    let text = text(&registry);
    assert!(text.contains("admission_injected_total 1"), "{text}");
    assert!(text.contains("admission_requests_total{webhook=\"pods\",verdict=\"admitted\"} 1"), "{text}");
}

#[tokio::test]
async fn dry_runs_are_answered_and_not_counted() {
    let (webhook, registry) = webhook(Vec::new());
    let address = serving(webhook).await;
    let mut question = review("Pod", labelled());
    question["request"]["dryRun"] = json!(true);
    assert!(ask(address, "/mutate/pods", &question).await["patch"].is_string());
    let before = text(&registry);
    assert!(before.contains("admission_injected_total 0") && !before.contains("verdict="), "{before}");
    let mut on_host = labelled();
    on_host["spec"]["hostNetwork"] = json!(true);
    let answer = ask(address, "/mutate/pods", &review("Pod", on_host)).await;
    assert_eq!(answer["allowed"], true);
    assert!(answer["warnings"][0].as_str().unwrap().starts_with("not tracked, HostNetwork: "), "{answer}");
    assert!(text(&registry).contains("admission_skipped_total{reason=\"HostNetwork\"} 1"));
}

#[tokio::test]
async fn each_review_is_a_span_that_says_what_became_of_it() {
    let told = crate::traces::tests::Told::begin().await;
    let address = serving(webhook(Vec::new()).0).await;
    let mut on_host = labelled();
    on_host["spec"]["hostNetwork"] = json!(true);
    ask(address, "/mutate/pods", &review("Pod", labelled())).await;
    ask(address, "/mutate/pods", &review("Pod", on_host)).await;
    let mut broken = review("AgentRun", agent_run());
    broken["request"]["object"]["spec"]["roles"] = json!("x");
    broken["request"]["dryRun"] = json!(true);
    ask(address, "/validate/agentruns", &broken).await;
    post_bytes(address, "/mutate/pods", b"{}").await;
    let spans = told.spans().await;
    let named = spans.iter().filter(|(name, ..)| name == "admission");
    let words = ["webhook", "namespace", "operation", "dry_run", "outcome", "reason"];
    let told = named.map(|(_, said, _)| words.map(|word| said.get(word).map_or("", String::as_str))).collect::<Vec<_>>();
    assert_eq!(
        told,
        [
            ["pods", "evals", "CREATE", "false", "injected", ""],
            ["pods", "evals", "CREATE", "false", "skipped", "HostNetwork"],
            ["agentruns", "evals", "CREATE", "true", "denied", ""],
            ["pods", "", "", "", "", ""],
        ]
    );
}

#[tokio::test]
async fn a_run_that_cannot_be_read_denies_its_pods_for_now() {
    let failure = json!({"kind": "Status", "code": 500, "message": "etcd", "reason": "InternalError", "status": "Failure"});
    let (webhook, _) = webhook(vec![(RUN, 500, failure)]);
    let answer = ask(serving(webhook).await, "/mutate/pods", &review("Pod", labelled())).await;
    assert_eq!((&answer["allowed"], &answer["status"]["code"]), (&json!(false), &json!(503)));
    assert!(answer["status"]["message"].as_str().unwrap().contains("try again"), "{answer}");
}

#[tokio::test]
async fn an_agent_run_is_looked_at_with_the_clusters_eyes() {
    let map =
        json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "questions"}, "data": {"q.jsonl": "{\"input\": 1}\n[]"}});
    let refusal = json!({"kind": "Status", "code": 403, "message": "pods is forbidden: violates PodSecurity"});
    let (webhook, _) =
        webhook(vec![("/api/v1/namespaces/evals/configmaps/questions", 200, map), ("/api/v1/namespaces/evals/pods", 403, refusal)]);
    let answer = ask(serving(webhook).await, "/validate/agentruns", &review("AgentRun", agent_run())).await;
    let message = answer["status"]["message"].as_str().unwrap();
    assert!(
        message.starts_with("2 mistakes:\n- spec.dataset: ConfigMap `questions`") && message.contains("violates PodSecurity"),
        "{message}"
    );

    let (webhook, _) = self::webhook(vec![("/api/v1/namespaces/evals/pods", 201, json!({"kind": "Pod"}))]);
    let address = serving(webhook).await;
    let answer = ask(address, "/validate/agentruns", &review("AgentRun", agent_run())).await;
    assert_eq!(answer["allowed"], true);
    let warnings: Vec<&str> = answer["warnings"].as_array().unwrap().iter().map(|warning| warning.as_str().unwrap()).collect();
    assert!(warnings[0].contains("there is no ConfigMap `questions`") && warnings[1] == "a trial's pod: a remark", "{warnings:?}");
    let mut broken = agent_run();
    broken["spec"]["roles"] = json!("x");
    assert_eq!(ask(address, "/validate/agentruns", &review("AgentRun", broken.clone())).await["status"]["code"], 422);
    broken["metadata"]["deletionTimestamp"] = json!("2026-11-22T10:00:00Z");
    assert_eq!(ask(address, "/validate/agentruns", &review("AgentRun", broken)).await["allowed"], true, "what goes may go");
}

#[tokio::test]
async fn what_cannot_be_read_is_no_verdict() {
    let (webhook, _) = webhook(Vec::new());
    let address = serving(webhook).await;
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for body in ["", "{", "null", "[]", "{\"kind\":\"AdmissionReview\"}", "\u{0}", nested.as_str(), &json!({"kind": "Pod"}).to_string()] {
        assert_eq!(post_bytes(address, "/mutate/pods", body.as_bytes()).await.0, StatusCode::BAD_REQUEST, "{body:.40}");
    }
    let mut without_uid = review("Pod", labelled());
    without_uid["request"]["uid"] = json!("");
    assert_eq!(post_bytes(address, "/mutate/pods", without_uid.to_string().as_bytes()).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(post_bytes(address, "/", b"{}").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_body_beyond_the_bound_is_denied_by_name() {
    let (webhook, _) = webhook(Vec::new());
    let address = serving(webhook).await;
    // The API server writes what names the request before the object.
    let beginning = r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"705ab4f5","object":{"x":""#;
    let body = [beginning.as_bytes(), &vec![b'x'; MAX_BODY][..], br#""}}}"#].concat();
    let (status, text) = post_bytes(address, "/mutate/pods", &body).await;
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &answer["response"]["uid"]), (StatusCode::OK, &json!("705ab4f5")));
    assert_eq!((&answer["response"]["allowed"], &answer["response"]["status"]["code"]), (&json!(false), &json!(413)));
    assert_eq!(post_bytes(address, "/mutate/pods", &vec![b' '; MAX_BODY + 1]).await.0, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn each_connection_gets_the_certificate_of_the_moment() {
    let resolver = Arc::new(Swapped(Mutex::new(certified("one.example"))));
    let (webhook, _) = webhook(Vec::new());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let server = tokio::spawn(webhook.serve_on(listener, resolver.clone(), stop.clone()));
    let older = resolver.root();
    let mut first = connect(address, &older, "one.example").await.unwrap();
    *resolver.0.lock().unwrap() = certified("two.example");
    connect(address, &resolver.root(), "two.example").await.unwrap();
    assert!(connect(address, &older, "one.example").await.is_err());
    // The connection from before goes on.
    first.write_all(b"POST /mutate/pods HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
    let mut text = String::new();
    let _ = first.read_to_string(&mut text).await;
    assert!(text.starts_with("HTTP/1.1 400 "), "{text}");
    stop.cancel();
    // Whoever stops it at once does so in some of these turns.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    connect(address, &resolver.root(), "two.example").await.expect("who has not heard that it ends is answered");
    server.await.unwrap().unwrap();
}

#[derive(Debug)]
struct Swapped(Mutex<(Arc<rustls::sign::CertifiedKey>, String)>);

impl Swapped {
    fn root(&self) -> String {
        self.0.lock().unwrap().1.clone()
    }
}

impl ResolvesServerCert for Swapped {
    fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<rustls::sign::CertifiedKey>> {
        Some(self.0.lock().unwrap().0.clone())
    }
}

/// A certificate that signs itself, and its text.
fn certified(name: &str) -> (Arc<rustls::sign::CertifiedKey>, String) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let chain = vec![made.cert.der().clone()];
    let certified = rustls::sign::CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).unwrap();
    (Arc::new(certified), made.cert.pem())
}

async fn connect(address: SocketAddr, root: &str, name: &'static str) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(root.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS12]).unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let stream = TcpStream::connect(address).await?;
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(name).unwrap(), stream).await
}
