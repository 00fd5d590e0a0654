//! The pod's sidecar, as its neighbour sees it.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use agentrun_protocol::names::{RESTARTED_FILE, STARTUP_PATH};

/// For a sidecar that died to be started again: the kubelet waits 10 s before the second time.
const FOR_RETURN: Duration = Duration::from_secs(30);
/// For one answer.
const FOR_ANSWER: Duration = Duration::from_secs(1);

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

fn is_ready(admin: SocketAddr) -> bool {
    let ask = || -> io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&admin, FOR_ANSWER)?;
        stream.set_read_timeout(Some(FOR_ANSWER))?;
        // In one piece: what is read in pieces may be answered before it is whole.
        let request = format!("GET {STARTUP_PATH} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok(status.ends_with(b" 200"))
    };
    ask().unwrap_or(false)
}
