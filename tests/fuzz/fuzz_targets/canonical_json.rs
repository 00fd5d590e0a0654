//! What is read can be written and read again, every form means the same, and what `serde_json` reads is read too.
#![no_main]

use agentrun_llm::json::{Json, JsonError};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    // Zero bytes tell of UTF-16 or UTF-32, which serde_json does not read.
    let plain_utf8 = str::from_utf8(input).is_ok() && !input.iter().take(4).any(|byte| *byte == 0);
    let document = match Json::parse(input) {
        Ok(document) => document,
        Err(JsonError::Depth { .. } | JsonError::Digits { .. } | JsonError::Values) => return,
        Err(_) => {
            assert!(!plain_utf8 || serde_json::from_slice::<&serde_json::value::RawValue>(input).is_err());
            return;
        }
    };
    let canonical = document.canonical(&[]);
    assert!(canonical.is_ascii() && !canonical.bytes().any(|byte| byte < b' '));
    let again = Json::parse(canonical.as_bytes()).expect("canonical text is JSON");
    assert!(!plain_utf8 || again.canonical(&[]) == canonical);
    let compact = document.compact();
    let again = Json::parse(compact.as_bytes()).expect("compact text is JSON");
    assert!(!plain_utf8 || again.compact() == compact);
    // Elsewhere two lone surrogates can stand side by side; written as escapes they become one character, which sorts elsewhere. Python does the same.
    assert!(!plain_utf8 || again.canonical(&[]) == canonical);
    if let Some(strict) = document.to_strict() {
        serde_json::from_str::<&serde_json::value::RawValue>(&strict).expect("strict text is JSON");
        Json::parse(strict.as_bytes()).expect("strict text is JSON");
    }
    let _ = document.canonical(&["stream"]);
});
