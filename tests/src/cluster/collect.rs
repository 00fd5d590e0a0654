//! What the cluster knows of a failed test, kept for who looks into it.

use std::path::Path;

use super::{Namespace, SYSTEM};

/// Writes the state of the namespace and the logs of its pods, of the operator and of the hub to `target/cluster-logs/NAMESPACE`.
pub(super) async fn collect(space: &Namespace) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/cluster-logs").join(&space.name);
    if let Err(error) = std::fs::create_dir_all(&folder) {
        tell(&format!("cannot keep the logs of {}: {error}", space.name));
        return;
    }
    let here = ["-n", &space.name];
    let system = ["-n", SYSTEM];
    let take: &[(&str, &[&str], &[&str])] = &[
        ("agentruns.yaml", &here, &["get", "agentruns", "-o", "yaml"]),
        ("objects.txt", &here, &["get", "jobs,pods", "-o", "wide"]),
        ("objects.yaml", &here, &["get", "jobs,pods,configmaps", "-o", "yaml"]),
        ("events.txt", &here, &["get", "events", "--sort-by=.lastTimestamp"]),
        ("system.txt", &system, &["get", "pods", "-o", "wide"]),
        ("system-events.txt", &system, &["get", "events", "--sort-by=.lastTimestamp"]),
    ];
    for (file, namespace, arguments) in take {
        keep(space, &folder.join(file), &[*namespace, *arguments].concat()).await;
    }
    for (namespace, prefix) in [(here, ""), (system, "system-")] {
        let names = space.cluster.try_kubectl(&[&namespace[..], &["get", "pods", "-o", "name"]].concat()).await.unwrap_or_default();
        for pod in names.lines().take(40) {
            let file = format!("{prefix}{}.log", pod.trim_start_matches("pod/"));
            keep(space, &folder.join(file), &[&namespace[..], &["logs", pod, "--all-containers", "--prefix"]].concat()).await;
        }
    }
    tell(&format!("what the cluster knows of {} is in {}", space.name, folder.display()));
}

async fn keep(space: &Namespace, file: &Path, arguments: &[&str]) {
    let text = space.cluster.try_kubectl(arguments).await.unwrap_or_else(|error| error);
    if let Err(error) = std::fs::write(file, text) {
        tell(&format!("cannot write {}: {error}", file.display()));
    }
}

#[allow(clippy::print_stderr, reason = "a failed test tells where its logs are")]
fn tell(text: &str) {
    eprintln!("{text}");
}
