use std::fs;

use jiff::Timestamp;
use rust_decimal::Decimal;
use tempfile::TempDir;

use super::{Begun, Store, StoreError};
use crate::{Owner, Phase, RunRecord, RunStart, Spending, TrialId, TrialRecord, TrialState};

struct Bench {
    folder: TempDir,
    store: Store,
}

fn bench() -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let (store, moved) = Store::open(&folder.path().join("runs.db")).unwrap();
    assert_eq!(moved, None);
    Bench { folder, store }
}

fn owner(pid: u32) -> Owner {
    Owner { pid, started: format!("boot/{pid}") }
}

fn start(fingerprint: &str) -> RunStart {
    RunStart {
        name: "math".into(),
        fingerprint: fingerprint.into(),
        manifest: "{}".into(),
        datapoints: "[]".into(),
        trials: 2,
        again: false,
    }
}

fn begin(store: &Store, start: &RunStart, pid: u32, alive: bool) -> Result<Begun, StoreError> {
    store.begin(start, &owner(pid), Timestamp::UNIX_EPOCH, |_| alive)
}

fn new_run(store: &Store) -> RunRecord {
    match begin(store, &start("one"), 1, true).unwrap() {
        Begun::New(run) => run,
        other => panic!("{other:?}"),
    }
}

fn trial(data_id: &str) -> TrialRecord {
    let id = TrialId { combo: "a=b + c=d".into(), data_id: data_id.into(), sample: 0 };
    TrialRecord {
        attempt: 1,
        state: TrialState::Succeeded,
        score: Some(0.5),
        latency_seconds: Some(1.25),
        spending: Spending {
            calls: 3,
            cached: 1,
            failed: 4,
            unreadable: 5,
            unpriced: 6,
            usd: Some(Decimal::new(12, 4)),
            spent: Decimal::new(8, 4),
            saved: Decimal::new(4, 4),
        },
        output: Some("4\n".into()),
        finished: Some(Timestamp::UNIX_EPOCH),
        started: Some(Timestamp::UNIX_EPOCH),
        ..TrialRecord::pending(id)
    }
}

#[test]
fn a_trial_is_read_as_it_was_written() {
    let bench = bench();
    let run = new_run(&bench.store);
    let written = trial("q1");
    assert_eq!(bench.store.start(&run, &owner(1), &written.id, Timestamp::UNIX_EPOCH).unwrap(), 1);
    bench.store.finish(&run, &owner(1), &written).unwrap();
    assert_eq!(bench.store.trials(run.id).unwrap(), [written]);
}

#[test]
fn a_result_is_never_replaced_and_its_trial_never_started_again() {
    let bench = bench();
    let run = new_run(&bench.store);
    bench.store.finish(&run, &owner(1), &trial("q1")).unwrap();
    let other = TrialRecord { score: Some(1.0), ..trial("q1") };
    assert!(matches!(bench.store.finish(&run, &owner(1), &other), Err(StoreError::Finished { .. })));
    assert!(matches!(bench.store.start(&run, &owner(1), &other.id, Timestamp::UNIX_EPOCH), Err(StoreError::Finished { .. })));
    assert_eq!(bench.store.trials(run.id).unwrap(), [trial("q1")]);
}

#[test]
fn a_run_belongs_to_one_living_process() {
    let bench = bench();
    let run = new_run(&bench.store);
    let refused = begin(&bench.store, &start("one"), 2, true).unwrap_err();
    assert!(refused.to_string().contains("process 1"), "{refused}");
    assert!(matches!(begin(&bench.store, &start("two"), 2, true), Err(StoreError::Leased { pid: 1, .. })));
    let taken = begin(&bench.store, &start("one"), 2, false).unwrap();
    assert!(matches!(taken, Begun::Resumed(again) if again.id == run.id && again.owner == Some(owner(2))));
    assert!(matches!(bench.store.finish(&run, &owner(1), &trial("q1")), Err(StoreError::Lost { .. })));
    bench.store.release(&run, &owner(1), Phase::Complete, None, Timestamp::UNIX_EPOCH).unwrap();
    assert_eq!(bench.store.run("math").unwrap().unwrap().phase, Phase::Running, "the old owner decides nothing");
}

#[test]
fn what_was_running_or_lost_is_pending_again_after_a_take_over() {
    let bench = bench();
    let run = new_run(&bench.store);
    bench.store.start(&run, &owner(1), &trial("running").id, Timestamp::UNIX_EPOCH).unwrap();
    bench.store.finish(&run, &owner(1), &TrialRecord { state: TrialState::Lost, ..trial("lost") }).unwrap();
    bench.store.finish(&run, &owner(1), &TrialRecord { state: TrialState::Failed, ..trial("failed") }).unwrap();
    begin(&bench.store, &start("one"), 2, false).unwrap();
    let states: Vec<_> = bench.store.trials(run.id).unwrap().into_iter().map(|trial| (trial.id.data_id, trial.state)).collect();
    let expected = [("failed", TrialState::Failed), ("lost", TrialState::Pending), ("running", TrialState::Pending)];
    assert_eq!(states, expected.map(|(id, state)| (id.to_owned(), state)));
    assert_eq!(bench.store.start(&run, &owner(2), &trial("running").id, Timestamp::UNIX_EPOCH).unwrap(), 2);
}

#[test]
fn a_complete_run_stays_complete_until_its_fingerprint_changes() {
    let bench = bench();
    let run = new_run(&bench.store);
    bench.store.release(&run, &owner(1), Phase::Complete, None, Timestamp::UNIX_EPOCH).unwrap();
    assert!(matches!(begin(&bench.store, &start("one"), 2, true).unwrap(), Begun::Finished(_)));
    assert!(matches!(begin(&bench.store, &start("two"), 2, true).unwrap(), Begun::New(run) if run.generation == 2));
    let again = RunStart { again: true, ..start("two") };
    assert!(matches!(begin(&bench.store, &again, 3, false).unwrap(), Begun::New(run) if run.generation == 3));
    let generations: Vec<_> = bench.store.runs().unwrap().into_iter().map(|run| run.generation).collect();
    assert_eq!(generations, [3]);
}

#[test]
fn what_a_run_came_to_is_kept_until_it_goes_on() {
    let bench = bench();
    let run = new_run(&bench.store);
    let spending = Spending { usd: None, ..trial("q1").spending };
    bench.store.release(&run, &owner(1), Phase::Interrupted, Some(&spending), Timestamp::UNIX_EPOCH).unwrap();
    let given_back = bench.store.run("math").unwrap().unwrap();
    assert_eq!((given_back.phase, given_back.spending), (Phase::Interrupted, Some(spending)));
    begin(&bench.store, &start("one"), 2, true).unwrap();
    assert_eq!(bench.store.run("math").unwrap().unwrap().spending, None);
}

#[test]
fn a_broken_file_is_moved_aside_with_its_bytes() {
    for broken in [b"this is no database, and long enough to be taken for a header: ".repeat(40), cut_database()] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runs.db");
        fs::write(&path, &broken).unwrap();
        let (store, moved) = Store::open(&path).unwrap();
        let moved = moved.expect("told");
        assert_eq!(moved.from, path);
        assert_eq!(fs::read(&moved.to).unwrap(), broken);
        assert!(store.runs().unwrap().is_empty());
        drop(store);
        fs::write(&path, &broken).unwrap();
        let (_, second) = Store::open(&path).unwrap();
        assert_ne!(second.expect("told").to, moved.to, "an earlier one is not written over");
    }
}

/// A database whose last pages are missing.
fn cut_database() -> Vec<u8> {
    let bench = bench();
    let run = new_run(&bench.store);
    for number in 0..200 {
        bench.store.finish(&run, &owner(1), &trial(&number.to_string())).unwrap();
    }
    bench.store.connection().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    let bytes = fs::read(bench.folder.path().join("runs.db")).unwrap();
    bytes[..bytes.len() / 2].to_vec()
}

#[test]
fn a_file_of_a_later_version_is_left_alone() {
    let bench = bench();
    bench.store.connection().execute_batch("PRAGMA user_version = 99").unwrap();
    let refused = Store::open(&bench.folder.path().join("runs.db")).unwrap_err();
    assert!(refused.to_string().contains("format 99"), "{refused}");
}

#[test]
fn a_full_disk_loses_no_earlier_trial_and_says_what_to_do() {
    let bench = bench();
    let run = new_run(&bench.store);
    bench.store.finish(&run, &owner(1), &trial("kept")).unwrap();
    let pages: i64 = bench.store.connection().query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    bench.store.connection().query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(())).unwrap();
    let large = TrialRecord { output: Some("x".repeat(100_000)), ..trial("large") };
    let refused = bench.store.finish(&run, &owner(1), &large).unwrap_err();
    assert!(refused.advice().expect("advice").contains("disk is full"));
    assert_eq!(bench.store.trials(run.id).unwrap(), [trial("kept")]);
}

#[test]
fn a_folder_that_is_missing_is_a_clear_error() {
    let refused = Store::open(std::path::Path::new("/nonexistent/folder/runs.db")).unwrap_err();
    assert!(matches!(refused, StoreError::Create { .. }), "{refused}");
}

#[cfg(unix)]
#[test]
fn the_file_is_readable_by_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let bench = bench();
    for name in ["runs.db", "runs.db-wal"] {
        let mode = fs::metadata(bench.folder.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn several_processes_write_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runs.db");
    std::thread::scope(|scope| {
        for pid in 1..=4 {
            let path = path.clone();
            scope.spawn(move || {
                let (store, _) = Store::open(&path).unwrap();
                let start = RunStart { name: format!("run-{pid}"), ..start("one") };
                let Begun::New(run) = begin(&store, &start, pid, true).unwrap() else { panic!("not new") };
                for number in 0..25 {
                    let trial = trial(&number.to_string());
                    store.start(&run, &owner(pid), &trial.id, Timestamp::UNIX_EPOCH).unwrap();
                    store.finish(&run, &owner(pid), &trial).unwrap();
                }
            });
        }
    });
    let (store, _) = Store::open(&path).unwrap();
    let runs = store.runs().unwrap();
    assert_eq!(runs.len(), 4);
    for run in runs {
        assert_eq!(store.trials(run.id).unwrap().len(), 25);
    }
}
