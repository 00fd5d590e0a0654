//! What an answer says: its model, usage, message and errors, from a plain body or any kind of stream.

mod convert;
mod error;
mod filter;
mod tail;

pub(crate) mod count;
pub(crate) mod dialect;
pub(crate) mod frame;
pub(crate) mod gathered;
pub(crate) mod out;

use serde_json::Value;

pub use convert::convert;
pub use error::error_body;
pub use filter::UsageChunkFilter;
pub use tail::read_tail;

use crate::provider::{Endpoint, Format, Framing, bedrock};
use crate::usage::Usage;
use dialect::Dialect;
use gathered::{Gathered, error_of};

/// What an answer says.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The model the answer names; where it names none, the one the request did.
    pub model: Option<String>,
    /// What was consumed, or why that is not known.
    pub usage: Result<Usage, String>,
    /// The answer as a call without streaming would have returned it, unknown members kept. Of a stream that was cut it
    /// is what had come.
    pub message: Option<Value>,
    /// What the provider says went wrong: an error payload in a 200, or an error event in a stream.
    pub error: Option<String>,
    /// Whether the answer's end was seen: the whole document, or the event that ends a stream.
    pub complete: bool,
    /// Offset in the body just after the first event that carries content; `None` for plain answers.
    pub first_content: Option<usize>,
}

impl Answer {
    /// An answer of which nothing could be read.
    fn unread(why: String, request_model: Option<&str>) -> Self {
        let model = request_model.map(str::to_owned);
        Self { model, usage: Err(why), message: None, error: None, complete: false, first_content: None }
    }
}

/// Reads an answer whose content encoding is already removed. Never fails: what cannot be read is absent, with a reason.
pub fn read(endpoint: &Endpoint, framing: Framing, body: &[u8], request_model: Option<&str>) -> Answer {
    let frames = frame::split(endpoint.format, framing, body);
    let request_model = request_model.or(endpoint.path_model.as_deref());
    let Some(first) = frames.values().next() else {
        let failed = dialect::gather(Dialect::Unknown, &frames);
        let why = failed.error.clone().or(frames.trouble).unwrap_or_else(|| "the stream has no events".to_owned());
        return Answer { error: failed.error, ..Answer::unread(why, request_model) };
    };
    let dialect = Dialect::of(endpoint.format, first);
    let trouble = frames.trouble.clone();
    let gathered = if frames.plain { frames.into_first().map_or_else(Gathered::new, plain) } else { dialect::gather(dialect, &frames) };
    let usage = usage_of(endpoint, dialect, &gathered, trouble.as_deref());
    let model = gathered.message.as_ref().and_then(named_model).or(request_model).map(str::to_owned);
    let Gathered { message, error, complete, first_content, .. } = gathered;
    Answer { model, usage, message, error, complete, first_content }
}

/// The counts Bedrock's InvokeModel puts in the answer's headers, for makers whose bodies have none. `header` looks up a
/// header by its lower-case name.
pub fn usage_of_headers(endpoint: &Endpoint, header: impl Fn(&str) -> Option<String>) -> Option<Usage> {
    (endpoint.format == Format::BedrockInvoke).then(|| bedrock::header_usage(header)).flatten()
}

fn plain(value: Value) -> Gathered {
    let failed =
        value.get("status").and_then(Value::as_str) == Some("failed") && value.get("object").and_then(Value::as_str) == Some("response");
    let error = error_of(&value).or_else(|| failed.then(|| "the response failed".to_owned()));
    Gathered { complete: value.is_object() || value.is_array(), error, message: Some(value), ..Gathered::new() }
}

fn usage_of(endpoint: &Endpoint, dialect: Dialect, gathered: &Gathered, trouble: Option<&str>) -> Result<Usage, String> {
    let Some(message) = &gathered.message else {
        let why = gathered.error.as_deref().or(trouble).unwrap_or("the stream has no message");
        return Err(why.to_owned());
    };
    let usage = dialect::usage(dialect, message, &endpoint.provider).map_err(|why| match (&gathered.error, gathered.complete) {
        (Some(error), _) => format!("the provider answered with an error: {error}"),
        (None, false) => format!("the stream ended early: {why}"),
        (None, true) => why,
    })?;
    Ok(if gathered.output_uncounted { Usage { output_tokens: None, ..usage } } else { usage })
}

/// The model an answer names, wherever its shape says so.
fn named_model(message: &Value) -> Option<&str> {
    let places = ["/model", "/modelVersion", "/response/modelVersion", "/message/model", "/trace/promptRouter/invokedModelId"];
    places.iter().find_map(|place| message.pointer(place)?.as_str().filter(|model| !model.is_empty()))
}
