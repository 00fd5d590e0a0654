//! Stores that fail: full, taken over, cut off, broken.

use agentrun_hub::archive::{Archive, ArchiveError, Kind, Location, Scope, Settings};
use agentrun_protocol::{query::Filter, run::Observation};
use bytes::Bytes;

use super::{
    rig::{NAME, NAMESPACE, Rig, UID, call, content, end, registration},
    server::server,
};

/// Between two tries of what is refused for some seconds.
const AGAIN: std::time::Duration = std::time::Duration::from_millis(100);

both! {
    whoever_opened_the_store_last_owns_it
    many_writers_at_once_lose_nothing
}

async fn whoever_opened_the_store_last_owns_it(mut rig: Rig) {
    rig.register().await;
    let attempt = rig.claim(0, 0, "pod").await.attempt;
    let before = rig.archive.clone();
    rig.reopen().await;
    let lines = super::rig::lines(&[call("a")]);
    assert_eq!(before.ingest(attempt, 1, lines.clone()).await.unwrap_err(), ArchiveError::Fenced);
    assert_eq!(before.health().unwrap_err(), ArchiveError::Fenced);
    assert_eq!(rig.archive.ingest(attempt, 1, lines).await.unwrap().sequence, 1);
}

async fn many_writers_at_once_lose_nothing(mut rig: Rig) {
    let run = rig.register().await;
    let mut pods = tokio::task::JoinSet::new();
    for pod in 0..32_u64 {
        let archive = rig.archive.clone();
        let claimed = rig.claim(pod % 2, pod / 2 % 4, &format!("pod-{pod}")).await;
        pods.spawn(async move {
            for sequence in 1..=20 {
                let lines = super::rig::lines(&[call(&format!("{pod}-{sequence}"))]);
                // Every batch twice, as after an answer that was lost.
                let both = tokio::join!(
                    archive.ingest(claimed.attempt, sequence, lines.clone()),
                    archive.ingest(claimed.attempt, sequence, lines)
                );
                assert_eq!((both.0.unwrap().sequence, both.1.unwrap().sequence), (sequence, sequence));
            }
        });
    }
    pods.join_all().await;
    assert_eq!(rig.records(run, &Filter::default()).await.len(), 640);
    let before = content(rig.aggregate().await);
    rig.reopen().await;
    assert_eq!(content(rig.aggregate().await), before);
    assert_eq!(before.status["spend"]["usd"], "6.4000");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_file_refuses_writes_and_keeps_what_it_has() {
    let mut rig = Rig::sqlite().await;
    rig.settings.file_bytes = 1 << 20;
    rig.reopen().await;
    let run = rig.register().await;
    let attempt = rig.claim(0, 0, "pod").await.attempt;
    let filled = fill(&rig, attempt).await;
    assert!(filled > 0);
    assert!(is_told_that_it_is_full(&rig, attempt).await, "nothing more is begun, as long as something waits for room");
    let count = rig.records(run, &Filter::default()).await.len() as u64;
    assert_eq!(count, filled, "what is acknowledged is there, and nothing else");
    rig.reopen().await;
    assert_eq!(rig.records(run, &Filter::default()).await.len() as u64, filled);
    // Room is made, and the sidecar's next try succeeds.
    rig.settings.file_bytes = 0;
    rig.reopen().await;
    assert_eq!(rig.ingest(attempt, filled + 1, &[call("more")]).await.unwrap(), filled + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_deleted_makes_room_in_a_full_file() {
    let mut rig = Rig::sqlite().await;
    rig.settings.file_bytes = 1 << 20;
    rig.reopen().await;
    rig.register().await;
    let attempt = rig.claim(0, 0, "pod").await.attempt;
    assert!(fill(&rig, attempt).await > 0);
    rig.archive.delete(NAMESPACE, NAME, UID).await.unwrap();
    // Its rows go in the background; what waited is welcome then.
    let next = registration("2f0c1c4e-0000-4000-8000-000000000002");
    while let Err(error) = rig.archive.register(NAMESPACE, "next", next.clone()).await {
        assert_eq!(error.kind(), Kind::Unavailable, "{error}");
        tokio::task::yield_now().await;
    }
    let place = super::rig::place(0, 0);
    let claimed = loop {
        match rig.archive.claim(NAMESPACE, &next.uid, place, super::rig::named("next"), super::rig::now()).await {
            Ok(claimed) => break claimed.attempt,
            Err(error) => assert_eq!(error.kind(), Kind::Unavailable, "{error}"),
        }
    };
    let mut large = call("large");
    large.request_body = Some(serde_json::value::RawValue::from_string(format!("\"{}\"", "x".repeat(500_000))).unwrap());
    while let Err(error) = rig.ingest(claimed, 1, std::slice::from_ref(&large)).await {
        assert_eq!(error.kind(), Kind::Unavailable, "{error}");
        tokio::task::yield_now().await;
    }
}

/// Whether the operator is refused although a small write has found room since; once more where a slow machine has let that become long ago.
async fn is_told_that_it_is_full(rig: &Rig, attempt: agentrun_hub::archive::AttemptId) -> bool {
    for _ in 0..5 {
        while rig.archive.put_output(attempt, Bytes::from_static(b"small")).await.is_err() {
            tokio::time::sleep(AGAIN).await;
        }
        let nothing = Observation { uid: UID.to_owned(), ..Observation::default() };
        match rig.archive.observe(NAMESPACE, NAME, nothing, super::rig::now()).await {
            // So are answers, which nobody's result depends on.
            Err(ArchiveError::Full(_)) => {
                let answer = rig.archive.keep_answer(&Scope::Shared, [1; 32], Bytes::from_static(b"small")).await;
                return matches!(answer, Err(ArchiveError::Full(_)));
            }
            _ => {
                let mut large = call("large");
                large.request_body = Some(serde_json::value::RawValue::from_string(format!("\"{}\"", "x".repeat(900_000))).unwrap());
                let next = rig.archive.run(rig.archive.find(NAMESPACE, NAME, None).await.unwrap()).await.unwrap().calls + 1;
                assert!(rig.ingest(attempt, next, &[large]).await.is_err());
            }
        }
    }
    false
}

/// Sends records until there is no room; gives how many were taken.
async fn fill(rig: &Rig, attempt: agentrun_hub::archive::AttemptId) -> u64 {
    let mut acknowledged = 0;
    loop {
        let mut large = call("large");
        let body = format!("\"{}{acknowledged}\"", "x".repeat(50_000));
        large.request_body = Some(serde_json::value::RawValue::from_string(body).unwrap());
        match rig.ingest(attempt, acknowledged + 1, &[large]).await {
            Ok(sequence) => acknowledged = sequence,
            Err(error) => {
                assert!(matches!(error, ArchiveError::Full(_)) && error.kind() == Kind::Unavailable, "{error}");
                assert!(rig.archive.health().is_err());
                return acknowledged;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_database_refuses_writes_and_keeps_what_it_has() {
    let rig = Rig::postgres().await;
    let run = rig.register().await;
    let attempt = rig.claim(0, 0, "pod").await.attempt;
    rig.ingest(attempt, 1, &[call("a")]).await.unwrap();
    let client = server().client(rig.database.as_deref().unwrap()).await;
    let full = "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS \
        $$BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END$$; \
        CREATE TRIGGER no_room BEFORE INSERT ON calls EXECUTE FUNCTION no_room()";
    client.batch_execute(full).await.unwrap();
    let error = rig.ingest(attempt, 2, &[call("b")]).await.unwrap_err();
    assert!(matches!(&error, ArchiveError::Full(text) if text.contains("could not extend file")), "{error}");
    assert_eq!(rig.records(run, &Filter::default()).await.len(), 1);
    client.batch_execute("DROP TRIGGER no_room ON calls").await.unwrap();
    // Writes are refused at once for some seconds; then the same batch is welcome.
    while let Err(error) = rig.ingest(attempt, 2, &[call("b")]).await {
        assert_eq!(error.kind(), Kind::Unavailable);
        tokio::time::sleep(AGAIN).await;
    }
    assert_eq!(rig.archive.run(run).await.unwrap().calls, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_is_made_again() {
    let rig = Rig::postgres().await;
    let run = rig.register().await;
    let attempt = rig.claim(0, 0, "pod").await.attempt;
    let client = server().client("postgres").await;
    let cut = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'", rig.database.as_deref().unwrap());
    for sequence in 1..=10 {
        client.batch_execute(&cut).await.unwrap();
        assert_eq!(rig.ingest(attempt, sequence, &[call(&sequence.to_string())]).await.unwrap(), sequence);
        assert_eq!(rig.records(run, &Filter::default()).await.len() as u64, sequence);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_be_verified_is_not_spoken_to() {
    let server = tokio::task::spawn_blocking(server).await.unwrap();
    let database = server.database().await;
    let verified = server.url(&database);
    let unverified = verified.split("&sslrootcert").next().unwrap();
    let error = Archive::open(Settings::new(Location::Postgres(unverified.to_owned()))).await.err().unwrap();
    assert!(error.to_string().contains("certificate"), "{error}");
    let misnamed = verified.replace("localhost", "127.0.0.1");
    let error = Archive::open(Settings::new(Location::Postgres(misnamed))).await.err().unwrap();
    assert!(error.to_string().contains("certificate"), "{error}");
    assert!(Archive::open(Settings::new(Location::Postgres(verified))).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_store_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hub.db");
    std::fs::write(&path, "precious".repeat(1000)).unwrap();
    let error = Archive::open(Settings::new(Location::Sqlite(path.clone()))).await.err().unwrap();
    assert_eq!(error.kind(), Kind::Broken, "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious".repeat(1000));
    let nowhere = Settings::new(Location::Sqlite(folder.path().join("missing/hub.db")));
    assert_eq!(Archive::open(nowhere).await.err().unwrap().kind(), Kind::Unavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_was_not_stored_did_not_happen() {
    let mut rig = Rig::sqlite().await;
    rig.register().await;
    let attempt = rig.claim(0, 0, "pod").await.attempt;
    rig.ingest(attempt, 1, &[call("a")]).await.unwrap();
    rig.archive.put_output(attempt, bytes::Bytes::from_static(b"yes")).await.unwrap();
    let before = rig.archive.clone();
    rig.reopen().await;
    assert_eq!(before.end(attempt, end(1)).await.unwrap_err(), ArchiveError::Fenced);
    assert_eq!(rig.aggregate().await.finished, 0);
    assert!(before.find(NAMESPACE, NAME, Some(UID)).await.is_err(), "what it remembers is not what is stored");
    rig.archive.end(attempt, end(1)).await.unwrap();
    assert_eq!(rig.aggregate().await.finished, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_up_waits_for_no_list() {
    let rig = Rig::postgres().await;
    let run = rig.register().await;
    let attempt = rig.claim(0, 0, "pod").await.attempt;
    rig.ingest(attempt, 1, &[call("a")]).await.unwrap();
    let (database, archive) = (rig.database.clone().unwrap(), rig.archive.clone());
    let locks = server().client(&database).await;
    locks.batch_execute("BEGIN; LOCK TABLE calls").await.unwrap();
    let list = tokio::spawn(async move { archive.calls(run, &Filter::default()).await });
    let waiting = "SELECT FROM pg_stat_activity WHERE datname = $1 AND wait_event_type = 'Lock'";
    let looks = server().client("postgres").await;
    while looks.query(waiting, &[&database]).await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    // More than there are connections: each would have its turn behind the list.
    for key in 0..8 {
        assert_eq!(rig.archive.answer(&Scope::Shared, &[key; 32]).await.unwrap(), None);
    }
    locks.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(list.await.unwrap().unwrap().items.len(), 1);
}
