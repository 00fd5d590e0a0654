//! Certificates of others: a company's own in existing Secrets, cert-manager's, and back to the operator's, while pods are made.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agentrun_tests::cluster::{Authority, Cluster, Namespace, PYTHON, SYSTEM, agent_pod_spec, tls_data, with_namespace_alone};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

const JOB: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/cluster/plain-job.yaml");
const AUTO: [&str; 1] = ["certificates.mode=auto"];

/// Asks for a labelled pod again and again, without making it, until it is told to stop. Gives how often it was asked for, and every complaint.
async fn pods_are_asked_for(space: &Namespace, stop: &AtomicBool) -> (usize, Vec<String>) {
    let manifest = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "asked", "labels": {"agentrun.dev/run": "asked"}},
        "spec": agent_pod_spec(PYTHON, &["true"])
    });
    let arguments = ["-n", &space.name, "create", "--dry-run=server", "-o", "jsonpath={.spec.initContainers[*].name}", "-f", "-"];
    let (mut asked, mut complaints) = (0, Vec::new());
    // A few times at least, however slow the machine is.
    while asked < 5 || !stop.load(Ordering::Relaxed) {
        asked += 1;
        match space.cluster.try_kubectl_with(&arguments, &manifest).await {
            Ok(names) if names == "agentrun-sidecar" => {}
            Ok(names) => complaints.push(format!("it has no sidecar but {names:?}")),
            Err(error) => complaints.push(error),
        }
        // As much as a busy cluster asks, and no more than its one node bears.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    (asked, complaints)
}

/// Gives the release other values while labelled pods are asked for: none may be refused, or be made without its sidecar.
async fn changes(space: &Namespace, values: &[&str]) {
    let replicas = ["-n", SYSTEM, "get", "pods", "-l", "app.kubernetes.io/component=operator", "-o", "name"];
    let before = space.cluster.kubectl(&replicas).await;
    let stop = AtomicBool::new(false);
    let changing = async {
        let changed = space.cluster.upgrade(values).await;
        stop.store(true, Ordering::Relaxed);
        changed
    };
    let (changed, (asked, complaints)) = tokio::join!(changing, pods_are_asked_for(space, &stop));
    changed.unwrap_or_else(|error| panic!("{values:?}: {error}"));
    assert!(complaints.is_empty(), "{values:?}: {} of {asked} failed: {}", complaints.len(), complaints.join("\n"));
    // Until the last of them has gone, pods may be told of the hub's authority of before.
    for replica in before.lines() {
        space.cluster.kubectl(&["-n", SYSTEM, "wait", replica, "--for=delete", "--timeout=180s"]).await;
    }
}

/// A labelled Job is injected, runs, and its sidecar reaches the hub.
async fn a_job_is_recorded(space: &Namespace) {
    space.kubectl(&["create", "-f", JOB]).await;
    space.kubectl(&["wait", "job/plain-job", "--for=condition=Complete", "--timeout=180s"]).await;
    let recorded = space.run_items("plain-job", "calls").await.len();
    space.kubectl(&["delete", "job", "plain-job", "--timeout=180s"]).await;
    assert!(recorded > 0, "its call was recorded");
}

/// Whether the API server calls every webhook of the configuration trusting this authority.
fn trusts(configuration: &Value, authority: &Authority) -> bool {
    let bare = |text: &str| text.replace(char::is_whitespace, "");
    let trusts = |webhook: &Value| {
        let bundle = STANDARD.decode(webhook["clientConfig"]["caBundle"].as_str().unwrap_or_default()).unwrap_or_default();
        bare(&String::from_utf8_lossy(&bundle)).contains(&bare(&authority.pem()))
    };
    configuration["webhooks"].as_array().is_some_and(|webhooks| !webhooks.is_empty() && webhooks.iter().all(trusts))
}

async fn until_trusted(cluster: &Cluster, authority: &Authority) {
    for kind in ["mutatingwebhookconfiguration", "validatingwebhookconfiguration"] {
        cluster.until(SYSTEM, &format!("{kind}/agentrun"), "trusting the authority", |object| trusts(object, authority)).await;
    }
}

#[tokio::test]
async fn a_companys_own_certificates_come_and_go_without_a_refused_pod() {
    with_namespace_alone("own-certificates", async |space| {
        let cluster = space.cluster;
        let authority = Authority::new();
        for (name, service) in [("own-webhook", "agentrun-webhook"), ("own-hub", "agentrun-hub")] {
            cluster.try_kubectl_with(&["apply", "-f", "-"], &authority.secret(name, service)).await.expect("the Secret can be made");
        }
        let own = [
            "certificates.mode=existingSecret",
            "certificates.existingSecret.webhook=own-webhook",
            "certificates.existingSecret.hub=own-hub",
        ];
        cluster
            .restoring(&AUTO, async || {
                changes(&space, &own).await;
                until_trusted(cluster, &authority).await;
                a_job_is_recorded(&space).await;
                changes(&space, &AUTO).await;
                a_job_is_recorded(&space).await;
            })
            .await;
        cluster.kubectl(&["-n", SYSTEM, "delete", "secret", "own-webhook", "own-hub"]).await;
    })
    .await;
}

/// The two kinds that the chart uses, open to any fields: the API server then takes its objects as where cert-manager is.
fn definition(kind: &str, plural: &str) -> Value {
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": format!("{plural}.cert-manager.io")},
        "spec": {
            "group": "cert-manager.io", "scope": "Namespaced", "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase()},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]
        }
    })
}

/// Does what cert-manager does for the release's Certificates: each gets its Secret, signed by the authority that its issuer has. A Secret that is
/// there keeps its type, which cannot be changed.
async fn certificates_are_issued(cluster: &Cluster, authority: &Authority) {
    let listed = cluster.kubectl(&["-n", SYSTEM, "get", "certificates.cert-manager.io", "-o", "json"]).await;
    let listed: Value = serde_json::from_str(&listed).expect("kubectl prints JSON");
    for certificate in listed["items"].as_array().into_iter().flatten() {
        let spec = &certificate["spec"];
        let data = match spec["isCA"] == true {
            true => tls_data(&authority.pem(), &authority.key_pem(), &authority.pem()),
            false => {
                assert_eq!(spec["issuerRef"], json!({"kind": "Issuer", "name": "agentrun"}));
                let names = spec["dnsNames"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
                authority.server_data(&names.collect::<Vec<_>>())
            }
        };
        let name = spec["secretName"].as_str().expect("a Certificate names its Secret");
        let patch = json!({"data": data}).to_string();
        if cluster.try_kubectl(&["-n", SYSTEM, "patch", "secret", name, "--type=merge", "-p", &patch]).await.is_err() {
            let secret = json!({
                "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": name, "namespace": SYSTEM}, "data": data
            });
            cluster.try_kubectl_with(&["create", "-f", "-"], &secret).await.expect("the Secret can be made");
        }
    }
}

#[tokio::test]
async fn cert_managers_certificates_are_used_renewed_and_left_again() {
    with_namespace_alone("cert-manager", async |space| {
        let cluster = space.cluster;
        let definitions = [definition("Issuer", "issuers"), definition("Certificate", "certificates")];
        for definition in &definitions {
            cluster.try_kubectl_with(&["apply", "-f", "-"], definition).await.expect("the definition can be made");
            let name = format!("crd/{}", definition["metadata"]["name"].as_str().expect("it has a name"));
            cluster.kubectl(&["wait", &name, "--for=condition=Established", "--timeout=180s"]).await;
        }
        let authority = Authority::new();
        cluster
            .restoring(&AUTO, async || {
                changes(&space, &["certificates.mode=certManager"]).await;
                certificates_are_issued(cluster, &authority).await;
                until_trusted(cluster, &authority).await;
                a_job_is_recorded(&space).await;
                // Renewed, while pods are asked for.
                let stop = AtomicBool::new(false);
                let renewing = async {
                    certificates_are_issued(cluster, &authority).await;
                    a_job_is_recorded(&space).await;
                    stop.store(true, Ordering::Relaxed);
                };
                let ((), (asked, complaints)) = tokio::join!(renewing, pods_are_asked_for(&space, &stop));
                assert!(complaints.is_empty(), "{} of {asked} failed: {}", complaints.len(), complaints.join("\n"));
                changes(&space, &AUTO).await;
                a_job_is_recorded(&space).await;
            })
            .await;
        for definition in &definitions {
            let name = definition["metadata"]["name"].as_str().expect("it has a name");
            cluster.kubectl(&["delete", "crd", name, "--timeout=180s"]).await;
        }
    })
    .await;
}
