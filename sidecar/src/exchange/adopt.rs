//! An answer of AgentOpt's becomes one of ours.

use std::sync::Arc;

use agentrun_llm::{
    provider::Framing,
    response::{self, Answer},
};
use bytes::Bytes;
use http::{HeaderValue, header};

use super::Reading;
use crate::{
    cache::{
        Cache,
        agentopt::Row,
        entry::{Entry, now},
    },
    record::{Call, finish::is_good},
};

/// The answer that AgentOpt's table has for a call, if it is one to give: AgentOpt stores whatever came with status 200, an error or half an answer
/// too.
pub(super) async fn adopted(call: &Call, cache: &Cache, reading: &Arc<Reading>) -> Option<Arc<Entry>> {
    let Row { framing, mut headers, body, latency_seconds } = cache.row(reading.row?).await?;
    let framing = match framing {
        // A streamed JSON array has no content type of its own.
        Some(Framing::Json) if reading.wanted == Framing::JsonArray => Framing::JsonArray,
        Some(framing) => framing,
        None => {
            headers.push((header::CONTENT_TYPE, HeaderValue::from_static(reading.wanted.content_type())));
            reading.wanted
        }
    };
    let answer = read(reading.clone(), framing, body.clone()).await.filter(is_good)?;
    let mut facts = call.facts(reading, &headers, framing, Some(&answer));
    facts.latency_seconds = latency_seconds;
    let headers = headers.into_boxed_slice();
    Some(Arc::new(Entry { status: 200, framing, headers, body, facts, number: Entry::number(), written_at: now() }))
}

/// On a thread where it holds nobody up: it may be megabytes.
async fn read(reading: Arc<Reading>, framing: Framing, body: Bytes) -> Option<Answer> {
    let read = move || response::read(&reading.endpoint, framing, &body, reading.model.as_deref());
    tokio::task::spawn_blocking(read).await.ok()
}
