//! The guide for people who come from AgentOpt: its table of weaknesses is whole, and every test that it names is there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const GUIDE: &str = include_str!("../../docs/agentopt.md");
const WEAKNESSES: usize = 36;

/// The names of all functions in the workspace's Rust files.
fn functions(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("a folder that opens can be read").path();
        if path.is_dir() {
            if !path.ends_with("target") && !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')) {
                functions(&path, names);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            names.extend(text.lines().filter_map(|line| {
                let (_, name) = line.trim_start().split_once("fn ")?;
                Some(name.split('(').next()?.to_owned())
            }));
        }
    }
}

#[test]
fn every_weakness_has_its_tests_or_does_not_apply() {
    let mut names = BTreeSet::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests' crate lies in the workspace");
    for part in ["llm", "eval", "sidecar", "hub", "cli", "tests"] {
        functions(&root.join(part), &mut names);
    }
    let mut told = BTreeMap::new();
    for row in GUIDE.lines().filter(|line| line.starts_with("| W")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [number, _, ours, tests] = cells.as_slice() else { panic!("four cells: {row}") };
        assert!(told.insert((*number).to_owned(), ()).is_none(), "{number} stands twice");
        let tests: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty() || ours.starts_with("Does not apply"), "{number} names no test");
        for test in tests {
            assert!(names.contains(test), "{number} names `{test}`, and there is none");
        }
    }
    let all: BTreeMap<String, ()> = (1..=WEAKNESSES).map(|number| (format!("W{number}"), ())).collect();
    assert_eq!(told, all);
}
