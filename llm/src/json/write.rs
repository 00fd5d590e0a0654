//! The writers: Python's canonical and compact forms, and strict JSON for records.

use std::fmt::Write;

use super::text::{Text, decode};
use super::{Json, Object};

/// How deep a value may nest to be written as strict JSON: common readers stop at 128, and a record holds it a few levels down.
pub const MAX_STRICT_DEPTH: usize = 100;

/// Most bodies are not much larger; a text that starts small is copied at every doubling.
const TYPICAL_BYTES: usize = 4 << 10;

impl Json {
    /// The text that Python's `json.dumps(value, sort_keys=True)` prints, without the named members of the outermost object.
    pub fn canonical(&self, without_top_level: &[&str]) -> String {
        let mut writer =
            Writer { out: String::with_capacity(TYPICAL_BYTES), style: Style { item: ", ", name: ": ", sorted: true, strict: false } };
        match self {
            Self::Object(object) => {
                writer.object(object, |name| !without_top_level.iter().any(|left_out| name == *left_out));
            }
            _ => writer.value(self),
        }
        writer.out
    }

    /// The text that Python's `json.dumps(value, separators=(",", ":"))` prints: ASCII, keys in their order.
    pub fn compact(&self) -> String {
        let mut writer =
            Writer { out: String::with_capacity(TYPICAL_BYTES), style: Style { item: ",", name: ":", sorted: false, strict: false } };
        writer.value(self);
        writer.out
    }

    /// Compact text that every JSON reader takes: `NaN` and the infinities become `null`, lone surrogates U+FFFD, other characters stay as they are.
    /// Nothing if the value is nested deeper than [`MAX_STRICT_DEPTH`].
    pub fn to_strict(&self) -> Option<String> {
        if deeper_than(self, MAX_STRICT_DEPTH) {
            return None;
        }
        let mut writer =
            Writer { out: String::with_capacity(TYPICAL_BYTES), style: Style { item: ",", name: ":", sorted: false, strict: true } };
        writer.value(self);
        Some(writer.out)
    }
}

fn deeper_than(value: &Json, levels: usize) -> bool {
    match value {
        Json::Array(items) => levels == 0 || items.iter().any(|item| deeper_than(item, levels - 1)),
        Json::Object(object) => levels == 0 || object.iter().any(|(_, member)| deeper_than(member, levels - 1)),
        _ => false,
    }
}

struct Style {
    item: &'static str,
    name: &'static str,
    sorted: bool,
    strict: bool,
}

struct Writer {
    out: String,
    style: Style,
}

impl Writer {
    fn value(&mut self, value: &Json) {
        match value {
            Json::Null => self.out.push_str("null"),
            Json::Bool(true) => self.out.push_str("true"),
            Json::Bool(false) => self.out.push_str("false"),
            Json::Int(number) => self.format(format_args!("{number}")),
            Json::BigInt(digits) => self.out.push_str(digits),
            Json::Float(number) if self.style.strict && !number.is_finite() => self.out.push_str("null"),
            Json::Float(number) => self.float(*number),
            Json::String(text) => self.string(text),
            Json::Array(items) => {
                self.out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        self.out.push_str(self.style.item);
                    }
                    self.value(item);
                }
                self.out.push(']');
            }
            Json::Object(object) => self.object(object, |_| true),
        }
    }

    fn object(&mut self, object: &Object, keep: impl Fn(&Text) -> bool) {
        let mut members: Vec<&(Text, Json)> = object.members.iter().filter(|(name, _)| keep(name)).collect();
        if self.style.sorted {
            members.sort_unstable_by(|left, right| left.0.cmp(&right.0));
        }
        self.out.push('{');
        for (index, (name, value)) in members.into_iter().enumerate() {
            if index > 0 {
                self.out.push_str(self.style.item);
            }
            self.string(name);
            self.out.push_str(self.style.name);
            self.value(value);
        }
        self.out.push('}');
    }

    fn format(&mut self, arguments: std::fmt::Arguments<'_>) {
        self.out.write_fmt(arguments).expect("writing to a String does not fail");
    }

    /// Python's `repr` of a float: the shortest digits that read back the same, positional for exponents from -4 to 15, else scientific with a signed exponent of
    /// at least two digits.
    fn float(&mut self, number: f64) {
        if !number.is_finite() {
            self.out.push_str(if number.is_nan() {
                "NaN"
            } else if number > 0.0 {
                "Infinity"
            } else {
                "-Infinity"
            });
            return;
        }
        let shortest = format!("{number:e}");
        let (digits, exponent) = shortest.split_once('e').expect("the e format has an exponent");
        let exponent: i32 = exponent.parse().expect("the e format's exponent is an integer");
        if (-4..16).contains(&exponent) {
            // Display prints the same shortest digits positionally, but whole numbers without a fraction.
            self.format(format_args!("{number}"));
            if number.fract() == 0.0 {
                self.out.push_str(".0");
            }
        } else {
            let sign = if exponent < 0 { '-' } else { '+' };
            self.format(format_args!("{digits}e{sign}{:02}", exponent.unsigned_abs()));
        }
    }

    fn string(&mut self, text: &Text) {
        self.out.push('"');
        if self.style.strict {
            self.strict_characters(&text.to_str_lossy());
        } else {
            self.ascii_characters(text.as_bytes());
        }
        self.out.push('"');
    }

    fn strict_characters(&mut self, text: &str) {
        let mut rest = text;
        while let Some(place) = rest.bytes().position(|byte| matches!(byte, 0..=0x1f | b'"' | b'\\')) {
            self.out.push_str(&rest[..place]);
            self.escape(u32::from(rest.as_bytes()[place]));
            rest = &rest[place + 1..];
        }
        self.out.push_str(rest);
    }

    fn ascii_characters(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        loop {
            let plain = plain_length(rest);
            self.out.push_str(std::str::from_utf8(&rest[..plain]).expect("plain characters are ASCII"));
            if plain == rest.len() {
                return;
            }
            let (code_point, length) = decode(&rest[plain..]);
            self.escape(code_point);
            rest = &rest[plain + length..];
        }
    }

    fn escape(&mut self, code_point: u32) {
        match code_point {
            0x22 => self.out.push_str("\\\""),
            0x5c => self.out.push_str("\\\\"),
            0x08 => self.out.push_str("\\b"),
            0x0c => self.out.push_str("\\f"),
            0x0a => self.out.push_str("\\n"),
            0x0d => self.out.push_str("\\r"),
            0x09 => self.out.push_str("\\t"),
            0x10000.. => {
                let above = code_point - 0x10000;
                self.hex4(0xd800 + (above >> 10));
                self.hex4(0xdc00 + (above & 0x3ff));
            }
            _ => self.hex4(code_point),
        }
    }

    fn hex4(&mut self, unit: u32) {
        self.out.push_str("\\u");
        for shift in [12, 8, 4, 0] {
            self.out.push(char::from(b"0123456789abcdef"[(unit >> shift & 0xf) as usize]));
        }
    }
}

/// How many leading bytes Python's ASCII form writes as they are.
fn plain_length(bytes: &[u8]) -> usize {
    let plain = |byte: &u8| matches!(byte, 0x20..=0x7e) && *byte != b'"' && *byte != b'\\';
    let words = bytes.chunks_exact(8).take_while(|word| word.iter().fold(true, |all, byte| all & plain(byte))).count();
    words * 8 + bytes[words * 8..].iter().take_while(|byte| plain(byte)).count()
}
