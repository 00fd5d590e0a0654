//! `command`: the protocol of a scoring command. The caller runs it.

use serde_json::{Value, json};

use crate::dataset::Datapoint;
use crate::score::{Score, ScoreError, shortened};

/// A program that reads one JSON object `{"id","input","expected","output","metadata"}` as a line on stdin and prints a
/// number from 0 to 1, or `{"score": 0.5, "reason": "…"}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandScorer {
    argv: Vec<String>,
}

impl CommandScorer {
    /// The program and its arguments.
    ///
    /// # Errors
    /// There is no program.
    pub fn new(argv: Vec<String>) -> Result<Self, ScoreError> {
        if argv.first().is_none_or(String::is_empty) { Err(ScoreError::NoProgram) } else { Ok(Self { argv }) }
    }

    /// The program and its arguments; never empty.
    pub fn argv(&self) -> &[String] {
        &self.argv
    }

    /// The line to write to the command's stdin, with its line end. What the datapoint lacks is null.
    pub fn request(&self, datapoint: &Datapoint, output: &str) -> String {
        let request = json!({
            "id": datapoint.id,
            "input": datapoint.input,
            "expected": datapoint.expected,
            "output": output,
            "metadata": datapoint.metadata,
        });
        format!("{request}\n")
    }

    /// Reads what the command printed. Lines before the last one are talk.
    ///
    /// # Errors
    /// There is no last line, or it is not a score from 0 to 1.
    pub fn answer(&self, stdout: &str) -> Result<Score, ScoreError> {
        let line = stdout.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
        let whole = stdout.trim();
        // A pretty-printed object spans lines, so the whole is tried when the last line alone is not a score.
        read(line)
            .or_else(|problem| read(whole).map_err(|_| problem))
            .map_err(|problem| ScoreError::Answer { answer: shortened(line), problem })
    }
}

fn read(text: &str) -> Result<Score, String> {
    if text.is_empty() {
        return Err("it printed nothing: print a number from 0 to 1".to_owned());
    }
    let (value, reason) = match serde_json::from_str(text) {
        Ok(Value::Number(number)) => (number.as_f64(), None),
        Ok(Value::Object(fields)) => {
            let reason = fields.get("reason").and_then(Value::as_str).map(str::to_owned);
            (fields.get("score").and_then(Value::as_f64), reason)
        }
        _ => (None, None),
    };
    match value {
        Some(value) if (0.0..=1.0).contains(&value) => Ok(Score { value, reason }),
        Some(value) => Err(format!("{value} is not from 0 to 1")),
        None => Err("print a number from 0 to 1, or {\"score\": 0.5, \"reason\": \"…\"}".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::datapoint;

    fn scorer() -> CommandScorer {
        CommandScorer::new(vec!["score".into()]).unwrap()
    }

    #[test]
    fn a_number_or_an_object_is_a_score() {
        let table = [
            ("1", 1.0, None),
            ("0.25\n", 0.25, None),
            ("loading model\n\n0.5\n\n", 0.5, None),
            ("{\"score\": 0.5, \"reason\": \"half\"}", 0.5, Some("half")),
            ("{\n  \"score\": 1,\n  \"reason\": null\n}\n", 1.0, None),
        ];
        for (stdout, value, reason) in table {
            assert_eq!(scorer().answer(stdout).unwrap(), Score { value, reason: reason.map(str::to_owned) }, "{stdout:?}");
        }
    }

    #[test]
    fn anything_else_is_an_error_that_says_what_to_print() {
        let table = [
            ("", "printed nothing"),
            ("\n \n", "printed nothing"),
            ("2", "2 is not from 0 to 1"),
            ("-0.1", "-0.1 is not from 0 to 1"),
            ("nan", "print a number"),
            ("true", "print a number"),
            ("{\"score\": \"1\"}", "print a number"),
            ("1 2", "print a number"),
        ];
        for (stdout, part) in table {
            let error = scorer().answer(stdout).unwrap_err().to_string();
            assert!(error.contains(part), "{stdout:?}: {error}");
        }
        assert!(CommandScorer::new(vec![]).is_err());
    }

    #[test]
    fn the_request_is_one_line_whatever_the_output_holds() {
        let line = scorer().request(&datapoint(json!("4")), "two\nlines \"quoted\"");
        assert_eq!(line.matches('\n').count(), 1);
        let back: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(back, json!({"id": "q", "input": null, "expected": "4", "output": "two\nlines \"quoted\"", "metadata": {}}));
    }
}
