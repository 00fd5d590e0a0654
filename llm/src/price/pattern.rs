//! Which names an entry of the table means.

use serde::Deserialize;

/// A condition on a name in lower case.
#[derive(Debug, Deserialize)]
#[serde(untagged, bound(deserialize = "'de: 'static"))]
pub(super) enum Clause {
    /// One of these patterns matches: `#` is a digit, a `*` at either end is anything.
    Patterns(Box<[&'static str]>),
    /// All of these hold.
    All { all: Box<[Clause]> },
    /// One of these holds.
    Any { any: Box<[Clause]> },
    /// This does not hold.
    Not { not: Box<Clause> },
}

impl Clause {
    pub(super) fn matches(&self, name: &str) -> bool {
        match self {
            Self::Patterns(patterns) => patterns.iter().any(|pattern| matches(pattern, name)),
            Self::All { all } => all.iter().all(|clause| clause.matches(name)),
            Self::Any { any } => any.iter().any(|clause| clause.matches(name)),
            Self::Not { not } => !not.matches(name),
        }
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    let (open_start, rest) = pattern.strip_prefix('*').map_or((false, pattern), |rest| (true, rest));
    let (open_end, middle) = rest.strip_suffix('*').map_or((false, rest), |middle| (true, middle));
    let (middle, name) = (middle.as_bytes(), name.as_bytes());
    let Some(spare) = name.len().checked_sub(middle.len()) else { return false };
    match (open_start, open_end) {
        (false, false) => spare == 0 && equal(middle, name),
        (false, true) => equal(middle, &name[..middle.len()]),
        (true, false) => equal(middle, &name[spare..]),
        (true, true) => (0..=spare).any(|start| equal(middle, &name[start..start + middle.len()])),
    }
}

fn equal(pattern: &[u8], name: &[u8]) -> bool {
    pattern.iter().zip(name).all(|(wanted, byte)| wanted == byte || *wanted == b'#' && byte.is_ascii_digit())
}

/// The name with each date written `-20260305` as `-2026-03-05`, if there is one: some gateways write dates so, the table does not.
pub(super) fn with_dashed_date(name: &str) -> Option<String> {
    let bytes = name.as_bytes();
    let mut dashed = String::new();
    let mut copied = 0;
    for dash in name.match_indices('-').map(|(place, _)| place) {
        let Some(digits) = bytes.get(dash + 1..dash + 9).filter(|digits| is_date(digits)) else { continue };
        if !matches!(bytes.get(dash + 9), None | Some(b'-' | b':')) {
            continue;
        }
        let digits = str::from_utf8(digits).ok()?;
        dashed.push_str(&name[copied..=dash]);
        dashed.push_str(&format!("{}-{}-{}", &digits[..4], &digits[4..6], &digits[6..]));
        copied = dash + 9;
    }
    dashed.push_str(&name[copied..]);
    (copied > 0).then_some(dashed)
}

fn is_date(digits: &[u8]) -> bool {
    let number = |range: std::ops::Range<usize>| str::from_utf8(&digits[range]).ok()?.parse::<i8>().ok();
    let this_century = digits.starts_with(b"20") && digits.iter().all(u8::is_ascii_digit);
    let date = || Some(jiff::civil::Date::new(2000 + i16::from(number(2..4)?), number(4..6)?, number(6..8)?).is_ok());
    this_century && date() == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_anchored_where_they_are_not_open() {
        let cases = [
            ("gpt-4o", "gpt-4o", true),
            ("gpt-4o", "gpt-4o-mini", false),
            ("gpt-4o*", "gpt-4o-mini", true),
            ("gpt-4o*", "my-gpt-4o", false),
            ("*-tts", "gemini-tts", true),
            ("*-tts", "gemini-tts-2", false),
            ("*claude*", "anthropic.claude-x", true),
            ("*claude*", "clade", false),
            ("o-####", "o-2024", true),
            ("o-####", "o-202a", false),
            ("o-##*", "o-2024", true),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn compact_dates_are_rewritten() {
        let cases = [
            ("gpt-5.2-20251211", Some("gpt-5.2-2025-12-11")),
            ("a-20251211:free", Some("a-2025-12-11:free")),
            ("a-20251211-20260101-b", Some("a-2025-12-11-2026-01-01-b")),
            ("a-20251232", None),
            ("a-20250230", None),
            ("a-19991211", None),
            ("a-202512110", None),
            ("a-2025é211", None),
            ("é-20251211", Some("é-2025-12-11")),
            ("plain", None),
        ];
        for (name, expected) in cases {
            assert_eq!(with_dashed_date(name).as_deref(), expected, "{name}");
        }
    }
}
