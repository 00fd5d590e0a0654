//! The hub's API as a reader meets it: through the API server's service proxy.

use serde_json::Value;
use tokio::process::Command;

use super::{Cluster, Namespace, SYSTEM};

impl Cluster {
    /// Asks the hub for `path` with a token; gives the status and the body.
    ///
    /// # Panics
    /// curl cannot be run or prints no status.
    pub async fn hub(&self, token: &str, method: &str, path: &str, body: &str) -> (u16, String) {
        let pki = self.state.join("pki");
        let url = format!("https://127.0.0.1:6443/api/v1/namespaces/{SYSTEM}/services/https:agentrun-hub:8443/proxy{path}");
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "30", "--request", method, "--write-out", "\n%{http_code}"]);
        curl.arg("--cacert").arg(pki.join("ca.crt")).arg("--cert").arg(pki.join("admin.crt")).arg("--key").arg(pki.join("admin.key"));
        curl.args(["--header", &format!("Agentrun-Authorization: Bearer {token}"), "--header", "Content-Type: application/json"]);
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
}
