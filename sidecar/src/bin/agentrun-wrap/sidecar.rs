//! The pod's sidecar, as its neighbour sees it.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use agentrun_protocol::names::{RESTARTED_FILE, SCORED_PATH, STARTUP_PATH};

/// For a sidecar that died to be started again: the kubelet waits 10 s before the second time.
const FOR_RETURN: Duration = Duration::from_secs(30);
/// For one answer.
const FOR_ANSWER: Duration = Duration::from_secs(1);
/// The most bytes of an answer.
const ANSWER_BYTES: u64 = 16 << 10;

/// Whether the trial must be tried again, as its sidecar died. A failed command is not to blame then: what it was given to trust is worth nothing. One
/// that ended well is held until a sidecar is there to take its output, which none would be once the pod's containers have ended.
pub(crate) fn is_lost(code: u8, trial: &Path, admin: SocketAddr) -> bool {
    if code != 0 {
        return trial.with_file_name(RESTARTED_FILE).exists() || !is_ready(admin);
    }
    let began = Instant::now();
    while !is_ready(admin) {
        if began.elapsed() > FOR_RETURN {
            return true;
        }
        thread::sleep(Duration::from_millis(100));
    }
    false
}

/// What became of a scoring command's answers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Scores {
    /// The hub has them all.
    Kept,
    /// One was of no use, or never came: a sentence.
    Refused(String),
    /// Some are missing: a sentence.
    Unanswered(String),
    /// The sidecar that heard them is gone.
    Lost,
}

/// Waits until the sidecar knows what became of the scores of a command that has ended. A hub that is away is waited for as long as the sidecar waits.
pub(crate) fn scores(admin: SocketAddr) -> Scores {
    let mut silent_since = Instant::now();
    loop {
        match ask(admin, SCORED_PATH) {
            Ok((200, _)) => return Scores::Kept,
            Ok((202, _)) => silent_since = Instant::now(),
            Ok((409, problem)) => return Scores::Unanswered(problem),
            Ok((408 | 422, problem)) => return Scores::Refused(problem),
            Ok(_) => return Scores::Lost,
            Err(_) if silent_since.elapsed() > FOR_RETURN => return Scores::Lost,
            Err(_) => {}
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// Whether the sidecar waits no more for the answers of a command that still runs.
pub(crate) fn is_given_up(admin: SocketAddr) -> bool {
    matches!(ask(admin, SCORED_PATH), Ok((408, _)))
}

fn is_ready(admin: SocketAddr) -> bool {
    ask(admin, STARTUP_PATH).is_ok_and(|(status, _)| status == 200)
}

/// Asks the sidecar: the status and the body.
fn ask(admin: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&admin, FOR_ANSWER)?;
    stream.set_read_timeout(Some(FOR_ANSWER))?;
    // In one piece: what is read in pieces may be answered before it is whole.
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    match stream.take(ANSWER_BYTES).read_to_end(&mut answer) {
        Err(error) if answer.is_empty() => return Err(error),
        _ => {}
    }
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| io::Error::other("the sidecar's answer has no status"))?;
    Ok((status, answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).trim().to_owned()))
}
