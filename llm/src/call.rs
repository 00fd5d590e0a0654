//! The record of one call: one JSON object, the same in the journal, the query API and the exports.

mod id;

pub use id::{CallId, CallIdError};
use jiff::Timestamp;
use jiff::civil::Date;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::usage::Usage;

/// The model of a call whose answer arrived but could not be read and whose request named none (AgentOpt's rule).
pub const PARSE_FAILED: &str = "<parse-failed>";

/// The model of a call that named none and ended without an answer to read one from (AgentOpt's rule).
pub const UNKNOWN_MODEL: &str = "unknown";

/// What a call asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// A chat turn: OpenAI chat completions, Anthropic messages, Gemini `generateContent`, Bedrock Converse and their like.
    Chat,
    /// OpenAI's Responses.
    Responses,
    /// A text completion.
    Completion,
    /// Embeddings.
    Embeddings,
    /// A count of tokens, which no provider charges for.
    CountTokens,
    /// Anything else on an LLM host.
    #[default]
    Other,
}

/// How a call reached us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Capture {
    /// Through the proxy environment.
    Connect,
    /// Through port 443 on loopback, where the host's name was made to point.
    Dns,
    /// Through a base URL that names us.
    BaseUrl,
    /// Through a session's own port.
    Session,
}

/// How a call ended. Every call ends in exactly one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A complete answer that is not an error.
    Complete,
    /// The client went away before the answer's end.
    ClientGone,
    /// The upstream's answer broke off.
    UpstreamCut,
    /// No connection to the upstream.
    UpstreamRefused,
    /// The TLS handshake with the upstream failed.
    UpstreamTls,
    /// A time limit ran out.
    Timeout,
    /// A complete answer whose status is not 200.
    HttpError,
    /// A 200 that carries an error.
    ProviderError,
    /// A complete answer that could not be read.
    Unreadable,
    /// Replay only, and no stored answer.
    ReplayMiss,
    /// We refused the call ourselves.
    Refused,
}

/// Where a stored answer was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheLayer {
    /// In this process's memory.
    Memory,
    /// In the database on this machine.
    Disk,
    /// In the hub.
    Hub,
    /// It was no stored answer but that of an equal call in flight.
    Flight,
}

/// One LLM call. Field order is the order of the keys; a key is never left out, and null is "not known".
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CallRecord {
    /// Made when the call starts.
    pub id: CallId,
    /// The run's name.
    pub run: Option<String>,
    /// The datapoint's id.
    pub data_id: Option<String>,
    /// The combo's id.
    pub combo_id: Option<String>,
    /// The agent's id.
    pub agent_id: Option<String>,
    /// The how-manieth repeat of the combo on the datapoint, from 0.
    pub sample: u32,
    /// The how-manieth attempt at the trial, from 0.
    pub attempt: u32,
    /// As genai-prices names it: `openai`, `anthropic`, `google` ….
    pub provider: Option<String>,
    /// What the call asks for.
    pub operation: Operation,
    /// How the call reached us.
    pub capture: Capture,
    /// As the client named it, secrets cut.
    pub request_url: String,
    /// What the client asked for.
    pub requested_model: Option<String>,
    /// What was sent, after routing; else what answered; else [`PARSE_FAILED`] or [`UNKNOWN_MODEL`].
    pub model: String,
    /// What answered.
    pub response_model: Option<String>,
    /// Whether the client asked for a stream.
    pub stream: bool,
    /// The upstream's; 0 means that there was no complete response.
    pub status_code: u16,
    /// How the call ended.
    pub outcome: Outcome,
    /// One sentence, or nothing.
    pub error: Option<String>,
    /// The call's end.
    #[serde(with = "microseconds")]
    pub timestamp: Timestamp,
    /// The call's start.
    #[serde(with = "microseconds")]
    pub started_at: Timestamp,
    /// Seconds of the whole call; a hit has those of the call that was stored.
    pub latency_seconds: f64,
    /// Seconds to the first content frame; nothing without a stream.
    pub first_token_seconds: Option<f64>,
    /// Whether the answer was a stored or shared one.
    pub cached: bool,
    /// Where a hit's answer was.
    pub cache_layer: Option<CacheLayer>,
    /// The cache key in hex.
    pub cache_key: Option<String>,
    prompt_tokens: u64,
    completion_tokens: u64,
    usage: Option<Usage>,
    usage_error: Option<String>,
    /// US dollars this call cost; a hit's is 0.
    pub cost_usd: Option<Decimal>,
    /// US dollars the hit saved.
    pub saved_usd: Option<Decimal>,
    /// The date of the price table that was used.
    pub price_date: Option<Date>,
    /// The request's body as sent, unless it was not JSON or past the record's size limit.
    pub request_body: Option<Box<RawValue>>,
    /// The answer's body, a stream's assembled as if it had not been one; the same conditions.
    pub response_body: Option<Box<RawValue>>,
    /// Length of the request's body in bytes.
    pub request_bytes: Option<u64>,
    /// Length of the answer's body in bytes, decoded.
    pub response_bytes: Option<u64>,
}

impl CallRecord {
    /// The record of a call that has just started; everything not yet known is null, zero or empty. Until its end is written over it, the record reads as
    /// that of a call whose upstream broke off at its start.
    pub fn begin(id: CallId, started_at: Timestamp, capture: Capture) -> Self {
        Self {
            id,
            run: None,
            data_id: None,
            combo_id: None,
            agent_id: None,
            sample: 0,
            attempt: 0,
            provider: None,
            operation: Operation::Other,
            capture,
            request_url: String::new(),
            requested_model: None,
            model: UNKNOWN_MODEL.to_owned(),
            response_model: None,
            stream: false,
            status_code: 0,
            outcome: Outcome::UpstreamCut,
            error: None,
            timestamp: started_at,
            started_at,
            latency_seconds: 0.0,
            first_token_seconds: None,
            cached: false,
            cache_layer: None,
            cache_key: None,
            prompt_tokens: 0,
            completion_tokens: 0,
            usage: None,
            usage_error: None,
            cost_usd: None,
            saved_usd: None,
            price_date: None,
            request_body: None,
            response_body: None,
            request_bytes: None,
            response_bytes: None,
        }
    }

    /// Says what the call consumed, or why that is not known.
    pub fn set_usage(&mut self, usage: Result<Usage, String>) {
        (self.usage, self.usage_error) = match usage {
            Ok(usage) => (Some(usage), None),
            Err(reason) => (None, Some(reason)),
        };
        self.prompt_tokens = self.usage.and_then(|usage| usage.input_tokens).unwrap_or(0);
        self.completion_tokens = self.usage.and_then(|usage| usage.output_tokens).unwrap_or(0);
    }

    /// What the call consumed, where that was read.
    pub fn usage(&self) -> Option<&Usage> {
        self.usage.as_ref()
    }

    /// Why the usage is not known.
    pub fn usage_error(&self) -> Option<&str> {
        self.usage_error.as_deref()
    }

    /// Input tokens as AgentOpt's records count them: 0 where not known.
    pub fn prompt_tokens(&self) -> u64 {
        self.prompt_tokens
    }

    /// Output tokens as AgentOpt's records count them: 0 where not known.
    pub fn completion_tokens(&self) -> u64 {
        self.completion_tokens
    }
}

/// Times as RFC 3339 in UTC with six decimals and `+00:00`, the form Python's `datetime.isoformat` writes, so that AgentOpt's readers take ours.
mod microseconds {
    use jiff::Timestamp;
    use jiff::tz::Offset;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(timestamp: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:.6}", timestamp.display_with_offset(Offset::UTC)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        Timestamp::deserialize(deserializer)
    }
}

macro_rules! names {
    ($($kind:ident { $($variant:ident => $name:literal),+ $(,)? })+) => {$(
        impl $kind {
            /// The name in records, metrics and queries.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
    )+};
}

names! {
    Operation { Chat => "chat", Responses => "responses", Completion => "completion", Embeddings => "embeddings", CountTokens => "count_tokens", Other => "other" }
    Outcome {
        Complete => "complete", ClientGone => "client_gone", UpstreamCut => "upstream_cut", UpstreamRefused => "upstream_refused",
        UpstreamTls => "upstream_tls", Timeout => "timeout", HttpError => "http_error", ProviderError => "provider_error",
        Unreadable => "unreadable", ReplayMiss => "replay_miss", Refused => "refused",
    }
    Capture { Connect => "connect", Dns => "dns", BaseUrl => "base-url", Session => "session" }
    CacheLayer { Memory => "memory", Disk => "disk", Hub => "hub", Flight => "flight" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> CallRecord {
        let started_at: Timestamp = "2026-11-20T10:00:00.123456789Z".parse().unwrap();
        let id = CallId::new(started_at, [7; 10]);
        let mut record = CallRecord::begin(id, started_at, Capture::BaseUrl);
        record.outcome = Outcome::ProviderError;
        record.cache_layer = Some(CacheLayer::Flight);
        record.operation = Operation::CountTokens;
        record.cost_usd = Some("0.00001230".parse().unwrap());
        record.price_date = Some("2026-11-01".parse().unwrap());
        record.request_body = Some(RawValue::from_string("{\"b\":1e2,\"a\":12345678901234567890123}".to_owned()).unwrap());
        record.set_usage(Ok(Usage { input_tokens: Some(5), ..Usage::default() }));
        record
    }

    #[test]
    fn the_record_is_the_published_json() {
        insta::assert_snapshot!(serde_json::to_string_pretty(&full()).unwrap());
    }

    #[test]
    fn reading_gives_back_what_was_written() {
        let text = serde_json::to_string(&full()).unwrap();
        let again: CallRecord = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&again).unwrap(), text);
        assert!(again.response_body.is_none());
        assert_eq!(again.prompt_tokens(), 5);
    }

    #[test]
    fn counts_follow_usage() {
        let mut record = full();
        record.set_usage(Err("no usage".to_owned()));
        assert_eq!((record.prompt_tokens(), record.completion_tokens()), (0, 0));
        assert_eq!((record.usage(), record.usage_error()), (None, Some("no usage")));
    }
}
