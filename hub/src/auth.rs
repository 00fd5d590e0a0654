//! A bearer token becomes a [`Caller`]: the API server says whose it is, and what the pod it is bound to belongs to.
//!
//! Answers are kept in memory by the token's SHA-256; the token itself is never kept, logged or repeated.

mod claims;
mod kubernetes;
#[cfg(test)]
mod tests;

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use agentrun_protocol::names::COMBO_LABEL;
use futures::future::BoxFuture;
use quick_cache::sync::Cache;
use sha2::{Digest, Sha256};
use tokio::{sync::Semaphore, time::Instant};

use crate::identity::{Caller, Facts, IdentityError, Owner, PodIdentity, identify};

pub use kubernetes::Kubernetes;

/// Tokens whose answers are kept.
const TOKENS: usize = 65_536;
/// Pods whose identities are kept.
const PODS: usize = 65_536;
/// Jobs that are kept: all pods of one ask for it.
const JOBS: usize = 4096;
/// How long a good answer is kept at most: a pod's deletion ends its token, which is noticed so late.
const GOOD: Duration = Duration::from_secs(600);
/// A good answer is asked for again so long before the token expires.
const MARGIN: Duration = Duration::from_secs(10);
/// How long a refusal is kept.
const BAD: Duration = Duration::from_secs(30);
/// Questions to the API server at once.
const QUESTIONS: usize = 64;
/// How long a request waits for its turn to ask.
const TURN: Duration = Duration::from_secs(5);

/// What the API server says of a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Review {
    /// As in `system:serviceaccount:NAMESPACE:NAME`.
    pub username: String,
    /// The pod that the token is bound to: name and uid.
    pub pod: Option<(String, String)>,
}

/// The API server could not be asked, or forbade it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("asking the API server for {what}: {reason}")]
pub struct LookupError {
    /// What was asked for.
    pub what: &'static str,
    /// Why it failed.
    pub reason: String,
}

/// What the hub asks the API server. One implementation speaks to it ([`Kubernetes`]).
pub trait Cluster: Send + Sync + 'static {
    /// Whose token it is; `None` where it is nobody's, is not meant for the audience, or has expired.
    fn review<'a>(&'a self, token: &'a str, audience: &'a str) -> BoxFuture<'a, Result<Option<Review>, LookupError>>;
    /// A pod.
    fn pod<'a>(&'a self, namespace: &'a str, name: &'a str) -> BoxFuture<'a, Result<Option<Facts>, LookupError>>;
    /// A Job.
    fn job<'a>(&'a self, namespace: &'a str, name: &'a str) -> BoxFuture<'a, Result<Option<Facts>, LookupError>>;
}

/// Why a caller is not let in.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AuthError {
    /// There is no token.
    #[error("the request has no token: send `Authorization: Bearer TOKEN`")]
    Missing,
    /// It cannot be one, or says of itself that it is of no use here.
    #[error("the token is of no use here: {0}")]
    Useless(&'static str),
    /// The API server does not know it.
    #[error("the API server does not accept the token for audience `{0}`")]
    Rejected(String),
    /// The account is not a service account.
    #[error("the token is not a service account's")]
    NotServiceAccount,
    /// The pod is gone, or another has its name.
    #[error("pod {0}, which the token is bound to, or its Job is gone")]
    PodGone(String),
    /// The pod is nobody.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The API server could not be asked.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// Too many ask at once.
    #[error("too many new callers at once: ask again later")]
    Busy,
}

#[derive(Clone)]
struct Answer {
    caller: Result<Caller, AuthError>,
    until: Instant,
}

/// Says who callers are.
pub struct Authenticator {
    cluster: Arc<dyn Cluster>,
    audience: String,
    operator: String,
    tokens: Cache<[u8; 32], Answer>,
    pods: Cache<String, PodIdentity>,
    jobs: Cache<String, Arc<Facts>>,
    turns: Semaphore,
}

impl Authenticator {
    /// `operator` is the full name of the operator's service account, as in `system:serviceaccount:agentrun-system:agentrun-operator`.
    pub fn new(cluster: Arc<dyn Cluster>, audience: &str, operator: &str) -> Self {
        Self {
            cluster,
            audience: audience.to_owned(),
            operator: operator.to_owned(),
            tokens: Cache::new(TOKENS),
            pods: Cache::new(PODS),
            jobs: Cache::new(JOBS),
            turns: Semaphore::new(QUESTIONS),
        }
    }

    /// Who the token's bearer is.
    ///
    /// # Errors
    /// Why nobody is let in with it; see [`AuthError::Lookup`] for what may be different later.
    pub async fn caller(&self, token: &str) -> Result<Caller, AuthError> {
        let claims = claims::read(token)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        claims.check(&self.audience, now)?;
        let key: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some(answer) = self.tokens.get(&key) {
            if Instant::now() < answer.until {
                return answer.caller;
            }
            self.tokens.remove(&key);
        }
        // Equal tokens that come at once are one question.
        let room = match self.tokens.get_value_or_guard_async(&key).await {
            Ok(answer) => return answer.caller,
            Err(room) => room,
        };
        let caller = self.ask(token).await;
        let keep = match &caller {
            Ok(_) => claims.expires.saturating_sub(now).saturating_sub(MARGIN).min(GOOD),
            Err(AuthError::Lookup(_) | AuthError::Busy) => Duration::ZERO,
            Err(_) => BAD,
        };
        if !keep.is_zero() {
            // The entry may have been evicted meanwhile: then it is asked for again.
            room.insert(Answer { caller: caller.clone(), until: Instant::now() + keep }).ok();
        }
        caller
    }

    async fn ask(&self, token: &str) -> Result<Caller, AuthError> {
        let turn = tokio::time::timeout(TURN, self.turns.acquire()).await;
        let _turn = turn.ok().and_then(Result::ok).ok_or(AuthError::Busy)?;
        let review = self.cluster.review(token, &self.audience).await?;
        let review = review.ok_or_else(|| AuthError::Rejected(self.audience.clone()))?;
        if review.username == self.operator {
            return Ok(Caller::Operator);
        }
        let account = review.username.strip_prefix("system:serviceaccount:").and_then(|account| account.split_once(':'));
        let (namespace, _) = account.ok_or(AuthError::NotServiceAccount)?;
        match review.pod {
            Some((name, uid)) => self.pod(namespace, &name, &uid).await.map(Caller::Pod),
            None => Ok(Caller::Reader { namespace: namespace.to_owned() }),
        }
    }

    async fn pod(&self, namespace: &str, name: &str, uid: &str) -> Result<PodIdentity, AuthError> {
        if let Some(identity) = self.pods.get(uid) {
            return Ok(identity);
        }
        let gone = || AuthError::PodGone(name.to_owned());
        let pod = self.cluster.pod(namespace, name).await?.filter(|pod| pod.uid == uid).ok_or_else(gone)?;
        let job = match pod.controlling_job() {
            Some(owner) => self.job(namespace, owner).await?,
            None => None,
        };
        // A trial whose Job went before it must not pass for a pod of others.
        if job.is_none() && pod.labels.contains_key(COMBO_LABEL) && pod.controlling_job().is_some() {
            return Err(gone());
        }
        let identity = identify(namespace, name, &pod, job.as_deref())?;
        self.pods.insert(uid.to_owned(), identity.clone());
        Ok(identity)
    }

    /// The Job that controls a pod, if it is still there. What is read of it does not change.
    async fn job(&self, namespace: &str, owner: &Owner) -> Result<Option<Arc<Facts>>, LookupError> {
        // A pod may name a Job of another namespace as its owner: there it has none.
        let room = match self.jobs.get_value_or_guard_async(&format!("{namespace}/{}", owner.uid)).await {
            Ok(job) => return Ok(Some(job)),
            Err(room) => room,
        };
        let job = self.cluster.job(namespace, &owner.name).await?.filter(|job| job.uid == owner.uid).map(Arc::new);
        if let Some(job) = &job {
            // It may have been evicted meanwhile: then it is asked for again.
            room.insert(job.clone()).ok();
        }
        Ok(job)
    }
}
