//! What every look at an AgentRun needs, and what is remembered between two of them. Nothing here decides: a replica without memory comes
//! to the same plans, and only asks for some things once more.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::batch::v1::Job;
use kube::Client;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::events::Recorder;
use kube::runtime::reflector::Store;
use serde_json::Value;

use crate::controller::held_up::Inquiry;
use crate::controller::plan::waiting::Waiting;
use crate::controller::plan::{Refused, Settings, Templates};
use crate::controller::removal::Removal;
use crate::diagnose::Diagnosis;
use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::objects::job::Place;
use crate::pods::FailedPods;

/// Two ways to the same API server.
#[derive(Clone)]
pub struct Clients {
    /// Gives a request up that seems to hang: for what a look waits for.
    pub prompt: Client,
    /// Waits as long as it takes: for watches, and to delete collections.
    pub patient: Client,
}

/// What every look needs.
pub struct Context {
    /// The API server.
    pub clients: Clients,
    /// The hub.
    pub hub: Hub,
    /// All Jobs that the operator made.
    pub jobs: Store<Job>,
    /// Pods that ended badly, and were not told yet.
    pub failed: Arc<FailedPods>,
    /// Makes pod templates.
    pub templates: Box<dyn Templates + Send + Sync>,
    /// How long pods may wait.
    pub settings: Settings,
    /// Publishes Events.
    pub recorder: Recorder,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// How long a deleted AgentRun waits for the hub.
    pub hub_patience: Duration,
    /// By AgentRun's uid.
    pub memory: Mutex<HashMap<String, Memory>>,
}

/// What is remembered of a run.
#[derive(Debug, Default)]
pub struct Memory {
    /// The generation that the hub was told of.
    pub registered: Option<i64>,
    /// The status as the API server took it last: the watch may not have brought it yet.
    pub status: Option<Value>,
    /// When it was written.
    pub written: Option<Instant>,
    /// How many indexes of each Job had succeeded when its pods were last collected.
    pub collected: BTreeMap<Place, u64>,
    /// Pods that are being removed.
    pub removal: Option<Removal>,
    /// When pods were last collected.
    pub collected_at: Option<Instant>,
    /// Failed pods that the hub knows of, and that are to go, by their Jobs and their own indexes in them.
    pub told: Vec<(Place, u64)>,
    /// When failed pods were last removed.
    pub removed_at: Option<Instant>,
    /// What is being asked about what holds the run up.
    pub inquiry: Option<Inquiry>,
    /// Pods that did not start when it was last asked.
    pub waiting: Vec<Waiting>,
    /// What the API server did not take when it was last asked.
    pub refused: Option<Refused>,
    /// Whether the run's namespace is being deleted.
    pub is_namespace_ending: bool,
    /// When it was last asked.
    pub asked_at: Option<Instant>,
    /// Of Jobs that lacked pods then, by their uid: how many they had made.
    pub pods_made: BTreeMap<String, u64>,
    /// When the pods of the scoring Job were last looked at, and what was wrong with them.
    pub scoring: (Option<Instant>, Option<Diagnosis>),
    /// How the dataset's source differs, and when that was last looked at.
    pub drift: Option<(Instant, Option<String>)>,
    /// Looks that failed, one after the other.
    pub failures: u32,
    /// Whether leftover pods were looked for after the run's end.
    pub swept: bool,
}

impl Context {
    /// Takes what is remembered of a run; it is to be put back. A run is looked at by one task at a time.
    pub fn take(&self, uid: &str) -> Memory {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).remove(uid).unwrap_or_default()
    }

    /// Puts it back.
    pub fn keep(&self, uid: &str, memory: Memory) {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).insert(uid.to_owned(), memory);
    }

    /// Forgets a run.
    pub fn forget(&self, uid: &str) {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    /// One more failed look at a run; how many there were in a row.
    pub fn count_failure(&self, uid: &str) -> u32 {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = &mut memory.entry(uid.to_owned()).or_default().failures;
        *failures = failures.saturating_add(1);
        *failures
    }

    /// AgentRuns of a namespace.
    pub fn runs(&self, namespace: &str) -> kube::Api<DynamicObject> {
        kube::Api::namespaced_with(self.clients.prompt.clone(), namespace, &resource())
    }
}

/// AgentRuns, for a client that does not know their type: so a bad one can be told its mistakes instead of stopping the watch.
pub fn resource() -> ApiResource {
    let (group, version) = agentrun_crds::agent_run::API_VERSION.split_once('/').expect("the resource has a group and a version");
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, agentrun_crds::agent_run::KIND), "agentruns")
}
