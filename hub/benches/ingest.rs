//! How many records a second the cluster's store makes durable, and how long summing up 100,000 trials takes. Prints; asserts nothing.
//! `tests/bench/ingest` runs it on both kinds of database.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints, and fails by panicking")]

use std::{env, fs, time::Instant};

use agentrun_hub::archive::{Archive, AttemptId, Location, Place, Pod, Settings};
use agentrun_llm::{
    call::{CacheLayer, CallId, CallRecord, Capture, Outcome},
    usage::Usage,
};
use agentrun_protocol::{
    run::{CHUNK, Registration},
    trial::{End, Output},
};
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{json, value::RawValue};

/// Pods that send at once.
const PODS: u64 = 64;
/// Records of a batch: what a busy pod gathers in 50 ms.
const BATCH: u64 = 16;

fn number(name: &str, usual: u64) -> u64 {
    env::var(name).ok().map_or(usual, |text| text.parse().expect("a number"))
}

fn main() {
    let postgres = env::var("AGENTRUN_BENCH_POSTGRES").ok();
    let folder = env::var("AGENTRUN_BENCH_FOLDER").unwrap_or_else(|_| "/tmp".to_owned());
    let folder = format!("{folder}/agentrun-bench-{}", std::process::id());
    fs::create_dir_all(&folder).unwrap();
    let location = postgres.map_or_else(|| Location::Sqlite(format!("{folder}/hub.db").into()), Location::Postgres);
    let kind = if matches!(location, Location::Sqlite(_)) { "SQLite" } else { "PostgreSQL" };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let archive = Archive::open(Settings::new(location)).await.unwrap();
        ingest(&archive, kind).await;
        if kind == "SQLite" {
            let bytes: u64 = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
            println!("{kind}: {} bytes of file a record", bytes / number("RECORDS", 200_000));
        }
        sum_up(&archive, kind).await;
    });
    fs::remove_dir_all(&folder).unwrap();
}

fn registration(uid: &str, datapoints: u64, samples: u64) -> Registration {
    let models: Vec<String> = (0..10).map(|model| format!("model-{model}")).collect();
    let spec = json!({
        "roles": [{"name": "solver", "models": models}],
        "dataset": {"items": [{"input": "unused"}]},
        "template": {"spec": {"containers": [{"name": "agent", "image": "agent"}]}},
        "scoring": {"exact": {}},
        "samples": samples,
    });
    let datapoints = (0..datapoints).map(|index| json!({"id": format!("q{index}"), "input": "?", "expected": "yes"})).collect();
    Registration { uid: uid.to_owned(), generation: 1, spec, datapoints }
}

/// A record with a request of about 1 kB and an answer of 600 bytes; of four, one is a hit of a common answer.
fn record(pod: u64, sequence: u64) -> CallRecord {
    let started = Timestamp::now();
    let mut random = [0; 10];
    random[..8].copy_from_slice(&(pod << 32 | sequence).to_le_bytes());
    let mut record = CallRecord::begin(CallId::new(started, random), started, Capture::Connect);
    let hit = sequence.is_multiple_of(4);
    let name = if hit { format!("common {}", sequence % 400) } else { format!("{pod} {sequence}") };
    (record.outcome, record.status_code, record.latency_seconds) = (Outcome::Complete, 200, 0.8);
    (record.cached, record.cache_layer) = (hit, hit.then_some(CacheLayer::Hub));
    record.provider = Some("openai".to_owned());
    record.request_url = "https://api.openai.com/v1/chat/completions".to_owned();
    record.model = "model-1".to_owned();
    record.cost_usd = Some("0.0012".parse().unwrap());
    record.saved_usd = Some("0".parse().unwrap());
    record.set_usage(Ok(Usage { input_tokens: Some(250), output_tokens: Some(120), ..Usage::default() }));
    let text = |length: usize| "lorem ipsum dolor sit amet ".repeat(length / 27);
    let body = |value: serde_json::Value| Some(RawValue::from_string(value.to_string()).unwrap());
    record.request_body = body(json!({"model": "model-1", "messages": [{"role": "user", "content": format!("{name}: {}", text(1000))}]}));
    record.response_body = body(json!({"choices": [{"message": {"role": "assistant", "content": format!("{name}: {}", text(600))}}]}));
    record
}

async fn ingest(archive: &Archive, kind: &str) {
    archive.register("bench", "ingest", registration("ingest", 100, 1)).await.unwrap();
    let total = number("RECORDS", 200_000);
    // Made beforehand: a sidecar makes its records on its own machine.
    let mut pods = Vec::new();
    for pod in 0..PODS {
        let place = Place { combo: pod % 10, chunk: 0, index: pod / 10 };
        let claimed = archive.claim("bench", "ingest", place, named(pod), Timestamp::now()).await.unwrap();
        let batches = total / PODS / BATCH;
        let lines = |batch: u64| {
            (1..=BATCH).map(|line| serde_json::to_string(&record(pod, batch * BATCH + line)).unwrap() + "\n").collect::<String>()
        };
        pods.push((claimed.attempt, (0..batches).map(|batch| Bytes::from(lines(batch))).collect::<Vec<_>>()));
    }
    let bytes: usize = pods.iter().flat_map(|(_, batches)| batches.iter().map(Bytes::len)).sum();
    let records = pods.iter().map(|(_, batches)| batches.len() as u64 * BATCH).sum::<u64>();
    let (began, used) = (Instant::now(), cpu_seconds());
    let mut sending = tokio::task::JoinSet::new();
    for (attempt, batches) in pods {
        sending.spawn(send(archive.clone(), attempt, batches));
    }
    let mut waits: Vec<f64> = sending.join_all().await.into_iter().flatten().collect();
    let (took, used) = (began.elapsed().as_secs_f64(), cpu_seconds() - used);
    waits.sort_by(f64::total_cmp);
    let rate = records as f64 / took;
    let quantile = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize] * 1e3;
    println!(
        "{kind}: {records} records of {} bytes, {rate:.0} records/s durable, {:.1} µs of CPU a record",
        bytes as u64 / records,
        used / records as f64 * 1e6
    );
    println!("{kind}: a batch of {BATCH} is acknowledged after {:.1} ms (p50), {:.1} ms (p99)", quantile(0.5), quantile(0.99));
}

async fn send(archive: Archive, attempt: AttemptId, batches: Vec<Bytes>) -> Vec<f64> {
    let (mut first, mut waits) = (1, Vec::new());
    for batch in batches {
        let sent = Instant::now();
        first = archive.ingest(attempt, first, batch).await.unwrap().sequence + 1;
        waits.push(sent.elapsed().as_secs_f64());
    }
    waits
}

/// Ten combos on 1,000 datapoints, ten samples: 100,000 trials, each with a call, an output and its end.
async fn sum_up(archive: &Archive, kind: &str) {
    let trials = number("TRIALS", 100_000);
    let datapoints = trials / 100;
    let run = archive.register("bench", "sum", registration("sum", datapoints, 10)).await.unwrap();
    let (began, used) = (Instant::now(), cpu_seconds());
    let mut working = tokio::task::JoinSet::new();
    for worker in 0..PODS {
        let archive = archive.clone();
        working.spawn(async move {
            for trial in (worker..trials).step_by(PODS as usize) {
                live(&archive, trial, datapoints * 10).await;
            }
        });
    }
    working.join_all().await;
    let (took, used) = (began.elapsed().as_secs_f64(), cpu_seconds() - used);
    println!("{kind}: {trials} trials from claim to score in {took:.1} s, {:.0} µs of CPU a trial", used / trials as f64 * 1e6);
    let began = Instant::now();
    let aggregate = archive.aggregate(run).await.unwrap();
    println!("{kind}: summed {} trials up in {:.1} ms", aggregate.finished, began.elapsed().as_secs_f64() * 1e3);
    let began = Instant::now();
    archive.aggregate(run).await.unwrap();
    println!("{kind}: and again, unchanged, in {:.3} ms", began.elapsed().as_secs_f64() * 1e3);
    println!("resident: {} MB", resident_kilobytes() >> 10);
}

async fn live(archive: &Archive, trial: u64, cells: u64) {
    let (combo, cell) = (trial / cells, trial % cells);
    let place = Place { combo, chunk: cell / CHUNK, index: cell % CHUNK };
    let attempt = archive.claim("bench", "sum", place, named(trial), Timestamp::now()).await.unwrap().attempt;
    let line = serde_json::to_string(&record(trial, trial)).unwrap() + "\n";
    archive.ingest(attempt, 1, line.into()).await.unwrap();
    let output = if (trial * 7919) % 10 < combo { "no" } else { "yes" };
    archive.put_output(attempt, Bytes::from_static(output.as_bytes())).await.unwrap();
    let end =
        End { last_sequence: 1, output: Output::Present, exit_code: Some(0), wall_seconds: 3.0 + (trial % 17) as f64, ..End::default() };
    archive.end(attempt, end).await.unwrap();
}

fn named(pod: u64) -> Pod {
    Pod { uid: format!("00000000-0000-4000-8000-{pod:012}"), name: format!("pod-{pod}") }
}

/// User and system time of this process.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

fn resident_kilobytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
