//! What the origin has received, and the gates at which its streams wait.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde::Serialize;
use tokio::sync::Semaphore;

use super::ask::Ask;
use super::rule::Rule;

/// One request as it arrived.
#[derive(Clone, Debug, Serialize)]
pub struct Call {
    /// 1 for the origin's first call; its answer's text carries it.
    pub number: u64,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub version: String,
    /// The server name of the TLS handshake.
    pub sni: Option<String>,
    /// `Host` or `:authority`.
    pub host: String,
    /// Method.
    pub method: String,
    /// Path with query.
    pub path: String,
    /// Header names in lower case; several values are joined by `, `.
    pub headers: BTreeMap<String, String>,
    /// The body, invalid UTF-8 replaced.
    pub body: String,
}

/// All calls in order of arrival.
#[derive(Default)]
pub struct Log {
    calls: Mutex<Vec<Call>>,
    numbers: AtomicU64,
    gates: Mutex<HashMap<String, Arc<Semaphore>>>,
    rules: Mutex<BTreeMap<String, Vec<Rule>>>,
    file: Option<Mutex<File>>,
}

impl Log {
    pub(super) fn new(path: Option<&Path>) -> std::io::Result<Self> {
        let file = path.map(File::create).transpose()?.map(Mutex::new);
        Ok(Self { file, ..Self::default() })
    }

    /// A copy of the calls so far.
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().expect("a test's panic elsewhere ends the test").clone()
    }

    /// Forgets the calls whose body holds `text`.
    pub fn forget(&self, text: &str) {
        self.calls.lock().expect("a test's panic elsewhere ends the test").retain(|call| !call.body.contains(text));
    }

    /// How often each pair of path and body has arrived.
    pub fn counts(&self) -> BTreeMap<(String, String), usize> {
        let mut counts = BTreeMap::new();
        for call in self.calls() {
            *counts.entry((call.path, call.body)).or_default() += 1;
        }
        counts
    }

    /// Lets a stream that waits at gate `token` send `frames` more frames. Releases may come before the stream.
    pub fn release(&self, token: &str, frames: usize) {
        self.gate(token).add_permits(frames);
    }

    /// Answers by these rules from now on; they replace the earlier ones of the same name.
    pub fn set_rules(&self, name: &str, rules: Vec<Rule>) {
        self.rules.lock().expect("no panic happens under this lock").insert(name.to_owned(), rules);
    }

    /// The first rule that fits.
    pub(super) fn rule(&self, ask: &Ask) -> Option<Rule> {
        let rules = self.rules.lock().expect("no panic happens under this lock");
        rules.values().flatten().find(|rule| rule.fits(ask)).cloned()
    }

    pub(super) fn gate(&self, token: &str) -> Arc<Semaphore> {
        let mut gates = self.gates.lock().expect("no panic happens under this lock");
        gates.entry(token.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(0))).clone()
    }

    pub(super) fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn add(&self, ask: &Ask) {
        let mut headers = BTreeMap::<String, String>::new();
        for (name, value) in &ask.headers {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            headers.entry(name.as_str().to_owned()).and_modify(|all| *all = format!("{all}, {value}")).or_insert(value);
        }
        let call = Call {
            number: ask.number,
            version: format!("{:?}", ask.version),
            sni: ask.sni.clone(),
            host: ask.host.clone(),
            method: ask.method.to_string(),
            path: ask.path_and_query.clone(),
            headers,
            body: String::from_utf8_lossy(&ask.body).into_owned(),
        };
        if let Some(file) = &self.file {
            let mut line = serde_json::to_vec(&call).expect("strings and numbers serialise");
            line.push(b'\n');
            // A full disk shows itself to the reader of the file; the origin has nobody to tell.
            file.lock().expect("no panic happens under this lock").write_all(&line).ok();
        }
        self.calls.lock().expect("no panic happens under this lock").push(call);
    }
}
