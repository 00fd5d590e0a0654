//! However a stream is cut, its messages and its error are the same, and a message that was read is written as it was. The first byte chooses the cut, the second whether
//! checksums are mended, without which nothing random gets far.
#![no_main]

use agentrun_llm::eventstream::{EventStreamDecoder, EventStreamError, Message};
use libfuzzer_sys::fuzz_target;

const LIMIT: usize = 4096;

fn decode(stream: &[u8], piece: usize) -> (Vec<Message>, Result<(), EventStreamError>) {
    let mut decoder = EventStreamDecoder::new(LIMIT);
    let mut messages = Vec::new();
    for piece in stream.chunks(piece) {
        let _ = decoder.push(piece, &mut messages);
    }
    (messages, decoder.finish())
}

/// CRC-32 as zlib computes it, bit by bit.
fn checksum(bytes: &[u8]) -> [u8; 4] {
    let crc = bytes
        .iter()
        .fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| crc >> 1 ^ (0xedb8_8320 & (crc & 1).wrapping_neg())));
    (!crc).to_be_bytes()
}

/// The bytes as messages: each with both checksums right, and lengths of at most what is there.
fn mended(mut bytes: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    while let [total, headers, rest @ ..] = bytes {
        let body = usize::from(*total).min(rest.len());
        let mut message = Vec::new();
        message.extend((16 + body as u32).to_be_bytes());
        message.extend(u32::from(*headers).to_be_bytes());
        message.extend(checksum(&message));
        message.extend(&rest[..body]);
        message.extend(checksum(&message));
        stream.extend(message);
        bytes = &rest[body..];
    }
    stream
}

fuzz_target!(|input: &[u8]| {
    let [piece, mend, bytes @ ..] = input else { return };
    let stream = if mend % 2 == 0 { mended(bytes) } else { bytes.to_vec() };
    let whole = decode(&stream, stream.len().max(1));
    assert_eq!(decode(&stream, usize::from(*piece).max(1)), whole);
    let mut start = 0;
    for message in whole.0 {
        let end = usize::try_from(message.end).expect("within the stream");
        assert_eq!(message.encode().expect("what was read fits"), stream[start..end]);
        start = end;
    }
});
