//! Processes of trials that outlived their trial: they left its process group, or the `agentrun` that started them was killed.

use std::{collections::HashSet, fs, os::unix::ffi::OsStrExt, path::Path};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// The variable that marks every process of a trial with the trial's own folder.
pub(crate) const TRIAL_FOLDER: &str = "AGENTRUN_TRIAL_FOLDER";

/// Ends every process whose trial's folder is inside `trials`. Returns how many there were.
///
/// The mark is in the environment that a process was started with, so it needs no bookkeeping that a killed process could have failed to
/// write, and an id that has been given to another process since is never mistaken.
pub(crate) fn end(trials: &Path) -> usize {
    let mut mark = TRIAL_FOLDER.as_bytes().to_vec();
    mark.push(b'=');
    mark.extend_from_slice(trials.as_os_str().as_bytes());
    mark.push(b'/');
    // One that is dying may be seen twice.
    let mut ended = HashSet::new();
    // A process can start another while we look, so look until there is nothing more; a fork bomb is not waited for.
    for _ in 0..10 {
        let found = marked(&mark);
        if found.is_empty() {
            break;
        }
        ended.extend(found.into_iter().filter(|pid| kill(*pid, Signal::SIGKILL).is_ok()));
    }
    ended.len()
}

fn marked(mark: &[u8]) -> Vec<Pid> {
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let own = std::process::id();
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok()).filter(|pid| *pid != own);
    let is_marked = |pid: &u32| {
        // A zombie's environment is empty, and another user's cannot be read: neither is ours to end.
        fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environ| environ.split(|byte| *byte == 0).any(|entry| entry.starts_with(mark)))
    };
    pids.filter(is_marked).filter_map(|pid| i32::try_from(pid).ok()).map(Pid::from_raw).collect()
}
