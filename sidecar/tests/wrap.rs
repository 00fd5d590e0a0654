//! `agentrun-wrap` around real commands.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener},
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

/// A container's view of an exchange folder, and a sidecar that lives.
struct Container(TempDir, Sidecar);

/// The admin port of a sidecar that is ready.
struct Sidecar(SocketAddr);

impl Sidecar {
    fn new() -> Self {
        Self::answering("200 OK", "")
    }

    fn answering(status: &str, body: &str) -> Self {
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut head = [0; 1024];
                let _asked = stream.read(&mut head);
                stream.write_all(answer.as_bytes()).ok();
            }
        });
        Self(address)
    }
}

impl Container {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("trial.env"), "AGENTRUN_DATA_ID=q 1\0AGENTRUN_SAMPLE=0\0").unwrap();
        Self(folder, Sidecar::new())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn wrap(&self, flags: &[String], command: &[&str]) -> Command {
        // Whoever runs tests in the background may ignore signals, and a shell cannot trap what was ignored when it began.
        let mut wrap = Command::new("env");
        wrap.args(["--default-signal", env!("CARGO_BIN_EXE_agentrun-wrap")]);
        wrap.arg(format!("--trial={}", self.path("trial.env").display())).arg(format!("--exit={}", self.path("exit").display()));
        wrap.arg(format!("--sidecar={}", self.1.0));
        wrap.args(flags).arg("--").args(command);
        wrap
    }

    fn run(&self, flags: &[String], command: &[&str]) -> Output {
        self.wrap(flags, command).stdin(Stdio::null()).output().unwrap()
    }

    fn flag(&self, name: &str, file: &str) -> String {
        format!("--{name}={}", self.path(file).display())
    }

    fn exit(&self) -> (i32, f64) {
        let text = fs::read_to_string(self.path("exit")).unwrap();
        let (code, seconds) = text.trim_end().split_once(' ').unwrap();
        (code.parse().unwrap(), seconds.parse().unwrap())
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Starts `script` and waits until it has printed `ready`.
fn started(container: &Container, flags: &[String], script: &str) -> Child {
    let mut child = container.wrap(flags, &["sh", "-c", script]).stdout(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    let mut byte = [0];
    let stdout = child.stdout.as_mut().unwrap();
    while !line.ends_with("ready\n") {
        assert_eq!(stdout.read(&mut byte).unwrap(), 1, "ended after {line:?}");
        line.push(char::from(byte[0]));
    }
    child
}

#[test]
fn it_ends_as_its_command_does() {
    let container = Container::new();
    fs::write(container.path("data"), "no program").unwrap();
    let data = container.path("data").display().to_string();
    for (command, code, said) in [
        (&["true"][..], 0, ""),
        (&["sh", "-c", "exit 3"], 3, ""),
        (&["sh", "-c", "kill -KILL $$"], 137, ""),
        (&["sh", "-c", "kill -SEGV $$"], 139, ""),
        (&["no-such-program-anywhere"], 127, "cannot run no-such-program-anywhere: No such file"),
        (&[&data], 126, "Permission denied"),
    ] {
        let output = container.run(&[], command);
        assert_eq!(output.status.code(), Some(code), "{command:?}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(said), "{command:?}: {}", text(&output.stderr));
        assert_eq!(container.exit().0, code, "{command:?}");
    }
}

#[test]
fn a_command_gets_variables_and_input_and_its_output_is_kept() {
    let container = Container::new();
    fs::write(container.path("input"), "two\nlines").unwrap();
    let flags = [container.flag("stdin", "input"), container.flag("stdout", "output")];
    let output = container.run(&flags, &["sh", "-c", "echo \"$AGENTRUN_DATA_ID/$AGENTRUN_SAMPLE\"; cat; sleep 0.3; echo; echo bad >&2"]);
    assert_eq!((text(&output.stdout).as_str(), text(&output.stderr).as_str()), ("q 1/0\ntwo\nlines\n", "bad\n"));
    assert_eq!(fs::read(container.path("output")).unwrap(), output.stdout);
    assert_eq!(fs::metadata(container.path("output")).unwrap().permissions().mode() & 0o777, 0o644);
    let (code, seconds) = container.exit();
    assert!(code == 0 && (0.3..30.0).contains(&seconds), "{code} {seconds}");
}

#[test]
fn an_output_for_its_owner_alone_is_opened_to_the_sidecar() {
    let container = Container::new();
    let path = container.path("answer");
    let mut wrap = container.wrap(&[], &["sh", "-c", "umask 077; echo 42 > \"$AGENTRUN_OUTPUT_FILE\""]);
    assert!(wrap.env("AGENTRUN_OUTPUT_FILE", &path).status().unwrap().success());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
}

#[test]
fn signals_reach_the_command() {
    let container = Container::new();
    for (signal, name) in [(Signal::SIGTERM, "TERM"), (Signal::SIGINT, "INT"), (Signal::SIGHUP, "HUP"), (Signal::SIGUSR1, "USR1")] {
        let script = format!("trap 'echo {name}; exit 7' {name}; echo ready; while :; do sleep 0.05; done");
        let child = started(&container, &[container.flag("stdout", "output")], &script);
        kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(7), "{name}");
        assert_eq!(fs::read_to_string(container.path("output")).unwrap(), format!("ready\n{name}\n"));
    }
}

#[test]
fn a_command_that_takes_too_long_is_ended() {
    let container = Container::new();
    let output = container.run(&["--timeout=1".to_owned()], &["sleep", "600"]);
    assert_eq!(output.status.code(), Some(124), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("longer than it may"));
    assert_eq!(container.exit().0, 124);
}

#[test]
fn what_a_command_leaves_running_is_not_waited_for() {
    let container = Container::new();
    let began = Instant::now();
    let output = container.run(&[container.flag("stdout", "output")], &["sh", "-c", "sleep 600 2>/dev/null & echo done"]);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(0), "done\n"));
    assert!(began.elapsed() < Duration::from_secs(300), "waited for the rest");
}

#[test]
fn what_a_command_leaves_printing_is_not_waited_for() {
    let container = Container::new();
    let began = Instant::now();
    let script = "(for i in $(seq 6000); do echo more; sleep 0.1; done) 2>/dev/null & echo done";
    let output = container.run(&[container.flag("stdout", "output")], &["sh", "-c", script]);
    assert!(output.status.code() == Some(0) && text(&output.stdout).contains("done\n"), "{}", text(&output.stdout));
    assert!(fs::read_to_string(container.path("output")).unwrap().contains("done\n"));
    assert!(began.elapsed() < Duration::from_secs(300), "waited for the rest");
}

/// In a process namespace of its own, the first process of which it is: needs the rights that containers' makers have.
#[test]
fn as_first_process_it_reaps_what_is_left_to_it() {
    let container = Container::new();
    let script = "for i in 1 2 3; do (sleep 0.05 &); done; sleep 0.5; grep -l '^State:.Z' /proc/[0-9]*/status | wc -l; echo $PPID";
    let wrap = container.wrap(&[], &["sh", "-c", script]);
    let mut unshare = Command::new("unshare");
    unshare.args(["--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]).arg(wrap.get_program()).args(wrap.get_args());
    let output = unshare.output().unwrap();
    assert_eq!((text(&output.stdout).as_str(), output.status.code()), ("0\n1\n", Some(0)), "{}", text(&output.stderr));
}

#[test]
fn a_scoring_command_speaks_over_the_socket() {
    let container = Container::new();
    let listener = UnixListener::bind(container.path("score.sock")).unwrap();
    let mut wrap = container
        .wrap(&[container.flag("score", "score.sock")], &["sh", "-c", "while read line; do echo \"<$line>$PYTHONUNBUFFERED\"; done"]);
    let mut child = wrap.spawn().unwrap();
    let (mut questions, _) = listener.accept().unwrap();
    let mut answers = BufReader::new(questions.try_clone().unwrap()).lines();
    for question in ["one", "two"] {
        writeln!(questions, "{question}").unwrap();
        assert_eq!(answers.next().unwrap().unwrap(), format!("<{question}>1"));
    }
    questions.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(answers.next().is_none());
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_scoring_command_ends_as_its_answers_do() {
    let mut container = Container::new();
    // A program that nobody speaks to is of no use, however it ends: each has a listener.
    let listener = UnixListener::bind(container.path("score.sock")).unwrap();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let (ok, failed) = (&["true"][..], &["sh", "-c", "echo own words >&2; exit 3"][..]);
    for (status, body, command, code, said) in [
        ("200 OK", "", ok, 0, ""),
        ("200 OK", "", failed, 0, "own words\n"),
        ("422 Unprocessable Entity", "no answer: `x`", ok, 1, "agentrun-wrap: no answer: `x`\n"),
        ("422 Unprocessable Entity", "no answer: `x`", failed, 3, "own words\nagentrun-wrap: no answer: `x`\n"),
        ("409 Conflict", "two are missing", ok, 1, "agentrun-wrap: two are missing\n"),
        ("409 Conflict", "two are missing", failed, 3, "own words\n"),
        ("404 Not Found", "", ok, 213, "agentrun-wrap: the sidecar died while the command ran: its answers are lost\n"),
    ] {
        container.1 = Sidecar::answering(status, body);
        let output = container.run(&[container.flag("score", "score.sock")], command);
        assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(code), said), "{status} {command:?}");
    }
}

#[test]
fn a_scoring_command_that_was_given_up_is_ended() {
    let mut container = Container::new();
    let listener = UnixListener::bind(container.path("score.sock")).unwrap();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    container.1 = Sidecar::answering("408 Request Timeout", "no answer for 600 s");
    let output = container.run(&[container.flag("score", "score.sock")], &["sleep", "3600"]);
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(143), "agentrun-wrap: no answer for 600 s\n"));
}

#[test]
fn a_failure_beside_a_dead_sidecar_is_not_the_commands() {
    let container = Container::new();
    fs::write(container.path("restarted"), "").unwrap();
    assert_eq!(container.run(&[], &["true"]).status.code(), Some(0));
    assert_eq!(container.run(&[], &["false"]).status.code(), Some(213));
    assert_eq!(container.exit().0, 213);
    fs::remove_file(container.path("restarted")).unwrap();
    assert_eq!(container.run(&[], &["false"]).status.code(), Some(1));
    let closed = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let flags = [format!("--sidecar={closed}")];
    assert_eq!(container.run(&flags, &["false"]).status.code(), Some(213));
}

#[test]
fn the_wrappers_own_failures_are_told_from_the_commands() {
    let container = Container::new();
    fs::remove_file(container.path("trial.env")).unwrap();
    let output = container.run(&[], &["true"]);
    assert_eq!(output.status.code(), Some(125));
    assert!(text(&output.stderr).contains("trial.env"), "{}", text(&output.stderr));
    let container = Container::new();
    let output = container.run(&[container.flag("stdin", "input")], &["true"]);
    assert_eq!((output.status.code(), text(&output.stderr).contains("read the input")), (Some(125), true));
    assert_eq!(container.run(&["--odd=1".to_owned()], &["true"]).status.code(), Some(125));
}
