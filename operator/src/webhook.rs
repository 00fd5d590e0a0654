//! Admission: the API server asks what is to become of labelled pods and of AgentRuns. All replicas answer.
//!
//! Whatever can be read is answered with status 200 and a verdict, as the API server takes anything else for a failure of ours.

mod ask;
mod attempt;
mod metrics;
mod pods;
mod review;
mod runs;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use http::{StatusCode, header};
use http_body_util::BodyExt as _;
use hyper_util::rt::TokioTimer;
use kube::{Api, Client};
use prometheus_client::registry::Registry;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::ResolvesServerCert;
use thiserror::Error;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

use self::metrics::AdmissionMetrics;
use self::pods::Known;
use self::review::{Answer, Request};
use self::runs::Found;
use crate::certificates::Certificates;
use crate::inject::Installation;
use crate::inject::trial;
use crate::run::Run;

/// The largest question: an object of the API server's own bound, twice, and room.
const MAX_BODY: usize = 3 << 20;
/// How much of a larger one is read, to know whom to answer.
const BEGINNING: usize = 16 << 10;
/// For a body to arrive.
const BODY_TIME: Duration = Duration::from_secs(5);
/// For a head to arrive, and for an idle connection. The API server keeps its own for 90 s: it should not be the one that is surprised.
const IDLE_TIME: Duration = Duration::from_secs(120);
/// For a look at the run that a pod names.
const LOOKUP_TIME: Duration = Duration::from_secs(2);
/// For all that is asked of the cluster about an AgentRun; the API server waits 5 s.
const ASK_TIME: Duration = Duration::from_secs(3);
/// How long what is known of a run is believed.
const BELIEVED: Duration = Duration::from_secs(5);
/// How many runs are remembered.
const REMEMBERED: usize = 1024;
/// For which new connections are still taken when the process is told to stop: nodes go on sending them here until they have heard that this pod ends, and
/// a labelled pod whose request is not taken is refused.
const LINGER: Duration = Duration::from_secs(5);
/// For running requests to end after that.
const DRAIN: Duration = Duration::from_secs(10);

/// Why admission cannot be served.
#[derive(Debug, Error)]
pub enum WebhookError {
    /// The port cannot be had.
    #[error("listen on {0}")]
    Listen(SocketAddr, #[source] std::io::Error),
    /// rustls refuses its configuration.
    #[error("set up TLS for admission")]
    Tls(#[source] rustls::Error),
    /// The server failed.
    #[error("serve admission")]
    Serve(#[source] std::io::Error),
}

/// What admission is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What is the same in all pods; the hub's certificates come from `hub_ca`.
    pub installation: Installation,
    /// Certificates (PEM) that pods know the hub by.
    pub hub_ca: watch::Receiver<String>,
    /// Namespaces whose runs may share answers with each other.
    pub shared_cache_namespaces: Vec<String>,
}

/// Answers requests for admission.
pub struct Webhook {
    client: Client,
    settings: Settings,
    metrics: AdmissionMetrics,
    known: Mutex<HashMap<(String, String), (Instant, Known)>>,
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Webhook")
    }
}

impl Webhook {
    /// Its counters, and when `certificates` end, go into `registry`.
    pub fn new(client: Client, settings: Settings, registry: &mut Registry, certificates: &Certificates) -> Arc<Self> {
        let metrics = AdmissionMetrics::new(registry, certificates);
        Arc::new(Self { client, settings, metrics, known: Mutex::default() })
    }

    /// Serves over TLS until it is told to stop, and a little longer; each connection gets the certificate of the moment.
    ///
    /// # Errors
    /// The port cannot be had, or the server fails.
    pub async fn serve(
        self: Arc<Self>,
        address: SocketAddr,
        certificate: Arc<dyn ResolvesServerCert>,
        stop: CancellationToken,
    ) -> Result<(), WebhookError> {
        let listener = TcpListener::bind(address).map_err(|error| WebhookError::Listen(address, error))?;
        self.serve_on(listener, certificate, stop).await
    }

    async fn serve_on(
        self: Arc<Self>,
        listener: TcpListener,
        certificate: Arc<dyn ResolvesServerCert>,
        stop: CancellationToken,
    ) -> Result<(), WebhookError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(WebhookError::Tls)?;
        let mut config = builder.with_no_client_auth().with_cert_resolver(certificate);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        listener.set_nonblocking(true).map_err(WebhookError::Serve)?;
        let handle = Handle::new();
        let server = axum_server::from_tcp_rustls(listener, RustlsConfig::from_config(Arc::new(config)));
        let mut server = server.map_err(WebhookError::Serve)?.handle(handle.clone());
        server.http_builder().http1().timer(TokioTimer::new()).header_read_timeout(IDLE_TIME);
        let stopping = tokio::spawn(async move {
            stop.cancelled().await;
            tokio::time::sleep(LINGER).await;
            handle.graceful_shutdown(Some(DRAIN));
        });
        let served = server.serve(self.router().into_make_service()).await;
        stopping.abort();
        served.map_err(WebhookError::Serve)
    }

    fn router(self: Arc<Self>) -> Router {
        Router::new().route("/mutate/pods", post(mutate)).route("/validate/agentruns", post(validate)).with_state(self)
    }

    fn installation(&self) -> Installation {
        Installation { hub_ca: self.settings.hub_ca.borrow().clone(), ..self.settings.installation.clone() }
    }

    async fn mutate(&self, request: &Request) -> Answer {
        let known = match pods::run_to_ask(&request.object).filter(|_| request.operation == "CREATE") {
            None => Known::Nothing,
            Some(run) => match tokio::time::timeout(LOOKUP_TIME, self.lookup(&request.namespace, run)).await {
                Ok(Ok(known)) => known,
                Ok(Err(error)) => return self.unknown(run, &crate::sentence(&error)),
                Err(_) => return self.unknown(run, "the API server did not answer in time"),
            },
        };
        let (answer, reason) = pods::answer(request, self.installation(), known);
        if !request.is_dry_run {
            match reason {
                Some(reason) => self.metrics.skipped(reason),
                None if !answer.operations.is_empty() => self.metrics.injected(),
                None => {}
            }
        }
        answer
    }

    /// Without the run's settings the pod might run unseen: whoever makes it tries again.
    fn unknown(&self, run: &str, why: &str) -> Answer {
        tracing::warn!(run, why, "the run that a pod names could not be read");
        Answer::denied(503, format!("AgentRun `{run}` could not be read: {why}: try again"))
    }

    async fn lookup(&self, namespace: &str, name: &str) -> Result<Known, kube::Error> {
        let key = (namespace.to_owned(), name.to_owned());
        if let Some((at, known)) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&key)
            && at.elapsed() < BELIEVED
        {
            return Ok(known.clone());
        }
        let api = Api::namespaced_with(self.client.clone(), namespace, &crate::context::resource());
        let known = match api.get_opt(name).await {
            Ok(None) => Known::Nothing,
            Ok(Some(object)) => Run::read(&object).spec.map_or_else(Known::Unreadable, |spec| Known::Spec(Box::new(spec))),
            // The definition is not there, or the installation looks at other namespaces alone.
            Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => Known::Nothing,
            Err(error) => return Err(error),
        };
        let mut memory = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if memory.len() >= REMEMBERED {
            memory.retain(|_, (at, _)| at.elapsed() < BELIEVED);
        }
        if memory.len() < REMEMBERED {
            memory.insert(key, (Instant::now(), known.clone()));
        }
        Ok(known)
    }

    async fn validate(&self, request: &Request) -> Answer {
        let object = &request.object;
        if request.kind != "AgentRun" || object.is_null() || object.pointer("/metadata/deletionTimestamp").is_some() {
            return Answer::admitted();
        }
        let spec = match runs::read(object) {
            Ok(spec) => spec,
            Err(mistakes) => return runs::denial(&mistakes),
        };
        let name = object.pointer("/metadata/name").and_then(serde_json::Value::as_str).unwrap_or("generated");
        let template = runs::first_template(&spec, name, &self.installation());
        let mut found = Found::default();
        let mut late = None;
        if runs::asks_anew(&request.before, object) {
            let pod = template.as_ref().ok().map(|template| trial::pod(&template.template, name));
            match tokio::time::timeout(ASK_TIME, self.ask(&request.namespace, &spec, pod)).await {
                Ok(answers) => found = answers,
                Err(_) => late = Some(runs::unlooked("dataset and template")),
            }
        }
        let shares = self.settings.shared_cache_namespaces.contains(&request.namespace);
        let mut findings = runs::findings(&spec, &template, &found, shares);
        findings.warnings.extend(late);
        runs::answer(findings)
    }
}

async fn mutate(State(webhook): State<Arc<Webhook>>, body: Body) -> Response {
    answered(&webhook, "pods", body, async |request| webhook.mutate(request).await).await
}

async fn validate(State(webhook): State<Arc<Webhook>>, body: Body) -> Response {
    answered(&webhook, "agentruns", body, async |request| webhook.validate(request).await).await
}

/// Answers a question, in a span of its own.
async fn answered(webhook: &Webhook, name: &'static str, body: Body, answer: impl AsyncFnOnce(&Request) -> Answer) -> Response {
    let span = tracing::debug_span!(
        "admission",
        webhook = name,
        namespace = Empty,
        operation = Empty,
        dry_run = Empty,
        outcome = Empty,
        reason = Empty,
        otel.kind = "server"
    );
    read_and_answered(webhook, name, body, answer).instrument(span).await
}

/// Reads a question, answers it, counts it.
async fn read_and_answered(webhook: &Webhook, name: &'static str, body: Body, answer: impl AsyncFnOnce(&Request) -> Answer) -> Response {
    let begun = Instant::now();
    let text = match tokio::time::timeout(BODY_TIME, bounded(body)).await {
        Err(_) => return (StatusCode::REQUEST_TIMEOUT, "the request did not arrive in time\n").into_response(),
        Ok(Err(error)) => return (StatusCode::BAD_REQUEST, format!("reading the request: {error}\n")).into_response(),
        Ok(Ok(Gathered::Whole(text))) => text,
        Ok(Ok(Gathered::TooLarge(beginning))) => {
            webhook.metrics.asked(name, "refused", begun.elapsed().as_secs_f64());
            Span::current().record("outcome", "refused");
            let message = format!("the request is larger than {} MiB", MAX_BODY >> 20);
            return match review::uid_in(&beginning) {
                Some(uid) => verdict(&Answer::denied(413, message), &uid),
                None => (StatusCode::PAYLOAD_TOO_LARGE, format!("{message}\n")).into_response(),
            };
        }
    };
    let request = match review::read(&text) {
        Ok(request) => request,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    let answer = answer(&request).await;
    let said = if answer.denied.is_some() { "denied" } else { "admitted" };
    let span = Span::current();
    span.record("namespace", &request.namespace).record("operation", &request.operation).record("dry_run", request.is_dry_run);
    // What became of a pod is more than whether it may be made.
    span.record("outcome", answer.audit.get("outcome").map_or(said, String::as_str));
    if let Some(reason) = answer.audit.get("reason") {
        span.record("reason", reason);
    }
    if !request.is_dry_run {
        webhook.metrics.asked(name, said, begun.elapsed().as_secs_f64());
    }
    verdict(&answer, &request.uid)
}

fn verdict(answer: &Answer, uid: &str) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], answer.write(uid)).into_response()
}

enum Gathered {
    Whole(Vec<u8>),
    /// The beginning of a body that is not taken.
    TooLarge(Vec<u8>),
}

async fn bounded(mut body: Body) -> Result<Gathered, axum::Error> {
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        text.extend_from_slice(&data);
        if text.len() > MAX_BODY {
            text.truncate(BEGINNING);
            return Ok(Gathered::TooLarge(text));
        }
    }
    Ok(Gathered::Whole(text))
}
