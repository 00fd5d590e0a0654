//! Commands against the cluster, and waits for what happens in it.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

use super::{Cluster, PATIENCE};

impl Cluster {
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.program(program));
        command.env("KUBECONFIG", self.kubeconfig()).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// What kubectl prints, or what it complains of.
    ///
    /// # Errors
    /// kubectl's own words.
    pub async fn try_kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        self.fed("kubectl", arguments, "").await
    }

    /// As [`Cluster::try_kubectl`], with `input` on standard input, for `-f -`.
    ///
    /// # Errors
    /// kubectl's own words.
    pub async fn try_kubectl_with(&self, arguments: &[&str], input: &Value) -> Result<String, String> {
        self.fed("kubectl", arguments, &input.to_string()).await
    }

    /// What kubectl prints.
    ///
    /// # Panics
    /// kubectl fails.
    pub async fn kubectl(&self, arguments: &[&str]) -> String {
        self.try_kubectl(arguments).await.unwrap_or_else(|error| panic!("kubectl {}: {error}", arguments.join(" ")))
    }

    /// What helm prints, or what it complains of.
    ///
    /// # Errors
    /// helm's own words.
    pub async fn try_helm(&self, arguments: &[&str]) -> Result<String, String> {
        self.fed("helm", arguments, "").await
    }

    /// A verb of `tests/cluster/cluster`, as `kill NAME`.
    ///
    /// # Panics
    /// It fails.
    pub async fn rig(&self, arguments: &[&str]) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/cluster/cluster");
        let output = Command::new(script).args(arguments).stdin(Stdio::null()).output().await.expect("bash starts");
        assert!(output.status.success(), "cluster {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    }

    async fn fed(&self, program: &str, arguments: &[&str], input: &str) -> Result<String, String> {
        let mut child = self
            .command(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {program}: {error}"))?;
        let mut stdin = child.stdin.take().expect("standard input is piped");
        // A command that needs no input may have ended already.
        stdin.write_all(input.as_bytes()).await.ok();
        drop(stdin);
        let output = child.wait_with_output().await.map_err(|error| format!("cannot wait for {program}: {error}"))?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
        }
    }

    /// Watches one object (`kind/name`) until `is_so` holds of it, and gives it as it is then.
    ///
    /// # Panics
    /// It does not become so in time; the message has the object's last state.
    pub async fn until(&self, namespace: &str, object: &str, what: &str, is_so: impl FnMut(&Value) -> bool) -> Value {
        self.within(PATIENCE, namespace, object, what, is_so).await
    }

    /// [`Cluster::until`], with so many seconds for it.
    pub(super) async fn within(
        &self,
        seconds: u64,
        namespace: &str,
        object: &str,
        what: &str,
        mut is_so: impl FnMut(&Value) -> bool,
    ) -> Value {
        let mut last = Value::Null;
        let watching = async {
            loop {
                // A watch ends with the API server that serves it, and is begun anew now and then, lest one that has died unseen is waited for.
                let arguments = ["-n", namespace, "get", object, "--watch", "--request-timeout=20s", "-o", "jsonpath={@}{\"\\n\"}"];
                let mut child =
                    self.command("kubectl").args(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("kubectl starts");
                let mut lines = BufReader::new(child.stdout.take().expect("standard output is piped")).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    last = serde_json::from_str(&line).unwrap_or_default();
                    if is_so(&last) {
                        return;
                    }
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(seconds), watching).await;
        assert!(ended.is_ok(), "{object} in {namespace} is not {what} after {seconds} s: {last:#}");
        last
    }
}
