//! A machine of a test's own: network and mount namespaces, in which it may take any port and any address, and write `/etc/hosts`.

use std::process::Command;
use std::thread;

/// Tells the test program that it runs inside.
const INSIDE: &str = "AGENTRUN_TEST_INSIDE";
const SETUP: &str = r#"
ip link set lo up
for address in $3; do ip address add "$address/32" dev lo; done
mount --bind "$1" /etc/hosts
mount --bind "$2" /etc/resolv.conf
"#;

/// What the machine is made of.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Its `/etc/hosts`.
    pub hosts: String,
    /// Its `/etc/resolv.conf`.
    pub resolv_conf: String,
    /// Its IPv4 addresses beside loopback's. There is no other network.
    pub addresses: &'static [&'static str],
    /// Variables that the test's process is started with.
    pub environment: &'static [(&'static str, &'static str)],
}

impl Machine {
    /// Runs `test` in a machine of its own: the test program starts itself again inside, for the one test that is running. `prepare` runs
    /// outside before, where there is a network.
    ///
    /// # Panics
    /// The machine cannot be made (that needs root, or user namespaces), or the test fails.
    pub fn run(&self, prepare: impl FnOnce(), test: impl Future<Output = ()>) {
        if std::env::var_os(INSIDE).is_none() {
            prepare();
            return self.enter();
        }
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let [hosts, resolv_conf] = [("hosts", &self.hosts), ("resolv.conf", &self.resolv_conf)].map(|(name, text)| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("the temporary folder can be written");
            path
        });
        let mut setup = Command::new("sh");
        setup.args(["-euc", SETUP, "setup"]).args([hosts, resolv_conf]).arg(self.addresses.join(" "));
        let output = setup.output().expect("there is a shell");
        assert!(output.status.success(), "the machine cannot be set up: {}", String::from_utf8_lossy(&output.stderr));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.expect("a runtime can be made").block_on(test);
    }

    fn enter(&self) {
        let program = std::env::current_exe().expect("a running test has a path");
        let thread = thread::current();
        let name = thread.name().filter(|name| *name != "main").expect("tests run in threads that bear their names");
        let mut inside = Command::new("unshare");
        inside.args(["--user", "--map-root-user", "--net", "--mount"]).arg(program).args(["--exact", name, "--nocapture"]);
        inside.env(INSIDE, "1").envs(self.environment.iter().copied());
        let output = inside.output().expect("unshare is installed");
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "inside its own machine:\n{stdout}\n{stderr}");
        assert!(stdout.contains("1 passed"), "the test has not run inside:\n{stdout}\n{stderr}");
    }
}
