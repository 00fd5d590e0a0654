//! Bodies are read and written as Python's `json` module does.

use agentrun_llm::json::{Json, JsonError, MAX_DEPTH, MAX_STRICT_DEPTH, MAX_VALUES, Object};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use proptest::prelude::*;
use serde_json::Value;

fn parse(text: &str) -> Json {
    Json::parse(text.as_bytes()).unwrap()
}

#[test]
fn agrees_with_python_on_every_document() {
    for line in include_str!("data/python_json.jsonl").lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let body = BASE64_STANDARD.decode(case["body"].as_str().unwrap()).unwrap();
        let shown = String::from_utf8_lossy(&body);
        match (Json::parse(&body), case["canonical"].as_str()) {
            (Ok(document), Some(canonical)) => {
                assert_eq!(document.canonical(&[]), canonical, "{shown}");
                assert_eq!(document.compact(), case["compact"].as_str().unwrap(), "{shown}");
            }
            (Err(_), None) => {}
            (document, canonical) => panic!("{shown}: {document:?}, Python {canonical:?}"),
        }
    }
}

#[test]
fn limits_are_errors() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(Json::parse(nested(MAX_DEPTH).as_bytes()).is_ok());
    assert_eq!(Json::parse(nested(MAX_DEPTH + 1).as_bytes()), Err(JsonError::Depth { offset: MAX_DEPTH }));
    assert!(matches!(Json::parse("[{\"a\":".repeat(10_000).as_bytes()), Err(JsonError::Depth { .. })));
    let many = format!("[{}0]", "0,".repeat(MAX_VALUES));
    assert_eq!(Json::parse(many.as_bytes()), Err(JsonError::Values));
    assert!(matches!(Json::parse("1".repeat(5000).as_bytes()), Err(JsonError::Digits { offset: 0 })));
}

#[test]
fn only_utf16_joins_surrogates() {
    let wide = |units: [u32; 4]| units.iter().flat_map(|unit| unit.to_le_bytes()).collect::<Vec<u8>>();
    let quote = u32::from(b'"');
    assert_eq!(Json::parse(b"\"\0\x3d\xd8\x00\xde\"\0").unwrap().as_str(), Some("\u{1f600}"));
    assert_eq!(Json::parse(&wide([quote, 0xd83d, 0xde00, quote])).unwrap().as_str(), None);
    assert_eq!(Json::parse(&wide([quote, 0x10_ffff, 0x11_0000, quote])), Err(JsonError::Encoding { encoding: "UTF-32", offset: 8 }));
}

#[test]
fn errors_say_where() {
    let cases = [
        ("{\"a\" 1}", "reading json: expected ':' at byte 5"),
        ("[1,]", "reading json: expected a value at byte 3"),
        ("{\"a\":1} x", "reading json: expected the end at byte 8"),
        ("\"a\nb\"", "reading json: a control character in a string at byte 2; write it as \\u00XX"),
        ("\"\\q\"", "reading json: an unknown escape at byte 1"),
        ("\"abc", "reading json: expected '\"' at byte 4"),
    ];
    for (text, message) in cases {
        assert_eq!(Json::parse(text.as_bytes()).unwrap_err().to_string(), message);
    }
    assert_eq!(Json::parse(b"\"a\xff\""), Err(JsonError::Encoding { encoding: "UTF-8", offset: 2 }));
}

#[test]
fn many_repeated_names_take_the_last_value_at_the_first_place() {
    let members: Vec<String> = (0..100_000).map(|index| format!("\"{}\":{index}", index % 50_000)).collect();
    let document = parse(&format!("{{{}}}", members.join(",")));
    let object = document.as_object().unwrap();
    assert_eq!(object.len(), 50_000);
    let (name, value) = object.iter().next().unwrap();
    assert!(name == "0" && value.as_i64() == Some(50_000));
}

#[test]
fn strict_text_is_what_any_reader_takes() {
    let document = parse(r#"{"a":[NaN,-Infinity,1e16,123456789012345678901234567890],"b":"\ud800é\u0001\"😀","c":null}"#);
    let strict = document.to_strict().unwrap();
    assert_eq!(strict, r#"{"a":[null,null,1e+16,123456789012345678901234567890],"b":"�é\u0001\"😀","c":null}"#);
    serde_json::from_str::<Value>(&strict).unwrap();
    let nested = |depth: usize| parse(&format!("{}{}", "[".repeat(depth), "]".repeat(depth)));
    assert!(nested(MAX_STRICT_DEPTH).to_strict().is_some());
    assert!(nested(MAX_STRICT_DEPTH + 1).to_strict().is_none());
}

#[test]
fn objects_change_in_place() {
    let mut document = parse(r#"{"model":"a","stream":true,"n":18446744073709551615}"#);
    assert_eq!(document.get("n").and_then(Json::as_u64), Some(u64::MAX));
    let object = document.as_object_mut().unwrap();
    assert_eq!(object.insert("model", "b"), Some("a".into()));
    assert_eq!(object.insert("stream_options", [("include_usage", true)]), None);
    assert_eq!(object.remove("stream"), Some(true.into()));
    assert_eq!(document.compact(), r#"{"model":"b","n":18446744073709551615,"stream_options":{"include_usage":true}}"#);
    assert_eq!(document.at(&["stream_options", "include_usage"]).and_then(Json::as_bool), Some(true));
    assert_eq!(document.at(&["model", "x"]), None);
    assert_eq!(Json::from([("a", 1_i64), ("b", 2), ("a", 3)]).compact(), r#"{"a":3,"b":2}"#);
    assert!(Object::new().is_empty());
}

proptest! {
    #[test]
    fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Json::parse(&bytes);
    }

    #[test]
    fn never_panics_near_json(text in r#"[\[\]{}",:0-9eE.\-\\ud ntrfalsNI]{0,60}"#) {
        let _ = Json::parse(text.as_bytes());
    }

    #[test]
    fn strings_keep_their_text(text in any::<String>()) {
        let document = Json::from(text.as_str());
        for written in [document.canonical(&[]), document.compact(), document.to_strict().unwrap()] {
            let again = parse(&written);
            prop_assert_eq!(again.as_str(), Some(text.as_str()));
            prop_assert_eq!(serde_json::from_str::<String>(&written).unwrap(), &*text);
        }
    }

    #[test]
    fn floats_keep_their_value(number in any::<f64>().prop_filter("finite", |number| number.is_finite())) {
        let again = parse(&Json::Float(number).canonical(&[]));
        prop_assert_eq!(again.as_f64().unwrap().to_bits(), number.to_bits());
    }
}
