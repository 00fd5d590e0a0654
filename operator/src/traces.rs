//! Traces by OTLP: what the operator does, as spans for a collector. Off unless an endpoint is named; then nothing here runs.
//!
//! Spans are those of `tracing` at level debug, so that logs at their usual level have none: our own, and below them one for each request to
//! the API server or the hub, which kube's client makes. The usual variables are heeded: `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_SERVICE_NAME`,
//! `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER`, `OTEL_BSP_…`.

mod sender;
#[cfg(test)]
pub(crate) mod tests;

use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{ExporterBuildError, Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use thiserror::Error;
use tracing::{Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

use self::sender::Sender;
use crate::args::Args;

/// The name that the spans come under.
const SERVICE: &str = "agentrun-operator";
/// The crates whose spans are told: ours, and kube's, which are the requests it sends.
const TOLD: [&str; 2] = ["agentrun_operator", "kube_client::client"];
/// For the last spans to go when the process ends.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Why there are no traces.
#[derive(Debug, Error)]
pub enum TracesError {
    /// The file of certificates.
    #[error("read {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Certificates that the collector is known by.
    #[error("read the certificates that the collector of traces is known by: {0}")]
    Roots(String),
    /// A client cannot be made.
    #[error("prepare to send traces")]
    Client(#[source] Box<kube::Error>),
    /// The exporter does not like what the environment says.
    #[error("prepare to export traces")]
    Exporter(#[source] ExporterBuildError),
    /// The last spans were not taken.
    #[error("send the last traces")]
    LastWords(#[source] opentelemetry_sdk::error::OTelSdkError),
}

/// Reads the base URL of a collector, as in `http://collector:4318`; for a flag.
///
/// # Errors
/// It is none, or bears credentials, which a flag would show to everybody.
pub fn endpoint(text: &str) -> Result<Uri, String> {
    let uri: Uri = text.parse().map_err(|error| format!("{error}"))?;
    let Some(authority) = uri.authority().filter(|_| matches!(uri.scheme_str(), Some("http" | "https"))) else {
        return Err("it must begin with http:// or https://, as in http://collector:4318".to_owned());
    };
    if authority.as_str().contains('@') {
        return Err("credentials do not belong into it: set OTEL_EXPORTER_OTLP_HEADERS".to_owned());
    }
    if uri.query().is_some() {
        return Err("it must have no query".to_owned());
    }
    Ok(uri)
}

/// Sends spans to a collector, in batches, from a thread of its own.
#[derive(Debug)]
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Begins, where the flags name a collector. Certificates that all sidecars trust, the operator trusts here too.
    ///
    /// # Errors
    /// As [`Traces::start`]; a file that cannot be read.
    pub fn asked_for(args: &Args) -> Result<Option<Self>, TracesError> {
        let Some(endpoint) = &args.otlp_endpoint else { return Ok(None) };
        let read = |path: &PathBuf| std::fs::read_to_string(path).map_err(|source| TracesError::File { path: path.clone(), source });
        let roots = args.roots_file.as_ref().map(read).transpose()?.unwrap_or_default();
        Self::start(endpoint, &roots, args.identity.as_deref()).map(Some)
    }

    /// Begins. `endpoint` is a collector's base URL; over TLS it is known by the public roots, or by `roots` (PEM).
    ///
    /// # Errors
    /// Certificates that cannot be read, or a variable that means nothing. Whether the collector is there, only its first batch tells.
    pub fn start(endpoint: &Uri, roots: &str, identity: Option<&str>) -> Result<Self, TracesError> {
        let url = format!("{}/v1/traces", endpoint.to_string().trim_end_matches('/'));
        let sender = Sender::new(endpoint, roots)?;
        let exporter = SpanExporter::builder().with_http().with_http_client(sender).with_protocol(Protocol::HttpBinary).with_endpoint(url);
        let exporter = exporter.build().map_err(TracesError::Exporter)?;
        Ok(Self(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource(identity)).build()))
    }

    /// What makes spans of `tracing` the collector's.
    pub fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        let layer = tracing_opentelemetry::layer().with_tracer(self.0.tracer(SERVICE)).with_location(false).with_threads(false);
        layer.with_filter(TOLD.into_iter().fold(Targets::new(), |targets, target| targets.with_target(target, Level::DEBUG)))
    }

    /// Sends what is left, and ends.
    ///
    /// # Errors
    /// The collector did not take it in time.
    pub async fn stop(self) -> Result<(), TracesError> {
        // It waits for its own thread, which waits for this runtime.
        let stopped = tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(LAST_WORDS)).await;
        stopped.unwrap_or(Ok(())).map_err(TracesError::LastWords)
    }
}

/// Who speaks. What the environment says of that goes before.
fn resource(identity: Option<&str>) -> Resource {
    let ours = [
        Some(KeyValue::new("service.name", SERVICE)),
        Some(KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))),
        identity.map(|identity| KeyValue::new("service.instance.id", identity.to_owned())),
    ];
    let said = Resource::builder().build();
    // The SDK makes up a name where none is said.
    let said = said.iter().filter(|(key, value)| key.as_str() != "service.name" || !value.as_str().starts_with("unknown_service"));
    let said: Vec<KeyValue> = said.map(|(key, value)| KeyValue::new(key.clone(), value.clone())).collect();
    Resource::builder_empty().with_attributes(ours.into_iter().flatten()).with_attributes(said).build()
}
