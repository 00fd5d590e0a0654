//! What AgentOpt's daemon is known to do wrong, shown not to happen in ours: one test a weakness, named by its number. docs/agentopt.md lists
//! them all, with the tests of other files that show the rest.

mod answers;
mod records;
mod sessions;

use agentrun_tests::gateway::{Opened, Rig};
use agentrun_tests::wire::{self, Answer};
use serde_json::{Value, json};

/// A question of one prompt.
fn chat(model: &str, prompt: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": prompt}]})
}

/// Sends `body` to a path of `host` on a connection of its own; `headers` have their line ends.
async fn post(session: &Opened, host: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
    let length = body.len();
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{headers}\r\n");
    let mut stream = session.connect_to(host).await;
    wire::exchange(&mut stream, &[head.as_bytes(), body].concat()).await.expect("the proxy answers")
}

/// The records that fit a query, each an object.
async fn records(rig: &Rig, query: &str) -> Vec<Value> {
    match rig.get(&format!("/records?{query}")).await {
        Value::Array(records) => records,
        other => panic!("records are an array: {other}"),
    }
}
