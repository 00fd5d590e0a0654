//! The API server's question and our answer, as JSON. Objects stay as they were received.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use thiserror::Error;

use crate::inject::Operation;

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";
/// The longest uid of a request that is believed.
const MAX_UID: usize = 128;

/// A body that is no question.
#[derive(Debug, Error)]
pub(super) enum ReviewError {
    /// It is no JSON.
    #[error("the body is no JSON: {0}")]
    Json(serde_json::Error),
    /// It is something else.
    #[error("the body is no AdmissionReview of {API_VERSION} with a request")]
    Other,
}

/// What the API server asks.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Request {
    /// Names the request.
    pub(super) uid: String,
    /// The object's kind.
    pub(super) kind: String,
    /// The object's namespace.
    pub(super) namespace: String,
    /// `CREATE`, `UPDATE`, …
    pub(super) operation: String,
    /// Whether nothing comes of it.
    pub(super) is_dry_run: bool,
    /// The object as it is to be; null where there is none.
    pub(super) object: Value,
    /// The object as it was; null where there is none.
    pub(super) before: Value,
}

/// Reads a question.
///
/// # Errors
/// The body is none, or nobody could be answered.
pub(super) fn read(body: &[u8]) -> Result<Request, ReviewError> {
    let mut review: Value = serde_json::from_slice(body).map_err(ReviewError::Json)?;
    if review.get("kind").and_then(Value::as_str) != Some(KIND) || review.get("apiVersion").and_then(Value::as_str) != Some(API_VERSION) {
        return Err(ReviewError::Other);
    }
    let Some(Value::Object(request)) = review.get_mut("request").map(Value::take) else { return Err(ReviewError::Other) };
    let mut request = Value::Object(request);
    let text = |pointer: &str| request.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let uid = text("/uid");
    if !is_uid(&uid) {
        return Err(ReviewError::Other);
    }
    let (kind, namespace, operation) = (text("/kind/kind"), text("/namespace"), text("/operation"));
    let is_dry_run = request.get("dryRun").and_then(Value::as_bool).unwrap_or_default();
    let mut take = |key: &str| request.get_mut(key).map(Value::take).unwrap_or_default();
    Ok(Request { uid, kind, namespace, operation, is_dry_run, object: take("object"), before: take("oldObject") })
}

/// The request's uid in a body that is not read as a whole. The API server writes it at the beginning.
pub(super) fn uid_in(beginning: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(beginning);
    let rest = text.split_once("\"request\"")?.1.split_once("\"uid\"")?.1;
    let value = rest.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
    let uid = value.split_once('"')?.0;
    is_uid(uid).then(|| uid.to_owned())
}

fn is_uid(uid: &str) -> bool {
    !uid.is_empty() && uid.len() <= MAX_UID && uid.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
}

/// What we answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Answer {
    /// Why the object is denied, with the HTTP status that says so; `None` admits it.
    pub(super) denied: Option<(u16, String)>,
    /// Changes to the object.
    pub(super) operations: Vec<Operation>,
    /// What its author should know.
    pub(super) warnings: Vec<String>,
    /// For the API server's audit log.
    pub(super) audit: BTreeMap<&'static str, String>,
}

impl Answer {
    /// Admits the object as it is.
    pub(super) fn admitted() -> Self {
        Self::default()
    }

    /// Denies the object.
    pub(super) fn denied(code: u16, message: impl Into<String>) -> Self {
        Self { denied: Some((code, message.into())), ..Self::default() }
    }

    /// As the API server reads it.
    pub(super) fn write(&self, uid: &str) -> Vec<u8> {
        let mut response = json!({"uid": uid, "allowed": self.denied.is_none()});
        if let Some((code, message)) = &self.denied {
            response["status"] = json!({"code": code, "message": message});
        } else if !self.operations.is_empty() {
            let patch = serde_json::to_vec(&self.operations).expect("operations are JSON");
            response["patchType"] = json!("JSONPatch");
            response["patch"] = json!(STANDARD.encode(patch));
        }
        if !self.warnings.is_empty() {
            response["warnings"] = json!(self.warnings);
        }
        if !self.audit.is_empty() {
            response["auditAnnotations"] = json!(self.audit);
        }
        json!({"apiVersion": API_VERSION, "kind": KIND, "response": response}).to_string().into_bytes()
    }
}
