//! AWS event streams (`application/vnd.amazon.eventstream`), the binary frames of Bedrock's streams.
//!
//! A message is: total length, headers' length, CRC-32 of these eight bytes, headers, payload, CRC-32 of all before; integers are big-endian. A header is: length of the
//! name (one byte), name, type (one byte), value.

/// The largest message that is read unless a caller says otherwise, in bytes; AWS itself stays below it.
pub const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// The most bytes of headers a message may have: the limit of AWS's own encoders.
pub const MAX_HEADER_BYTES: usize = 128 * 1024;

const PRELUDE_BYTES: usize = 12;
const CHECKSUM_BYTES: usize = 4;

/// A message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    /// The headers in their order.
    pub headers: Vec<(String, HeaderValue)>,
    /// The payload.
    pub payload: Vec<u8>,
    /// How many bytes of the stream end with this message; 0 for a message that was not decoded.
    pub end: u64,
}

/// A header's value, in the format's order of types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderValue {
    /// Types 0 (true) and 1 (false).
    Bool(bool),
    /// Type 2.
    Byte(i8),
    /// Type 3.
    Short(i16),
    /// Type 4.
    Int(i32),
    /// Type 5.
    Long(i64),
    /// Type 6.
    Bytes(Vec<u8>),
    /// Type 7.
    String(String),
    /// Type 8: milliseconds since 1970.
    Timestamp(i64),
    /// Type 9.
    Uuid([u8; 16]),
}

/// Why a stream is not an event stream that we read. Offsets are those of the message's start in the stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventStreamError {
    /// The first twelve bytes do not match their checksum.
    #[error("reading an event stream: wrong checksum of the prelude at byte {offset}")]
    PreludeChecksum {
        /// The message's start.
        offset: u64,
    },
    /// The message does not match its checksum.
    #[error("reading an event stream: wrong checksum of the message at byte {offset}")]
    MessageChecksum {
        /// The message's start.
        offset: u64,
    },
    /// The lengths contradict each other.
    #[error("reading an event stream: impossible lengths at byte {offset}")]
    Lengths {
        /// The message's start.
        offset: u64,
    },
    /// The message is larger than the decoder's limit.
    #[error("reading an event stream: a message of {bytes} bytes at byte {offset}; the limit is {limit}")]
    TooLarge {
        /// The message's length.
        bytes: usize,
        /// The limit.
        limit: usize,
        /// The message's start.
        offset: u64,
    },
    /// The headers are cut off, of an unknown type, or not UTF-8.
    #[error("reading an event stream: malformed headers at byte {offset}")]
    Headers {
        /// The message's start.
        offset: u64,
    },
    /// The stream ended inside a message.
    #[error("reading an event stream: it ends inside the message at byte {offset}")]
    Truncated {
        /// The message's start.
        offset: u64,
    },
}

/// Why a message has no encoding.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A header's name is empty or longer than 255 bytes.
    #[error("writing an event stream message: a header's name has {0} bytes; 1 to 255 are possible")]
    Name(usize),
    /// A header's value is too long.
    #[error("writing an event stream message: a header's value has {0} bytes; 65,535 are possible")]
    Value(usize),
    /// The message is too large.
    #[error("writing an event stream message: it would have {0} bytes; {MAX_MESSAGE_BYTES} are possible")]
    TooLarge(usize),
}

/// Decodes a stream however it is cut into pieces. Time is linear, and memory is bounded by the limit.
#[derive(Debug)]
pub struct EventStreamDecoder {
    limit: usize,
    /// Where the buffered bytes start in the stream.
    offset: u64,
    buffer: Vec<u8>,
    failed: Option<EventStreamError>,
}

impl Default for EventStreamDecoder {
    fn default() -> Self {
        Self::new(MAX_MESSAGE_BYTES)
    }
}

impl EventStreamDecoder {
    /// A decoder that refuses messages of more than `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { limit, offset: 0, buffer: Vec::new(), failed: None }
    }

    /// Reads the stream's next bytes and appends the messages that they complete.
    ///
    /// # Errors
    /// See [`EventStreamError`]; the same one on every later call. Messages completed before it are appended all the same.
    pub fn push(&mut self, bytes: &[u8], messages: &mut Vec<Message>) -> Result<(), EventStreamError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        let result = self.read(bytes, messages);
        if let Err(error) = &result {
            self.failed = Some(error.clone());
            self.buffer = Vec::new();
        }
        result
    }

    /// Says that the stream has ended.
    ///
    /// # Errors
    /// [`EventStreamError::Truncated`] if it ended inside a message, or the earlier error.
    pub fn finish(self) -> Result<(), EventStreamError> {
        match self.failed {
            Some(failed) => Err(failed),
            None if self.buffer.is_empty() => Ok(()),
            None => Err(EventStreamError::Truncated { offset: self.offset }),
        }
    }

    fn read(&mut self, bytes: &[u8], messages: &mut Vec<Message>) -> Result<(), EventStreamError> {
        let mut rest = bytes;
        loop {
            rest = self.fill(rest, PRELUDE_BYTES);
            if self.buffer.len() < PRELUDE_BYTES {
                return Ok(());
            }
            let (total, headers) = self.lengths()?;
            rest = self.fill(rest, total);
            if self.buffer.len() < total {
                return Ok(());
            }
            let message = decode(&self.buffer, headers, self.offset)?;
            self.offset = message.end;
            messages.push(message);
            self.buffer.clear();
            // Keeping the buffer saves an allocation a message; keeping a huge one would not.
            self.buffer.shrink_to(64 * 1024);
        }
    }

    /// Buffers up to `wanted` bytes of the current message.
    fn fill<'a>(&mut self, bytes: &'a [u8], wanted: usize) -> &'a [u8] {
        let missing = wanted.saturating_sub(self.buffer.len()).min(bytes.len());
        let (part, rest) = bytes.split_at(missing);
        self.buffer.extend_from_slice(part);
        rest
    }

    /// The message's length and its headers', from a prelude that is checked each time it is looked at: it is twelve bytes.
    fn lengths(&self) -> Result<(usize, usize), EventStreamError> {
        let offset = self.offset;
        let (total, headers) = (word(&self.buffer, 0), word(&self.buffer, 4));
        if crc32fast::hash(&self.buffer[..8]) != word(&self.buffer, 8) {
            return Err(EventStreamError::PreludeChecksum { offset });
        }
        let (total, headers) = (total as usize, headers as usize);
        if total > self.limit {
            return Err(EventStreamError::TooLarge { bytes: total, limit: self.limit, offset });
        }
        if headers > MAX_HEADER_BYTES || total < PRELUDE_BYTES + headers + CHECKSUM_BYTES {
            return Err(EventStreamError::Lengths { offset });
        }
        Ok((total, headers))
    }
}

impl Message {
    /// The header `name`, if it is a string.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|(key, value)| match value {
            HeaderValue::String(text) if key == name => Some(text.as_str()),
            _ => None,
        })
    }

    /// The message's bytes.
    ///
    /// # Errors
    /// A name, a value or the whole does not fit the format.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let mut headers = Vec::new();
        for (name, value) in &self.headers {
            let length = u8::try_from(name.len()).ok().filter(|length| *length > 0).ok_or(EncodeError::Name(name.len()))?;
            headers.push(length);
            headers.extend_from_slice(name.as_bytes());
            encode_value(value, &mut headers)?;
        }
        let total = PRELUDE_BYTES + headers.len() + self.payload.len() + CHECKSUM_BYTES;
        if total > MAX_MESSAGE_BYTES || headers.len() > MAX_HEADER_BYTES {
            return Err(EncodeError::TooLarge(total));
        }
        let mut bytes = Vec::with_capacity(total);
        for length in [total, headers.len()] {
            bytes.extend_from_slice(&u32::try_from(length).expect("checked against the limit").to_be_bytes());
        }
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
        bytes.extend_from_slice(&headers);
        bytes.extend_from_slice(&self.payload);
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
        Ok(bytes)
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn decode(bytes: &[u8], headers: usize, offset: u64) -> Result<Message, EventStreamError> {
    let checksum_at = bytes.len() - CHECKSUM_BYTES;
    if crc32fast::hash(&bytes[..checksum_at]) != word(bytes, checksum_at) {
        return Err(EventStreamError::MessageChecksum { offset });
    }
    let (head, payload) = bytes[PRELUDE_BYTES..checksum_at].split_at(headers);
    let headers = decode_headers(head).ok_or(EventStreamError::Headers { offset })?;
    Ok(Message { headers, payload: payload.to_vec(), end: offset + bytes.len() as u64 })
}

fn decode_headers(mut bytes: &[u8]) -> Option<Vec<(String, HeaderValue)>> {
    let mut headers = Vec::new();
    while !bytes.is_empty() {
        let [length] = take(&mut bytes)?;
        if length == 0 {
            return None;
        }
        let name = String::from_utf8(take_slice(&mut bytes, usize::from(length))?.to_vec()).ok()?;
        headers.push((name, decode_value(&mut bytes)?));
    }
    Some(headers)
}

fn decode_value(bytes: &mut &[u8]) -> Option<HeaderValue> {
    let [kind] = take(bytes)?;
    Some(match kind {
        0 => HeaderValue::Bool(true),
        1 => HeaderValue::Bool(false),
        2 => HeaderValue::Byte(i8::from_be_bytes(take(bytes)?)),
        3 => HeaderValue::Short(i16::from_be_bytes(take(bytes)?)),
        4 => HeaderValue::Int(i32::from_be_bytes(take(bytes)?)),
        5 => HeaderValue::Long(i64::from_be_bytes(take(bytes)?)),
        6 => HeaderValue::Bytes(take_sized(bytes)?.to_vec()),
        7 => HeaderValue::String(String::from_utf8(take_sized(bytes)?.to_vec()).ok()?),
        8 => HeaderValue::Timestamp(i64::from_be_bytes(take(bytes)?)),
        9 => HeaderValue::Uuid(take(bytes)?),
        _ => return None,
    })
}

fn take<const LENGTH: usize>(bytes: &mut &[u8]) -> Option<[u8; LENGTH]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

fn take_slice<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

fn take_sized<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u16::from_be_bytes(take(bytes)?);
    take_slice(bytes, usize::from(length))
}

fn encode_value(value: &HeaderValue, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let mut put = |kind: u8, bytes: &[u8]| {
        out.push(kind);
        out.extend_from_slice(bytes);
    };
    match value {
        HeaderValue::Bool(value) => put(u8::from(!value), &[]),
        HeaderValue::Byte(number) => put(2, &number.to_be_bytes()),
        HeaderValue::Short(number) => put(3, &number.to_be_bytes()),
        HeaderValue::Int(number) => put(4, &number.to_be_bytes()),
        HeaderValue::Long(number) => put(5, &number.to_be_bytes()),
        HeaderValue::Bytes(bytes) => {
            put(6, &length(bytes)?);
            out.extend_from_slice(bytes);
        }
        HeaderValue::String(text) => {
            put(7, &length(text.as_bytes())?);
            out.extend_from_slice(text.as_bytes());
        }
        HeaderValue::Timestamp(number) => put(8, &number.to_be_bytes()),
        HeaderValue::Uuid(bytes) => put(9, bytes),
    }
    Ok(())
}

fn length(bytes: &[u8]) -> Result<[u8; 2], EncodeError> {
    u16::try_from(bytes.len()).map(u16::to_be_bytes).map_err(|_| EncodeError::Value(bytes.len()))
}
