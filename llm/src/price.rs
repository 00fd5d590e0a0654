//! What a call costs, by a dated table.
//!
//! The table is made of genai-prices' data by `llm/data/regenerate`, and its rules are followed: which entry a model's name means, which dated price holds, that
//! passing a threshold of input tokens changes the price of all tokens, that a part of the tokens with its own price (cached, audio) is taken out of the whole
//! before the rest is priced, and that a part without its own price is not.

mod pattern;
mod table;

use std::sync::OnceLock;

use jiff::Timestamp;
use jiff::civil::Date;
use rust_decimal::Decimal;

use crate::usage::Usage;
use table::{Model, Price, PriceList, Provider, Table, Unit};

const BUILTIN: &str = include_str!("../data/prices.json");

/// Prices of models.
#[derive(Debug)]
pub struct PriceTable {
    table: Table,
}

/// What a call costs in US dollars, exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// All of it: input, output, and what is charged by request or search.
    pub total: Decimal,
    /// The input's part.
    pub input: Decimal,
    /// The output's part.
    pub output: Decimal,
}

impl PriceTable {
    /// The table that is part of the program, read when it is first asked for.
    pub fn builtin() -> &'static Self {
        static TABLE: OnceLock<PriceTable> = OnceLock::new();
        TABLE.get_or_init(|| Self { table: serde_json::from_str(BUILTIN).expect("the committed table was read by the tests") })
    }

    /// The day on which the prices were taken.
    pub fn date(&self) -> Date {
        self.table.date
    }

    /// The release of genai-prices that the prices are of.
    pub fn version(&self) -> &str {
        self.table.version
    }

    /// What `usage` of a provider's model costs at a time. `provider` is as genai-prices names it or close to it (`bedrock` for `aws`), `model` as sent or answered.
    ///
    /// Nothing where the model has no price, where a count that has a price is not known, or where the counts contradict each other: never zero instead.
    pub fn cost(&self, provider: &str, model: &str, usage: &Usage, at: Timestamp) -> Option<Cost> {
        self.cost_in(provider, model, usage, at, &[])
    }

    /// The same for a call with special conditions that have their own prices, such as `("service_tier", "flex")`, `("service_tier", "priority")`,
    /// `("processing", "batch")` or `("speed", "fast")`. Conditions that do not change the price do no harm.
    pub fn cost_in(&self, provider: &str, model: &str, usage: &Usage, at: Timestamp, conditions: &[(&str, &str)]) -> Option<Cost> {
        let provider = self.table.provider(provider)?;
        let (model, own) = self.find(provider, model)?;
        let standard = model.standard(at);
        // A provider that resells another's models does not offer its special conditions.
        let variants: Vec<&PriceList> = if own { model.variants(at, conditions).collect() } else { Vec::new() };
        price(usage, |unit| variants.iter().find_map(|variant| variant.price(unit)).or_else(|| standard.price(unit)))
    }

    /// Whether the provider's model is in the table, with a price or without.
    pub fn knows(&self, provider: &str, model: &str) -> bool {
        self.table.provider(provider).is_some_and(|provider| self.find(provider, model).is_some())
    }

    /// The model that a name means, and whether it is the provider's own.
    fn find<'a>(&'a self, provider: &'a Provider, name: &str) -> Option<(&'a Model, bool)> {
        let name = name.to_lowercase();
        self.find_exactly(provider, &name).or_else(|| self.find_exactly(provider, &pattern::with_dashed_date(&name)?))
    }

    fn find_exactly<'a>(&'a self, provider: &'a Provider, name: &str) -> Option<(&'a Model, bool)> {
        let sold_too = |id: &&str| self.table.providers.iter().find(|other| other.id == *id)?.model(name);
        let own = provider.model(name).map(|model| (model, true));
        own.or_else(|| provider.fallback.iter().find_map(sold_too).map(|model| (model, false)))
    }
}

/// The cost of `usage` where `price_of` tells the price of each unit that has one.
fn price<'a>(usage: &Usage, price_of: impl Fn(Unit) -> Option<&'a Price>) -> Option<Cost> {
    let parts = |units: &[(Unit, Option<u64>)]| -> Vec<(&'a Price, u64)> {
        units.iter().filter_map(|(unit, count)| Some((price_of(*unit)?, count.unwrap_or(0)))).collect()
    };
    // Writes for one hour are part of all writes; with a price of their own they are taken out of them.
    let hour = price_of(Unit::CacheWrite1h).and(usage.cache_write_1h_tokens);
    let writes = usage.cache_write_tokens.max(hour).map(|all| all - hour.unwrap_or(0));
    let mut input = parts(&[
        (Unit::CacheRead, usage.cache_read_tokens),
        (Unit::CacheWrite, writes),
        (Unit::CacheWrite1h, hour),
        (Unit::InputAudio, usage.input_audio_tokens),
        (Unit::InputImage, usage.input_image_tokens),
    ]);
    let mut output = parts(&[(Unit::Reasoning, usage.reasoning_tokens), (Unit::OutputAudio, usage.output_audio_tokens)]);
    split_rest(price_of(Unit::Input), usage.input_tokens, &mut input)?;
    split_rest(price_of(Unit::Output), usage.output_tokens, &mut output)?;
    let others = parts(&[(Unit::WebSearch, usage.web_searches), (Unit::Request, Some(1))]);
    if input.is_empty() && output.is_empty() && others.is_empty() {
        return None;
    }
    let total_input = usage.input_tokens.unwrap_or(0);
    let input = sum(&input, 1_000_000, total_input)?;
    let output = sum(&output, 1_000_000, total_input)?;
    let total = input.checked_add(output)?.checked_add(sum(&others, 1_000, total_input)?)?;
    Some(Cost { total: total.normalize(), input: input.normalize(), output: output.normalize() })
}

/// Adds to the parts of a count the rest of it, at the price of the whole. Nothing if it has a price and is not known, or is smaller than its parts.
fn split_rest<'a>(price: Option<&'a Price>, whole: Option<u64>, parts: &mut Vec<(&'a Price, u64)>) -> Option<()> {
    let Some(price) = price else { return Some(()) };
    let rest = match whole {
        Some(whole) => parts.iter().try_fold(whole, |rest, (_, count)| rest.checked_sub(*count))?,
        None if price.is_free() && parts.iter().all(|(_, count)| *count == 0) => 0,
        None => return None,
    };
    parts.push((price, rest));
    Some(())
}

fn sum(parts: &[(&Price, u64)], per: u64, total_input: u64) -> Option<Decimal> {
    parts.iter().try_fold(Decimal::ZERO, |sum, (price, count)| {
        let cost = price.at(total_input).checked_mul(Decimal::from(*count))?.checked_div(Decimal::from(per))?;
        sum.checked_add(cost)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"{"version":"1","date":"2026-01-01","providers":[
        {"id":"maker","match":["*maker*"],"fallback":[],"models":[
            {"id":"m","match":["m"],"prices":[{"input":["1",[200,"2"],[300,"4"]],"output":["10"]}],
             "variants":[{"when":{"service_tier":"flex"},"from":"2026-02-01","input":["0.5"]},{"when":{"service_tier":"flex"},"input":["7"],"output":["5"]}]},
            {"id":"dated","match":["dated"],"prices":[{"output":["1"]},{"from":"2026-03-01","output":["2"]},{"between":["23:00:00","01:00:00"],"output":["3"]}]}]},
        {"id":"seller","match":[],"fallback":["maker"],"models":[]}]}"#;

    /// The total of so many million input and output tokens.
    fn cost(provider: &str, model: &str, tokens: [u64; 2], at: &str, conditions: &[(&str, &str)]) -> String {
        let table = PriceTable { table: serde_json::from_str(SMALL).unwrap() };
        let usage = Usage { input_tokens: Some(tokens[0]), output_tokens: Some(tokens[1] * 1_000_000), ..Usage::default() };
        table.cost_in(provider, model, &usage, at.parse().unwrap(), conditions).unwrap().total.to_string()
    }

    #[test]
    fn a_threshold_changes_the_price_when_it_is_passed() {
        let costs = [200, 201, 300, 301].map(|input| cost("maker", "m", [input, 0], "2026-01-01T00:00:00Z", &[]));
        assert_eq!(costs, ["0.0002", "0.000402", "0.0006", "0.001204"]);
    }

    #[test]
    fn dates_and_hours_are_in_utc_and_begin_where_they_say() {
        let cases = [
            ("2026-02-28T22:59:59Z", "1"),
            ("2026-02-28T23:00:00Z", "3"),
            ("2026-03-01T00:59:59Z", "3"),
            ("2026-03-01T01:00:00Z", "2"),
            ("2026-02-28T22:00:00-08:00", "2"),
            ("2026-03-01T03:30:00+05:00", "1"),
        ];
        for (at, expected) in cases {
            assert_eq!(cost("maker", "dated", [0, 1], at, &[]), expected, "{at}");
        }
    }

    #[test]
    fn special_conditions_hold_with_the_maker_alone() {
        let flex = [("speed", "fast"), ("service_tier", "flex")];
        assert_eq!(cost("maker", "M", [100, 1], "2026-02-01T00:00:00Z", &flex), "5.00005", "the first variant that has the price");
        assert_eq!(cost("maker", "m", [100, 1], "2026-01-31T23:59:59Z", &flex), "5.0007", "the first is not valid yet");
        assert_eq!(cost("maker", "m", [100, 1], "2026-02-01T00:00:00Z", &flex[..1]), "10.0001");
        assert_eq!(cost("seller", "m", [100, 1], "2026-02-01T00:00:00Z", &flex), "10.0001");
    }
}
