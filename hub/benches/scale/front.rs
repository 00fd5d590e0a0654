//! What stands between the API server and one of the two programs: it passes everything on under the program's own account, and counts.
//!
//! For the trials that have no pods it answers the hub in the API server's place, whose tokens and pods they would be; and it marks their Jobs,
//! as a mutating webhook would, as ones that the Job controller leaves alone.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use agentrun_protocol::names::{AUDIENCE, CHUNK_LABEL, COMBO_LABEL, COMPLETION_INDEX_ANNOTATION, RUN_LABEL};
use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use kube::client::Body;
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::shape::{Cell, NAMESPACE, RUN, Shape};

/// Who looks after the Jobs that have no pods.
pub(crate) const MANAGED_BY: &str = "agentrun.dev/scale";
/// How the names of pods begin that do not exist.
const PLAYED: &str = "played-";

/// Whose requests they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Person {
    /// The operator's.
    Operator,
    /// The hub's.
    Hub,
}

impl Person {
    /// The name of its service account.
    pub(crate) fn account(self) -> &'static str {
        match self {
            Self::Operator => "agentrun-operator",
            Self::Hub => "agentrun-hub",
        }
    }
}

/// Uids of Jobs by combo and chunk, as the API server has them.
#[derive(Debug, Default)]
pub(crate) struct Jobs(Mutex<HashMap<(u64, u64), (String, String)>>);

impl Jobs {
    /// Notes a Job's name and uid.
    pub(crate) fn note(&self, combo: u64, chunk: u64, name: String, uid: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert((combo, chunk), (name, uid));
    }

    fn get(&self, cell: Cell) -> Option<(String, String)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&(cell.combo, cell.chunk)).cloned()
    }
}

/// The front of one program.
#[derive(Clone)]
pub(crate) struct Front {
    /// Where it listens, over plain HTTP on loopback.
    pub(crate) address: SocketAddr,
    client: Client,
    shape: Shape,
    jobs: Arc<Jobs>,
    counts: Arc<Mutex<BTreeMap<String, Count>>>,
}

/// Requests of one kind.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Count {
    /// How many.
    pub(crate) requests: u64,
    /// Seconds that the API server took for all of them, to the heads of its answers.
    pub(crate) seconds: f64,
    /// Seconds that it took for the slowest.
    pub(crate) slowest: f64,
}

impl Front {
    /// Starts one.
    ///
    /// # Errors
    /// The cluster's address is not known, or no port can be had.
    pub(crate) async fn start(person: Person, shape: Shape, jobs: Arc<Jobs>) -> Result<Self> {
        let mut config = Config::infer().await.context("find the cluster")?;
        config.auth_info.impersonate = Some(format!("system:serviceaccount:agentrun-system:{}", person.account()));
        config.default_retry = false;
        let client = Client::try_from(config)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let front = Self { address: listener.local_addr()?, client, shape, jobs, counts: Arc::default() };
        tokio::spawn(front.clone().accept(listener));
        Ok(front)
    }

    /// Requests by `METHOD resource`, `WATCH resource` among them.
    pub(crate) fn counts(&self) -> BTreeMap<String, Count> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Requests that change something. What only asks a question (a review) is none.
    pub(crate) fn writes(&self) -> u64 {
        let counts = self.counts();
        let changes =
            counts.iter().filter(|(what, _)| !what.starts_with("GET ") && !what.starts_with("WATCH ") && !what.contains("review"));
        changes.map(|(_, count)| count.requests).sum()
    }

    async fn accept(self, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            let front = self.clone();
            tokio::spawn(async move {
                let answer = service_fn(move |request| {
                    let front = front.clone();
                    async move { front.answer(request).await }
                });
                // A program that ends breaks its connections off.
                http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), answer).await.ok();
            });
        }
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<Body>> {
        let (mut parts, body) = request.into_parts();
        let mut body = body.collect().await?.to_bytes();
        let what = named(&parts.method, parts.uri.path(), parts.uri.query().unwrap_or_default());
        let begun = Instant::now();
        if let Some(answer) = self.played(&parts.method, parts.uri.path(), &body) {
            self.count(what, begun.elapsed().as_secs_f64());
            let response = Response::builder().status(StatusCode::OK).header(header::CONTENT_TYPE, "application/json");
            return Ok(response.body(Body::from(answer.to_string().into_bytes()))?);
        }
        if parts.method == Method::POST && parts.uri.path().ends_with("/jobs") {
            body = self.marked(body)?;
        }
        for name in [header::HOST, header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
            parts.headers.remove(name);
        }
        let mut response = self.client.send(Request::from_parts(parts, Body::from(body.to_vec()))).await?;
        self.count(what, begun.elapsed().as_secs_f64());
        for name in [header::CONNECTION, header::TRANSFER_ENCODING] {
            response.headers_mut().remove(name);
        }
        *response.version_mut() = http::Version::HTTP_11;
        Ok(response)
    }

    fn count(&self, what: String, seconds: f64) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(what).or_default();
        count.requests += 1;
        count.seconds += seconds;
        count.slowest = count.slowest.max(seconds);
    }

    /// The Job of a combo without pods is left alone by the Job controller.
    fn marked(&self, body: Bytes) -> Result<Bytes> {
        let mut job: Value = serde_json::from_slice(&body).context("read a Job of the operator's")?;
        let combo = job["metadata"]["labels"][COMBO_LABEL].as_str().and_then(|combo| combo.parse::<u64>().ok());
        if combo.is_none_or(|combo| combo < self.shape.with_pods) {
            return Ok(body);
        }
        job["spec"]["managedBy"] = json!(MANAGED_BY);
        Ok(serde_json::to_vec(&job)?.into())
    }

    /// The API server's answers about pods that do not exist.
    fn played(&self, method: &Method, path: &str, body: &[u8]) -> Option<Value> {
        if method == Method::POST && path.ends_with("/tokenreviews") {
            let review: Value = serde_json::from_slice(body).ok()?;
            let name = review.pointer("/spec/token")?.as_str()?.rsplit('.').next().filter(|name| name.starts_with(PLAYED))?;
            return Some(review_of(name));
        }
        let name = path.rsplit_once("/pods/").map(|(_, name)| name).filter(|_| method == Method::GET)?;
        let cell = cell_of(name)?;
        let (job, uid) = self.jobs.get(cell)?;
        Some(pod_of(name, cell, &job, &uid))
    }
}

/// `GET pods` and the like of a request.
fn named(method: &Method, path: &str, query: &str) -> String {
    let method = if query.contains("watch=true") { "WATCH" } else { method.as_str() };
    format!("{method} {}", resource(path))
}

/// `pods`, `jobs/status` and the like of a request's path.
fn resource(path: &str) -> String {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let rest = match parts.as_slice() {
        ["api", _, rest @ ..] | ["apis", _, _, rest @ ..] => rest,
        rest => rest,
    };
    match rest {
        ["namespaces", _, resource, _, subresource, ..] => format!("{resource}/{subresource}"),
        ["namespaces", _, resource, ..] | [resource, ..] => (*resource).to_owned(),
        [] => String::new(),
    }
}

fn review_of(name: &str) -> Value {
    let extra = json!({"authentication.kubernetes.io/pod-name": [name], "authentication.kubernetes.io/pod-uid": [format!("{name}-uid")]});
    json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "metadata": {}, "spec": {},
        "status": {
            "authenticated": true, "audiences": [AUDIENCE],
            "user": {"username": format!("system:serviceaccount:{NAMESPACE}:default"), "extra": extra},
        },
    })
}

fn pod_of(name: &str, cell: Cell, job: &str, uid: &str) -> Value {
    let owner = json!({"apiVersion": "batch/v1", "kind": "Job", "name": job, "uid": uid, "controller": true});
    json!({
        "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
        "metadata": {
            "name": name, "namespace": NAMESPACE, "uid": format!("{name}-uid"), "ownerReferences": [owner],
            "labels": {RUN_LABEL: RUN, COMBO_LABEL: cell.combo.to_string(), CHUNK_LABEL: cell.chunk.to_string()},
            "annotations": {COMPLETION_INDEX_ANNOTATION: cell.index.to_string()},
        },
    })
}

/// The token of a pod that does not exist.
pub(crate) fn token_of(cell: Cell) -> String {
    let expires = jiff::Timestamp::now().as_second() + 3600;
    let payload = URL_SAFE_NO_PAD.encode(json!({"aud": [AUDIENCE], "exp": expires}).to_string());
    format!("e30.{payload}.{PLAYED}{}-{}-{}", cell.combo, cell.chunk, cell.index)
}

fn cell_of(name: &str) -> Option<Cell> {
    let mut numbers = name.strip_prefix(PLAYED)?.split('-').map(str::parse::<u64>);
    let mut next = || numbers.next()?.ok();
    Some(Cell { combo: next()?, chunk: next()?, index: next()? })
}
