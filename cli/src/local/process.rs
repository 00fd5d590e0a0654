//! One command as a process group of its own: bounded in time and in what is kept of its output, with nothing left behind.

#[cfg(test)]
mod tests;

use std::{
    ffi::OsString,
    io,
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::{Child, Command},
    sync::Notify,
    task::JoinHandle,
    time,
};

use super::stop::Stop;

/// From SIGTERM to SIGKILL.
const GRACE: Duration = Duration::from_secs(5);
/// How long output is awaited after the group has been killed: only a process that left the group can still hold the pipe.
const PIPE_PATIENCE: Duration = Duration::from_secs(1);
/// Bytes kept of the end of what is not the output.
pub(crate) const TAIL_BYTES: usize = 8 << 10;

/// What to run.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    /// The program, then its arguments.
    pub(crate) command: Vec<OsString>,
    /// Where it runs.
    pub(crate) folder: PathBuf,
    /// Its whole environment.
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// What it reads on stdin; `None` is an empty stdin.
    pub(crate) input: Option<Vec<u8>>,
    /// How long it may take.
    pub(crate) timeout: Duration,
    /// What is kept of stdout.
    pub(crate) stdout: Keep,
}

/// What is kept of a stream; the rest is read and dropped, so that the writer never waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// The last bytes.
    Tail(usize),
    /// All of it; one byte more ends the process.
    Whole(usize),
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It exited with this code.
    Exit(i32),
    /// It died of this signal, which was not ours.
    Signal(i32),
    /// It ran out of time.
    TimedOut,
    /// It wrote more than [`Keep::Whole`] allows.
    TooMuchOutput,
    /// A stop was asked for.
    Stopped,
}

/// What became of a [`Task`].
#[derive(Debug)]
pub(crate) struct Ended {
    /// How.
    pub(crate) end: End,
    /// From start to end of the process itself.
    pub(crate) wall: Duration,
    /// What was kept.
    pub(crate) stdout: Vec<u8>,
    /// The last [`TAIL_BYTES`].
    pub(crate) stderr: Vec<u8>,
}

/// A process could not be started.
#[derive(Debug, thiserror::Error)]
#[error("starting `{}`", program.to_string_lossy())]
pub(crate) struct SpawnError {
    program: OsString,
    source: io::Error,
}

/// Runs a task to its end. When this returns, or is dropped, no process of its group is alive.
///
/// # Errors
/// The program cannot be started.
pub(crate) async fn run(task: &Task, stop: &Stop) -> Result<Ended, SpawnError> {
    let mut child = spawn(task)?;
    let started = Instant::now();
    let group = Group::of(&child);
    let overflow = Arc::new(Notify::new());
    let stdout = child.stdout.take().map(|pipe| Reading::start(pipe, task.stdout, Some(overflow.clone())));
    let stderr = child.stderr.take().map(|pipe| Reading::start(pipe, Keep::Tail(TAIL_BYTES), None));
    let writing = child.stdin.take().zip(task.input.clone()).map(|(mut pipe, input)| {
        // A process that does not read its input breaks the pipe; that is its own affair.
        tokio::spawn(async move { pipe.write_all(&input).await })
    });
    let mut end = tokio::select! {
        biased;
        status = child.wait() => ended(status),
        () = overflow.notified() => End::TooMuchOutput,
        () = stop.asked() => End::Stopped,
        () = time::sleep(task.timeout) => End::TimedOut,
    };
    let wall = started.elapsed();
    if !matches!(end, End::Exit(_) | End::Signal(_)) {
        group.end(&mut child, stop).await;
    }
    group.kill();
    if let Some(writing) = writing {
        writing.abort();
    }
    let (stdout, stderr) = (finish(stdout).await, finish(stderr).await);
    if let (End::Exit(_), Keep::Whole(limit)) = (end, task.stdout)
        && stdout.len() > limit
    {
        end = End::TooMuchOutput;
    }
    Ok(Ended { end, wall, stdout, stderr })
}

fn spawn(task: &Task) -> Result<Child, SpawnError> {
    let program = task.command.first().cloned().unwrap_or_default();
    let mut command = Command::new(&program);
    command
        .args(task.command.iter().skip(1))
        .current_dir(&task.folder)
        .env_clear()
        .envs(task.environment.iter().map(|(name, value)| (name, value)))
        .stdin(if task.input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    command.spawn().map_err(|source| SpawnError { program, source })
}

fn ended(status: io::Result<ExitStatus>) -> End {
    match status {
        Ok(status) => status.code().map_or_else(|| End::Signal(status.signal().unwrap_or_default()), End::Exit),
        // Waiting fails only where somebody else has reaped the child: nothing is known but that it is gone.
        Err(_) => End::Signal(0),
    }
}

/// A process group that is killed when it is dropped.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw))
    }

    /// SIGTERM, time to clean up, SIGKILL.
    async fn end(&self, child: &mut Child, stop: &Stop) {
        self.signal(Signal::SIGTERM);
        tokio::select! {
            _ = child.wait() => {}
            () = time::sleep(GRACE) => {}
            () = stop.hurried() => {}
        }
        self.kill();
        // SIGKILL cannot be refused; the wait is for the zombie alone.
        drop(child.wait().await);
    }

    fn kill(&self) {
        self.signal(Signal::SIGKILL);
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.0 {
            // ESRCH: nobody is left, which is what is wanted.
            let _ = killpg(group, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A stream being read.
struct Reading {
    kept: Arc<Mutex<Vec<u8>>>,
    task: JoinHandle<()>,
}

impl Reading {
    fn start(pipe: impl AsyncRead + Unpin + Send + 'static, keep: Keep, overflow: Option<Arc<Notify>>) -> Self {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn(read(pipe, keep, kept.clone(), overflow));
        Self { kept, task }
    }
}

async fn read(mut pipe: impl AsyncRead + Unpin, keep: Keep, kept: Arc<Mutex<Vec<u8>>>, overflow: Option<Arc<Notify>>) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(length @ 1..) = pipe.read(&mut buffer).await {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        match keep {
            Keep::Tail(limit) => {
                kept.extend_from_slice(&buffer[..length]);
                // Twice the limit may gather, so that a flood is not moved along byte by byte.
                if kept.len() > 2 * limit {
                    let surplus = kept.len() - limit;
                    kept.drain(..surplus);
                }
            }
            Keep::Whole(limit) => {
                let room = (limit + 1).saturating_sub(kept.len()).min(length);
                kept.extend_from_slice(&buffer[..room]);
                if kept.len() > limit
                    && let Some(overflow) = &overflow
                {
                    overflow.notify_one();
                }
            }
        }
    }
}

async fn finish(reading: Option<Reading>) -> Vec<u8> {
    let Some(Reading { kept, mut task }) = reading else {
        return Vec::new();
    };
    if time::timeout(PIPE_PATIENCE, &mut task).await.is_err() {
        task.abort();
    }
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    std::mem::take(&mut *kept)
}

/// The last line that says something, at most 300 characters of it: what people look for in a failed process's stderr.
pub(crate) fn last_words(stderr: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(stderr);
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
    let line: String = line.chars().filter(|character| !character.is_control()).take(300).collect();
    Some(line)
}
