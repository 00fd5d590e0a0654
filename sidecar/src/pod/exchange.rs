//! What goes to the agent of a trial, and what comes back: files in the volume that both see.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use agentrun_protocol::{
    names::{EXIT_FILE, RESTARTED_FILE, TRIAL_ENV_FILE, TRIAL_FILE},
    trial::{Assignment, Handover, Output},
};
use nix::libc::{O_NOFOLLOW, O_NONBLOCK};
use thiserror::Error;

use super::files;

/// The most bytes of a variable: Linux's limit of one.
const VARIABLE_BYTES: usize = 128 << 10;
/// The most bytes of the exit file that are looked at.
const EXIT_BYTES: u64 = 64;

/// Why an input cannot be handed over.
#[derive(Debug, Error)]
pub enum ExchangeError {
    /// A file or folder cannot be made.
    #[error("write {path} for the agent")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The hub says that there is no input.
    #[error("hand the input over: the hub has none for this pod; is it a trial of a registered run?")]
    NoInput,
    /// The input fits into no variable.
    #[error("hand the input over in the variable {name}: {reason}; use spec.agent.input.file")]
    Variable {
        /// The variable.
        name: String,
        /// Why.
        reason: String,
    },
}

/// The files of one trial, as the sidecar sees them.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    pub(super) folder: PathBuf,
    pub(super) input: Option<PathBuf>,
    pub(super) input_env: Option<String>,
    pub(super) output: Option<PathBuf>,
}

/// What the agent left.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Collected {
    pub(super) output: Output,
    pub(super) bytes: Vec<u8>,
    /// One sentence where there is no output to take.
    pub(super) problem: Option<String>,
    /// What the file was when it was read.
    pub(super) stamp: Option<Stamp>,
}

/// Tells a file from itself after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

/// How the agent's command ended, as its wrapper saw.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Exit {
    pub(super) code: i32,
    pub(super) seconds: f64,
}

impl Exchange {
    /// Writes the input and the trial's variables.
    pub(super) fn hand_over(&self, assignment: &Assignment) -> Result<(), ExchangeError> {
        let mut handover = Handover::default();
        if let Some(data_id) = &assignment.data_id {
            handover.env.insert("AGENTRUN_DATA_ID".to_owned(), data_id.clone());
        }
        handover.env.insert("AGENTRUN_SAMPLE".to_owned(), assignment.sample.to_string());
        if let Some(path) = &self.input {
            let input = assignment.input.as_ref().ok_or(ExchangeError::NoInput)?;
            self.make_folder(path)?;
            written(path, files::write_bytes(path, input.as_bytes()))?;
        }
        if let Some(name) = &self.input_env {
            let input = assignment.input.as_ref().ok_or(ExchangeError::NoInput)?;
            handover.env.insert(name.clone(), input.clone());
        }
        if let Some(path) = &self.output {
            self.make_folder(path)?;
        }
        let (trial, variables) = (self.folder.join(TRIAL_FILE), self.folder.join(TRIAL_ENV_FILE));
        let json = serde_json::to_vec_pretty(&handover).map_err(io::Error::other);
        written(&trial, json.and_then(|json| files::write_bytes(&trial, &json)))?;
        written(&variables, files::write_bytes(&variables, &lines(&handover)?))
    }

    /// Leaves word that the sidecar has been started again.
    pub(super) fn tell_restart(&self) -> Result<(), ExchangeError> {
        let path = self.folder.join(RESTARTED_FILE);
        written(&path, files::write_bytes(&path, b""))
    }

    fn make_folder(&self, path: &Path) -> Result<(), ExchangeError> {
        let folder = path.parent().unwrap_or(&self.folder);
        written(folder, files::make_folder(&self.folder, folder))
    }

    /// The output's stamp; none where there is no file.
    pub(super) fn stamp(&self) -> Option<Stamp> {
        Some(stamp(&fs::symlink_metadata(self.output.as_ref()?).ok()?))
    }

    /// Reads what the agent left: a plain file of at most `limit` bytes of text.
    pub(super) fn collect(&self, limit: u64) -> Collected {
        let none = |output, problem: String| Collected { output, bytes: Vec::new(), problem: Some(problem), stamp: None };
        let Some(path) = &self.output else { return none(Output::Missing, "no output is collected from this pod".to_owned()) };
        let (bytes, stamp) = match read(path, limit) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return none(Output::Missing, "the agent wrote no output file (AGENTRUN_OUTPUT_FILE names it)".to_owned());
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return none(
                    Output::Missing,
                    "the output file cannot be read by other users: let the agent create it with umask 022".to_owned(),
                );
            }
            Err(error) => return none(Output::Missing, format!("the output file cannot be read: {error}")),
        };
        if bytes.len() as u64 > limit {
            return none(Output::TooLarge, format!("the output is longer than {limit} bytes"));
        }
        match std::str::from_utf8(&bytes) {
            Ok(_) => Collected { output: Output::Present, bytes, problem: None, stamp: Some(stamp) },
            Err(error) => none(Output::NotText, format!("byte {} of the output is not UTF-8", error.valid_up_to())),
        }
    }

    /// How the agent's command ended; none while it runs, or where it is not wrapped.
    pub(super) fn exit(&self) -> Option<Exit> {
        let (bytes, _) = read(&self.folder.join(EXIT_FILE), EXIT_BYTES).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let mut words = text.split_whitespace();
        let exit = Exit { code: words.next()?.parse().ok()?, seconds: words.next()?.parse().ok()? };
        (exit.seconds.is_finite() && exit.seconds >= 0.0).then_some(exit)
    }

    /// When the agent first read its input, where it did: a file's time of access is set by the first look at it after it was written.
    pub(super) fn first_look(&self) -> Option<SystemTime> {
        let input = fs::symlink_metadata(self.input.as_ref()?).ok()?;
        input.accessed().ok().filter(|accessed| input.modified().is_ok_and(|written| *accessed > written))
    }

    /// When the output was last written.
    pub(super) fn last_write(&self) -> Option<SystemTime> {
        fs::symlink_metadata(self.output.as_ref()?).ok()?.modified().ok()
    }
}

/// From one time to another, as far as clocks go.
pub(super) fn between(from: SystemTime, to: SystemTime) -> Duration {
    to.duration_since(from).unwrap_or_default()
}

fn written(path: &Path, result: io::Result<()>) -> Result<(), ExchangeError> {
    result.map_err(|source| ExchangeError::Write { path: path.to_owned(), source })
}

/// The variables as the wrapper reads them.
fn lines(handover: &Handover) -> Result<Vec<u8>, ExchangeError> {
    let mut lines = Vec::new();
    for (name, value) in &handover.env {
        let unfit = |reason: String| ExchangeError::Variable { name: name.clone(), reason };
        if value.contains('\0') || name.contains(['\0', '=']) {
            return Err(unfit("it holds a NUL character, which no variable can".to_owned()));
        }
        let bytes = name.len() + 2 + value.len();
        if bytes > VARIABLE_BYTES {
            return Err(unfit(format!("it is {bytes} bytes with its name, and a variable holds {VARIABLE_BYTES}")));
        }
        lines.extend_from_slice(name.as_bytes());
        lines.push(b'=');
        lines.extend_from_slice(value.as_bytes());
        lines.push(0);
    }
    Ok(lines)
}

/// Reads at most one byte more than `limit`, whatever the file claims to be. The agent may have made it anything, a link to our token too.
fn read(path: &Path, limit: u64) -> io::Result<(Vec<u8>, Stamp)> {
    if !fs::symlink_metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a plain file"));
    }
    // Between the two looks it could have become a link or a FIFO.
    let file: File = OpenOptions::new().read(true).custom_flags(O_NOFOLLOW | O_NONBLOCK).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a plain file"));
    }
    let mut bytes = Vec::new();
    (&file).take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok((bytes, stamp(&metadata)))
}

fn stamp(metadata: &fs::Metadata) -> Stamp {
    Stamp { inode: metadata.ino(), bytes: metadata.size(), changed: (metadata.ctime(), metadata.ctime_nsec()) }
}

#[cfg(test)]
mod tests;
