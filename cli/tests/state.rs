//! The state folder, sound and unsound.

use std::{fs, os::unix::fs::PermissionsExt};

use crate::support::Bench;

#[test]
fn everything_in_it_is_its_owners_alone() {
    let bench = Bench::python(1);
    bench.simulate(&[]);
    let mode = |name: &str| fs::metadata(bench.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!([mode(".agentrun"), mode(".agentrun/simulated")], [0o700, 0o700]);
    for name in ["runs.db", "calls.db", "cache.db"] {
        assert_eq!(mode(&format!(".agentrun/simulated/{name}")), 0o600, "{name}");
    }
    assert_eq!(fs::read_to_string(bench.path(".agentrun/.gitignore")).unwrap(), "*\n");
}

#[test]
fn nothing_of_a_trial_stays_behind() {
    let bench = Bench::python(2);
    bench.simulate(&[]);
    for folder in ["trials", "ca"] {
        let left: Vec<_> =
            fs::read_dir(bench.path(".agentrun/simulated").join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn a_broken_database_is_moved_aside_and_the_run_goes_through() {
    for name in ["runs.db", "calls.db", "cache.db"] {
        let bench = Bench::python(1);
        bench.simulate(&[]);
        let path = bench.path(".agentrun/simulated").join(name);
        let broken = b"no database at all. ".repeat(100);
        fs::write(&path, &broken).unwrap();
        for suffix in ["-wal", "-shm"] {
            let _ = fs::remove_file(path.with_file_name(format!("{name}{suffix}")));
        }
        let ran = bench.simulate(&["--again", "-o", "json"]);
        assert_eq!(ran.code, Some(0), "{name}: {ran:?}");
        assert!(ran.stderr.contains(".corrupt-1"), "{name}: {}", ran.stderr);
        assert_eq!(fs::read(path.with_file_name(format!("{name}.corrupt-1"))).unwrap(), broken);
    }
}

#[test]
fn a_state_folder_that_cannot_be_used_is_a_clear_error() {
    let bench = Bench::python(1);
    bench.write("file", "");
    for folder in ["file", "/proc/agentrun"] {
        let ran = bench.run(&["--state", folder, "run", "-f", "agentrun.yaml", "--simulate"]);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.stderr.contains(folder) && ran.stderr.contains("--state"), "{}", ran.stderr);
    }
}

#[test]
fn the_folder_may_be_named_by_flag_or_environment() {
    let bench = Bench::python(1);
    bench.simulate(&["--state", "by-flag"]);
    let mut command = bench.command(&["run", "-f", "agentrun.yaml", "--simulate"]);
    assert!(command.env("AGENTRUN_STATE", "by-environment").output().unwrap().status.success());
    for folder in ["by-flag", "by-environment"] {
        assert!(bench.path(folder).join("simulated/runs.db").exists(), "{folder}");
    }
    assert!(!bench.path(".agentrun").exists());
}
