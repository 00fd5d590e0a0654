//! JSON Patch (RFC 6902), built by hand: each operation is applied to a copy at once, so that the next one sees what it is added to.

use serde::Serialize;
use serde_json::{Map, Value};

/// One operation of a JSON Patch.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum Operation {
    /// Sets a member, or inserts an item before an index.
    Add {
        /// A JSON pointer.
        path: String,
        /// What is added.
        value: Value,
    },
    /// Replaces what is there.
    Replace {
        /// A JSON pointer.
        path: String,
        /// What takes its place.
        value: Value,
    },
    /// Takes out what is there.
    Remove {
        /// A JSON pointer.
        path: String,
    },
}

/// A document and the operations that made it from another. Nothing is ever applied that is not noted, and the other way round.
#[derive(Clone, Debug)]
pub(crate) struct Patch {
    pub(crate) document: Value,
    pub(crate) operations: Vec<Operation>,
}

impl Patch {
    pub(crate) fn new(document: &Value) -> Self {
        Self { document: document.clone(), operations: Vec::new() }
    }

    /// Sets a member of an object, or inserts into a list (`-` appends). The parent must be there; if not, nothing happens.
    pub(crate) fn add(&mut self, path: &[&str], value: Value) {
        let Some((last, parent)) = path.split_last() else { return };
        let done = match self.document.pointer_mut(&pointer(parent)) {
            Some(Value::Object(fields)) => {
                fields.insert((*last).to_owned(), value.clone());
                true
            }
            Some(Value::Array(items)) => match if *last == "-" { Some(items.len()) } else { last.parse().ok() } {
                Some(index) if index <= items.len() => {
                    items.insert(index, value.clone());
                    true
                }
                _ => false,
            },
            _ => false,
        };
        if done {
            self.operations.push(Operation::Add { path: pointer(path), value });
        }
    }

    /// Replaces what is there, if anything is.
    pub(crate) fn replace(&mut self, path: &[&str], value: Value) {
        let path = pointer(path);
        if let Some(place) = self.document.pointer_mut(&path) {
            *place = value.clone();
            self.operations.push(Operation::Replace { path, value });
        }
    }

    /// Takes an item out of a list.
    pub(crate) fn take(&mut self, list: &[&str], index: usize) -> Option<Value> {
        let items = self.document.pointer_mut(&pointer(list))?.as_array_mut()?;
        let taken = (index < items.len()).then(|| items.remove(index))?;
        self.operations.push(Operation::Remove { path: format!("{}/{index}", pointer(list)) });
        Some(taken)
    }

    /// Adds items to the end of a list, which is made where there is none.
    pub(crate) fn append(&mut self, list: &[&str], items: Vec<Value>) {
        if items.is_empty() {
            return;
        }
        if !self.has_items(list) {
            return self.add(list, Value::Array(items));
        }
        for item in items {
            self.add(&[list, &["-"]].concat(), item);
        }
    }

    /// Adds items to the beginning of a list, which is made where there is none.
    pub(crate) fn prepend(&mut self, list: &[&str], items: Vec<Value>) {
        if items.is_empty() {
            return;
        }
        if !self.has_items(list) {
            return self.add(list, Value::Array(items));
        }
        for (index, item) in items.into_iter().enumerate() {
            self.add(&[list, &[index.to_string().as_str()]].concat(), item);
        }
    }

    /// Makes an object where there is none.
    pub(crate) fn ensure_object(&mut self, path: &[&str]) {
        if !self.document.pointer(&pointer(path)).is_some_and(Value::is_object) {
            self.add(path, Value::Object(Map::new()));
        }
    }

    fn has_items(&self, list: &[&str]) -> bool {
        self.document.pointer(&pointer(list)).and_then(Value::as_array).is_some_and(|items| !items.is_empty())
    }
}

/// The JSON pointer of a path: `~` and `/` are escaped.
pub(crate) fn pointer(path: &[&str]) -> String {
    path.iter().map(|step| format!("/{}", step.replace('~', "~0").replace('/', "~1"))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_operations_make_the_document() {
        let before = json!({"a": [1, 2], "m": {"k/ey~": 1}, "n": null});
        let mut patch = Patch::new(&before);
        patch.prepend(&["a"], vec![json!(8), json!(9)]);
        patch.append(&["a"], vec![json!(3)]);
        patch.append(&["n"], vec![json!("made")]);
        patch.append(&["m", "list"], vec![json!("new")]);
        patch.replace(&["m", "k/ey~"], json!(2));
        patch.ensure_object(&["m"]);
        patch.ensure_object(&["o"]);
        assert_eq!(patch.take(&["a"], 1), Some(json!(9)));
        let expected = json!({"a": [8, 1, 2, 3], "m": {"k/ey~": 2, "list": ["new"]}, "n": ["made"], "o": {}});
        assert_eq!(patch.document, expected);
        let operations: json_patch::Patch = serde_json::from_value(serde_json::to_value(&patch.operations).unwrap()).unwrap();
        let mut after = before;
        json_patch::patch(&mut after, &operations).unwrap();
        assert_eq!(after, expected);
    }

    #[test]
    fn what_cannot_be_applied_is_not_noted() {
        let mut patch = Patch::new(&json!({"a": [1], "s": "text"}));
        patch.add(&["missing", "x"], json!(1));
        patch.add(&["a", "7"], json!(1));
        patch.add(&["s", "x"], json!(1));
        patch.replace(&["b"], json!(1));
        assert_eq!(patch.take(&["a"], 3), None);
        assert_eq!(patch.take(&["s"], 0), None);
        assert_eq!(patch.operations, []);
    }
}
