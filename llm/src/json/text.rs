//! A JSON string, which unlike Rust's may hold lone surrogates.

use std::borrow::Cow;
use std::cmp::Ordering;

/// The text of a JSON string: UTF-8, or, where the document has lone surrogates, UTF-8 in which each of them is encoded like any other code point. Its byte order
/// is the order of code points, which is how Python sorts keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Text(Inner);

// Two variants and not bytes alone, so that reading a `str` costs no second validation. `Surrogates` never holds valid UTF-8: equality and hashes rely on it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Inner {
    Utf8(Box<str>),
    Surrogates(Box<[u8]>),
}

impl Text {
    /// The text, if it has no lone surrogates.
    pub fn as_str(&self) -> Option<&str> {
        match &self.0 {
            Inner::Utf8(text) => Some(text),
            Inner::Surrogates(_) => None,
        }
    }

    /// The text in the encoding described above.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Inner::Utf8(text) => text.as_bytes(),
            Inner::Surrogates(bytes) => bytes,
        }
    }

    /// The text with U+FFFD in the place of each lone surrogate.
    pub fn to_str_lossy(&self) -> Cow<'_, str> {
        match &self.0 {
            Inner::Utf8(text) => Cow::Borrowed(text),
            Inner::Surrogates(bytes) => {
                let mut text = String::with_capacity(bytes.len());
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    let (code_point, length) = decode(rest);
                    text.push(char::from_u32(code_point).unwrap_or(char::REPLACEMENT_CHARACTER));
                    rest = &rest[length..];
                }
                Cow::Owned(text)
            }
        }
    }

    /// The text of bytes that the parser has found to be in the encoding described above.
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        Self(match std::str::from_utf8(bytes) {
            Ok(text) => Inner::Utf8(text.into()),
            Err(_) => Inner::Surrogates(bytes.into()),
        })
    }
}

impl Ord for Text {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(Inner::Utf8(text.into()))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(Inner::Utf8(text.into()))
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

/// The first code point of bytes in [`Text`]'s encoding and its length; a broken sequence, which `Text` never holds, reads as U+FFFD.
pub(super) fn decode(bytes: &[u8]) -> (u32, usize) {
    let low = |byte: u8| u32::from(byte & 0x3f);
    match *bytes {
        [first @ 0..=0x7f, ..] => (u32::from(first), 1),
        [first @ 0xc0..=0xdf, second, ..] => (u32::from(first & 0x1f) << 6 | low(second), 2),
        [first @ 0xe0..=0xef, second, third, ..] => (u32::from(first & 0x0f) << 12 | low(second) << 6 | low(third), 3),
        [first @ 0xf0..=0xff, second, third, fourth, ..] => {
            (u32::from(first & 0x07) << 18 | low(second) << 12 | low(third) << 6 | low(fourth), 4)
        }
        _ => (u32::from(char::REPLACEMENT_CHARACTER), 1),
    }
}

/// Appends a code point, surrogates included, in [`Text`]'s encoding.
pub(super) fn encode(code_point: u32, bytes: &mut Vec<u8>) {
    match char::from_u32(code_point) {
        Some(character) => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        // What is no `char` is a surrogate here: three bytes, like its neighbours.
        None => bytes.extend_from_slice(&[
            0xe0 | (code_point >> 12 & 0x0f) as u8,
            0x80 | (code_point >> 6 & 0x3f) as u8,
            0x80 | (code_point & 0x3f) as u8,
        ]),
    }
}
