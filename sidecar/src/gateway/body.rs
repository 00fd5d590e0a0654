//! The bodies of requests: objects of JSON, bounded in size and time.

use std::{collections::HashMap, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::refusal::Refusal;

/// The largest body, as in AgentOpt's daemon.
const BYTES: usize = 1 << 20;
/// For a body to arrive.
const PATIENCE: Duration = Duration::from_secs(30);

/// The members of an object, unread: of equal names the last counts, unknown ones do not matter.
pub(super) struct Members(HashMap<String, Box<RawValue>>);

/// Reads a body. An empty one has no members where it `may_be_empty`.
pub(super) async fn members(body: Body, may_be_empty: bool) -> Result<Members, Refusal> {
    let bytes = whole(body).await?;
    if bytes.is_empty() && may_be_empty {
        return Ok(Members(HashMap::new()));
    }
    let read = serde_json::from_slice(&bytes);
    read.map(Members).map_err(|error| Refusal::Mistake(format!("the request's body is no JSON object: {error}")))
}

async fn whole(body: Body) -> Result<Bytes, Refusal> {
    let collected = timeout(PATIENCE, Limited::new(body, BYTES).collect()).await.map_err(|_| Refusal::TooSlow(PATIENCE.as_secs()))?;
    match collected {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Refusal::TooLarge(BYTES)),
        Err(error) => Err(Refusal::Mistake(format!("the request's body could not be read: {error}"))),
    }
}

impl Members {
    /// A member as it was written; `None` where it is missing.
    pub(super) fn written(&self, name: &str) -> Option<&RawValue> {
        self.0.get(name).map(|value| &**value)
    }

    /// A member, read; `None` where it is missing or null.
    pub(super) fn optional<T: DeserializeOwned>(&self, name: &str, is: &str) -> Result<Option<T>, Refusal> {
        let Some(written) = self.written(name) else { return Ok(None) };
        serde_json::from_str(written.get()).map_err(|error| Refusal::Mistake(format!("`{name}` is not {is}: {error}")))
    }

    /// A member that must be there.
    pub(super) fn needed<T: DeserializeOwned>(&self, name: &str, is: &str) -> Result<T, Refusal> {
        let missing = || Refusal::Mistake(format!("`{name}` is missing: give {is}"));
        self.optional(name, is)?.ok_or_else(missing)
    }
}
