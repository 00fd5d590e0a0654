use std::os::unix::fs::PermissionsExt;

use super::*;

fn exchange(folder: &Path) -> Exchange {
    Exchange {
        folder: folder.to_owned(),
        input: Some(folder.join(".input/question.txt")),
        input_env: Some("QUESTION".to_owned()),
        output: Some(folder.join(".output/a/answer")),
    }
}

fn assignment(input: &str) -> Assignment {
    Assignment { data_id: Some("q1".into()), sample: 3, input: Some(input.into()), output_limit: 16, ..Assignment::default() }
}

#[test]
fn an_input_is_handed_over_in_a_file_and_in_a_variable() {
    let folder = tempfile::tempdir().unwrap();
    let exchange = exchange(folder.path());
    for input in ["two\nlines", "a restart writes it again"] {
        exchange.hand_over(&assignment(input)).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join(".input/question.txt")).unwrap(), input);
        let variables = fs::read_to_string(folder.path().join("trial.env")).unwrap();
        assert_eq!(variables, format!("AGENTRUN_DATA_ID=q1\0AGENTRUN_SAMPLE=3\0QUESTION={input}\0"));
        let trial: Handover = serde_json::from_slice(&fs::read(folder.path().join("trial.json")).unwrap()).unwrap();
        assert_eq!(trial.env["QUESTION"], input);
    }
    for path in [".input", ".output/a"] {
        assert_eq!(fs::metadata(folder.path().join(path)).unwrap().permissions().mode() & 0o777, 0o777, "{path}");
    }
}

#[test]
fn what_cannot_be_handed_over_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let exchange = exchange(folder.path());
    let refused = |input: Assignment| exchange.hand_over(&input).unwrap_err().to_string();
    assert!(refused(Assignment::default()).contains("is it a trial"));
    assert!(refused(assignment("a\0b")).contains("NUL"));
    assert!(refused(assignment(&"x".repeat(VARIABLE_BYTES))).contains("spec.agent.input.file"));
}

#[test]
fn an_output_is_a_plain_file_of_bounded_text() {
    let folder = tempfile::tempdir().unwrap();
    let exchange = exchange(folder.path());
    exchange.hand_over(&assignment("q")).unwrap();
    let path = exchange.output.clone().unwrap();
    let collected = || {
        let collected = exchange.collect(16);
        assert_eq!(collected.problem.is_none(), collected.output == Output::Present);
        (collected.output, collected.bytes.len(), collected.problem.unwrap_or_default())
    };
    assert!(matches!(collected(), (Output::Missing, 0, problem) if problem.contains("AGENTRUN_OUTPUT_FILE")));
    fs::write(&path, "vierzig").unwrap();
    assert_eq!(collected(), (Output::Present, 7, String::new()));
    fs::write(&path, "").unwrap();
    assert_eq!(collected(), (Output::Present, 0, String::new()));
    fs::write(&path, "x".repeat(16)).unwrap();
    assert_eq!(collected().0, Output::Present);
    fs::write(&path, "x".repeat(17)).unwrap();
    assert_eq!(collected().0, Output::TooLarge);
    File::create(&path).unwrap().set_len(1 << 40).unwrap();
    assert_eq!(collected().0, Output::TooLarge);
    fs::write(&path, b"ab\xff").unwrap();
    assert!(matches!(collected(), (Output::NotText, 0, problem) if problem.starts_with("byte 2 ")));
}

#[test]
fn a_link_to_the_token_a_folder_or_a_fifo_is_no_output() {
    let folder = tempfile::tempdir().unwrap();
    let exchange = exchange(folder.path());
    exchange.hand_over(&assignment("q")).unwrap();
    let path = exchange.output.clone().unwrap();
    let token = folder.path().join("token");
    fs::write(&token, "secret").unwrap();
    std::os::unix::fs::symlink(&token, &path).unwrap();
    assert_eq!((exchange.collect(16).output, exchange.collect(16).bytes), (Output::Missing, vec![]));
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(exchange.collect(16).output, Output::Missing);
    fs::remove_dir(&path).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(exchange.collect(16).output, Output::Missing);
}

#[test]
fn an_exit_is_a_code_and_seconds_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let exchange = exchange(folder.path());
    let exit = |text: &[u8]| {
        fs::write(folder.path().join("exit"), text).unwrap();
        exchange.exit()
    };
    assert_eq!(exchange.exit(), None);
    assert_eq!(exit(b"137 1.5\n"), Some(Exit { code: 137, seconds: 1.5 }));
    for odd in [&b""[..], b"0", b"x 1", b"0 x", b"0 NaN", b"0 -1", b"0 inf", b"\xff\xff", b"99999999999 1"] {
        assert_eq!(exit(odd), None, "{odd:?}");
    }
}

#[test]
fn a_stamp_tells_a_changed_output() {
    let folder = tempfile::tempdir().unwrap();
    let exchange = exchange(folder.path());
    exchange.hand_over(&assignment("q")).unwrap();
    let path = exchange.output.clone().unwrap();
    assert_eq!(exchange.stamp(), None);
    fs::write(&path, "one").unwrap();
    let first = exchange.stamp();
    assert_eq!((exchange.stamp(), exchange.collect(16).stamp), (first, first));
    fs::write(folder.path().join("other"), "two").unwrap();
    fs::rename(folder.path().join("other"), &path).unwrap();
    assert_ne!(exchange.stamp(), first);
}
