//! A dataset's file beside the manifest becomes a ConfigMap beside the run.

use std::{fs::File, io::Read, path::Path};

use agentrun_protocol::names::RUN_LABEL;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::problem::Problem;

/// The key of the ConfigMap that holds the file.
pub(crate) const KEY: &str = "dataset.jsonl";
/// The most bytes that a ConfigMap holds are 1 MiB; its other members need a little.
const MOST: u64 = (1 << 20) - 4096;

/// Reads the file of `spec.dataset.file` (relative to the manifest), and puts a ConfigMap's key in its place. The ConfigMap's name holds a hash
/// of the contents: an edited file is another dataset, which a run that has started refuses.
///
/// # Errors
/// The file cannot be read, is no text, or is too large for a ConfigMap.
pub(crate) fn take(manifest: &mut Value, home: &Path) -> Result<Option<Value>, Problem> {
    let Some(file) = manifest.pointer("/spec/dataset/file").and_then(Value::as_str) else {
        return Ok(None);
    };
    let path = home.join(file);
    let failed = |error: &dyn std::fmt::Display| Problem::Dataset(format!("reading spec.dataset.file, {}: {error}", path.display()));
    let mut bytes = Vec::new();
    File::open(&path).map_err(|error| failed(&error))?.take(MOST + 1).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
    if bytes.len() as u64 > MOST {
        let sentence = "is larger than the 1 MiB that a ConfigMap holds: split it into several runs, or evaluate it with `agentrun run`";
        return Err(Problem::Dataset(format!("spec.dataset.file, {}, {sentence}", path.display())));
    }
    let text = String::from_utf8(bytes).map_err(|_| failed(&"it is not UTF-8"))?;
    let run = manifest.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let digest: String = Sha256::digest(text.as_bytes()).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let name = format!("{run}-dataset-{digest}");
    if let Some(dataset) = manifest.pointer_mut("/spec/dataset").and_then(Value::as_object_mut) {
        dataset.shift_remove("file");
        dataset.insert("configMap".into(), json!({"name": name, "key": KEY}));
    }
    Ok(Some(json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": {RUN_LABEL: run}},
        "immutable": true,
        "data": {KEY: text},
    })))
}

/// The ConfigMap as one that goes with its run.
pub(crate) fn owned(mut config_map: Value, run: &Value) -> Value {
    let owner = json!({
        "apiVersion": run["apiVersion"],
        "kind": run["kind"],
        "name": run["metadata"]["name"],
        "uid": run["metadata"]["uid"],
        "blockOwnerDeletion": false,
    });
    config_map["metadata"]["ownerReferences"] = json!([owner]);
    config_map
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(dataset: Value) -> Value {
        json!({"apiVersion": "agentrun.dev/v1alpha1", "kind": "AgentRun", "metadata": {"name": "run"}, "spec": {"dataset": dataset}})
    }

    #[test]
    fn a_file_becomes_a_config_map_named_by_its_contents() {
        let folder = tempfile::tempdir().unwrap();
        let mut names = Vec::new();
        for text in ["{\"input\": 1}\n", "{\"input\": 2}\n", "{\"input\": 1}\n"] {
            std::fs::write(folder.path().join("questions.jsonl"), text).unwrap();
            let mut manifest = manifest(json!({"file": "questions.jsonl", "limit": 3}));
            let config_map = take(&mut manifest, folder.path()).unwrap().unwrap();
            assert_eq!(config_map["data"][KEY], text);
            let name = config_map["metadata"]["name"].as_str().unwrap().to_owned();
            assert_eq!(manifest["spec"]["dataset"], json!({"limit": 3, "configMap": {"name": name, "key": KEY}}));
            names.push(name);
        }
        assert!(names[0].starts_with("run-dataset-") && names[0] == names[2] && names[0] != names[1], "{names:?}");
    }

    #[test]
    fn another_source_is_left_alone_and_a_bad_file_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let mut items = manifest(json!({"items": [{"input": 1}]}));
        assert!(take(&mut items, folder.path()).unwrap().is_none());
        let refused = |contents: Option<&[u8]>| {
            if let Some(contents) = contents {
                std::fs::write(folder.path().join("file"), contents).unwrap();
            }
            take(&mut manifest(json!({"file": "file"})), folder.path()).unwrap_err().to_string()
        };
        assert!(refused(None).contains("No such file"));
        assert!(refused(Some(&vec![b'x'; 1 << 20])).contains("1 MiB"));
        assert!(refused(Some(b"\xff")).contains("not UTF-8"));
    }

    #[test]
    fn the_config_map_goes_with_its_run() {
        let run = json!({"apiVersion": "agentrun.dev/v1alpha1", "kind": "AgentRun", "metadata": {"name": "run", "uid": "u"}});
        let owner = owned(json!({"metadata": {"name": "x"}}), &run)["metadata"]["ownerReferences"][0].clone();
        assert_eq!((&owner["kind"], &owner["uid"]), (&json!("AgentRun"), &json!("u")));
    }
}
