//! Programs that are started, and what the kernel says of them.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::process::{Child, Command};

/// How long a program may take to end.
const PATIENCE: Duration = Duration::from_secs(15);
/// Ticks of the kernel's clock a second, on Linux the same everywhere.
const TICKS: f64 = 100.0;

/// A program that runs. It ends with this value at the latest.
pub(crate) struct Program {
    name: String,
    child: Child,
}

impl Program {
    /// Starts a command; what it prints goes to `NAME.log` in the folder.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn start(name: &str, command: &mut Command, folder: &Path) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let log = File::create(&log).with_context(|| format!("make {}", log.display()))?;
        command.stdin(std::process::Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
        // Ctrl-C at the terminal ends the measurement, which still needs the operator to take back what it made.
        command.process_group(0);
        let child = command.spawn().with_context(|| format!("start {name}"))?;
        Ok(Self { name: name.to_owned(), child })
    }

    /// Fails if it has ended.
    ///
    /// # Errors
    /// It has.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("{} has ended with {status}: see its log", self.name),
            None => Ok(()),
        }
    }

    /// The most memory that it had at once, bytes.
    ///
    /// # Errors
    /// It does not run.
    pub(crate) fn peak_bytes(&self) -> Result<u64> {
        let status = self.read("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("the kernel tells no peak")?;
        let kibibytes: u64 = line.trim().trim_end_matches(" kB").trim().parse()?;
        Ok(kibibytes * 1024)
    }

    /// The CPU that it took, seconds.
    ///
    /// # Errors
    /// It does not run.
    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        let stat = self.read("stat")?;
        // The program's name, in parentheses, may hold spaces.
        let fields: Vec<&str> = stat.rsplit_once(')').context("the kernel tells no times")?.1.split_whitespace().collect();
        let ticks = |index: usize| fields.get(index).and_then(|text| text.parse::<f64>().ok()).context("the kernel tells no times");
        Ok((ticks(11)? + ticks(12)?) / TICKS)
    }

    fn read(&self, file: &str) -> Result<String> {
        let id = self.child.id().with_context(|| format!("{} has ended", self.name))?;
        std::fs::read_to_string(format!("/proc/{id}/{file}")).with_context(|| format!("look at {}", self.name))
    }

    /// Ends it, as Kubernetes does.
    ///
    /// # Errors
    /// It cannot be told.
    pub(crate) async fn stop(mut self) -> Result<()> {
        if let Some(id) = self.child.id() {
            Command::new("kill").arg(id.to_string()).status().await?;
        }
        if tokio::time::timeout(PATIENCE, self.child.wait()).await.is_err() {
            self.child.kill().await?;
        }
        Ok(())
    }
}
