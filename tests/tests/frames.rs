//! A stream's frames reach the client one by one: the origin sends the next only after the client has shown the last.

use std::process::Stdio;
use std::time::Duration;

use agentrun_tests::client::installed;
use agentrun_tests::origin::Options;
use agentrun_tests::stage::Stage;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::ChildStdout;

/// Long enough for a loaded machine to start Python; a frame that is held back never comes at all.
const PATIENCE: Duration = Duration::from_secs(60);

async fn next(lines: &mut Lines<BufReader<ChildStdout>>, awaited: &str) -> String {
    let line = tokio::time::timeout(PATIENCE, lines.next_line()).await;
    let line = line.unwrap_or_else(|_| panic!("{awaited} was sent and is held back"));
    line.expect("a pipe can be read").unwrap_or_else(|| panic!("the client ended before {awaited}"))
}

async fn frame_by_frame(http2: bool) {
    let stage = Stage::with(&["api.openai.com"], Options { http2, ..Options::default() }).await;
    let agent = concat!(env!("CARGO_MANIFEST_DIR"), "/agents/frames.py");
    let command = [installed("python-direct").join("bin/python").display().to_string(), agent.to_owned()];
    let mut exec = stage.exec(&[], &command);
    let mut child = exec.env("GATE", "frames").stdout(Stdio::piped()).spawn().expect("agentrun starts");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();

    let release = || stage.origin().log().release("frames", 1);
    release();
    assert_eq!(next(&mut lines, "the first frame").await, "'' None");
    let mut text = String::new();
    for piece in ["Grüße ", "from ", "the ", "origin ", "🦀: ", "answer ", "1"] {
        release();
        assert_eq!(next(&mut lines, piece).await, format!("{piece:?} None").replace('"', "'"));
        text.push_str(piece);
    }
    release();
    assert_eq!(next(&mut lines, "the last choice").await, "'' stop");
    // The usage chunk, which this client did not ask for, and the end.
    stage.origin().log().release("frames", 2);
    assert_eq!(next(&mut lines, "the end").await, "end");
    assert!(child.wait().await.expect("agentrun can be waited for").success());

    let records = stage.calls(&[]).await;
    assert_eq!(records.len(), 1);
    assert_eq!(records[0]["response_body"]["choices"][0]["message"]["content"], text);
    assert_eq!(records[0]["prompt_tokens"], 21);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn over_http1() {
    frame_by_frame(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn over_http2() {
    frame_by_frame(true).await;
}
