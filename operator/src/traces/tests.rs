//! Against a collector of the test's own, which reads what really arrives.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::routing::post;
use opentelemetry_http::{Bytes, HttpClient as _};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::{KeyValue as Pair, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::{Span, status::StatusCode};
use prost::Message as _;
use tokio::sync::mpsc;
use tracing_subscriber::layer::SubscriberExt as _;

use super::*;

/// What arrived: the path, its content type, the batch.
type Arrived = (String, String, ExportTraceServiceRequest);

/// A collector under `/otlp`, over TLS where there is a key, that answers with `status`.
async fn collector(status: u16, tls: Option<rustls::ServerConfig>) -> (SocketAddr, mpsc::UnboundedReceiver<Arrived>) {
    let (arrived, arrivals) = mpsc::unbounded_channel();
    let take = async move |headers: http::HeaderMap, uri: Uri, body: axum::body::Bytes| {
        let kind = headers[http::header::CONTENT_TYPE].to_str().unwrap().to_owned();
        arrived.send((uri.path().to_owned(), kind, ExportTraceServiceRequest::decode(body).unwrap())).unwrap();
        (http::StatusCode::from_u16(status).unwrap(), ExportTraceServiceResponse::default().encode_to_vec())
    };
    let router = Router::new().route("/otlp/v1/traces", post(take)).into_make_service();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    match tls {
        Some(config) => {
            let config = axum_server::tls_rustls::RustlsConfig::from_config(Arc::new(config));
            tokio::spawn(axum_server::from_tcp_rustls(listener, config).unwrap().serve(router));
        }
        None => {
            tokio::spawn(axum_server::from_tcp(listener).unwrap().serve(router));
        }
    }
    (address, arrivals)
}

/// A key for 127.0.0.1, and the certificate it is known by.
fn key() -> (rustls::ServerConfig, String) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    (config, made.cert.pem())
}

fn spans(arrived: &Arrived) -> Vec<&Span> {
    arrived.2.resource_spans.iter().flat_map(|resource| &resource.scope_spans).flat_map(|scope| &scope.spans).collect()
}

fn value(pairs: &[Pair], key: &str) -> Option<String> {
    match pairs.iter().find(|pair| pair.key == key)?.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::BoolValue(flag) => Some(flag.to_string()),
        Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{key} is {other:?}"),
    }
}

/// What a collector is told of what the test does on its own thread.
pub(crate) struct Told {
    traces: Traces,
    _watches: tracing::subscriber::DefaultGuard,
    arrivals: mpsc::UnboundedReceiver<Arrived>,
}

impl Told {
    /// From now on.
    pub(crate) async fn begin() -> Self {
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        let (address, arrivals) = collector(200, None).await;
        let traces = Traces::start(&endpoint(&format!("http://{address}/otlp")).unwrap(), "", None).unwrap();
        let watches = tracing::subscriber::set_default(tracing_subscriber::registry().with(traces.layer()));
        Self { traces, _watches: watches, arrivals }
    }

    /// Until now: each span's name and attributes, and whether it stands for a failure.
    pub(crate) async fn spans(mut self) -> Vec<(String, BTreeMap<String, String>, bool)> {
        self.traces.stop().await.unwrap();
        let arrived = self.arrivals.recv().await.unwrap();
        let attributes = |span: &Span| {
            let said = span.attributes.iter().filter_map(|pair| Some((pair.key.clone(), value(&span.attributes, &pair.key)?)));
            said.collect::<BTreeMap<_, _>>()
        };
        let failed = |span: &Span| span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error);
        spans(&arrived).into_iter().map(|span| (span.name.clone(), attributes(span), failed(span))).collect()
    }
}

#[tokio::test]
async fn spans_arrive_at_a_collector_over_both_schemes() {
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let (tls, certificate) = key();
    for (scheme, tls, roots) in [("http", None, ""), ("https", Some(tls), certificate.as_str())] {
        let (address, mut arrivals) = collector(200, tls).await;
        let endpoint = endpoint(&format!("{scheme}://{address}/otlp/")).unwrap();
        let traces = Traces::start(&endpoint, roots, Some("replica-1")).unwrap();
        let subscriber = tracing_subscriber::registry().with(traces.layer());
        let watches = tracing::subscriber::set_default(subscriber);
        {
            let look = tracing::debug_span!("reconcile", run = "math", outcome = tracing::field::Empty, otel.status_code = "ERROR");
            look.record("outcome", "job");
            look.in_scope(|| drop(tracing::debug_span!(target: "kube_client::client::builder", "HTTP", otel.name = "patch").entered()));
            drop(tracing::debug_span!(target: "hyper::client", "somebody else's").entered());
        }
        for _ in 0..2 {
            let provider = traces.0.clone();
            tokio::task::spawn_blocking(move || provider.force_flush()).await.unwrap().unwrap();
        }
        drop(watches);
        traces.stop().await.unwrap();
        let arrived = arrivals.recv().await.unwrap();
        assert_eq!((arrived.0.as_str(), arrived.1.as_str()), ("/otlp/v1/traces", "application/x-protobuf"));
        let resource = &arrived.2.resource_spans[0].resource.as_ref().unwrap().attributes;
        assert_eq!(value(resource, "service.name").as_deref(), Some("agentrun-operator"));
        assert_eq!(value(resource, "service.instance.id").as_deref(), Some("replica-1"));
        let spans = spans(&arrived);
        let named = |name: &str| *spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("{name} of {spans:?}"));
        let (look, request) = (named("reconcile"), named("patch"));
        assert_eq!((spans.len(), &request.parent_span_id), (2, &look.span_id), "{spans:?}");
        assert_eq!((value(&look.attributes, "run").as_deref(), value(&look.attributes, "outcome").as_deref()), (Some("math"), Some("job")));
        assert_eq!(look.status.as_ref().unwrap().code(), StatusCode::Error);
        assert!(arrivals.try_recv().is_err(), "what sends spans makes none");
    }
}

#[tokio::test]
async fn a_batch_that_is_lost_is_noticed_and_nothing_else_comes_of_it() {
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let (refusing, mut refused) = collector(403, None).await;
    let (taking, _taken) = collector(200, None).await;
    let (unknown, mut arrivals) = collector(200, Some(key().0)).await;
    let urls = [format!("http://{taking}/otlp"), format!("http://{refusing}/otlp"), format!("https://{unknown}/otlp")];
    for (url, is_lost) in urls.iter().zip([false, true, true]) {
        let traces = Traces::start(&endpoint(url).unwrap(), "", None).unwrap();
        let subscriber = tracing_subscriber::registry().with(traces.layer());
        tracing::subscriber::with_default(subscriber, || drop(tracing::debug_span!("reconcile").entered()));
        traces.stop().await.unwrap();
        let sender = Sender::new(&endpoint(url).unwrap(), "").unwrap();
        let batch = http::Request::post(format!("{url}/v1/traces")).header(http::header::CONTENT_TYPE, "x").body(Bytes::new()).unwrap();
        drop(sender.send_bytes(batch).await);
        assert_eq!(sender.loses(), is_lost, "{url}");
    }
    assert!(refused.recv().await.is_some());
    assert!(arrivals.try_recv().is_err(), "a collector with a certificate of nobody's is told nothing");
}

#[test]
fn an_endpoint_is_a_base_url_without_secrets() {
    for good in ["http://collector:4318", "https://collector.example/otlp/", "http://[::1]:4318"] {
        assert!(endpoint(good).is_ok(), "{good}");
    }
    for (bad, part) in [
        ("", "empty"),
        ("collector:4318", "http://"),
        ("grpc://collector:4317", "http://"),
        ("http://user:password@collector", "OTEL_EXPORTER_OTLP_HEADERS"),
        ("http://collector/?key=1", "query"),
    ] {
        let told = endpoint(bad).unwrap_err();
        assert!(told.contains(part) && !told.contains("password"), "{bad}: {told}");
    }
}
