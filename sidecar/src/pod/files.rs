//! Files for users that are not ours: written whole under their final name, with the mode they are to have.

use std::{
    fs::{self, DirBuilder, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// Makes a file with `mode` in one step, over one that was there: whoever sees it sees all of it. What lies in wait under the name it is first
/// written to is removed and never followed.
pub(super) fn write(path: &Path, mode: u32, write: impl FnOnce(&mut fs::File) -> io::Result<()>) -> io::Result<()> {
    let beside = beside(path)?;
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    let written = write(&mut file).and_then(|()| file.set_permissions(Permissions::from_mode(mode))).and_then(|()| {
        drop(file);
        fs::rename(&beside, path)
    });
    if written.is_err() {
        fs::remove_file(&beside).ok();
    }
    written
}

/// Writes `bytes` for everyone to read.
pub(super) fn write_bytes(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write(path, 0o444, |file| file.write_all(bytes))
}

/// Copies a program for everyone to run.
pub(super) fn copy_program(from: &Path, to: &Path) -> io::Result<()> {
    let mut program = fs::File::open(from)?;
    write(to, 0o555, |file| io::copy(&mut program, file).map(drop))
}

/// Makes the folders from `base` to `folder` that are not there, for everyone to write in.
pub(super) fn make_folder(base: &Path, folder: &Path) -> io::Result<()> {
    if folder == base || folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent().filter(|parent| parent.starts_with(base)) {
        make_folder(base, parent)?;
    }
    DirBuilder::new().mode(0o777).create(folder)?;
    // The mode above is less what this process's mask takes away.
    fs::set_permissions(folder, Permissions::from_mode(0o777))
}

fn beside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| io::Error::other("it names no file"))?;
    Ok(path.with_file_name(format!(".{}.new", name.to_string_lossy())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_file_is_replaced_whole_and_a_link_in_its_way_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, victim) = (folder.path().join("input"), folder.path().join("victim"));
        fs::write(&victim, "mine").unwrap();
        std::os::unix::fs::symlink(&victim, folder.path().join(".input.new")).unwrap();
        std::os::unix::fs::symlink(&victim, &path).unwrap();
        for text in ["first", "second"] {
            write_bytes(&path, text.as_bytes()).unwrap();
            assert_eq!((fs::read_to_string(&path).unwrap().as_str(), mode(&path)), (text, 0o444));
        }
        assert_eq!(fs::read_to_string(&victim).unwrap(), "mine");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn folders_and_programs_are_for_everyone() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join(".output/a");
        make_folder(folder.path(), &deep).unwrap();
        make_folder(folder.path(), &deep).unwrap();
        assert_eq!((mode(&deep), mode(deep.parent().unwrap())), (0o777, 0o777));
        copy_program(&std::env::current_exe().unwrap(), &deep.join("program")).unwrap();
        assert_eq!(mode(&deep.join("program")), 0o555);
        assert!(copy_program(Path::new("/nowhere/program"), &deep.join("program")).is_err());
    }
}
