//! The real clients: what each calls, and what its record must say.

mod table;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

pub use table::CLIENTS;

/// What runs a client's script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    /// Python with the SDKs that speak to a provider themselves.
    PythonDirect,
    /// Python with litellm and langchain.
    PythonLayered,
    /// Node 24 from npm, whose fetch honours `NODE_USE_ENV_PROXY`.
    Node,
    /// The machine's own Node, whose fetch may ignore proxies.
    MachineNode,
    /// The Go program.
    Go,
    /// curl in a shell.
    Curl,
}

/// One client.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// Its name in the tests.
    pub name: &'static str,
    /// What runs it.
    pub runtime: Runtime,
    /// The script's file name, without a folder.
    pub script: &'static str,
    /// The host it calls.
    pub host: &'static str,
    /// The record's `provider`.
    pub provider: &'static str,
    /// The record's `operation`.
    pub operation: &'static str,
    /// The model it asks for.
    pub model: &'static str,
    /// Whether it has a stream.
    pub streams: bool,
    /// Whether its answer has output tokens: embeddings and token counts have none.
    pub has_output: bool,
    /// How its calls are captured: `connect` or `base-url`.
    pub capture: &'static str,
}

impl Client {
    /// The client of this name.
    ///
    /// # Panics
    /// There is none.
    pub fn named(name: &str) -> &'static Self {
        CLIENTS.iter().find(|client| client.name == name).unwrap_or_else(|| panic!("no client is named {name}"))
    }

    /// The command that makes one call: program and arguments.
    pub fn command(&self, stream: bool, prompt: &str) -> Vec<String> {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("sdk");
        let script = |folder: &str| sources.join(folder).join(self.script).display().to_string();
        let installed = |name: &str, rest: &str| installed(name).join(rest).display().to_string();
        let mut command = match self.runtime {
            Runtime::PythonDirect => vec![installed("python-direct", "bin/python"), script("python")],
            Runtime::PythonLayered => vec![installed("python-layered", "bin/python"), script("python")],
            Runtime::Node => vec![installed("node", "node_modules/.bin/node"), installed("node", self.script)],
            Runtime::MachineNode => vec!["node".to_owned(), installed("node", self.script)],
            Runtime::Go => vec![installed("go", "client")],
            Runtime::Curl => vec![script("curl")],
        };
        command.extend(["--prompt".to_owned(), prompt.to_owned(), "--model".to_owned(), self.model.to_owned()]);
        if stream {
            command.push("--stream".to_owned());
        }
        command
    }
}

/// The folder of an installed set of clients. The first call installs what is missing.
///
/// # Panics
/// The installation fails; its own words are in the message.
pub fn installed(name: &str) -> &'static Path {
    static FOLDERS: OnceLock<BTreeMap<String, PathBuf>> = OnceLock::new();
    let folders = FOLDERS.get_or_init(|| {
        let install = Path::new(env!("CARGO_MANIFEST_DIR")).join("sdk/install");
        let output = Command::new(&install).output().unwrap_or_else(|error| panic!("cannot start {}: {error}", install.display()));
        assert!(output.status.success(), "{} failed:\n{}", install.display(), String::from_utf8_lossy(&output.stderr));
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        lines.lines().filter_map(|line| line.split_once('=')).map(|(name, path)| (name.to_owned(), path.into())).collect()
    });
    folders.get(name).unwrap_or_else(|| panic!("sdk/install names no {name}"))
}
