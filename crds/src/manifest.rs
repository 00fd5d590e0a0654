//! Manifests: a file becomes an [`AgentRun`], or all that is wrong with it is told at once, each with its place.

mod check;
mod combos;
mod rules;

use std::fmt;

use serde_json::Value;

use crate::agent_run::{API_VERSION, AgentRun, KIND};
use crate::yaml::{self, Node, Place};

/// How many mistakes are told before the rest is only counted.
pub const MAX_TOLD: usize = 50;

/// One thing wrong with a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The field, as in `spec.roles[1].models`; empty for the document as a whole.
    pub path: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, path, message } = self;
        let colon = if path.is_empty() { "" } else { ": " };
        write!(formatter, "line {line}, column {column}: {path}{colon}{message}")
    }
}

/// Everything wrong with a manifest: the first [`MAX_TOLD`] mistakes, and how many more there are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mistakes {
    /// In the order of the text.
    pub told: Vec<Mistake>,
    /// Mistakes that are not told.
    pub more: usize,
}

impl Mistakes {
    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.told.is_empty()
    }

    /// Whether further mistakes are only counted.
    pub(crate) fn is_full(&self) -> bool {
        self.told.len() >= MAX_TOLD
    }

    pub(crate) fn add(&mut self, place: Place, path: &str, message: String) {
        if !self.is_full() {
            self.told.push(Mistake { line: place.line, column: place.column, path: path.to_owned(), message });
        } else {
            self.more += 1;
        }
    }

    fn sorted(mut self) -> Self {
        self.told.sort_by_key(|mistake| (mistake.line, mistake.column));
        self
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, mistake) in self.told.iter().enumerate() {
            let break_before = if position == 0 { "" } else { "\n" };
            write!(formatter, "{break_before}{mistake}")?;
        }
        if self.more > 0 {
            write!(formatter, "\nand {} more", self.more)?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// Reads a manifest: one AgentRun as YAML or JSON, at most 8 MiB.
///
/// # Errors
/// All mistakes at once, in the order of the text.
pub fn parse(text: &str) -> Result<AgentRun, Mistakes> {
    let mut mistakes = Mistakes::default();
    let tree = yaml::read(text, &mut mistakes);
    match tree {
        Some(tree) => resource(&tree, mistakes),
        None => Err(mistakes.sorted()),
    }
}

/// Reads a manifest from a file's bytes.
///
/// # Errors
/// As [`parse`], and text that is not UTF-8.
pub fn parse_bytes(bytes: &[u8]) -> Result<AgentRun, Mistakes> {
    std::str::from_utf8(bytes).map_err(|error| not_utf8(bytes, error.valid_up_to())).and_then(parse)
}

/// Reads a manifest from a file's bytes as it is written, without defaults: what is to be applied to a cluster.
///
/// # Errors
/// As [`parse_bytes`].
pub fn written(bytes: &[u8]) -> Result<Value, Mistakes> {
    parse_bytes(bytes)?;
    let text = std::str::from_utf8(bytes).map_err(|error| not_utf8(bytes, error.valid_up_to()))?;
    let mut mistakes = Mistakes::default();
    yaml::read(text, &mut mistakes).map(|tree| check::without_nulls(&tree)).ok_or(mistakes)
}

/// Checks a resource that is JSON already, such as the output of `agentrun run -o json`. All places are line 1.
///
/// # Errors
/// All mistakes at once.
pub fn from_value(value: &Value) -> Result<AgentRun, Mistakes> {
    resource(&Node::from_value(value, Place { line: 1, column: 1 }), Mistakes::default())
}

/// Where a field such as `spec.roles[1].models` stands in a manifest: its line and column, both from 1. For a field that is not written, those
/// of the nearest one around it. `None` where the text is no manifest.
pub fn place(bytes: &[u8], path: &str) -> Option<(usize, usize)> {
    let mut node = &yaml::read(std::str::from_utf8(bytes).ok()?, &mut Mistakes::default())?;
    let mut place = node.place;
    for step in path.split(['.', '[']) {
        let next = match step.strip_suffix(']').and_then(|index| index.parse::<usize>().ok()) {
            Some(index) => node.items().get(index).map(|item| (item.place, item)),
            None => node.fields().iter().find(|field| field.key == step).map(|field| (field.place, &field.value)),
        };
        let Some(found) = next else { break };
        (place, node) = found;
    }
    Some((place.line, place.column))
}

fn resource(tree: &Node, mut mistakes: Mistakes) -> Result<AgentRun, Mistakes> {
    if !is_agent_run(tree, &mut mistakes) {
        return Err(mistakes.sorted());
    }
    check::check(tree, &mut mistakes);
    rules::check(tree, &mut mistakes);
    if !mistakes.is_empty() {
        return Err(mistakes.sorted());
    }
    serde_json::from_value(check::without_nulls(tree)).map_err(|error| {
        mistakes.add(tree.place, "", format!("this is not an AgentRun: {error}"));
        mistakes
    })
}

/// Another kind of object gets one mistake, not one for each of its fields.
fn is_agent_run(tree: &Node, mistakes: &mut Mistakes) -> bool {
    for (key, expected) in [("kind", KIND), ("apiVersion", API_VERSION)] {
        let Some(node) = tree.get(key) else { continue };
        if node.text() != Some(expected) {
            let found = node.to_value();
            mistakes.add(node.place, key, format!("this is {found}, and only `{key}: {expected}` is read here"));
            return false;
        }
    }
    true
}

fn not_utf8(bytes: &[u8], at: usize) -> Mistakes {
    let before = &bytes[..at];
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |position| position + 1);
    let column = String::from_utf8_lossy(&before[line_start..]).chars().count() + 1;
    let utf16 = bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff");
    let hint = if utf16 { "the file is UTF-16: save it as UTF-8" } else { "this byte is not UTF-8: save the file as UTF-8" };
    let mut mistakes = Mistakes::default();
    mistakes.add(Place { line, column }, "", hint.to_owned());
    mistakes
}

/// A field path with one more key; a key that is not a plain word is quoted.
pub(crate) fn joined(path: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.chars().all(|character| character.is_alphanumeric() || character == '_' || character == '-');
    let short: String = key.chars().take(80).collect();
    match (plain, path.is_empty()) {
        (true, true) => short,
        (true, false) => format!("{path}.{short}"),
        (false, _) => format!("{path}[{short:?}]"),
    }
}

/// The candidate most like a word, if one is near enough to be what was meant.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: String = word.chars().take(80).collect::<String>().to_lowercase();
    let allowed = (word.chars().count() / 3).max(1);
    let distance = |candidate: &str| strsim::damerau_levenshtein(&word, &candidate.to_lowercase());
    let near = candidates.into_iter().map(|candidate| (distance(candidate), candidate)).filter(|(distance, _)| *distance <= allowed);
    near.min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate)
}
