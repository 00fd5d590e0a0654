//! `agentrun serve`: what it refuses, and how it starts and stops.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt,
    process::{Child, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::support::Bench;

/// A gateway on a free port, and what it has said.
fn serving(bench: &Bench, arguments: &[&str]) -> (Child, SocketAddr, String) {
    let mut child = bench.command(&[&["serve", "--port", "0"], arguments].concat()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut line).unwrap();
    let address = line.split("http://").nth(1).and_then(|rest| rest.split(' ').next()).and_then(|address| address.parse().ok());
    (child, address.unwrap_or_else(|| panic!("{line}")), line)
}

/// The status of an answer, and the whole of it.
fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(format!("{request} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_made() {
    let bench = Bench::new();
    bench.write("policy.py", "");
    bench.write("empty", "\n");
    for (arguments, text) in [
        (&["--host", "0.0.0.0"][..], "refusing to bind"),
        (&["--host", "0.0.0.0", "--allow-remote"], "refusing to bind"),
        (&["--host", "0.0.0.0", "--allow-remote", "--token-file", "empty"], "holds no token"),
        (&["--token-file", "missing"], "missing"),
        (&["--cache-dir", ""], "cache-dir cannot be empty"),
        (&["--cache-dir", "  "], "cache-dir cannot be empty"),
        (&["--routing-policy", "cheapest"], "is not a built-in"),
        (&["--routing-policy", "random"], "requires --candidate-models"),
        (&["--routing-policy", "random", "--candidate-models", " , "], "requires --candidate-models"),
        (&["--candidate-models", "a,b"], "require --routing-policy"),
        (&["--seed", "-1"], "require --routing-policy"),
        (&["--policy-module", "missing.py"], "does not exist"),
        (&["--policy-module", "policy.py"], "webhook"),
        (&["--policy-module", "policy.py", "--policy-module", "missing.py"], "missing.py does not exist"),
        (&["--routing", "missing.yaml"], "--routing: missing.yaml"),
        (&["--retention", "soon"], "7d or forever"),
        (&["--upstream-ca", "missing.pem"], "--upstream-ca"),
    ] {
        let ran = bench.run(&[&["serve", "--port", "0"], arguments].concat());
        assert_eq!(ran.code, Some(2), "{arguments:?}: {ran:?}");
        assert!(ran.stderr.contains(text), "{arguments:?}: {ran:?}");
        assert!(!bench.path(".agentopt_cache").exists(), "{arguments:?}");
    }
}

#[test]
fn it_says_where_it_listens_and_ends_well_when_told_to() {
    for (kind, folder) in [(Signal::SIGTERM, "one/two"), (Signal::SIGINT, "three")] {
        let bench = Bench::new();
        let (mut child, address, line) = serving(&bench, &["--cache-dir", folder]);
        assert!(line.contains(&format!("(cache dir: {})", fs::canonicalize(bench.path(folder)).unwrap().display())), "{line}");
        assert!(line.contains("no default router"), "{line}");
        assert!(ask(address, "GET /health").ends_with("{\"ok\":true}"));
        assert!(ask(address, "POST /sessions").contains("proxy_port"));
        let taken = bench.run(&["serve", "--port", &address.port().to_string(), "--cache-dir", folder]);
        assert_eq!(taken.code, Some(1), "{taken:?}");
        assert!(taken.stderr.contains(&address.to_string()), "{taken:?}");
        kill(Pid::from_raw(child.id().try_into().unwrap()), kind).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{kind:?}");
        let mode = |name: &str| fs::metadata(bench.path(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(folder), 0o700);
        for file in ["calls.db", "cache.db"] {
            assert_eq!(mode(&format!("{folder}/{file}")), 0o600, "{file}");
        }
    }
}

#[test]
fn other_machines_are_answered_with_the_token() {
    let bench = Bench::new();
    let secret = "0123456789abcdef0123456789abcdef";
    bench.write("token", secret);
    let (mut child, address, _) = serving(&bench, &["--host", "0.0.0.0", "--allow-remote", "--token-file", "token"]);
    let local = SocketAddr::from(([127, 0, 0, 1], address.port()));
    assert!(ask(local, "GET /records").starts_with("HTTP/1.1 401"));
    assert!(ask(local, "GET /health").starts_with("HTTP/1.1 200"));
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut rest = String::new();
    child.stderr.take().unwrap().read_to_string(&mut rest).unwrap();
    assert!(!rest.contains(secret));
}
