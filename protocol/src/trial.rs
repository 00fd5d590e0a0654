//! Between a pod's sidecar and the hub. Who the pod is, the hub takes from its token and from the API server, never from a message.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::routing::Policy;

/// Header of a batch of records: the sequence number of its first line, decimal. Numbers count a pod's records from 1, without gaps; a
/// batch that was sent before is acknowledged again and stored once. A batch that leaves records out is refused (409); one without lines that
/// begins with 1 leaves none out, and asks how far they are stored.
pub const FIRST_SEQUENCE_HEADER: &str = "agentrun-first-sequence";

/// The most bytes of a batch of records. A longer one is refused (413) without being read.
pub const BATCH_BYTES: usize = 8 << 20;

/// What a pod is to do: the answer to `GET /v1/trial`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Assignment {
    /// The run's name.
    pub run: String,
    /// The run's namespace.
    pub namespace: String,
    /// The datapoint, where the pod has one.
    #[serde(default)]
    pub data_id: Option<String>,
    /// The combo, where the pod has one.
    #[serde(default)]
    pub combo_id: Option<String>,
    /// The agent, where the pod names one.
    #[serde(default)]
    pub agent_id: Option<String>,
    /// The how-manieth repeat, from 0.
    #[serde(default)]
    pub sample: u32,
    /// The how-manieth attempt at the trial, from 0.
    #[serde(default)]
    pub attempt: u32,
    /// Role to model.
    #[serde(default)]
    pub models: IndexMap<String, String>,
    /// `(asked, sent)`: a call that asks for the first model is sent with the second.
    #[serde(default)]
    pub replaces: Vec<(String, String)>,
    /// What chooses the models of its calls, after `replaces`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing: Option<Policy>,
    /// The datapoint's input as the agent gets it: a JSON string's bare text, anything else as JSON. `None`: the pod is no trial of the
    /// operator's, and nothing is handed over.
    #[serde(default)]
    pub input: Option<String>,
    /// The most bytes of output that are taken.
    #[serde(default)]
    pub output_limit: u64,
    /// Who shares stored answers with whom: part of the key. Opaque; the hub keeps namespaces apart by itself.
    #[serde(default)]
    pub cache_scope: String,
    /// `ReadWrite`, `ReadOnly`, `Refresh`, `ReplayOnly` or `Off`.
    #[serde(default)]
    pub cache_mode: String,
}

/// What the sidecar leaves in the exchange volume for the wrapper, as `trial.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Handover {
    /// Variables to set for the command (`AGENTRUN_DATA_ID`, `AGENTRUN_SAMPLE`, and the input's where it comes by variable).
    pub env: IndexMap<String, String>,
}

/// The answer to a batch of records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// Every record up to this sequence number is durable.
    pub sequence: u64,
}

/// What became of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    /// It was put.
    Present,
    /// The agent left none.
    #[default]
    Missing,
    /// It is longer than the limit.
    TooLarge,
    /// It is not UTF-8.
    NotText,
}

/// The end of a trial as its sidecar sees it. It comes after the last record and the output.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// The last record's sequence number; 0 means that no call was seen.
    pub last_sequence: u64,
    /// What became of the output.
    pub output: Output,
    /// One sentence where the output is not [`Output::Present`].
    #[serde(default)]
    pub output_problem: Option<String>,
    /// The agent's exit code, where a wrapper saw it.
    #[serde(default)]
    pub exit_code: Option<i32>,
    /// Seconds from the agent's start to its end, as far as the sidecar can tell.
    #[serde(default)]
    pub wall_seconds: f64,
    /// Connections to LLM hosts whose client did not accept our certificate.
    #[serde(default)]
    pub failed_handshakes: u64,
    /// Seconds that cached calls did not take in real time: added to `wall_seconds` they give the trial's latency.
    #[serde(default)]
    pub cached_seconds: f64,
    /// Whether every call that reached an upstream failed to get any answer.
    #[serde(default)]
    pub upstream_unreachable: bool,
    /// How often the sidecar was started anew during the trial. Its certificate is another one each time, so that clients that had the
    /// earlier one fail: where this is not 0, an agent that failed is no judgement on the agent.
    #[serde(default)]
    pub restarts: u32,
}
