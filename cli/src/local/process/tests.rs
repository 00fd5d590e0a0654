use std::{fs, path::Path, time::Instant};

use super::*;

fn task(script: &str) -> Task {
    Task {
        command: ["/bin/sh", "-c", script].map(OsString::from).into(),
        folder: "/".into(),
        environment: vec![("PATH".into(), "/usr/bin:/bin".into())],
        input: None,
        timeout: Duration::from_secs(60),
        stdout: Keep::Tail(64),
    }
}

async fn ended(task: Task) -> Ended {
    run(&task, &Stop::default()).await.unwrap()
}

#[tokio::test]
async fn ends_are_told_apart() {
    let table = [("exit 0", End::Exit(0)), ("exit 7", End::Exit(7)), ("kill -9 $$", End::Signal(9)), ("kill -SEGV $$", End::Signal(11))];
    for (script, end) in table {
        assert_eq!(ended(task(script)).await.end, end, "{script}");
    }
}

#[tokio::test]
async fn output_is_kept_in_bounds_however_much_there_is() {
    let flood = ended(task("head -c 50000000 /dev/zero; head -c 50000000 /dev/zero >&2; echo the end; echo last words >&2")).await;
    assert_eq!(flood.end, End::Exit(0));
    assert!(flood.stdout.len() <= 128 && flood.stdout.ends_with(b"the end\n"));
    assert!(flood.stderr.len() <= 2 * TAIL_BYTES);
    assert_eq!(last_words(&flood.stderr).unwrap(), "last words");
}

#[tokio::test]
async fn too_much_of_what_is_kept_whole_ends_the_process() {
    let endless = ended(Task { stdout: Keep::Whole(1000), ..task("yes") }).await;
    assert_eq!(endless.end, End::TooMuchOutput);
    let short = ended(Task { stdout: Keep::Whole(1000), ..task("head -c 1001 /dev/zero") }).await;
    assert_eq!(short.end, End::TooMuchOutput);
    let exact = ended(Task { stdout: Keep::Whole(1000), ..task("head -c 1000 /dev/zero") }).await;
    assert_eq!((exact.end, exact.stdout.len()), (End::Exit(0), 1000));
}

#[tokio::test]
async fn time_runs_out_even_for_those_that_ignore_sigterm() {
    let quick = Task { timeout: Duration::from_millis(100), ..task("trap 'echo cleaned up; exit 1' TERM; while :; do sleep 0.01; done") };
    let quick = ended(quick).await;
    assert_eq!((quick.end, quick.stdout.as_slice()), (End::TimedOut, b"cleaned up\n".as_slice()));
    let stop = Stop::default();
    let stubborn = task("trap '' TERM INT; while :; do sleep 0.01; done");
    let running = run(&stubborn, &stop);
    let asking = async {
        time::sleep(Duration::from_millis(50)).await;
        stop.ask();
        stop.ask();
    };
    assert_eq!(tokio::join!(running, asking).0.unwrap().end, End::Stopped);
}

#[tokio::test]
async fn children_that_are_left_behind_are_ended() {
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    let began = Instant::now();
    let left = ended(task(&format!("sleep 1000 & echo $! > {}; exit 0", pid.display()))).await;
    assert_eq!(left.end, End::Exit(0));
    assert!(began.elapsed() < Duration::from_secs(500), "the child's hold on stdout is not waited for");
    assert!(is_gone(&pid), "the child lives");
}

#[tokio::test]
async fn a_process_that_leaves_its_group_is_found_by_its_mark() {
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    let mut escaping = task(&format!("setsid sleep 1000 > /dev/null 2>&1 & echo $! > {}; sleep 0.2", pid.display()));
    let mark = folder.path().join("trials/1/.");
    escaping.environment.push((super::super::leftover::TRIAL_FOLDER.into(), mark.into()));
    assert_eq!(ended(escaping).await.end, End::Exit(0));
    let other = folder.path().join("trial");
    assert_eq!(super::super::leftover::end(&other), 0, "another run's processes are left alone");
    assert_eq!(super::super::leftover::end(&folder.path().join("trials")), 1);
    assert!(is_gone(&pid), "the process lives");
}

/// Whether the process whose id is in the file is dead, or dies within ten seconds.
fn is_gone(pid: &Path) -> bool {
    let pid = fs::read_to_string(pid).unwrap();
    let stat = format!("/proc/{}/stat", pid.trim());
    // Its new parent may take its time to reap it: a zombie is dead.
    (0..1000).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "))
    })
}

#[tokio::test]
async fn input_is_given_and_may_be_ignored() {
    let large = vec![b'x'; 1 << 20];
    let read = ended(Task { input: Some(large.clone()), ..task("wc -c") }).await;
    assert_eq!(String::from_utf8(read.stdout).unwrap().trim(), "1048576");
    assert_eq!(ended(Task { input: Some(large), ..task("exit 0") }).await.end, End::Exit(0));
    assert_eq!(ended(task("cat")).await.stdout, b"");
}

#[tokio::test]
async fn a_missing_program_is_told_by_its_name() {
    let refused = run(&Task { command: vec!["/no/such/program".into()], ..task("") }, &Stop::default()).await.unwrap_err();
    assert_eq!(refused.to_string(), "starting `/no/such/program`");
}

#[test]
fn last_words_are_the_last_line_that_says_something() {
    assert_eq!(last_words(b"Traceback\nKeyError: 'choices'\n\n  \n").unwrap(), "KeyError: 'choices'");
    assert_eq!(last_words(b"\x1b[31mred\xff").unwrap(), "[31mred\u{fffd}");
    assert_eq!(last_words("é".repeat(1000).as_bytes()).unwrap().chars().count(), 300);
    assert_eq!(last_words(b" \n"), None);
}
