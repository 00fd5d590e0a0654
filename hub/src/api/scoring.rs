//! What a scoring pod asks: outputs that wait; and what it brings: their scores.

use std::sync::Arc;

use agentrun_protocol::{query::PAGE, score::Scored};
use axum::{body::Body, extract::State as Shared, response::IntoResponse};
use http::{HeaderMap, HeaderValue, header};
use serde::Deserialize;

use super::{
    Answer, State,
    caller::FromScorer,
    params::{self, Params},
    pod::done,
    refusal::Refusal,
};
use crate::archive::RunId;

/// The most bytes of a batch of scores.
const SCORES_BYTES: usize = 8 << 20;

/// Which page.
#[derive(Deserialize)]
pub(super) struct Page {
    after: Option<i64>,
    limit: Option<u64>,
}

pub(super) async fn items(Shared(state): Shared<Arc<State>>, scorer: FromScorer, Params(page): Params<Page>) -> Answer {
    let run = state.scored_by(&scorer).await?;
    let items = state.archive.score_items(run, page.after.unwrap_or(-1), page.limit.unwrap_or(PAGE).clamp(1, PAGE)).await?;
    let mut lines = Vec::new();
    for item in &items {
        serde_json::to_writer(&mut lines, item).map_err(|error| Refusal::busy(format!("writing an item: {error}")))?;
        lines.push(b'\n');
    }
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("application/jsonl"))], lines).into_response())
}

pub(super) async fn scores(Shared(state): Shared<Arc<State>>, scorer: FromScorer, headers: HeaderMap, body: Body) -> Answer {
    let run = state.scored_by(&scorer).await?;
    let scores: Vec<Scored> = params::lines(&state.room.read(&headers, body, SCORES_BYTES).await?)?;
    state.archive.score(run, scores).await?;
    Ok(done())
}

impl State {
    /// The run whose outputs the pod scores.
    async fn scored_by(&self, FromScorer(pod, run_uid): &FromScorer) -> Result<RunId, Refusal> {
        Ok(self.archive.find(&pod.namespace, &pod.run, Some(run_uid)).await?)
    }
}
