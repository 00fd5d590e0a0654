//! A record as AgentOpt's client reads it: exactly fourteen keys, in this order.

use agentrun_llm::call::{CallRecord, Operation, Outcome};
use jiff::tz::Offset;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::id::Given;

/// The fourteen keys. The client makes a call of a class of them, so another key would break it.
#[derive(Serialize)]
pub(super) struct Fourteen<'a> {
    data_id: Given<'a>,
    combo_id: Given<'a>,
    agent_id: Given<'a>,
    model: &'a str,
    prompt_tokens: u64,
    completion_tokens: u64,
    latency_seconds: f64,
    request_url: &'a str,
    request_body: Object<'a>,
    response_body: Object<'a>,
    timestamp: String,
    cached: bool,
    status_code: u16,
    error: Option<String>,
}

impl<'a> From<&'a CallRecord> for Fourteen<'a> {
    fn from(record: &'a CallRecord) -> Self {
        // The count is what was asked for, and nothing that was consumed.
        let consumed =
            if record.operation == Operation::CountTokens { (0, 0) } else { (record.prompt_tokens(), record.completion_tokens()) };
        Self {
            data_id: Given(record.data_id.as_deref()),
            combo_id: Given(record.combo_id.as_deref()),
            agent_id: Given(record.agent_id.as_deref()),
            model: &record.model,
            // The client adds them up: null, which says more, would end it with a TypeError.
            prompt_tokens: consumed.0,
            completion_tokens: consumed.1,
            latency_seconds: record.latency_seconds,
            request_url: &record.request_url,
            request_body: Object::of(record.request_body.as_deref()),
            response_body: Object::of(record.response_body.as_deref()),
            timestamp: format!("{:.6}", record.timestamp.display_with_offset(Offset::UTC)),
            cached: record.cached,
            status_code: record.status_code,
            error: error(record),
        }
    }
}

/// What went wrong, in AgentOpt's words where it has some.
fn error(record: &CallRecord) -> Option<String> {
    let unread = || {
        let reason = record.usage_error()?;
        Some(format!("agentopt proxy could not extract token usage: {reason}. URL={}", record.request_url))
    };
    match record.outcome {
        Outcome::Complete | Outcome::Unreadable if record.usage().is_some() => None,
        // Nothing is consumed there that could be read.
        Outcome::Complete if matches!(record.operation, Operation::Other | Operation::CountTokens) => None,
        Outcome::Complete | Outcome::Unreadable => unread(),
        // What the upstream said stands in the body, and in the whole record.
        Outcome::HttpError => Some(format!("HTTP {}", record.status_code)),
        _ => Some(record.error.clone().unwrap_or_else(|| record.outcome.as_str().to_owned())),
    }
}

/// A body as an object: what is none, or was not kept, is empty.
struct Object<'a>(Option<&'a RawValue>);

impl<'a> Object<'a> {
    fn of(body: Option<&'a RawValue>) -> Self {
        let is_object = |value: &&RawValue| value.get().starts_with('{');
        let last = |body: &'a RawValue| serde_json::from_str::<Vec<&RawValue>>(body.get()).ok()?.pop();
        Self(body.and_then(|body| if body.get().starts_with('[') { last(body) } else { Some(body) }).filter(is_object))
    }
}

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(body) => body.serialize(serializer),
            None => serializer.collect_map(std::iter::empty::<((), ())>()),
        }
    }
}

/// The record whole, its ids as they were given. `life` is what the gateway calls this time of its own.
pub(super) fn whole(mut record: CallRecord, life: &str) -> Result<Vec<u8>, serde_json::Error> {
    let own = record.run.as_deref().and_then(|run| run.strip_prefix(life)?.strip_prefix('/')).map(str::to_owned);
    record.run = own.or(record.run);
    let ids = [
        ("run", record.run.take()),
        ("data_id", record.data_id.take()),
        ("combo_id", record.combo_id.take()),
        ("agent_id", record.agent_id.take()),
    ];
    let mut members: indexmap::IndexMap<String, Box<RawValue>> = serde_json::from_str(&serde_json::to_string(&record)?)?;
    for (name, id) in ids {
        members.insert(name.to_owned(), serde_json::value::to_raw_value(&Given(id.as_deref()))?);
    }
    serde_json::to_vec(&members)
}

#[cfg(test)]
mod tests {
    use agentrun_llm::{
        call::{CallId, Capture},
        usage::Usage,
    };
    use jiff::Timestamp;
    use serde_json::{Value, json};

    use super::*;

    fn record() -> CallRecord {
        let at: Timestamp = "2026-11-22T10:00:00.5Z".parse().unwrap();
        let mut record = CallRecord::begin(CallId::new(at, [7; 10]), at, Capture::Connect);
        record.run = Some("life/mine".to_owned());
        record.data_id = Some("q1".to_owned());
        record.combo_id = Some("json:[1]".to_owned());
        record.model = "m".to_owned();
        record.operation = Operation::Chat;
        record.outcome = Outcome::Complete;
        record.status_code = 200;
        record.request_url = "https://api.openai.com/v1/chat/completions".to_owned();
        record.request_body = Some(RawValue::from_string(r#"{"a": 1e400}"#.to_owned()).unwrap());
        record.set_usage(Ok(Usage { input_tokens: Some(5), output_tokens: Some(2), ..Usage::default() }));
        record
    }

    fn shown(record: &CallRecord) -> String {
        serde_json::to_string(&Fourteen::from(record)).unwrap()
    }

    #[test]
    fn there_are_fourteen_keys_in_this_order() {
        let expected = concat!(
            r#"{"data_id":"q1","combo_id":[1],"agent_id":null,"model":"m","prompt_tokens":5,"completion_tokens":2,"latency_seconds":0.0,"#,
            r#""request_url":"https://api.openai.com/v1/chat/completions","request_body":{"a": 1e400},"response_body":{},"#,
            r#""timestamp":"2026-11-22T10:00:00.500000+00:00","cached":false,"status_code":200,"error":null}"#
        );
        assert_eq!(shown(&record()), expected);
    }

    #[test]
    fn bodies_are_objects() {
        for (body, expected) in [(r#"[{"a":1},{"b":2}]"#, r#"{"b":2}"#), ("[1]", "{}"), ("[]", "{}"), ("7", "{}"), ("null", "{}")] {
            let mut record = record();
            record.response_body = Some(RawValue::from_string(body.to_owned()).unwrap());
            assert!(shown(&record).contains(&format!(r#""response_body":{expected},"#)), "{body}");
        }
    }

    #[test]
    fn what_could_not_be_read_is_an_error_and_no_consumption() {
        let told = |change: &dyn Fn(&mut CallRecord)| -> Value {
            let mut record = record();
            change(&mut record);
            let shown: Value = serde_json::from_str(&shown(&record).replace("1e400", "1")).unwrap();
            json!([shown["prompt_tokens"], shown["error"]])
        };
        let unread = |record: &mut CallRecord| record.set_usage(Err("no usage".to_owned()));
        let url = "https://api.openai.com/v1/chat/completions";
        assert_eq!(told(&unread), json!([0, format!("agentopt proxy could not extract token usage: no usage. URL={url}")]));
        assert_eq!(
            told(&|record| {
                unread(record);
                record.operation = Operation::Other;
            }),
            json!([0, null])
        );
        assert_eq!(told(&|record| record.error = Some("uncached: too large".to_owned())), json!([5, null]));
        assert_eq!(told(&|record| record.operation = Operation::CountTokens), json!([0, null]));
        let failed = |record: &mut CallRecord| {
            unread(record);
            (record.outcome, record.status_code, record.error) = (Outcome::HttpError, 429, Some("HTTP 429: slow down".to_owned()));
        };
        assert_eq!(told(&failed), json!([0, "HTTP 429"]));
    }

    #[test]
    fn the_whole_record_has_its_ids_as_they_were_given() {
        let whole: indexmap::IndexMap<String, Box<RawValue>> = serde_json::from_slice(&whole(record(), "life").unwrap()).unwrap();
        let text = |name: &str| whole[name].get();
        assert_eq!((text("run"), text("data_id"), text("combo_id"), text("agent_id")), ("\"mine\"", "\"q1\"", "[1]", "null"));
        assert_eq!(text("request_body"), r#"{"a": 1e400}"#);
        let names: Vec<&str> = whole.keys().map(String::as_str).take(3).collect();
        assert_eq!(names, ["id", "run", "data_id"]);
    }
}
