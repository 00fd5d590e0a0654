//! The wrapper's flags. What comes after `--` is the command, as it is.

use std::{
    ffi::{OsStr, OsString},
    net::{Ipv4Addr, SocketAddr},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::Duration,
};

use agentrun_protocol::{
    names::{ADMIN_PORT, EXCHANGE_DIR, EXIT_FILE, TRIAL_ENV_FILE},
    pod::{TIMEOUT, WRAP_SCORE, WRAP_STDIN, WRAP_STDOUT},
};

/// What to write.
pub(crate) const USAGE: &str = "usage: agentrun-wrap [--stdin=FILE] [--stdout=FILE] [--timeout=SECONDS] [--trial=FILE] [--exit=FILE] \
                                [--sidecar=IP:PORT] [--score=SOCKET] -- COMMAND [ARGUMENT]...";

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Args {
    /// The file that is the command's standard input.
    pub(crate) stdin: Option<PathBuf>,
    /// The file that standard output is copied to.
    pub(crate) stdout: Option<PathBuf>,
    /// How long the command may take.
    pub(crate) timeout: Option<Duration>,
    /// The trial's variables.
    pub(crate) trial: PathBuf,
    /// The pod's sidecar's admin port, which says whether it is there.
    pub(crate) sidecar: SocketAddr,
    /// Where the command's end is told.
    pub(crate) exit: PathBuf,
    /// The socket that is the command's standard input and output.
    pub(crate) score: Option<PathBuf>,
    /// The command and its arguments; never empty.
    pub(crate) command: Vec<OsString>,
}

impl Args {
    /// Reads the arguments, the program's name left out.
    ///
    /// # Errors
    /// One sentence.
    pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, String> {
        let exchange = Path::new(EXCHANGE_DIR);
        let mut args = Self {
            stdin: None,
            stdout: None,
            timeout: None,
            trial: exchange.join(TRIAL_ENV_FILE),
            sidecar: SocketAddr::from((Ipv4Addr::LOCALHOST, ADMIN_PORT)),
            exit: exchange.join(EXIT_FILE),
            score: None,
            command: Vec::new(),
        };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            if argument == "--" {
                args.command = arguments.collect();
                break;
            }
            let (name, value) = split(&argument);
            if !name.as_bytes().starts_with(b"--") {
                return Err(format!("`{}` is no flag: write -- before the command", argument.display()));
            }
            let value = match value {
                Some(value) => value.to_owned(),
                None => arguments.next().filter(|value| value != "--").ok_or_else(|| format!("{} needs a value", name.display()))?,
            };
            args.set(name, value)?;
        }
        match args.command.first() {
            Some(program) if !program.is_empty() => Ok(args),
            _ => Err("there is no command".to_owned()),
        }
    }

    fn set(&mut self, name: &OsStr, value: OsString) -> Result<(), String> {
        let path = || PathBuf::from(&value);
        match name.to_str() {
            Some(WRAP_STDIN) => self.stdin = Some(path()),
            Some(WRAP_STDOUT) => self.stdout = Some(path()),
            Some(WRAP_SCORE) => self.score = Some(path()),
            Some("--trial") => self.trial = path(),
            Some("--exit") => self.exit = path(),
            Some("--sidecar") => {
                let address = value.to_str().and_then(|text| text.parse().ok());
                self.sidecar = address.ok_or_else(|| "--sidecar needs IP:PORT".to_owned())?;
            }
            Some(TIMEOUT) => {
                let seconds = value.to_str().and_then(|text| text.parse().ok()).filter(|seconds| *seconds > 0);
                self.timeout = Some(Duration::from_secs(seconds.ok_or_else(|| format!("{TIMEOUT} needs a number of seconds"))?));
            }
            _ => return Err(format!("there is no flag {}", name.display())),
        }
        Ok(())
    }
}

/// `--name=value` or `--name`.
fn split(argument: &OsStr) -> (&OsStr, Option<&OsStr>) {
    let bytes = argument.as_bytes();
    match bytes.iter().position(|byte| *byte == b'=') {
        Some(at) => (OsStr::from_bytes(&bytes[..at]), Some(OsStr::from_bytes(&bytes[at + 1..]))),
        None => (argument, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, String> {
        Args::parse(line.split(' ').map(OsString::from))
    }

    #[test]
    fn flags_come_before_and_the_command_after() {
        let args = parse("--stdin=/a=b --stdout /c --timeout=60 -- sh -c x --stdin=y --").unwrap();
        assert_eq!((args.stdin.unwrap(), args.stdout.unwrap()), (PathBuf::from("/a=b"), PathBuf::from("/c")));
        assert_eq!(args.timeout, Some(Duration::from_secs(60)));
        assert_eq!(args.command, ["sh", "-c", "x", "--stdin=y", "--"]);
        assert_eq!((args.trial, args.exit), (PathBuf::from("/agentrun/trial.env"), PathBuf::from("/agentrun/exit")));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (line, part) in [
            ("", "is no flag"),
            ("--", "no command"),
            ("-- ", "no command"),
            ("--stdin -- sh", "--stdin needs a value"),
            ("--stdin", "--stdin needs a value"),
            ("--odd=1 -- sh", "no flag --odd"),
            ("--stdin=a", "no command"),
            ("sh -c x", "`sh` is no flag"),
            ("--stdin=a sh -- x", "`sh` is no flag"),
            ("--timeout=0 -- sh", "number of seconds"),
            ("--timeout=1.5 -- sh", "number of seconds"),
            ("--timeout=99999999999999999999 -- sh", "number of seconds"),
        ] {
            let problem = parse(line).unwrap_err();
            assert!(problem.contains(part), "{line:?}: {problem}");
        }
    }
}
