//! What an API server answers about tokens, pods and Jobs. Tokens are built like real ones; `signed` stands for a signature that holds.

use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use agentrun_hub::{
    auth::{Cluster, LookupError, Review},
    identity::{Facts, Owner},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use futures::{FutureExt, future::BoxFuture};
use serde_json::{Value, json};

/// A pod as a test describes it.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    labels: Vec<(String, String)>,
    annotations: Vec<(String, String)>,
    job: Option<Job>,
}

/// A Job that an AgentRun owns.
#[derive(Clone, Debug)]
struct Job {
    labels: Vec<(String, String)>,
    run: String,
    run_uid: String,
}

impl Job {
    fn of(run: (&str, &str), labels: &[(&str, &str)]) -> Option<Self> {
        Some(Self { labels: pairs(labels), run: run.0.into(), run_uid: run.1.into() })
    }
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

impl Pod {
    /// A pod that others made, labelled with a run.
    pub(crate) fn foreign(namespace: &str, run: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            uid: format!("uid-of-{namespace}-{name}"),
            labels: pairs(&[("agentrun.dev/run", run)]),
            annotations: Vec::new(),
            job: None,
        }
    }

    /// The pod of a trial: `index` in the first chunk's Job of `combo`.
    pub(crate) fn trial(namespace: &str, run: (&str, &str), combo: u64, index: u64) -> Self {
        let name = format!("{}-c{combo}-k0-{index}", run.0);
        Self {
            annotations: pairs(&[("batch.kubernetes.io/job-completion-index", &index.to_string())]),
            job: Job::of(run, &[("agentrun.dev/combo", &combo.to_string()), ("agentrun.dev/chunk", "0")]),
            ..Self::foreign(namespace, run.0, &name)
        }
    }

    /// A pod that scores a run's outputs.
    pub(crate) fn scoring(namespace: &str, run: (&str, &str)) -> Self {
        Self { job: Job::of(run, &[("agentrun.dev/scoring", "true")]), ..Self::foreign(namespace, run.0, "scoring") }
    }

    /// Another pod of the same name.
    pub(crate) fn with_uid(self, uid: &str) -> Self {
        Self { uid: uid.into(), ..self }
    }

    fn owner(&self) -> Option<Owner> {
        let owner =
            |name: &str| Owner { api_version: "batch/v1".into(), kind: "Job".into(), name: name.into(), uid: format!("uid-of-{name}") };
        self.job.as_ref().map(|_| owner(&format!("job-of-{}", self.name)))
    }
}

/// Knows pods and what a token says; may be away.
#[derive(Default)]
pub(crate) struct ApiServer {
    pods: Mutex<HashMap<(String, String), Pod>>,
    away: AtomicBool,
}

impl ApiServer {
    pub(crate) fn add(&self, pod: Pod) {
        self.pods.lock().unwrap().insert((pod.namespace.clone(), pod.name.clone()), pod);
    }

    pub(crate) fn go_away(&self, away: bool) {
        self.away.store(away, Ordering::Relaxed);
    }

    fn check(&self) -> Result<(), LookupError> {
        match self.away.load(Ordering::Relaxed) {
            true => Err(LookupError { what: "a token's owner", reason: "connection refused".into() }),
            false => Ok(()),
        }
    }
}

/// A token whose signature holds.
pub(crate) fn token(account: &str, pod: Option<(&str, &str)>) -> String {
    let expires = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 3600;
    sealed(&json!({"aud": ["agentrun-hub"], "exp": expires, "account": account, "pod": pod}), "signed")
}

/// A token that says `payload`.
pub(crate) fn sealed(payload: &Value, signature: &str) -> String {
    format!("e30.{}.{signature}", URL_SAFE_NO_PAD.encode(payload.to_string()))
}

impl Cluster for ApiServer {
    fn review<'a>(&'a self, token: &'a str, _: &'a str) -> BoxFuture<'a, Result<Option<Review>, LookupError>> {
        let review = || {
            self.check()?;
            let (_, payload) = token.strip_suffix(".signed").and_then(|token| token.split_once('.')).unwrap_or_default();
            let payload: Option<Value> = URL_SAFE_NO_PAD.decode(payload).ok().and_then(|json| serde_json::from_slice(&json).ok());
            Ok(payload.map(|payload| Review {
                username: format!("system:serviceaccount:{}", payload["account"].as_str().unwrap_or_default()),
                pod: serde_json::from_value(payload["pod"].clone()).unwrap_or_default(),
            }))
        };
        async move { review() }.boxed()
    }

    fn pod<'a>(&'a self, namespace: &'a str, name: &'a str) -> BoxFuture<'a, Result<Option<Facts>, LookupError>> {
        let pods = self.pods.lock().unwrap();
        let facts = pods.get(&(namespace.to_owned(), name.to_owned())).map(|pod| Facts {
            uid: pod.uid.clone(),
            labels: pod.labels.iter().cloned().collect(),
            annotations: pod.annotations.iter().cloned().collect(),
            controller: pod.owner(),
        });
        let answer = self.check().map(|()| facts);
        async move { answer }.boxed()
    }

    fn job<'a>(&'a self, namespace: &'a str, name: &'a str) -> BoxFuture<'a, Result<Option<Facts>, LookupError>> {
        let pods = self.pods.lock().unwrap();
        let of = name.strip_prefix("job-of-").unwrap_or_default();
        let job = pods.get(&(namespace.to_owned(), of.to_owned())).and_then(|pod| pod.job.clone());
        let facts = job.map(|job| Facts {
            uid: format!("uid-of-{name}"),
            labels: job.labels.into_iter().collect(),
            annotations: Default::default(),
            controller: Some(Owner {
                api_version: "agentrun.dev/v1alpha1".into(),
                kind: "AgentRun".into(),
                name: job.run,
                uid: job.run_uid,
            }),
        });
        let answer = self.check().map(|()| facts);
        async move { answer }.boxed()
    }
}
