//! Server-sent events are the same however the stream is cut.

use agentrun_llm::sse::{EventTooLarge, SseDecoder, SseEvent};
use proptest::prelude::*;

/// Every event of a stream cut at the given places, the unterminated one last, and the error if there is one.
fn decode(stream: &[u8], cuts: &[usize], limit: usize) -> (Vec<SseEvent>, Option<EventTooLarge>) {
    let mut decoder = SseDecoder::new(limit);
    let mut events = Vec::new();
    let mut error = None;
    let mut start = 0;
    for end in cuts.iter().copied().chain([stream.len()]) {
        error = decoder.push(&stream[start..end], &mut events).err();
        start = end;
    }
    events.extend(decoder.finish());
    (events, error)
}

/// `event|data|end` of each event.
fn shown(stream: &str) -> Vec<String> {
    let (events, error) = decode(stream.as_bytes(), &[], 1000);
    assert_eq!(error, None);
    let show = |event: SseEvent| format!("{}|{}|{}", event.event.unwrap_or_default(), String::from_utf8_lossy(&event.data), event.end);
    events.into_iter().map(show).collect()
}

#[test]
fn reads_what_the_standard_describes() {
    let cases: [(&str, &[&str]); 22] = [
        ("", &[]),
        ("data: a\n\n", &["|a|9"]),
        ("data:a\n\n", &["|a|8"]),
        ("data:  a\n\n", &["| a|10"]),
        ("data: a\ndata: b\n\n", &["|a\nb|17"]),
        ("data: a\r\n\r\n", &["|a|11"]),
        ("data: a\r\rdata: b\r\r", &["|a|9", "|b|18"]),
        ("data: a\r\n\rdata: b\n\r\n", &["|a|10", "|b|20"]),
        ("data: a\r\r\ndata: b\n\n", &["|a|9", "|b|19"]),
        ("event: x\ndata: a\n\n", &["x|a|18"]),
        ("event: x\n\ndata: a\n\n", &["|a|19"]),
        (": ping\n\ndata: a\n\n", &["|a|17"]),
        ("data: a\n: comment\ndata: b\n\n", &["|a\nb|27"]),
        ("id: 1\nretry: 5\nDATA: no\ndata\n\n", &["||30"]),
        ("data:\n\n", &["||7"]),
        ("\n\n\ndata: a\n\n\n\n", &["|a|12"]),
        ("\u{feff}data: a\n\n", &["|a|12"]),
        ("data: a\u{2028}b\u{85}c\n\n", &["|a\u{2028}b\u{85}c|16"]),
        ("data: {\"a\": \"b: c\"}\n\n", &["|{\"a\": \"b: c\"}|21"]),
        ("data: a\n\ndata: cut", &["|a|9", "|cut|18"]),
        ("data: a\n", &["|a|8"]),
        ("event: x", &[]),
    ];
    for (stream, expected) in cases {
        assert_eq!(shown(stream), expected, "{stream:?}");
    }
}

#[test]
fn half_a_byte_order_mark_belongs_to_its_line() {
    let (events, _) = decode(b"\xef\xbbdata: a\ndata: b\n\n", &[1], 1000);
    assert_eq!(events, [SseEvent { event: None, data: b"b".to_vec(), end: 19 }]);
}

#[test]
fn an_event_is_given_out_with_its_last_byte() {
    for stream in ["data: a\n\n", "data: a\r\n\r\n", "data: a\r\r"] {
        let mut decoder = SseDecoder::default();
        let mut events = Vec::new();
        let (last, others) = stream.as_bytes().split_last().unwrap();
        decoder.push(others, &mut events).unwrap();
        assert!(events.is_empty(), "{stream:?}");
        decoder.push(&[*last], &mut events).unwrap();
        assert_eq!(events.len(), 1, "{stream:?}");
    }
}

#[test]
fn large_events_are_refused_and_earlier_ones_kept() {
    let stream = b"data: a\n\ndata: 12345678\ndata: 9\n\n";
    let (events, error) = decode(stream, &[], 14);
    assert_eq!((events.len(), error), (1, Some(EventTooLarge { limit: 14, offset: 30 })));
    assert_eq!(decode(stream, &[], 16).1, None);
    let endless = vec![b'x'; 100];
    let mut decoder = SseDecoder::new(64);
    assert!(decoder.push(&endless, &mut Vec::new()).is_err());
    assert!(decoder.push(b"\n\ndata: a\n\n", &mut Vec::new()).is_err());
}

proptest! {
    #[test]
    fn cuts_do_not_matter(
        pieces in proptest::collection::vec(prop_oneof![
            Just("data: "), Just("data"), Just("event:"), Just(":"), Just("\n"), Just("\r"), Just("\r\n"), Just("\n\n"), Just("x"), Just("é\u{2028}"), Just("\u{feff}"),
        ], 0..40),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
        limit in 1..80_usize,
    ) {
        let stream = pieces.concat().into_bytes();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.sort_unstable();
        let whole = decode(&stream, &[], limit);
        prop_assert_eq!(&decode(&stream, &cuts, limit), &whole);
        let every: Vec<usize> = (0..=stream.len()).collect();
        prop_assert_eq!(&decode(&stream, &every, limit), &whole);
    }

    #[test]
    fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        decode(&bytes, &[], 50);
    }

    #[test]
    fn data_is_given_back(lines in proptest::collection::vec("[^\r\n]{0,20}", 1..5)) {
        let stream: String = lines.iter().map(|line| format!("data: {line}\r\n")).collect::<String>() + "\r\n";
        let (events, _) = decode(stream.as_bytes(), &[], 1000);
        prop_assert_eq!(events, [SseEvent { event: None, data: lines.join("\n").into_bytes(), end: stream.len() as u64 }]);
    }
}
