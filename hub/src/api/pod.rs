//! What a pod's sidecar asks: its trial; and what it brings: records, output, the end.

use std::sync::Arc;

use agentrun_protocol::trial::{BATCH_BYTES, End, FIRST_SEQUENCE_HEADER};
use axum::{
    body::Body,
    extract::State as Shared,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;

use super::{Answer, Attempt, State, caller::FromPod, params, refusal::Refusal, refusal::json};
use crate::{
    archive::{Archive, ArchiveError, AttemptId, Claimed, Claims, OUTPUT_BYTES, Place, Pod},
    identity::{PodIdentity, PodRole},
};

/// The most bytes of an end.
const END_BYTES: usize = 64 << 10;

pub(super) async fn trial(Shared(state): Shared<Arc<State>>, FromPod(pod): FromPod) -> Answer {
    let claimed = state.claim(&pod).await?;
    Ok(json(&claimed.assignment))
}

pub(super) async fn records(Shared(state): Shared<Arc<State>>, FromPod(pod): FromPod, headers: HeaderMap, body: Body) -> Answer {
    let first = headers.get(FIRST_SEQUENCE_HEADER).and_then(|first| first.to_str().ok()?.parse::<u64>().ok());
    let first = first.filter(|first| *first > 0);
    let first =
        first.ok_or_else(|| Refusal::bad(format!("the batch has no {FIRST_SEQUENCE_HEADER}: send the first line's number, from 1")))?;
    let lines = state.room.read(&headers, body, BATCH_BYTES).await?;
    state.metrics.batch(lines.len());
    let ingest = |archive: Archive, attempt| {
        let lines = lines.clone();
        async move { archive.ingest(attempt, first, lines).await }
    };
    let acknowledged = state.for_attempt(&pod, ingest).await?;
    Ok(json(&acknowledged))
}

pub(super) async fn output(Shared(state): Shared<Arc<State>>, FromPod(pod): FromPod, headers: HeaderMap, body: Body) -> Answer {
    let output = state.room.read(&headers, body, OUTPUT_BYTES).await?;
    let put = |archive: Archive, attempt| {
        let output = output.clone();
        async move { archive.put_output(attempt, output).await }
    };
    state.for_attempt(&pod, put).await?;
    Ok(done())
}

pub(super) async fn end(Shared(state): Shared<Arc<State>>, FromPod(pod): FromPod, headers: HeaderMap, body: Body) -> Answer {
    let end: End = params::message(&state.room.read(&headers, body, END_BYTES).await?)?;
    let end = |archive: Archive, attempt| {
        let end = end.clone();
        async move { archive.end(attempt, end).await }
    };
    state.for_attempt(&pod, end).await?;
    Ok(done())
}

/// Done, and nothing to say.
pub(super) fn done() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

impl State {
    /// The pod's attempt with all that it is to do. The same pod gets the same one again.
    async fn claim(&self, pod: &PodIdentity) -> Result<Claimed, Refusal> {
        let name = Pod { uid: pod.uid.clone(), name: pod.name.clone() };
        let claimed = match &pod.role {
            PodRole::Trial { run_uid, combo, chunk, index } => {
                let place = Place { combo: *combo, chunk: *chunk, index: *index };
                self.archive.claim(&pod.namespace, run_uid, place, name, Timestamp::now()).await
            }
            PodRole::Foreign { data_id, combo_id, agent_id } => {
                let claims = Claims { data_id: data_id.clone(), combo_id: combo_id.clone(), agent_id: agent_id.clone() };
                self.archive.adopt(&pod.namespace, &pod.run, claims, name, Timestamp::now()).await
            }
            PodRole::Scoring { .. } => return Err(Refusal::forbidden("a scoring pod has no trial")),
        };
        let claimed = claimed.map_err(|error| match error {
            // The operator registers a run before its pods start, and again when a hub that lost its data asks for it.
            ArchiveError::NoRun(_) => Refusal::busy(format!("run {} is not registered here yet: ask again later", pod.run)),
            error => error.into(),
        })?;
        let attempt = Attempt { run: claimed.run, id: claimed.attempt, scope: claimed.scope.clone() };
        self.attempts.insert(pod.uid.clone(), attempt);
        Ok(claimed)
    }

    /// The pod's attempt, from memory where it asked before.
    pub(super) async fn attempt(&self, pod: &PodIdentity) -> Result<Attempt, Refusal> {
        if let Some(attempt) = self.attempts.get(&pod.uid) {
            return Ok(attempt);
        }
        let claimed = self.claim(pod).await?;
        Ok(Attempt { run: claimed.run, id: claimed.attempt, scope: claimed.scope })
    }

    /// Does something for the pod's attempt; where the archive has forgotten that one, or its run's data, for the one
    /// that it gives instead.
    async fn for_attempt<T, F>(&self, pod: &PodIdentity, act: impl Fn(Archive, AttemptId) -> F) -> Result<T, Refusal>
    where
        F: Future<Output = Result<T, ArchiveError>>,
    {
        let attempt = self.attempt(pod).await?;
        match act(self.archive.clone(), attempt.id).await {
            Err(ArchiveError::NoAttempt | ArchiveError::Expired(_)) => {
                tracing::info!(run = ?attempt.run, pod = pod.name, "an attempt is not known any more, and is asked for again");
                self.attempts.remove(&pod.uid);
                Ok(act(self.archive.clone(), self.attempt(pod).await?.id).await?)
            }
            acted => Ok(acted?),
        }
    }
}
