//! Runs that are stopped, killed, finished, changed.

use std::{collections::HashMap, fs};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::support::{Bench, until, wait};

fn signal(child: &std::process::Child, signal: Signal) {
    kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
}

/// An agent in Python that notes its trial in `ran` when it begins.
fn counting(count: usize) -> Bench {
    let bench = Bench::python(count);
    let note = "\nimport os\nopen('ran', 'a').write(os.environ['AGENTRUN_DATA_ID'] + ' ' + os.environ['AGENTRUN_COMBO_ID'] + '\\n')\n";
    let agent = fs::read_to_string(bench.path("agent.py")).unwrap();
    bench.write("agent.py", &format!("{note}{agent}"));
    bench.replace("agentrun.yaml", "  scoring:", "  limits: {parallelism: 3}\n  scoring:");
    bench
}

fn begun(bench: &Bench) -> usize {
    fs::read_to_string(bench.path("ran")).map_or(0, |text| text.lines().count())
}

#[test]
fn ctrl_c_stops_cleanly_and_the_same_command_goes_on() {
    let bench = counting(6);
    let child = bench.start(&["-o", "json"]);
    until("some trials began", || begun(&bench) >= 8);
    signal(&child, Signal::SIGINT);
    let stopped = wait(child);
    assert_eq!(stopped.code, Some(130), "{stopped:?}");
    let status = &stopped.json()["status"];
    assert_eq!((status["phase"].as_str(), status["trials"]["running"].as_i64()), (Some("Suspended"), Some(0)), "{stopped:?}");
    let known = status["trials"]["succeeded"].as_u64().unwrap();
    assert!((1..24).contains(&known), "{known}");

    let before = begun(&bench);
    let resumed = bench.simulate(&["-o", "json"]);
    assert_eq!(resumed.code, Some(0), "{resumed:?}");
    assert!(resumed.stderr.contains("going on with run `test`"));
    assert_eq!(resumed.json()["status"]["trials"]["succeeded"], 24);
    assert_eq!((begun(&bench) - before) as u64, 24 - known, "what had a result is not run again");
}

#[test]
fn a_finished_run_is_shown_again_until_something_changes() {
    let bench = counting(1);
    let first = bench.simulate(&["-o", "json"]);
    assert_eq!((first.code, begun(&bench)), (Some(0), 4));
    let second = bench.simulate(&["-o", "json"]);
    assert_eq!((second.code, begun(&bench), &second.stdout), (Some(0), 4, &first.stdout));
    assert!(second.stderr.contains("stored result"));
    bench.replace("agentrun.yaml", "parallelism: 3", "parallelism: 2");
    assert_eq!((bench.simulate(&[]).code, begun(&bench)), (Some(0), 4), "how many at once is no part of what is evaluated");
    bench.simulate(&["--again"]);
    assert_eq!(begun(&bench), 8);
    bench.replace("agent.py", "question + plan", "plan + question");
    bench.simulate(&[]);
    assert_eq!(begun(&bench), 12, "another agent is another evaluation");
    let last = bench.run(&["get", "test", "-o", "json"]).json();
    assert_eq!(last["metadata"]["generation"], 3);
}

#[test]
fn a_killed_run_leaves_nothing_running_and_scores_nothing_twice() {
    let bench = counting(8);
    bench.replace("agentrun.yaml", "{numeric: {}}", "{command: [python3, score.py]}");
    bench.write("score.py", "import json, sys\nprint(1 if json.loads(sys.stdin.readline())['output'] else 0)\n");
    for round in 0..6 {
        let (before, mut child) = (begun(&bench), bench.start(&[]));
        until("a trial began, or all had", || begun(&bench) > before + round % 3 || child.try_wait().unwrap().is_some());
        signal(&child, Signal::SIGKILL);
        wait(child);
    }
    let ran = bench.simulate(&["-o", "json"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(ran.json()["status"]["trials"]["succeeded"], 32);
    let trials = bench.run(&["export", "test", "--trials", "-o", "json"]).json();
    let mut seen = HashMap::new();
    for trial in trials.as_array().unwrap() {
        *seen.entry((trial["combo"].to_string(), trial["data_id"].to_string())).or_insert(0) += 1;
    }
    assert_eq!((seen.len(), seen.values().max()), (32, Some(&1)));
    let all = bench.run(&["calls", "test", "-o", "json"]).json();
    assert_eq!(ran.json()["status"]["calls"]["total"], all.as_array().unwrap().len(), "calls of killed attempts count too");
    let calls = bench.run(&["calls", "test", "--uncached", "-o", "json"]).json();
    let mut paid = HashMap::new();
    for call in calls.as_array().unwrap().iter().filter(|call| call["outcome"] == "complete") {
        *paid.entry(call["cache_key"].to_string()).or_insert(0) += 1;
    }
    // A call counts as finished once its answer is durable, within 100 ms of its end: the six kills may each have caught a few before that.
    let twice = paid.values().filter(|count| **count > 1).count();
    assert!(twice <= 18, "{twice} of {} paid again", paid.len());
    assert!(no_agent_runs(&bench), "an agent outlived its run");
}

fn no_agent_runs(bench: &Bench) -> bool {
    let folder = bench.path(".agentrun").canonicalize().unwrap().display().to_string();
    !fs::read_dir("/proc").unwrap().filter_map(Result::ok).any(|process| {
        let environ = fs::read(process.path().join("environ")).unwrap_or_default();
        String::from_utf8_lossy(&environ).contains(&format!("AGENTRUN_TRIAL_FOLDER={folder}"))
    })
}

#[test]
fn two_commands_on_one_run_get_in_each_others_way_but_two_runs_do_not() {
    let bench = counting(4);
    let child = bench.start(&[]);
    until("a trial began", || begun(&bench) > 0);
    let refused = bench.simulate(&[]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains(&format!("process {}", child.id())), "{}", refused.stderr);
    bench.write("other.yaml", &fs::read_to_string(bench.path("agentrun.yaml")).unwrap().replace("name: test", "name: other"));
    let other = bench.run(&["run", "-f", "other.yaml", "--simulate"]);
    assert_eq!(other.code, Some(0), "{other:?}");
    assert_eq!(wait(child).code, Some(0));
    assert_eq!(bench.run(&["get", "-o", "json"]).json()["items"].as_array().unwrap().len(), 2);
}

#[test]
fn a_suspended_run_starts_nothing() {
    let bench = counting(1);
    bench.replace("agentrun.yaml", "  limits:", "  suspend: true\n  limits:");
    let ran = bench.simulate(&["-o", "json"]);
    assert_eq!((ran.code, begun(&bench)), (Some(0), 0), "{ran:?}");
    assert_eq!(bench.status()["phase"], "Suspended");
    bench.replace("agentrun.yaml", "suspend: true", "suspend: false");
    assert_eq!((bench.simulate(&[]).code, begun(&bench)), (Some(0), 4));
}
