//! A store with a run in it, and the words to work on them.

use agentrun_hub::archive::{Archive, ArchiveError, AttemptId, Claimed, Location, Place, Pod, RunId, Settings};
use agentrun_llm::{
    call::{CallId, CallRecord, Capture, Outcome},
    usage::Usage,
};
use agentrun_protocol::{
    query::{Filter, Trial},
    run::{Aggregate, JobProgress, Observation, PodFailure, Registration},
    trial::{End, Output},
};
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::server::server;

pub(crate) const NAMESPACE: &str = "team";
pub(crate) const NAME: &str = "triage";
pub(crate) const UID: &str = "2f0c1c4e-0000-4000-8000-000000000001";

/// A store.
pub(crate) struct Rig {
    pub(crate) archive: Archive,
    pub(crate) settings: Settings,
    /// The PostgreSQL database's name.
    pub(crate) database: Option<String>,
    _folder: Option<TempDir>,
}

impl Rig {
    pub(crate) async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings::new(Location::Sqlite(folder.path().join("hub.db")));
        Self::open(settings, None, Some(folder)).await
    }

    pub(crate) async fn postgres() -> Self {
        let server = tokio::task::spawn_blocking(server).await.unwrap();
        let database = server.database().await;
        Self::open(Settings::new(Location::Postgres(server.url(&database))), Some(database), None).await
    }

    pub(crate) async fn open(mut settings: Settings, database: Option<String>, folder: Option<TempDir>) -> Self {
        settings.shared_namespaces = vec![NAMESPACE.to_owned(), "friends".to_owned()];
        Self { archive: Archive::open(settings.clone()).await.unwrap(), settings, database, _folder: folder }
    }

    /// As after a restart of the hub.
    pub(crate) async fn reopen(&mut self) {
        self.archive = Archive::open(self.settings.clone()).await.unwrap();
    }

    pub(crate) async fn register(&self) -> RunId {
        self.archive.register(NAMESPACE, NAME, registration(UID)).await.unwrap()
    }

    pub(crate) async fn claim(&self, combo: u64, index: u64, pod: &str) -> Claimed {
        self.archive.claim(NAMESPACE, UID, place(combo, index), named(pod), now()).await.unwrap()
    }

    /// A pod's whole life: two calls, an output, an end of exit code 0.
    pub(crate) async fn live(&self, combo: u64, index: u64, pod: &str, output: &str) -> AttemptId {
        let attempt = self.claim(combo, index, pod).await.attempt;
        self.ingest(attempt, 1, &[call("a"), call("b")]).await.unwrap();
        self.archive.put_output(attempt, Bytes::copy_from_slice(output.as_bytes())).await.unwrap();
        self.archive.end(attempt, end(2)).await.unwrap();
        attempt
    }

    pub(crate) async fn ingest(&self, attempt: AttemptId, first: u64, records: &[CallRecord]) -> Result<u64, ArchiveError> {
        self.archive.ingest(attempt, first, lines(records)).await.map(|acknowledged| acknowledged.sequence)
    }

    pub(crate) async fn observe(&self, jobs: Vec<JobProgress>, pods: Vec<PodFailure>, later: i64) -> Aggregate {
        let observation = Observation { uid: UID.to_owned(), jobs, pods, stopped: false };
        self.archive.observe(NAMESPACE, NAME, observation, now() + SignedDuration::from_secs(later)).await.unwrap()
    }

    /// As an operator that has suspended the run, and sees none of its pods any more.
    pub(crate) async fn stopped(&self) -> Aggregate {
        let observation = Observation { uid: UID.to_owned(), stopped: true, ..Observation::default() };
        self.archive.observe(NAMESPACE, NAME, observation, now()).await.unwrap()
    }

    pub(crate) async fn aggregate(&self) -> Aggregate {
        let run = self.archive.find(NAMESPACE, NAME, None).await.unwrap();
        self.archive.aggregate(run).await.unwrap()
    }

    /// The first trial of a combo on a datapoint.
    pub(crate) async fn trial(&self, combo: &str, data_id: &str) -> Trial {
        let run = self.archive.find(NAMESPACE, NAME, None).await.unwrap();
        let filter = Filter { combo_id: Some(combo.to_owned()), data_id: Some(data_id.to_owned()), ..Filter::default() };
        self.archive.trials(run, &filter).await.unwrap().items.remove(0)
    }

    pub(crate) async fn records(&self, run: RunId, filter: &Filter) -> Vec<Value> {
        let page = self.archive.calls(run, filter).await.unwrap();
        page.items.iter().map(|record| serde_json::from_str(record.get()).unwrap()).collect()
    }
}

pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

pub(crate) fn place(combo: u64, index: u64) -> Place {
    Place { combo, chunk: 0, index }
}

pub(crate) fn named(pod: &str) -> Pod {
    Pod { uid: format!("uid-{pod}"), name: pod.to_owned() }
}

/// Two combos (`solver=m0`, `solver=m1`) on four datapoints (`q0` … `q3`), whose expected output is `yes`.
pub(crate) fn registration(uid: &str) -> Registration {
    let datapoints = (0..4).map(|index| json!({"id": format!("q{index}"), "input": format!("question {index}"), "expected": "yes"}));
    Registration { uid: uid.to_owned(), generation: 1, spec: spec(json!({"exact": {}})), datapoints: datapoints.collect() }
}

pub(crate) fn spec(scoring: Value) -> Value {
    json!({
        "roles": [{"name": "solver", "models": ["m0", "m1"]}],
        "dataset": {"items": [{"input": "unused"}]},
        "template": {"spec": {"containers": [{"name": "agent", "image": "agent"}]}},
        "scoring": scoring,
        "agent": {"timeoutSeconds": 60},
    })
}

/// A complete call of a second that cost a cent.
pub(crate) fn call(name: &str) -> CallRecord {
    let started: Timestamp = "2026-11-20T10:00:00Z".parse().unwrap();
    let mut random = [0; 10];
    name.bytes().take(10).enumerate().for_each(|(index, byte)| random[index] = byte);
    let mut record = CallRecord::begin(CallId::new(started, random), started, Capture::Connect);
    record.timestamp = started + SignedDuration::from_secs(1);
    record.latency_seconds = 1.0;
    record.outcome = Outcome::Complete;
    record.status_code = 200;
    record.model = "m0".to_owned();
    record.cost_usd = Some("0.01".parse().unwrap());
    record.saved_usd = Some("0".parse().unwrap());
    record.set_usage(Ok(Usage { input_tokens: Some(10), output_tokens: Some(5), ..Usage::default() }));
    let body = |text: String| Some(serde_json::value::RawValue::from_string(text).unwrap());
    record.request_body = body(format!("{{\"n\":1e2,\"ask\":\"{name}\"}}"));
    record.response_body = body(format!("{{\"say\":\"{name}\"}}"));
    record
}

pub(crate) fn lines(records: &[CallRecord]) -> Bytes {
    records.iter().map(|record| serde_json::to_string(record).unwrap() + "\n").collect::<String>().into()
}

/// The end of an agent that ended well after ten seconds.
pub(crate) fn end(last_sequence: u64) -> End {
    End { last_sequence, output: Output::Present, exit_code: Some(0), wall_seconds: 10.0, ..End::default() }
}

pub(crate) fn job(combo: u64, succeeded: &str, failed: &str) -> JobProgress {
    JobProgress { combo, chunk: 0, succeeded: succeeded.to_owned(), failed: failed.to_owned(), again: false }
}

pub(crate) fn failure(combo: u64, index: u64, pod: &str, reason: &str) -> PodFailure {
    let message = format!("{reason} of {pod}");
    PodFailure { pod_uid: format!("uid-{pod}"), combo, chunk: 0, index, reason: reason.to_owned(), message, exit_code: None }
}

/// Everything of an aggregate but its version, which a restart changes.
pub(crate) fn content(mut aggregate: Aggregate) -> Aggregate {
    aggregate.version = 0;
    aggregate
}
