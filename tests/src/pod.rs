//! A pod without a kubelet: its sidecar's real program, its volumes as folders, and its agents as processes.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::hub::{self, Hub};
use crate::stage::built;

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// The sidecar's program; its wrapper lies beside it.
///
/// # Panics
/// It cannot be built.
pub fn sidecar_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| built("agentrun-sidecar", "agentrun-sidecar"))
}

/// A pod with its volumes. Its sidecar is killed when it is dropped.
pub struct Pod {
    name: String,
    folder: TempDir,
    flags: Vec<String>,
    sidecar: Option<Child>,
    log: Option<tokio::task::JoinHandle<String>>,
    proxy: SocketAddr,
    admin: SocketAddr,
}

impl Pod {
    /// A pod named `name` (see [`hub`]), whose calls go where `upstream` says. `flags` are the sidecar's further ones; of a trial's files `NAME` in
    /// `--input=NAME` is a file in its exchange folder.
    ///
    /// # Panics
    /// The machine is at fault, no test can go on.
    pub fn new(name: &str, hub: &Hub, upstream: &[String], flags: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("agentrun-pod-").tempdir().expect("a temporary folder can be made");
        for volume in ["exchange", "trust", "spool"] {
            std::fs::create_dir(folder.path().join(volume)).expect("the temporary folder can be written");
        }
        std::fs::write(folder.path().join("token"), hub::token(name)).expect("the temporary folder can be written");
        let [proxy, admin] = [free(), free()];
        let path = |name: &str| folder.path().join(name).display().to_string();
        let mut all = vec![
            format!("--hub={}", hub.url()),
            format!("--hub-ca={}", hub.ca_pem()),
            format!("--token={}", path("token")),
            format!("--pod-uid={name}-uid"),
            format!("--listen={proxy}"),
            format!("--admin={admin}"),
            format!("--exchange-dir={}", path("exchange")),
            format!("--trust-dir={}", path("trust")),
            format!("--spool-dir={}", path("spool")),
        ];
        all.extend(upstream.iter().cloned());
        all.extend(flags.iter().map(|flag| match flag.split_once('=') {
            Some((option @ ("--input" | "--output"), file)) => format!("{option}={}", folder.path().join("exchange").join(file).display()),
            _ => (*flag).to_owned(),
        }));
        Self { name: name.to_owned(), folder, flags: all, sidecar: None, log: None, proxy, admin }
    }

    /// Starts the sidecar and waits until its startup probe passes.
    ///
    /// # Panics
    /// It ends instead.
    pub async fn start(&mut self) {
        self.begin();
        let began = Instant::now();
        while !self.is_started().await {
            if let Some(ended) = self.sidecar.as_mut().and_then(|sidecar| sidecar.try_wait().ok().flatten()) {
                let said = self.said().await;
                panic!("the sidecar of {} ended: {ended}\n{said}", self.name);
            }
            assert!(began.elapsed() < PATIENCE, "the sidecar of {} does not start", self.name);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Starts the sidecar.
    ///
    /// # Panics
    /// There is no such program.
    pub fn begin(&mut self) {
        let mut command = Command::new(sidecar_binary());
        command.arg("pod").args(&self.flags).env_clear().env("RUST_LOG", "info,agentrun_sidecar=debug");
        let mut sidecar = command.stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true).spawn().expect("the sidecar starts");
        let mut lines = BufReader::new(sidecar.stderr.take().expect("it is piped")).lines();
        self.log = Some(tokio::spawn(async move {
            let mut log = String::new();
            while let Ok(Some(line)) = lines.next_line().await {
                log.push_str(&line);
                log.push('\n');
            }
            log
        }));
        self.sidecar = Some(sidecar);
    }

    async fn is_started(&self) -> bool {
        let request = format!("GET /startupz HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.admin);
        let asked = async {
            let mut stream = tokio::net::TcpStream::connect(self.admin).await?;
            tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await?;
            let mut answer = String::new();
            tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer).await?;
            std::io::Result::Ok(answer)
        };
        asked.await.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    /// An agent's process in the pod's network, with its environment; `program` and its arguments.
    pub fn agent(&self, command: &[&str]) -> Command {
        let (program, arguments) = command.split_first().expect("a command has a program");
        let mut agent = Command::new(program);
        agent.args(arguments).current_dir(self.folder.path().join("exchange")).env_clear();
        agent.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        agent.env("HTTPS_PROXY", format!("http://{}", self.proxy)).env("CURL_CA_BUNDLE", self.folder.path().join("trust/bundle.pem"));
        agent.env("AGENTRUN_OUTPUT_FILE", self.exchange("output")).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        agent.kill_on_drop(true);
        agent
    }

    /// The wrapper as the agent's container sees it, around `command`.
    pub fn wrapped(&self, flags: &[&str], command: &[&str]) -> Command {
        let wrapper = self.folder.path().join("trust/agentrun-wrap").display().to_string();
        let files = [format!("--trial={}", self.exchange("trial.env").display()), format!("--exit={}", self.exchange("exit").display())];
        let sidecar = format!("--sidecar={}", self.admin);
        let mut whole = vec![wrapper.as_str(), &files[0], &files[1], &sidecar];
        whole.extend(flags);
        whole.push("--");
        whole.extend(command);
        self.agent(&whole)
    }

    /// curl with a chat question as its body, which ends with HTTP's status.
    pub fn ask(&self, question: &str, options: &[&str]) -> Command {
        let body = serde_json::json!({"model": "gpt-4.1-nano", "messages": [{"role": "user", "content": question}]}).to_string();
        let mut all = vec!["curl", "-sS", "--max-time", "120", "-w", "\n%{http_code}", "-H", "content-type: application/json"];
        all.extend(options);
        all.extend(["-d", &body, "https://api.openai.com/v1/chat/completions"]);
        self.agent(&all)
    }

    /// A file in the exchange folder.
    pub fn exchange(&self, file: &str) -> PathBuf {
        self.folder.path().join("exchange").join(file)
    }

    /// The spool.
    pub fn spool(&self) -> PathBuf {
        self.folder.path().join("spool")
    }

    /// Sends the sidecar a signal.
    ///
    /// # Panics
    /// It does not run.
    pub async fn signal(&self, name: &str) {
        let process = self.sidecar.as_ref().and_then(Child::id).expect("the sidecar runs").to_string();
        let sent = Command::new("kill").args(["-s", name, &process]).status().await.expect("there is kill");
        assert!(sent.success(), "cannot signal the sidecar");
    }

    /// Ends the pod as the kubelet does, and returns the sidecar's exit code, what it took, and what it said.
    ///
    /// # Panics
    /// It does not end.
    pub async fn stop(&mut self) -> (Option<i32>, Duration, String) {
        let began = Instant::now();
        self.signal("TERM").await;
        let (code, log) = self.ended().await;
        (code, began.elapsed(), log)
    }

    /// Waits for the sidecar's end.
    ///
    /// # Panics
    /// It does not end.
    pub async fn ended(&mut self) -> (Option<i32>, String) {
        let mut sidecar = self.sidecar.take().expect("the sidecar runs");
        let ended = tokio::time::timeout(PATIENCE, sidecar.wait()).await;
        let Ok(ended) = ended else {
            sidecar.start_kill().ok();
            let said = self.said().await;
            panic!("the sidecar of {} does not end\n{said}", self.name);
        };
        (ended.expect("it is our process").code(), self.said().await)
    }

    /// Kills the sidecar, as the kernel does when there is no memory left.
    ///
    /// # Panics
    /// It does not run.
    pub async fn kill(&mut self) {
        self.signal("KILL").await;
        self.ended().await;
    }

    async fn said(&mut self) -> String {
        match self.log.take() {
            Some(log) => tokio::time::timeout(PATIENCE, log).await.ok().and_then(Result::ok).unwrap_or_default(),
            None => String::new(),
        }
    }
}

/// What [`Pod::ask`] printed: the body, and the status.
///
/// # Panics
/// curl failed.
pub fn told(output: &Output) -> (String, u16) {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "curl failed: {}{}", text, String::from_utf8_lossy(&output.stderr));
    let (body, status) = text.rsplit_once('\n').unwrap_or_default();
    (body.to_owned(), status.parse().unwrap_or_default())
}

/// A port that nobody has.
fn free() -> SocketAddr {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("there is a free port");
    listener.local_addr().expect("it is bound")
}
