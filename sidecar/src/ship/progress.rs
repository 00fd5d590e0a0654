//! How far the hub has the records, in a file beside the journal: it outlives the container.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// What of a journal is shipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shipped {
    /// The journal's number of the last record that the hub has acknowledged.
    pub(super) sequence: u64,
    /// Records that neither the hub nor the journal has any more. The hub counts without gaps: its numbers are lower by so much.
    pub(super) lost: u64,
}

impl Shipped {
    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split_whitespace().map(str::parse);
        let sequence = numbers.next()?.ok()?;
        let lost = numbers.next().unwrap_or(Ok(0)).ok()?;
        Some(Self { sequence, lost }).filter(|_| lost <= sequence)
    }
}

/// What is shipped, and the file that says so.
pub(super) struct Progress {
    path: PathBuf,
    shipped: Shipped,
}

impl Progress {
    /// What stands beside `journal`. Without it everything is shipped again, which the hub takes for what it is.
    pub(super) fn read(journal: &Path) -> Self {
        let path = journal.with_extension("shipped");
        let shipped = fs::read_to_string(&path).ok().and_then(|text| Shipped::parse(&text)).unwrap_or_default();
        Self { path, shipped }
    }

    pub(super) fn shipped(&self) -> Shipped {
        self.shipped
    }

    /// Writes it.
    pub(super) fn set(&mut self, shipped: Shipped) -> io::Result<()> {
        if shipped == self.shipped {
            return Ok(());
        }
        let beside = self.path.with_extension("shipped-new");
        fs::write(&beside, format!("{} {}", shipped.sequence, shipped.lost))?;
        fs::rename(&beside, &self.path)?;
        self.shipped = shipped;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_outlives_its_process() {
        let folder = tempfile::tempdir().unwrap();
        let journal = folder.path().join("calls.db");
        let mut progress = Progress::read(&journal);
        assert_eq!(progress.shipped(), Shipped::default());
        let shipped = Shipped { sequence: 7, lost: 3 };
        progress.set(shipped).unwrap();
        assert_eq!(Progress::read(&journal).shipped(), shipped);
        for (text, sequence) in [("7", 7), ("7x", 0), ("7 x", 0), ("7 8", 0), ("", 0)] {
            fs::write(journal.with_extension("shipped"), text).unwrap();
            assert_eq!(Progress::read(&journal).shipped(), Shipped { sequence, lost: 0 }, "{text}");
        }
    }
}
