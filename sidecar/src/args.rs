//! The binary's flags, and the [`Config`] they make.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use agentrun_llm::provider::{Hosts, Shape};
use clap::Parser;
use thiserror::Error;

use crate::{
    CacheConfig, CacheMode, CaptureMode, Config, Limits, Session, UpstreamRule, memory,
    pod::PodArgs,
    route::{PolicyError, Router},
    score::ScoreArgs,
};

/// Intercepts, records and caches the LLM calls of agents that use it as their proxy.
#[derive(Clone, Debug, Parser)]
#[command(name = "agentrun-sidecar", version)]
pub struct Args {
    /// Where agents connect
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8080", env = "AGENTRUN_LISTEN")]
    pub listen: SocketAddr,
    /// Where agents connect that resolve LLM hosts to this machine; used with the capture layer dns
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:443")]
    pub listen_dns: SocketAddr,
    /// Serve /startupz, /healthz, /readyz and /metrics here
    #[arg(long, value_name = "IP:PORT", env = "AGENTRUN_ADMIN")]
    pub admin: Option<SocketAddr>,
    /// Write ca.pem (our certificate) and bundle.pem (the public roots and ours) into this folder
    #[arg(long, value_name = "DIR", env = "AGENTRUN_CA_DIR")]
    pub ca_dir: Option<PathBuf>,
    /// Entrances that are open: connect, dns, base-url
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "connect,base-url")]
    pub capture: Vec<CaptureMode>,
    /// An LLM host beyond the built-in table; SHAPE is openai (the default), anthropic, gemini, cohere, bedrock or mistral
    #[arg(long = "provider", value_name = "NAME=URL[,SHAPE]")]
    pub providers: Vec<String>,
    /// Where a host is really answered; with an IP address, SNI and Host stay the host's
    #[arg(long = "upstream", value_name = "HOST=URL")]
    pub upstreams: Vec<UpstreamRule>,
    /// PEM files with roots to trust upstream beside the system's
    #[arg(long, value_name = "FILE")]
    pub upstream_ca: Vec<PathBuf>,
    /// Keep answers in DIR/cache.db
    #[arg(long, value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,
    /// ReadWrite, ReadOnly, Refresh, ReplayOnly or Off
    #[arg(long, value_name = "MODE", default_value = "ReadWrite")]
    pub cache_mode: CacheMode,
    /// Who shares stored answers: sidecars with equal scopes do
    #[arg(long, value_name = "NAME", default_value = "")]
    pub cache_scope: String,
    /// MiB of answers kept in memory
    #[arg(long, value_name = "MIB", default_value_t = 32)]
    pub cache_memory: u64,
    /// MiB of answers kept on disk
    #[arg(long, value_name = "MIB", default_value_t = 4096)]
    pub cache_disk: u64,
    /// MiB of memory to stay within: what is read, kept and queued shrinks to it [default: the limit of the process's control group]
    #[arg(long, value_name = "MIB")]
    pub memory: Option<u64>,
    /// Write records into this SQLite file
    #[arg(long, value_name = "FILE")]
    pub records: Option<PathBuf>,
    /// The run that calls belong to
    #[arg(long, env = "AGENTRUN_RUN")]
    pub run: Option<String>,
    /// The datapoint that calls belong to
    #[arg(long, env = "AGENTRUN_DATA_ID")]
    pub data_id: Option<String>,
    /// The combo that calls belong to
    #[arg(long, env = "AGENTRUN_COMBO_ID")]
    pub combo_id: Option<String>,
    /// The agent that calls belong to
    #[arg(long, env = "AGENTRUN_AGENT_ID")]
    pub agent_id: Option<String>,
    /// The how-manieth repeat this is, from 0
    #[arg(long, default_value_t = 0, env = "AGENTRUN_SAMPLE")]
    pub sample: u32,
    /// Choose the models of calls by the policy in this JSON file: random, rules or webhook
    #[arg(long, value_name = "FILE")]
    pub routing: Option<PathBuf>,
    /// How long running calls may take to end after SIGTERM, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 25)]
    pub grace: u64,
    /// How long an upstream may take to begin its answer, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub first_byte_timeout: u64,
    /// How long an answer may fall silent, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub idle_timeout: u64,
}

/// The command line: a pod's or a scoring pod's sidecar, or without a subcommand a proxy for this machine.
#[derive(Clone, Debug, Parser)]
#[command(name = "agentrun-sidecar", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to run instead of a proxy for this machine.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The flags of a proxy for this machine.
    #[command(flatten)]
    pub args: Args,
}

/// What the program does in pods.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Run beside an agent in its pod
    Pod(Box<PodArgs>),
    /// Run beside a scoring program in its pod
    Score(ScoreArgs),
}

/// Why flags make no configuration.
#[derive(Debug, Error)]
pub enum ArgsError {
    /// A provider is not written as it should be.
    #[error("--provider {0}: write NAME=URL or NAME=URL,SHAPE")]
    Provider(String),
    /// There is no such shape.
    #[error("--provider: {0}")]
    Shape(#[from] agentrun_llm::provider::NoShape),
    /// A provider's URL names no host.
    #[error("--provider")]
    Host(#[from] agentrun_llm::provider::HostError),
    /// The routing policy's file cannot be read.
    #[error("--routing: read {path}")]
    RoutingFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The routing policy's file holds none.
    #[error("--routing: {path}: {source}")]
    RoutingText {
        /// The file.
        path: PathBuf,
        /// What is wrong, with its line.
        source: serde_json::Error,
    },
    /// The routing policy cannot be used.
    #[error("--routing: {path}: {source}")]
    Routing {
        /// The file.
        path: PathBuf,
        /// Why.
        source: PolicyError,
    },
}

impl Args {
    /// What the proxy is told.
    pub fn config(&self) -> Result<Config, ArgsError> {
        let memory = allowed(self.memory);
        Ok(Config {
            hosts: hosts(&self.providers)?,
            upstreams: self.upstreams.clone(),
            upstream_ca: self.upstream_ca.clone(),
            cache: CacheConfig {
                path: self.cache_dir.as_ref().map(|folder| folder.join("cache.db")),
                memory_bytes: (self.cache_memory << 20).min(memory / 8),
                disk_bytes: self.cache_disk << 20,
                ..CacheConfig::default()
            },
            journal: self.records.clone(),
            capture: self.capture.clone(),
            limits: Limits {
                first_byte_timeout: Duration::from_secs(self.first_byte_timeout),
                idle_timeout: Duration::from_secs(self.idle_timeout),
                ..Limits::within(memory)
            },
            ..Config::default()
        })
    }

    /// Whose calls they are.
    ///
    /// # Errors
    /// The routing policy cannot be used.
    pub fn session(&self) -> Result<Session, ArgsError> {
        Ok(Session {
            run: self.run.clone(),
            data_id: self.data_id.clone(),
            combo_id: self.combo_id.clone(),
            agent_id: self.agent_id.clone(),
            sample: self.sample,
            attempt: 0,
            scope: self.cache_scope.clone(),
            replaces: Vec::new(),
            by_credential: false,
            cache: self.cache_mode,
            router: self.routing.as_deref().map(router).transpose()?,
            client: None,
        })
    }
}

fn router(path: &Path) -> Result<Arc<Router>, ArgsError> {
    let path = path.to_owned();
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(source) => return Err(ArgsError::RoutingFile { path, source }),
    };
    let policy = match serde_json::from_slice(&text) {
        Ok(policy) => policy,
        Err(source) => return Err(ArgsError::RoutingText { path, source }),
    };
    Router::new(&policy).map_err(|source| ArgsError::Routing { path, source })
}

/// Bytes of memory to stay within: `mebibytes`, else the control group's, else all there is.
pub(crate) fn allowed(mebibytes: Option<u64>) -> u64 {
    mebibytes.map(|mebibytes| mebibytes << 20).or_else(memory::allowed).unwrap_or(u64::MAX)
}

/// The built-in LLM hosts and those of `--provider`.
pub(crate) fn hosts(providers: &[String]) -> Result<Hosts, ArgsError> {
    let mut hosts = Hosts::builtin();
    for text in providers {
        let (name, rest) = text.split_once('=').ok_or_else(|| ArgsError::Provider(text.clone()))?;
        let (url, shape) = rest.rsplit_once(',').map_or((rest, Ok(Shape::OpenAi)), |(url, name)| (url, name.parse()));
        hosts.add(name, url, shape?)?;
    }
    Ok(hosts)
}
