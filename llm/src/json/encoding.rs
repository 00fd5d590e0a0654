//! What a document's bytes are encoded in.

use std::borrow::Cow;

use super::JsonError;
use super::text::encode;

/// The document in [`super::Text`]'s encoding without its byte order mark. The encoding is told from the first four bytes as RFC 4627 §3 does and Python still does.
pub(super) fn to_utf8(bytes: &[u8]) -> Result<Cow<'_, [u8]>, JsonError> {
    let wide = |skip: usize, width: usize, big_endian: bool| from_wide(&bytes[skip..], width, big_endian).map(Cow::Owned);
    match *bytes {
        [0, 0, 0xfe, 0xff, ..] => wide(4, 4, true),
        [0xff, 0xfe, 0, 0, ..] => wide(4, 4, false),
        [0xfe, 0xff, ..] => wide(2, 2, true),
        [0xff, 0xfe, ..] => wide(2, 2, false),
        [0xef, 0xbb, 0xbf, ref rest @ ..] => checked_utf8(rest),
        [0, 0, _, _, ..] => wide(0, 4, true),
        [0, _, _, _, ..] | [0, _] => wide(0, 2, true),
        [_, 0, 0, 0, ..] => wide(0, 4, false),
        [_, 0, _, _, ..] | [_, 0] => wide(0, 2, false),
        _ => checked_utf8(bytes),
    }
}

/// UTF-8 in which surrogates may be encoded like other code points (Python's `surrogatepass`).
fn checked_utf8(bytes: &[u8]) -> Result<Cow<'_, [u8]>, JsonError> {
    let mut offset = 0;
    while let Err(error) = std::str::from_utf8(&bytes[offset..]) {
        offset += error.valid_up_to();
        match bytes[offset..] {
            [0xed, 0xa0..=0xbf, 0x80..=0xbf, ..] => offset += 3,
            _ => return Err(JsonError::Encoding { encoding: "UTF-8", offset }),
        }
    }
    Ok(Cow::Borrowed(bytes))
}

fn from_wide(bytes: &[u8], width: usize, big_endian: bool) -> Result<Vec<u8>, JsonError> {
    let encoding = if width == 2 { "UTF-16" } else { "UTF-32" };
    let unit = |unit: &[u8]| {
        unit.iter()
            .enumerate()
            .fold(0, |value, (index, byte)| value | u32::from(*byte) << (8 * if big_endian { width - 1 - index } else { index }))
    };
    let broken = |index: usize| JsonError::Encoding { encoding, offset: index * width };
    let units = bytes.chunks_exact(width);
    if !units.remainder().is_empty() {
        return Err(broken(bytes.len() / width));
    }
    let mut text = Vec::with_capacity(bytes.len() / width);
    let mut units = units.map(unit).enumerate().peekable();
    while let Some((index, mut code_point)) = units.next() {
        if code_point > 0x10ffff {
            return Err(broken(index));
        }
        // Only in UTF-16 do two surrogates make one character.
        if width == 2
            && (0xd800..0xdc00).contains(&code_point)
            && let Some((_, low)) = units.next_if(|(_, unit)| (0xdc00..0xe000).contains(unit))
        {
            code_point = 0x10000 + ((code_point - 0xd800) << 10) + (low - 0xdc00);
        }
        encode(code_point, &mut text);
    }
    Ok(text)
}
