//! The command's standard output on its way to the container's log, and a copy of it on its way to the output file.

use std::{
    fs::{File, OpenOptions, Permissions},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

/// What is copied: the most that an output may hold, and one byte that shows that there was more.
const LIMIT: usize = (1 << 20) + 1;
/// What the command left running may hold its output open for ever. After its end nothing is waited for that does not come within this time.
const QUIET: Duration = Duration::from_millis(250);
/// What it left running may also go on printing for ever: what the command itself had printed is copied well within this time.
const REST: Duration = Duration::from_secs(2);

/// A copy in progress.
pub(crate) struct Copy {
    /// Something for each part that was copied; closed at the end.
    parts: Receiver<()>,
}

/// Makes the output file, for everyone to read.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(path)?;
    file.set_permissions(Permissions::from_mode(0o644))?;
    Ok(file)
}

impl Copy {
    /// Copies `from` to the log and to `output`, on a thread.
    pub(crate) fn start(from: impl Read + Send + 'static, output: File) -> Self {
        let (copied, parts) = channel();
        thread::spawn(move || {
            let problem = copy(from, io::stdout(), output, || copied.send(()).is_ok());
            if let Err(error) = problem {
                crate::say(&format!("cannot copy the command's output: {error}"));
            }
        });
        Self { parts }
    }

    /// Waits for the rest of the output of a command that has ended.
    pub(crate) fn finish(&self) {
        let end = Instant::now() + REST;
        while self.parts.recv_timeout(QUIET).is_ok() && Instant::now() < end {}
    }
}

fn copy(mut from: impl Read, mut log: impl Write, mut output: File, mut go_on: impl FnMut() -> bool) -> io::Result<()> {
    let mut part = [0; 64 << 10];
    let mut left = LIMIT;
    let mut problem = Ok(());
    loop {
        let length = match from.read(&mut part) {
            Ok(0) => return problem,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let part = &part[..length];
        let taken = length.min(left);
        if taken > 0 && problem.is_ok() {
            problem = output.write_all(&part[..taken]);
            left -= taken;
        }
        // A log that nobody reads is no reason to lose the output.
        log.write_all(part).and_then(|()| log.flush()).ok();
        if !go_on() {
            return problem;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_gets_all_and_the_file_one_byte_more_than_it_may() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("output");
        let text = vec![b'x'; 3 << 20];
        let mut log = Vec::new();
        copy(&text[..], &mut log, create(&path).unwrap(), || true).unwrap();
        assert_eq!((log.len(), std::fs::metadata(&path).unwrap().len()), (3 << 20, (1 << 20) + 1));
    }

    #[test]
    fn a_log_that_nobody_reads_costs_no_output() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("output");
        copy(&b"forty-two"[..], Closed, create(&path).unwrap(), || true).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "forty-two");
    }
}
