//! Clients that know nothing of proxies: the names of LLM hosts lead to the proxy on port 443, and its own upstream connections past that.
//! Each test has a machine of its own, with an `/etc/hosts` as a pod's host aliases make it, a name server, and the provider on an address.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use agentrun_sidecar::journal::{Filter, Reader};
use agentrun_sidecar::{CaptureMode, Config, OpenSession, Session, Sidecar};
use agentrun_tests::client::{self, Client};
use agentrun_tests::dns::NameServer;
use agentrun_tests::namespace::Machine;
use agentrun_tests::origin::{Options, Origin};
use agentrun_tests::stage::{KEYS, told};
use agentrun_tests::wire;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

const PROVIDER: &str = "192.0.2.80";
const NAME_SERVER: &str = "192.0.2.53";
const PROXY: &str = "192.0.2.81:3128";
const ADMIN: &str = "127.0.0.1:15021";
const ENTRANCE: &str = "127.0.0.1:443";

const OPENAI: &str = "api.openai.com";
/// Hosts that lead to the proxy, and are found at the provider by the name server.
const HOSTS: [&str; 4] = [OPENAI, "api.anthropic.com", "generativelanguage.googleapis.com", "bedrock-runtime.us-east-1.amazonaws.com"];
/// Leads to the proxy too, and is no LLM host.
const UNREAD: &str = "plain.test";
/// A host that the pod's author has given an address, and no name server knows; an LLM host.
const ALIASED: &str = "api.deepseek.com";
/// Two hosts, one read and one not, that the name server itself sends to the proxy.
const CIRCLES: [&str; 2] = ["api.mistral.ai", "circle.test"];

fn machine() -> Machine {
    let captured = HOSTS.iter().chain([&UNREAD]).chain(&CIRCLES).map(|host| format!("127.0.0.1\t{host}\n"));
    Machine {
        hosts: format!("127.0.0.1\tlocalhost\n{}{PROVIDER}\t{ALIASED}\n", captured.collect::<String>()),
        resolv_conf: format!("nameserver {NAME_SERVER}\nsearch run.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"),
        addresses: &[PROVIDER, NAME_SERVER, "192.0.2.81"],
        environment: &[],
    }
}

/// A provider, a name server that knows where it is, and the proxy before both.
struct Pod {
    origin: Origin,
    names: NameServer,
    folder: TempDir,
    sidecar: Sidecar,
    session: OpenSession,
}

impl Pod {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let address: IpAddr = PROVIDER.parse().expect("it is written as one");
        let origin = Origin::start(Options { address, port: 443, ..Options::default() }).await.expect("port 443 is free in here");
        let known = HOSTS.iter().chain([&UNREAD]).map(|host| (host.to_string(), address));
        let circles = CIRCLES.map(|host| (host.to_owned(), IpAddr::from([127, 0, 0, 1])));
        let proxy = ("proxy.test".to_owned(), "192.0.2.81".parse().expect("it is written as one"));
        let hosts: BTreeMap<_, _> = known.chain(circles).chain([proxy]).collect();
        let names = NameServer::start(format!("{NAME_SERVER}:53").parse().expect("it is written as one"), hosts).await;
        let ca = folder.path().join("origin-ca.pem");
        std::fs::write(&ca, origin.ca_pem()).expect("the temporary folder can be written");
        let sidecar = Sidecar::start(Config {
            capture: vec![CaptureMode::Connect, CaptureMode::BaseUrl, CaptureMode::Dns],
            upstream_ca: vec![ca],
            authority_name: Some("0c0ffee0-0000-4000-8000-000000000000".to_owned()),
            journal: Some(folder.path().join("calls.db")),
            ..Config::default()
        });
        let sidecar = sidecar.expect("the proxy starts");
        sidecar.write_trust(&folder.path().join("trust")).expect("the temporary folder can be written");
        let mut session = sidecar.open(Session::default()).await.expect("a session opens on a free port");
        session.open_dns(ENTRANCE.parse().expect("it is written as one")).await.expect("port 443 is free in here");
        sidecar.open_admin(ADMIN.parse().expect("it is written as one")).await.expect("its port is free in here");
        sidecar.declare_ready();
        Self { origin, names: names.expect("port 53 is free in here"), folder, sidecar, session }
    }

    /// A client's program in the environment that the injector gives it, without any proxy.
    fn command(&self, command: &[String]) -> Command {
        let (program, arguments) = command.split_first().expect("a command has a program");
        let mut client = Command::new(program);
        client.args(arguments).env_clear().envs(KEYS.iter().copied()).kill_on_drop(true);
        client.envs(["PATH", "HOME"].map(|name| (name, std::env::var_os(name).unwrap_or_default())));
        let trust = self.folder.path().join("trust");
        let bundle = trust.join("bundle.pem");
        for name in ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE"] {
            client.env(name, &bundle);
        }
        client.env("NODE_EXTRA_CA_CERTS", trust.join("ca.pem")).env("WGETRC", trust.join("wgetrc"));
        let store = trust.join("truststore.p12");
        let java =
            format!("-XX:TieredStopAtLevel=1 -Djavax.net.ssl.trustStore={} -Djavax.net.ssl.trustStorePassword=changeit", store.display());
        client.env("JAVA_TOOL_OPTIONS", java);
        client
    }

    /// Makes one chat completion with bare bytes, by the entrance for captured names.
    async fn ask(&self, host: &str, prompt: &str) -> wire::Answer {
        let stream = TcpStream::connect(ENTRANCE).await.expect("the entrance is open");
        let mut stream = wire::tls(stream, self.sidecar.ca_pem(), host, &[]).await.expect("our own certificate is shown");
        let body = format!(r#"{{"model": "gpt-4.1", "messages": [{{"role": "user", "content": "{prompt}"}}]}}"#);
        wire::exchange(&mut stream, &wire::chat(host, "", body.as_bytes())).await.expect("there is an answer")
    }

    /// What `/metrics` says.
    async fn metrics(&self) -> String {
        let mut stream = TcpStream::connect(ADMIN).await.expect("the admin port is open");
        let answer = wire::exchange(&mut stream, b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("there is an answer");
        String::from_utf8(answer.body).expect("metrics are text")
    }

    /// Ends the session and gives its records.
    async fn records(self) -> Vec<Value> {
        self.session.close(Duration::from_secs(10)).await;
        self.sidecar.stop(Duration::from_secs(10)).await;
        let reader = Reader::open(&self.folder.path().join("calls.db")).expect("the journal opens");
        let records = reader.calls(&Filter::default()).expect("the journal is readable");
        records.iter().map(|record| serde_json::to_value(record).expect("a record is JSON")).collect()
    }
}

/// Clients of the table, and the host each calls.
const CLIENTS: [&str; 11] = [
    "openai_chat",
    "plain_requests",
    "plain_httpx",
    "plain_urllib",
    "anthropic_messages",
    "google_genai",
    "bedrock_converse",
    "machine_node_fetch",
    "node_anthropic",
    "go_net_http",
    "curl",
];

/// The commands of all clients, by name.
fn commands() -> Vec<(&'static str, Vec<String>)> {
    let mut commands: Vec<_> = CLIENTS.iter().map(|name| (*name, Client::named(name).command(false, name))).collect();
    let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("sdk");
    let script = |path: &str| sdk.join(path).display().to_string();
    let python = client::installed("python-direct").join("bin/python").display().to_string();
    commands.push(("default_aiohttp", vec![python, script("python/default_aiohttp.py")]));
    commands.push(("java", vec!["java".to_owned(), script("java/Call.java")]));
    commands.push(("wget", vec![script("wget/call.sh")]));
    commands
}

#[test]
fn clients_that_know_no_proxy_are_captured() {
    machine().run(|| drop(commands()), async {
        let pod = Pod::start().await;
        let commands = commands();
        let mut running = Vec::new();
        for (name, command) in &commands {
            running.push((name, tokio::spawn(pod.command(command).output())));
        }
        for (name, output) in running {
            let output = output.await.expect("it does not panic").unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(output.status.success(), "{name}: {}", told(&output));
        }
        let received = pod.origin.log().calls();
        assert!(received.iter().all(|call| call.sni.as_deref() == Some(&call.host)), "{received:#?}");
        let metrics = pod.metrics().await;
        assert!(
            metrics
                .contains(r#"agentrun_calls_total{provider="anthropic",operation="chat",outcome="complete",cache="none",capture="dns"} 2"#),
            "{metrics}"
        );
        let records = pod.records().await;
        let urls: Vec<_> = records.iter().map(|record| record["request_url"].as_str().unwrap_or_default()).collect();
        assert_eq!(records.len(), commands.len(), "one record each: {urls:#?}");
        assert_eq!(received.len(), commands.len(), "one call each: {urls:#?}");
        for record in &records {
            assert_eq!(record["capture"], "dns", "{record:#}");
            assert_eq!(record["outcome"], "complete", "{record:#}");
            assert_eq!(record["usage"]["input_tokens"], 21, "{record:#}");
        }
    });
}

#[test]
fn both_versions_of_http_are_spoken_and_names_are_found_past_the_hosts_file() {
    machine().run(|| {}, async {
        let pod = Pod::start().await;
        assert_eq!(pod.ask(ALIASED, "by its alias").await.status, 200);
        assert_eq!(pod.names.asked(), Vec::<String>::new(), "a line that does not lead here is believed");
        assert_eq!(pod.ask(OPENAI, "first").await.status, 200);
        let asked = pod.names.asked();
        assert!(asked.iter().any(|name| name == OPENAI), "{asked:?}");
        assert!(
            asked.iter().any(|name| name == "api.openai.com.run.svc.cluster.local"),
            "search domains come first with ndots:5: {asked:?}"
        );
        let curl = |version: &str, prompt: &str| {
            let body = format!(r#"{{"model": "gpt-4.1", "messages": [{{"role": "user", "content": "{prompt}"}}]}}"#);
            [
                "curl",
                "-sS",
                "--fail",
                version,
                "-o",
                "/dev/null",
                "-w",
                "%{http_version}",
                "-d",
                &body,
                "https://api.openai.com/v1/chat/completions",
            ]
            .map(str::to_owned)
        };
        for (version, expected) in [("--http1.1", "1.1"), ("--http2", "2")] {
            let output = pod.command(&curl(version, version)).output().await.expect("curl starts");
            assert!(output.status.success(), "{}", told(&output));
            assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
        }
        assert_eq!(pod.records().await.len(), 4);
    });
}

#[test]
fn a_host_that_is_not_read_is_tunnelled_and_what_names_none_is_refused() {
    machine().run(|| {}, async {
        let pod = Pod::start().await;
        let stream = TcpStream::connect(ENTRANCE).await.expect("the entrance is open");
        let mut stream = wire::tls(stream, &pod.origin.ca_pem(), UNREAD, &[]).await.expect("the origin's own certificate is shown");
        let answer =
            wire::exchange(&mut stream, &wire::chat(UNREAD, "", br#"{"model": "m", "messages": []}"#)).await.expect("there is an answer");
        assert_eq!(answer.status, 200);
        stream.shutdown().await.expect("the tunnel closes");
        drop(stream);

        let stream = TcpStream::connect(ENTRANCE).await.expect("the entrance is open");
        let error = wire::tls(stream, pod.sidecar.ca_pem(), "192.0.2.80", &[]).await.expect_err("an address is no server name");
        assert!(error.to_string().contains("UnrecognisedName"), "{error}");

        let mut stream = TcpStream::connect(ENTRANCE).await.expect("the entrance is open");
        stream.write_all(b"GET / HTTP/1.1\r\nhost: api.openai.com\r\n\r\n").await.expect("it is sent");
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or(0), 0, "the connection is closed without a word");

        let stream = TcpStream::connect(ENTRANCE).await.expect("the entrance is open");
        let error = wire::tls(stream, &pod.origin.ca_pem(), "nowhere.test", &[]).await.expect_err("there is no such host");
        assert!(error.to_string().contains("InternalError"), "{error}");

        let metrics = pod.metrics().await;
        for line in [
            r#"agentrun_refused_connections_total{capture="dns",reason="no_server_name"} 1"#,
            r#"agentrun_refused_connections_total{capture="dns",reason="no_tls"} 1"#,
            r#"agentrun_refused_connections_total{capture="dns",reason="no_upstream"} 1"#,
        ] {
            assert!(metrics.contains(line), "{line} is not in\n{metrics}");
        }
        assert_eq!(pod.records().await.len(), 0);
    });
}

#[test]
fn a_name_that_leads_back_here_is_an_error_and_no_circle() {
    machine().run(|| {}, async {
        let pod = Pod::start().await;
        let answer = pod.ask(CIRCLES[0], "round and round").await;
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status, 502, "{body}");
        assert!(body.contains("it leads back to this proxy (127.0.0.1:443)"), "{body}");
        let stream = TcpStream::connect(ENTRANCE).await.expect("the entrance is open");
        let error = wire::tls(stream, &pod.origin.ca_pem(), CIRCLES[1], &[]).await.expect_err("nobody answers");
        assert!(error.to_string().contains("InternalError"), "{error}");
        let records = pod.records().await;
        assert_eq!(records.len(), 1, "the host that is read: {records:#?}");
        assert_eq!(records[0]["outcome"], "upstream_refused");
    });
}

#[test]
fn a_client_that_does_not_trust_us_is_counted_and_stays_captured() {
    machine().run(|| {}, async {
        let pod = Pod::start().await;
        for _ in 0..2 {
            let stream = TcpStream::connect(ENTRANCE).await.expect("the entrance is open");
            wire::tls(stream, &pod.origin.ca_pem(), OPENAI, &[]).await.expect_err("our certificate is a stranger's");
        }
        // A client that looks at the certificate after the handshake.
        let stream = TcpStream::connect(ENTRANCE).await.expect("the entrance is open");
        drop(wire::tls(stream, pod.sidecar.ca_pem(), OPENAI, &[]).await.expect("our own certificate is shown"));
        while pod.session.totals().failed_handshakes < 3 {
            tokio::task::yield_now().await;
        }
        let metrics = pod.metrics().await;
        for (reason, count) in [("certificate_refused", 2), ("no_request", 1)] {
            let line = format!(r#"agentrun_handshake_failures_total{{provider="openai",capture="dns",reason="{reason}"}} {count}"#);
            assert!(metrics.contains(&line), "{line} is not in\n{metrics}");
        }
        assert!(pod.origin.log().calls().is_empty(), "nothing passes unseen");
    });
}

/// Answers CONNECT requests with tunnels to the provider, and tells their heads.
async fn connect_proxy(listener: TcpListener, heads: tokio::sync::mpsc::UnboundedSender<String>) {
    while let Ok((mut client, _)) = listener.accept().await {
        let heads = heads.clone();
        tokio::spawn(async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(client.read_u8().await?);
            }
            heads.send(String::from_utf8_lossy(&head).into_owned()).ok();
            let mut server = TcpStream::connect((PROVIDER, 443)).await?;
            client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
            tokio::io::copy_bidirectional(&mut client, &mut server).await
        });
    }
}

#[test]
fn a_proxy_that_the_pod_had_is_the_way_to_upstreams() {
    let environment = &[("HTTPS_PROXY", "http://team:secret@proxy.test:3128"), ("NO_PROXY", "127.0.0.1,.internal")];
    Machine { environment, ..machine() }.run(|| {}, async {
        let (sender, mut heads) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(connect_proxy(TcpListener::bind(PROXY).await.expect("its port is free in here"), sender));
        let pod = Pod::start().await;
        assert_eq!(pod.ask(OPENAI, "by way of the proxy").await.status, 200);
        let head = heads.recv().await.expect("the proxy was asked").to_lowercase();
        assert!(head.starts_with("connect api.openai.com:443 http/1.1\r\n"), "{head}");
        assert!(head.contains("proxy-authorization: basic dgvhbtpzzwnyzxq="), "{head}");
        let stream = TcpStream::connect(ENTRANCE).await.expect("the entrance is open");
        wire::tls(stream, &pod.origin.ca_pem(), UNREAD, &[]).await.expect("tunnels go the same way");
        let head = heads.recv().await.expect("the proxy was asked").to_lowercase();
        assert!(head.starts_with("connect plain.test:443 http/1.1\r\n"), "{head}");
        let asked = pod.names.asked();
        assert!(!asked.iter().any(|name| name == OPENAI), "the proxy finds its hosts itself: {asked:?}");
        let records = pod.records().await;
        assert!(!serde_json::to_string(&records).expect("records are JSON").contains("secret"));
    });
}

#[test]
fn the_start_is_declared_once_everything_is_in_place() {
    machine().run(|| {}, async {
        let sidecar = Sidecar::start(Config::default()).expect("the proxy starts");
        let admin = sidecar.open_admin(SocketAddr::from(([0, 0, 0, 0], 15021))).await.expect("its port is free in here");
        let status = async |path: &str| {
            // From outside the pod, as the kubelet asks.
            let mut stream = TcpStream::connect((PROVIDER, admin.port())).await.expect("the admin port is open");
            let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
            wire::exchange(&mut stream, request.as_bytes()).await.expect("there is an answer").status
        };
        assert_eq!([status("/startupz").await, status("/readyz").await, status("/healthz").await], [503, 503, 200]);
        sidecar.declare_ready();
        assert_eq!([status("/startupz").await, status("/readyz").await, status("/healthz").await], [200, 200, 200]);
    });
}
