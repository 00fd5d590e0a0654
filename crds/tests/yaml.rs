//! YAML that is written is read back the same, by an independent reader too.

use agentrun_crds::network::CacheMode;
use agentrun_crds::{manifest, to_yaml};
use serde_json::{Value, json};

use crate::full::FULL;

#[test]
fn an_independent_reader_reads_back_what_is_written() {
    let mut run = manifest::parse(FULL).unwrap();
    run.spec.cache.mode = CacheMode::Off;
    run.spec.roles[0].models = ["no", "off", "1e3", "0o14", "~", "on: x", "- y", "a\nb", "12:30", "é\u{2028}"].map(str::to_owned).to_vec();
    run.spec.template.0["metadata"] = json!({"labels": {"y": "yes", "null": "null"}, "list": [[], {}, [[1]]]});
    let text = to_yaml(&run).unwrap();
    let value = serde_json::to_value(&run).unwrap();
    assert_eq!(serde_yaml::from_str::<Value>(&text).unwrap(), value);
    assert!(text.contains("mode: \"Off\"") || text.contains("mode: 'Off'"), "YAML 1.1 reads Off as false:\n{text}");
}

#[test]
fn our_own_reader_reads_back_what_is_written() {
    let mut run = manifest::parse(FULL).unwrap();
    run.spec.cache.mode = CacheMode::Off;
    let text = to_yaml(&run).unwrap();
    assert_eq!(manifest::parse(&text).unwrap(), run);
    let json = serde_json::to_string_pretty(&run).unwrap();
    assert_eq!(manifest::parse(&json).unwrap(), run);
    assert_eq!(manifest::from_value(&serde_json::to_value(&run).unwrap()).unwrap(), run);
}
