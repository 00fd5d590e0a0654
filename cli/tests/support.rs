//! A folder with a manifest, and the binary to run in it.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take before a test gives up; never how long something should take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// An agent that asks two models and prints what the second says. Python's standard library obeys the proxy variables.
pub(crate) const PYTHON_AGENT: &str = r#"
import json, os, urllib.request
def ask(model, text):
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": text}]}).encode()
    request = urllib.request.Request("https://api.openai.com/v1/chat/completions", body, {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request, timeout=60))["choices"][0]["message"]["content"]
question = open(os.environ["AGENTRUN_INPUT_FILE"]).read()
plan = ask(os.environ["AGENTRUN_MODEL_PLANNER"], question)
open(os.environ["AGENTRUN_OUTPUT_FILE"], "w").write(ask(os.environ["AGENTRUN_MODEL_SOLVER"], question + plan))
"#;

/// A folder of one test.
pub(crate) struct Bench {
    folder: TempDir,
}

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// Stdout as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Bench {
    /// An empty folder.
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// A folder with a manifest of one role with these models, `count` datapoints (`q0`: 0 doubled, …), and a shell script as the agent.
    pub(crate) fn shell(script: &str, extra: &str) -> Self {
        let command = serde_json::to_string(&["/bin/sh", "-c", script]).unwrap();
        let bench = Self::new();
        bench.write("agentrun.yaml", &manifest(&command, extra));
        bench.write("dataset.jsonl", &dataset(2));
        bench.write("simulation.yaml", "models: {'*': {accuracy: 1}}\n");
        bench
    }

    /// A folder with two roles of two models each, `count` datapoints and an agent in Python.
    pub(crate) fn python(count: usize) -> Self {
        let bench = Self::new();
        let roles =
            "  roles:\n    - {name: planner, models: [gpt-4.1, gpt-4.1-mini]}\n    - {name: solver, models: [gpt-4.1, gpt-4.1-mini]}\n";
        bench.write("agentrun.yaml", &manifest(r#"["python3", "agent.py"]"#, "").replace(ONE_ROLE, roles));
        bench.write("agent.py", PYTHON_AGENT);
        bench.write("dataset.jsonl", &dataset(count));
        bench.write("simulation.yaml", "seed: 1\nmodels:\n  gpt-4.1: {accuracy: 1}\n  gpt-4.1-mini: {accuracy: 0.5}\n");
        bench
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn replace(&self, name: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path(name)).unwrap();
        assert!(text.contains(from), "{name} lacks {from}");
        self.write(name, &text.replace(from, to));
    }

    /// The binary, in this folder.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = binary();
        command.args(arguments).current_dir(self.folder.path()).env_remove("AGENTRUN_STATE").env_remove("RUST_LOG");
        command.stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments).output().unwrap())
    }

    /// `run -f agentrun.yaml --simulate` with more arguments.
    pub(crate) fn simulate(&self, more: &[&str]) -> Ran {
        self.run(&[&["run", "-f", "agentrun.yaml", "--simulate"], more].concat())
    }

    /// The same, started.
    pub(crate) fn start(&self, more: &[&str]) -> Child {
        let arguments = [&["run", "-f", "agentrun.yaml", "--simulate"], more].concat();
        self.command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// The status of the run, from `get`.
    pub(crate) fn status(&self) -> Value {
        self.run(&["get", "test", "-o", "json"]).json()["status"].clone()
    }
}

/// What a started command came to.
pub(crate) fn wait(child: Child) -> Ran {
    Ran::of(child.wait_with_output().unwrap())
}

pub(crate) fn binary() -> Command {
    Command::new(env!("CARGO_BIN_EXE_agentrun"))
}

/// Waits until `condition` holds.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "{what} never came true");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Appends a line to a file.
pub(crate) fn append(path: &Path, line: &str) {
    let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    writeln!(file, "{line}").unwrap();
}

const ONE_ROLE: &str = "  roles:\n    - {name: solver, models: [gpt-4.1]}\n";

fn manifest(command: &str, extra: &str) -> String {
    format!(
        "apiVersion: agentrun.dev/v1alpha1
kind: AgentRun
metadata: {{name: test}}
spec:
{ONE_ROLE}  dataset: {{file: dataset.jsonl}}
  template: {{spec: {{containers: [{{name: agent, command: {command}}}]}}}}
  scoring: {{numeric: {{}}}}
{extra}"
    )
}

fn dataset(count: usize) -> String {
    (0..count).map(|index| format!("{{\"id\": \"q{index}\", \"input\": \"double {index}\", \"expected\": {}}}\n", 2 * index)).collect()
}
