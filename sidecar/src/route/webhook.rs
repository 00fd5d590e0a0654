//! Models by another process: it is told of each call and names the model.

use std::{path::PathBuf, time::Duration};

use agentrun_protocol::routing::{Failure, PolicyError, WebhookPolicy};
use bytes::Bytes;
use http::{Method, Request, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;

use crate::{route::Question, upstream::last_cause};

/// The most bytes of a decision.
const DECISION_BYTES: usize = 64 << 10;

#[derive(Debug)]
pub(super) struct Webhook {
    place: Place,
    timeout: Duration,
    failure: Failure,
}

#[derive(Debug)]
enum Place {
    Http(Uri, Box<Client<HttpConnector, Full<Bytes>>>),
    Unix(PathBuf),
}

/// What the process is told.
#[derive(Serialize)]
struct Asked<'a> {
    model: &'a str,
    provider: &'a str,
    data_id: Option<&'a str>,
    combo_id: Option<&'a str>,
    agent_id: Option<&'a str>,
    sample: u32,
    request: Option<Box<serde_json::value::RawValue>>,
    history: &'a [crate::session::Past],
}

/// What it says: null, or no `model` at all, leaves the one that was asked for.
#[derive(Deserialize)]
struct Said {
    model: Option<String>,
}

impl Webhook {
    pub(super) fn new(policy: &WebhookPolicy) -> Result<Self, PolicyError> {
        Ok(Self { place: Place::of(&policy.url)?, timeout: Duration::from_millis(policy.timeout_milliseconds), failure: policy.failure })
    }

    /// The model; an error where the call may not go on without one.
    pub(super) async fn decide(&self, question: &Question<'_>) -> Result<Option<String>, String> {
        let decided = tokio::time::timeout(self.timeout, self.ask(question)).await;
        let decided = decided.unwrap_or_else(|_| Err(format!("it said nothing within {} ms", self.timeout.as_millis())));
        match (decided, self.failure) {
            (Ok(model), _) => Ok(model),
            (Err(problem), Failure::Closed) => Err(problem),
            (Err(problem), Failure::Open) => {
                tracing::warn!(%problem, "the routing webhook gave no decision: the call keeps its model");
                Ok(None)
            }
        }
    }

    async fn ask(&self, question: &Question<'_>) -> Result<Option<String>, String> {
        let session = question.session;
        let asked = Asked {
            model: question.model,
            provider: question.provider,
            data_id: session.data_id.as_deref(),
            combo_id: session.combo_id.as_deref(),
            agent_id: session.agent_id.as_deref(),
            sample: session.sample,
            request: question.request.to_strict().and_then(|text| serde_json::value::RawValue::from_string(text).ok()),
            history: &question.history,
        };
        let body = serde_json::to_vec(&asked).map_err(|error| error.to_string())?;
        let answer = self.place.send(body.into()).await?;
        if !answer.status().is_success() {
            return Err(format!("it answered {}", answer.status()));
        }
        let said: Said = serde_json::from_slice(answer.body()).map_err(|error| format!("its answer is no {{\"model\": …}}: {error}"))?;
        Ok(said.model.filter(|model| !model.is_empty()))
    }
}

impl Place {
    fn of(url: &str) -> Result<Self, PolicyError> {
        let wrong = |reason: &str| PolicyError::Url(format!("`{url}` {reason}"));
        if let Some(path) = url.strip_prefix("unix://") {
            return if path.starts_with('/') { Ok(Self::Unix(path.into())) } else { Err(wrong("names no absolute path")) };
        }
        let uri: Uri = url.parse().map_err(|_| wrong("is no URL"))?;
        if uri.scheme_str() != Some("http") || uri.host().is_none() {
            return Err(wrong("is no such URL"));
        }
        let client = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build_http();
        Ok(Self::Http(uri, Box::new(client)))
    }

    async fn send(&self, body: Bytes) -> Result<http::Response<Bytes>, String> {
        let answer = match self {
            Self::Http(uri, client) => client.request(request(uri.clone(), body)?).await.map_err(|error| last_cause(&error))?,
            Self::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(|error| error.to_string())?;
                let (mut sender, connection) =
                    hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
                tokio::spawn(connection);
                let mut request = request(Uri::from_static("/"), body)?;
                request.headers_mut().insert(header::HOST, header::HeaderValue::from_static("localhost"));
                sender.send_request(request).await.map_err(|error| last_cause(&error))?
            }
        };
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, DECISION_BYTES).collect().await.map_err(|error| last_cause(error.as_ref()))?;
        Ok(http::Response::from_parts(parts, body.to_bytes()))
    }
}

fn request(uri: Uri, body: Bytes) -> Result<Request<Full<Bytes>>, String> {
    let request = Request::builder().method(Method::POST).uri(uri).header(header::CONTENT_TYPE, "application/json");
    request.body(Full::new(body)).map_err(|error| error.to_string())
}
