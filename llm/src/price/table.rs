//! The table's data as `llm/data/regenerate` writes it. Texts are borrowed from the program itself.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use rust_decimal::Decimal;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::pattern::Clause;

#[derive(Debug, Deserialize)]
pub(super) struct Table {
    pub(super) version: &'static str,
    pub(super) date: Date,
    pub(super) providers: Box<[Provider]>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Provider {
    pub(super) id: &'static str,
    #[serde(rename = "match")]
    clause: Clause,
    /// Providers whose models this one sells too.
    pub(super) fallback: Box<[&'static str]>,
    models: Box<[Model]>,
}

#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "'de: 'static"))]
pub(super) struct Model {
    #[serde(rename = "match")]
    clause: Clause,
    /// Later lists go before earlier ones; the first holds where no other does.
    prices: Box<[PriceList]>,
    /// Prices under special conditions; earlier ones go before later ones.
    #[serde(default)]
    variants: Box<[PriceList]>,
}

/// Prices that hold under some conditions.
#[derive(Debug)]
pub(super) struct PriceList {
    when: Box<[(&'static str, &'static str)]>,
    /// From this day on, in UTC.
    from: Option<Date>,
    /// Daily from the first time on until before the second, in UTC; over midnight if the second is earlier.
    between: Option<[Time; 2]>,
    prices: Box<[(Unit, Price)]>,
}

/// What has a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Unit {
    Input,
    Output,
    CacheRead,
    CacheWrite,
    #[serde(rename = "cache_write_1h")]
    CacheWrite1h,
    Reasoning,
    InputAudio,
    OutputAudio,
    InputImage,
    WebSearch,
    Request,
}

/// US dollars: for a million tokens, or for a thousand searches or requests.
#[derive(Debug)]
pub(super) struct Price {
    base: Decimal,
    /// Above so many input tokens this price holds instead, for all tokens; thresholds ascend.
    tiers: Box<[(u64, Decimal)]>,
}

impl Table {
    /// The provider of that id, or else the first whose patterns match it.
    pub(super) fn provider(&self, id: &str) -> Option<&Provider> {
        let id = id.trim().to_lowercase();
        self.providers
            .iter()
            .find(|provider| provider.id == id)
            .or_else(|| self.providers.iter().find(|provider| provider.clause.matches(&id)))
    }
}

impl Provider {
    pub(super) fn model(&self, name: &str) -> Option<&Model> {
        self.models.iter().find(|model| model.clause.matches(name))
    }
}

impl Model {
    pub(super) fn standard(&self, at: Timestamp) -> &PriceList {
        self.prices.iter().rev().find(|list| list.holds(at)).unwrap_or(&self.prices[0])
    }

    pub(super) fn variants(&self, at: Timestamp, conditions: &[(&str, &str)]) -> impl Iterator<Item = &PriceList> {
        self.variants.iter().filter(move |list| list.holds(at) && list.when.iter().all(|condition| conditions.contains(condition)))
    }
}

impl PriceList {
    pub(super) fn price(&self, unit: Unit) -> Option<&Price> {
        self.prices.iter().find(|(priced, _)| *priced == unit).map(|(_, price)| price)
    }

    fn holds(&self, at: Timestamp) -> bool {
        let at = TimeZone::UTC.to_datetime(at);
        let after_start = self.from.is_none_or(|from| at.date() >= from);
        let in_hours = self.between.is_none_or(|[start, end]| match end < start {
            true => at.time() >= start || at.time() < end,
            false => start <= at.time() && at.time() < end,
        });
        after_start && in_hours
    }
}

impl Price {
    pub(super) fn at(&self, input_tokens: u64) -> Decimal {
        self.tiers.iter().rev().find(|(start, _)| input_tokens > *start).map_or(self.base, |(_, price)| *price)
    }

    pub(super) fn is_free(&self) -> bool {
        self.base.is_zero() && self.tiers.iter().all(|(_, price)| price.is_zero())
    }
}

impl<'de: 'static> Deserialize<'de> for PriceList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(bound(deserialize = "'de: 'static"))]
        struct Line {
            #[serde(default)]
            when: BTreeMap<&'static str, &'static str>,
            from: Option<Date>,
            between: Option<[Time; 2]>,
            #[serde(flatten)]
            prices: BTreeMap<Unit, Price>,
        }
        let line = Line::deserialize(deserializer)?;
        let prices = line.prices.into_iter().collect();
        Ok(Self { when: line.when.into_iter().collect(), from: line.from, between: line.between, prices })
    }
}

impl<'de> Deserialize<'de> for Price {
    /// Reads `["2.5", [200000, "5"], …]`.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Item {
            Base(Decimal),
            Tier(u64, Decimal),
        }
        let mut items = Vec::<Item>::deserialize(deserializer)?.into_iter();
        let Some(Item::Base(base)) = items.next() else { return Err(D::Error::custom("a price without its base")) };
        let tiers = items.map(|item| match item {
            Item::Tier(start, price) => Ok((start, price)),
            Item::Base(_) => Err(D::Error::custom("a price with two bases")),
        });
        Ok(Self { base, tiers: tiers.collect::<Result<_, _>>()? })
    }
}
