//! Where things are on this machine.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

/// What `.agentrun/` holds, or its simulated twin inside it: nothing simulated is ever mixed with what was real.
#[derive(Clone, Debug)]
pub(crate) struct State {
    folder: PathBuf,
    simulated: bool,
}

/// The state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    /// The current folder is gone.
    #[error("finding the current folder")]
    Current(#[source] io::Error),
    /// It cannot be made or written.
    #[error("preparing the state folder {}: change its permissions, or name another with --state", path.display())]
    Prepare {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl State {
    /// The state in `folder`, relative to the current one.
    ///
    /// # Errors
    /// The current folder is gone.
    pub(crate) fn at(folder: &Path, simulated: bool) -> Result<Self, StateError> {
        let root = env::current_dir().map_err(StateError::Current)?.join(folder);
        let folder = if simulated { root.join("simulated") } else { root };
        Ok(Self { folder, simulated })
    }

    /// Makes the folder where it is not there (mode 0700) and sees that it can be written.
    ///
    /// # Errors
    /// It cannot be made or written, or something else is there.
    pub(crate) fn prepare(&self) -> Result<(), StateError> {
        let root = if self.simulated { self.folder.parent().unwrap_or(&self.folder) } else { &self.folder };
        for path in [root, &self.folder] {
            make_private(path).map_err(|source| StateError::Prepare { path: path.to_owned(), source })?;
        }
        // Records hold prompts; nobody wants them in version control.
        let ignore = root.join(".gitignore");
        if !ignore.exists() {
            fs::write(&ignore, "*\n").map_err(|source| StateError::Prepare { path: root.to_owned(), source })?;
        }
        let probe = self.folder.join(format!(".probe-{}", std::process::id()));
        let written = fs::write(&probe, "").and_then(|()| fs::remove_file(&probe));
        written.map_err(|source| StateError::Prepare { path: self.folder.clone(), source })
    }

    /// Whether this is the simulated twin.
    pub(crate) fn is_simulated(&self) -> bool {
        self.simulated
    }

    /// Runs and trials.
    pub(crate) fn runs(&self) -> PathBuf {
        self.folder.join("runs.db")
    }

    /// Records of calls.
    pub(crate) fn calls(&self) -> PathBuf {
        self.folder.join("calls.db")
    }

    /// Cached answers.
    pub(crate) fn cache(&self) -> PathBuf {
        self.folder.join("cache.db")
    }

    /// The trials' own folders.
    pub(crate) fn trials(&self, run: &str) -> PathBuf {
        self.folder.join("trials").join(run)
    }

    /// A folder for the certificates of one process, so that several processes do not share an authority.
    pub(crate) fn certificates(&self) -> PathBuf {
        self.folder.join("ca").join(std::process::id().to_string())
    }
}

/// Makes a folder for its owner alone.
pub(crate) fn make_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_folder_is_its_owners_alone_and_simulations_have_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("state");
        for (simulated, runs) in [(false, "state/runs.db"), (true, "state/simulated/runs.db")] {
            let state = State::at(&root, simulated).unwrap();
            state.prepare().unwrap();
            assert_eq!(state.runs(), folder.path().join(runs));
            let mode = fs::metadata(state.runs().parent().unwrap()).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700);
        }
    }

    #[test]
    fn a_file_in_its_place_is_refused_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        fs::write(&path, "").unwrap();
        let refused = State::at(&path, false).unwrap().prepare().unwrap_err();
        assert!(refused.to_string().contains(path.to_str().unwrap()), "{refused}");
    }
}
