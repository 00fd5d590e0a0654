//! Errors become answers here, and nowhere else: `{"error": SENTENCE}`.

use std::time::Duration;

use agentrun_protocol::query::Problem;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};

use crate::{
    archive::{ArchiveError, Kind},
    auth::AuthError,
    lease::LeaseError,
};

/// Seconds until the same request is welcome again.
const SOON: u64 = 1;
/// The same where somebody has to make room first.
const LATER: u64 = 10;

/// Why a request is not answered as asked.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    sentence: String,
    retry_after: Option<u64>,
}

/// Left on an answer for the log.
#[derive(Clone)]
pub(crate) struct Sentence(pub(crate) String);

impl Refusal {
    fn new(status: StatusCode, sentence: impl Into<String>) -> Self {
        Self { status, sentence: sentence.into(), retry_after: None }
    }

    /// The request is of no use.
    pub(crate) fn bad(sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, sentence)
    }

    /// The caller may not do this.
    pub(crate) fn forbidden(sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, sentence)
    }

    /// The body is too long.
    pub(crate) fn too_large(limit: usize) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is longer than {limit} bytes"))
    }

    /// The body comes in an encoding.
    pub(crate) fn encoded() -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body has a content-encoding: send it as it is")
    }

    /// The body does not arrive.
    pub(crate) fn late_body(within: Duration) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, format!("the body did not arrive within {} s", within.as_secs()))
    }

    /// Not now.
    pub(crate) fn busy(sentence: impl Into<String>) -> Self {
        Self { retry_after: Some(SOON), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, sentence) }
    }

    pub(super) fn too_slow(within: Duration) -> Self {
        Self::busy(format!("the request was not answered within {} s", within.as_secs()))
    }

    pub(super) fn no_such_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, "there is no such path")
    }

    pub(super) fn bad_method() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "the path does not take this method")
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = json(&Problem { error: self.sentence.clone() });
        *response.status_mut() = self.status;
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(Sentence(self.sentence));
        response
    }
}

impl From<ArchiveError> for Refusal {
    fn from(error: ArchiveError) -> Self {
        let full = matches!(error, ArchiveError::Full(_));
        let sentence = crate::sentence(&error);
        match error.kind() {
            Kind::BadInput => Self::bad(sentence),
            Kind::NotFound => Self::new(StatusCode::NOT_FOUND, sentence),
            Kind::Conflict => Self::new(StatusCode::CONFLICT, sentence),
            Kind::Gone => Self::new(StatusCode::GONE, sentence),
            Kind::TooLarge => Self::new(StatusCode::PAYLOAD_TOO_LARGE, sentence),
            Kind::Unavailable => Self { retry_after: Some(if full { LATER } else { SOON }), ..Self::busy(sentence) },
            Kind::Broken => Self::new(StatusCode::INTERNAL_SERVER_ERROR, sentence),
        }
    }
}

impl From<AuthError> for Refusal {
    fn from(error: AuthError) -> Self {
        let sentence = error.to_string();
        match error {
            AuthError::Missing | AuthError::Useless(_) | AuthError::Rejected(_) | AuthError::PodGone(_) => {
                Self::new(StatusCode::UNAUTHORIZED, sentence)
            }
            AuthError::NotServiceAccount | AuthError::Identity(_) => Self::forbidden(sentence),
            AuthError::Lookup(_) | AuthError::Busy => Self::busy(sentence),
        }
    }
}

impl From<LeaseError> for Refusal {
    fn from(error: LeaseError) -> Self {
        let sentence = error.to_string();
        match error {
            LeaseError::Full | LeaseError::WaitingFull => Self::busy(sentence),
            LeaseError::PodFull => Self { retry_after: Some(SOON), ..Self::new(StatusCode::TOO_MANY_REQUESTS, sentence) },
        }
    }
}

/// A message.
pub(crate) fn json(message: &impl serde::Serialize) -> Response {
    match serde_json::to_vec(message) {
        Ok(text) => ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], Bytes::from(text)).into_response(),
        Err(error) => {
            tracing::error!(%error, "an answer cannot be written as JSON");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
