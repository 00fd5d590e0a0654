//! The rules of the source tree that no compiler keeps: what pure crates may name, who prints, who depends on whom.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const CRATES: &[&str] = &["llm", "eval", "crds", "protocol", "sidecar", "hub", "operator", "cli"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests' crate lies in the workspace")
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("a folder that opens can be read").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// A file's code without its comments and without its test module, which by custom is the last item.
fn code(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The files of a crate that name one of the words.
fn naming(name: &str, words: &[&str]) -> Vec<String> {
    let files = rust_files(&root().join(name).join("src")).into_iter();
    let found = files.filter(|file| {
        let code = code(file);
        words.iter().any(|word| code.contains(word))
    });
    found.map(|file| file.strip_prefix(root()).expect("files lie in the workspace").display().to_string()).collect()
}

/// The names in a manifest's tables of dependencies, those for tests left out.
fn dependencies(name: &str) -> BTreeSet<String> {
    let manifest = std::fs::read_to_string(root().join(name).join("Cargo.toml")).expect("every crate has a manifest");
    let mut names = BTreeSet::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line == "[dependencies]" || line == "[build-dependencies]";
        } else if inside && !line.is_empty() && !line.starts_with('#') {
            names.extend(line.split(['.', '=', ' ']).next().map(str::to_owned));
        }
    }
    names
}

#[test]
fn pure_crates_do_no_io() {
    for name in ["llm", "eval", "protocol"] {
        let words =
            ["tokio", "hyper::", "kube::", "std::fs", "std::net", "std::process", "SystemTime::now", "Instant::now", "Timestamp::now"];
        assert_eq!(naming(name, &words), Vec::<String>::new(), "{name} is pure");
        let forbidden: BTreeSet<String> = ["tokio", "hyper", "hyper-util", "kube", "rusqlite", "axum"].map(str::to_owned).into();
        assert_eq!(dependencies(name).intersection(&forbidden).collect::<Vec<_>>(), Vec::<&String>::new(), "{name} is pure");
    }
    assert_eq!(naming("crds", &["tokio", "hyper::", "kube::Client"]), Vec::<String>::new(), "crds is types alone");
}

#[test]
fn only_the_printer_prints() {
    let allowed = [
        "cli/src/printer.rs",
        "crds/src/bin/crdgen.rs",
        // A benchmark: it prints its figures.
        "operator/src/inject/tests/speed.rs",
        // It says what is wrong to whoever reads the agent's log.
        "sidecar/src/bin/agentrun-wrap/main.rs",
    ];
    for name in CRATES {
        let words = ["println!", "print!(", "eprint!(", "stdout().lock", "stdout().write", "writeln!(io::std", "stderr().write"];
        let files: Vec<String> = naming(name, &words).into_iter().filter(|file| !allowed.contains(&file.as_str())).collect();
        assert_eq!(files, Vec::<String>::new(), "output goes through the printer");
    }
}

#[test]
fn the_intercepted_connection_is_our_own() {
    // docs/decisions/0001-own-the-connection.md says why.
    for name in CRATES {
        assert!(!dependencies(name).contains("hudsucker"), "{name} depends on a proxy library");
    }
}

#[test]
fn crates_import_one_way() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("llm", &[][..]),
        ("eval", &[][..]),
        ("crds", &["agentrun-eval", "agentrun-protocol"][..]),
        ("protocol", &[][..]),
        ("sidecar", &["agentrun-llm", "agentrun-protocol"][..]),
        ("hub", &["agentrun-llm", "agentrun-eval", "agentrun-crds", "agentrun-protocol"][..]),
        ("operator", &["agentrun-llm", "agentrun-eval", "agentrun-crds", "agentrun-protocol"][..]),
        (
            "cli",
            &[
                "agentrun-llm",
                "agentrun-eval",
                "agentrun-crds",
                "agentrun-protocol",
                "agentrun-sidecar",
                "agentrun-hub",
                "agentrun-operator",
            ][..],
        ),
    ]);
    for name in CRATES {
        let ours: BTreeSet<String> = dependencies(name).into_iter().filter(|name| name.starts_with("agentrun")).collect();
        let allowed: BTreeSet<String> = allowed[name].iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(ours.difference(&allowed).collect::<Vec<_>>(), Vec::<&String>::new(), "{name} imports what lies above it");
    }
}
