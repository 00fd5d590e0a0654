//! `exact`: the output is the expected text.

use crate::dataset::Datapoint;
use crate::score::{Score, ScoreError, expected_text, shortened};

/// Compares the whole output with the expected text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exact {
    /// Whether white space around both is ignored.
    pub trim: bool,
    /// Whether upper and lower case are the same.
    pub ignore_case: bool,
}

impl Exact {
    pub(crate) fn score(&self, datapoint: &Datapoint, output: &str) -> Result<Score, ScoreError> {
        let expected = self.normal(&expected_text(datapoint)?);
        Ok(Score::of(self.normal(output) == expected, || format!("the output is not `{}`", shortened(&expected))))
    }

    fn normal(&self, text: &str) -> String {
        let text = if self.trim { text.trim() } else { text };
        if self.ignore_case { text.to_lowercase() } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::datapoint;
    use serde_json::json;

    #[test]
    fn trim_and_case_are_ignored_only_when_asked() {
        let table = [
            (true, true, json!("Paris"), " paris\n", 1.0),
            (false, true, json!("Paris"), " paris\n", 0.0),
            (true, false, json!("Paris"), "paris", 0.0),
            (true, false, json!("Paris"), "Paris\n", 1.0),
            (true, true, json!("ÄRGER"), "ärger", 1.0),
            (true, false, json!(4), "4", 1.0),
            (true, false, json!(true), "true", 1.0),
            (true, false, json!("Paris"), "Paris, France", 0.0),
            (true, false, json!(""), "", 1.0),
        ];
        for (trim, ignore_case, expected, output, score) in table {
            let got = Exact { trim, ignore_case }.score(&datapoint(expected.clone()), output).unwrap();
            assert_eq!(got.value, score, "{expected} {output:?}");
        }
    }
}
