//! Numbers as people read them: decimal strings, as the resource's status holds them.

use rust_decimal::{Decimal, RoundingStrategy};

/// Four decimals, as in `0.9100`. A number that is not finite is `0.0000`.
pub fn fixed(value: f64) -> String {
    let value = if value.is_finite() { value } else { 0.0 };
    let text = format!("{value:.4}");
    if text == "-0.0000" { "0.0000".to_owned() } else { text }
}

/// US dollars: four decimals, or as many as three digits of a small sum need (at most 12), as in `3.1412` and `0.0000213`.
pub fn usd(value: Decimal) -> String {
    let decimals = (4..12).find(|decimals| value.is_zero() || value.abs() >= Decimal::new(1, decimals - 2)).unwrap_or(12);
    let rounded = value.round_dp_with_strategy(decimals, RoundingStrategy::MidpointAwayFromZero);
    format!("{rounded:.0$}", decimals as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_sums_keep_three_digits() {
        let table = [
            ("0", "0.0000"),
            ("3.14124", "3.1412"),
            ("0.01213", "0.0121"),
            ("0.0098765", "0.00988"),
            ("0.00002134", "0.0000213"),
            ("-1.5", "-1.5000"),
            ("0.0000000000000001", "0.000000000000"),
            ("123456789.99995", "123456790.0000"),
        ];
        for (value, expected) in table {
            assert_eq!(usd(value.parse().unwrap()), expected);
        }
    }

    #[test]
    fn scores_have_four_decimals() {
        let table = [(0.91, "0.9100"), (-0.000_01, "0.0000"), (f64::NAN, "0.0000"), (12.345_678, "12.3457")];
        for (value, expected) in table {
            assert_eq!(fixed(value), expected);
        }
    }
}
