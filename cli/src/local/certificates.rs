//! The files that agents trust, in a folder of this process.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::settings::{State, make_private};

/// A folder with our authority's certificate and the bundle; it goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    /// Writes the files. Folders of processes that are gone are removed by the way.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub(crate) fn write(state: &State, authority: &str, bundle: &str) -> io::Result<Self> {
        let certificates = Self { folder: state.certificates() };
        if let Some(parent) = certificates.folder.parent() {
            remove_abandoned(parent);
        }
        make_private(&certificates.folder)?;
        fs::write(certificates.authority(), authority)?;
        fs::write(certificates.bundle(), bundle)?;
        Ok(certificates)
    }

    /// Our authority's certificate.
    pub(crate) fn authority(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// The public roots and ours.
    pub(crate) fn bundle(&self) -> PathBuf {
        self.folder.join("bundle.pem")
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        // A folder that stays is removed by the next process.
        drop(fs::remove_dir_all(&self.folder));
    }
}

fn remove_abandoned(parent: &Path) {
    let entries = fs::read_dir(parent).into_iter().flatten().filter_map(Result::ok);
    for entry in entries {
        let pid: Option<i32> = entry.file_name().to_str().and_then(|name| name.parse().ok());
        // EPERM is a living process of somebody else.
        if pid.is_some_and(|pid| nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None) == Err(nix::errno::Errno::ESRCH)) {
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}
