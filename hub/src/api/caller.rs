//! Who asks, as handlers take it.

use agentrun_protocol::paths::AUTHORIZATION_HEADER;
use axum::extract::FromRequestParts;
use http::{HeaderMap, header, request::Parts};

use super::refusal::Refusal;
use crate::{
    auth::AuthError,
    identity::{Caller, PodIdentity, PodRole},
};

/// The request's token. The service proxy eats `Authorization`, so that the other header counts more.
pub(super) fn token(headers: &HeaderMap) -> Result<&str, AuthError> {
    let header = headers.get(AUTHORIZATION_HEADER).or_else(|| headers.get(header::AUTHORIZATION)).ok_or(AuthError::Missing)?;
    let (scheme, token) = header.to_str().ok().and_then(|text| text.split_once(' ')).ok_or(AuthError::Missing)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(AuthError::Missing);
    }
    Ok(token.trim())
}

fn caller(parts: &Parts) -> Result<Caller, Refusal> {
    // The layer that puts it there is around every route.
    parts.extensions.get().cloned().ok_or_else(|| AuthError::Missing.into())
}

/// A pod of a run, with an agent.
pub(super) struct FromPod(pub(super) PodIdentity);

/// A pod of the operator's that scores the outputs of the run of this uid.
pub(super) struct FromScorer(pub(super) PodIdentity, pub(super) String);

/// The operator.
pub(super) struct FromOperator;

/// Whoever may read the runs of `namespace`; `None`: of all.
pub(super) struct FromReader {
    pub(super) namespace: Option<String>,
}

impl<S: Sync> FromRequestParts<S> for FromPod {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        match caller(parts)? {
            Caller::Pod(PodIdentity { role: PodRole::Scoring { .. }, .. }) => Err(Refusal::forbidden("a scoring pod has no trial")),
            Caller::Pod(pod) => Ok(Self(pod)),
            _ => Err(Refusal::forbidden("only a pod of a run may ask this: the token is bound to none")),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for FromScorer {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let scorer = match caller(parts)? {
            Caller::Pod(pod) => match &pod.role {
                PodRole::Scoring { run_uid } => Some((run_uid.clone(), pod)),
                PodRole::Trial { .. } | PodRole::Foreign { .. } => None,
            },
            Caller::Operator | Caller::Reader { .. } => None,
        };
        let (run_uid, pod) = scorer.ok_or_else(|| Refusal::forbidden("only the operator's scoring pods may ask this"))?;
        Ok(Self(pod, run_uid))
    }
}

impl<S: Sync> FromRequestParts<S> for FromOperator {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        match caller(parts)? {
            Caller::Operator => Ok(Self),
            _ => Err(Refusal::forbidden("only the operator may ask this")),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for FromReader {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        match caller(parts)? {
            Caller::Operator => Ok(Self { namespace: None }),
            Caller::Reader { namespace } => Ok(Self { namespace: Some(namespace) }),
            Caller::Pod(_) => Err(Refusal::forbidden("a pod may not read runs: the token must be bound to no pod")),
        }
    }
}

impl FromReader {
    /// Whether the caller may read the runs of `namespace`.
    pub(super) fn may_read(&self, namespace: &str) -> Result<(), Refusal> {
        match &self.namespace {
            Some(own) if own != namespace => {
                Err(Refusal::forbidden(format!("the token is of namespace {own}, and may not read the runs of namespace {namespace}")))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_comes_in_either_header() {
        let headers = |pairs: &[(&'static str, &'static str)]| {
            HeaderMap::from_iter(pairs.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap())))
        };
        let read = |pairs: &[(&'static str, &'static str)]| token(&headers(pairs)).map(str::to_owned).ok();
        assert_eq!(read(&[("authorization", "Bearer a.b.c")]).as_deref(), Some("a.b.c"));
        assert_eq!(read(&[("authorization", "Bearer x"), ("agentrun-authorization", "bearer y")]).as_deref(), Some("y"));
        for none in [&[][..], &[("authorization", "Basic abc")], &[("authorization", "Bearer")], &[("agentrun-authorization", "x")]] {
            assert_eq!(read(none), None);
        }
    }
}
