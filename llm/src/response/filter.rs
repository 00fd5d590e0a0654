//! Hides the usage chunk that a client did not ask for.

use serde::Deserialize;

/// The largest event that can be a usage chunk, in bytes. Larger events are passed on while they still arrive.
const MOST_BYTES: usize = 64 * 1024;

/// Passes an OpenAI stream of server-sent events on byte for byte, without the events that carry usage and no choice.
///
/// Those exist because `include_usage` was set for the proxy's own sake. An event is held until its end and no longer.
#[derive(Debug, Default)]
pub struct UsageChunkFilter {
    /// The event so far, as received.
    held: Vec<u8>,
    /// Whether the current line has had no byte yet.
    line_is_empty: bool,
    /// Whether the event is too large to be held and is passed on as it comes.
    passing: bool,
    /// Whether the last byte was a carriage return, to which a line feed may belong.
    after_return: bool,
    /// Whether the event that ended with that carriage return was hidden.
    hid: bool,
    /// Whether an event ended with that carriage return.
    ended: bool,
}

impl UsageChunkFilter {
    /// A filter at the start of a stream.
    pub fn new() -> Self {
        Self { line_is_empty: true, ..Self::default() }
    }

    /// Takes the stream's next bytes and appends to `out` what the client may see.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let mut start = 0;
        for (index, &byte) in bytes.iter().enumerate() {
            let follows_return = std::mem::replace(&mut self.after_return, byte == b'\r');
            if byte == b'\n' && follows_return {
                // The second half of a line end: where an event ended it shares that event's fate.
                if std::mem::take(&mut self.ended) {
                    if !self.hid {
                        out.push(b'\n');
                    }
                    start = index + 1;
                }
                continue;
            }
            self.ended = false;
            if byte != b'\n' && byte != b'\r' {
                self.line_is_empty = false;
            } else if std::mem::replace(&mut self.line_is_empty, true) {
                self.hold(&bytes[start..=index], out);
                start = index + 1;
                self.end_event(out);
                self.ended = byte == b'\r';
            }
        }
        self.hold(&bytes[start..], out);
    }

    /// Appends what is left of a stream that ended inside an event.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        // An event without its blank line is still an event to some clients.
        if !is_usage_chunk(&self.held) {
            out.append(&mut self.held);
        }
        *self = Self::new();
    }

    fn hold(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if self.passing || self.held.len() + bytes.len() > MOST_BYTES {
            out.append(&mut self.held);
            out.extend_from_slice(bytes);
            self.passing = true;
        } else {
            self.held.extend_from_slice(bytes);
        }
    }

    fn end_event(&mut self, out: &mut Vec<u8>) {
        self.hid = !std::mem::take(&mut self.passing) && is_usage_chunk(&self.held);
        if !self.hid {
            out.extend_from_slice(&self.held);
        }
        self.held.clear();
    }
}

/// The members that tell a usage chunk.
#[derive(Deserialize)]
struct Chunk {
    choices: Vec<serde::de::IgnoredAny>,
    usage: std::collections::BTreeMap<String, serde::de::IgnoredAny>,
}

/// Whether an event's one data line is a chunk with usage and without choices.
fn is_usage_chunk(event: &[u8]) -> bool {
    let mut lines = event.split(|byte| matches!(byte, b'\r' | b'\n')).filter_map(|line| line.strip_prefix(b"data:"));
    let (Some(data), None) = (lines.next(), lines.next()) else { return false };
    serde_json::from_slice::<Chunk>(data).is_ok_and(|chunk| chunk.choices.is_empty() && !chunk.usage.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::UsageChunkFilter;

    fn filtered(pieces: &[&[u8]]) -> String {
        let (mut filter, mut out) = (UsageChunkFilter::new(), Vec::new());
        for piece in pieces {
            filter.push(piece, &mut out);
        }
        filter.finish(&mut out);
        String::from_utf8(out).unwrap()
    }

    const CONTENT: &str = r#"data: {"choices":[{"index":0,"delta":{"content":"é"}}],"usage":null}"#;
    const USAGE: &str = r#"data: {"id":"c","choices":[],"usage":{"prompt_tokens":1}}"#;

    #[test]
    fn hides_only_chunks_with_usage_and_no_choice() {
        for end in ["\n", "\r\n", "\r"] {
            let shown =
                [CONTENT, r#"data: {"choices":[],"prompt_filter_results":[],"usage":null}"#, ": ping", "data: [DONE]", "data: not json"];
            let expected: String = shown.iter().map(|event| format!("{event}{end}{end}")).collect();
            let stream = format!(
                "{0}{end}{end}{1}{end}{end}{2}{end}{end}{USAGE}{end}{end}{3}{end}{end}{4}{end}{end}",
                shown[0], shown[1], shown[2], shown[3], shown[4]
            );
            assert_eq!(filtered(&[stream.as_bytes()]), expected, "{end:?}");
        }
        assert_eq!(filtered(&[USAGE.as_bytes()]), "");
        assert_eq!(filtered(&[b"data: cut"]), "data: cut");
    }

    #[test]
    fn an_event_is_passed_on_at_its_end_and_a_huge_one_before() {
        let (mut filter, mut out) = (UsageChunkFilter::new(), Vec::new());
        filter.push(format!("{CONTENT}\n").as_bytes(), &mut out);
        assert!(out.is_empty());
        filter.push(b"\n", &mut out);
        assert_eq!(out.len(), CONTENT.len() + 2);
        filter.push(&[b'x'; 100_000], &mut out);
        assert_eq!(out.len(), CONTENT.len() + 2 + 100_000);
    }

    proptest! {
        #[test]
        fn cutting_the_stream_changes_nothing(cut in 0_usize..400, end in prop_oneof!["\n", "\r\n", "\r"]) {
            let stream = [CONTENT, USAGE, "data: [DONE]"].map(|event| format!("{event}{end}{end}")).concat();
            let cut = cut % stream.len();
            let (left, right) = stream.as_bytes().split_at(cut);
            prop_assert_eq!(filtered(&[left, right]), filtered(&[stream.as_bytes()]));
        }
    }
}
