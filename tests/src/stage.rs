//! A stage: one folder, one origin, and the `agentrun` program between a client and the origin.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::origin::{Options, Origin};

/// Credentials that look as the SDKs want them and are none; a test finds them nowhere in what is stored.
pub const KEYS: &[(&str, &str)] = &[
    ("OPENAI_API_KEY", "sk-test-not-a-real-key"),
    ("ANTHROPIC_API_KEY", "sk-ant-not-a-real-key"),
    ("GEMINI_API_KEY", "AIza-not-a-real-key"),
    ("MISTRAL_API_KEY", "mistral-not-a-real-key"),
    ("CO_API_KEY", "cohere-not-a-real-key"),
    ("AWS_ACCESS_KEY_ID", "AKIA-not-a-real-key"),
    ("AWS_SECRET_ACCESS_KEY", "aws-not-a-real-secret"),
];

/// What every test of the whole system starts from. The folder goes when the stage is dropped.
pub struct Stage {
    folder: TempDir,
    origin: Option<Origin>,
    upstreams: Vec<String>,
}

impl Stage {
    /// An origin that answers for `hosts`, and an empty state folder.
    ///
    /// # Panics
    /// The origin or the folder cannot be made: the machine is at fault, no test can go on.
    pub async fn new(hosts: &[&str]) -> Self {
        Self::with(hosts, Options::default()).await
    }

    /// As [`Stage::new`], with an origin of its own kind.
    ///
    /// # Panics
    /// As [`Stage::new`].
    pub async fn with(hosts: &[&str], options: Options) -> Self {
        let folder = tempfile::Builder::new().prefix("agentrun-test-").tempdir().expect("a temporary folder can be made");
        let origin = Origin::start(options).await.expect("an origin starts on a free port");
        std::fs::write(folder.path().join("origin-ca.pem"), origin.ca_pem()).expect("the temporary folder can be written");
        let upstreams = hosts.iter().map(|host| format!("{host}={}", origin.url())).collect();
        Self { folder, origin: Some(origin), upstreams }
    }

    /// The origin.
    ///
    /// # Panics
    /// It has been switched off.
    pub fn origin(&self) -> &Origin {
        self.origin.as_ref().expect("the test has not switched the origin off")
    }

    /// Closes the origin: its port refuses from here on.
    pub async fn switch_origin_off(&mut self) {
        if let Some(origin) = self.origin.take() {
            origin.stop().await;
        }
    }

    /// The stage's own folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `--upstream` and `--upstream-ca` for the origin.
    pub fn upstream_arguments(&self) -> Vec<String> {
        let mut arguments: Vec<String> = self.upstreams.iter().flat_map(|rule| ["--upstream".to_owned(), rule.clone()]).collect();
        arguments.extend(["--upstream-ca".to_owned(), self.folder().join("origin-ca.pem").display().to_string()]);
        arguments
    }

    /// `agentrun` with the stage's state folder, in a clean environment: what the machine says about proxies and certificates is left out.
    pub fn agentrun(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(agentrun_binary());
        command.env_clear().envs(KEYS.iter().copied()).envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        // litellm would fetch a price list from the network when it is imported; pyenv and go keep their settings at home.
        command.env("LITELLM_LOCAL_MODEL_COST_MAP", "True").envs(std::env::var_os("HOME").map(|home| ("HOME", home)));
        command.args(["--state", &self.folder().join("state").display().to_string()]).args(arguments);
        command.current_dir(self.folder()).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// `agentrun exec` for one command, with the origin as upstream. `options` come before the command.
    pub fn exec(&self, options: &[&str], command: &[String]) -> Command {
        let upstream = self.upstream_arguments();
        let mut arguments = vec!["exec"];
        arguments.extend(options);
        arguments.extend(upstream.iter().map(String::as_str));
        arguments.push("--");
        arguments.extend(command.iter().map(String::as_str));
        self.agentrun(&arguments)
    }

    /// All records, oldest first, with further arguments of `agentrun calls`.
    ///
    /// # Panics
    /// `agentrun calls` fails or prints no JSON array.
    pub async fn calls(&self, arguments: &[&str]) -> Vec<Value> {
        let output = self.agentrun(&[&["calls", "-o", "json"], arguments].concat()).output().await.expect("agentrun starts");
        assert!(output.status.success(), "agentrun calls failed: {}", told(&output));
        let mut calls: Vec<Value> = serde_json::from_slice(&output.stdout).expect("agentrun calls -o json prints a JSON array");
        calls.sort_by_key(|call| call["id"].as_str().unwrap_or_default().to_owned());
        calls
    }
}

/// A failed program's own words, for an assertion's message.
pub fn told(output: &Output) -> String {
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    format!("{}\n--- stdout\n{stdout}\n--- stderr\n{stderr}", output.status)
}

/// The `agentrun` program of the build that the tests belong to. The first call builds it: cargo builds no other package's programs for a test.
///
/// # Panics
/// It cannot be built.
pub fn agentrun_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| built("agentrun", "agentrun"))
}

/// The program `name` of `package`, built.
///
/// # Panics
/// It cannot be built.
pub fn built(package: &str, name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a path");
    let profile = test.ancestors().nth(2).expect("tests lie in PROFILE/deps").to_owned();
    let mut build = std::process::Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--package", package, "--bins"]);
    if profile.ends_with("release") {
        build.arg("--release");
    }
    build.current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = build.output().expect("cargo starts");
    assert!(output.status.success(), "cannot build {name}: {}", String::from_utf8_lossy(&output.stderr));
    profile.join(name)
}
