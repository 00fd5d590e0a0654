//! `json`: the value at a JSON pointer of the output is the expected one.

use serde_json::Value;

use crate::dataset::Datapoint;
use crate::score::{Score, ScoreError, expected, same_value, shortened};

/// Reads the output as JSON (a Markdown code fence around it is taken off) and compares the value at a pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonPointer(String);

impl JsonPointer {
    /// A pointer as in RFC 6901: empty for the whole document, or `/answer/0`.
    ///
    /// # Errors
    /// The pointer is neither empty nor starts with `/`, or holds a `~` that is not `~0` or `~1`.
    pub fn new(pointer: &str) -> Result<Self, ScoreError> {
        let escapes_hold = pointer.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
        if (pointer.is_empty() || pointer.starts_with('/')) && escapes_hold {
            Ok(Self(pointer.to_owned()))
        } else {
            Err(ScoreError::Pointer(shortened(pointer)))
        }
    }

    pub(crate) fn score(&self, datapoint: &Datapoint, output: &str) -> Result<Score, ScoreError> {
        let expected = expected(datapoint)?;
        let document: Value = match serde_json::from_str(without_fence(output)) {
            Ok(document) => document,
            Err(error) => return Ok(Score::wrong(format!("the output is not JSON: {error}"))),
        };
        let Some(found) = document.pointer(&self.0) else {
            return Ok(Score::wrong(format!("the output has nothing at `{}`", shortened(&self.0))));
        };
        Ok(Score::of(same_value(found, expected), || format!("found {}", shortened(&found.to_string()))))
    }
}

/// The text inside a Markdown code fence that spans the whole output, or the output itself.
fn without_fence(output: &str) -> &str {
    let text = output.trim();
    let inside = text.strip_prefix("```").and_then(|text| text.strip_suffix("```"));
    inside.and_then(|inside| inside.split_once('\n')).map_or(text, |(_language, body)| body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::datapoint;
    use serde_json::json;

    #[test]
    fn the_value_at_the_pointer_is_compared_as_json() {
        let table = [
            ("/answer", json!("4"), r#"{"answer":"4"}"#, 1.0),
            ("/answer", json!(4), r#"{"answer":4.0}"#, 1.0),
            ("/answer", json!("4"), r#"{"answer":4}"#, 0.0),
            ("/a/1", json!({"x": [1, 2]}), r#"{"a":[0,{"x":[1.0,2]}]}"#, 1.0),
            ("/a", json!([1]), r#"{"a":[1,2]}"#, 0.0),
            ("", json!([1]), "```json\n[1]\n```", 1.0),
            ("/answer", json!(1), "```json\n{\"answer\": 1}\n```\n", 1.0),
            ("/answer", json!(1), r#"{"other":1}"#, 0.0),
            ("/answer", json!(1), "the answer is 1", 0.0),
            ("/answer", json!(1), "", 0.0),
        ];
        for (pointer, expected, output, score) in table {
            let got = JsonPointer::new(pointer).unwrap().score(&datapoint(expected), output).unwrap();
            assert_eq!(got.value, score, "{pointer} {output:?}: {:?}", got.reason);
        }
    }

    #[test]
    fn hostile_outputs_score_zero() {
        let scorer = JsonPointer::new("/answer").unwrap();
        for output in ["[".repeat(100_000), "```".to_owned(), "``````".to_owned(), r#"{"answer":1e999}"#.to_owned()] {
            assert_eq!(scorer.score(&datapoint(json!(1)), &output).unwrap().value, 0.0);
        }
    }

    #[test]
    fn what_is_not_a_pointer_is_refused() {
        for pointer in ["answer", "$.answer", "/a~2", "/a~"] {
            assert!(matches!(JsonPointer::new(pointer), Err(ScoreError::Pointer(_))), "{pointer}");
        }
    }
}
