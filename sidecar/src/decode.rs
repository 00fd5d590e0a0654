//! Undoing `Content-Encoding`, bounded: what is recorded and stored is the plain answer.

use std::io::Read;

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use thiserror::Error;

/// Why an answer cannot be decoded.
#[derive(Debug, Error)]
pub(crate) enum DecodeError {
    #[error("content-encoding {0} is not known")]
    Unknown(String),
    #[error("content-encoding {encoding} does not hold: {source}")]
    Malformed { encoding: String, source: std::io::Error },
    #[error("decodes to more than {0} bytes")]
    TooLarge(usize),
}

/// Decodes `body`, whose `Content-Encoding` is `encodings`, to at most `limit` bytes.
pub(crate) fn decode(encodings: &str, body: &[u8], limit: usize) -> Result<Vec<u8>, DecodeError> {
    let mut decoded = body.to_vec();
    // Listed in the order they were applied (RFC 9110, section 8.4).
    for encoding in encodings.rsplit(',').map(str::trim).filter(|encoding| !encoding.is_empty()) {
        decoded = decode_one(&encoding.to_ascii_lowercase(), &decoded, limit)?;
    }
    Ok(decoded)
}

fn decode_one(encoding: &str, body: &[u8], limit: usize) -> Result<Vec<u8>, DecodeError> {
    let malformed = |source| DecodeError::Malformed { encoding: encoding.to_owned(), source };
    match encoding {
        "identity" => Ok(body.to_vec()),
        "gzip" | "x-gzip" => read(MultiGzDecoder::new(body), limit, encoding),
        // Said to be zlib (RFC 9110, section 8.4.1.2); some servers send raw deflate.
        "deflate" => read(ZlibDecoder::new(body), limit, encoding).or_else(|_| read(DeflateDecoder::new(body), limit, encoding)),
        "br" => read(brotli_decompressor::Decompressor::new(body, 16 << 10), limit, encoding),
        "zstd" => {
            let decoder =
                ruzstd::decoding::StreamingDecoder::new(body).map_err(|error| malformed(std::io::Error::other(error.to_string())))?;
            read(decoder, limit, encoding)
        }
        other => Err(DecodeError::Unknown(other.to_owned())),
    }
}

fn read(decoder: impl Read, limit: usize, encoding: &str) -> Result<Vec<u8>, DecodeError> {
    let mut decoded = Vec::new();
    let allowed = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    decoder.take(allowed).read_to_end(&mut decoded).map_err(|source| DecodeError::Malformed { encoding: encoding.to_owned(), source })?;
    if decoded.len() > limit {
        return Err(DecodeError::TooLarge(limit));
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write};

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = write::GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn undoes_encodings_in_the_order_they_were_applied() {
        let mut zlib = write::ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(b"hello").unwrap();
        let both = gzip(&zlib.finish().unwrap());
        assert_eq!(decode("deflate, gzip", &both, 100).unwrap(), b"hello");
        let mut raw = write::DeflateEncoder::new(Vec::new(), Compression::fast());
        raw.write_all(b"hello").unwrap();
        assert_eq!(decode("deflate", &raw.finish().unwrap(), 100).unwrap(), b"hello");
        assert_eq!(decode("Identity", b"hello", 100).unwrap(), b"hello");
        // `hello` by the reference encoders of brotli and zstd.
        assert_eq!(decode("br", &[0x0f, 0x02, 0x80, b'h', b'e', b'l', b'l', b'o', 0x03], 100).unwrap(), b"hello");
        let zstd = [0x28, 0xb5, 0x2f, 0xfd, 0x20, 0x05, 0x29, 0x00, 0x00, b'h', b'e', b'l', b'l', b'o'];
        assert_eq!(decode("zstd", &zstd, 100).unwrap(), b"hello");
    }

    #[test]
    fn a_bomb_is_stopped_and_a_lie_is_named() {
        assert!(matches!(decode("gzip", &gzip(&vec![0; 1 << 20]), 1000), Err(DecodeError::TooLarge(1000))));
        for encoding in ["gzip", "deflate", "br", "zstd"] {
            assert!(matches!(decode(encoding, b"{\"plain\": true}", 1000), Err(DecodeError::Malformed { .. })), "{encoding}");
        }
        assert!(matches!(decode("rot13", b"", 10), Err(DecodeError::Unknown(_))));
    }
}
