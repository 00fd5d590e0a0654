//! Query parameters and JSON bodies, with our own errors.

use axum::extract::{FromRequestParts, Query};
use http::request::Parts;
use serde::de::DeserializeOwned;

use super::refusal::Refusal;

/// The query of a request.
pub(super) struct Params<T>(pub(super) T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let query = Query::<T>::try_from_uri(&parts.uri);
        query.map(|Query(params)| Self(params)).map_err(|error| Refusal::bad(format!("reading the query: {}", crate::sentence(&error))))
    }
}

/// The message that a body is.
pub(super) fn message<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::bad(format!("reading the body: {error}")))
}

/// The messages that a body's lines are; empty lines are none.
pub(super) fn lines<T: DeserializeOwned>(body: &[u8]) -> Result<Vec<T>, Refusal> {
    let numbered = body.split(|byte| *byte == b'\n').zip(1..).filter(|(line, _)| !line.trim_ascii().is_empty());
    let read = |(line, number): (&[u8], usize)| {
        serde_json::from_slice(line).map_err(|error| Refusal::bad(format!("reading line {number} of the body: {error}")))
    };
    numbered.map(read).collect()
}
