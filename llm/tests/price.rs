//! Costs are those of genai-prices, to the last digit, and unknown ones are not zero.

use agentrun_llm::price::PriceTable;
use agentrun_llm::usage::Usage;
use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    provider: String,
    model: String,
    context: std::collections::BTreeMap<String, String>,
    at: Timestamp,
    usage: Usage,
    cost: Option<Decimal>,
}

fn noon() -> Timestamp {
    "2026-11-20T12:00:00Z".parse().unwrap()
}

fn total(provider: &str, model: &str, usage: Usage) -> Option<String> {
    PriceTable::builtin().cost(provider, model, &usage, noon()).map(|cost| cost.total.to_string())
}

#[test]
fn costs_are_those_of_the_python_library() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("data/costs.json")).unwrap();
    assert!(cases.iter().filter(|case| case.cost.is_some()).count() > 100);
    for case in cases {
        let context: Vec<(&str, &str)> = case.context.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let cost = PriceTable::builtin().cost_in(&case.provider, &case.model, &case.usage, case.at, &context);
        assert_eq!(cost.map(|cost| cost.total), case.cost, "{} {} {:?} {}", case.provider, case.model, case.usage, case.at);
    }
}

#[test]
fn the_parts_make_the_whole() {
    let usage = Usage { input_tokens: Some(1_000_000), output_tokens: Some(1_000_000), web_searches: Some(1_000), ..Usage::default() };
    let cost = PriceTable::builtin().cost("anthropic", "claude-haiku-4-5", &usage, noon()).unwrap();
    assert_eq!([cost.input, cost.output, cost.total].map(|part| part.to_string()), ["1", "5", "16"]);
}

#[test]
fn what_is_not_known_is_not_zero() {
    let plain = Usage { input_tokens: Some(10), output_tokens: Some(10), ..Usage::default() };
    assert_eq!(total("openai", "no-such-model", plain), None);
    assert_eq!(total("no-such-provider", "gpt-4o", plain), None);
    assert_eq!(total("openai", "gpt-4o", Usage { output_tokens: None, ..plain }), None);
    assert_eq!(total("openai", "gpt-4o", Usage { input_tokens: None, ..plain }), None);
    assert_eq!(total("openai", "gpt-4o", Usage { cache_read_tokens: Some(11), ..plain }), None, "a part is larger than the whole");
    assert_eq!(
        total("openai", "text-embedding-3-small", Usage { output_tokens: None, ..plain }).as_deref(),
        Some("0.0000002"),
        "no output is priced"
    );
    assert!(PriceTable::builtin().knows("openai", "gpt-4o") && !PriceTable::builtin().knows("openai", "no-such-model"));
    // Priced by the minute of audio alone, which usage does not count.
    assert!(PriceTable::builtin().knows("groq", "whisper-large-v3"));
    assert_eq!(total("groq", "whisper-large-v3", plain), None);
}

#[test]
fn unreported_cache_counts_are_plain_input() {
    let plain = Usage { input_tokens: Some(1_000_000), output_tokens: Some(0), ..Usage::default() };
    assert_eq!(total("openai", "gpt-4o", plain).as_deref(), Some("2.5"));
    assert_eq!(total("openai", "gpt-4o", Usage { cache_read_tokens: Some(1_000_000), ..plain }).as_deref(), Some("1.25"));
    let hour = Usage { cache_write_tokens: Some(1_000_000), cache_write_1h_tokens: Some(400_000), ..plain };
    assert_eq!(total("anthropic", "claude-haiku-4-5", hour).as_deref(), Some("1.55"), "0.6 x 1.25 + 0.4 x 2");
    let only_hour = Usage { cache_write_1h_tokens: Some(400_000), ..plain };
    assert_eq!(total("anthropic", "claude-haiku-4-5", only_hour).as_deref(), Some("1.4"), "0.6 x 1 + 0.4 x 2");
}

#[test]
fn no_usage_is_too_large() {
    let all = Some(u64::MAX);
    let usage = Usage { input_tokens: all, output_tokens: all, cache_read_tokens: all, web_searches: all, ..Usage::default() };
    let cost = PriceTable::builtin().cost("openai", "gpt-4o", &usage, noon()).unwrap();
    assert_eq!(cost.input.to_string(), "23058430092136.93951875");
}

#[test]
fn the_table_says_what_it_is() {
    let table = PriceTable::builtin();
    assert!(table.date() >= jiff::civil::date(2026, 11, 1));
    assert!(!table.version().is_empty());
}
