//! AWS event streams are read back as written, however cut, and damage is noticed.

use agentrun_llm::eventstream::{EncodeError, EventStreamDecoder, EventStreamError, HeaderValue, MAX_HEADER_BYTES, Message};
use proptest::prelude::*;

fn decode(stream: &[u8], cuts: &[usize]) -> (Vec<Message>, Result<(), EventStreamError>) {
    let mut decoder = EventStreamDecoder::new(4096);
    let mut messages = Vec::new();
    let mut start = 0;
    for end in cuts.iter().copied().chain([stream.len()]) {
        // The error comes back from `finish`.
        let _ = decoder.push(&stream[start..end], &mut messages);
        start = end;
    }
    (messages, decoder.finish())
}

fn value() -> impl Strategy<Value = HeaderValue> {
    prop_oneof![
        any::<bool>().prop_map(HeaderValue::Bool),
        any::<i8>().prop_map(HeaderValue::Byte),
        any::<i16>().prop_map(HeaderValue::Short),
        any::<i32>().prop_map(HeaderValue::Int),
        any::<i64>().prop_map(HeaderValue::Long),
        proptest::collection::vec(any::<u8>(), 0..20).prop_map(HeaderValue::Bytes),
        any::<String>().prop_map(HeaderValue::String),
        any::<i64>().prop_map(HeaderValue::Timestamp),
        any::<[u8; 16]>().prop_map(HeaderValue::Uuid),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    let headers = proptest::collection::vec(("[:a-zé-]{1,20}", value()), 0..5);
    (headers, proptest::collection::vec(any::<u8>(), 0..100)).prop_map(|(headers, payload)| Message { headers, payload, end: 0 })
}

/// The AWS SDKs' shared test vector `all_headers`' smaller sibling `empty_message`: a message without headers and payload.
const EMPTY: [u8; 16] = [0, 0, 0, 16, 0, 0, 0, 0, 0x05, 0xc2, 0x48, 0xeb, 0x7d, 0x98, 0xc8, 0xff];

#[test]
fn the_empty_message_is_awss() {
    assert_eq!(Message::default().encode().unwrap(), EMPTY);
    assert_eq!(decode(&EMPTY, &[]), (vec![Message { end: 16, ..Message::default() }], Ok(())));
}

#[test]
fn a_header_is_laid_out_as_awss() {
    // The SDKs' shared test vector `int32_header`.
    let message =
        Message { headers: vec![("event-type".to_owned(), HeaderValue::Int(40_972))], payload: b"{'foo':'bar'}".to_vec(), end: 0 };
    let bytes = message.encode().unwrap();
    assert_eq!(bytes[..12], [0, 0, 0, 45, 0, 0, 0, 16, 0x41, 0xc4, 0x24, 0xb8]);
    assert_eq!(bytes[12..28], *b"\x0aevent-type\x04\x00\x00\xa0\x0c");
    assert_eq!(bytes[41..], [0x36, 0xf4, 0x80, 0xa0]);
}

#[test]
fn damage_is_named() {
    let message =
        Message { headers: vec![(":event-type".to_owned(), HeaderValue::String("chunk".to_owned()))], payload: vec![1; 20], end: 0 };
    assert_eq!(message.header(":event-type"), Some("chunk"));
    let whole = message.encode().unwrap();
    let good = EMPTY.to_vec();
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut stream = whole.clone();
        change(&mut stream);
        let (messages, result) = decode(&[good.clone(), stream].concat(), &[]);
        assert_eq!(messages.len(), 1, "the good message before the damage is kept");
        result
    };
    let checksum_prelude = |stream: &mut Vec<u8>| {
        let checksum = crc32fast::hash(&stream[..8]);
        stream[8..12].copy_from_slice(&checksum.to_be_bytes());
    };
    let offset = 16;
    assert_eq!(with(&|stream| stream[3] ^= 1), Err(EventStreamError::PreludeChecksum { offset }));
    assert_eq!(with(&|stream| stream[30] ^= 1), Err(EventStreamError::MessageChecksum { offset }));
    assert_eq!(with(&|stream| *stream.last_mut().unwrap() ^= 1), Err(EventStreamError::MessageChecksum { offset }));
    assert_eq!(with(&|stream| stream.truncate(20)), Err(EventStreamError::Truncated { offset }));
    let too_large = |stream: &mut Vec<u8>| {
        stream[..4].copy_from_slice(&u32::MAX.to_be_bytes());
        checksum_prelude(stream);
    };
    assert_eq!(with(&too_large), Err(EventStreamError::TooLarge { bytes: u32::MAX as usize, limit: 4096, offset }));
    for (place, byte) in [(3, 15), (7, 200)] {
        let contradictory = |stream: &mut Vec<u8>| {
            stream[place] = byte;
            checksum_prelude(stream);
        };
        assert_eq!(with(&contradictory), Err(EventStreamError::Lengths { offset }));
    }
    // An unknown type, a name of no bytes, a name past the headers' end, a value past the headers' end.
    for (place, byte) in [(24, 10), (12, 0), (12, 100), (26, 200)] {
        let wrong_header = |stream: &mut Vec<u8>| {
            stream[place] = byte;
            let end = stream.len() - 4;
            let checksum = crc32fast::hash(&stream[..end]);
            stream[end..].copy_from_slice(&checksum.to_be_bytes());
        };
        assert_eq!(with(&wrong_header), Err(EventStreamError::Headers { offset }), "{place}");
    }
}

#[test]
fn the_limit_is_of_the_whole_message() {
    let message = |bytes: usize| Message { payload: vec![0; bytes - 16], ..Message::default() }.encode().unwrap();
    assert_eq!(decode(&message(4096), &[]).1, Ok(()));
    // Known from the first twelve bytes, before any of the payload is kept.
    assert_eq!(decode(&message(4097)[..12], &[]).1, Err(EventStreamError::TooLarge { bytes: 4097, limit: 4096, offset: 0 }));
}

#[test]
fn what_the_format_cannot_hold_is_not_written() {
    let with = |name: &str, value: HeaderValue| Message { headers: vec![(name.to_owned(), value)], ..Message::default() }.encode();
    assert_eq!(with("", HeaderValue::Bool(true)), Err(EncodeError::Name(0)));
    assert_eq!(with(&"n".repeat(256), HeaderValue::Bool(true)), Err(EncodeError::Name(256)));
    assert_eq!(with("n", HeaderValue::Bytes(vec![0; 65_536])), Err(EncodeError::Value(65_536)));
    let headers = vec![("n".to_owned(), HeaderValue::Bytes(vec![0; 65_535])); MAX_HEADER_BYTES / 65_535 + 1];
    assert!(matches!(Message { headers, ..Message::default() }.encode(), Err(EncodeError::TooLarge(_))));
}

proptest! {
    #[test]
    fn messages_read_back_however_cut(messages in proptest::collection::vec(message(), 0..5), cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8)) {
        let mut expected = messages;
        let mut stream = Vec::new();
        for message in &mut expected {
            stream.extend(message.encode().unwrap());
            message.end = stream.len() as u64;
        }
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.sort_unstable();
        prop_assert_eq!(decode(&stream, &cuts), (expected.clone(), Ok(())));
        let every: Vec<usize> = (0..=stream.len()).collect();
        prop_assert_eq!(decode(&stream, &every), (expected, Ok(())));
    }

    #[test]
    fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), message in message(), damage in any::<prop::sample::Index>()) {
        let _ = decode(&bytes, &[]);
        let mut stream = message.encode().unwrap();
        let place = damage.index(stream.len());
        stream[place] ^= 0x10;
        prop_assert!(decode(&stream, &[]).1.is_err());
    }
}
