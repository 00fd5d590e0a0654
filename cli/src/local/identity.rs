//! Which process is which, for longer than its id lasts.

use std::fs;

use agentrun_hub::Owner;
use nix::{sys::signal::kill, unistd::Pid};

/// This process.
pub(crate) fn own() -> Owner {
    let pid = std::process::id();
    Owner { pid, started: started(pid).unwrap_or_default() }
}

/// Whether this very process is still there: the same id, started at the same moment of the same boot.
pub(crate) fn is_alive(owner: &Owner) -> bool {
    let Ok(pid) = i32::try_from(owner.pid) else {
        return false;
    };
    match started(owner.pid) {
        Some(started) => started == owner.started,
        // Without /proc the id is all there is.
        None => owner.started.is_empty() && kill(Pid::from_raw(pid), None).is_ok(),
    }
}

/// The boot's id and the ticks after boot at which the process started (field 22 of proc(5)'s stat).
fn started(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command name is in parentheses and may hold anything, so fields are counted from the last one.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    let state = fields.next()?;
    let ticks = fields.nth(18)?;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    // A zombie does nothing more.
    (!matches!(state, "Z" | "X")).then(|| format!("{}/{ticks}", boot.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_one_with_its_id_that_started_earlier_is_not() {
        let own = own();
        assert!(is_alive(&own));
        assert!(!is_alive(&Owner { started: "another boot/1".into(), ..own }));
    }

    #[test]
    fn a_process_that_has_ended_is_not_alive() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let owner = Owner { pid: child.id(), started: started(child.id()).unwrap_or_default() };
        child.wait().unwrap();
        assert!(!is_alive(&owner));
    }
}
