use agentrun_llm::{
    call::{CacheLayer, CallId},
    usage::Usage,
};
use jiff::{SignedDuration, Timestamp};

use super::*;

fn usd(text: &str) -> Option<Decimal> {
    Some(text.parse().unwrap())
}

/// A paid call of two seconds.
fn paid() -> CallRecord {
    let mut record = CallRecord::begin(CallId::from_bytes([1; 16]), Timestamp::UNIX_EPOCH, Capture::Dns);
    record.timestamp = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(2);
    record.latency_seconds = 2.0;
    (record.status_code, record.outcome, record.operation) = (200, Outcome::Complete, Operation::Chat);
    (record.cost_usd, record.saved_usd) = (usd("0.01"), usd("0"));
    record.set_usage(Ok(Usage { input_tokens: Some(7), output_tokens: Some(3), ..Usage::default() }));
    record
}

fn sums(change: impl FnOnce(&mut CallRecord)) -> Sums {
    let mut record = paid();
    change(&mut record);
    Sums::of(&record)
}

#[test]
fn a_call_counts_as_in_the_sidecars_totals() {
    let one = sums(|_| ());
    let expected = Sums {
        calls: 1,
        spent: usd("0.01").unwrap(),
        call_seconds: 2.0,
        input_tokens: 7,
        output_tokens: 3,
        captured: [0, 1, 0, 0],
        ..Sums::default()
    };
    assert_eq!(one, expected);
    let hit = |record: &mut CallRecord| {
        (record.cached, record.cache_layer) = (true, Some(CacheLayer::Memory));
        (record.cost_usd, record.saved_usd) = (usd("0"), usd("0.01"));
        record.timestamp = record.started_at + SignedDuration::from_millis(500);
    };
    let cached = sums(hit);
    assert_eq!((cached.cached, cached.cached_seconds, cached.unpriced, cached.saved), (1, 1.5, 0, usd("0.01").unwrap()));
    let unpriced_hit = sums(|record| {
        hit(record);
        record.saved_usd = None;
    });
    assert_eq!(unpriced_hit.unpriced, 1, "what it would have cost is not known");
    assert_eq!(sums(|record| record.cost_usd = None).unpriced, 1);
    let unread = sums(|record| record.set_usage(Err("unknown".to_owned())));
    assert_eq!((unread.unreadable, unread.unpriced, unread.failed), (1, 0, 0));
    let unreadable = sums(|record| (record.outcome, record.status_code) = (Outcome::Unreadable, 500));
    assert_eq!((unreadable.unreadable, unreadable.failed), (1, 0));
    let refused = sums(|record| (record.outcome, record.status_code) = (Outcome::UpstreamRefused, 0));
    assert_eq!((refused.failed, refused.unanswered, refused.unreadable), (1, 1, 0));
    let counted = sums(|record| record.operation = Operation::CountTokens);
    assert_eq!((counted.input_tokens, counted.output_tokens), (0, 0), "what is only counted was not consumed");
}

#[test]
fn a_trial_costs_what_it_would_without_a_cache_or_nobody_knows() {
    let mut all = sums(|_| ());
    all.add(&sums(|record| {
        (record.cached, record.cache_layer, record.latency_seconds) = (true, Some(CacheLayer::Hub), 5.0);
        (record.cost_usd, record.saved_usd) = (usd("0"), usd("0.02"));
    }));
    let measures = all.measures(10.0, 0.0);
    assert_eq!((measures.usd, measures.spent_usd, measures.saved_usd), (usd("0.03"), usd("0.01").unwrap(), usd("0.02").unwrap()));
    assert_eq!((measures.latency_seconds, measures.calls, measures.cached), (13.0, 2, 1));
    assert_eq!(all.measures(10.0, 4.0).latency_seconds, 14.0, "the sidecar measures finer than its records");
    all.add(&sums(|record| record.cost_usd = None));
    assert_eq!(all.measures(10.0, 0.0).usd, None);
}

#[test]
fn no_record_makes_a_sum_that_cannot_be_stored() {
    let mut all = Sums::default();
    for _ in 0..3 {
        all.add(&sums(|record| {
            (record.latency_seconds, record.cost_usd) = (f64::MAX, Some(Decimal::MAX));
            record.set_usage(Ok(Usage { input_tokens: Some(u64::MAX), ..Usage::default() }));
        }));
    }
    all.add(&sums(|record| record.latency_seconds = -5.0));
    assert_eq!((all.call_seconds, all.spent, all.input_tokens), (3e9, Decimal::MAX, u64::MAX));
    let stored: Sums = serde_json::from_str(&serde_json::to_string(&all).unwrap()).unwrap();
    assert_eq!(stored, all);
    assert!(all.measures(f64::MAX, f64::INFINITY).latency_seconds.is_finite());
}
