//! A PostgreSQL server of the tests' own: real, over TLS, thrown away with the test program, however that ends.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::OnceLock,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// The running server.
pub(crate) struct Server {
    port: u16,
    roots: PathBuf,
    /// The script stops the server and removes its folder when this is closed, be it by our death.
    _leash: ChildStdin,
    _shell: Child,
}

/// Starts as the user `nobody` where we are root, because PostgreSQL refuses to run as root.
const SCRIPT: &str = r#"
set -e
bin=$1 folder=$2 port=$3
as=
[ "$(id -u)" != 0 ] || { chown -R 65534:65534 "$folder"; as="setpriv --reuid 65534 --regid 65534 --clear-groups"; }
$as "$bin/initdb" -D "$folder/data" -U postgres --auth=trust -E UTF8 --no-sync >"$folder/initdb.log" 2>&1 || { cat "$folder/initdb.log" >&2; exit 1; }
$as "$bin/postgres" -D "$folder/data" -p "$port" -k "$folder" -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=400 \
    -c ssl=on -c ssl_cert_file="$folder/server.crt" -c ssl_key_file="$folder/server.key" </dev/null >&2 &
server=$!
read -r _ || true
kill -QUIT $server
wait $server || true
rm -rf "$folder"
"#;

/// The server, started when it is first asked for.
///
/// # Panics
/// PostgreSQL is not installed, or does not start: these tests are not skipped.
pub(crate) fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(start)
}

fn start() -> Server {
    let bin = programs().expect("PostgreSQL's initdb and postgres are not installed: apt-get install postgresql");
    let folder = tempfile::Builder::new().prefix("agentrun-postgres-").tempdir().unwrap().keep();
    certify(&folder);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = Command::new("sh");
    command.args(["-c", SCRIPT, "sh"]).arg(bin).arg(&folder).arg(port.to_string());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let leash = child.stdin.take().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut all = String::new();
    let ready = said.by_ref().map_while(Result::ok).any(|line| {
        all.push_str(&line);
        all.push('\n');
        line.contains("ready to accept connections")
    });
    assert!(ready, "PostgreSQL did not start:\n{all}");
    // Its log must go somewhere, or it waits for a reader.
    std::thread::spawn(move || said.for_each(drop));
    Server { port, roots: folder.join("ca.crt"), _leash: leash, _shell: child }
}

/// The folder of Debian's programs, or of those in the path.
fn programs() -> Option<PathBuf> {
    let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    installed.chain(std::env::split_paths(&path)).find(|folder| folder.join("initdb").exists() && folder.join("postgres").exists())
}

fn certify(folder: &Path) {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    fs::write(folder.join("ca.crt"), authority.pem()).unwrap();
    fs::write(folder.join("server.crt"), leaf.pem()).unwrap();
    let private = folder.join("server.key");
    fs::write(&private, key.serialize_pem()).unwrap();
    fs::set_permissions(private, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

impl Server {
    /// The URL of a database, verified TLS included.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://postgres@localhost:{}/{database}?sslmode=verify-full&sslrootcert={}", self.port, self.roots.display())
    }

    /// The URL of a database without any TLS, for the tests' own statements.
    pub(crate) async fn client(&self, database: &str) -> tokio_postgres::Client {
        let url = format!("postgres://postgres@localhost:{}/{database}?sslmode=disable", self.port);
        let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// Makes an empty database; gives its name.
    pub(crate) async fn database(&self) -> String {
        let name = format!("t{}", uuid::Uuid::now_v7().simple());
        self.client("postgres").await.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        name
    }
}
