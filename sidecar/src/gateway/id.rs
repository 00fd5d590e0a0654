//! The ids of sessions: AgentOpt's may be any JSON, the journal's are text.
//!
//! A string is its own text. Whatever else is kept as its JSON behind a mark, and so is a string that begins with the mark: what comes
//! out is what went in, and a question for the text `5` does not find the number.

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::refusal::Refusal;

/// Before JSON that is not a string.
const MARK: &str = "json:";
/// The longest id, in bytes.
const LONGEST: usize = 8 << 10;

/// The journal's text of an id; `None` for null, which is no id.
pub(super) fn kept(name: &str, id: &RawValue) -> Result<Option<String>, Refusal> {
    let written = id.get().trim();
    if written == "null" {
        return Ok(None);
    }
    if written.len() > LONGEST {
        return Err(Refusal::Mistake(format!("`{name}` is longer than {LONGEST} bytes")));
    }
    // A string of lone surrogates is none for us, and kept as it is written.
    Ok(Some(serde_json::from_str::<String>(written).map_or_else(|_| format!("{MARK}{written}"), |text| of_text(&text))))
}

/// The journal's text of an id that is a string.
pub(super) fn of_text(text: &str) -> String {
    if text.starts_with(MARK) { format!("{MARK}{}", serde_json::Value::from(text)) } else { text.to_owned() }
}

/// An id as it was given.
pub(super) struct Given<'a>(pub(super) Option<&'a str>);

impl Serialize for Given<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let json = self.0.and_then(|text| RawValue::from_string(text.strip_prefix(MARK)?.to_owned()).ok());
        match json {
            Some(json) => json.serialize(serializer),
            None => self.0.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_every_kind_come_out_as_they_went_in() {
        let ids = [
            r#""q1""#,
            r#""""#,
            r#""é😀\n""#,
            "5",
            "5.0",
            "12345678901234567890123",
            "true",
            r#"{"a": [1, null]}"#,
            r#""json:5""#,
            r#""json:\"q1\"""#,
            r#""\ud800""#,
        ];
        let mut texts = std::collections::HashSet::new();
        for id in ids {
            let text = kept("data_id", &RawValue::from_string(id.to_owned()).unwrap()).unwrap().unwrap();
            assert_eq!(serde_json::to_string(&Given(Some(&text))).unwrap(), id);
            assert!(texts.insert(text), "{id}");
        }
        assert_eq!(serde_json::to_string(&Given(None)).unwrap(), "null");
        assert_eq!(kept("data_id", &RawValue::from_string("null".to_owned()).unwrap()).unwrap(), None);
        assert_eq!(of_text("5"), "5", "no number");
        assert!(!texts.contains(&of_text("[1]")));
        let long = RawValue::from_string(format!("\"{}\"", "x".repeat(LONGEST))).unwrap();
        assert!(kept("data_id", &long).unwrap_err().to_string().contains("`data_id` is longer"));
    }
}
