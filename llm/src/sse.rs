//! Server-sent events, decoded as their bytes arrive (WHATWG HTML, §9.2.6).

/// The largest event that is read unless a caller says otherwise, in bytes.
pub const MAX_EVENT_BYTES: usize = 16 * 1024 * 1024;

const BYTE_ORDER_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

/// An event that carried data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SseEvent {
    /// The `event` field; U+FFFD stands for what was not UTF-8.
    pub event: Option<String>,
    /// The `data` fields, joined by line feeds.
    pub data: Vec<u8>,
    /// How many bytes of the stream end with this event, its blank line included.
    pub end: u64,
}

/// An event was larger than the decoder's limit. The decoder reads nothing after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("reading server-sent events: an event of more than {limit} bytes at byte {offset}")]
pub struct EventTooLarge {
    /// The limit in bytes.
    pub limit: usize,
    /// Where the limit was passed, in bytes from the stream's start.
    pub offset: u64,
}

/// Decodes a stream however it is cut into pieces: the same bytes give the same events. Lines end with CR, LF or CRLF; the space after a colon is optional; comments,
/// `id`, `retry` and events without data are passed over. Time is linear, and memory is bounded by the limit.
#[derive(Debug)]
pub struct SseDecoder {
    limit: usize,
    /// Bytes read so far.
    offset: u64,
    /// How much of a byte order mark the stream has begun with; all of it once the question is settled.
    mark: usize,
    /// The unfinished line.
    line: Vec<u8>,
    event: Option<String>,
    data: Option<Vec<u8>>,
    /// The last byte was a CR, to which a LF may still belong.
    after_return: bool,
    /// The last line but one ended with a CR alone, so a CR is not expected to become a CRLF.
    bare_returns: bool,
    /// The event is complete but for the LF of its blank line.
    feed_awaited: bool,
    failed: Option<EventTooLarge>,
}

impl Default for SseDecoder {
    fn default() -> Self {
        Self::new(MAX_EVENT_BYTES)
    }
}

impl SseDecoder {
    /// A decoder that refuses events of more than `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            offset: 0,
            mark: 0,
            line: Vec::new(),
            event: None,
            data: None,
            after_return: false,
            bare_returns: false,
            feed_awaited: false,
            failed: None,
        }
    }

    /// Reads the stream's next bytes and appends the events that they complete.
    ///
    /// # Errors
    /// [`EventTooLarge`], now and on every later call. Events completed before it are appended all the same.
    pub fn push(&mut self, bytes: &[u8], events: &mut Vec<SseEvent>) -> Result<(), EventTooLarge> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        let mut rest = self.pass_mark(bytes);
        while !rest.is_empty() {
            rest = self.pass_feed(rest, events);
            let length = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
            let (part, after) = rest.split_at(length.unwrap_or(rest.len()));
            self.check_size(part.len())?;
            self.offset += part.len() as u64;
            let Some((&terminator, after)) = after.split_first() else {
                self.line.extend_from_slice(part);
                break;
            };
            rest = after;
            self.offset += 1;
            let blank = if self.line.is_empty() {
                self.take_line(part)
            } else {
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(part);
                self.take_line(&line)
            };
            self.end_line(terminator, blank, events);
        }
        Ok(())
    }

    /// The event that the stream's end leaves without its blank line, if it has data.
    pub fn finish(mut self) -> Option<SseEvent> {
        if self.failed.is_some() {
            return None;
        }
        let line = std::mem::take(&mut self.line);
        self.take_line(&line);
        self.take_event()
    }

    /// Passes a byte order mark at the stream's start.
    fn pass_mark<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let mut rest = bytes;
        while self.mark < BYTE_ORDER_MARK.len()
            && let Some((first, after)) = rest.split_first()
        {
            if *first != BYTE_ORDER_MARK[self.mark] {
                self.line.extend_from_slice(&BYTE_ORDER_MARK[..self.mark]);
                self.mark = BYTE_ORDER_MARK.len();
                break;
            }
            self.mark += 1;
            self.offset += 1;
            rest = after;
        }
        rest
    }

    /// Passes the LF of a CRLF whose CR was the byte before, and gives out an event that waited for it.
    fn pass_feed<'a>(&mut self, bytes: &'a [u8], events: &mut Vec<SseEvent>) -> &'a [u8] {
        if !std::mem::take(&mut self.after_return) {
            return bytes;
        }
        let rest = bytes.strip_prefix(b"\n");
        self.bare_returns = rest.is_none();
        self.offset += u64::from(rest.is_some());
        if std::mem::take(&mut self.feed_awaited) {
            events.extend(self.take_event());
        }
        rest.unwrap_or(bytes)
    }

    /// Refuses `more` bytes of the current line if they make the event too large. The error does not depend on how the stream was cut.
    fn check_size(&mut self, more: usize) -> Result<(), EventTooLarge> {
        let held = self.data.as_ref().map_or(0, Vec::len);
        if held + self.line.len() + more <= self.limit {
            return Ok(());
        }
        let line_start = self.offset - self.line.len() as u64;
        let error = EventTooLarge { limit: self.limit, offset: line_start + self.limit.saturating_sub(held) as u64 };
        self.failed = Some(error);
        self.line = Vec::new();
        self.data = None;
        Err(error)
    }

    fn end_line(&mut self, terminator: u8, blank: bool, events: &mut Vec<SseEvent>) {
        if terminator == b'\r' {
            self.after_return = true;
            // Waiting lets the event's end include the LF; where lines end with CR alone it would hold every event back until the next.
            self.feed_awaited = blank && !self.bare_returns;
        } else {
            self.bare_returns = false;
        }
        if blank && !self.feed_awaited {
            events.extend(self.take_event());
        }
    }

    /// Takes in a line without its end and tells whether it was blank.
    fn take_line(&mut self, line: &[u8]) -> bool {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match &line[..colon] {
            b"data" => match &mut self.data {
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                None => self.data = Some(value.to_vec()),
            },
            b"event" => self.event = Some(String::from_utf8_lossy(value).into_owned()),
            _ => {}
        }
        line.is_empty()
    }

    fn take_event(&mut self) -> Option<SseEvent> {
        let event = self.event.take();
        self.data.take().map(|data| SseEvent { event, data, end: self.offset })
    }
}
