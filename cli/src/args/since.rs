//! A moment, as people write it.

use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};

/// A moment: a timestamp, or a span before now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Since(pub(crate) Timestamp);

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(timestamp) = text.parse() {
            return Ok(Self(timestamp));
        }
        let refusal = || format!("`{text}` is neither a time (2026-11-22T10:00:00Z) nor a span (90s, 15m, 2h, 7d)");
        let seconds = seconds(text).and_then(|seconds| i64::try_from(seconds).ok()).ok_or_else(refusal)?;
        Timestamp::now().checked_sub(SignedDuration::from_secs(seconds)).map(Self).map_err(|_| refusal())
    }
}

/// The seconds of a span: `90s`, `15m`, `2h`, `7d`.
pub(super) fn seconds(text: &str) -> Option<u64> {
    let unit = match text.chars().last()? {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return None,
    };
    let count: u32 = text[..text.len() - 1].parse().ok()?;
    Some(u64::from(count) * unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_or_a_span() {
        assert_eq!("2026-11-22T10:00:00Z".parse::<Since>().unwrap().0.to_string(), "2026-11-22T10:00:00Z");
        let hour = SignedDuration::from_hours(1);
        let (before, since, after) = (Timestamp::now(), "1h".parse::<Since>().unwrap().0, Timestamp::now());
        assert!((before - hour..=after - hour).contains(&since), "{since}");
        for wrong in ["", "1", "h", "-1h", "1w", "99999999999d", "é"] {
            assert!(wrong.parse::<Since>().is_err(), "{wrong}");
        }
    }
}
