//! The resource itself. Field names are the wire names in camel case; the documentation comments are the schema's.

use agentrun_protocol::routing::Policy;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::agent::AgentSpec;
use crate::dataset::DatasetSpec;
use crate::network::{CacheSpec, CaptureMode, ProviderSpec, TrustSpec, UpstreamSpec};
use crate::pod_template::PodTemplate;
use crate::scoring::ScoringSpec;
use crate::status::AgentRunStatus;

/// The resource's `apiVersion`.
pub const API_VERSION: &str = "agentrun.dev/v1alpha1";
/// The resource's `kind`.
pub const KIND: &str = "AgentRun";

/// A batch evaluation of an agent: every combination of models on every datapoint, scored and ranked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentRun {
    /// Always `agentrun.dev/v1alpha1`.
    #[schemars(extend("enum" = [API_VERSION]))]
    pub api_version: String,
    /// Always `AgentRun`.
    #[schemars(extend("enum" = [KIND]))]
    pub kind: String,
    /// The object's name, labels and annotations.
    pub metadata: Metadata,
    /// What is to be evaluated.
    pub spec: AgentRunSpec,
    /// What came out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<AgentRunStatus>,
}

/// Kubernetes' ObjectMeta. What only a cluster writes is kept as it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    /// The run's name. It names the run in records and results, and labels its pods, hence at most 63 characters.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"))]
    #[schemars(extend("x-rule" = "lower-case letters, digits, `-` and `.`, beginning and ending with a letter or digit"))]
    pub name: String,
    /// The namespace; `agentrun run` has none and ignores it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    #[schemars(extend("x-rule" = "lower-case letters, digits and `-`, beginning and ending with a letter or digit"))]
    pub namespace: Option<String>,
    /// Labels.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub labels: IndexMap<String, String>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub annotations: IndexMap<String, String>,
    /// Counts the changes of the spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// Written by the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Written by the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<String>,
    /// Written by the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creation_timestamp: Option<String>,
    /// Written by the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_timestamp: Option<String>,
    /// Written by the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_grace_period_seconds: Option<i64>,
    /// Written by controllers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finalizers: Option<Vec<String>>,
    /// Written by controllers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner_references: Option<Vec<Value>>,
    /// Written by the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed_fields: Option<Vec<Value>>,
}

/// What is to be evaluated, how a trial runs, what comes out, how calls are seen and paid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentRunSpec {
    /// The places in the agent that take a model. Their product is the grid of combos, in this order, last role fastest.
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub roles: Vec<Role>,
    /// These combos instead of the product.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10000))]
    pub combos: Vec<ComboSpec>,
    /// What the agent is asked.
    pub dataset: DatasetSpec,
    /// Repeats of each combo on each datapoint. Repeat k has its own cache entries.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 100))]
    pub samples: i32,
    /// How the agent is handed its input and its output is taken.
    #[serde(default)]
    pub agent: AgentSpec,
    /// The agent's pod: a PodTemplateSpec, kept as written.
    pub template: PodTemplate,
    /// How an output becomes a score from 0 to 1.
    pub scoring: ScoringSpec,
    /// What the ranking weighs beside the score.
    #[serde(default)]
    pub objective: ObjectiveSpec,
    /// How trials are chosen.
    #[serde(default)]
    pub selection: SelectionSpec,
    /// Bounds on what runs at once and again.
    #[serde(default)]
    pub limits: LimitsSpec,
    /// How answers are stored and reused.
    #[serde(default)]
    pub cache: CacheSpec,
    /// Chooses the models of calls, after `replaces`: exactly one of the kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing: Option<Policy>,
    /// How calls reach the sidecar.
    #[serde(default = "connect_alone")]
    #[schemars(length(min = 1, max = 3), extend("x-kubernetes-list-type" = "set"))]
    pub capture: Vec<CaptureMode>,
    /// LLM hosts beyond the built-in table.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub providers: Vec<ProviderSpec>,
    /// Where a host is really answered: a gateway, a self-hosted server, a test.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["host"]))]
    pub upstreams: Vec<UpstreamSpec>,
    /// Extra trusted roots, for the sidecar's upstream and for the agent's bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<TrustSpec>,
    /// True: nothing starts and running trials stop. False again: the run goes on where it was.
    #[serde(default)]
    pub suspend: bool,
}

/// A named place in the agent that takes a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Role {
    /// The agent learns this role's model from `AGENTRUN_MODEL_<NAME>`.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    #[schemars(extend("x-rule" = "lower-case letters, digits and `-`, beginning and ending with a letter or digit"))]
    pub name: String,
    /// The models to try.
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 256), regex(pattern = r"^\S(.*\S)?$")))]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub models: Vec<String>,
    /// For an agent that cannot be told its model: a call that asks for one of these is sent with the combo's model instead.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)), extend("x-kubernetes-list-type" = "set"))]
    pub replaces: Vec<String>,
}

impl Role {
    /// The environment variable that tells the agent this role's model, as in `AGENTRUN_MODEL_PLANNER`.
    pub fn env_name(&self) -> String {
        format!("AGENTRUN_MODEL_{}", self.name.to_uppercase().replace('-', "_"))
    }
}

/// One combo of an explicit list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ComboSpec {
    /// Names the combo in records and results. The default is `planner=gpt-4.1-mini + solver=gpt-4.1-nano`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[^\x00-\x1f\x7f]+$"), extend("x-rule" = "printable text"))]
    pub id: Option<String>,
    /// One model for each role.
    #[schemars(extend("maxProperties" = 16, "additionalProperties" = {"type": "string", "minLength": 1, "maxLength": 256}))]
    pub models: IndexMap<String, String>,
}

/// What the ranking weighs beside the score. Without weights the order is score, then latency, then cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObjectiveSpec {
    /// Taken off a trial's score at the run's greatest latency, and in proportion below.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1_000_000.0))]
    pub latency_weight: f64,
    /// The same for cost.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1_000_000.0))]
    pub cost_weight: f64,
}

/// How trials are chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SelectionSpec {
    /// `BruteForce`: every combo on every datapoint.
    #[serde(default)]
    pub method: SelectionMethod,
}

/// A method of selection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("type" = "string", "enum" = ["BruteForce"]), inline)]
pub enum SelectionMethod {
    /// Every combo on every datapoint.
    #[default]
    BruteForce,
}

/// Bounds on what runs at once and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LimitsSpec {
    /// Trials at once.
    #[serde(default = "eight")]
    #[schemars(range(min = 1, max = 10000))]
    pub parallelism: i32,
    /// How often a trial is tried again after an infrastructure failure. An agent's own exit code is a result.
    #[serde(default = "two")]
    #[schemars(range(min = 0, max = 10))]
    pub retries: i32,
}

impl Default for LimitsSpec {
    fn default() -> Self {
        Self { parallelism: eight(), retries: two() }
    }
}

fn one() -> i32 {
    1
}

fn two() -> i32 {
    2
}

fn eight() -> i32 {
    8
}

fn connect_alone() -> Vec<CaptureMode> {
    vec![CaptureMode::Connect]
}
