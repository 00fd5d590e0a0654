//! A run's datapoints: read once, when the run starts. Pure.

use agentrun_crds::AgentRunSpec;
use agentrun_crds::dataset::DatasetSource;
use agentrun_eval::dataset::{Datapoint, Dataset};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Datapoints as the hub keeps them, with what tells them from others.
#[derive(Debug, Clone, PartialEq)]
pub struct Datapoints {
    /// In order, each with its id.
    pub items: Vec<Value>,
    /// SHA-256 in hex.
    pub digest: String,
}

/// Why a dataset cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// One word for a condition: `DatasetMissing`, `DatasetInvalid` or `DatasetUnsupported`.
    pub reason: &'static str,
    /// What is wrong, where, and what to do.
    pub message: String,
}

impl Problem {
    fn new(reason: &'static str, message: String) -> Self {
        Self { reason, message }
    }
}

/// What a ConfigMap's key holds: text, or bytes where it was made from a file that is no UTF-8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The spec holds the items itself.
    Inline,
    /// There is no such ConfigMap.
    NoConfigMap,
    /// It has other keys than the one that is asked for.
    NoKey(Vec<String>),
    /// Its content.
    Found(Vec<u8>),
}

/// Reads the datapoints of a spec.
///
/// # Errors
/// A source that is missing, that no cluster can read, or whose content has mistakes: each with its line.
pub fn read(spec: &AgentRunSpec, source: &Source) -> Result<Datapoints, Problem> {
    let limit = usize::try_from(spec.dataset.limit).unwrap_or_default();
    let dataset = match (spec.dataset.source(), source) {
        (DatasetSource::Items(items), _) => {
            Dataset::from_items(items.to_vec(), limit).map_err(|mistakes| invalid("spec.dataset.items", &mistakes.to_string()))?
        }
        (DatasetSource::ConfigMap(key), Source::Found(bytes)) => Dataset::from_jsonl(bytes, limit)
            .map_err(|mistakes| invalid(&format!("ConfigMap `{}`, key `{}`", key.name, key.key), &mistakes.to_string()))?,
        (DatasetSource::ConfigMap(key), Source::NoKey(keys)) => {
            let has = if keys.is_empty() { "it is empty".to_owned() } else { format!("its keys are {}", keys.join(", ")) };
            return Err(Problem::new("DatasetMissing", format!("ConfigMap `{}` has no key `{}`: {has}", key.name, key.key)));
        }
        (DatasetSource::ConfigMap(key), _) => {
            let message = format!("there is no ConfigMap `{}` in the run's namespace: make it, and the run starts", key.name);
            return Err(Problem::new("DatasetMissing", message));
        }
        (DatasetSource::File(file), _) => {
            let message = format!("`dataset.file: {file}` is read on one machine only: `agentrun apply` turns the file into a ConfigMap");
            return Err(Problem::new("DatasetUnsupported", message));
        }
    };
    let items: Vec<Value> = dataset.iter().map(item).collect();
    Ok(Datapoints { digest: digest(&items), items })
}

fn invalid(place: &str, mistakes: &str) -> Problem {
    // A condition's message is for reading, and a status has its bound.
    let mut text: String = format!("{place}: {}", mistakes.replace('\n', "; ")).chars().take(2000).collect();
    if text.len() >= 2000 {
        text.push('…');
    }
    Problem::new("DatasetInvalid", text)
}

fn item(datapoint: &Datapoint) -> Value {
    let mut fields = serde_json::Map::new();
    fields.insert("id".to_owned(), json!(datapoint.id));
    fields.insert("input".to_owned(), datapoint.input.clone());
    if let Some(expected) = &datapoint.expected {
        fields.insert("expected".to_owned(), expected.clone());
    }
    fields.extend(datapoint.metadata.clone());
    Value::Object(fields)
}

fn digest(items: &[Value]) -> String {
    let mut hash = Sha256::new();
    for item in items {
        hash.update(item.to_string().as_bytes());
        hash.update(b"\n");
    }
    let bytes: [u8; 32] = hash.finalize().into();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::spec;

    fn from_config_map(source: &Source) -> Result<Datapoints, Problem> {
        read(&spec(json!({"dataset": {"configMap": {"name": "questions", "key": "q.jsonl"}}})), source)
    }

    #[test]
    fn ids_are_filled_in_and_other_keys_are_kept() {
        let read =
            from_config_map(&Source::Found(b"{\"input\":1,\"expected\":2,\"level\":\"x\"}\n{\"id\":\"b\",\"input\":\"t\"}".to_vec()))
                .unwrap();
        assert_eq!(read.items, [json!({"id": "0", "input": 1, "expected": 2, "level": "x"}), json!({"id": "b", "input": "t"})]);
        assert_eq!(read.digest.len(), 64);
        let other =
            from_config_map(&Source::Found(b"{\"input\":1,\"expected\":3,\"level\":\"x\"}\n{\"id\":\"b\",\"input\":\"t\"}".to_vec()))
                .unwrap();
        assert_ne!(read.digest, other.digest);
    }

    #[test]
    fn each_mistake_says_what_to_do() {
        let table = [
            (Source::NoConfigMap, "DatasetMissing", "there is no ConfigMap `questions`"),
            (Source::NoKey(vec![]), "DatasetMissing", "has no key `q.jsonl`: it is empty"),
            (Source::NoKey(vec!["a".into(), "b".into()]), "DatasetMissing", "its keys are a, b"),
            (Source::Found(vec![]), "DatasetInvalid", "ConfigMap `questions`, key `q.jsonl`: line 1: the dataset is empty"),
            (Source::Found(b"{\"input\":1}\n[]".to_vec()), "DatasetInvalid", "line 2: the item is an array"),
        ];
        for (source, reason, part) in table {
            let problem = from_config_map(&source).unwrap_err();
            assert!(problem.reason == reason && problem.message.contains(part), "{problem:?} lacks {part:?}");
        }
        let file = read(&spec(json!({"dataset": {"file": "q.jsonl"}})), &Source::Inline).unwrap_err();
        assert!(file.reason == "DatasetUnsupported" && file.message.contains("agentrun apply"), "{file:?}");
        let many = from_config_map(&Source::Found("[]\n".repeat(5000).into_bytes())).unwrap_err();
        assert!(many.message.chars().count() <= 2001);
    }
}
