//! How an output becomes a score.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Exactly one scorer; 0..1, higher is better.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("oneOf" = [
    {"required": ["exact"]}, {"required": ["contains"]}, {"required": ["regex"]}, {"required": ["numeric"]},
    {"required": ["json"]}, {"required": ["command"]}, {"required": ["container"]},
]))]
pub struct ScoringSpec {
    /// The output is the expected text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exact: Option<ExactSpec>,
    /// The output contains the expected text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contains: Option<ContainsSpec>,
    /// What a pattern captures is the expected text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regex: Option<RegexSpec>,
    /// The last number in the output is the expected one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numeric: Option<NumericSpec>,
    /// The value at a JSON pointer is the expected one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<JsonSpec>,
    /// A program: reads `{"id","input","expected","output","metadata"}` on stdin, prints a number from 0 to 1 or
    /// `{"score":…,"reason":…}`. Only `agentrun run` runs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), inner(length(max = 131072)))]
    pub command: Option<Vec<String>>,
    /// The same protocol, one JSON object a line, in a container of its own. Needs a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<ScoringContainer>,
}

/// Compares the whole output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExactSpec {
    /// Ignore white space around both.
    #[serde(default = "yes")]
    pub trim: bool,
    /// Ignore upper and lower case.
    #[serde(default)]
    pub ignore_case: bool,
}

fn yes() -> bool {
    true
}

/// Looks for the expected text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ContainsSpec {
    /// Ignore upper and lower case.
    #[serde(default)]
    pub ignore_case: bool,
}

/// Captures with a pattern.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RegexSpec {
    /// A pattern of Rust's `regex` crate. Its first group, or the whole match without one, is compared.
    #[schemars(length(min = 1, max = 4096))]
    pub pattern: String,
}

/// Compares numbers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NumericSpec {
    /// The greatest distance that still counts as equal.
    #[serde(default)]
    #[schemars(range(min = 0.0))]
    pub tolerance: f64,
}

/// Compares a value of a JSON output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JsonSpec {
    /// A JSON pointer such as `/answer`; empty for the whole output.
    #[serde(default)]
    #[schemars(length(max = 4096))]
    pub pointer: String,
}

/// A scoring container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScoringContainer {
    /// The image.
    #[schemars(length(min = 1, max = 4096))]
    pub image: String,
    /// The program and its arguments. An image's own entry point cannot be fed with questions.
    #[schemars(length(min = 1, max = 256), inner(length(max = 131072)))]
    pub command: Vec<String>,
}
