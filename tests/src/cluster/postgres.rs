//! PostgreSQL on the node, as a database outside of the cluster that its pods reach: real, over TLS, with a password, thrown away with the test.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};

use super::Authority;

const DATABASE: &str = "agentrun";

/// Runs as the user `nobody` where we are root, because PostgreSQL refuses to run as root. Its folder goes with it.
const SCRIPT: &str = r#"
set -e
bin=$1 folder=$2 address=$3 port=$4
as=
[ "$(id -u)" != 0 ] || { chown -R 65534:65534 "$folder"; as="setpriv --reuid 65534 --regid 65534 --clear-groups"; }
$as "$bin/initdb" -D "$folder/data" -U agentrun --auth=scram-sha-256 --pwfile="$folder/password" -E UTF8 --no-sync >"$folder/initdb.log" 2>&1 || { cat "$folder/initdb.log" >&2; exit 1; }
echo "hostssl all all 0.0.0.0/0 scram-sha-256" >> "$folder/data/pg_hba.conf"
$as "$bin/postgres" -D "$folder/data" -p "$port" -k "$folder" -c listen_addresses="$address" -c fsync=off \
    -c ssl=on -c ssl_cert_file="$folder/server.crt" -c ssl_key_file="$folder/server.key" </dev/null >&2 &
server=$!
read -r _ || true
kill -QUIT $server
wait $server || true
rm -rf "$folder"
"#;

/// The running server. It ends when this is dropped, and with the test program however that ends.
#[derive(Debug)]
pub struct Postgres {
    address: String,
    port: u16,
    authority: Authority,
    programs: PathBuf,
    _leash: ChildStdin,
    _shell: Child,
}

impl Postgres {
    /// The one user's password.
    pub const PASSWORD: &str = "not-a-secret-of-anybodys";

    /// Starts one that listens on an address of the node, with an empty database.
    ///
    /// # Panics
    /// PostgreSQL is not installed, or does not start.
    pub fn start(address: &str) -> Self {
        let programs = programs().expect("PostgreSQL's initdb and postgres are not installed: apt-get install postgresql");
        let folder = tempfile::Builder::new().prefix("agentrun-postgres-").tempdir().expect("a temporary folder can be made").keep();
        let authority = Authority::new();
        let (certificate, key) = authority.server(&[address.to_owned()]);
        let keep = |name: &str, text: &str| {
            fs::write(folder.join(name), text).expect("the temporary folder can be written");
            fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o600)).expect("the file is ours");
        };
        keep("server.crt", &certificate);
        keep("server.key", &key);
        keep("password", Self::PASSWORD);
        let port = TcpListener::bind((address, 0)).expect("the address is the node's").local_addr().expect("it has an address").port();
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, "sh"]).arg(&programs).arg(&folder).arg(address).arg(port.to_string());
        let mut shell = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("sh starts");
        let leash = shell.stdin.take().expect("standard input is piped");
        let mut said = BufReader::new(shell.stderr.take().expect("standard error is piped")).lines();
        let mut all = String::new();
        let is_ready = said.by_ref().map_while(Result::ok).any(|line| {
            all.push_str(&line);
            all.push('\n');
            line.contains("ready to accept connections")
        });
        assert!(is_ready, "PostgreSQL did not start:\n{all}");
        // Its log must go somewhere, or it waits for a reader.
        std::thread::spawn(move || said.for_each(drop));
        let server = Self { address: address.to_owned(), port, authority, programs, _leash: leash, _shell: shell };
        server.query("postgres", &format!("CREATE DATABASE {DATABASE}"));
        server
    }

    /// The URL of the database with the user's password; TLS is verified by the authority in the file `roots`.
    pub fn url(&self, roots: &str) -> String {
        format!("postgres://agentrun:{}@{}:{}/{DATABASE}?sslmode=verify-full&sslrootcert={roots}", Self::PASSWORD, self.address, self.port)
    }

    /// Certificates that its own chains to, PEM.
    pub fn roots(&self) -> String {
        self.authority.pem()
    }

    /// How many rows a table of the database has.
    ///
    /// # Panics
    /// There is no such table.
    pub fn count(&self, table: &str) -> u64 {
        self.query(DATABASE, &format!("SELECT count(*) FROM {table}")).trim().parse().expect("a count is a number")
    }

    fn query(&self, database: &str, statement: &str) -> String {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.env("PGPASSWORD", Self::PASSWORD).args(["-X", "-q", "-t", "-A", "-v", "ON_ERROR_STOP=1", "-U", "agentrun", "-d", database]);
        let output = psql.args(["-h", &self.address, "-p", &self.port.to_string(), "-c", statement]).output().expect("psql starts");
        assert!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// The folder of Debian's programs, or of those in the path.
fn programs() -> Option<PathBuf> {
    let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    installed.chain(std::env::split_paths(&path)).find(|folder| folder.join("initdb").exists() && folder.join("psql").exists())
}
