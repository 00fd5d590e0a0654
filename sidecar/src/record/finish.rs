//! The end of a call that upstream answered: what is stored, what waits for it, what is recorded.

use std::{sync::Arc, time::Duration};

use agentrun_llm::{
    call::Outcome,
    provider::Framing,
    redact,
    response::{self, Answer},
};
use bytes::Bytes;

use super::{Call, End};
use crate::{
    cache::{
        entry::{Entry, Facts, now},
        flight::{Landing, Leader},
    },
    decode,
    exchange::Reading,
    journal::AnswerText,
    tee::{Captured, Ending, Head},
};

/// An answer larger than this is read on a thread where it holds nobody up.
const INLINE_BYTES: usize = 128 << 10;

/// A call whose answer has ended.
pub(crate) struct Finished {
    pub(crate) call: Call,
    pub(crate) leader: Option<Leader>,
    pub(crate) head: Head,
    pub(crate) captured: Captured,
    pub(crate) ending: Ending,
    /// Whether the client heard the end.
    pub(crate) heard: bool,
    /// From the call's start to its answer's end.
    pub(crate) took: Duration,
}

/// What the answer's bytes turned out to be.
struct Understood {
    body: Bytes,
    answer: Option<Answer>,
    problem: Option<String>,
}

impl Finished {
    /// Stores, lands and records. A client that asks again at once finds the answer: small ones are done with here and now, and
    /// large ones keep their flight open until they are.
    pub(crate) fn settle(self) {
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) if self.captured.bytes.len() > INLINE_BYTES => {
                let settling = self.call.proxy().settling.token();
                runtime.spawn_blocking(move || {
                    self.settle_now();
                    drop(settling);
                });
            }
            _ => self.settle_now(),
        }
    }

    fn settle_now(mut self) {
        let Some(reading) = self.call.reading().cloned() else { return };
        let understood = self.understand(&reading);
        let facts = self.facts(&reading, understood.answer.as_ref());
        let (outcome, error) = self.outcome(&reading, &understood);
        let whole = self.captured.whole && self.ending == Ending::Complete && understood.problem.is_none();
        let entry = whole.then(|| {
            Arc::new(Entry {
                status: self.head.status,
                framing: self.head.framing,
                headers: std::mem::take(&mut self.head.headers).into_boxed_slice(),
                body: understood.body.clone(),
                facts: facts.clone(),
                number: Entry::number(),
                written_at: now(),
            })
        });
        // Answers are good or bad by themselves; that their client did not wait changes nothing.
        let good = self.good(&understood) && self.call.stores();
        let answer = match &entry {
            Some(entry) if facts.is_message => Some(AnswerText::Message(entry.clone())),
            _ => understood.answer.as_ref().and_then(|answer| answer.message.as_ref()).map(|message| AnswerText::Json(message.to_string())),
        };
        let landing = match entry {
            Some(entry) => Landing::Answered(entry),
            None if self.ending == Ending::Complete => Landing::Alone,
            None => Landing::Lost,
        };
        self.call.proxy().cache.end(&reading, self.call.epoch(), self.leader.take(), landing, good);
        let end = End {
            status: if self.ending == Ending::Complete { self.head.status } else { 0 },
            outcome,
            error,
            facts,
            cached: None,
            entry: None,
            answer,
            response_bytes: self.captured.total,
            took: self.took,
        };
        self.call.end(end);
    }

    fn understand(&mut self, reading: &Reading) -> Understood {
        let limit = self.call.proxy().limits.entry_bytes;
        let mut problem = None;
        let body = match &self.head.encoding {
            Some(encoding) if self.captured.whole => match decode::decode(encoding, &self.captured.bytes, limit) {
                Ok(plain) => exactly(plain),
                Err(error) => {
                    problem = Some(error.to_string());
                    Bytes::new()
                }
            },
            _ => exactly(std::mem::take(&mut self.captured.bytes)),
        };
        let model = reading.model.as_deref();
        let answer = match (&problem, self.captured.whole) {
            (Some(_), _) => None,
            (None, true) => Some(response::read(&reading.endpoint, self.head.framing, &body, model)),
            (None, false) if self.head.encoding.is_none() => Some(response::read_tail(&reading.endpoint, self.head.framing, &body, model)),
            (None, false) => None,
        };
        if !self.captured.whole && problem.is_none() {
            let room = if self.captured.total > limit as u64 { "too large" } else { "too large for the memory that was free" };
            problem = Some(format!("uncached: {room}, {} bytes", self.captured.total));
        }
        Understood { body, answer, problem }
    }

    fn facts(&self, reading: &Reading, answer: Option<&Answer>) -> Facts {
        let plain = self.head.encoding.is_none() && self.captured.whole && self.head.framing != Framing::Json;
        let first = answer.filter(|_| plain).and_then(|answer| self.captured.arrival(answer.first_content?));
        let facts = self.call.facts(reading, &self.head.headers, self.head.framing, answer);
        Facts {
            is_message: facts.is_message && self.captured.whole,
            latency_seconds: self.took.as_secs_f64(),
            first_token_seconds: first.map(|first| first.as_secs_f64()),
            ..facts
        }
    }

    /// Whether the answer is one to give again.
    fn good(&self, understood: &Understood) -> bool {
        self.head.status == 200 && understood.answer.as_ref().is_some_and(is_good)
    }

    fn outcome(&self, reading: &Reading, understood: &Understood) -> (Outcome, Option<String>) {
        let answer = understood.answer.as_ref();
        match &self.ending {
            Ending::Cut(reason) => (self.gone_or(Outcome::UpstreamCut), Some(format!("the answer broke off: {reason}"))),
            Ending::Silent(after) => (self.gone_or(Outcome::Timeout), Some(format!("nothing came for {} s", after.as_secs()))),
            Ending::Abandoned => (Outcome::ClientGone, Some("the client went away, and the answer did not end soon after".to_owned())),
            Ending::Stopped => (Outcome::ClientGone, Some("the proxy stopped before the answer's end".to_owned())),
            Ending::Complete if !self.heard => (Outcome::ClientGone, Some("the client went away before the answer's end".to_owned())),
            Ending::Complete if self.head.status != 200 => {
                let said = answer.and_then(|answer| answer.error.as_deref()).map(|said| format!(": {}", redact::text(said)));
                (Outcome::HttpError, Some(format!("HTTP {}{}", self.head.status, said.unwrap_or_default())))
            }
            Ending::Complete => match (answer, &understood.problem) {
                (Some(Answer { error: Some(error), .. }), _) => (Outcome::ProviderError, Some(redact::text(error).into_owned())),
                (None, problem) => (Outcome::Unreadable, problem.clone()),
                (Some(answer), problem) if answer.complete || !self.captured.whole => (Outcome::Complete, problem.clone()),
                (Some(_), _) if reading.stream => (Outcome::UpstreamCut, Some("the stream ended without its last event".to_owned())),
                (Some(answer), _) if answer.message.is_none() => (Outcome::Unreadable, answer.usage.as_ref().err().cloned()),
                (Some(_), problem) => (Outcome::Complete, problem.clone()),
            },
        }
    }

    fn gone_or(&self, outcome: Outcome) -> Outcome {
        if self.heard { outcome } else { Outcome::ClientGone }
    }
}

/// Whether an answer of status 200 is one to give again.
pub(crate) fn is_good(answer: &Answer) -> bool {
    answer.complete && answer.error.is_none() && answer.message.is_some()
}

/// As large as it is: a buffer that grew holds more, and a stored answer would for as long as it is stored.
fn exactly(bytes: Vec<u8>) -> Bytes {
    Bytes::from(bytes.into_boxed_slice())
}
