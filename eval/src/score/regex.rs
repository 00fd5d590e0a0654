//! `regex`: what a pattern captures in the output is the expected text.

use regex::{Regex, RegexBuilder};

use crate::dataset::Datapoint;
use crate::score::{Score, ScoreError, expected_text, shortened};

/// The largest compiled pattern, in bytes: bounds what a hostile manifest can make us allocate.
const COMPILED_BYTES: usize = 1 << 20;

/// Compares the first capture group (without one: the whole match) of the pattern's first match with the expected text,
/// white space around both ignored.
#[derive(Debug, Clone)]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles a pattern of Rust's `regex` crate (linear time, no look-around, no back references).
    ///
    /// # Errors
    /// The pattern does not compile, or compiles to more than 1 MiB.
    pub fn new(pattern: &str) -> Result<Self, ScoreError> {
        let built = RegexBuilder::new(pattern).size_limit(COMPILED_BYTES).dfa_size_limit(COMPILED_BYTES).build();
        built.map(Self).map_err(|source| ScoreError::Pattern { pattern: shortened(pattern), source: Box::new(source) })
    }

    pub(crate) fn score(&self, datapoint: &Datapoint, output: &str) -> Result<Score, ScoreError> {
        let expected = expected_text(datapoint)?;
        let Some(captures) = self.0.captures(output) else {
            return Ok(Score::wrong("the pattern does not match the output"));
        };
        let group = if captures.len() > 1 { captures.get(1) } else { captures.get(0) };
        let captured = group.map_or("", |group| group.as_str()).trim();
        Ok(Score::of(captured == expected.trim(), || format!("captured `{}`", shortened(captured))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::datapoint;
    use serde_json::json;

    #[test]
    fn the_first_group_of_the_first_match_is_compared() {
        let table = [
            ("ANSWER: (.*)", json!("42"), "so\nANSWER: 42 \nANSWER: 43", 1.0),
            ("ANSWER: (.*)", json!(42), "ANSWER: 42", 1.0),
            ("ANSWER: (.*)", json!("42"), "answer: 42", 0.0),
            ("(?i)answer: (.*)", json!("42"), "answer: 42", 1.0),
            ("[A-D]", json!("B"), "Not A, B", 0.0),
            ("[A-D]$", json!("B"), "Not A, B", 1.0),
            ("x|(y)", json!(""), "x", 1.0),
            ("(a)(b)", json!("a"), "ab", 1.0),
        ];
        for (pattern, expected, output, score) in table {
            let got = Pattern::new(pattern).unwrap().score(&datapoint(expected), output).unwrap();
            assert_eq!(got.value, score, "{pattern} {output:?}: {:?}", got.reason);
        }
    }

    #[test]
    fn bad_and_exploding_patterns_are_refused() {
        for pattern in ["(", "(?=x)", "\\w{100}{100}{100}"] {
            assert!(matches!(Pattern::new(pattern), Err(ScoreError::Pattern { .. })), "{pattern}");
        }
    }
}
