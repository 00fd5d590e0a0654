//! Usage in its one normal form: what an answer says was consumed, provider differences removed.

use serde::{Deserialize, Serialize};

use crate::json::Json;

/// The largest count that is read as one. Anything above is not a count of tokens but a mistake or an attack, and keeping counts this far from `u64::MAX`
/// lets sums and prices be computed without a thought for overflow.
pub const MAX_COUNT: u64 = 1_000_000_000_000;

/// What one call consumed. Every field is `None` where the answer does not say; zero means that it said zero.
///
/// Rules: `input_tokens` is all input, cached tokens included; `output_tokens` is all output, reasoning included; the other fields are parts of those two, except
/// `web_searches`, which counts searches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// All input tokens, those read from and written to the provider's prompt cache included.
    pub input_tokens: Option<u64>,
    /// All output tokens, reasoning included.
    pub output_tokens: Option<u64>,
    /// Input tokens read from the provider's prompt cache.
    pub cache_read_tokens: Option<u64>,
    /// Input tokens written to the provider's prompt cache, of every lifetime.
    pub cache_write_tokens: Option<u64>,
    /// The part of `cache_write_tokens` that was written for one hour.
    pub cache_write_1h_tokens: Option<u64>,
    /// Output tokens spent on reasoning that the answer may not show.
    pub reasoning_tokens: Option<u64>,
    /// Input tokens that were audio.
    pub input_audio_tokens: Option<u64>,
    /// Output tokens that were audio.
    pub output_audio_tokens: Option<u64>,
    /// Input tokens that were images.
    pub input_image_tokens: Option<u64>,
    /// Web searches the provider made for this call; not tokens.
    pub web_searches: Option<u64>,
}

impl Usage {
    /// Whether the answer said nothing at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Field by field the larger of two reports about the same call: streams repeat their usage, and a later frame may carry only part of it.
    #[must_use]
    pub fn merged(self, other: Self) -> Self {
        // `None` is smaller than every `Some`, so the plain maximum keeps what is known.
        Self {
            input_tokens: self.input_tokens.max(other.input_tokens),
            output_tokens: self.output_tokens.max(other.output_tokens),
            cache_read_tokens: self.cache_read_tokens.max(other.cache_read_tokens),
            cache_write_tokens: self.cache_write_tokens.max(other.cache_write_tokens),
            cache_write_1h_tokens: self.cache_write_1h_tokens.max(other.cache_write_1h_tokens),
            reasoning_tokens: self.reasoning_tokens.max(other.reasoning_tokens),
            input_audio_tokens: self.input_audio_tokens.max(other.input_audio_tokens),
            output_audio_tokens: self.output_audio_tokens.max(other.output_audio_tokens),
            input_image_tokens: self.input_image_tokens.max(other.input_image_tokens),
            web_searches: self.web_searches.max(other.web_searches),
        }
    }
}

/// A count as an answer gives it: a whole number from 0 to [`MAX_COUNT`]. A whole float (`12.0`, which Cohere's schema allows) is one too; strings, fractions,
/// negatives, booleans and anything larger are not read.
pub fn count(value: &Json) -> Option<u64> {
    match value {
        Json::Int(number) => u64::try_from(*number).ok().filter(|count| *count <= MAX_COUNT),
        // In this range every whole float is an exact integer, so the cast loses nothing.
        Json::Float(number) if number.fract() == 0.0 && (0.0..=MAX_COUNT as f64).contains(number) => Some(*number as u64),
        _ => None,
    }
}

/// The sum of two parts of a count, either of which may be unknown; unknown only if both are.
pub fn sum(left: Option<u64>, right: Option<u64>) -> Option<u64> {
    match (left, right) {
        (None, None) => None,
        _ => Some(left.unwrap_or(0).saturating_add(right.unwrap_or(0))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_a_whole_number_in_range() {
        let cases: [(&str, Option<u64>); 14] = [
            ("0", Some(0)),
            ("12", Some(12)),
            ("12.0", Some(12)),
            ("1000000000000", Some(MAX_COUNT)),
            ("1000000000001", None),
            ("12.5", None),
            ("-1", None),
            ("-1.0", None),
            ("1e300", None),
            ("NaN", None),
            ("123456789012345678901234567890", None),
            ("\"12\"", None),
            ("true", None),
            ("[12]", None),
        ];
        for (text, expected) in cases {
            let value = Json::parse(text.as_bytes()).unwrap();
            assert_eq!(count(&value), expected, "{text}");
        }
    }

    #[test]
    fn sums_and_merges_keep_what_is_known() {
        assert_eq!(sum(None, None), None);
        assert_eq!(sum(Some(2), None), Some(2));
        assert_eq!(sum(Some(2), Some(3)), Some(5));
        let first = Usage { input_tokens: Some(10), output_tokens: Some(1), ..Usage::default() };
        let last = Usage { output_tokens: Some(7), web_searches: Some(0), ..Usage::default() };
        let expected = Usage { input_tokens: Some(10), output_tokens: Some(7), web_searches: Some(0), ..Usage::default() };
        assert_eq!(first.merged(last), expected);
        assert!(Usage::default().is_empty() && !expected.is_empty());
    }
}
