//! `numeric`: the last number in the output is the expected one.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use crate::dataset::Datapoint;
use crate::score::{Score, ScoreError, expected, shortened};

/// A number as people and models write it: a sign (hyphen or minus sign), a currency sign, thousands commas, a fraction,
/// an exponent. A sign directly after a letter, digit or closing bracket is a dash or an operator, not a sign.
static NUMBER: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"(?:(?P<sign>[+\-\u{2212}])\s?)?\p{Sc}?(?P<digits>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)(?P<exponent>[eE][+\-\u{2212}]?\d+)?";
    Regex::new(pattern).expect("the pattern is a constant that the tests compile")
});

/// Compares the last number in the output with the expected number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Numeric {
    tolerance: f64,
}

impl Numeric {
    /// Numbers no farther apart than `tolerance` are equal.
    ///
    /// # Errors
    /// The tolerance is negative or not finite.
    pub fn new(tolerance: f64) -> Result<Self, ScoreError> {
        if tolerance.is_finite() && tolerance >= 0.0 { Ok(Self { tolerance }) } else { Err(ScoreError::Tolerance(tolerance)) }
    }

    pub(crate) fn score(&self, datapoint: &Datapoint, output: &str) -> Result<Score, ScoreError> {
        let value = expected(datapoint)?;
        let wanted = match value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => last_number(text),
            _ => None,
        };
        let Some(wanted) = wanted.filter(|number| number.is_finite()) else {
            let problem = "is not a number: write one, or score with `exact`";
            return Err(ScoreError::BadExpected { id: datapoint.id.clone(), expected: shortened(&value.to_string()), problem });
        };
        let Some(found) = last_number(output) else {
            return Ok(Score::wrong("there is no number in the output"));
        };
        // A hair of slack: 1.1 is within 0.1 of 1 although binary fractions say otherwise.
        let slack = f64::EPSILON * 4.0 * wanted.abs().max(found.abs());
        Ok(Score::of((found - wanted).abs() <= self.tolerance + slack, || format!("the last number is {found}")))
    }
}

/// The last number in a text. One too large for a float is skipped.
fn last_number(text: &str) -> Option<f64> {
    NUMBER.captures_iter(text).filter_map(|captures| parse(text, &captures)).last()
}

fn parse(text: &str, captures: &regex::Captures<'_>) -> Option<f64> {
    let digits = captures["digits"].replace(',', "");
    let exponent = captures.name("exponent").map_or(String::new(), |exponent| exponent.as_str().replace('\u{2212}', "-"));
    let number: f64 = format!("{digits}{exponent}").parse().ok()?;
    let negative = captures.name("sign").is_some_and(|sign| {
        let before = text[..sign.start()].chars().next_back();
        let joins = before.is_some_and(|before| before.is_alphanumeric() || before == ')' || before == ']');
        sign.as_str() != "+" && !joins
    });
    Some(if negative { -number } else { number }).filter(|number| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::datapoint;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn the_last_number_is_read_as_people_write_it() {
        let table = [
            ("The answer is 4.", Some(4.0)),
            ("3 apples and 5 pears make 8", Some(8.0)),
            ("$1,234.50", Some(1234.5)),
            ("-$12", Some(-12.0)),
            ("\u{2212}7.5", Some(-7.5)),
            ("- 7", Some(-7.0)),
            ("-3e2", Some(-300.0)),
            ("1.5E\u{2212}3", Some(0.0015)),
            ("about 45%", Some(45.0)),
            ("€3", Some(3.0)),
            (".5", Some(0.5)),
            ("10-3", Some(3.0)),
            ("x = f(2)-3", Some(3.0)),
            ("gpt-4", Some(4.0)),
            ("1,234,567", Some(1_234_567.0)),
            ("1,2", Some(2.0)),
            ("**42**", Some(42.0)),
            ("2 then 1e999", Some(2.0)),
            ("no number, NaN, inf", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(last_number(text), expected, "{text:?}");
        }
    }

    #[test]
    fn tolerance_is_the_greatest_distance_that_counts() {
        let table = [
            (0.0, json!(4), "4", 1.0),
            (0.0, json!("$4.00"), "4", 1.0),
            (0.01, json!(3.25), "3.26", 1.0),
            (0.01, json!(3.25), "3.27", 0.0),
            (0.1, json!(1), "1.1", 1.0),
            (0.0, json!(4), "four", 0.0),
        ];
        for (tolerance, expected, output, score) in table {
            let got = Numeric::new(tolerance).unwrap().score(&datapoint(expected.clone()), output).unwrap();
            assert_eq!(got.value, score, "{expected} {output:?}");
        }
        for tolerance in [-0.1, f64::NAN, f64::INFINITY] {
            assert!(Numeric::new(tolerance).is_err());
        }
    }

    #[test]
    fn an_expected_value_without_a_number_is_a_mistake_in_the_dataset() {
        for expected in [json!("four"), json!([4]), json!(true)] {
            assert!(matches!(Numeric::new(0.0).unwrap().score(&datapoint(expected), "4"), Err(ScoreError::BadExpected { .. })));
        }
    }

    proptest! {
        #[test]
        fn every_integer_is_found_at_the_end_of_any_words(number in any::<i32>(), words in "[a-z ]{0,20}") {
            prop_assert_eq!(last_number(&format!("{words} {number}")), Some(f64::from(number)));
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = last_number(&text);
        }
    }
}
