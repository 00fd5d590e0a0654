//! However a stream is cut, its events and its error are the same. The first two bytes choose the limit and the cut.
#![no_main]

use agentrun_llm::sse::{EventTooLarge, SseDecoder, SseEvent};
use libfuzzer_sys::fuzz_target;

fn decode(stream: &[u8], limit: usize, piece: usize) -> (Vec<SseEvent>, Option<EventTooLarge>) {
    let mut decoder = SseDecoder::new(limit);
    let mut events = Vec::new();
    let mut error = None;
    for piece in stream.chunks(piece) {
        error = decoder.push(piece, &mut events).err();
    }
    events.extend(decoder.finish());
    (events, error)
}

fuzz_target!(|input: &[u8]| {
    let [limit, piece, stream @ ..] = input else { return };
    let limit = usize::from(*limit) * 4;
    let whole = decode(stream, limit, stream.len().max(1));
    assert_eq!(decode(stream, limit, usize::from(*piece).max(1)), whole);
    assert_eq!(decode(stream, limit, 1), whole);
    let data: usize = whole.0.iter().map(|event| event.data.len()).sum();
    assert!(data <= stream.len() && whole.0.iter().all(|event| event.data.len() <= limit));
    assert!(whole.0.windows(2).all(|pair| pair[0].end < pair[1].end));
});
