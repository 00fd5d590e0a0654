//! The admin port: health, readiness, metrics.

use std::sync::Arc;

use axum::{
    Router,
    extract::State as Shared,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;

use crate::{api::State, archive::ArchiveError, tls::Current};

/// What OpenMetrics calls itself.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Parts = (Arc<State>, Current);

/// Serves the admin port, for ever.
pub(super) async fn serve(state: Arc<State>, listener: TcpListener, certificate: Current) {
    let routes = Router::new().route("/healthz", get(async || "ok\n")).route("/readyz", get(readyz)).route("/metrics", get(metrics));
    if let Err(error) = axum::serve(listener, routes.with_state((state, certificate))).await {
        tracing::error!(%error, "the admin port ended");
    }
}

/// Not ready while it stops, without a certificate, and while the store cannot be used. A full store is no reason: who asks must be told so.
async fn readyz(Shared((state, certificate)): Shared<Parts>) -> Response {
    let not_ready = |reason: String| (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response();
    if state.closing.is_cancelled() {
        return not_ready("stopping".into());
    }
    if certificate.borrow().is_none() {
        return not_ready("waiting for the certificate".into());
    }
    match state.archive.health() {
        Ok(()) => "ok\n".into_response(),
        Err(error @ ArchiveError::Full(_)) => format!("{}\n", crate::sentence(&error)).into_response(),
        Err(error) => not_ready(crate::sentence(&error)),
    }
}

async fn metrics(Shared((state, _)): Shared<Parts>) -> Response {
    ([(header::CONTENT_TYPE, OPENMETRICS)], state.metrics.text(state.leases.count(), state.archive.has_room().is_err())).into_response()
}
