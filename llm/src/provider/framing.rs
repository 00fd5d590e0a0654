//! How an answer's body is cut into events.

/// How an answer's body is cut into events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Framing {
    /// One JSON document.
    Json,
    /// Server-sent events.
    Sse,
    /// Events as the elements of one JSON array, sent piece by piece (Gemini without `alt=sse`).
    JsonArray,
    /// `application/vnd.amazon.eventstream`, binary.
    EventStream,
    /// One JSON document a line (Cohere v1, Ollama).
    Lines,
}

impl Framing {
    /// The content type that goes with the framing.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json | Self::JsonArray => "application/json",
            Self::Sse => "text/event-stream",
            Self::EventStream => "application/vnd.amazon.eventstream",
            Self::Lines => "application/stream+json",
        }
    }

    /// The framing a content type names, parameters and case ignored; [`Framing::Json`] for any other type.
    ///
    /// A Gemini stream in a JSON array is `application/json` like a plain answer: [`crate::response::read`] tells them
    /// apart by the body, and the request (`streamGenerateContent`) does so beforehand.
    pub fn of_content_type(content_type: &str) -> Self {
        let kind = content_type.split(';').next().unwrap_or_default().trim();
        let is = |name: &str| kind.eq_ignore_ascii_case(name);
        if is("text/event-stream") {
            Self::Sse
        } else if is("application/vnd.amazon.eventstream") {
            Self::EventStream
        } else if is("application/stream+json") || is("application/x-ndjson") || is("application/ndjson") || is("application/jsonl") {
            Self::Lines
        } else {
            Self::Json
        }
    }

    /// Whether the framing is one of a stream.
    pub fn is_stream(self) -> bool {
        self != Self::Json
    }
}

#[cfg(test)]
mod tests {
    use super::Framing;

    #[test]
    fn content_types_are_read_without_parameters_and_case() {
        let cases = [
            ("text/event-stream; charset=utf-8", Framing::Sse),
            ("Text/Event-Stream", Framing::Sse),
            ("application/vnd.amazon.eventstream", Framing::EventStream),
            ("application/x-ndjson", Framing::Lines),
            ("application/stream+json", Framing::Lines),
            ("application/json", Framing::Json),
            ("", Framing::Json),
        ];
        for (content_type, framing) in cases {
            assert_eq!(Framing::of_content_type(content_type), framing, "{content_type:?}");
        }
    }
}
