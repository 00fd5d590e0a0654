//! A trial's pod, tried against the API server without making it: the namespace's own policies say what they think of it.

use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use serde_json::Value;

/// What the API server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// It would take the pod.
    Taken {
        /// What it remarks, such as Pod Security's warnings.
        warnings: Vec<String>,
    },
    /// It would not, now or later.
    Refused {
        /// Its sentence.
        message: String,
    },
    /// That cannot be said: it may be otherwise when the run starts.
    Unknown {
        /// Why.
        why: String,
    },
}

/// The most bytes of an answer that are read.
const MOST: usize = 4 << 20;
/// Refusals that pass: a full quota, a service account or namespace that is still being made.
const PASSING: [&str; 3] = ["exceeded quota", "error looking up service account", "is being terminated"];

/// Asks the API server whether it would make a pod. Field names that it does not know count as mistakes: a Job with them would be refused.
pub(crate) async fn attempt(client: &Client, namespace: &str, pod: &Value) -> Attempt {
    let unknown = |why: String| Attempt::Unknown { why };
    let path = format!("/api/v1/namespaces/{namespace}/pods?dryRun=All&fieldValidation=Strict&fieldManager=agentrun-operator");
    let request = http::Request::post(path).header("content-type", "application/json").body(Body::from(pod.to_string().into_bytes()));
    let request = match request {
        Ok(request) => request,
        Err(error) => return unknown(error.to_string()),
    };
    let response = match client.send(request).await {
        Ok(response) => response,
        Err(error) => return unknown(crate::sentence(&error)),
    };
    let status = response.status().as_u16();
    let headers = response.headers().get_all("warning").into_iter().filter_map(|value| value.to_str().ok());
    let warnings: Vec<String> = headers.filter_map(warning).collect();
    let body = http_body_util::Limited::new(response.into_body(), MOST).collect().await;
    match body {
        Ok(body) => outcome(status, &body.to_bytes(), warnings),
        Err(error) => unknown(error.to_string()),
    }
}

/// What an answer means.
pub(crate) fn outcome(status: u16, body: &[u8], warnings: Vec<String>) -> Attempt {
    if (200..300).contains(&status) {
        return Attempt::Taken { warnings };
    }
    let told = serde_json::from_slice::<Value>(body).ok().and_then(|status| status.get("message")?.as_str().map(str::to_owned));
    let message = told.unwrap_or_else(|| format!("status {status}"));
    let passes = PASSING.iter().any(|part| message.contains(part));
    match status {
        400 | 403 | 422 if !passes => Attempt::Refused { message },
        _ => Attempt::Unknown { why: message },
    }
}

/// The text of a `Warning` header: `299 - "text"`.
pub(crate) fn warning(value: &str) -> Option<String> {
    let quoted = value.strip_prefix("299 ")?.split_once(' ')?.1.strip_prefix('"')?;
    let mut text = String::new();
    let mut characters = quoted.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => return Some(text),
            '\\' => text.extend(characters.next()),
            other => text.push(other),
        }
    }
    None
}
