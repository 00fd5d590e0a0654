//! Which calls are equal.

use agentrun_llm::json::Json;
use agentrun_llm::key::{ScopedKey, from_hex, hex, legacy_key};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::Value;

#[test]
fn legacy_keys_are_agentopts() {
    let vectors: Vec<Value> = serde_json::from_str(include_str!("data/cache_key_vectors.json")).unwrap();
    assert_eq!(vectors.len(), 26);
    for vector in vectors {
        let body = BASE64_STANDARD.decode(vector["body_b64"].as_str().unwrap()).unwrap();
        let body = Json::parse(&body).unwrap();
        assert_eq!(body.canonical(&["stream"]), vector["canonical"].as_str().unwrap());
        assert_eq!(hex(&legacy_key(vector["path"].as_str().unwrap(), &body)), vector["key"].as_str().unwrap());
    }
}

#[test]
fn every_field_counts_and_no_two_run_together() {
    let body = Json::parse(br#"{"model":"m","n":1,"stream":true}"#).unwrap();
    let other_body = Json::parse(br#"{"model":"m","n":1.0,"stream":true}"#).unwrap();
    let base = ScopedKey { scope: "team", host: "api.openai.com", path: "/v1/x", body: &body, without: &["stream"], sample: 0 };
    let mut keys = vec![
        base.digest(),
        ScopedKey { scope: "tea", host: "mapi.openai.com", ..base }.digest(),
        ScopedKey { host: "api.openai.com:8443", ..base }.digest(),
        ScopedKey { host: "api.openai.co", path: "m/v1/x", ..base }.digest(),
        ScopedKey { path: "/v1/x?a=1", ..base }.digest(),
        ScopedKey { body: &other_body, ..base }.digest(),
        ScopedKey { without: &[], ..base }.digest(),
        ScopedKey { sample: 1, ..base }.digest(),
    ];
    let all = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), all);
}

#[test]
fn spelling_does_not_count() {
    let digest = |body: &[u8]| {
        let body = Json::parse(body).unwrap();
        ScopedKey { scope: "", host: "h", path: "/", body: &body, without: &["stream"], sample: 0 }.digest()
    };
    assert_eq!(digest(br#"{"a":1,"b":["\u0041"],"stream":true}"#), digest(b"{ \"b\" : [ \"A\" ] , \"a\" : 1 }"));
    assert_ne!(digest(br#"{"a":{"stream":true}}"#), digest(br#"{"a":{}}"#));
}

#[test]
fn hex_reads_back() {
    let key = std::array::from_fn(|index| u8::try_from(index * 8).unwrap() | 5);
    assert_eq!(from_hex(&hex(&key)), Some(key));
    assert_eq!(from_hex(&hex(&key).to_uppercase()), Some(key));
    for wrong in ["", "zz", &hex(&key)[1..], &hex(&key).replace('0', "g"), &format!("{}00", hex(&key))] {
        assert_eq!(from_hex(wrong), None, "{wrong}");
    }
}
