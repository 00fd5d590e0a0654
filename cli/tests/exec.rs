//! One command, tracked.

use std::{fs, io::Write, process::Stdio};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::support::{Bench, append, until, wait};

#[test]
fn its_exit_code_streams_and_arguments_are_the_commands_own() {
    let bench = Bench::new();
    for (script, code) in [("exit 0", 0), ("exit 42", 42), ("kill -9 $$", 137), ("kill -TERM $$", 143)] {
        assert_eq!(bench.run(&["exec", "--", "/bin/sh", "-c", script]).code, Some(code), "{script}");
    }
    let mut child = bench.command(&["exec", "--", "sh", "-c", "cat; echo $1 >&2", "x", "--limit"]);
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"from stdin").unwrap();
    let ran = wait(child);
    assert_eq!(ran.stdout, "from stdin");
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(lines, ["--limit", "agentrun: 0 calls, 0 cached · $0.0000 spent, $0.0000 saved · 0 tokens in, 0 out"]);
}

#[test]
fn a_program_that_cannot_be_started_is_told_as_a_shell_tells_it() {
    let bench = Bench::new();
    bench.write("plain", "text");
    let missing = bench.run(&["exec", "--", "no-such-program"]);
    assert_eq!(missing.code, Some(127));
    assert!(missing.stderr.contains("no-such-program"), "{missing:?}");
    assert_eq!(bench.run(&["exec", "--", "./plain"]).code, Some(126));
}

#[test]
fn the_environment_leads_to_the_proxy() {
    let bench = Bench::new();
    let script = "echo $HTTPS_PROXY $https_proxy $NODE_USE_ENV_PROXY $AGENTRUN_DATA_ID; test -s $SSL_CERT_FILE && test -s $NODE_EXTRA_CA_CERTS && cat $NODE_EXTRA_CA_CERTS";
    let ran = bench.run(&["exec", "--data-id", "q1", "--", "sh", "-c", script]);
    let (first, rest) = ran.stdout.split_once('\n').unwrap();
    let words: Vec<&str> = first.split(' ').collect();
    assert!(words[0].starts_with("http://127.0.0.1:") && words[0] == words[1], "{words:?}");
    assert_eq!(words[2..], ["1", "q1"]);
    assert!(rest.starts_with("-----BEGIN CERTIFICATE-----"), "{rest}");
    let ran = bench.run(&["exec", "--capture", "base-url", "--", "sh", "-c", "echo $OPENAI_BASE_URL"]);
    assert!(ran.stdout.starts_with("http://127.0.0.1:") && ran.stdout.ends_with("/api.openai.com/v1\n"), "{ran:?}");
}

#[test]
fn signals_are_passed_on() {
    let bench = Bench::new();
    for (name, kind) in [("TERM", Signal::SIGTERM), ("INT", Signal::SIGINT), ("HUP", Signal::SIGHUP), ("USR1", Signal::SIGUSR1)] {
        append(&bench.path("started"), "");
        fs::remove_file(bench.path("started")).unwrap();
        let script = format!("trap 'echo got {name}; exit 5' {name}; : > started; while :; do sleep 0.05; done");
        let child = bench.command(&["exec", "--", "sh", "-c", &script]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        until("the trap is set", || bench.path("started").exists());
        kill(Pid::from_raw(child.id().try_into().unwrap()), kind).unwrap();
        let ran = wait(child);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(5), format!("got {name}\n").as_str()), "{ran:?}");
    }
}

#[test]
fn calls_are_recorded_for_the_ids_given() {
    let bench = Bench::new();
    bench.write(
        "call.py",
        "import urllib.request\nr = urllib.request.Request('https://api.openai.com/v1/chat/completions', b'{\"model\": \"gpt-4.1\", \"messages\": []}')\nurllib.request.urlopen(r)\n",
    );
    let arguments = ["exec", "--data-id", "q1", "--combo-id", "a", "--agent-id", "z", "--upstream", "api.openai.com=https://127.0.0.1:1"];
    let ran = bench.run(&[&arguments[..], &["--", "python3", "call.py"]].concat());
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("agentrun: 1 call, 0 cached"), "{ran:?}");
    let calls = bench.run(&["calls", "-o", "json"]).json();
    let call = &calls[0];
    assert_eq!(calls.as_array().unwrap().len(), 1);
    assert_eq!(call["outcome"], "upstream_refused");
    assert_eq!([&call["data_id"], &call["combo_id"], &call["agent_id"], &call["model"]], ["q1", "a", "z", "gpt-4.1"]);
    for (filter, count) in [(["--data-id", "q1"], 1), (["--data-id", "q2"], 0), (["--model", "gpt-4.1"], 1), (["--since", "1h"], 1)] {
        let calls = bench.run(&[&["calls", "-o", "json"][..], &filter].concat()).json();
        assert_eq!(calls.as_array().unwrap().len(), count, "{filter:?}");
    }
}
