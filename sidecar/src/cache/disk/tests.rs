//! The file beside whoever else has it open.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use rusqlite::{Connection, params};

use super::*;
use crate::{cache::entry::Facts, config::CacheScope};

const ENTRY_BYTES: usize = 1 << 20;

fn config(scope: Option<CacheScope>) -> CacheConfig {
    CacheConfig { disk_bytes: 1 << 20, agentopt: scope, ..CacheConfig::default() }
}

fn open(path: &Path, config: &CacheConfig) -> Disk {
    Disk::open(path, config, ENTRY_BYTES).unwrap()
}

fn answer(text: &str) -> Arc<Entry> {
    Arc::new(Entry {
        status: 200,
        framing: Framing::Sse,
        headers: Box::new([(HeaderName::from_static("x-request-id"), HeaderValue::from_static("r1"))]),
        body: Bytes::copy_from_slice(text.as_bytes()),
        facts: Facts { model: Some("m".to_owned()), latency_seconds: 1.5, ..Facts::default() },
        number: Entry::number(),
        written_at: now(),
    })
}

fn key(first: u8, last: u8) -> Key {
    let mut key = [0; 32];
    (key[0], key[31]) = (first, last);
    key
}

/// As AgentOpt writes: a row of Python's `json.dumps`, over whatever was there.
fn agentopt_writes(path: &Path, key: &Key, body: &str) {
    let connection = Connection::open(path).unwrap();
    connection
        .execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE IF NOT EXISTS cache (key TEXT PRIMARY KEY, data_json TEXT NOT NULL)")
        .unwrap();
    let text = agentopt::write(&Entry { headers: Box::new([]), ..Entry::clone(&answer(body)) });
    connection.execute("INSERT OR REPLACE INTO cache (key, data_json) VALUES (?1, ?2)", params![agentopt::row_key(key), text]).unwrap();
}

/// What is not yet known of the file is so after half a second.
fn soon<T>(what: impl Fn() -> Option<T>) -> T {
    for _ in 0..600 {
        if let Some(found) = what() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("not seen for half a minute")
}

fn count(path: &Path, table: &str) -> u64 {
    let connection = Connection::open(path).unwrap();
    connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn an_answer_is_found_again_by_its_whole_key_also_in_a_new_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache.db");
    let disk = open(&path, &config(None));
    disk.put(key(1, 1), None, answer("old"));
    disk.put(key(1, 1), None, answer("new"));
    disk.put(key(2, 1), None, answer("other"));
    disk.flush().await.unwrap();
    drop(disk);
    let disk = open(&path, &config(None));
    let found = disk.get(&key(1, 1)).unwrap();
    assert_eq!((&found.body[..], found.status, found.framing), (&b"new"[..], 200, Framing::Sse));
    assert_eq!((found.headers[0].1.to_str().unwrap(), found.facts.model.as_deref(), found.facts.latency_seconds), ("r1", Some("m"), 1.5));
    assert!(disk.get(&key(1, 2)).is_none(), "the same first bytes are not the same key");
    assert_eq!(stats(&path).unwrap().answers, 3);
    assert_eq!(clear(&path).unwrap().answers, 3);
    assert_eq!(stats(&path).unwrap(), CacheStats::default());
    // Another process counts its rows anew: those are seen too.
    let other = open(&path, &config(None));
    other.put(key(3, 1), None, answer("after"));
    other.flush().await.unwrap();
    assert_eq!(&soon(|| disk.get(&key(3, 1))).body[..], b"after");
}

#[tokio::test]
async fn the_oldest_answers_make_room() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache.db");
    let config = CacheConfig { disk_bytes: 10_000, ..config(None) };
    let disk = open(&path, &config);
    let text = "x".repeat(1000);
    for number in 0..40 {
        disk.put(key(number, 0), None, answer(&text));
    }
    disk.flush().await.unwrap();
    assert!(stats(&path).unwrap().bytes <= 10_000, "{:?}", stats(&path).unwrap());
    assert_eq!(count(&path, "answers"), count(&path, "answer_times"));
    let disk = open(&path, &config);
    assert!(disk.get(&key(0, 0)).is_none() && disk.get(&key(39, 0)).is_some());
}

#[tokio::test]
async fn room_is_made_among_our_rows_and_never_among_agentopts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache.db");
    let text = "x".repeat(1000);
    for number in 0..20 {
        agentopt_writes(&path, &key(100 + number, 0), &text);
    }
    let disk = open(&path, &CacheConfig { disk_bytes: 10_000, ..config(Some(CacheScope::Credential)) });
    disk.put(key(0, 0), Some(key(0, 1)), answer(&text));
    disk.flush().await.unwrap();
    // The oldest of ours, but of another text now.
    agentopt_writes(&path, &key(0, 1), "agentopt's");
    for number in 1..40 {
        disk.put(key(number, 0), Some(key(number, 1)), answer(&text));
    }
    disk.flush().await.unwrap();
    let (answers, ours, all) = (count(&path, "answers"), count(&path, "agentrun_rows"), count(&path, "cache"));
    assert!(answers < 10 && ours < 10 && ours > 0, "{answers} {ours}");
    assert_eq!(all, 20 + 1 + ours);
    assert_eq!(&soon(|| disk.row(&key(0, 1))).body[..], b"agentopt's");
}

#[tokio::test]
async fn what_agentopt_wrote_is_for_all_and_what_we_wrote_as_the_scope_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache.db");
    agentopt_writes(&path, &key(1, 0), "theirs");
    let narrow = open(&path, &config(Some(CacheScope::Credential)));
    narrow.put(key(9, 9), Some(key(2, 0)), answer("ours"));
    narrow.flush().await.unwrap();
    let wide = open(&path, &config(Some(CacheScope::Legacy)));
    for disk in [&narrow, &wide] {
        assert!(disk.may_have_row(&key(1, 0)) && !disk.may_have_row(&key(3, 0)));
        assert_eq!(&disk.row(&key(1, 0)).unwrap().body[..], b"theirs");
        assert!(disk.row(&key(3, 0)).is_none());
    }
    assert!(narrow.row(&key(2, 0)).is_none());
    let row = wide.row(&key(2, 0)).unwrap();
    assert_eq!((&row.body[..], row.latency_seconds, row.headers.len()), (&b"ours"[..], 1.5, 0));
    // AgentOpt writes over it while we have the file open.
    agentopt_writes(&path, &key(2, 0), "theirs now");
    assert_eq!(&narrow.row(&key(2, 0)).unwrap().body[..], b"theirs now");
    // And clears its table, and begins anew: we see what comes then.
    Connection::open(&path).unwrap().execute("DELETE FROM cache", []).unwrap();
    agentopt_writes(&path, &key(4, 0), "after");
    soon(|| narrow.may_have_row(&key(4, 0)).then_some(()));
    assert!(!narrow.may_have_row(&key(1, 0)), "gone");
}

#[tokio::test]
async fn broken_rows_are_misses() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache.db");
    agentopt_writes(&path, &key(1, 0), &"x".repeat(ENTRY_BYTES + (64 << 10)));
    agentopt_writes(&path, &key(2, 0), &"x".repeat(ENTRY_BYTES / 2));
    let connection = Connection::open(&path).unwrap();
    let insert = |number: u8, value: &dyn rusqlite::ToSql| {
        connection.execute("INSERT INTO cache VALUES (?1, ?2)", params![agentopt::row_key(&key(number, 0)), value]).unwrap();
    };
    insert(3, &"{\"response_bytes_b64\": \"%\"}");
    insert(4, &b"\xff\xfe".to_vec());
    insert(5, &7);
    connection.execute("INSERT INTO cache VALUES (CAST(?1 AS TEXT), '{}'), ('no key', '{}'), (x'00', '{}')", [b"\xff".to_vec()]).unwrap();
    let disk = open(&path, &config(Some(CacheScope::Credential)));
    for number in [1, 3, 4, 5] {
        assert!(disk.may_have_row(&key(number, 0)) && disk.row(&key(number, 0)).is_none(), "{number}");
    }
    assert_eq!(disk.row(&key(2, 0)).unwrap().body.len(), ENTRY_BYTES / 2);
}

#[tokio::test]
async fn aged_answers_are_misses_and_go() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache.db");
    let scope = Some(CacheScope::Legacy);
    agentopt_writes(&path, &key(50, 1), "theirs");
    let disk = open(&path, &config(scope));
    for number in 1..=3 {
        let aged = Entry { written_at: now() - 1000 * i64::from(4 - number), ..Entry::clone(&answer("a")) };
        disk.put(key(number.try_into().unwrap(), 0), Some(key(number.try_into().unwrap(), 1)), Arc::new(aged));
    }
    disk.flush().await.unwrap();
    drop(disk);
    let aging = CacheConfig { max_age: Some(Duration::from_secs(1500)), ..config(scope) };
    let disk = open(&path, &aging);
    assert!(disk.get(&key(1, 0)).is_none() && disk.get(&key(2, 0)).is_none() && disk.get(&key(3, 0)).is_some());
    assert!(disk.row(&key(1, 1)).is_none() && disk.row(&key(3, 1)).is_some() && disk.row(&key(50, 1)).is_some());
    disk.flush().await.unwrap();
    for (table, expected) in [("answers", 1), ("answer_times", 1), ("agentrun_rows", 1), ("cache", 2)] {
        assert_eq!(count(&path, table), expected, "{table}");
    }
    // What another version stored has no time.
    Connection::open(&path).unwrap().execute("DELETE FROM answer_times", []).unwrap();
    assert!(open(&path, &aging).get(&key(3, 0)).is_none());
}

#[tokio::test]
async fn after_a_clear_nothing_of_before_is_found_and_what_comes_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache.db");
    agentopt_writes(&path, &key(7, 1), "theirs");
    let disk = open(&path, &config(Some(CacheScope::Legacy)));
    disk.put(key(1, 0), Some(key(1, 1)), answer("stored"));
    disk.flush().await.unwrap();
    disk.put(key(2, 0), Some(key(2, 1)), answer("queued"));
    // Another process holds the file: the clear cannot be done yet, and counts all the same.
    let mut other = Connection::open(&path).unwrap();
    let held = other.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).unwrap();
    disk.clear();
    disk.put(key(3, 0), Some(key(3, 1)), answer("after"));
    assert!(disk.get(&key(1, 0)).is_none() && disk.row(&key(1, 1)).is_none() && disk.row(&key(7, 1)).is_none());
    assert!(!disk.may_have_row(&key(7, 1)));
    drop(held);
    disk.flush().await.unwrap();
    for table in ["answers", "answer_times", "agentrun_rows", "cache"] {
        assert_eq!(count(&path, table), 1, "{table}");
    }
    assert_eq!(&soon(|| disk.get(&key(3, 0))).body[..], b"after");
}

#[test]
fn a_table_of_another_program_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache.db");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE cache (id INTEGER, value TEXT)").unwrap();
    let error = Disk::open(&path, &config(Some(CacheScope::Credential)), ENTRY_BYTES).err().unwrap().to_string();
    assert!(error.contains("cache.db as AgentOpt's") && error.contains("name a folder"), "{error}");
    open(&path, &config(None));
}

#[tokio::test]
async fn a_row_that_is_replaced_again_and_again_has_nothing_read_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache.db");
    for number in 0..3 {
        agentopt_writes(&path, &key(number, 0), "a");
    }
    let disk = open(&path, &config(Some(CacheScope::Credential)));
    // Known no more once the table is read anew.
    Connection::open(&path).unwrap().execute("DELETE FROM cache WHERE key = ?1", [agentopt::row_key(&key(1, 0))]).unwrap();
    agentopt_writes(&path, &key(2, 0), "b");
    agentopt_writes(&path, &key(3, 0), "c");
    soon(|| disk.may_have_row(&key(3, 0)).then_some(()));
    assert!(disk.may_have_row(&key(1, 0)));
}
