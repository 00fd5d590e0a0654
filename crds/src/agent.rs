//! How the agent is handed its input and its output is taken.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the agent finds its input when the manifest does not say.
pub const INPUT_FILE: &str = "/agentrun/input";
/// Where the agent leaves its output when the manifest does not say.
pub const OUTPUT_FILE: &str = "/agentrun/output";

/// How the agent is handed its input and its output is taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentSpec {
    /// Which container of the template is the agent; may be left out when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub container: Option<String>,
    /// How the agent gets the datapoint's input: a JSON string as its bare text, anything else as JSON.
    #[serde(default)]
    pub input: InputSpec,
    /// How the agent's answer is taken: UTF-8, up to 1 MiB.
    #[serde(default)]
    pub output: OutputSpec,
    /// Seconds a trial may take.
    #[serde(default = "ten_minutes")]
    #[schemars(range(min = 1, max = 86400))]
    pub timeout_seconds: i32,
}

impl Default for AgentSpec {
    fn default() -> Self {
        Self { container: None, input: InputSpec::default(), output: OutputSpec::default(), timeout_seconds: ten_minutes() }
    }
}

fn ten_minutes() -> i32 {
    600
}

/// Exactly one way to hand over the input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("oneOf" = [{"required": ["file"]}, {"required": ["stdin"]}, {"required": ["env"]}]))]
pub struct InputSpec {
    /// A file; `AGENTRUN_INPUT_FILE` names it, on one machine in the trial's own folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096), regex(pattern = r"^/[^\x00]*[^/\x00]$"), extend("x-rule" = "an absolute path of a file"))]
    pub file: Option<String>,
    /// `true`: standard input. Needs `command` on the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = [true]))]
    pub stdin: Option<bool>,
    /// An environment variable of this name, up to 128 KiB. Needs `command` on the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$"))]
    #[schemars(extend("x-rule" = "a name of letters, digits and `_` that does not begin with a digit"))]
    pub env: Option<String>,
}

impl Default for InputSpec {
    fn default() -> Self {
        Self { file: Some(INPUT_FILE.to_owned()), stdin: None, env: None }
    }
}

/// How the input is handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input<'a> {
    /// As a file at this path.
    File(&'a str),
    /// On standard input.
    Stdin,
    /// In this environment variable.
    Env(&'a str),
}

impl InputSpec {
    /// The one way that is set; the default file where none is, as for a resource that was not validated.
    pub fn way(&self) -> Input<'_> {
        match (&self.file, self.stdin, &self.env) {
            (Some(file), ..) => Input::File(file),
            (None, Some(true), _) => Input::Stdin,
            (None, _, Some(name)) => Input::Env(name),
            _ => Input::File(INPUT_FILE),
        }
    }
}

/// Exactly one way to take the output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("oneOf" = [{"required": ["file"]}, {"required": ["stdout"]}]))]
pub struct OutputSpec {
    /// A file; `AGENTRUN_OUTPUT_FILE` names it. A missing file fails the trial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096), regex(pattern = r"^/[^\x00]*[^/\x00]$"), extend("x-rule" = "an absolute path of a file"))]
    pub file: Option<String>,
    /// `true`: standard output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = [true]))]
    pub stdout: Option<bool>,
}

impl Default for OutputSpec {
    fn default() -> Self {
        Self { file: Some(OUTPUT_FILE.to_owned()), stdout: None }
    }
}

/// How the output is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output<'a> {
    /// From the file at this path.
    File(&'a str),
    /// From standard output.
    Stdout,
}

impl OutputSpec {
    /// The one way that is set; the default file where none is, as for a resource that was not validated.
    pub fn way(&self) -> Output<'_> {
        match (&self.file, self.stdout) {
            (Some(file), _) => Output::File(file),
            (None, Some(true)) => Output::Stdout,
            _ => Output::File(OUTPUT_FILE),
        }
    }
}
