//! The origin's own door: rules that script its texts, and what it was asked.

use agentrun_tests::origin::{Options, Origin, Rule};
use serde_json::Value;

/// An origin with a door, and the door's port.
async fn origin() -> (Origin, u16) {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let port = free.local_addr().expect("a bound socket has an address").port();
    drop(free);
    let origin = Origin::start(Options { control: Some(port), ..Options::default() }).await.expect("an origin starts");
    (origin, port)
}

async fn curl(arguments: &[&str]) -> String {
    let output = tokio::process::Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "20"])
        .args(arguments)
        .output()
        .await
        .expect("curl starts");
    assert!(output.status.success(), "curl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

async fn ask(origin: &Origin, model: &str, question: &str) -> String {
    let body = serde_json::json!({"model": model, "messages": [{"role": "user", "content": question}]}).to_string();
    let url = format!("{}/v1/chat/completions", origin.url());
    let answer = curl(&["--insecure", "--header", "content-type: application/json", "--data-binary", &body, &url]).await;
    let answer: Value = serde_json::from_str(&answer).expect("the origin answers in JSON");
    answer["choices"][0]["message"]["content"].as_str().expect("an answer has a text").to_owned()
}

#[tokio::test]
async fn the_first_rule_that_fits_gives_the_text() {
    let (origin, port) = origin().await;
    let rule = |model: Option<&str>, contains: &str, text: &str| Rule {
        model: model.map(str::to_owned),
        contains: vec![contains.to_owned()],
        text: Some(text.to_owned()),
        ..Rule::default()
    };
    let rules = serde_json::json!([rule(Some("large"), "7 × 6", "42"), rule(None, "7 × 6", "41")]).to_string();
    curl(&["--data-binary", &rules, &format!("http://127.0.0.1:{port}/rules?name=sums")]).await;
    assert_eq!(ask(&origin, "large", "What is 7 × 6?").await, "42");
    assert_eq!(ask(&origin, "small", "What is 7 × 6?").await, "41");
    assert!(ask(&origin, "large", "Who are you?").await.contains("origin"), "where no rule fits, the origin speaks for itself");

    curl(&["--data-binary", "[]", &format!("http://127.0.0.1:{port}/rules?name=sums")]).await;
    assert!(ask(&origin, "large", "What is 7 × 6?").await.contains("origin"), "the rules of a name are replaced");
}

#[tokio::test]
async fn calls_are_found_by_what_they_hold_and_forgotten() {
    let (origin, port) = origin().await;
    ask(&origin, "m", "one & two").await;
    ask(&origin, "m", "three").await;
    let calls = async |filter: &str| {
        let calls = curl(&[&format!("http://127.0.0.1:{port}/calls{filter}")]).await;
        serde_json::from_str::<Vec<Value>>(&calls).expect("the door answers with an array").len()
    };
    assert_eq!(calls("").await, 2);
    assert_eq!(calls("?contains=one%20%26+two").await, 1);
    curl(&["--request", "POST", &format!("http://127.0.0.1:{port}/forget?contains=three")]).await;
    assert_eq!(calls("").await, 1);
}

#[tokio::test]
async fn rules_that_are_none_are_refused() {
    let (_origin, port) = origin().await;
    let url = format!("http://127.0.0.1:{port}/rules?name=bad");
    for rules in ["{", r#"{"text": "no array"}"#, r#"[{"txet": "misspelt"}]"#] {
        assert!(curl(&["--data-binary", rules, &url]).await.contains("no array of rules"), "{rules}");
    }
}
