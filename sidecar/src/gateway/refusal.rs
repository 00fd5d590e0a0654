//! Why a request is not done, as it is told.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;
use thiserror::Error;

use super::answer;
use crate::{cache::disk::CacheError, journal::JournalError, open::ListenError};

/// Why a request is not done.
#[derive(Debug, Error)]
pub(super) enum Refusal {
    /// The caller's mistake: what, where, what to do.
    #[error("{0}")]
    Mistake(String),
    #[error("the request's body is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the request's body did not arrive within {0} s")]
    TooSlow(u64),
    #[error("a token is needed: `Authorization: Bearer TOKEN`, or a URL with it, http://agentrun:TOKEN@HOST:PORT")]
    Unknown,
    #[error("{0}")]
    Foreign(String),
    #[error("{0} sessions are open; close some, or wait")]
    TooMany(usize),
    #[error("there is no such path")]
    Path,
    #[error("this path takes no such method")]
    Method,
    #[error("read the records")]
    Journal(#[from] JournalError),
    #[error("forget the stored answers")]
    Cache(#[from] CacheError),
    #[error("open the session's port")]
    Listen(#[from] ListenError),
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::Mistake(_) => StatusCode::BAD_REQUEST,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow(_) => StatusCode::REQUEST_TIMEOUT,
            Self::Unknown => StatusCode::UNAUTHORIZED,
            Self::Foreign(_) => StatusCode::FORBIDDEN,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Path => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Journal(_) | Self::Cache(_) => StatusCode::INTERNAL_SERVER_ERROR,
            // Out of ports or of file descriptors: it may pass.
            Self::Listen(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = self.status();
        if status.is_server_error() {
            tracing::error!(error = agentrun_protocol::sentence(&self), "a request cannot be done");
        }
        let mut response = match self {
            // As aiohttp words them, which AgentOpt's daemon is made with.
            Self::Path | Self::Method => format!("{}: {}", status.as_u16(), status.canonical_reason().unwrap_or_default()).into_response(),
            told => answer(&json!({"error": agentrun_protocol::sentence(&told)})),
        };
        *response.status_mut() = status;
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer, Basic realm=\"agentrun\""));
        }
        response
    }
}
