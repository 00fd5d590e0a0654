//! Errors become answers here, and nowhere else.

use agentrun_llm::{call::Outcome, provider::Shape, request, response};
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use thiserror::Error;

use crate::{body::AnswerBody, route::Undecided, upstream::UpstreamError};

/// Why a call is not answered by an upstream. Each says what happened and, where the client can do something, what.
#[derive(Debug, Error)]
pub(crate) enum Refusal {
    #[error("this proxy is stopping and takes no new calls")]
    Draining,
    #[error("the connection was opened for {opened}, but the request is for {asked}; open a connection for each host")]
    Misdirected { opened: String, asked: String },
    #[error("the request names no host; send it through the proxy, or to http://ADDRESS/HOST/PATH with HOST an LLM host")]
    NoHost,
    #[error("the {0} entrance is closed in this proxy")]
    EntranceClosed(&'static str),
    #[error("the request's body is larger than {limit} bytes")]
    BodyTooLarge { limit: u64 },
    #[error("the request's body could not be read: {0}")]
    BodyRead(String),
    #[error("the request's body did not arrive within {0} s")]
    BodyTimeout(u64),
    #[error("model {model} cannot replace {asked} here: {reason}")]
    Route { asked: String, model: String, reason: String },
    #[error(transparent)]
    Undecided(#[from] Undecided),
    #[error("no stored answer to this call, and the cache mode is ReplayOnly")]
    ReplayMiss,
    #[error("records cannot be written, and no more fit in memory: {0}")]
    Records(String),
    #[error("{0}")]
    Upstream(#[from] UpstreamError),
}

impl Refusal {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Draining | Self::Records(_) | Self::Undecided(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Misdirected { .. } => StatusCode::MISDIRECTED_REQUEST,
            Self::NoHost | Self::BodyRead(_) | Self::Route { .. } => StatusCode::BAD_REQUEST,
            Self::EntranceClosed(_) => StatusCode::FORBIDDEN,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTimeout(_) => StatusCode::REQUEST_TIMEOUT,
            // 404 would say that the model is unknown; 504 that waiting could help.
            Self::ReplayMiss => StatusCode::CONFLICT,
            Self::Upstream(UpstreamError::Timeout { .. }) => StatusCode::GATEWAY_TIMEOUT,
            Self::Upstream(_) => StatusCode::BAD_GATEWAY,
        }
    }

    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Self::ReplayMiss => Outcome::ReplayMiss,
            Self::BodyRead(_) => Outcome::ClientGone,
            Self::Upstream(UpstreamError::Refused { .. }) => Outcome::UpstreamRefused,
            Self::Upstream(UpstreamError::Tls { .. }) => Outcome::UpstreamTls,
            Self::Upstream(UpstreamError::Timeout { .. }) => Outcome::Timeout,
            Self::Upstream(UpstreamError::Cut { .. }) => Outcome::UpstreamCut,
            _ => Outcome::Refused,
        }
    }

    /// The name of the error in the answer's body.
    fn kind(&self) -> &'static str {
        match self.outcome() {
            Outcome::ReplayMiss => "agentrun_replay_miss",
            Outcome::UpstreamRefused => "agentrun_upstream_refused",
            Outcome::UpstreamTls => "agentrun_upstream_tls",
            Outcome::Timeout => "agentrun_timeout",
            Outcome::UpstreamCut => "agentrun_upstream_cut",
            _ => "agentrun_refused",
        }
    }

    /// The answer, in the provider's own error shape, so that its SDK raises its usual error.
    pub(crate) fn response(&self, shape: Shape) -> Response<AnswerBody> {
        let status = self.status();
        let body = response::error_body(shape, status.as_u16(), self.kind(), &format!("agentrun: {self}"));
        let mut response = Response::new(AnswerBody::whole(Bytes::from(body)));
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if shape == Shape::Bedrock {
            // AWS SDKs look here for the error's name before they look into the body.
            response.headers_mut().insert("x-amzn-errortype", HeaderValue::from_static(self.kind()));
        }
        if matches!(self, Self::ReplayMiss | Self::Misdirected { .. }) {
            // SDKs retry 409 and 421 by default; asking again changes nothing here.
            response.headers_mut().insert("x-should-retry", HeaderValue::from_static("false"));
        }
        response
    }
}

impl From<(&str, &str, request::SetModelError)> for Refusal {
    fn from((asked, model, error): (&str, &str, request::SetModelError)) -> Self {
        Self::Route { asked: asked.to_owned(), model: model.to_owned(), reason: error.to_string() }
    }
}
