//! What the wrapper reads of its trial, and what it leaves.

use std::{
    ffi::OsString,
    fs::{self, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::{
        ffi::OsStringExt,
        fs::{OpenOptionsExt, PermissionsExt},
    },
    path::Path,
    time::Duration,
};

/// The trial's variables: each `NAME=VALUE` and ended by a NUL byte.
pub(crate) fn variables(path: &Path) -> io::Result<Vec<(OsString, OsString)>> {
    let bytes = fs::read(path)?;
    let mut variables = Vec::new();
    for variable in bytes.split(|byte| *byte == 0).filter(|variable| !variable.is_empty()) {
        let at = variable.iter().position(|byte| *byte == b'=').filter(|at| *at > 0);
        let at = at.ok_or_else(|| io::Error::other("it holds something that is no NAME=VALUE"))?;
        variables.push((OsString::from_vec(variable[..at].to_vec()), OsString::from_vec(variable[at + 1..].to_vec())));
    }
    Ok(variables)
}

/// Leaves how the command ended, whole at once, for the sidecar to read as another user.
pub(crate) fn tell_exit(path: &Path, code: u8, took: Duration) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.new"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&beside)?;
    file.set_permissions(Permissions::from_mode(0o644))?;
    writeln!(file, "{code} {:.3}", took.as_secs_f64())?;
    drop(file);
    fs::rename(&beside, path)
}

/// Lets the sidecar, another user, read an output that the command wrote for itself alone.
pub(crate) fn open_to_all(output: &Path) {
    let readable = fs::symlink_metadata(output).ok().filter(fs::Metadata::is_file).map(|metadata| metadata.permissions().mode() | 0o444);
    if let Some(mode) = readable {
        // Where that is not ours to do, it is the sidecar that says so.
        fs::set_permissions(output, Permissions::from_mode(mode)).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_may_hold_anything_but_nul() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trial.env");
        fs::write(&path, b"A=1\0B=two\nlines=\xff\0C=\0").unwrap();
        let pair = |name: &str, value: &[u8]| (OsString::from(name), OsString::from_vec(value.to_vec()));
        assert_eq!(variables(&path).unwrap(), [pair("A", b"1"), pair("B", b"two\nlines=\xff"), pair("C", b"")]);
        for odd in ["A", "=1\0", "A=1\0B"] {
            fs::write(&path, odd).unwrap();
            assert!(variables(&path).is_err(), "{odd}");
        }
    }
}
