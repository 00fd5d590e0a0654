//! A hub that is killed: what it acknowledged is there.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use agentrun_hub::archive::{Archive, Location, Settings};
use agentrun_protocol::query::Filter;

use super::{
    rig::{NAME, NAMESPACE, UID, call, lines, named, now, place, registration},
    server::server,
};

/// Where the killed process writes to; set in it alone.
const LOCATION: &str = "AGENTRUN_TEST_KILLED";

fn settings(location: &str) -> Settings {
    let location = location.to_owned();
    Settings::new(if location.starts_with("postgres") { Location::Postgres(location) } else { Location::Sqlite(location.into()) })
}

/// In the process that is killed: writes for ever, and tells each acknowledgement. Elsewhere: lets such a process be killed, ten times.
async fn kill_ten_times(test: &str, location: &str) {
    if let Ok(location) = std::env::var(LOCATION) {
        write(&location).await;
    }
    let mut acknowledged = 0;
    for round in 1..=10_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture"])
            .env(LOCATION, location)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        let enough = acknowledged + 7 * round;
        let told = said.by_ref().map_while(Result::ok).filter_map(|line| line.strip_prefix("acknowledged ")?.parse::<u64>().ok());
        acknowledged = told.take_while(|sequence| *sequence <= enough).last().unwrap_or(acknowledged);
        child.kill().unwrap();
        child.wait().unwrap();
        // What was told before the process died counts, read by us or not.
        let rest = said.map_while(Result::ok).filter_map(|line| line.strip_prefix("acknowledged ")?.parse::<u64>().ok());
        acknowledged = rest.last().unwrap_or(acknowledged);
        let archive = Archive::open(settings(location)).await.unwrap();
        let run = archive.find(NAMESPACE, NAME, None).await.unwrap();
        let page = archive.calls(run, &Filter::default()).await.unwrap();
        assert!(page.next.is_none());
        let names: Vec<String> = page
            .items
            .iter()
            .map(|record| {
                let record: serde_json::Value = serde_json::from_str(record.get()).unwrap();
                record["request_body"]["ask"].as_str().unwrap().to_owned()
            })
            .collect();
        assert!(names.len() as u64 >= acknowledged, "round {round}: {acknowledged} were acknowledged, {} are there", names.len());
        let expected: Vec<String> = (1..=names.len()).map(|sequence| sequence.to_string()).collect();
        assert_eq!(names, expected, "each once, in order");
        assert_eq!(archive.run(run).await.unwrap().calls, names.len() as u64);
        acknowledged = names.len() as u64;
    }
}

#[allow(clippy::print_stdout, reason = "the process that kills this one reads it")]
async fn write(location: &str) -> ! {
    let archive = Archive::open(settings(location)).await.unwrap();
    archive.register(NAMESPACE, NAME, registration(UID)).await.unwrap();
    let attempt = archive.claim(NAMESPACE, UID, place(0, 0), named("pod"), now()).await.unwrap().attempt;
    let mut next = archive.ingest(attempt, 1, bytes::Bytes::new()).await.unwrap().sequence + 1;
    loop {
        next = archive.ingest(attempt, next, lines(&[call(&next.to_string())])).await.unwrap().sequence + 1;
        println!("acknowledged {}", next - 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite() {
    let folder = tempfile::tempdir().unwrap();
    kill_ten_times("archive::killed::sqlite", folder.path().join("hub.db").to_str().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres() {
    let url = if std::env::var_os(LOCATION).is_some() {
        String::new()
    } else {
        let server = tokio::task::spawn_blocking(server).await.unwrap();
        server.url(&server.database().await)
    };
    kill_ten_times("archive::killed::postgres", &url).await;
}
