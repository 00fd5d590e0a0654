//! AgentOpt's table in the cache's file: read as AgentOpt writes it, written as AgentOpt reads it, and who may be given what stands there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use agentrun_llm::json::Json;
use agentrun_llm::key::{hex, legacy_key};
use agentrun_sidecar::{CacheScope, Session};
use agentrun_tests::origin::Options;
use agentrun_tests::proxy::{HOST, Proxy};
use agentrun_tests::wire::Answer;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::{Value, json};
use tempfile::TempDir;

const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";
const ANTHROPIC: &str = "api.anthropic.com";

/// A folder whose `cache.db` AgentOpt has made.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().expect("a temporary folder can be made"));
        folder
            .open()
            .execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE cache (key TEXT PRIMARY KEY, data_json TEXT NOT NULL)")
            .expect("a new file can be written");
        folder
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("cache.db")
    }

    fn open(&self) -> Connection {
        Connection::open(self.path()).expect("the file can be opened")
    }

    /// Writes a row as AgentOpt does.
    fn write(&self, path: &str, body: &[u8], headers: &Value, answer: &[u8]) {
        let row = json!({"response_bytes_b64": BASE64_STANDARD.encode(answer), "response_headers": headers, "latency_seconds": 0.1 + 0.2});
        let write = "INSERT OR REPLACE INTO cache (key, data_json) VALUES (?1, ?2)";
        self.open().execute(write, params![key(path, body), row.to_string()]).expect("the table can be written");
    }

    fn row(&self, path: &str, body: &[u8]) -> Option<Value> {
        let read = "SELECT data_json FROM cache WHERE key = ?1";
        let text: Option<String> = self.open().query_row(read, [key(path, body)], |row| row.get(0)).optional().expect("the table is there");
        text.map(|text| serde_json::from_str(&text).expect("a row is JSON"))
    }

    async fn proxy(&self, scope: CacheScope) -> Proxy {
        let session = Session { by_credential: scope == CacheScope::Credential, ..Session::default() };
        start(&self.path(), Some(scope), session).await
    }
}

async fn start(path: &Path, scope: Option<CacheScope>, session: Session) -> Proxy {
    Proxy::with(Options::default(), session, |config| {
        config.cache.path = Some(path.to_owned());
        config.cache.agentopt = scope;
    })
    .await
}

fn key(path: &str, body: &[u8]) -> String {
    hex(&legacy_key(path, &Json::parse(body).expect("the body is JSON")))
}

fn chat(prompt: &str) -> Vec<u8> {
    json!({"model": "gpt-4.1", "messages": [{"role": "user", "content": prompt}]}).to_string().into_bytes()
}

fn completion(text: &str) -> Vec<u8> {
    let choice = json!({"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"});
    let usage = json!({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7});
    json!({"id": "c", "object": "chat.completion", "created": 1, "model": "gpt-4.1", "choices": [choice], "usage": usage})
        .to_string()
        .into_bytes()
}

fn json_headers() -> Value {
    json!({"Content-Type": "application/json", "Set-Cookie": "a=1, b=2", "x-request-id": "another's", "Content-Encoding": "gzip"})
}

fn bearer(name: &str) -> String {
    format!("authorization: Bearer {name}\r\n")
}

#[track_caller]
fn came_from(answer: &Answer) -> &'static str {
    assert_eq!(answer.status, 200, "{} {}", answer.head, String::from_utf8_lossy(&answer.body));
    match answer.header("x-agentrun-cache") {
        Some("hit") => "hit",
        Some("miss") => "miss",
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn rows_are_found_by_agentopts_keys() {
    let vectors: Vec<Value> = serde_json::from_str(include_str!("../../llm/tests/data/cache_key_vectors.json")).unwrap();
    let folder = Folder::new();
    let mut asked = Vec::new();
    for vector in vectors {
        let body = BASE64_STANDARD.decode(vector["body_b64"].as_str().unwrap()).unwrap();
        let (path, key) = (vector["path"].as_str().unwrap(), vector["key"].as_str().unwrap());
        // AgentOpt stores nothing for the one, and asks the other with its usage.
        if [&b"{}"[..], br#"{"stream":true}"#].contains(&&body[..]) {
            continue;
        }
        // The key as AgentOpt has made it, not as we would.
        let row = json!({"response_bytes_b64": BASE64_STANDARD.encode(completion(key)), "response_headers": json_headers()});
        folder.open().execute("INSERT OR REPLACE INTO cache VALUES (?1, ?2)", params![key, row.to_string()]).unwrap();
        asked.push((path.to_owned(), body, key.to_owned()));
    }
    assert_eq!(asked.len(), 24);
    let proxy = folder.proxy(CacheScope::Credential).await;
    for (path, body, key) in &asked {
        let answer = proxy.ask(HOST, path, "", body).await.unwrap();
        assert_eq!((came_from(&answer), &answer.body), ("hit", &completion(key)), "{}", String::from_utf8_lossy(body));
        assert!(
            answer.header("set-cookie").is_none() && answer.header("x-request-id").is_none() && answer.header("content-encoding").is_none()
        );
    }
    assert_eq!(proxy.origin.log().calls().len(), 0);
    let records = proxy.records().await;
    assert_eq!(records.len(), asked.len());
    for record in &records {
        let told = (&record["cached"], &record["prompt_tokens"], &record["completion_tokens"], &record["latency_seconds"]);
        assert_eq!(told, (&json!(true), &json!(3), &json!(4), &json!(0.0)), "a row needs no latency");
    }
}

#[tokio::test]
async fn an_answer_that_is_paid_stands_there_as_agentopt_would_have_it() {
    let folder = Folder::new();
    let proxy = folder.proxy(CacheScope::Credential).await;
    let body = chat("one");
    let answer = proxy.ask(HOST, CHAT, "x-origin-script: gzip\r\n", &body).await.unwrap();
    assert_eq!((came_from(&answer), answer.header("content-encoding")), ("miss", Some("gzip")));
    proxy.sidecar().flush().await;
    let row = folder.row(CHAT, &body).expect("it is there after a flush");
    let stored = BASE64_STANDARD.decode(row["response_bytes_b64"].as_str().unwrap()).unwrap();
    let stored: Value = serde_json::from_slice(&stored).expect("what stands there is the plain body");
    assert_eq!(stored["usage"]["prompt_tokens"], 21);
    assert_eq!(row["response_headers"]["content-type"], "application/json");
    assert!(row["response_headers"].get("content-encoding").is_none(), "{row}");
    let members: Vec<&String> = row.as_object().unwrap().keys().collect();
    assert_eq!(members, ["response_bytes_b64", "response_headers", "latency_seconds"]);
    let asked_again = proxy.ask(HOST, CHAT, "x-origin-script: gzip\r\n", &body).await.unwrap();
    assert_eq!(came_from(&asked_again), "hit");
    assert!(folder.row(CHAT, &chat("two")).is_none());
    // No good answer, so none to keep.
    let failed = proxy.ask(HOST, CHAT, "x-origin-script: error-in-200\r\n", &chat("three")).await.unwrap();
    assert_eq!(failed.status, 200);
    proxy.sidecar().flush().await;
    assert!(folder.row(CHAT, &chat("three")).is_none());
    let latency = row["latency_seconds"].as_f64().unwrap();
    let records = proxy.records().await;
    assert_eq!(records[0]["latency_seconds"].as_f64().unwrap(), latency);
}

#[tokio::test]
async fn with_the_credential_in_its_key_an_answer_is_for_who_paid_it() {
    let folder = Folder::new();
    folder.write(CHAT, &chat("theirs"), &json_headers(), &completion("theirs"));
    let ours = chat("ours");
    // (host, credential, whether it is paid for)
    let asked = [
        (HOST, bearer("alice"), true),
        (HOST, bearer("alice"), false),
        (HOST, bearer("bob"), true),
        (HOST, String::new(), true),
        ("api.groq.com", bearer("alice"), true),
        (HOST, bearer("bob"), false),
    ];
    let proxy = folder.proxy(CacheScope::Credential).await;
    for (host, credential, paid) in &asked {
        let answer = proxy.ask(host, CHAT, credential, &ours).await.unwrap();
        assert_eq!(came_from(&answer), if *paid { "miss" } else { "hit" }, "{host} {credential}");
        let answer = proxy.ask(host, CHAT, credential, &chat("theirs")).await.unwrap();
        assert_eq!((came_from(&answer), answer.body), ("hit", completion("theirs")), "{host} {credential}");
    }
    proxy.records().await;
    // And so in the next process: what it knows stands in the file.
    let proxy = folder.proxy(CacheScope::Credential).await;
    for (host, credential, _) in &asked {
        assert_eq!(came_from(&proxy.ask(host, CHAT, credential, &ours).await.unwrap()), "hit", "{host} {credential}");
    }
    assert_eq!(came_from(&proxy.ask(HOST, CHAT, &bearer("carol"), &ours).await.unwrap()), "miss");
    // Neither credential nor anything it could be guessed from stands anywhere.
    proxy.records().await;
    for name in ["cache.db", "cache.db-wal"] {
        let bytes = std::fs::read(folder.path().with_file_name(name)).unwrap_or_default();
        assert!(!bytes.windows(5).any(|bytes| bytes == b"alice" || bytes == b"carol"), "{name}");
    }
}

#[tokio::test]
async fn without_it_an_answer_is_for_all_as_in_agentopt() {
    let folder = Folder::new();
    let proxy = folder.proxy(CacheScope::Legacy).await;
    let body = chat("one");
    let paid = proxy.ask(HOST, CHAT, &bearer("alice"), &body).await.unwrap();
    assert_eq!(came_from(&paid), "miss");
    for (host, credential) in [(HOST, bearer("bob")), (HOST, String::new()), ("api.groq.com", bearer("carol"))] {
        let answer = proxy.ask(host, CHAT, &credential, &body).await.unwrap();
        assert_eq!((came_from(&answer), &answer.body), ("hit", &paid.body), "{host} {credential}");
    }
    proxy.records().await;
    // What the narrow scope has paid for is for all too, once the wide one is chosen.
    let narrow = folder.proxy(CacheScope::Credential).await;
    let paid = narrow.ask(HOST, CHAT, &bearer("alice"), &chat("two")).await.unwrap();
    assert_eq!(came_from(&narrow.ask(HOST, CHAT, &bearer("bob"), &body).await.unwrap()), "miss", "and not the other way round");
    narrow.records().await;
    let wide = folder.proxy(CacheScope::Legacy).await;
    let answer = wide.ask("api.groq.com", CHAT, &bearer("bob"), &chat("two")).await.unwrap();
    assert_eq!((came_from(&answer), answer.body), ("hit", paid.body));
}

#[tokio::test]
async fn repeats_have_nothing_to_do_with_it_and_no_more_has_who_does_not_ask_for_it() {
    let folder = Folder::new();
    folder.write(CHAT, &chat("theirs"), &json_headers(), &completion("theirs"));
    for (scope, sample) in [(Some(CacheScope::Credential), 1), (Some(CacheScope::Legacy), 1), (None, 0)] {
        let proxy = start(&folder.path(), scope, Session { sample, scope: format!("{scope:?}"), ..Session::default() }).await;
        for prompt in ["theirs", "ours"] {
            assert_eq!(came_from(&proxy.ask(HOST, CHAT, "", &chat(prompt)).await.unwrap()), "miss");
            assert_eq!(came_from(&proxy.ask(HOST, CHAT, "", &chat(prompt)).await.unwrap()), "hit");
        }
        proxy.records().await;
        assert!(folder.row(CHAT, &chat("ours")).is_none());
        assert_eq!(folder.row(CHAT, &chat("theirs")).unwrap()["response_headers"], json_headers());
    }
}

fn messages(stream: bool) -> Vec<u8> {
    let mut body = json!({"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]});
    if stream {
        body["stream"] = json!(true);
    }
    body.to_string().into_bytes()
}

/// Anthropic's streams and plain answers have one key; each must be given in the shape that is asked for.
#[tokio::test]
async fn a_row_is_given_in_the_shape_that_is_asked_for() {
    assert_eq!(key(MESSAGES, &messages(true)), key(MESSAGES, &messages(false)));
    for (stored, asked, content_type) in [(true, false, "application/json"), (false, true, "text/event-stream")] {
        let folder = Folder::new();
        let plain = Folder::new().proxy(CacheScope::Legacy).await;
        let upstream = plain.ask(ANTHROPIC, MESSAGES, "", &messages(stored)).await.unwrap();
        let headers = json!({"CONTENT-TYPE": upstream.header("content-type").unwrap()});
        folder.write(MESSAGES, &messages(stored), &headers, &upstream.body);
        let proxy = folder.proxy(CacheScope::Credential).await;
        for _ in 0..2 {
            let answer = proxy.ask(ANTHROPIC, MESSAGES, "", &messages(asked)).await.unwrap();
            assert_eq!(came_from(&answer), "hit");
            assert!(answer.header("content-type").unwrap().starts_with(content_type), "{}", answer.head);
            let text = String::from_utf8(answer.body).unwrap();
            assert_eq!(text.starts_with("event: message_start"), asked, "{text}");
        }
        for record in proxy.records().await {
            assert_eq!((&record["prompt_tokens"], &record["cached"]), (&json!(21), &json!(true)), "{record:#}");
            assert_eq!(record["latency_seconds"], 0.1 + 0.2);
        }
    }
}

#[tokio::test]
async fn what_is_no_answer_is_a_miss_and_is_replaced() {
    let folder = Folder::new();
    let write = |prompt: &str, headers: Value, answer: &[u8]| folder.write(CHAT, &chat(prompt), &headers, answer);
    write("html", json!({"content-type": "text/html"}), b"<html>down for maintenance</html>");
    write("error", json_headers(), br#"{"error": {"message": "overloaded", "type": "server_error"}}"#);
    write("half", json_headers(), &completion("half")[..40]);
    write("empty", json_headers(), b"");
    write(
        "stream",
        json!({"content-type": "text/event-stream"}),
        b"data: {\"choices\": [{\"index\": 0, \"delta\": {\"content\": \"ha\"}}]}\n\n",
    );
    folder.open().execute("INSERT INTO cache VALUES (?1, 'no JSON')", [key(CHAT, &chat("broken"))]).unwrap();
    let proxy = folder.proxy(CacheScope::Credential).await;
    for prompt in ["html", "error", "half", "empty", "stream", "broken"] {
        assert_eq!(came_from(&proxy.ask(HOST, CHAT, "", &chat(prompt)).await.unwrap()), "miss", "{prompt}");
    }
    proxy.sidecar().flush().await;
    for prompt in ["html", "error", "half", "empty", "stream", "broken"] {
        let stored = folder.row(CHAT, &chat(prompt)).unwrap();
        let body = BASE64_STANDARD.decode(stored["response_bytes_b64"].as_str().unwrap()).unwrap();
        assert!(String::from_utf8(body).unwrap().contains("from the origin"), "{prompt}");
    }
    // One without headers is what its body is.
    folder.write(CHAT, &chat("bare"), &json!({}), &completion("bare"));
    let proxy = folder.proxy(CacheScope::Credential).await;
    let answer = proxy.ask(HOST, CHAT, "", &chat("bare")).await.unwrap();
    assert_eq!((came_from(&answer), answer.header("content-type"), &answer.body), ("hit", Some("application/json"), &completion("bare")));
}

#[tokio::test]
async fn after_a_clear_all_is_asked_anew_and_no_call_from_before_brings_it_back() {
    let folder = Folder::new();
    folder.write(CHAT, &chat("theirs"), &json_headers(), &completion("theirs"));
    let proxy = folder.proxy(CacheScope::Credential).await;
    assert_eq!(came_from(&proxy.ask(HOST, CHAT, "", &chat("theirs")).await.unwrap()), "hit");
    assert_eq!(came_from(&proxy.ask(HOST, CHAT, "", &chat("ours")).await.unwrap()), "miss");
    // Two equal calls, of which one waits for the other, when the cache is cleared.
    let body = chat("slow");
    let waiting = || proxy.ask(HOST, CHAT, "x-origin-gate: old\r\n", &body);
    let cleared = async {
        while !proxy.origin.log().calls().iter().any(|call| call.body.contains("slow")) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        proxy.sidecar().clear_cache().await.unwrap();
        for prompt in ["theirs", "ours"] {
            assert!(folder.row(CHAT, &chat(prompt)).is_none(), "{prompt}");
            assert_eq!(came_from(&proxy.ask(HOST, CHAT, "", &chat(prompt)).await.unwrap()), "miss", "{prompt}");
        }
        // It joins none of those that began before.
        let new = proxy.ask(HOST, CHAT, "", &body).await.unwrap();
        proxy.origin.log().release("old", 100);
        new
    };
    let (first, second, new) = tokio::join!(waiting(), waiting(), cleared);
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!((first.status, &first.body), (200, &second.body));
    assert_eq!(came_from(&new), "miss");
    assert_ne!(new.body, first.body);
    let again = proxy.ask(HOST, CHAT, "", &body).await.unwrap();
    assert_eq!((came_from(&again), &again.body), ("hit", &new.body));
    proxy.sidecar().flush().await;
    let stored = BASE64_STANDARD.decode(folder.row(CHAT, &body).unwrap()["response_bytes_b64"].as_str().unwrap()).unwrap();
    assert_eq!(stored, new.body);
}
