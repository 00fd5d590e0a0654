//! Stored answers and the leases on them: [`agentrun_protocol::lease`] says what is asked and answered.

use std::{sync::Arc, time::Duration};

use agentrun_protocol::lease::{ENTRY_BYTES, LANDED_HEADER, LEASE_HEADER, Renewal, Renewed};
use axum::{
    body::Body,
    extract::{Path, State as Shared},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Deserialize;

use super::{
    Answer, State,
    caller::FromPod,
    params::{self, Params},
    pod::done,
    refusal::{Refusal, json},
};
use crate::{
    lease::{Claimed, Holder},
    metrics::Found,
};

const _: () = assert!(ENTRY_BYTES <= usize::MAX as u64, "an entry fits into memory");
/// The longest lease id.
const LEASE_BYTES: usize = 128;
/// The most bytes of a renewal.
const RENEWAL_BYTES: usize = 1 << 20;

/// What is asked of an entry.
#[derive(Deserialize)]
pub(super) struct Asked {
    lease: Option<String>,
    /// Seconds.
    #[serde(default)]
    wait: f64,
    keep: Option<bool>,
    #[serde(default)]
    alone: bool,
}

impl Asked {
    fn holder(&self, pod: &str) -> Result<Option<Holder>, Refusal> {
        let holder = |id: &String| match id.len() {
            1..=LEASE_BYTES => Ok(Holder { pod: pod.to_owned(), id: id.clone() }),
            _ => Err(Refusal::bad(format!("`lease` must have 1 to {LEASE_BYTES} bytes"))),
        };
        self.lease.as_ref().map(holder).transpose()
    }

    fn wait(&self) -> Result<Duration, Refusal> {
        Duration::try_from_secs_f64(self.wait).map_err(|_| Refusal::bad("`wait` must be a number of seconds from 0"))
    }
}

pub(super) async fn find(
    Shared(state): Shared<Arc<State>>,
    FromPod(pod): FromPod,
    Path(key): Path<String>,
    Params(asked): Params<Asked>,
) -> Answer {
    let (key, holder, wait) = (digest(&key)?, asked.holder(&pod.uid)?, asked.wait()?);
    let scope = state.attempt(&pod).await?.scope;
    if let Some(answer) = state.archive.answer(&scope, &key).await? {
        state.metrics.found(Found::Stored);
        return Ok(entry(answer));
    }
    let Some(holder) = holder else {
        state.metrics.found(Found::Nothing);
        return Ok(nothing_stored());
    };
    let place = (scope, key);
    let claimed = tokio::select! {
        claimed = state.leases.claim(&place, &holder, wait) => claimed?,
        () = state.closing.cancelled() => Claimed::Undecided,
    };
    match claimed {
        Claimed::Leads => {
            // Between the look and the claim, the leader of before may have stored its answer.
            match state.archive.answer(&place.0, &key).await {
                Ok(Some(answer)) => {
                    state.leases.answer(&place, None, &answer, true);
                    state.metrics.found(Found::Stored);
                    return Ok(entry(answer));
                }
                Ok(None) => {}
                Err(error) => {
                    state.leases.give_up(&place, &holder, false);
                    return Err(error.into());
                }
            }
            state.metrics.found(Found::Leads);
            let mut answer = nothing_stored();
            answer.headers_mut().insert(HeaderName::from_static(LEASE_HEADER), HeaderValue::from_static("leader"));
            Ok(answer)
        }
        Claimed::Answered { answer, kept } => {
            state.metrics.found(Found::Shared);
            let mut answer = entry(answer);
            if !kept {
                answer.headers_mut().insert(HeaderName::from_static(LANDED_HEADER), HeaderValue::from_static("true"));
            }
            Ok(answer)
        }
        Claimed::Alone => {
            state.metrics.found(Found::Nothing);
            Ok(nothing_stored())
        }
        Claimed::Undecided => {
            state.metrics.found(Found::Undecided);
            Ok(StatusCode::ACCEPTED.into_response())
        }
    }
}

pub(super) async fn store(
    Shared(state): Shared<Arc<State>>,
    FromPod(pod): FromPod,
    Path(key): Path<String>,
    Params(asked): Params<Asked>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let (key, holder) = (digest(&key)?, asked.holder(&pod.uid)?);
    let answer = state.room.read(&headers, body, ENTRY_BYTES as usize).await?;
    let place = (state.attempt(&pod).await?.scope, key);
    let stored = match asked.keep.unwrap_or(true) {
        true => Some(state.archive.keep_answer(&place.0, key, answer.clone()).await),
        false => None,
    };
    // What could not be stored still serves those that wait.
    state.leases.answer(&place, holder.as_ref(), &answer, matches!(stored, Some(Ok(()))));
    stored.transpose()?;
    Ok(done())
}

pub(super) async fn give_up(
    Shared(state): Shared<Arc<State>>,
    FromPod(pod): FromPod,
    Path(key): Path<String>,
    Params(asked): Params<Asked>,
) -> Answer {
    let holder = asked.holder(&pod.uid)?.ok_or_else(|| Refusal::bad("`lease` is missing: stored answers are not deleted"))?;
    let place = (state.attempt(&pod).await?.scope, digest(&key)?);
    state.leases.give_up(&place, &holder, asked.alone);
    Ok(done())
}

pub(super) async fn renew(Shared(state): Shared<Arc<State>>, FromPod(pod): FromPod, headers: HeaderMap, body: Body) -> Answer {
    let renewal: Renewal = params::message(&state.room.read(&headers, body, RENEWAL_BYTES).await?)?;
    let scope = state.attempt(&pod).await?.scope;
    let lost = state.leases.renew(&pod.uid, renewal, |key| digest(key).ok().map(|key| (scope.clone(), key)));
    Ok(json(&Renewed { lost }))
}

/// The digest that a key's hex text is.
fn digest(text: &str) -> Result<[u8; 32], Refusal> {
    let mut digest = [0; 32];
    let hex = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let wrong = || Refusal::bad("the key must be 64 hexadecimal digits");
    if text.len() != 64 {
        return Err(wrong());
    }
    for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = hex(pair[0]).zip(hex(pair[1])).map(|(high, low)| high << 4 | low).ok_or_else(wrong)?;
    }
    Ok(digest)
}

fn entry(answer: Bytes) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"))], answer).into_response()
}

fn nothing_stored() -> Response {
    StatusCode::NOT_FOUND.into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_64_hexadecimal_digits() {
        let digits = "00ff".repeat(16);
        assert_eq!(digest(&digits).unwrap()[..4], [0, 255, 0, 255]);
        for wrong in ["", "00", &"0".repeat(63), &"0".repeat(66), &"g".repeat(64), &"é".repeat(32)] {
            assert!(digest(wrong).is_err(), "{wrong}");
        }
    }
}
