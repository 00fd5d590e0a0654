//! Memory does not grow with what passes: a sidecar told to stay within 64 MiB does, whatever is sent through it at a time.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use agentrun_tests::stage::{Stage, built, told};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

const MEBIBYTES: u64 = 64;
/// Of these the program's own pages take some 10 MiB in a released build; in a test's build they are many more, and are not counted.
const PROGRAM: u64 = 10;
const URL: &str = "https://api.openai.com/v1/chat/completions";
/// Swallows what it is sent.
const ABYSS: &str = "abyss.test";
const UPLOAD: u64 = 128 << 20;

struct Sidecar {
    process: Child,
    address: SocketAddr,
}

impl Sidecar {
    async fn start(stage: &Stage, abyss: SocketAddr) -> Self {
        let mut command = Command::new(built("agentrun-sidecar", "agentrun-sidecar"));
        command.env_clear().env("NO_COLOR", "1").current_dir(stage.folder()).stderr(Stdio::piped()).kill_on_drop(true);
        // As in its image.
        command.env("MIMALLOC_PURGE_DELAY", "0");
        command.args(["--listen", "127.0.0.1:0", "--ca-dir", "ca", "--records", "calls.db", "--memory", &MEBIBYTES.to_string()]);
        command.args(["--provider", &format!("abyss=http://{ABYSS}"), "--upstream", &format!("{ABYSS}=http://{abyss}")]);
        let mut process = command.args(stage.upstream_arguments()).spawn().expect("the sidecar starts");
        let mut lines = BufReader::new(process.stderr.take().expect("it is piped")).lines();
        let address = loop {
            let line = lines.next_line().await.expect("the log is text").expect("the sidecar says where it listens");
            if let Some((_, address)) = line.split_once("address=") {
                break address.trim().parse().expect("it is an address");
            }
        };
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { process, address }
    }

    /// curl through it.
    fn curl(&self, folder: &Path, arguments: &[&str]) -> Command {
        let mut curl = Command::new("curl");
        curl.current_dir(folder).args(["-sS", "--max-time", "120", "-x", &format!("http://{}", self.address), "--cacert", "ca/ca.pem"]);
        curl.args(["-o", "/dev/null", "-w", "%{http_code} %{size_download} %{size_upload}"]).args(arguments).kill_on_drop(true);
        curl
    }

    /// Runs several at a time, and gives what each says of its call.
    async fn at_once(commands: Vec<Command>) -> Vec<String> {
        let running: Vec<_> = commands.into_iter().map(|mut curl| tokio::spawn(async move { curl.output().await })).collect();
        let mut said = Vec::new();
        for curl in running {
            let output = curl.await.expect("it does not panic").expect("curl starts");
            assert!(output.status.success(), "{}", told(&output));
            said.push(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        said
    }

    /// The most it has taken so far beside its program's own pages, MiB.
    fn peak(&self) -> u64 {
        let path = format!("/proc/{}/status", self.process.id().expect("it is running"));
        let status = std::fs::read_to_string(path).expect("the kernel tells of a process");
        let kibibytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel tells it");
            line.trim().trim_end_matches(" kB").parse::<u64>().expect("it is a number")
        };
        (kibibytes("VmHWM:") - kibibytes("RssFile:")) >> 10
    }
}

/// Reads requests to their end and answers each.
async fn abyss(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut last = Vec::new();
            let mut buffer = vec![0; 64 << 10];
            while !last.ends_with(b"0\r\n\r\n") {
                let count = stream.read(&mut buffer).await?;
                let from = last.len().saturating_sub(5);
                last.drain(..from);
                last.extend_from_slice(&buffer[..count]);
                if count == 0 {
                    return Ok(());
                }
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}").await
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_stays_within_its_memory() {
    let stage = Stage::new(&["api.openai.com"]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(abyss(listener));
    let sidecar = Sidecar::start(&stage, address).await;
    let folder = stage.folder();
    let body = |name: &str, body: serde_json::Value| {
        std::fs::write(folder.join(name), body.to_string()).expect("the stage's folder can be written");
        format!("@{name}")
    };
    let chat = |model: &str, prompt: String, stream: bool| json!({"model": model, "messages": [{"role": "user", "content": prompt}], "stream": stream});

    // Streams of 200 MB, at a time.
    let flood = body("flood", chat("script/flood", "x".to_owned(), true));
    let streams = (0..2).map(|_| sidecar.curl(folder, &["-d", &flood, URL])).collect();
    for said in Sidecar::at_once(streams).await {
        let received: u64 = said.split(' ').nth(1).and_then(|bytes| bytes.parse().ok()).expect("curl counts");
        assert!(said.starts_with("200 ") && received > 200 << 20, "{said}");
    }
    // Requests that are read whole, at a time; each is another, so that none is answered for the others.
    let bodies: Vec<String> = (0..8)
        .map(|index| body(&format!("large{index}"), chat("gpt-4.1-mini", format!("{index}{}", "y".repeat(3900 << 10)), false)))
        .collect();
    let requests = bodies.iter().map(|body| sidecar.curl(folder, &["-d", body, URL])).collect();
    assert!(Sidecar::at_once(requests).await.iter().all(|said| said.starts_with("200 ")));
    // One that does not say how large it is, and is not read.
    std::fs::File::create(folder.join("zeroes")).and_then(|file| file.set_len(UPLOAD)).expect("the stage's folder can be written");
    let upload = ["-X", "POST", "-H", "transfer-encoding: chunked", "-T", "zeroes", &format!("http://{ABYSS}/v1/files")];
    let said = Sidecar::at_once(vec![sidecar.curl(folder, &upload)]).await;
    let sent: u64 = said[0].strip_prefix("200 2 ").and_then(|bytes| bytes.parse().ok()).unwrap_or_else(|| panic!("{said:?}"));
    assert!(sent >= UPLOAD, "{said:?}");
    // One that says so, and is refused before it is sent.
    std::fs::File::create(folder.join("zeroes")).and_then(|file| file.set_len(1 << 30)).expect("the stage's folder can be written");
    let refused = ["--http1.1", "-X", "POST", "-H", "expect: 100-continue", "--expect100-timeout", "60", "-T", "zeroes", URL];
    let said = Sidecar::at_once(vec![sidecar.curl(folder, &refused)]).await;
    assert!(said[0].starts_with("413 ") && said[0].ends_with(" 0"), "{said:?}");

    let peak = sidecar.peak();
    assert!(peak <= MEBIBYTES - PROGRAM, "{peak} MiB at its peak");
}
