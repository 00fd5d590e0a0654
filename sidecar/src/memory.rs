//! How much memory this process may take.

use std::path::Path;

/// Where the kernel tells a container its own group's limit: version 2 of control groups, then version 1.
const LIMITS: [&str; 2] = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
/// More than any machine has: how version 1 writes that there is no limit.
const NONE: u64 = 1 << 60;

/// The limit of this process's control group, bytes. `None`: there is none, or none is told.
pub(crate) fn allowed() -> Option<u64> {
    LIMITS.iter().find_map(|path| limit(&std::fs::read_to_string(Path::new(path)).ok()?))
}

fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|&bytes| bytes > 0 && bytes < NONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_number_that_is_a_limit_is_one() {
        let table =
            [("134217728\n", Some(128 << 20)), ("max\n", None), ("9223372036854771712\n", None), ("0", None), ("", None), ("-1", None)];
        for (text, expected) in table {
            assert_eq!(limit(text), expected, "{text:?}");
        }
    }
}
