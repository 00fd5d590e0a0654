//! How far the hub has the records, in a file beside the journal: it outlives the container.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The last sequence number that was acknowledged.
pub(super) struct Progress {
    path: PathBuf,
    sequence: u64,
}

impl Progress {
    /// What stands beside `journal`. Without it everything is shipped again, which the hub takes for what it is.
    pub(super) fn read(journal: &Path) -> Self {
        let path = journal.with_extension("shipped");
        let sequence = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        Self { path, sequence }
    }

    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Writes a further one; an earlier one changes nothing.
    pub(super) fn set(&mut self, sequence: u64) -> io::Result<()> {
        if sequence <= self.sequence {
            return Ok(());
        }
        let beside = self.path.with_extension("shipped-new");
        fs::write(&beside, sequence.to_string())?;
        fs::rename(&beside, &self.path)?;
        self.sequence = sequence;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_outlives_its_process_and_never_goes_back() {
        let folder = tempfile::tempdir().unwrap();
        let journal = folder.path().join("calls.db");
        let mut progress = Progress::read(&journal);
        assert_eq!(progress.sequence(), 0);
        progress.set(7).unwrap();
        progress.set(3).unwrap();
        assert_eq!(Progress::read(&journal).sequence(), 7);
        fs::write(journal.with_extension("shipped"), "7x").unwrap();
        assert_eq!(Progress::read(&journal).sequence(), 0);
    }
}
