//! YAML as a tree in which every node knows its place.
//!
//! Plain scalars are read as YAML 1.2's core schema says: `Off`, `no` and `yes` are text. Anchors, aliases and merge keys
//! (`<<`) work within a budget, so that a small hostile file cannot become a large tree.

mod build;
pub(crate) mod write;

pub(crate) use build::read;
use serde_json::{Map, Value};

/// The largest manifest, in bytes.
pub(crate) const MAX_BYTES: usize = 8 << 20;

/// A place in the text, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// A value with its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) content: Content,
}

/// What a node holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Content {
    /// Null, a boolean, a number or text.
    Scalar(Value),
    List(Vec<Node>),
    /// In the order of the text, keys unique.
    Fields(Vec<Field>),
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Field {
    pub(crate) place: Place,
    pub(crate) key: String,
    pub(crate) value: Node,
}

impl Node {
    pub(crate) fn fields(&self) -> &[Field] {
        match &self.content {
            Content::Fields(fields) => fields,
            _ => &[],
        }
    }

    pub(crate) fn items(&self) -> &[Node] {
        match &self.content {
            Content::List(items) => items,
            _ => &[],
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        self.content == Content::Scalar(Value::Null)
    }

    /// The value under a key; null is no value.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.fields().iter().find(|field| field.key == key).map(|field| &field.value).filter(|value| !value.is_null())
    }

    /// The value under keys within each other.
    pub(crate) fn at(&self, keys: &[&str]) -> Option<&Node> {
        keys.iter().try_fold(self, |node, key| node.get(key))
    }

    /// The same without places.
    pub(crate) fn to_value(&self) -> Value {
        match &self.content {
            Content::Scalar(value) => value.clone(),
            Content::List(items) => Value::Array(items.iter().map(Node::to_value).collect()),
            Content::Fields(fields) => {
                Value::Object(fields.iter().map(|field| (field.key.clone(), field.value.to_value())).collect::<Map<_, _>>())
            }
        }
    }

    /// A tree whose nodes are all at one place: for JSON that was never text.
    pub(crate) fn from_value(value: &Value, place: Place) -> Self {
        let content = match value {
            Value::Array(items) => Content::List(items.iter().map(|item| Self::from_value(item, place)).collect()),
            Value::Object(fields) => {
                let field = |(key, value): (&String, &Value)| Field { place, key: key.clone(), value: Self::from_value(value, place) };
                Content::Fields(fields.iter().map(field).collect())
            }
            scalar => Content::Scalar(scalar.clone()),
        };
        Self { place, content }
    }
}
