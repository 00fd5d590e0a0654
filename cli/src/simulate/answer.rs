//! What a model answers: the expected value, or a wrong one of the same kind.

use agentrun_eval::dataset::{Datapoint, Dataset, text_of};
use serde_json::Value;

use super::draw::Draw;

/// What is answered where the dataset expects nothing.
const NOTHING_EXPECTED: &str = "a simulated answer";

/// The right answer to a datapoint, as text.
pub(crate) fn right(datapoint: Option<&Datapoint>) -> String {
    datapoint.and_then(|datapoint| datapoint.expected.as_ref()).map_or_else(|| NOTHING_EXPECTED.to_owned(), text_of)
}

/// A wrong answer: a number near the right one, another datapoint's answer, or a shrug.
pub(crate) fn wrong(datapoint: Option<&Datapoint>, dataset: &Dataset, draw: &mut Draw) -> String {
    let Some(expected) = datapoint.and_then(|datapoint| datapoint.expected.as_ref()) else {
        return NOTHING_EXPECTED.to_owned();
    };
    let text = text_of(expected);
    if let Value::Bool(expected) = expected {
        return (!expected).to_string();
    }
    if let Some(near) = near_number(&text, draw) {
        return near;
    }
    // A few draws find another answer unless nearly all are the same.
    for _ in 0..16 {
        let other = dataset.get(draw.below(dataset.len())).and_then(|other| other.expected.as_ref()).map(text_of);
        if let Some(other) = other.filter(|other| *other != text) {
            return other;
        }
    }
    "a simulated wrong answer".to_owned()
}

/// A number that is wrong by at least one part in ten, so that no sensible tolerance takes it for right.
fn near_number(text: &str, draw: &mut Draw) -> Option<String> {
    let number: f64 = text.trim().parse().ok().filter(|number: &f64| number.is_finite())?;
    let away = (number.abs() * (0.1 + 0.4 * draw.fraction())).ceil().max(1.0);
    let near = if draw.fraction() < 0.5 { number - away } else { number + away };
    // What was written without decimals is answered without them.
    Some(if number.fract() == 0.0 && !text.contains(['e', 'E']) { format!("{near:.0}") } else { near.to_string() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn dataset() -> Dataset {
        let items = [json!("4"), json!(12.5), json!("Paris"), json!("Rome"), json!(true), json!({"a": 1})];
        let items = items.into_iter().map(|expected| json!({"input": "?", "expected": expected})).chain([json!({"input": "?"})]);
        Dataset::from_items(items.collect(), 0).unwrap()
    }

    #[test]
    fn a_wrong_answer_is_never_the_right_one() {
        let dataset = dataset();
        for (index, datapoint) in dataset.iter().enumerate().take(6) {
            for seed in 0..50_u8 {
                let wrong = wrong(Some(datapoint), &dataset, &mut Draw::of(&[&[seed]]));
                assert_ne!(wrong, right(Some(datapoint)), "{index}");
            }
        }
    }

    #[test]
    fn a_wrong_number_is_a_number_of_the_same_kind() {
        let dataset = dataset();
        let answer = |index: usize| wrong(dataset.get(index), &dataset, &mut Draw::of(&[b"1"]));
        assert!(answer(0).parse::<i64>().is_ok(), "{}", answer(0));
        assert!((answer(1).parse::<f64>().unwrap() - 12.5).abs() >= 1.0);
        assert_eq!(answer(4), "false");
    }

    #[test]
    fn a_datapoint_that_expects_nothing_is_answered_all_the_same() {
        let dataset = dataset();
        assert_eq!(right(dataset.get(6)), NOTHING_EXPECTED);
        assert_eq!(wrong(None, &dataset, &mut Draw::of(&[b"1"])), NOTHING_EXPECTED);
    }
}
