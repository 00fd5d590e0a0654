//! How often the sidecar of a pod was started: its containers come and go, its spool stays.

use std::{fs, path::Path};

/// Counts this start, and returns how many there were before.
pub(super) fn count(spool: &Path) -> u32 {
    let path = spool.join("starts");
    let before = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0_u32);
    if let Err(error) = fs::write(&path, before.saturating_add(1).to_string()) {
        tracing::warn!(path = %path.display(), %error, "cannot count starts");
    }
    before
}

#[cfg(test)]
mod tests {
    #[test]
    fn starts_are_counted_across_processes() {
        let folder = tempfile::tempdir().unwrap();
        let counts: Vec<u32> = (0..3).map(|_| super::count(folder.path())).collect();
        assert_eq!(counts, [0, 1, 2]);
    }
}
