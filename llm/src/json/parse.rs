//! The reader: what Python's `json.loads(bytes)` accepts, with its costs bounded.

use std::collections::HashMap;

use super::encoding::to_utf8;
use super::text::{Text, encode};
use super::{Json, Object};

/// How deep arrays and objects may nest; far above any real request, far below what a thread's stack holds.
pub const MAX_DEPTH: usize = 512;

/// How many values one document may hold, so that a hostile `[0,0,…]` costs megabytes of memory, not gigabytes.
pub const MAX_VALUES: usize = 4_000_000;

/// How many digits an integer may have: CPython's own limit.
const MAX_DIGITS: usize = 4300;

/// Objects up to this size are searched for repeated names pair by pair, which is faster than hashing.
const FEW_MEMBERS: usize = 16;

/// Why bytes are not the JSON we read. Offsets count bytes from the document's start, in UTF-8.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// The bytes are no UTF-8, UTF-16 or UTF-32.
    #[error("reading json: not {encoding} text at byte {offset}")]
    Encoding {
        /// The encoding the first bytes tell of.
        encoding: &'static str,
        /// Where it is broken, in the bytes as given.
        offset: usize,
    },
    /// Something other than what JSON has in this place.
    #[error("reading json: expected {expected} at byte {offset}")]
    Expected {
        /// What JSON has in this place.
        expected: &'static str,
        /// Where.
        offset: usize,
    },
    /// A control character inside a string.
    #[error("reading json: a control character in a string at byte {offset}; write it as \\u00XX")]
    Control {
        /// Where.
        offset: usize,
    },
    /// An escape that JSON does not have.
    #[error("reading json: an unknown escape at byte {offset}")]
    Escape {
        /// Where.
        offset: usize,
    },
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("reading json: nested deeper than {MAX_DEPTH} levels at byte {offset}")]
    Depth {
        /// Where.
        offset: usize,
    },
    /// More than [`MAX_VALUES`] values.
    #[error("reading json: more than {MAX_VALUES} values")]
    Values,
    /// An integer with too many digits.
    #[error("reading json: an integer of more than {MAX_DIGITS} digits at byte {offset}")]
    Digits {
        /// Where.
        offset: usize,
    },
}

impl Json {
    /// Reads a document as Python's `json.loads(bytes)` does: UTF-8, UTF-16 or UTF-32, with or without a byte order mark; `NaN`, `Infinity`, lone surrogates
    /// and repeated names (the last one wins) accepted; control characters in strings and anything after the value refused.
    ///
    /// # Errors
    /// See [`JsonError`]. Depth, number of values and digits of an integer are limited; time is linear in the length.
    pub fn parse(bytes: &[u8]) -> Result<Self, JsonError> {
        let document = to_utf8(bytes)?;
        let mut parser = Parser { bytes: &document, at: 0, depth: 0, values: 0 };
        parser.skip_space();
        let value = parser.value()?;
        parser.skip_space();
        if parser.at < document.len() { Err(parser.expected("the end")) } else { Ok(value) }
    }
}

struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: usize,
    values: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn expected(&self, expected: &'static str) -> JsonError {
        JsonError::Expected { expected, offset: self.at }
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn value(&mut self) -> Result<Json, JsonError> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(JsonError::Values);
        }
        match self.peek() {
            Some(b'"') => self.string().map(Json::String),
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b'0'..=b'9') => self.number(),
            Some(b'-') if self.bytes.get(self.at + 1) != Some(&b'I') => self.number(),
            _ => self.word(),
        }
    }

    fn word(&mut self) -> Result<Json, JsonError> {
        let words: [(&[u8], Json); 6] = [
            (b"true", Json::Bool(true)),
            (b"false", Json::Bool(false)),
            (b"null", Json::Null),
            (b"NaN", Json::Float(f64::NAN)),
            (b"Infinity", Json::Float(f64::INFINITY)),
            (b"-Infinity", Json::Float(f64::NEG_INFINITY)),
        ];
        for (word, value) in words {
            if self.bytes[self.at..].starts_with(word) {
                self.at += word.len();
                return Ok(value);
            }
        }
        Err(self.expected("a value"))
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<Json, JsonError>) -> Result<Json, JsonError> {
        if self.depth == MAX_DEPTH {
            return Err(JsonError::Depth { offset: self.at });
        }
        self.depth += 1;
        self.at += 1;
        self.skip_space();
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn array(&mut self) -> Result<Json, JsonError> {
        let mut items = Vec::new();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Json::Array(items));
        }
        loop {
            items.push(self.value()?);
            if self.more(b']', "',' or ']'")? {
                continue;
            }
            return Ok(Json::Array(items));
        }
    }

    fn object(&mut self) -> Result<Json, JsonError> {
        let mut members = Vec::new();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Json::Object(Object { members }));
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.expected("a name in double quotes"));
            }
            let name = self.string()?;
            self.skip_space();
            if self.peek() != Some(b':') {
                return Err(self.expected("':'"));
            }
            self.at += 1;
            self.skip_space();
            members.push((name, self.value()?));
            if !self.more(b'}', "',' or '}'")? {
                return Ok(Json::Object(object_of(members)));
            }
        }
    }

    /// Passes the comma before another element, or the bracket after the last.
    fn more(&mut self, close: u8, expected: &'static str) -> Result<bool, JsonError> {
        self.skip_space();
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                self.skip_space();
                Ok(true)
            }
            Some(byte) if byte == close => {
                self.at += 1;
                Ok(false)
            }
            _ => Err(self.expected(expected)),
        }
    }

    fn number(&mut self) -> Result<Json, JsonError> {
        let start = self.at;
        self.at += usize::from(self.peek() == Some(b'-'));
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.skip_digits(),
            _ => return Err(self.expected("a digit")),
        }
        let integer_end = self.at;
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.some_digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.some_digits()?;
        }
        let token = std::str::from_utf8(&self.bytes[start..self.at]).expect("a number token is ASCII");
        if self.at > integer_end {
            return Ok(Json::Float(token.parse().expect("JSON's float grammar is a subset of Rust's")));
        }
        if token.len() > MAX_DIGITS {
            return Err(JsonError::Digits { offset: start });
        }
        Ok(token.parse().map_or_else(|_| Json::BigInt(token.into()), Json::Int))
    }

    fn skip_digits(&mut self) {
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
    }

    fn some_digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        self.skip_digits();
        if self.at == start { Err(self.expected("a digit")) } else { Ok(()) }
    }

    /// Reads a string from its opening quote on.
    fn string(&mut self) -> Result<Text, JsonError> {
        self.at += 1;
        let start = self.at;
        self.skip_plain();
        if self.peek() == Some(b'"') {
            self.at += 1;
            return Ok(Text::from_bytes(&self.bytes[start..self.at - 1]));
        }
        let mut text = self.bytes[start..self.at].to_vec();
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Text::from_bytes(&text));
                }
                Some(b'\\') => self.escape(&mut text)?,
                Some(_) => return Err(JsonError::Control { offset: self.at }),
                None => return Err(self.expected("'\"'")),
            }
            let start = self.at;
            self.skip_plain();
            text.extend_from_slice(&self.bytes[start..self.at]);
        }
    }

    /// Passes the characters that stand for themselves in a string.
    fn skip_plain(&mut self) {
        let rest = &self.bytes[self.at..];
        // Eight bytes at a time: prompts are long runs of plain text, and this loop is most of the cost of reading one.
        let words = rest.chunks_exact(8);
        let plain_words = words.take_while(|word| !word_has_special((*word).try_into().expect("chunks of eight"))).count();
        let plain = &rest[plain_words * 8..];
        let tail = plain.iter().take_while(|byte| !matches!(byte, b'"' | b'\\' | 0..=0x1f)).count();
        self.at += plain_words * 8 + tail;
    }

    fn escape(&mut self, text: &mut Vec<u8>) -> Result<(), JsonError> {
        let offset = self.at;
        self.at += 2;
        let plain = match self.bytes.get(offset + 1) {
            Some(character @ (b'"' | b'\\' | b'/')) => *character,
            Some(b'b') => 0x08,
            Some(b'f') => 0x0c,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => return self.unicode_escape(offset, text),
            _ => return Err(JsonError::Escape { offset }),
        };
        text.push(plain);
        Ok(())
    }

    /// Reads `XXXX` after `\u`, and a second escape if the two are a surrogate pair.
    fn unicode_escape(&mut self, offset: usize, text: &mut Vec<u8>) -> Result<(), JsonError> {
        let mut code_point = self.hex4(self.at).ok_or(JsonError::Escape { offset })?;
        self.at += 4;
        if (0xd800..0xdc00).contains(&code_point)
            && self.bytes[self.at..].starts_with(b"\\u")
            && let Some(low @ 0xdc00..0xe000) = self.hex4(self.at + 2)
        {
            self.at += 6;
            code_point = 0x10000 + ((code_point - 0xd800) << 10) + (low - 0xdc00);
        }
        encode(code_point, text);
        Ok(())
    }

    fn hex4(&self, at: usize) -> Option<u32> {
        let digits = self.bytes.get(at..at + 4)?;
        digits.iter().try_fold(0, |value, digit| Some(value << 4 | char::from(*digit).to_digit(16)?))
    }
}

/// Whether any of eight bytes is a quote, a backslash or a control character (the classic tests for a zero byte and for a byte below a bound).
fn word_has_special(word: [u8; 8]) -> bool {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES * 0x80;
    let word = u64::from_le_bytes(word);
    let below = |word: u64, bound: u64| word.wrapping_sub(ONES * bound) & !word & HIGHS;
    let equal = |byte: u64| below(word ^ (ONES * byte), 1);
    (below(word, 0x20) | equal(u64::from(b'"')) | equal(u64::from(b'\\'))) != 0
}

/// An object of members as written: of equal names the last value, at the first one's place.
pub(super) fn object_of(members: Vec<(Text, Json)>) -> Object {
    let repeated = if members.len() <= FEW_MEMBERS {
        members.iter().enumerate().any(|(index, (name, _))| members[..index].iter().any(|(earlier, _)| earlier == name))
    } else {
        let mut names: Vec<&Text> = members.iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        names.windows(2).any(|pair| pair[0] == pair[1])
    };
    if !repeated {
        return Object { members };
    }
    let mut places: HashMap<Text, usize> = HashMap::with_capacity(members.len());
    let mut kept: Vec<(Text, Json)> = Vec::with_capacity(members.len());
    for (name, value) in members {
        match places.get(&name) {
            Some(&place) => kept[place].1 = value,
            None => {
                places.insert(name.clone(), kept.len());
                kept.push((name, value));
            }
        }
    }
    Object { members: kept }
}
