//! The admin port: start, readiness, health, metrics.

use std::sync::{Arc, atomic::Ordering};

use agentrun_protocol::names::STARTUP_PATH;
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;

use crate::proxy::Proxy;

/// What OpenMetrics calls itself.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves the admin port until the proxy has stopped.
pub(crate) async fn serve(proxy: Arc<Proxy>, listener: TcpListener) {
    let routes = Router::new()
        .route(STARTUP_PATH, get(startupz))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics));
    let served = axum::serve(listener, routes.with_state(proxy)).await;
    if let Err(error) = served {
        tracing::error!(%error, "the admin port ended");
    }
}

async fn healthz() -> &'static str {
    "ok\n"
}

/// Started once everything is in place that agents need; it stays so, whatever happens later.
async fn startupz(State(proxy): State<Arc<Proxy>>) -> Response {
    if proxy.ready.load(Ordering::Acquire) {
        "started\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "starting\n").into_response()
    }
}

/// Not ready while it starts or stops, and while records cannot be written.
async fn readyz(State(proxy): State<Arc<Proxy>>) -> Response {
    if !proxy.ready.load(Ordering::Acquire) {
        return (StatusCode::SERVICE_UNAVAILABLE, "starting\n").into_response();
    }
    if proxy.drain.is_closing() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response();
    }
    match proxy.journal.as_ref().and_then(|journal| journal.failure()) {
        Some(failure) => (StatusCode::SERVICE_UNAVAILABLE, format!("records cannot be written: {failure}\n")).into_response(),
        None => "ok\n".into_response(),
    }
}

async fn metrics(State(proxy): State<Arc<Proxy>>) -> Response {
    told(&proxy)
}

/// What the proxy counts, as OpenMetrics text.
pub(crate) fn told(proxy: &Proxy) -> Response {
    ([(header::CONTENT_TYPE, OPENMETRICS)], proxy.metrics.text(proxy.cache.size())).into_response()
}
