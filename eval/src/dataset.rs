//! Datapoints, from JSON lines or from a manifest's inline items.

use std::collections::HashMap;
use std::fmt;

use serde_json::{Map, Value};

/// The longest line read, in bytes.
pub const MAX_LINE_BYTES: usize = 8 << 20;
/// The most datapoints a run may have.
pub const MAX_DATAPOINTS: usize = 1_000_000;
/// The longest id, in bytes: ids become labels, file names and record fields.
pub const MAX_ID_BYTES: usize = 253;
/// How many mistakes are told before the rest is only counted.
pub const MAX_TOLD: usize = 20;

/// One item of the dataset.
#[derive(Debug, Clone, PartialEq)]
pub struct Datapoint {
    /// Unique in the dataset; the 0-based index where the item names none.
    pub id: String,
    /// What the agent is given.
    pub input: Value,
    /// What the scorer compares with; never shown to the agent.
    pub expected: Option<Value>,
    /// The item's other keys: for the scorer, never for the agent.
    pub metadata: Map<String, Value>,
}

impl Datapoint {
    /// What the agent reads: a JSON string as its bare text, anything else as JSON.
    pub fn input_text(&self) -> String {
        text_of(&self.input)
    }

    /// Reads one item.
    ///
    /// # Errors
    /// A sentence saying what is wrong with the item and what to do.
    pub fn from_value(item: Value, index: usize) -> Result<Self, String> {
        let Value::Object(mut fields) = item else {
            return Err(format!("the item is {}, not a JSON object: write {{\"input\": …}}", kind_of(&item)));
        };
        let id = match fields.shift_remove("id") {
            None | Some(Value::Null) => index.to_string(),
            Some(Value::String(id)) => check_id(id)?,
            Some(other) => return Err(format!("`id` is {}, not a string: put it in quotes", kind_of(&other))),
        };
        let input = fields.shift_remove("input").ok_or_else(|| missing_input(&fields))?;
        let expected = fields.shift_remove("expected").filter(|expected| !expected.is_null());
        Ok(Self { id, input, expected, metadata: fields })
    }
}

/// The bare text of a JSON string, or the JSON of anything else.
pub fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn check_id(id: String) -> Result<String, String> {
    if id.is_empty() {
        return Err("`id` is empty: give it a text, or leave it out to use the item's index".to_owned());
    }
    if id.len() > MAX_ID_BYTES {
        return Err(format!("`id` is {} bytes long: at most {MAX_ID_BYTES} are allowed", id.len()));
    }
    if id.chars().any(char::is_control) {
        return Err("`id` holds a control character: use printable text".to_owned());
    }
    Ok(id)
}

fn missing_input(fields: &Map<String, Value>) -> String {
    let near =
        fields.keys().find(|key| ["inputs", "question", "prompt"].contains(&key.to_lowercase().as_str()) || key.to_lowercase() == "input");
    match near {
        Some(key) => format!("`input` is missing: rename `{key}` to `input`"),
        None => "`input` is missing: every item needs what the agent is given".to_owned(),
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// One thing wrong with a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatasetMistake {
    /// The 1-based line of a JSON-lines text, or the 1-based position of an inline item.
    pub line: usize,
    /// What is wrong and what to do.
    pub message: String,
}

/// Everything wrong with a dataset: the first [`MAX_TOLD`] mistakes, and how many more there are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DatasetMistakes {
    /// In the order of the lines.
    pub told: Vec<DatasetMistake>,
    /// Mistakes that are not told.
    pub more: usize,
}

impl DatasetMistakes {
    fn add(&mut self, line: usize, message: String) {
        if self.told.len() < MAX_TOLD {
            self.told.push(DatasetMistake { line, message });
        } else {
            self.more += 1;
        }
    }
}

impl fmt::Display for DatasetMistakes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, mistake) in self.told.iter().enumerate() {
            let break_before = if position == 0 { "" } else { "\n" };
            write!(formatter, "{break_before}line {}: {}", mistake.line, mistake.message)?;
        }
        if self.more > 0 {
            write!(formatter, "\nand {} more", self.more)?;
        }
        Ok(())
    }
}

impl std::error::Error for DatasetMistakes {}

/// The datapoints of a run, in order, with unique ids. Never empty.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    datapoints: Vec<Datapoint>,
    index: HashMap<String, usize>,
}

impl Dataset {
    /// Reads JSON lines: UTF-8, one object a line. A byte order mark, CRLF and blank lines are fine.
    /// Only the first `limit` datapoints are read; 0 reads all.
    ///
    /// # Errors
    /// All mistakes at once, by line.
    pub fn from_jsonl(bytes: &[u8], limit: usize) -> Result<Self, DatasetMistakes> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let mut builder = Builder::new(limit);
        for (position, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            if builder.is_full() {
                break;
            }
            let line = line.trim_ascii();
            if !line.is_empty() {
                builder.add(position + 1, parse_line(line));
            }
        }
        builder.finish()
    }

    /// Takes a manifest's inline items. Only the first `limit` are taken; 0 takes all.
    ///
    /// # Errors
    /// All mistakes at once, `line` being the item's 1-based position.
    pub fn from_items(items: Vec<Value>, limit: usize) -> Result<Self, DatasetMistakes> {
        let mut builder = Builder::new(limit);
        for (position, item) in items.into_iter().enumerate() {
            if builder.is_full() {
                break;
            }
            builder.add(position + 1, Ok(item));
        }
        builder.finish()
    }

    /// How many datapoints there are; at least 1.
    #[expect(clippy::len_without_is_empty, reason = "a dataset is never empty")]
    pub fn len(&self) -> usize {
        self.datapoints.len()
    }

    /// The datapoint at `index`, or `None` past the end.
    pub fn get(&self, index: usize) -> Option<&Datapoint> {
        self.datapoints.get(index)
    }

    /// The index of the datapoint with this id.
    pub fn index_of(&self, id: &str) -> Option<usize> {
        self.index.get(id).copied()
    }

    /// All datapoints in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Datapoint> {
        self.datapoints.iter()
    }
}

fn parse_line(line: &[u8]) -> Result<Value, String> {
    if line.len() > MAX_LINE_BYTES {
        return Err(format!("the line is {} bytes long: at most {MAX_LINE_BYTES} are read", line.len()));
    }
    let text = std::str::from_utf8(line)
        .map_err(|error| format!("byte {} of the line is not UTF-8: save the file as UTF-8", error.valid_up_to() + 1))?;
    serde_json::from_str(text).map_err(|error| {
        let place = if error.column() > 0 { format!(" at column {}", error.column()) } else { String::new() };
        let what = error.to_string();
        let what = what.split(" at line ").next().unwrap_or(&what).to_owned();
        format!("the line is not JSON: {what}{place}")
    })
}

struct Builder {
    limit: usize,
    /// Items seen, mistakes included: an item's default id is its index.
    seen: usize,
    datapoints: Vec<Datapoint>,
    /// Id to the line it was first used on.
    lines: HashMap<String, usize>,
    mistakes: DatasetMistakes,
}

impl Builder {
    fn new(limit: usize) -> Self {
        let limit = if limit == 0 { usize::MAX } else { limit };
        Self { limit, seen: 0, datapoints: Vec::new(), lines: HashMap::new(), mistakes: DatasetMistakes::default() }
    }

    fn is_full(&self) -> bool {
        self.seen >= self.limit || self.seen > MAX_DATAPOINTS
    }

    fn add(&mut self, line: usize, item: Result<Value, String>) {
        let index = self.seen;
        self.seen += 1;
        if index == MAX_DATAPOINTS {
            self.mistakes.add(line, format!("there are more than {MAX_DATAPOINTS} datapoints: set `limit` or split the dataset"));
            return;
        }
        match item.and_then(|item| Datapoint::from_value(item, index)) {
            Err(message) => self.mistakes.add(line, message),
            Ok(datapoint) => match self.lines.get(&datapoint.id) {
                Some(first) => {
                    let message = format!(
                        "id `{}` was already used on line {first}: ids must be unique (the default is the 0-based index)",
                        datapoint.id
                    );
                    self.mistakes.add(line, message);
                }
                None => {
                    self.lines.insert(datapoint.id.clone(), line);
                    self.datapoints.push(datapoint);
                }
            },
        }
    }

    fn finish(mut self) -> Result<Dataset, DatasetMistakes> {
        if self.seen == 0 {
            self.mistakes.add(1, "the dataset is empty: it needs at least one datapoint".to_owned());
        }
        if !self.mistakes.told.is_empty() {
            return Err(self.mistakes);
        }
        let index = self.datapoints.iter().enumerate().map(|(index, datapoint)| (datapoint.id.clone(), index)).collect();
        Ok(Dataset { datapoints: self.datapoints, index })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn mistakes(text: &[u8]) -> Vec<(usize, String)> {
        Dataset::from_jsonl(text, 0).unwrap_err().told.into_iter().map(|mistake| (mistake.line, mistake.message)).collect()
    }

    #[test]
    fn byte_order_mark_crlf_blank_lines_and_default_ids_are_read() {
        let text = b"\xef\xbb\xbf{\"input\":\"a\",\"expected\":\"1\",\"level\":3}\r\n\r\n  \n{\"id\":\"q\",\"input\":{\"x\":1}}";
        let dataset = Dataset::from_jsonl(text, 0).unwrap();
        assert_eq!(dataset.len(), 2);
        let first = dataset.get(0).unwrap();
        assert_eq!((first.id.as_str(), first.input_text().as_str()), ("0", "a"));
        assert_eq!(first.expected, Some(json!("1")));
        assert_eq!(Value::Object(first.metadata.clone()), json!({"level": 3}));
        let second = dataset.get(1).unwrap();
        assert_eq!((second.input_text().as_str(), second.expected.clone()), ("{\"x\":1}", None));
        assert_eq!(dataset.index_of("q"), Some(1));
    }

    #[test]
    fn each_mistake_is_told_with_its_line() {
        let table: &[(&[u8], usize, &str)] = &[
            (b"", 1, "the dataset is empty"),
            (b"\n\n \r\n", 1, "the dataset is empty"),
            (b"{\"input\":1}\n[1]", 2, "an array, not a JSON object"),
            (b"\"text\"", 1, "a string, not a JSON object"),
            (b"{\"input\":1}\n\n{\"input\":", 3, "not JSON: EOF while parsing a value at column"),
            (b"{\"input\":NaN}", 1, "not JSON"),
            (b"{\"id\":7,\"input\":1}", 1, "`id` is a number, not a string: put it in quotes"),
            (b"{\"id\":\"\",\"input\":1}", 1, "`id` is empty"),
            (b"{\"id\":\"a\\u0000b\",\"input\":1}", 1, "control character"),
            (b"{\"question\":\"x\"}", 1, "rename `question` to `input`"),
            (b"{\"id\":\"a\",\"input\":1}\n{\"id\":\"a\",\"input\":2}", 2, "id `a` was already used on line 1"),
            (b"{\"id\":\"1\",\"input\":1}\n{\"input\":2}", 2, "id `1` was already used on line 1"),
            (b"{\"input\":\"\xff\"}", 1, "byte 11 of the line is not UTF-8"),
        ];
        for (text, line, part) in table {
            let told = mistakes(text);
            assert_eq!(told.len(), 1, "{told:?}");
            assert!(told[0].0 == *line && told[0].1.contains(part), "{told:?} lacks {part:?} on line {line}");
        }
    }

    #[test]
    fn all_mistakes_come_at_once_but_boundedly() {
        let text = "[]\n".repeat(1000);
        let mistakes = Dataset::from_jsonl(text.as_bytes(), 0).unwrap_err();
        assert_eq!((mistakes.told.len(), mistakes.more), (MAX_TOLD, 1000 - MAX_TOLD));
        assert!(mistakes.to_string().ends_with("and 980 more"));
    }

    #[test]
    fn limit_reads_no_further() {
        let dataset = Dataset::from_jsonl(b"{\"input\":1}\n{\"input\":2}\nnot json", 2).unwrap();
        assert_eq!(dataset.len(), 2);
        assert_eq!(Dataset::from_items(vec![json!({"input": 1}), json!(4)], 1).unwrap().len(), 1);
    }

    #[test]
    fn huge_lines_and_deep_nesting_are_refused() {
        let mut long = b"{\"input\":\"".to_vec();
        long.resize(MAX_LINE_BYTES + 1, b'x');
        assert!(mistakes(&long)[0].1.contains("bytes long"));
        let deep = format!("{{\"input\":{}", "[".repeat(10_000));
        assert!(mistakes(deep.as_bytes())[0].1.contains("recursion limit exceeded"));
    }
}
