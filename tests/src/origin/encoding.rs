//! Content codings. Brotli and Zstandard are written as stored blocks, which every decoder must read.

use std::io::Write;

/// gzip.
pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("a Vec takes every byte");
    encoder.finish().expect("a Vec takes every byte")
}

/// HTTP's `deflate`, which is zlib.
pub(super) fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("a Vec takes every byte");
    encoder.finish().expect("a Vec takes every byte")
}

/// Brotli, RFC 7932 §9: window bits, uncompressed meta-blocks of at most 64 KiB, an empty last one.
pub(super) fn brotli(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for (index, block) in bytes.chunks(1 << 16).enumerate() {
        // ISLAST 0, MNIBBLES 0 (four nibbles), MLEN-1 in 16 bits, ISUNCOMPRESSED 1; the stream's first bit is WBITS 0 (a window of 64 KiB).
        let length = u32::try_from(block.len() - 1).expect("a chunk has at most 65,536 bytes");
        let header = (length << 3) | (1 << 19);
        let header = if index == 0 { header << 1 } else { header };
        out.extend_from_slice(&header.to_le_bytes()[..3]);
        out.extend_from_slice(block);
    }
    // ISLAST 1, ISLASTEMPTY 1; an empty stream needs its window bit first.
    out.push(if bytes.is_empty() { 0b110 } else { 0b11 });
    out
}

/// Zstandard, RFC 8878 §3: magic, frame header without content size, raw blocks.
pub(super) fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x28, 0xB5, 0x2F, 0xFD, 0x00, 0x38];
    let blocks = bytes.chunks(1 << 16).count();
    for (index, block) in bytes.chunks(1 << 16).enumerate() {
        let last = u32::from(index + 1 == blocks);
        let header = last | (u32::try_from(block.len()).expect("a chunk has at most 65,536 bytes") << 3);
        out.extend_from_slice(&header.to_le_bytes()[..3]);
        out.extend_from_slice(block);
    }
    if bytes.is_empty() {
        out.extend_from_slice(&[1, 0, 0]);
    }
    out
}
