//! `contains`: the expected text is somewhere in the output.

use crate::dataset::Datapoint;
use crate::score::{Score, ScoreError, expected_text, shortened};

/// Looks for the expected text, white space around it ignored, anywhere in the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contains {
    /// Whether upper and lower case are the same.
    pub ignore_case: bool,
}

impl Contains {
    pub(crate) fn score(&self, datapoint: &Datapoint, output: &str) -> Result<Score, ScoreError> {
        let text = expected_text(datapoint)?;
        let wanted = text.trim();
        if wanted.is_empty() {
            let problem = "is empty, and every output contains that: name the text to look for";
            return Err(ScoreError::BadExpected { id: datapoint.id.clone(), expected: format!("`{text}`"), problem });
        }
        let found = if self.ignore_case { output.to_lowercase().contains(&wanted.to_lowercase()) } else { output.contains(wanted) };
        Ok(Score::of(found, || format!("the output does not contain `{}`", shortened(wanted))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::datapoint;
    use serde_json::json;

    #[test]
    fn the_expected_text_is_found_anywhere() {
        let table = [
            (false, json!("Paris"), "It is Paris.", 1.0),
            (false, json!("Paris"), "it is paris", 0.0),
            (true, json!("Paris"), "it is PARIS", 1.0),
            (false, json!(42), "answer: 42", 1.0),
            (false, json!(" 42\n"), "answer: 42", 1.0),
            (false, json!("x"), "", 0.0),
        ];
        for (ignore_case, expected, output, score) in table {
            let got = Contains { ignore_case }.score(&datapoint(expected.clone()), output).unwrap();
            assert_eq!(got.value, score, "{expected} {output:?}");
        }
    }

    #[test]
    fn an_empty_expected_text_is_a_mistake_in_the_dataset() {
        let error = Contains { ignore_case: false }.score(&datapoint(json!(" ")), "x").unwrap_err();
        assert!(error.to_string().contains("every output contains that"));
    }
}
