//! Where the datapoints come from.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Exactly one source of datapoints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("oneOf" = [{"required": ["file"]}, {"required": ["items"]}, {"required": ["configMap"]}]))]
pub struct DatasetSpec {
    /// A JSON-lines file beside the manifest. Only `agentrun run` reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096), regex(pattern = r"^[^\x00]+$"), extend("x-rule" = "a path"))]
    pub file: Option<String>,
    /// The datapoints themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "items_schema")]
    pub items: Option<Vec<Value>>,
    /// A key of a ConfigMap that holds JSON lines. Needs a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<ConfigMapKey>,
    /// The first N datapoints; 0 is all.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub limit: i32,
}

/// A key of a ConfigMap in the run's namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConfigMapKey {
    /// The ConfigMap's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key in it.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"), extend("x-rule" = "letters, digits, `-`, `_` and `.`"))]
    pub key: String,
}

/// Where the datapoints come from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum DatasetSource<'a> {
    /// A JSON-lines file, relative to the manifest.
    File(&'a str),
    /// The items themselves.
    Items(&'a [Value]),
    /// A ConfigMap's key.
    ConfigMap(&'a ConfigMapKey),
}

impl DatasetSpec {
    /// The one source that is set; no items where none is, as for a resource that was not validated.
    pub fn source(&self) -> DatasetSource<'_> {
        match (&self.file, &self.items, &self.config_map) {
            (Some(file), ..) => DatasetSource::File(file),
            (None, Some(items), _) => DatasetSource::Items(items),
            (None, None, Some(key)) => DatasetSource::ConfigMap(key),
            (None, None, None) => DatasetSource::Items(&[]),
        }
    }
}

fn items_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": 500,
        "items": {
            "type": "object",
            "description": "One datapoint. Other keys are kept: they reach the scorer as metadata, never the agent.",
            "x-kubernetes-preserve-unknown-fields": true,
            "required": ["input"],
            "properties": {
                "id": {"description": "Unique; the default is the 0-based index.", "type": "string", "minLength": 1, "maxLength": 253},
                "input": {"description": "What the agent is asked: any JSON.", "x-kubernetes-preserve-unknown-fields": true},
                "expected": {"description": "What the scorer compares with: any JSON.", "x-kubernetes-preserve-unknown-fields": true},
            },
        },
    })
}
