//! What each verb does. A verb returns the exit code; an error is told by `main`.

pub(crate) mod apply;
pub(crate) mod cache;
pub(crate) mod calls;
pub(crate) mod completion;
pub(crate) mod delete;
pub(crate) mod exec;
pub(crate) mod export;
pub(crate) mod get;
pub(crate) mod inject;
pub(crate) mod logs;
pub(crate) mod run;
pub(crate) mod serve;
pub(crate) mod validate;
pub(crate) mod watch;

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

use agentrun_hub::{RunRecord, Store, StoreError};
use agentrun_protocol::sentence;
use agentrun_sidecar::{Config, Sidecar, StartError, route::Router};
use anyhow::bail;

use crate::{bounded, printer::Printer, settings::State};

/// Complete.
pub(crate) const COMPLETE: u8 = 0;
/// It did not work.
pub(crate) const FAILED: u8 = 1;
/// A mistake in the command line or the manifest.
pub(crate) const BAD_USAGE: u8 = 2;
/// Stopped by Ctrl-C.
pub(crate) const INTERRUPTED: u8 = 130;

/// What every verb is given.
pub(crate) struct Context {
    pub(crate) printer: Printer,
    /// `--state`.
    pub(crate) state: PathBuf,
}

/// The user's mistake: exit code 2.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) String);

impl std::fmt::Display for Refused {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

/// Starts a proxy. Files of roots that are of no use are the user's mistake.
fn start_proxy(config: Config) -> anyhow::Result<Sidecar> {
    Sidecar::start(config).map_err(|error| match error {
        StartError::Trust(error) => Refused(format!("--upstream-ca: {}", sentence(&error))).into(),
        error => anyhow::Error::new(error).context("starting the proxy"),
    })
}

/// Sees that files which the command line names can be read, before anything is begun.
fn readable(paths: &[PathBuf]) -> Result<(), Refused> {
    paths.iter().try_for_each(|path| match File::open(path) {
        Ok(_) => Ok(()),
        Err(error) => Err(Refused(format!("--upstream-ca: reading {}: {error}", path.display()))),
    })
}

/// A policy is written by hand.
const POLICY_BYTES: u64 = 1 << 20;

/// Puts the policy in a file to work.
fn router(path: &Path) -> Result<Arc<Router>, Refused> {
    let refused = |reason: String| Refused(format!("--routing: {}: {reason}", path.display()));
    let text = bounded::text(path, POLICY_BYTES).map_err(|error| refused(error.to_string()))?;
    let policy = serde_saphyr::from_str(&text).map_err(|error| refused(error.to_string()))?;
    Router::new(&policy).map_err(|error| refused(error.to_string()))
}

impl Context {
    /// Opens the store of a state folder, and says so where a broken one was moved aside.
    fn store(&self, state: &State) -> Result<Store, StoreError> {
        let (store, moved) = Store::open(&state.runs())?;
        if let Some(moved) = moved {
            let (from, to) = (moved.from.display(), moved.to.display());
            self.printer
                .warning(&format!("{from} was no readable database and is now {to}; a new one was made, and cached answers are not lost"));
        }
        Ok(store)
    }

    /// The stores that exist: of real runs, and of simulated ones.
    fn stores(&self, simulated_alone: bool) -> anyhow::Result<Vec<(State, Store)>> {
        let mut stores = Vec::new();
        for simulated in [false, true] {
            let state = State::at(&self.state, simulated)?;
            if (simulated || !simulated_alone) && state.runs().exists() {
                let store = self.store(&state)?;
                stores.push((state, store));
            }
        }
        Ok(stores)
    }

    /// Finds a run; a real one before a simulated one of the same name.
    fn find(&self, name: &str, simulated_alone: bool) -> anyhow::Result<(State, Store, RunRecord)> {
        let mut known = Vec::new();
        for (state, store) in self.stores(simulated_alone)? {
            if let Some(run) = store.run(name)? {
                if state.is_simulated() {
                    self.printer.note(&format!("run `{name}` is simulated: no model was asked"));
                }
                return Ok((state, store, run));
            }
            known.extend(store.runs()?.into_iter().map(|run| run.name));
        }
        known.dedup();
        let folder = self.state.display();
        match known.as_slice() {
            [] => bail!("there is no run `{name}`: the state folder {folder} holds none; --cluster looks in the cluster"),
            known => bail!(
                "there is no run `{name}` in the state folder {folder}; there is {}; --cluster looks in the cluster",
                known.join(", ")
            ),
        }
    }
}
