//! What the reading verbs write.

use std::{fs, io::Read, process::Stdio};

use crate::support::Bench;

#[test]
fn a_run_is_read_back_in_every_format() {
    let bench = Bench::python(2);
    let first = bench.simulate(&["-o", "json"]);
    assert_eq!(bench.run(&["get", "test", "-o", "json"]).stdout, first.stdout);
    assert_eq!(bench.run(&["get", "test", "-o", "yaml"]).stdout, bench.simulate(&["-o", "yaml"]).stdout);
    let csv = bench.run(&["export", "test", "-o", "csv"]).stdout;
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines.len(), 5);
    assert!(lines[0].starts_with("rank,combo,model_planner,model_solver,trials,failed,score,"), "{csv}");
    assert!(lines[1].starts_with("1,"), "{csv}");
    let rows = bench.run(&["export", "test", "-o", "json"]).json();
    assert_eq!((rows.as_array().unwrap().len(), &rows[0]["trials"], &rows[0]["simulated"]), (4, &2.into(), &true.into()));
    let trials = bench.run(&["export", "test", "--trials", "-o", "json"]).json();
    assert_eq!(trials.as_array().unwrap().len(), 8);
    assert!(trials.as_array().unwrap().iter().all(|trial| trial["calls"] == 2 && trial["state"] == "Succeeded"), "{trials}");
    let list = bench.run(&["get", "-o", "csv"]).stdout;
    assert!(list.lines().nth(1).unwrap().starts_with("test,Complete,8,8,"), "{list}");
}

#[test]
fn the_best_combo_becomes_a_proxys_configuration() {
    let bench = Bench::python(2);
    bench.simulate(&[]);
    let best = bench.run(&["export", "test", "-o", "json"]).json()[0].clone();
    let text = bench.run(&["export", "test", "-o", "litellm"]).stdout;
    assert!(text.starts_with("model_list:\n  - model_name: ") && text.contains("api_key: os.environ/OPENAI_API_KEY\n"), "{text}");
    for role in ["planner", "solver"] {
        let model = best[format!("model_{role}")].as_str().unwrap();
        assert!(text.contains(&format!("#   \"{role}\": \"{model}\"\n")), "{text}");
    }
    let refused = bench.run(&["export", "test", "-o", "litellm", "--trials"]);
    assert_eq!((refused.code, refused.stderr.contains("it has no --trials")), (Some(2), true), "{refused:?}");
}

#[test]
fn parquet_is_written_whole_or_not_at_all() {
    let bench = Bench::python(1);
    bench.simulate(&[]);
    assert_eq!(bench.run(&["export", "test", "-o", "parquet", "--to", "result.parquet"]).code, Some(0));
    let bytes = fs::read(bench.path("result.parquet")).unwrap();
    assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));
    let refused = bench.run(&["export", "test", "-o", "parquet", "--to", "missing/result.parquet"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("missing/result.parquet"), "{refused:?}");
}

#[test]
fn an_unknown_run_is_told_with_the_known_ones() {
    let bench = Bench::python(1);
    let none = bench.run(&["get", "other"]);
    assert_eq!((none.code, none.stderr.contains("holds none")), (Some(1), true), "{none:?}");
    assert!(!bench.path(".agentrun").exists(), "reading makes no state folder");
    bench.simulate(&[]);
    for arguments in [&["get", "other"][..], &["calls", "other"], &["export", "other", "-o", "csv"]] {
        let ran = bench.run(arguments);
        assert_eq!((ran.code, ran.stderr.contains("there is test")), (Some(1), true), "{ran:?}");
    }
}

#[test]
fn calls_are_filtered_and_paged() {
    let bench = Bench::python(2);
    bench.simulate(&[]);
    let count = |more: &[&str]| bench.run(&[&["calls", "test", "-o", "json"], more].concat()).json().as_array().unwrap().len();
    let all = count(&[]);
    assert_eq!(all, 16);
    assert_eq!(count(&["--cached"]) + count(&["--uncached"]), all);
    assert_eq!(count(&["--data-id", "q0"]), 8);
    assert_eq!(count(&["--combo-id", "planner=gpt-4.1 + solver=gpt-4.1-mini"]), 4);
    assert_eq!(count(&["--limit", "3"]), 3);
    assert_eq!(count(&["--limit", "3", "--offset", "15"]), 1);
    let csv = bench.run(&["calls", "test", "-o", "csv"]).stdout;
    assert_eq!(csv.lines().count(), 17, "{csv}");
    assert!(bench.run(&["calls", "test"]).stdout.lines().count() == 17);
    assert!(bench.run(&["calls", "test", "--limit", "1", "-o", "yaml"]).stdout.contains("provider: openai"));
}

#[test]
fn calls_are_summed_up() {
    let bench = Bench::python(2);
    bench.simulate(&[]);
    let told = bench.run(&["calls", "test", "--summary"]).stdout;
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(
        (lines[1], lines[4], lines[lines.len() - 1].ends_with("s across 16 call(s)")),
        ("Routing summary", "Model usage by datapoint:", true),
        "{told}"
    );
    assert!(
        told.contains("\n  [q0]  8 call(s), ") && told.contains(" (cached)\n") && told.contains("\n  gpt-4.1-mini   prompt="),
        "{told}"
    );
    let one = bench.run(&["calls", "test", "--summary", "--data-id", "q1", "--limit", "3"]).stdout;
    assert!(one.contains("Model usage sequence:\n   1. gpt-4.1") && one.ends_with(" across 3 call(s)\n"), "{one}");
    assert_eq!(bench.run(&["calls", "test", "--summary", "--data-id", "none"]).stdout, "(no records — was the router active?)\n");
    let refused = bench.run(&["calls", "test", "--summary", "-o", "json"]);
    assert_eq!((refused.code, refused.stderr.contains("--summary")), (Some(2), true), "{refused:?}");
}

#[test]
fn the_cache_is_counted_and_cleared() {
    let bench = Bench::python(1);
    let cache = |action: &str| bench.run(&["cache", action, "--simulated"]).stdout;
    assert!(cache("stats").starts_with("0 answers"));
    bench.simulate(&[]);
    let stats = cache("stats");
    assert!(!stats.starts_with("0 answers"), "{stats}");
    assert!(cache("flush").contains("written to"));
    assert!(cache("clear").contains("deleted from"));
    assert!(cache("stats").starts_with("0 answers"));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let bench = Bench::python(2);
    bench.simulate(&[]);
    let mut child = bench.command(&["completion", "bash"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!((child.wait().unwrap().code(), stderr.as_str()), (Some(0), ""));
}

#[test]
fn completions_are_written_for_every_shell() {
    let bench = Bench::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = bench.run(&["completion", shell]);
        assert!(ran.code == Some(0) && ran.stdout.contains("simulate"), "{shell}: {ran:?}");
    }
}

#[test]
fn no_colours_are_written_where_nobody_looks() {
    let bench = Bench::python(1);
    let ran = bench.simulate(&[]);
    assert!(!ran.stdout.contains('\u{1b}') && !ran.stderr.contains('\u{1b}'), "{ran:?}");
}
