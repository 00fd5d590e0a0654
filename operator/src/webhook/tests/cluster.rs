//! On a real API server: three replicas that begin at once, and a new authority while pods are made without a pause.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};

use super::*;
use crate::certificates::{self, Mode, ROTATE_ANNOTATION};

/// How long anything may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(90);

/// A namespace and webhook configurations of the test's own.
struct Stage {
    client: Client,
    name: String,
}

impl Stage {
    async fn new(port: u16) -> Self {
        let client = Client::try_default().await.expect("KUBECONFIG names a cluster");
        let name = format!("agentrun-test-{}-{port}", std::process::id());
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {
            "pod-security.kubernetes.io/enforce": "restricted"}}});
        let api: Api<Namespace> = Api::all(client.clone());
        api.create(&PostParams::default(), &serde_json::from_value(namespace).unwrap()).await.unwrap();
        let webhook = |path: &str, resource: &str, group: &str, version: &str| {
            json!([{
                "name": format!("{resource}.test.agentrun.dev"),
                "admissionReviewVersions": ["v1"],
                "clientConfig": {"url": format!("https://127.0.0.1:{port}{path}")},
                "rules": [{"operations": ["CREATE"], "apiGroups": [group], "apiVersions": [version], "resources": [resource], "scope": "Namespaced"}],
                "failurePolicy": "Fail",
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}},
                "sideEffects": "NoneOnDryRun",
                "timeoutSeconds": 5,
            }])
        };
        let configuration = |kind: &str, webhooks: Value| json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "webhooks": webhooks});
        let mutating = configuration("MutatingWebhookConfiguration", webhook("/mutate/pods", "pods", "", "v1"));
        let api: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
        api.create(&PostParams::default(), &serde_json::from_value(mutating).unwrap()).await.unwrap();
        let validating =
            configuration("ValidatingWebhookConfiguration", webhook("/validate/agentruns", "agentruns", "agentrun.dev", "v1alpha1"));
        let api: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
        api.create(&PostParams::default(), &serde_json::from_value(validating).unwrap()).await.unwrap();
        Self { client, name }
    }

    fn settings(&self) -> certificates::Settings {
        certificates::Settings {
            webhook_names: vec!["127.0.0.1".to_owned()],
            configuration: self.name.clone(),
            ..certificates::Settings::new(&self.name, Mode::Auto)
        }
    }

    async fn end(self) {
        let now = DeleteParams::default();
        Api::<MutatingWebhookConfiguration>::all(self.client.clone()).delete(&self.name, &now).await.unwrap();
        Api::<ValidatingWebhookConfiguration>::all(self.client.clone()).delete(&self.name, &now).await.unwrap();
        Api::<Namespace>::all(self.client.clone()).delete(&self.name, &now).await.unwrap();
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.name)
    }
}

fn restricted_pod() -> Pod {
    serde_json::from_value(json!({
        "metadata": {"generateName": "p-", "labels": {"agentrun.dev/run": "nothing"}, "annotations": {"agentrun.dev/capture": "Connect,Dns,BaseUrl"}},
        "spec": {
            "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "agent", "image": "registry.invalid/none:1", "securityContext": {
                "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}],
        },
    }))
    .unwrap()
}

/// Waits for the certificates of all replicas to satisfy something.
async fn until(replicas: &[Certificates], what: &str, holds: impl Fn(&Certificates) -> bool) {
    for certificates in replicas {
        let mut changes = certificates.changes();
        let waiting = async {
            while !holds(certificates) {
                changes.changed().await.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{what} did not come"));
    }
}

fn trusted(certificates: &Certificates) -> usize {
    certificates.hub_ca().borrow().matches("BEGIN CERTIFICATE").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn three_replicas_share_an_authority_and_no_pod_is_refused_while_it_changes() {
    drop(aws_lc_rs::default_provider().install_default());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stage = Stage::new(listener.local_addr().unwrap().port()).await;
    let stop = CancellationToken::new();
    let (leads, follows) = (watch::Sender::new(true), watch::Sender::new(false));
    let replicas: Vec<Certificates> = (0..3).map(|_| Certificates::new(stage.settings())).collect();
    for (index, replica) in replicas.iter().enumerate() {
        let (replica, client, stop) = (replica.clone(), stage.client.clone(), stop.clone());
        let leads = if index == 2 { leads.subscribe() } else { follows.subscribe() };
        tokio::spawn(async move { replica.run(client, leads, stop).await });
    }
    until(&replicas, "the first certificate", Certificates::is_ready).await;
    let first = replicas[0].hub_ca().borrow().clone();
    assert!(replicas.iter().all(|replica| *replica.hub_ca().borrow() == first), "one authority for all");

    // A replica that does not lead serves.
    let settings = Settings { installation: installation(), hub_ca: replicas[0].hub_ca(), shared_cache_namespaces: Vec::new() };
    let webhook = Webhook::new(stage.client.clone(), settings, &mut Registry::default(), &replicas[0]);
    tokio::spawn(webhook.serve_on(listener, replicas[0].resolver(), stop.clone()));
    let made = stage
        .pods()
        .create(&PostParams { dry_run: true, ..PostParams::default() }, &restricted_pod())
        .await
        .expect("a restricted namespace takes it");
    assert_eq!(made.spec.unwrap().init_containers.unwrap()[0].name, "agentrun-sidecar");

    let (asked, refused, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()), AtomicBool::new(false));
    let asking = async {
        while !done.load(Ordering::Relaxed) {
            asked.fetch_add(1, Ordering::Relaxed);
            if let Err(error) = stage.pods().create(&PostParams { dry_run: true, ..PostParams::default() }, &restricted_pod()).await {
                refused.lock().unwrap().push(error.to_string());
            }
        }
    };
    let rotating = async {
        let secrets: Api<Secret> = Api::namespaced(stage.client.clone(), &stage.name);
        for round in 1..=2 {
            let ends = replicas[0].ends()[1].1;
            tokio::time::sleep(Duration::from_millis(1100)).await;
            let ask = json!({"metadata": {"annotations": {ROTATE_ANNOTATION: "now"}}});
            secrets.patch("agentrun-ca", &PatchParams::default(), &Patch::Merge(ask)).await.unwrap();
            until(&replicas, "the new authority", |replica| trusted(replica) == round + 1).await;
            until(&replicas, "its certificate", |replica| replica.is_ready() && replica.ends()[1].1 > ends).await;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        done.store(true, Ordering::Relaxed);
    };
    futures::join!(asking, rotating);
    let refused = refused.into_inner().unwrap();
    assert_eq!(refused, Vec::<String>::new(), "of {} requests", asked.load(Ordering::Relaxed));
    assert!(asked.load(Ordering::Relaxed) > 100, "{asked:?}");
    stop.cancel();
    stage.end().await;
}
