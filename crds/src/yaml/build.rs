//! From parser events to the tree.

use std::collections::HashMap;
use std::sync::LazyLock;

use regex::Regex;
use saphyr_parser::{Event, Parser, ScalarStyle, Tag};
use serde_json::{Number, Value};

use super::{Content, Field, MAX_BYTES, Node, Place};
use crate::manifest::{Mistakes, joined};

/// The deepest nesting.
const MAX_DEPTH: usize = 100;
/// What all nodes may weigh together, aliases expanded: 64 for each node, and the bytes of its text.
const MAX_WEIGHT: usize = 64 << 20;
const NODE_WEIGHT: usize = 64;

/// Reads one YAML (or JSON) document. What is wrong with it goes into `mistakes`; `None` where no tree came of it.
pub(crate) fn read(text: &str, mistakes: &mut Mistakes) -> Option<Node> {
    let start = Place { line: 1, column: 1 };
    if text.len() > MAX_BYTES {
        let size = text.len();
        mistakes.add(
            start,
            "",
            format!("the manifest is {size} bytes long, and at most {MAX_BYTES} are read: put the dataset into a file of its own"),
        );
        return None;
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let json = text.trim_start().starts_with('{').then(|| serde_json::from_str::<Value>(text).ok()).flatten();
    if let Some(value) = json {
        // JSON may be indented with tabs, which YAML refuses, and holds none elsewhere; a blank keeps every place.
        // What else YAML cannot read of it (escaped surrogate pairs) is read without places.
        let mut found = Mistakes::default();
        return match Builder::new(&mut found).read(&text.replace('\t', " ")) {
            Some(tree) => {
                *mistakes = found;
                Some(tree)
            }
            None => Some(Node::from_value(&value, start)),
        };
    }
    Builder::new(mistakes).read(text)
}

/// A list or mapping that is not complete.
struct Frame {
    place: Place,
    anchor: usize,
    weight: usize,
    open: Open,
}

enum Open {
    List(Vec<Node>),
    Fields(OpenFields),
}

#[derive(Default)]
struct OpenFields {
    fields: Vec<Field>,
    /// The line of each key.
    lines: HashMap<String, usize>,
    /// A key whose value comes next.
    key: Option<Key>,
    /// The values of `<<`.
    merged: Vec<Node>,
}

struct Key {
    text: String,
    place: Place,
    role: KeyRole,
}

#[derive(PartialEq)]
enum KeyRole {
    Field,
    /// `<<`: the value's fields are merged in.
    Merge,
    /// The key stands twice; its value is read past.
    Repeated,
}

struct Builder<'a> {
    mistakes: &'a mut Mistakes,
    frames: Vec<Frame>,
    /// Anchored nodes with their weights.
    anchors: HashMap<usize, (Node, usize)>,
    weight: usize,
    document: Option<Node>,
    documents: usize,
}

static FLOAT: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$").expect("the pattern is a constant that the tests compile")
});

/// The tree cannot be read on; what is wrong has been told.
struct Stop;

impl<'a> Builder<'a> {
    fn new(mistakes: &'a mut Mistakes) -> Self {
        Self { mistakes, frames: Vec::new(), anchors: HashMap::new(), weight: 0, document: None, documents: 0 }
    }

    fn read(mut self, text: &str) -> Option<Node> {
        let mut parser = Parser::new_from_str(text);
        while let Some(next) = parser.next_event() {
            let step = match next {
                Ok((event, span)) => self.event(event, Place { line: span.start.line(), column: span.start.col() + 1 }),
                Err(error) => {
                    let place = Place { line: error.marker().line(), column: error.marker().col() + 1 };
                    self.syntax(text, place, error.info());
                    Err(Stop)
                }
            };
            if step.is_err() {
                return None;
            }
        }
        if self.document.is_none() && self.mistakes.is_empty() {
            self.mistakes.add(Place { line: 1, column: 1 }, "", "the manifest is empty: it needs an AgentRun".to_owned());
        }
        self.document
    }

    fn syntax(&mut self, text: &str, place: Place, info: &str) {
        let is_tabbed = |line: &str| line[..line.len() - line.trim_start().len()].contains('\t');
        let near = text.lines().enumerate().skip(place.line.saturating_sub(1)).take(2);
        if let Some((index, _)) = near.into_iter().find(|(_, line)| is_tabbed(line)) {
            let message = "this line is indented with a tab: use blanks, YAML allows no tabs there".to_owned();
            return self.mistakes.add(Place { line: index + 1, column: 1 }, "", message);
        }
        let path = self.path();
        self.mistakes.add(place, &path, format!("this is not YAML: {info}"));
    }

    fn event(&mut self, event: Event<'_>, place: Place) -> Result<(), Stop> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => {
                self.anchors.clear();
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.weigh(NODE_WEIGHT + text.len(), place)?;
                let merges = text == "<<" && style == ScalarStyle::Plain;
                if self.awaits_key() {
                    return self.key(text.into_owned(), merges, anchor, place);
                }
                let weight = NODE_WEIGHT + text.len();
                let value = self.scalar(&text, style, tag.as_deref(), place)?;
                self.finished(Node { place, content: Content::Scalar(value) }, anchor, weight)
            }
            Event::Alias(anchor) => {
                let Some((node, weight)) = self.anchors.get(&anchor).cloned() else {
                    return self.stop(place, "this alias stands inside its own anchor: write the value out");
                };
                self.weigh(weight, place)?;
                if self.awaits_key() {
                    return match node.text() {
                        Some(text) => self.key(text.to_owned(), false, 0, place),
                        None => self.stop(place, "this key is not text: keys are field names"),
                    };
                }
                self.finished(Node { place, ..node }, 0, weight)
            }
            Event::SequenceStart(anchor, _) => self.open(place, anchor, Open::List(Vec::new())),
            Event::MappingStart(anchor, _) => self.open(place, anchor, Open::Fields(OpenFields::default())),
            Event::SequenceEnd | Event::MappingEnd => self.close(),
        }
    }

    fn open(&mut self, place: Place, anchor: usize, open: Open) -> Result<(), Stop> {
        if self.awaits_key() {
            return self.stop(place, "this key is not text: keys are field names");
        }
        if self.frames.len() >= MAX_DEPTH {
            return self.stop(place, "this is nested too deeply: at most 100 levels are read");
        }
        self.weigh(NODE_WEIGHT, place)?;
        self.frames.push(Frame { place, anchor, weight: NODE_WEIGHT, open });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Stop> {
        let Some(Frame { place, anchor, weight, open }) = self.frames.pop() else { return Ok(()) };
        let content = match open {
            Open::List(items) => Content::List(items),
            Open::Fields(fields) => Content::Fields(self.merge(fields)?),
        };
        self.finished(Node { place, content }, anchor, weight)
    }

    fn awaits_key(&self) -> bool {
        matches!(self.frames.last(), Some(Frame { open: Open::Fields(OpenFields { key: None, .. }), .. }))
    }

    fn key(&mut self, text: String, merges: bool, anchor: usize, place: Place) -> Result<(), Stop> {
        self.anchor(anchor, &Node { place, content: Content::Scalar(Value::String(text.clone())) }, NODE_WEIGHT + text.len())?;
        let path = joined(&self.path(), &text);
        let Some(Frame { weight, open: Open::Fields(open), .. }) = self.frames.last_mut() else { return Ok(()) };
        *weight += NODE_WEIGHT + text.len();
        let first = if merges { None } else { open.lines.get(&text).copied() };
        let role = match first {
            _ if merges => KeyRole::Merge,
            Some(_) => KeyRole::Repeated,
            None => KeyRole::Field,
        };
        if role == KeyRole::Field {
            open.lines.insert(text.clone(), place.line);
        }
        open.key = Some(Key { text, place, role });
        if let Some(first) = first {
            self.mistakes.add(place, &path, format!("this key stands twice in one mapping, first on line {first}: leave one out"));
        }
        Ok(())
    }

    fn anchor(&mut self, anchor: usize, node: &Node, weight: usize) -> Result<(), Stop> {
        if anchor > 0 {
            self.weigh(weight, node.place)?;
            self.anchors.insert(anchor, (node.clone(), weight));
        }
        Ok(())
    }

    /// A node is complete: it becomes an item, a field's value, or the document.
    fn finished(&mut self, node: Node, anchor: usize, node_weight: usize) -> Result<(), Stop> {
        self.anchor(anchor, &node, node_weight)?;
        let Some(frame) = self.frames.last_mut() else { return self.document(node) };
        frame.weight += node_weight;
        match &mut frame.open {
            Open::List(items) => items.push(node),
            Open::Fields(open) => match open.key.take() {
                Some(Key { role: KeyRole::Merge, .. }) => open.merged.push(node),
                Some(Key { role: KeyRole::Field, text, place }) => open.fields.push(Field { place, key: text, value: node }),
                Some(Key { role: KeyRole::Repeated, .. }) | None => {}
            },
        }
        Ok(())
    }

    fn document(&mut self, node: Node) -> Result<(), Stop> {
        if node.is_null() {
            return Ok(());
        }
        self.documents += 1;
        if self.documents > 1 {
            let message = "the file holds more than one document: put each AgentRun into a file of its own";
            return self.stop(node.place, message);
        }
        self.document = Some(node);
        Ok(())
    }

    /// Adds what `<<` brings and the mapping does not name itself.
    fn merge(&mut self, open: OpenFields) -> Result<Vec<Field>, Stop> {
        let OpenFields { mut fields, mut lines, merged, .. } = open;
        for source in merged {
            let place = source.place;
            let sources = match source.content {
                Content::List(items) => items,
                content => vec![Node { place, content }],
            };
            for source in sources {
                let Content::Fields(brought) = source.content else {
                    return self.stop(source.place, "`<<` takes a mapping or a list of mappings");
                };
                for field in brought {
                    if lines.insert(field.key.clone(), field.place.line).is_none() {
                        fields.push(field);
                    }
                }
            }
        }
        Ok(fields)
    }

    fn weigh(&mut self, weight: usize, place: Place) -> Result<(), Stop> {
        self.weight += weight;
        if self.weight > MAX_WEIGHT {
            return self.stop(place, "the manifest becomes too large when its aliases are written out: use fewer, or a dataset file");
        }
        Ok(())
    }

    fn stop<T>(&mut self, place: Place, message: &str) -> Result<T, Stop> {
        let path = self.path();
        self.mistakes.add(place, &path, message.to_owned());
        Err(Stop)
    }

    /// Where the parser stands, as a field path.
    fn path(&self) -> String {
        self.frames.iter().fold(String::new(), |path, frame| match &frame.open {
            Open::List(items) => format!("{path}[{}]", items.len()),
            Open::Fields(OpenFields { key: Some(key), .. }) => joined(&path, &key.text),
            Open::Fields(_) => path,
        })
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, place: Place) -> Result<Value, Stop> {
        match tag {
            None if style == ScalarStyle::Plain => Ok(plain(text)),
            None => Ok(Value::String(text.to_owned())),
            Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => Ok(Value::String(text.to_owned())),
            Some(tag) if tag.is_yaml_core_schema() && ["int", "float", "bool", "null"].contains(&tag.suffix.as_str()) => Ok(plain(text)),
            Some(tag) if tag.handle.is_empty() && tag.suffix == "!" => Ok(Value::String(text.to_owned())),
            Some(tag) => {
                let message = format!("the tag `{}{}` means nothing here: leave it out", tag.handle, tag.suffix);
                self.stop(place, &message)
            }
        }
    }
}

/// A plain scalar by YAML 1.2's core schema. Infinities and NaN stay text: JSON has no such numbers.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    number(text).map_or_else(|| Value::String(text.to_owned()), Value::Number)
}

fn number(text: &str) -> Option<Number> {
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        if let Some(digits) = text.strip_prefix(prefix).filter(|digits| digits.chars().all(|digit| digit.is_digit(radix))) {
            return u64::from_str_radix(digits, radix).ok().map(Number::from);
        }
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // `010` is ten in YAML 1.2 and eight in 1.1: text, so that a number's field refuses it.
    if unsigned.len() > 1 && unsigned.starts_with('0') && unsigned.as_bytes()[1].is_ascii_digit() {
        return None;
    }
    if digits(unsigned) {
        let text = text.strip_prefix('+').unwrap_or(text);
        let whole = text.parse::<u64>().map(Number::from).or_else(|_| text.parse::<i64>().map(Number::from));
        return whole.ok().or_else(|| text.parse::<f64>().ok().and_then(Number::from_f64));
    }
    if FLOAT.is_match(text) { text.parse::<f64>().ok().and_then(Number::from_f64) } else { None }
}
