//! A manifest with all it names, checked before anything is started or paid.

mod check;

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use agentrun_crds::{
    AgentRun, Mistakes,
    agent::{Input as InputWay, Output as OutputWay},
    manifest,
    network::{CacheMode as ManifestCacheMode, CacheScope, CaptureMode as ManifestCapture},
};
use agentrun_eval::{
    combo::{Combo, Combos},
    dataset::Dataset,
    select::Spec,
};
use agentrun_llm::provider::Hosts;
use agentrun_sidecar::{CacheMode, UpstreamRule, route::Router};
use sha2::{Digest, Sha256};

use self::check::{Check, Parts};
use super::{agent::Agent, environment::Variables, scoring::Scoring};
use crate::bounded;

/// The largest manifest.
const MANIFEST_BYTES: u64 = 8 << 20;
/// Larger files are no part of what a run is recognised by.
const FINGERPRINT_BYTES: u64 = 64 << 20;

/// How an agent is given its input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    File,
    Stdin,
    Env(String),
}

/// Where an agent leaves its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    File,
    Stdout,
}

/// Everything that a run on this machine follows from.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) manifest: AgentRun,
    pub(crate) combos: Combos,
    pub(crate) dataset: Arc<Dataset>,
    pub(crate) spec: Spec,
    pub(crate) agent: Agent,
    pub(crate) input: Input,
    pub(crate) output: Output,
    pub(crate) timeout: Duration,
    pub(crate) scoring: Scoring,
    /// Who shares cached answers.
    pub(crate) scope: String,
    pub(crate) cache: CacheMode,
    /// What chooses the models of calls.
    pub(crate) router: Option<Arc<Router>>,
    pub(crate) parallelism: usize,
    pub(crate) retries: u32,
    /// Proxy variables are set, base URLs are set.
    pub(crate) capture: (bool, bool),
    pub(crate) hosts: Hosts,
    pub(crate) upstreams: Vec<UpstreamRule>,
    /// Hosts of this machine whose calls are read.
    pub(crate) local_hosts: Vec<String>,
    /// What people should know of how the manifest is taken here.
    pub(crate) notes: Vec<String>,
}

/// Why a manifest is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlanError {
    #[error("reading the manifest {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is larger than 8 MiB: a manifest is smaller; put the datapoints into a file of their own", .0.display())]
    TooLarge(PathBuf),
    #[error("{}", Listed { path, mistakes })]
    Mistakes { path: PathBuf, mistakes: Vec<String> },
}

/// Mistakes under the file they are in.
struct Listed<'a> {
    path: &'a Path,
    mistakes: &'a [String],
}

impl fmt::Display for Listed<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.mistakes.len();
        write!(formatter, "{} has {count} {}", self.path.display(), if count == 1 { "mistake" } else { "mistakes" })?;
        self.mistakes.iter().try_for_each(|mistake| write!(formatter, "\n  {mistake}"))
    }
}

impl Plan {
    /// Reads a manifest and what it names, relative to its folder.
    ///
    /// # Errors
    /// All mistakes at once: those of the text with their lines, else those that only this machine can tell.
    pub(crate) fn read(path: &Path, inherited: &Variables) -> Result<Self, PlanError> {
        let (manifest, bytes) = read_manifest(path)?;
        let home = path.canonicalize().ok().and_then(|path| path.parent().map(Path::to_owned)).unwrap_or_default();
        let mut check = Check { manifest: &manifest, home: &home, inherited, mistakes: Vec::new(), notes: Vec::new() };
        let parts = check.all();
        let Check { mistakes, notes, .. } = check;
        match parts {
            Some(parts) if mistakes.is_empty() => Ok(Self::of(manifest, parts, notes)),
            _ => Err(PlanError::Mistakes { path: path.to_owned(), mistakes: placed(mistakes, &bytes) }),
        }
    }

    fn of(manifest: AgentRun, parts: Parts, notes: Vec<String>) -> Self {
        let spec = &manifest.spec;
        let name = manifest.metadata.name.clone();
        let capture = |mode| spec.capture.contains(&mode);
        let base_url = capture(ManifestCapture::BaseUrl);
        Self {
            spec: spec.selection(parts.combos.len(), parts.dataset.len()),
            combos: parts.combos,
            dataset: Arc::new(parts.dataset),
            agent: parts.agent,
            input: match spec.agent.input.way() {
                InputWay::File(_) => Input::File,
                InputWay::Stdin => Input::Stdin,
                InputWay::Env(name) => Input::Env(name.to_owned()),
            },
            output: match spec.agent.output.way() {
                OutputWay::File(_) => Output::File,
                OutputWay::Stdout => Output::Stdout,
            },
            timeout: Duration::from_secs(u64::try_from(spec.agent.timeout_seconds).unwrap_or(1)),
            scoring: parts.scoring,
            scope: match spec.cache.scope {
                CacheScope::Run => format!("run/{name}"),
                CacheScope::Namespace => format!("namespace/{}", manifest.metadata.namespace.as_deref().unwrap_or("default")),
                CacheScope::Shared => "shared".to_owned(),
            },
            cache: match spec.cache.mode {
                ManifestCacheMode::ReadWrite => CacheMode::ReadWrite,
                ManifestCacheMode::ReadOnly => CacheMode::ReadOnly,
                ManifestCacheMode::Refresh => CacheMode::Refresh,
                ManifestCacheMode::ReplayOnly => CacheMode::ReplayOnly,
                ManifestCacheMode::Off => CacheMode::Off,
            },
            router: parts.router,
            parallelism: usize::try_from(spec.limits.parallelism).unwrap_or(1).max(1),
            retries: u32::try_from(spec.limits.retries).unwrap_or(0),
            capture: (capture(ManifestCapture::Connect) || !base_url, base_url),
            hosts: parts.hosts,
            upstreams: parts.upstreams,
            local_hosts: parts.local_hosts,
            notes,
            name,
            manifest,
        }
    }

    /// Which models a combo's calls are sent to instead of those that the agent asks for.
    pub(crate) fn replacements(&self, combo: &Combo) -> Vec<(String, String)> {
        self.manifest.spec.replacements(&combo.models)
    }

    /// What makes two evaluations the same one: the specification, the datapoints, the simulation if any, and the files that the agent's and
    /// the scorer's commands name. How many trials run at once is no part of it.
    pub(crate) fn fingerprint(&self, simulation: Option<&str>) -> String {
        let mut spec = serde_json::to_value(&self.manifest.spec).unwrap_or_default();
        if let Some(fields) = spec.as_object_mut() {
            fields.shift_remove("suspend");
        }
        if let Some(limits) = spec.pointer_mut("/limits").and_then(|limits| limits.as_object_mut()) {
            limits.shift_remove("parallelism");
        }
        let mut hash = Sha256::new();
        let mut add = |part: &[u8]| {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        };
        add(spec.to_string().as_bytes());
        for datapoint in self.dataset.iter() {
            let text = serde_json::json!([datapoint.id, datapoint.input, datapoint.expected, datapoint.metadata]);
            add(text.to_string().as_bytes());
        }
        add(simulation.unwrap_or_default().as_bytes());
        let scorer = match &self.scoring {
            Scoring::Builtin(_) => Vec::new(),
            Scoring::Command { scorer, folder } => scorer.argv().iter().map(|text| folder.join(text)).collect(),
        };
        for path in self.agent.files().into_iter().chain(scorer) {
            if fs::metadata(&path).is_ok_and(|file| file.is_file() && file.len() <= FINGERPRINT_BYTES) {
                add(&fs::read(&path).unwrap_or_default());
            }
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Puts the place of its field before each mistake that begins with one.
fn placed(mistakes: Vec<String>, manifest: &[u8]) -> Vec<String> {
    let place = |mistake: &str| {
        let field = mistake.split([':', ' ']).next().filter(|field| field.starts_with("spec."))?;
        manifest::place(manifest, field)
    };
    let placed = mistakes.into_iter().map(|mistake| match place(&mistake) {
        Some((line, column)) => format!("line {line}, column {column}: {mistake}"),
        None => mistake,
    });
    placed.collect()
}

/// Reads a manifest's text and tells all its mistakes with their places.
///
/// # Errors
/// The file cannot be read, or has mistakes.
pub(crate) fn read_manifest(path: &Path) -> Result<(AgentRun, Vec<u8>), PlanError> {
    let bytes = bounded::bytes(path, MANIFEST_BYTES).map_err(|source| match source.kind() {
        io::ErrorKind::FileTooLarge => PlanError::TooLarge(path.to_owned()),
        _ => PlanError::Read { path: path.to_owned(), source },
    })?;
    match manifest::parse_bytes(&bytes) {
        Ok(manifest) => Ok((manifest, bytes)),
        Err(mistakes) => Err(PlanError::Mistakes { path: path.to_owned(), mistakes: told(&mistakes) }),
    }
}

fn told(mistakes: &Mistakes) -> Vec<String> {
    mistakes.to_string().lines().map(str::to_owned).collect()
}
