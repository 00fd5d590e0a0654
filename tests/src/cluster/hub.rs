//! The hub's API as a reader meets it: through the API server's service proxy.

use std::time::Duration;

use base64::Engine as _;
use serde_json::Value;
use tokio::process::Command;

use super::{Cluster, Namespace, PATIENCE, SYSTEM};

impl Cluster {
    /// Asks the hub for `path` with a token; gives the status and the body.
    ///
    /// # Panics
    /// curl cannot be run or prints no status.
    pub async fn hub(&self, token: &str, method: &str, path: &str, body: &str) -> (u16, String) {
        self.hub_with(token, method, path, &[], body).await
    }

    /// As [`Cluster::hub`], with further headers, each `NAME: VALUE`.
    ///
    /// # Panics
    /// As [`Cluster::hub`].
    pub async fn hub_with(&self, token: &str, method: &str, path: &str, headers: &[&str], body: &str) -> (u16, String) {
        let pki = self.state.join("pki");
        let url = format!("https://127.0.0.1:6443/api/v1/namespaces/{SYSTEM}/services/https:agentrun-hub:8443/proxy{path}");
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "30", "--request", method, "--write-out", "\n%{http_code}"]);
        curl.arg("--cacert").arg(pki.join("ca.crt")).arg("--cert").arg(pki.join("admin.crt")).arg("--key").arg(pki.join("admin.key"));
        curl.args(["--header", &format!("Agentrun-Authorization: Bearer {token}"), "--header", "Content-Type: application/json"]);
        for header in headers {
            curl.args(["--header", header]);
        }
        if !body.is_empty() {
            curl.args(["--data-binary", body]);
        }
        let output = curl.arg(&url).output().await.expect("curl starts");
        assert!(output.status.success(), "curl {url}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = text.rsplit_once('\n').expect("curl writes the status on a line of its own");
        (status.parse().expect("a status is a number"), body.to_owned())
    }
}

impl Cluster {
    /// Posts a gigabyte of nothing straight to the hub's Service, as a sidecar would; `chunked`: without saying how long it is. Gives the last
    /// status, 0 where the connection was closed before one came.
    ///
    /// # Panics
    /// curl cannot be run.
    pub async fn post_gigabyte(&self, token: &str, path: &str, headers: &[&str], chunked: bool) -> u16 {
        let of = |kind: &str, what: &str| ["-n", SYSTEM, "get", kind, what].map(str::to_owned);
        let read = async |object: [String; 5], field: &str| {
            let object: Vec<&str> = object.iter().map(String::as_str).collect();
            self.kubectl(&[&object[..], &["-o", &format!("jsonpath={field}")]].concat()).await
        };
        let address = read(of("service", "agentrun-hub"), "{.spec.clusterIP}").await;
        let roots = read(of("secret", "agentrun-hub-tls"), r"{.data.ca\.crt}").await;
        let roots = base64::engine::general_purpose::STANDARD.decode(roots).expect("the API server writes base64");
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        std::fs::write(folder.path().join("ca.crt"), roots).expect("the temporary folder can be written");
        let zeros = std::fs::File::create(folder.path().join("zeros")).expect("the temporary folder can be written");
        zeros.set_len(1 << 30).expect("a file may have holes");
        let host = format!("agentrun-hub.{SYSTEM}.svc");
        let mut curl = Command::new("curl");
        curl.args([
            "--silent",
            "--http1.1",
            "--max-time",
            "120",
            "--request",
            "POST",
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code}",
        ]);
        curl.arg("--cacert").arg(folder.path().join("ca.crt")).args(["--resolve", &format!("{host}:8443:{address}")]);
        curl.args(["--header", &format!("Authorization: Bearer {token}")]);
        for header in headers.iter().copied().chain(chunked.then_some("Transfer-Encoding: chunked")) {
            curl.args(["--header", header]);
        }
        curl.arg("--upload-file").arg(folder.path().join("zeros")).arg(format!("https://{host}:8443{path}"));
        let output = curl.output().await.expect("curl starts");
        String::from_utf8_lossy(&output.stdout).trim().parse().expect("curl writes a status, 000 without one")
    }

    /// The most memory that the hub's process has held, in MiB. It runs on this machine, which is the node.
    ///
    /// # Panics
    /// It does not run.
    pub async fn hub_peak_memory(&self) -> u64 {
        let id = "jsonpath={.status.containerStatuses[0].containerID}";
        let id = self.kubectl(&["-n", SYSTEM, "get", "pod", "agentrun-hub-0", "-o", id]).await;
        let id = id.trim_start_matches("containerd://").to_owned();
        let processes = std::fs::read_dir("/proc").expect("Linux has /proc").flatten().map(|entry| entry.path());
        let is_its =
            |process: &std::path::PathBuf| std::fs::read_to_string(process.join("cgroup")).is_ok_and(|groups| groups.contains(&id));
        let process = processes.into_iter().find(is_its).expect("the hub's process is in the container's control group");
        let status = std::fs::read_to_string(process.join("status")).expect("the hub runs");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a process has a peak");
        peak.trim().trim_end_matches(" kB").parse::<u64>().expect("it is a number") >> 10
    }
}

impl Namespace {
    /// A reader's token for the hub.
    ///
    /// # Panics
    /// The API server gives none.
    pub async fn reader_token(&self) -> String {
        self.kubectl(&["create", "token", "default", "--audience", "agentrun-hub"]).await.trim().to_owned()
    }

    /// All items of a list of a run: `calls`, `trials` or `results`.
    ///
    /// # Panics
    /// The hub refuses.
    pub async fn run_items(&self, run: &str, list: &str) -> Vec<Value> {
        let token = self.reader_token().await;
        let mut items = Vec::new();
        let mut cursor = String::new();
        loop {
            let path = format!("/v1/runs/{}/{run}/{list}?limit=500{cursor}", self.name);
            let (status, body) = self.cluster.hub(&token, "GET", &path, "").await;
            assert_eq!(status, 200, "{path}: {body}");
            let page: Value = serde_json::from_str(&body).expect("the hub answers in JSON");
            items.extend(page["items"].as_array().cloned().unwrap_or_default());
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return items,
            }
        }
    }

    /// Waits until the hub has so many of a run's calls: their answers were stored before.
    ///
    /// # Panics
    /// It has not within minutes.
    pub async fn calls_are_recorded(&self, run: &str, calls: usize) {
        // The hub does not know it before.
        self.until(&format!("agentrun/{run}"), "begun", |run| run["status"]["dataset"].is_object()).await;
        let recorded = async {
            while self.run_items(run, "calls").await.len() < calls {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(PATIENCE), recorded).await;
        ended.unwrap_or_else(|_| panic!("{run} has not made {calls} calls within {PATIENCE} s"));
    }
}
