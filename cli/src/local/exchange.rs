//! What goes into an agent and what comes out of it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use agentrun_eval::trial::{Failure, FailureReason};

/// The most bytes of an output.
pub(crate) const OUTPUT_BYTES: usize = 1 << 20;
/// The most bytes of an input that is given in an environment variable: Linux's limit of one, less its name.
pub(crate) const ENV_INPUT_BYTES: usize = 128 << 10;

/// Why an input cannot be given in an environment variable.
pub(crate) fn unfit_for_environment(name: &str, input: &str) -> Option<String> {
    if input.contains('\0') {
        return Some("holds a NUL character, which an environment variable cannot: use spec.agent.input.file or stdin".to_owned());
    }
    let length = name.len() + 2 + input.len();
    let limit = ENV_INPUT_BYTES;
    (length > limit)
        .then(|| format!("is {length} bytes with its name, and an environment variable holds {limit}: use spec.agent.input.file"))
}

/// Reads the output that an agent left in a file.
///
/// # Errors
/// What the agent did wrong: no file, no plain file, too much, not UTF-8.
pub(crate) fn read_output(path: &Path) -> Result<String, Failure> {
    match read_file(path) {
        Ok(bytes) => text(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(failure(FailureReason::NoOutput, "the agent wrote no output file (AGENTRUN_OUTPUT_FILE names it)".to_owned()))
        }
        Err(error) => Err(failure(FailureReason::NoOutput, format!("the output file cannot be read: {error}"))),
    }
}

/// Takes what an agent wrote to stdout.
///
/// # Errors
/// Too much, or not UTF-8.
pub(crate) fn text(bytes: Vec<u8>) -> Result<String, Failure> {
    if bytes.len() > OUTPUT_BYTES {
        return Err(too_large());
    }
    String::from_utf8(bytes).map_err(|error| {
        let position = error.utf8_error().valid_up_to();
        failure(FailureReason::OutputNotText, format!("byte {position} of the output is not UTF-8"))
    })
}

/// The failure of an agent that wrote more than an output may hold.
pub(crate) fn too_large() -> Failure {
    failure(FailureReason::OutputTooLarge, format!("the output is longer than {} MiB", OUTPUT_BYTES >> 20))
}

/// At most one byte more than is allowed is read, whatever the file claims to be.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::symlink_metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a plain file"));
    }
    // Between the two looks the file could have become a FIFO: without NONBLOCK opening it would wait for ever.
    let file: File = OpenOptions::new().read(true).custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK).open(path)?;
    let mut bytes = Vec::new();
    file.take(OUTPUT_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn failure(reason: FailureReason, message: String) -> Failure {
    Failure { reason, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(path: &Path) -> FailureReason {
        read_output(path).unwrap_err().reason
    }

    #[test]
    fn an_output_is_a_plain_file_of_bounded_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("output");
        assert_eq!(reason(&path), FailureReason::NoOutput);
        fs::write(&path, "vierzig\n").unwrap();
        assert_eq!(read_output(&path).unwrap(), "vierzig\n");
        fs::write(&path, "x".repeat(OUTPUT_BYTES)).unwrap();
        assert_eq!(read_output(&path).unwrap().len(), OUTPUT_BYTES);
        fs::write(&path, "x".repeat(OUTPUT_BYTES + 1)).unwrap();
        assert_eq!(reason(&path), FailureReason::OutputTooLarge);
        fs::write(&path, b"ab\xff").unwrap();
        assert!(read_output(&path).unwrap_err().message.contains("byte 2 "));
        File::create(&path).unwrap().set_len(1 << 30).unwrap();
        assert_eq!(reason(&path), FailureReason::OutputTooLarge);
    }

    #[test]
    fn what_is_no_plain_file_is_never_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("output");
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        assert_eq!(reason(&path), FailureReason::NoOutput);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(reason(&path), FailureReason::NoOutput);
        fs::remove_dir(&path).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        assert_eq!(reason(&path), FailureReason::NoOutput);
    }

    #[test]
    fn an_environment_variable_holds_no_nul_and_not_everything() {
        assert_eq!(unfit_for_environment("QUESTION", "2 + 2"), None);
        assert!(unfit_for_environment("QUESTION", "2\0").is_some());
        assert!(unfit_for_environment("QUESTION", &"x".repeat(ENV_INPUT_BYTES)).is_some());
    }
}
