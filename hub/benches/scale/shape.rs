//! The run that is played: how many combos and datapoints, who of them is right, and what its trials call.

use std::fmt;

use agentrun_llm::call::{CallId, CallRecord, Capture, Outcome};
use agentrun_llm::usage::Usage;
use agentrun_protocol::run::CHUNK;
use anyhow::{Result, ensure};
use jiff::Timestamp;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::settings::Settings;

/// The run's name.
pub(crate) const RUN: &str = "scale";
/// The namespace it is in.
pub(crate) const NAMESPACE: &str = "agentrun-scale";
/// Calls of a trial.
pub(crate) const CALLS: u64 = 2;
/// The ConfigMap with its datapoints.
pub(crate) const DATASET: &str = "datapoints";
/// Spreads a combo's mistakes over its datapoints.
const SPREAD: u64 = 7919;

/// A run of `combos` times `cells` trials.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Combos. The later one is, the better.
    pub(crate) combos: u64,
    /// Trials of each, which is also how many datapoints there are.
    pub(crate) cells: u64,
    /// So many combos, the first, have pods; the others' Jobs are written.
    pub(crate) with_pods: u64,
    parallelism: u64,
}

/// Which trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Cell {
    /// The combo's index.
    pub(crate) combo: u64,
    /// The chunk's.
    pub(crate) chunk: u64,
    /// The completion index.
    pub(crate) index: u64,
}

impl Shape {
    /// The shape that was asked for.
    ///
    /// # Errors
    /// The numbers do not divide, or the combos could not be told apart.
    pub(crate) fn new(settings: &Settings) -> Result<Self> {
        let Settings { trials, pods, combos, parallelism, .. } = *settings;
        ensure!(combos > 0 && trials.is_multiple_of(combos), "--trials must be a multiple of --combos");
        let cells = trials / combos;
        ensure!(
            pods <= trials && pods.is_multiple_of(cells),
            "--pods must be a multiple of the {cells} trials of a combo, and no more than --trials"
        );
        ensure!(cells * 8 / 10 / combos > 0, "--trials must be at least 1.25 times the square of --combos, so that combos differ");
        ensure!(!cells.is_multiple_of(SPREAD), "another number of trials, please: not a multiple of {SPREAD}");
        Ok(Self { combos, cells, with_pods: pods / cells, parallelism })
    }

    /// All trials.
    pub(crate) fn trials(&self) -> u64 {
        self.combos * self.cells
    }

    /// Trials that are pods.
    pub(crate) fn pods(&self) -> u64 {
        self.with_pods * self.cells
    }

    /// Datapoints that a combo is right on.
    pub(crate) fn right(&self, combo: u64) -> u64 {
        self.cells / 10 + (combo + 1) * (self.cells * 8 / 10) / self.combos
    }

    /// The datapoint of a trial.
    pub(crate) fn datapoint(&self, cell: Cell) -> u64 {
        cell.chunk * CHUNK + cell.index
    }

    /// What the trial puts out.
    pub(crate) fn output(&self, cell: Cell) -> &'static str {
        let place = (self.datapoint(cell) * SPREAD + cell.combo * 13) % self.cells;
        if place < self.right(cell.combo) { "yes" } else { "no" }
    }

    /// The models of the two roles: as square as the number of combos allows.
    fn models(&self) -> (Vec<String>, Vec<String>) {
        let planners =
            (1..=self.combos).filter(|count| self.combos.is_multiple_of(*count) && count * count <= self.combos).max().unwrap_or(1);
        let named = |role: &str, count: u64| (0..count).map(|model| format!("{role}-large-{model:02}-2026-06-01")).collect();
        (named("planner", planners), named("solver", self.combos / planners))
    }

    /// The AgentRun.
    pub(crate) fn manifest(&self) -> Value {
        let (planners, solvers) = self.models();
        let restricted = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
        json!({
            "apiVersion": "agentrun.dev/v1alpha1", "kind": "AgentRun", "metadata": {"name": RUN, "namespace": NAMESPACE},
            "spec": {
                "roles": [{"name": "planner", "models": planners}, {"name": "solver", "models": solvers}],
                "dataset": {"configMap": {"name": DATASET, "key": "data.jsonl"}},
                "template": {"spec": {
                    "automountServiceAccountToken": false,
                    "nodeSelector": {"type": "kwok"},
                    "tolerations": [{"key": "kwok.x-k8s.io/node", "operator": "Exists"}],
                    "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
                    "containers": [{
                        "name": "agent", "image": "registry.test/agent:1", "securityContext": restricted,
                        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}},
                    }],
                }},
                "scoring": {"exact": {}},
                "limits": {"parallelism": self.parallelism},
            },
        })
    }

    /// The datapoints as JSON lines.
    pub(crate) fn dataset(&self) -> String {
        (0..self.cells)
            .map(|number| format!("{}\n", json!({"id": id(number), "input": format!("question {number}"), "expected": "yes"})))
            .collect()
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { combos, cells, parallelism, .. } = self;
        write!(
            formatter,
            "{} trials: {combos} combos on {cells} datapoints, {} of them pods; {parallelism} at once, {CALLS} calls each",
            self.trials(),
            self.pods()
        )
    }
}

/// The id of a datapoint.
pub(crate) fn id(number: u64) -> String {
    format!("q{number}")
}

/// The records of a trial, as JSON lines: requests of about 1 kB, answers of 600 bytes.
///
/// # Errors
/// They cannot be written as JSON.
pub(crate) fn records(shape: &Shape, cell: Cell) -> Result<String> {
    let mut lines = String::new();
    for call in 0..CALLS {
        lines.push_str(&serde_json::to_string(&record(shape, cell, call)?)?);
        lines.push('\n');
    }
    Ok(lines)
}

fn record(shape: &Shape, cell: Cell, call: u64) -> Result<CallRecord> {
    let started = Timestamp::now();
    let number = (cell.combo * shape.cells + shape.datapoint(cell)) * CALLS + call;
    let mut random = [0; 10];
    random[..8].copy_from_slice(&number.to_le_bytes());
    let mut record = CallRecord::begin(CallId::new(started, random), started, Capture::Connect);
    (record.outcome, record.status_code, record.latency_seconds) = (Outcome::Complete, 200, 0.8);
    record.provider = Some("openai".to_owned());
    record.request_url = "https://api.openai.com/v1/chat/completions".to_owned();
    record.model = "solver-large-00-2026-06-01".to_owned();
    record.cost_usd = Some("0.0012".parse()?);
    record.saved_usd = Some("0".parse()?);
    record.set_usage(Ok(Usage { input_tokens: Some(250), output_tokens: Some(120), ..Usage::default() }));
    let text = |length: usize| "lorem ipsum dolor sit amet ".repeat(length / 27);
    let body = |value: Value| RawValue::from_string(value.to_string()).map(Some);
    let question = format!("{number}: {}", text(1000));
    record.request_body = body(json!({"model": record.model, "messages": [{"role": "user", "content": question}]}))?;
    record.response_body = body(json!({"choices": [{"message": {"role": "assistant", "content": format!("{number}: {}", text(600))}}]}))?;
    Ok(record)
}
